//! Commands and events over a bus.

/// Calls over the bus that a node has at work; more are answered 503.
pub const BUS_CALLS_MAX: usize = 1_024;
/// Largest body of a command over the bus.
pub const BUS_COMMAND_MAX_BYTES: usize = 256 * 1024;
/// Queued commands that the node which decides them holds, each in the order of its entity.
pub const BUS_QUEUE_AHEAD: usize = 1_024;
/// Queued commands that are at work at a time, each of another entity.
pub const BUS_LANES_MAX: usize = 64;
/// Bytes of commands that wait in the bus; a publisher of more is refused.
pub const BUS_QUEUE_MAX_BYTES: i64 = 256 * 1024 * 1024;
/// Commands that wait in the bus; a publisher of more is refused.
pub const BUS_QUEUE_MAX_MESSAGES: i64 = 1_000_000;
/// Seconds after which a command that nobody decided leaves the bus.
pub const BUS_QUEUE_AGE_S: u64 = 7 * 24 * 60 * 60;
/// Seconds after which a receipt leaves the bus.
pub const BUS_RECEIPT_AGE_S: u64 = 24 * 60 * 60;
/// Bytes of receipts in the bus; the oldest make room.
pub const BUS_RECEIPTS_MAX_BYTES: i64 = 256 * 1024 * 1024;
/// Days after which an event leaves the feed of the bus.
pub const BUS_FEED_DAYS: u32 = 3;
/// Most days that may be asked for.
pub const BUS_FEED_DAYS_MAX: u32 = 365;
/// Bytes of the feed in the bus; where they are used up, the relay waits.
pub const BUS_FEED_MAX_BYTES: i64 = 1024 * 1024 * 1024;
/// Events on their way to the bus at a time, each of another entity.
pub const BUS_FEED_IN_FLIGHT: usize = 256;
/// Seconds within which the bus drops a message whose id it has seen.
pub const BUS_DUPLICATE_WINDOW_S: u64 = 120;
/// First and longest pause before something that the bus or the node refused for now is tried again; it doubles.
pub const BUS_PAUSE_MS: (u64, u64) = (50, 5_000);
/// Days that a command waits in a topic of the bus.
pub const BUS_COMMAND_TOPIC_DAYS: u32 = 3;
/// Bytes of one closed file of the topic of marks: what is newer is not compacted yet, and is read again at a takeover.
pub const BUS_MARKS_SEGMENT_BYTES: u32 = 4 * 1024 * 1024;
/// How often topics of an org's own are looked for, in milliseconds.
pub const BUS_TOPICS_LOOK_MS: u64 = 10_000;
/// After how long without a word the consumer group gives away what a node consumed, in milliseconds; the least that brokers
/// take by default.
pub const BUS_SESSION_MS: u64 = 6_000;
/// Pause between two commits of what is answered, in milliseconds.
pub const BUS_COMMIT_MS: u64 = 250;
/// Pause between two notes of how far the relay is.
pub const BUS_MARK_MS: u64 = 1_000;
/// How long the relay may have work before health calls it behind.
pub const BUS_BEHIND_MS: u64 = 5_000;
