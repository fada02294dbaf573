//! What can be wrong with keys.

/// Why keys cannot be used. Every text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A key file is open to others.
    #[error("key file {path} may be read or written by others (mode {mode:o}): run `chmod {wanted:o} {path}`")]
    Mode {
        /// The file or directory.
        path: String,
        /// Its mode.
        mode: u32,
        /// The mode that it must have.
        wanted: u32,
    },
    /// Data keys are there and the master key is not.
    #[error(
        "master key {0} is missing, and data keys that it wraps are there: restore it from the backup of the keys; if there is none, \
         move the keys directory away and start with `quipu serve --without-keys`"
    )]
    NoMaster(String),
    /// A log has records, and the keys that belong to it are not there.
    #[error(
        "the keys of this log are missing ({0}): restore the keys directory from its backup; without it, personal data cannot be \
         read any more, and `quipu serve --without-keys` (`[keys] allow_lost = true`) makes new keys for what comes"
    )]
    Missing(String),
    /// The keys that are there belong to another log.
    #[error(
        "the keys in {0} are not those of this log: restore the keys directory that belongs to it; without it, personal data \
         cannot be read any more, and `quipu serve --without-keys` (`[keys] allow_lost = true`) goes on with the keys that are there"
    )]
    Foreign(String),
    /// Keys that the log has used are gone from the file, or were replaced.
    #[error(
        "key file {path} holds {found} of the {noted} data keys that this log has used: restore the keys directory from its newest \
         backup; without the others, what they sealed cannot be read any more, and `quipu serve --without-keys` (`[keys] \
         allow_lost = true`) goes on with the keys that are there"
    )]
    Fewer {
        /// The file.
        path: String,
        /// Keys in it, that of command digests included.
        found: u64,
        /// Keys that the log has used.
        noted: u64,
    },
    /// There is no note of which keys belong to the log.
    #[error(
        "the fingerprint of the keys, {0}, is missing, and the log has records: restore it from a backup, or, if the keys directory \
         is the right one, start once with `quipu serve --without-keys`"
    )]
    NoFingerprint(String),
    /// The note of which keys belong to the log is another log's.
    #[error(
        "the fingerprint of the keys, {0}, is that of another log: restore it and the keys directory from a backup of this one, or, \
         if the keys directory is the right one, start once with `quipu serve --without-keys`"
    )]
    OtherLog(String),
    /// The note of which keys belong to the log cannot be used.
    #[error(
        "the fingerprint of the keys, {0}, is damaged: restore it from a backup, or, if the keys directory is the right one, start \
         once with `quipu serve --without-keys`"
    )]
    Fingerprint(String),
    /// No key of one subject was named.
    #[error("`{0}` is not one subject: name one as org/principal")]
    NotOne(String),
    /// Keys that nodes share stay.
    #[error("the keys of this log are shared by its nodes, and none of them can be destroyed yet")]
    NotDestroyed,
    /// Data keys do not open under the master key.
    #[error(
        "data keys in {0} do not open under this master key: restore the master key and the data keys from one backup; if there is \
         none, move the keys directory away and start with `quipu serve --without-keys`"
    )]
    WrongMaster(String),
    /// Nodes that share a log have one master key.
    #[error(
        "master key {0} is missing, and other nodes wrapped the keys of this log under theirs: copy `keys/master.key` of another \
         node's data directory there (mode 600)"
    )]
    CopyMaster(String),
    /// The shared keys were wrapped by another master key.
    #[error(
        "the keys in {0} do not open under this node's master key: copy `keys/master.key` of a node that serves this log into this \
         node's data directory"
    )]
    OtherMaster(String),
    /// A line or file that was complete is not any more.
    #[error("key file {path} is damaged at line {line}: restore it from the backup of the keys")]
    Damaged {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The storage failed.
    #[error("key file {path}: {detail}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// The system gives no randomness.
    #[error("no randomness for a new key: {0}")]
    Entropy(String),
}
