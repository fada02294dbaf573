//! Data directories without a node.

use super::failure::Failure;
use quipu_events::embedded::{EmbeddedLog, EmbeddedOptions, LOCK_FILE, LOG_DIR, OpenError};
use std::path::Path;

/// Opens the log of a data directory that no node uses; with as many partitions as it was made with.
pub(super) fn open_log(data: &Path) -> Result<EmbeddedLog, OpenError> {
    match EmbeddedLog::open(data, &EmbeddedOptions::default()) {
        Err(OpenError::Partitions { found, .. }) => EmbeddedLog::open(
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

/// Whether a node uses the directory now.
pub(super) fn holder(data: &Path) -> Option<String> {
    quipu_events::disk::locked_by(&data.join(LOCK_FILE))
}
