//! The log of one machine: records, frames, segments, the index beside it.

/// Largest encoded record; every payload of the built-in kinds is bounded below it.
pub const RECORD_MAX_BYTES: usize = 256 * 1024;
/// Largest encoded frame.
pub const FRAME_MAX_BYTES: usize = 512 * 1024;
/// Most records in one frame.
pub const FRAME_MAX_RECORDS: usize = 1024;
/// Longest owner's address in a claim frame.
pub const OWNER_MAX_BYTES: usize = 512;
/// Bytes that one sync of the embedded log covers at most.
pub const FLUSH_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Size to which a segment of the embedded log is reserved.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Appends waiting for the embedded log's writer.
pub const LOG_QUEUE_MAX: usize = 4_096;
/// Durable records that wait to be indexed before a flush is due: small flushes touch the same pages again and
/// again, so a record costs about three times as much in flushes of 1,000.
pub const INDEX_TAIL_RECORDS: usize = 8_192;
/// Longest that a durable record waits to be indexed while fewer wait.
pub const INDEX_FLUSH_MS: u64 = 1_000;
/// Partitions of a new log.
pub const PARTITIONS_DEFAULT: u16 = 16;
/// An append that waits longer than this for the storage degrades health, milliseconds.
pub const APPEND_SLOW_MS: u64 = 3_000;
/// Bytes of the log that are read again a second to find damage that nobody has met.
pub const SCRUB_BYTES_PER_SECOND: usize = 2 * 1024 * 1024;
/// Pause after the whole log was read again, milliseconds.
pub const SCRUB_REST_MS: u64 = 60 * 60 * 1000;
/// Index entries that one step of a flush moves.
pub const INDEX_FLUSH_STEP: usize = 256;
/// Most bytes of one read of the embedded log.
pub const LOG_READ_MAX_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes of claim frames in a row that an index that catches up looks past.
pub const INDEX_CLAIMS_MAX_BYTES: usize = 128 * FRAME_MAX_BYTES;
/// Most partitions of a log.
pub const PARTITIONS_MAX: u16 = 1024;
