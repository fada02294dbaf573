//! Views and their stores.

/// Log bytes that a projector reads for one batch of a partition.
pub const VIEW_BATCH_MAX_BYTES: usize = 512 * 1024;
/// Chain ends that a partition's projector remembers.
pub const VIEW_TIPS_MAX: usize = 1_024;
/// When to ask again views that are being built, seconds.
pub const VIEW_BUILDING_RETRY_S: u32 = 1;
/// Records that views are behind from which they count as degraded.
pub const VIEW_LAG_DEGRADED_RECORDS: u64 = 10_000;
/// Time that a record waits for the views from which they count as degraded.
pub const VIEW_LAG_DEGRADED_MS: u64 = 30_000;
/// Reader connections of a view store.
pub const VIEW_READERS: usize = 4;
/// Most reader connections of a view store on a server.
pub const VIEW_READERS_MAX: usize = 64;
/// Time to connect to a view store's server, or to wait for a free connection.
pub const VIEW_CONNECT_MS: u64 = 5_000;
/// One query of a view store's server.
pub const VIEW_READ_MS: u64 = 20_000;
/// One transaction that writes to a view store's server.
pub const VIEW_WRITE_MS: u64 = 60_000;
/// Longest name of the schema of a view store on a server.
pub const VIEW_SCHEMA_MAX_CHARS: usize = 24;
/// Longest name of anything in PostgreSQL.
pub const VIEW_NAME_MAX_CHARS: usize = 63;
/// Statements that a connection to a view store on this machine prepares and keeps.
pub const VIEW_PREPARED_MAX: usize = 512;
