//! Why a log on Kafka does not open.

use super::{options::BadOptions, refusal::Refusal};

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options name no log.
    #[error(transparent)]
    Options(#[from] BadOptions),
    /// The brokers do not take this node, or it does not take them for those that it was told of.
    #[error("no log on Kafka at {brokers}: {why}")]
    Refused {
        /// Their addresses.
        brokers: String,
        /// Which key of the address is wrong.
        why: Refusal,
    },
    /// No broker can be reached.
    #[error("no Kafka broker at {brokers}: {detail}")]
    Unreachable {
        /// Their addresses.
        brokers: String,
        /// Why not.
        detail: String,
    },
    /// The brokers are not fit.
    #[error("these brokers cannot hold a log: {0}")]
    Brokers(String),
    /// Made with another number of partitions.
    #[error("the log has {found} partitions, not {asked}: the number is fixed when a log is made")]
    Partitions {
        /// In the log.
        found: u16,
        /// In the options.
        asked: u16,
    },
    /// A topic holds another log than was asked for.
    #[error("topic {topic} holds log {found}, not {asked}")]
    OtherLog {
        /// The topic.
        topic: String,
        /// Its log.
        found: String,
        /// The log asked for.
        asked: String,
    },
    /// A topic of these names is not a log's, or would lose or change frames.
    #[error("topic {topic} cannot hold a part of the log: {detail}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong.
        detail: String,
    },
    /// Acknowledgements do not wait for a disk, and that was not accepted.
    #[error(
        "the log's durability would be {class}{why}: set `flush.messages=1` on its topic (`sync=always` does so when the log is \
         made, and declares it of brokers that do not tell), or take it as it is (`accept=unsynced`)"
    )]
    Unsynced {
        /// `memory` or `quorum-memory`.
        class: String,
        /// Why nothing better is known.
        why: String,
    },
    /// The machine refused a thread or randomness.
    #[error("log on Kafka: {0}")]
    Io(#[from] std::io::Error),
}
