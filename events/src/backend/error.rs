//! Why a log is not opened.

#[cfg(feature = "jetstream")]
use crate::jetstream;
#[cfg(feature = "kafka")]
use crate::kafka;
use crate::{blobs::BlobError, embedded, heads::EndsError, keyring::KeyringError};
use std::{io, path::PathBuf};

/// Text that names no log that this build can open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBackend {
    /// No kind of log.
    #[error("not a log: `{0}`; use embedded, memory, or an address that begins with nats://, tls:// or kafka://")]
    Unknown(String),
    /// A kind of log that was left out of this build.
    #[error("this build has no {scheme} log: build it with `--features {feature}`")]
    NotBuilt {
        /// Scheme of the address.
        scheme: &'static str,
        /// Cargo feature that brings it.
        feature: &'static str,
    },
    /// An address with something wrong in it.
    #[error("{0}")]
    Address(String),
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The embedded log.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The log on JetStream.
    #[cfg(feature = "jetstream")]
    #[error(transparent)]
    JetStream(#[from] jetstream::OpenError),
    /// The log on Kafka.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] kafka::OpenError),
    /// It ends before what this node saw of it.
    #[error(transparent)]
    Ends(#[from] EndsError),
    /// An embedded log needs a directory.
    #[error("an embedded log needs a data directory")]
    NoDirectory,
    /// Another process uses the data directory.
    #[error("data directory {} is in use by {holder}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The embedded log was copied to a broker: it is the past, and to go on from it would make two futures.
    #[error("the log in this directory was moved to {to}: start with --log and that address, or delete {} to continue from the old copy", file.display())]
    Moved {
        /// The broker's log.
        to: String,
        /// What says so.
        file: PathBuf,
    },
    /// The keys.
    #[error("keys: {0}")]
    Keys(#[from] KeyringError),
    /// The store of large values.
    #[error("values: {0}")]
    Blobs(#[from] BlobError),
    /// The data directory.
    #[error("data directory: {0}")]
    Io(#[from] io::Error),
}
