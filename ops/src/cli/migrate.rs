//! `quipu migrate-log`.

use super::{
    data::{blobs_to_read, holder, must_hold_log, open_log},
    failure::Failure,
    terminal::{Terminal, Tone},
};
use clap::Args;
use quipu_events::{
    backend::{self, Backend, OpenedLog},
    blobs::{self, BlobsAt, names},
    erased::Erased,
    keyring::{self, KEYS_DIR},
    migrate,
    port::Log,
    verify::verify_log,
};
use quipu_schemas::position::LogId;
use serde_json::json;
use std::path::{Path, PathBuf};

const AFTER: &str = "\
Examples:
  quipu migrate-log quipu-data --to 'nats://127.0.0.1:4222/main?replicas=3&system=sys:PASSWORD'
  quipu serve --data quipu-data --log 'nats://127.0.0.1:4222/main?replicas=3&system=sys:PASSWORD'

Stop the node first. Records keep their offsets, hashes and ids; the data keys are copied too, wrapped as they are, and the master
key stays where it is. Afterwards both logs are verified and their digests compared. After an interruption, run it
again: it resumes where it was. The embedded log stays as it is, with a note beside it so that no node continues from it. Cursors of
its feed answer 410 on the new one; views and index are rebuilt.";

/// Copy an embedded log to a broker, and verify that nothing changed
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct MigrateLog {
    /// The data directory of a node that is stopped
    dir: PathBuf,
    /// The address of the new log
    #[arg(long, value_name = "LOG")]
    to: String,
    /// Where large values go, if not where the log goes: s3://…, as for `quipu serve --blobs`; a log on Kafka keeps none
    #[arg(long, value_name = "STORE")]
    blobs: Option<String>,
}

impl MigrateLog {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        must_hold_log(&self.dir)?;
        if let Some(holder) = holder(&self.dir) {
            return Err(Failure::Unavailable(format!(
                "{} is in use by {holder}: stop the node first",
                self.dir.display()
            )));
        }
        let target: Backend = self.to.parse().map_err(|e| Failure::Usage(format!("--to: {e}")))?;
        if !target.is_on_broker() {
            return Err(Failure::Usage(format!(
                "--to: not a broker: `{target}`; use an address such as nats://host:port/name"
            )));
        }
        let at: BlobsAt = match &self.blobs {
            Some(at) => at.parse().map_err(|e| Failure::Usage(format!("--blobs: {e}")))?,
            None => BlobsAt::default(),
        };
        let terminal = *terminal;
        tokio::task::spawn_blocking(move || copy(&self.dir, &target, &at, &terminal))
            .await
            .map_err(|e| Failure::Failed(format!("the copy crashed: {e}")))?
    }
}

/// Copies the large values, and checks that every one that the log names has arrived. How many.
fn move_blobs(dir: &Path, source: &dyn Log, target: &OpenedLog, at: &BlobsAt, terminal: &Terminal) -> Result<u64, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
    let names = names::of_log(source).map_err(|e| failed(&e))?;
    if names.is_empty() {
        return Ok(0);
    }
    let Some(to) = target.blobs(None, at).map_err(|e| failed(&e))? else {
        return Err(Failure::Usage(format!(
            "the log names {} values that are kept beside it, and the new one keeps none: name a store with --blobs s3://…",
            names.len()
        )));
    };
    let from = blobs_to_read(dir).map_err(|e| failed(&e))?;
    let from = from.ok_or_else(|| Failure::Failed(format!("{} holds no values, and its log names {}", dir.display(), names.len())))?;
    let bar = terminal.progress(None, "{spinner} {bytes} of values copied  {bytes_per_sec}");
    let copied = blobs::copy::copy(&from, &*to, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let copied = copied.map_err(|e| failed(&e))?;
    let erased = Erased::read(dir).map_err(|e| failed(&e))?;
    let lost = blobs::copy::unreadable(&names, &erased, &*to).map_err(|e| failed(&e))?;
    match lost.first() {
        None => Ok(copied.blobs),
        Some((named, error)) => Err(Failure::Failed(format!(
            "{} of the values that the log names did not arrive; the first: {}",
            lost.len(),
            blobs::copy::complaint(&named.name, error)
        ))),
    }
}

fn copy(dir: &Path, target: &Backend, at: &BlobsAt, terminal: &Terminal) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
    let source = open_log(dir).map_err(|e| failed(&e))?;
    let opened = target.open(None, 0, LogId([0; 16])).map_err(|e| failed(&e))?;
    let bar = terminal.progress(Some(0), "{bar:40} {pos}/{len} records copied  {per_sec}  {elapsed}");
    let watch = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let copied = migrate::copy(&source, &*opened.log, watch);
    bar.finish_and_clear();
    let copied = copied.map_err(|e| failed(&e))?;
    let moved = move_blobs(dir, &source, &opened, at, terminal)?;
    let keys = match &opened.shared {
        Some(shared) => {
            let store = shared.keys().map_err(|e| failed(&e))?;
            keyring::share(&dir.join(KEYS_DIR), store).map_err(|e| failed(&e))?
        }
        None => 0,
    };
    let bar = terminal.progress(None, "{spinner} verifying both: {pos} records");
    let (old, new) = (
        verify_log(&source, |n, _| bar.set_position(n)),
        verify_log(&*opened.log, |n, _| bar.set_position(n)),
    );
    bar.finish_and_clear();
    let equal = old.is_intact() && new.is_intact() && old.digest == new.digest;
    if equal {
        backend::note_moved(dir, target)?;
    }
    if terminal.json {
        terminal.value(&json!({
            "to": target.to_string(), "records": copied.records, "copied_before": copied.before, "keys": keys, "blobs": moved, "equal": equal,
            "digest": { "source": old.digest, "target": new.digest },
            "problems": old.problems.len() + new.problems.len(),
        }))?;
    } else {
        let row = |name: &str, a: String, b: String| vec![name.to_owned(), a, b];
        let rows = [
            row("records", old.records.to_string(), new.records.to_string()),
            row("streams", old.streams.to_string(), new.streams.to_string()),
            row("problems", old.problems.len().to_string(), new.problems.len().to_string()),
            row("digest", old.digest.clone(), new.digest.clone()),
        ];
        terminal.table(&["", "embedded", &target.to_string()], &rows, "")?;
        let (tone, text) = if equal {
            (
                Tone::Good,
                format!(
                    "equal; {keys} keys are shared; now: quipu serve --data {} --log {target}",
                    dir.display()
                ),
            )
        } else {
            (Tone::Bad, "the copies differ: do not serve from it".to_owned())
        };
        terminal.line(&terminal.paint(tone, &text))?;
    }
    if equal { Ok(()) } else { Err(Failure::Shown) }
}
