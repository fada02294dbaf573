//! Why a backup or restore fails.

use crate::{
    blobs::{BlobError, names::NamesError},
    keyring::KeyringError,
};
use std::{io, path::PathBuf};

/// Why a backup or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target holds something.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// There is no manifest, or it does not decode.
    #[error("{} is not a backup: {detail}", path.display())]
    NotABackup {
        /// The directory.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The backup was interrupted.
    #[error("{} is not a backup: it did not finish; delete it and take another one", .0.display())]
    Unfinished(PathBuf),
    /// A file differs from its manifest.
    #[error("backup file {0} is damaged or missing")]
    Damaged(String),
    /// The storage failed.
    #[error("backup: {0}")]
    Io(#[from] io::Error),
    /// The store of large values.
    #[error("backup: {0}")]
    Blobs(#[from] BlobError),
    /// Which values the log names is not known.
    #[error("backup: {0}")]
    Names(#[from] NamesError),
    /// Whose keys were destroyed is not known.
    #[error("backup: {0}")]
    Keys(#[from] KeyringError),
}
