//! Reads, pages and feeds.

/// Rows of a page.
pub const PAGE_MAX_ROWS: usize = 1_000;
/// Rows of a page unless asked.
pub const PAGE_DEFAULT_ROWS: usize = 50;
/// Longest wait for `min_position`.
pub const MIN_POSITION_WAIT_MS: u64 = 10_000;
/// Bytes of records that the hub keeps for feeds that are live, all together; whoever falls further behind reads the log.
pub const FEED_KEPT_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of records that one feed holds for its reader.
pub const FEED_HELD_BYTES: usize = 256 * 1024;
/// Bytes that a feed reads from the log at a time.
pub const FEED_READ_BYTES: usize = 256 * 1024;
/// Records that a feed of few streams reads at a time.
pub const FEED_PAGE_RECORDS: usize = 128;
/// Streams of a kind up to which a feed of that kind catches up from the index.
pub const FEED_STREAMS_MAX: usize = 16;
/// Feeds that read the log at a time, and no more than half of the processors; others that have to catch up wait for their turn.
pub const FEED_READERS_MAX: usize = 4;
/// How often all live feeds of an org together look for what is new, a second: many take more at a time.
pub const FEED_LOOKS_PER_S: usize = 20_000;
/// Bytes that reads at work, and answers that are not written yet, hold in a node.
pub const READ_BUDGET_BYTES: usize = 128 * 1024 * 1024;
/// Bytes that one read may hold.
pub const READ_REQUEST_MAX_BYTES: usize = 32 * 1024 * 1024;
/// How long a read waits for others to give memory back before it is refused.
pub const READ_WAIT_MS: u64 = 5_000;
/// Records of a stream that are looked up at a time.
pub const READ_PAGE_RECORDS: usize = 128;
/// Bytes of a stream that are read at a time.
pub const READ_PAGE_BYTES: usize = 256 * 1024;
/// Bytes of rows or records past which a page of an answer ends, though more were asked for.
pub const PAGE_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Kept records that a feed looks at in one go.
pub const FEED_LOOKS_MAX: usize = 1_024;
