//! Why a log on JetStream is not opened.

use super::super::options::BadOptions;

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options name no log.
    #[error(transparent)]
    Options(#[from] BadOptions),
    /// No server can be reached.
    #[error("no nats-server at {servers}: {detail}")]
    Unreachable {
        /// Their addresses.
        servers: String,
        /// Why not.
        detail: String,
    },
    /// The server is not fit.
    #[error("nats-server {version} cannot hold a log: {detail}")]
    Server {
        /// Its version.
        version: String,
        /// What it lacks.
        detail: String,
    },
    /// Made with another number of partitions.
    #[error("the log has {found} partitions, not {asked}: the number is fixed when a log is made")]
    Partitions {
        /// In the log.
        found: u16,
        /// In the options.
        asked: u16,
    },
    /// The streams hold another log than was asked for.
    #[error("stream {stream} holds log {found}, not {asked}")]
    OtherLog {
        /// The stream.
        stream: String,
        /// Its log.
        found: String,
        /// The log asked for.
        asked: String,
    },
    /// A stream of these names is not a log's, or would lose or change frames.
    #[error("stream {stream} cannot hold a partition of the log: {detail}")]
    Stream {
        /// The stream.
        stream: String,
        /// What is wrong.
        detail: String,
    },
    /// Acknowledgements do not wait for a disk, and that was not accepted.
    #[error(
        "the log's durability would be {class}{why}: set `jetstream {{ sync_interval: always }}` on every server and name its \
         system account (`system=user:password`), or declare it (`sync=always`), or take it as it is (`accept=unsynced`)"
    )]
    Unsynced {
        /// `memory` or `quorum-memory`.
        class: String,
        /// Why nothing better is known.
        why: String,
    },
    /// The machine refused a thread or randomness.
    #[error("log on JetStream: {0}")]
    Io(#[from] std::io::Error),
}
