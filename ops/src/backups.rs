//! The place of a node's online backup, and what a backup takes.

use parking_lot::{Mutex, MutexGuard};
use quipu_events::{
    backup::{BackupOptions, BlobSource, Manifest},
    blobs::Blobs,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};

/// A backup under way, or the last one.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "BackupJob")]
pub struct Job {
    /// How it stands; `none`: there was none since the node started.
    #[schemars(extend("enum" = ["none", "running", "done", "failed"]))]
    pub status: &'static str,
    /// The directory that it goes to, on the node's machine.
    pub to: PathBuf,
    /// Bytes copied so far.
    pub bytes: u64,
    /// What went wrong, in words; empty where nothing did.
    pub detail: String,
    /// Its table of contents, when done.
    pub manifest: Option<Manifest>,
}

/// The node's one place for a backup under way.
#[derive(Debug, Clone)]
pub struct Backups(Arc<Mutex<Job>>);

impl Default for Backups {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Job {
            status: "none",
            ..Job::default()
        })))
    }
}

impl Backups {
    /// The backup under way, or the last one.
    pub fn job(&self) -> MutexGuard<'_, Job> {
        self.0.lock()
    }
}

/// What a backup takes besides the log: blobs, and keys if they were asked for.
pub fn options(with_keys: bool, blobs: Option<Arc<dyn Blobs>>) -> BackupOptions {
    BackupOptions {
        include: Vec::new(),
        blobs: blobs.map(BlobSource),
        keys: if with_keys { vec!["keys".into()] } else { Vec::new() },
    }
}
