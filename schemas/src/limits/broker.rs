//! A log on a broker.

use super::log::FRAME_MAX_BYTES;

/// Appends and claims waiting for one partition's writer of a log on a broker.
pub const BROKER_QUEUE_MAX: usize = 64;
/// How long one request to a broker is waited for, in milliseconds.
pub const BROKER_REQUEST_MS: u64 = 2_000;
/// How long the outcome of one append to a broker is looked for before it is called unknown, in milliseconds.
pub const BROKER_OUTCOME_MS: u64 = 10_000;
/// How long opening a log on a broker waits for the broker, in milliseconds.
pub const BROKER_OPEN_MS: u64 = 30_000;
/// Messages asked for in one read from a broker.
pub const BROKER_READ_MESSAGES: u64 = 256;
/// Bytes asked for in one read from a broker, at least and at most.
pub const BROKER_READ_BYTES: (usize, usize) = (64 * 1024, 4 * 1024 * 1024);
/// Single frames asked for at once when records are read by place.
pub const BROKER_READS_AT_ONCE: usize = 32;
/// Consumers that read a log on Kafka at once.
pub const BROKER_READERS_MAX: usize = 4;
/// How often a lease on JetStream is renewed until its servers take it, while it reads as ours.
pub const BROKER_RENEWAL_ATTEMPTS: u32 = 6;
/// First and longest pause between them, in milliseconds.
pub const BROKER_RENEWAL_PAUSE_MS: (u64, u64) = (16, 200);
/// First and longest pause between two questions to a broker about the same thing, in milliseconds.
pub const BROKER_PAUSE_MS: (u64, u64) = (2, 200);
/// Memory for the newest records of a log on a broker, all partitions together.
pub const BROKER_RECENT_BYTES: usize = 64 * 1024 * 1024;
/// Frames whose place in the stream is remembered, a partition.
pub const BROKER_MARKS_MAX: usize = 2_048;
/// Bytes of a message beside its frame.
pub const BROKER_HEADERS_MAX_BYTES: usize = 1024;
/// Longest prefix of what a log is called on its broker.
pub const BROKER_PREFIX_MAX_CHARS: usize = 32;
/// Longest pause between attempts to connect again, milliseconds.
pub const BROKER_RECONNECT_MAX_MS: u64 = 500;
/// Largest batch that a topic takes: a frame and what stands beside it.
pub const BROKER_BATCH_MAX_BYTES: usize = FRAME_MAX_BYTES + 64 * 1024;
