//! `quipu backup` and `quipu restore`.

use super::{
    connect::Connect,
    data::{blobs_to_read, must_hold_log, open_log},
    failure::Failure,
    terminal::{Terminal, Tone},
};
use crate::{backups::options, client::Client};
use clap::Args;
use quipu_events::{
    backend::check_moved,
    backup::{self, Manifest},
    blobs::Blobs,
    embedded::OpenError,
    keyring::KEYS_DIR,
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const BACKUP_AFTER: &str = "\
Examples:
  quipu backup backups/monday                        of the node whose data is in ./quipu-data, running or not
  quipu backup --data /var/lib/quipu backups/monday
  quipu backup backups/full --with-keys              also the keys that open personal data: guard it well
  quipu backup /backups/monday --url http://node:7077   of that node, to a directory of its machine

A backup without keys holds personal data sealed only: keep the keys directory apart, for a node does not start on a
restored log without it. `quipu verify` checks a backup as it does a data directory.";

const RESTORE_AFTER: &str = "\
Examples:
  quipu restore backups/monday quipu-data
  quipu restore backups/monday other && quipu verify other

The target must be empty or new. The restored log has the same digests under a new generation, so cursors and positions
from before are refused rather than misread.";

const COPYING: &str = "{spinner} {bytes} copied  {bytes_per_sec}";

/// Back a data directory up, while its node runs or not
#[derive(Debug, Args)]
#[command(after_help = BACKUP_AFTER)]
pub(super) struct Backup {
    /// Where to write: an empty or new directory
    out: PathBuf,
    /// Also copy the keys that open personal data
    #[arg(long)]
    with_keys: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Backup {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        // Whoever names a node means its data, whatever lies in the directory here.
        if self.connect.names_node() {
            let manifest = self.of_node(terminal).await?;
            return show(terminal, &manifest, "backed up to", &self.out);
        }
        let data = self.connect.data().to_owned();
        must_hold_log(&data)?;
        let (out, with_keys, quiet) = (self.out.clone(), self.with_keys, *terminal);
        let copied = tokio::task::spawn_blocking(move || copy(&quiet, &data, &out, with_keys));
        let manifest = match copied.await.map_err(|e| Failure::Failed(format!("the backup crashed: {e}")))? {
            Ok(manifest) => serde_json::to_value(manifest).map_err(|e| Failure::Failed(e.to_string()))?,
            // The node itself copies: it knows what is durable at one moment.
            Err(Copied::InUse) => self.of_node(terminal).await?,
            Err(Copied::Failed(failure)) => return Err(failure),
        };
        show(terminal, &manifest, "backed up to", &self.out)
    }

    /// Has the node back itself up; the path is one of its machine.
    async fn of_node(&self, terminal: &Terminal) -> Result<Value, Failure> {
        let to = std::path::absolute(&self.out)?;
        ask(terminal, &self.connect.client()?, &json!({ "to": to, "with_keys": self.with_keys })).await
    }
}

/// Has the node copy itself, and waits for the end.
async fn ask(terminal: &Terminal, client: &Client, wanted: &Value) -> Result<Value, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    client.post("/v1/ops/backup", wanted).await?;
    let bar = terminal.progress(None, COPYING);
    loop {
        let mut job = client.get("/v1/ops/backup", &[]).await?.body;
        bar.set_position(job["bytes"].as_u64().unwrap_or_default());
        if job["status"] == "running" {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        bar.finish_and_clear();
        return match job["status"].as_str() {
            Some("done") => Ok(job["manifest"].take()),
            _ => Err(Failure::Failed(job["detail"].as_str().unwrap_or("the backup failed").to_owned())),
        };
    }
}

enum Copied {
    InUse,
    Failed(Failure),
}

fn copy(terminal: &Terminal, data: &Path, out: &Path, with_keys: bool) -> Result<Manifest, Copied> {
    check_moved(data).map_err(|e| Copied::Failed(Failure::Failed(e.to_string())))?;
    let log = open_log(data).map_err(|e| match e {
        OpenError::Locked { .. } => Copied::InUse,
        other => Copied::Failed(Failure::Failed(other.to_string())),
    })?;
    let blobs = blobs_to_read(data).map_err(|e| Copied::Failed(Failure::Failed(e.to_string())))?;
    let options = options(with_keys, blobs.map(|blobs| Arc::new(blobs) as Arc<dyn Blobs>));
    let bar = terminal.progress(None, COPYING);
    let manifest = backup::backup(&log, out, &options, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    manifest.map_err(|e| Copied::Failed(Failure::Failed(e.to_string())))
}

/// Make a data directory from a backup
#[derive(Debug, Args)]
#[command(after_help = RESTORE_AFTER)]
pub(super) struct Restore {
    /// The backup
    backup: PathBuf,
    /// Where to write: an empty or new directory
    dir: PathBuf,
}

impl Restore {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let quiet = *terminal;
        let (from, to) = (self.backup.clone(), self.dir.clone());
        let work = tokio::task::spawn_blocking(move || {
            let bar = quiet.progress(None, COPYING);
            let manifest = backup::restore(&from, &to, |bytes| bar.set_position(bytes));
            bar.finish_and_clear();
            manifest
        });
        let manifest = work
            .await
            .map_err(|e| Failure::Failed(format!("the restore crashed: {e}")))?
            .map_err(|e| Failure::Failed(e.to_string()))?;
        let value = serde_json::to_value(manifest).map_err(|e| Failure::Failed(e.to_string()))?;
        show(terminal, &value, "restored to", &self.dir)?;
        if value["keys"] == Value::Bool(false) {
            let keys = self.dir.join(KEYS_DIR);
            terminal.note(&format!(
                "the backup holds no keys: put those of the log into {} before `quipu serve`",
                keys.display()
            ));
        }
        Ok(())
    }
}

fn show(terminal: &Terminal, manifest: &Value, done: &str, place: &Path) -> Result<(), Failure> {
    if terminal.json {
        return terminal.value(manifest);
    }
    let files = manifest["files"].as_array().map_or(&[][..], Vec::as_slice);
    let bytes: u64 = files.iter().filter_map(|file| file["bytes"].as_u64()).sum();
    let detail = format!("{} files, {bytes} bytes, generation {}", files.len(), manifest["generation"]);
    terminal.line(&format!(
        "{} {}  {}",
        terminal.paint(Tone::Good, done),
        place.display(),
        terminal.paint(Tone::Faint, &detail)
    ))
}
