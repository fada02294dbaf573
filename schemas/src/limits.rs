//! Every limit of the system, in one place, unit last in the name.
//!
//! A limit that a person may configure has its default here; everything else is fixed.

/// Largest encoded record; a larger payload becomes a blob.
pub const RECORD_MAX_BYTES: usize = 128 * 1024;
/// Largest encoded frame.
pub const FRAME_MAX_BYTES: usize = 512 * 1024;
/// Most records in one frame.
pub const FRAME_MAX_RECORDS: usize = 1024;
/// Partitions of a new log.
pub const PARTITIONS_DEFAULT: u16 = 16;
/// Largest HTTP request body.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Largest command body after parsing (must fit a record with room for its header).
pub const COMMAND_MAX_BYTES: usize = 96 * 1024;
/// Longest entity, org, principal and message id.
pub const ID_MAX_CHARS: usize = 64;
/// Longest command id.
pub const COMMAND_ID_MAX_CHARS: usize = 128;
/// Deepest nesting of free-form JSON.
pub const JSON_MAX_DEPTH: usize = 32;
/// Largest agent directive.
pub const DIRECTIVE_MAX_BYTES: usize = 32 * 1024;
/// Longest display name or title.
pub const NAME_MAX_CHARS: usize = 200;
/// Largest message body.
pub const MESSAGE_MAX_BYTES: usize = 64 * 1024;
/// Most participants of one conversation.
pub const PARTICIPANTS_MAX: usize = 500;
/// Most members of one org.
pub const MEMBERS_MAX: usize = 10_000;
/// Most tools granted to one agent.
pub const TOOLS_MAX: usize = 64;
/// Turn claim window when several agents are eligible.
pub const CLAIM_WINDOW_MS: u64 = 500;
/// A person's handoff expires when nobody accepts it.
pub const HANDOFF_TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// Most nodes of a run definition.
pub const NODES_MAX: usize = 200;
/// Most edges of a run definition.
pub const EDGES_MAX: usize = 1_000;
/// Largest run definition.
pub const DEFINITION_MAX_BYTES: usize = 64 * 1024;
/// Inputs that a paused run queues before it answers 429.
pub const RUN_INPUT_QUEUE_MAX: usize = 1_000;
/// Total bytes of a run's queued inputs.
pub const RUN_INPUT_QUEUE_MAX_BYTES: usize = 1024 * 1024;
/// Attempts of an effect unless its node says otherwise.
pub const RETRY_ATTEMPTS_DEFAULT: u32 = 3;
/// First backoff of a retried effect.
pub const RETRY_BACKOFF_MS: u64 = 1_000;
/// Longest backoff of a retried effect.
pub const RETRY_BACKOFF_MAX_MS: u64 = 60_000;
/// Longest durable timer.
pub const TIMER_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Expression source.
pub const EXPRESSION_MAX_BYTES: usize = 4 * 1024;
/// Expression nesting.
pub const EXPRESSION_MAX_DEPTH: usize = 32;
/// Nested comprehensions in one expression.
pub const EXPRESSION_MAX_COMPREHENSIONS: usize = 3;
/// Evaluation steps of one expression.
pub const EXPRESSION_MAX_STEPS: u64 = 100_000;
/// Bytes of values that one evaluation may build.
pub const EXPRESSION_MAX_VALUE_BYTES: usize = 256 * 1024;
/// Model-tool iterations of one agent turn.
pub const TURN_MAX_ITERATIONS: u32 = 10;
/// Tool fingerprints that the runaway guard remembers.
pub const RUNAWAY_WINDOW_CALLS: usize = 20;
/// Equal fingerprints in the window that suspend an agent.
pub const RUNAWAY_REPEATS: usize = 5;
/// Response body that an HTTP effect keeps.
pub const RESPONSE_KEEP_BYTES: usize = 32 * 1024;
/// One effect attempt.
pub const EFFECT_TIMEOUT_MS: u64 = 60_000;
/// Crashes of one kernel command before it is parked.
pub const POISON_CRASHES: u32 = 3;
/// Commands waiting for one entity.
pub const ENTITY_QUEUE_MAX: usize = 256;
/// Commands in the node.
pub const NODE_QUEUE_MAX: usize = 16_384;
/// Bytes of commands in the node.
pub const NODE_QUEUE_MAX_BYTES: usize = 128 * 1024 * 1024;
/// Staleness of the authority view past which commands are refused.
pub const AUTHORITY_STALE_MS: u64 = 5_000;
/// Rows of a page.
pub const PAGE_MAX_ROWS: usize = 1_000;
/// Rows of a page unless asked.
pub const PAGE_DEFAULT_ROWS: usize = 50;
/// Longest wait for `min_position`.
pub const MIN_POSITION_WAIT_MS: u64 = 10_000;
/// Idle time after which an entity is passivated.
pub const PASSIVATE_AFTER_MS: u64 = 60_000;
/// Active entities past which the least recently used is passivated.
pub const ACTIVE_ENTITIES_MAX: usize = 50_000;
/// Events between snapshots of one entity.
pub const SNAPSHOT_EVERY_EVENTS: u64 = 200;
