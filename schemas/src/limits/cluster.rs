//! Between the nodes of a log.

/// Volatile events that wait for one listener.
pub const VOLATILE_QUEUE_MAX: usize = 1_024;
/// Life of a partition's lease from its last renewal, milliseconds: an unplanned takeover waits for its end. Kafka's brokers
/// refuse shorter sessions unless told otherwise (`group.min.session.timeout.ms`).
pub const LEASE_MS: u64 = 6_000;
/// A command in stored form on its way between nodes.
pub const FORWARD_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Keys of other nodes that a node knows.
pub const NODE_KEYS_MAX: usize = 256;
/// How long the key of a node counts after the node was last heard of, milliseconds.
pub const NODE_KEY_KEPT_MS: u64 = 60_000;
/// How long the node that a command is forwarded to may take to be connected, milliseconds.
pub const FORWARD_CONNECT_MS: u64 = 2_000;
/// How long a command that was forwarded to its owner is waited for, milliseconds.
pub const FORWARD_MS: u64 = 15_000;
/// How long a command waits for its partition to change hands before it is refused, milliseconds: longer than a takeover
/// after [`LEASE_MS`].
pub const HANDOFF_WAIT_MS: u64 = 10_000;
/// How long `wait=nodes` waits for the other nodes, in milliseconds.
pub const NODES_WAIT_MS: u64 = 5_000;
/// Volatile events in one message between nodes.
pub const VOLATILE_BATCH_MAX: usize = 256;
/// Volatile events of a node on their way to other nodes; more are lost.
pub const VOLATILE_ABROAD_MAX: usize = 4_096;
/// A node looks this often for records of partitions that it does not own, also where nothing told it of them, milliseconds.
pub const SHADOW_LOOK_MS: u64 = 1_000;
/// Pause after a partition could not be owned, milliseconds.
pub const OWNERSHIP_REST_MS: u64 = 1_000;
