//! The place of a node's online backup, and what a backup takes.

use parking_lot::{Mutex, MutexGuard};
use quipu_events::{
    backup::{BackupOptions, BlobSource, Manifest},
    blobs::Blobs,
};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};

/// A backup under way, or the last one.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Job {
    /// `none`, `running`, `done` or `failed`.
    pub status: &'static str,
    /// Where it goes.
    pub to: PathBuf,
    /// Bytes copied so far.
    pub bytes: u64,
    /// What went wrong.
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
