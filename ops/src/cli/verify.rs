//! `quipu verify`.

use super::{
    data::{blobs_to_read, holder, must_hold_log, open_log_to_read},
    failure::Failure,
    terminal::{Terminal, Tone, clean},
};
use clap::Args;
use quipu_events::{
    blobs::{BlobError, Blobs, BlobsAt},
    disk::RealDisk,
    embedded::OpenError,
    erased::Erased,
    verify::{self, Verdict, VerifyError, VerifyReport},
};
use quipu_runtime::{
    kinds::Kinds,
    replay::{self, Replayed},
};
use quipu_schemas::digest::Digest;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

const AFTER: &str = "\
Examples:
  quipu verify quipu-data
  quipu verify backups/monday --json
  quipu verify quipu-data --replay      also fold every entity from its first event, and show the digests

Offline: stop the node first, or verify a backup. Located are every flipped bit inside frames, and every frame that was
dropped, swapped, inserted or cut off before the last head in the heads file. Nothing is written: the directory
may be on read-only storage.

The verdict is `intact` (exit code 0), `damaged`, or `incomplete`: a backup that did not finish, or a log without the file
`heads`, which says where it ends (1 both). Exit code 4: the files cannot be read, and nothing is known about them.";

/// Verify a log offline
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Verify {
    /// The data directory or backup
    dir: PathBuf,
    /// Also replay every entity from zero
    #[arg(long)]
    replay: bool,
    /// Where large values are, if not in the directory: s3://…, as for `quipu serve --blobs`
    #[arg(long, value_name = "STORE")]
    blobs: Option<String>,
}

impl Verify {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        must_hold_log(&self.dir)?;
        if let Some(holder) = holder(&self.dir) {
            return Err(Failure::Unavailable(format!(
                "{} is in use by {holder}: stop the node, or verify a backup",
                self.dir.display()
            )));
        }
        let terminal = *terminal;
        tokio::task::spawn_blocking(move || self.check(&terminal))
            .await
            .map_err(|e| Failure::Failed(format!("verification crashed: {e}")))?
    }

    /// Where the directory's large values are.
    fn blobs(&self) -> Result<Option<Arc<dyn Blobs>>, Failure> {
        let failed = |e: BlobError| Failure::Failed(e.to_string());
        if let Some(at) = &self.blobs {
            let at: BlobsAt = at.parse().map_err(|e| Failure::Usage(format!("--blobs: {e}")))?;
            if let Some(store) = at.open().map_err(failed)? {
                return Ok(Some(store));
            }
        }
        let store = blobs_to_read(&self.dir).map_err(failed)?;
        Ok(store.map(|store| Arc::new(store) as Arc<dyn Blobs>))
    }

    fn check(&self, terminal: &Terminal) -> Result<(), Failure> {
        let bar = terminal.progress(Some(0), "{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {elapsed}");
        let report = verify::verify(&RealDisk, &self.dir, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let mut report = report.map_err(|e| match e {
            VerifyError::NoLog(_) => Failure::Failed(e.to_string()),
            VerifyError::Io(_) => Failure::Unavailable(format!("{}: {e}", self.dir.display())),
        })?;
        let blobs = self.blobs()?;
        let erased = Erased::read(&self.dir).map_err(|e| Failure::Failed(e.to_string()))?;
        report
            .check_blobs(blobs.as_deref(), &erased)
            .map_err(|e| Failure::Failed(e.to_string()))?;
        let replayed = if self.replay && report.is_intact() {
            Some(replay(terminal, &self.dir)?)
        } else {
            None
        };
        if terminal.json {
            let mut value = serde_json::to_value(&report).map_err(|e| Failure::Failed(e.to_string()))?;
            value["intact"] = report.is_intact().into();
            value["verdict"] = serde_json::to_value(report.verdict()).map_err(|e| Failure::Failed(e.to_string()))?;
            if let Some(entities) = &replayed {
                value["replay"] = json!({ "digest": digest_of(entities), "entities": entities });
            }
            terminal.value(&value)?;
        } else {
            show(terminal, &report, replayed.as_deref())?;
        }
        if report.is_intact() { Ok(()) } else { Err(Failure::Shown) }
    }
}

fn replay(terminal: &Terminal, dir: &Path) -> Result<Vec<Replayed>, Failure> {
    let log = open_log_to_read(dir).map_err(|e| match e {
        OpenError::Io(_) => Failure::Unavailable(format!("{}: {e}", dir.display())),
        e => Failure::Failed(e.to_string()),
    })?;
    let bar = terminal.progress(None, "{spinner} {pos} records replayed  {per_sec}");
    let replayed = replay::replay(&log, &Kinds::builtin(), |records| bar.set_position(records));
    bar.finish_and_clear();
    replayed.map_err(|e| Failure::Failed(e.to_string()))
}

/// One digest over the digests of all entities.
fn digest_of(entities: &[Replayed]) -> Digest {
    let lines: String = entities
        .iter()
        .map(|e| format!("{} {} {}\n", e.stream, e.version, e.digest))
        .collect();
    Digest::of(&[lines.as_bytes()])
}

fn show(terminal: &Terminal, report: &VerifyReport, replayed: Option<&[Replayed]>) -> Result<(), Failure> {
    let mut rows = vec![
        ("log", report.log_id.clone()),
        ("generation", report.generation.to_string()),
        ("segments", report.segments.to_string()),
        ("bytes", report.bytes.to_string()),
        ("frames", report.frames.to_string()),
        ("records", report.records.to_string()),
        ("events", report.events.to_string()),
        ("streams", report.streams.to_string()),
        ("large values", report.blobs.unwrap_or_default().to_string()),
        ("large values gone", report.gone.to_string()),
        ("heads found", format!("{} of {}", report.heads, report.partitions)),
        ("digest", report.digest.clone()),
    ];
    if let Some(entities) = replayed {
        rows.push(("replayed entities", entities.len().to_string()));
        rows.push(("replay digest", digest_of(entities).to_string()));
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    terminal.table(&["verify", ""], &rows, "")?;
    for torn in &report.torn {
        let text = format!(
            "a crash tore a write ({}, byte {}): nothing in it was acknowledged, the next start drops it",
            torn.file.display(),
            torn.byte
        );
        terminal.line(&terminal.paint(Tone::Notice, &text))?;
    }
    for problem in &report.problems {
        let place = [
            Some(format!("{}, byte {}", problem.file.display(), problem.byte)),
            problem.partition.map(|p| format!("partition {p}")),
            problem.offset.map(|o| format!("offset {o}")),
            problem.stream.clone().map(|s| format!("stream {s}")),
        ];
        let place = place.into_iter().flatten().collect::<Vec<_>>().join(", ");
        terminal.line(&format!(
            "{} {}",
            terminal.paint(Tone::Bad, &format!("{}:", clean(&place))),
            clean(&problem.detail)
        ))?;
    }
    match report.verdict() {
        Verdict::Intact => terminal.line(&format!(
            "{}  {}",
            terminal.paint(Tone::Good, "intact"),
            terminal.paint(Tone::Faint, &format!("not promised: {}", report.not_promised))
        )),
        Verdict::Incomplete => {
            let why = clean(&report.incomplete.join("; "));
            terminal.line(&format!("{} {why}", terminal.paint(Tone::Bad, "incomplete:")))
        }
        Verdict::Damaged => terminal.line(&terminal.paint(Tone::Bad, &format!("damaged: {} problems", report.problems.len()))),
    }
}
