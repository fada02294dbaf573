//! Data directories without a node.

use super::failure::Failure;
use quipu_events::{
    blobs::{BLOBS_DIR, BlobError, DirectoryBlobs},
    disk::{Disk, Overlay, RealDisk},
    embedded::{EmbeddedLog, EmbeddedOptions, LOCK_FILE, LOG_DIR, OpenError},
};
use std::{path::Path, sync::Arc};

/// Opens the log of a data directory that no node uses; with as many partitions as it was made with.
pub(super) fn open_log(data: &Path) -> Result<EmbeddedLog, OpenError> {
    open_on(&Arc::new(RealDisk), data)
}

/// Opens the log of a data directory or a backup to read it, changing nothing there: it may be on read-only storage.
pub(super) fn open_log_to_read(data: &Path) -> Result<EmbeddedLog, OpenError> {
    open_on(&Arc::new(Overlay::new(RealDisk)), data)
}

fn open_on<D: Disk + 'static>(disk: &Arc<D>, data: &Path) -> Result<EmbeddedLog, OpenError> {
    match EmbeddedLog::open_on(disk.clone(), data, &EmbeddedOptions::default()) {
        Err(OpenError::Partitions { found, .. }) => EmbeddedLog::open_on(
            disk.clone(),
            data,
            &EmbeddedOptions {
                partitions: found,
                ..EmbeddedOptions::default()
            },
        ),
        other => other,
    }
}

/// Refuses a directory without a log: opening one would make it.
pub(super) fn must_hold_log(data: &Path) -> Result<(), Failure> {
    if data.join(LOG_DIR).is_dir() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} holds no log: name a node's data directory",
        data.display()
    )))
}

/// The store of large values in a data directory or a backup, if it has one, for reading.
pub(super) fn blobs_to_read(data: &Path) -> Result<Option<DirectoryBlobs>, BlobError> {
    let root = data.join(BLOBS_DIR);
    DirectoryBlobs::is_there(&root)
        .then(|| DirectoryBlobs::open_to_read(&root))
        .transpose()
}

/// Whether a node uses the directory now.
pub(super) fn holder(data: &Path) -> Option<String> {
    quipu_events::disk::locked_by(&data.join(LOCK_FILE))
}
