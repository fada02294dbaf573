//! Why an embedded log is not opened, and what was found when it was.

use super::chain::Stop;
use std::{io, path::PathBuf};

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("data directory {} is in use by {holder}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// Made with another number of partitions.
    #[error("the log has {found} partitions, not {asked}: the number is fixed when a log is made")]
    Partitions {
        /// In the log.
        found: u16,
        /// In the options.
        asked: u16,
    },
    /// The directory holds another log than was asked for.
    #[error("{} holds another log", path.display())]
    OtherLog {
        /// The directory.
        path: PathBuf,
    },
    /// A restore into the directory was interrupted.
    #[error("the restore into {} did not finish: delete the directory and restore again", dir.display())]
    Unfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds a backup that was interrupted.
    #[error("the backup in {} did not finish: it is a part of a log; take another backup, and restore that", dir.display())]
    UnfinishedBackup {
        /// The directory.
        dir: PathBuf,
    },
    /// Damage that leaves nothing to serve.
    #[error("log damaged at {at}: {detail}")]
    Damaged {
        /// Where.
        at: String,
        /// What.
        detail: String,
    },
    /// The storage failed.
    #[error("log storage: {0}")]
    Io(#[from] io::Error),
}

/// What opening found.
#[derive(Debug, Clone, Default)]
pub struct OpenReport {
    /// Bytes of a torn tail that were dropped; nothing in them was acknowledged.
    pub dropped_bytes: u64,
    /// Partitions that stopped, and where.
    pub stopped: Vec<(u16, Stop)>,
    /// Everything out of the ordinary, with its place.
    pub notes: Vec<String>,
}
