//! A node: its queues, its entities in memory, its clock, its start and stop, its health.

/// Commands waiting for one entity.
pub const ENTITY_QUEUE_MAX: usize = 256;
/// Commands in the node.
pub const NODE_QUEUE_MAX: usize = 16_384;
/// Bytes of commands in the node.
pub const NODE_QUEUE_MAX_BYTES: usize = 128 * 1024 * 1024;
/// Timers that one node fires at a time.
pub const TIMERS_FIRING_MAX: usize = 256;
/// Timers that could not be fired whose pauses one node remembers; the others are tried again sooner.
pub const TIMERS_PAUSED_MAX: usize = 10_000;
/// How long the wall clock must have been ahead before a node's time follows it, in milliseconds.
pub const CLOCK_HOLD_MS: u64 = 60_000;
/// How far the wall clock may differ from a node's time, or stand behind its records, before health says so, in
/// milliseconds.
pub const CLOCK_OFF_MAX_MS: u64 = 2_000;
/// Orgs whose status and roles a node keeps in memory.
pub const AUTHORITY_ORGS_MAX: usize = 4_096;
/// Members, grants, roles and keys of all orgs that a node keeps in memory.
pub const AUTHORITY_PARTS_MAX: usize = 500_000;
/// Rights and keys of one partition's orgs, as they were computed, that a node keeps at hand beside that.
pub const AUTHORITY_AT_HAND_MAX: usize = 1_024;
/// Entities that are read one after another for one question about rights.
pub const AUTHORITY_ROUNDS_MAX: usize = 1_024;
/// Entities that one node reads back from the log at a time.
pub const RECOVERIES_MAX: usize = 32;
/// How long the recovery of an entity waits for its last records to be stored and indexed, in milliseconds.
pub const RECOVERY_WAIT_MS: u64 = 30_000;
/// Entities put to sleep in one go, unless more are awake than may be.
pub const PASSIVATIONS_MAX: usize = 256;
/// Staleness of the authority view past which commands are refused.
pub const AUTHORITY_STALE_MS: u64 = 5_000;
/// Idle time after which an entity is passivated.
pub const PASSIVATE_AFTER_MS: u64 = 60_000;
/// Active entities past which the least recently used is passivated.
pub const ACTIVE_ENTITIES_MAX: usize = 50_000;
/// Events between snapshots of one entity, at the least: a larger one is written after an eighth of its version, so that
/// writing them costs the same for each event however old the entity is.
pub const SNAPSHOT_EVERY_EVENTS: u64 = 200;
/// Longest time that a node may be told to go on serving after it said that it is not ready any more.
pub const SHUTDOWN_DELAY_MAX_MS: u64 = 10 * 60 * 1000;
/// How long a stop waits for model calls that are under way, milliseconds, as a part of [`DRAIN_MS`]; then they are ended.
pub const MODEL_CALL_STOP_MS: u64 = 20_000;
/// How long a stop waits for the record of a model call that it has ended, milliseconds.
pub const STOP_RECORD_MS: u64 = 2_000;
/// Longest drain of a graceful stop.
pub const DRAIN_MS: u64 = 30_000;
/// Pause before a task of the node that crashed is started again, milliseconds.
pub const TASK_PAUSE_MS: u64 = 1_000;
/// How long health names a task that crashed, milliseconds.
pub const TASK_TROUBLE_MS: u64 = 5 * 60 * 1000;
/// How long failed model calls and failed turns degrade health, milliseconds.
pub const TROUBLE_RECENT_MS: u64 = 5 * 60 * 1000;
/// Failures of one kind whose times a node remembers; health counts at most so many.
pub const TROUBLE_KEPT_MAX: usize = 1_000;
/// A timer that is due for longer than this is late, and degrades health, milliseconds.
pub const TIMER_LATE_MS: u64 = 5_000;
/// Due timers of a partition that metrics and health count.
pub const TIMERS_COUNTED_MAX: usize = 1_000;
/// How long these counts are used again before the index is asked anew, milliseconds.
pub const COUNTS_KEPT_MS: u64 = 1_000;
/// Least limit on a node's address space under which it starts; its stacks and arenas reserve most of this and use little.
pub const ADDRESS_SPACE_MIN_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Steps of the wall clock that a node remembers; the oldest two are merged beyond.
pub const CLOCK_STEPS_MAX: usize = 16;
/// Marks of commands that an entity loads at most, about 12 bytes each.
pub const SEEN_LOADED_MAX: usize = 4_096;
/// Marks of commands that an entity keeps at most.
pub const SEEN_KEPT_MAX: usize = 65_536;
