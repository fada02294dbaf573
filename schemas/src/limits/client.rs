//! The client and the import.

/// Attempts of a client at one command that is answered 429 or 503.
pub const CLIENT_ATTEMPTS: u32 = 6;
/// First pause of a client between attempts; it doubles.
pub const CLIENT_PAUSE_MS: u64 = 200;
/// Longest pause of a client between attempts.
pub const CLIENT_PAUSE_MAX_MS: u64 = 5_000;
/// Longest line of a feed that a client takes.
pub const FEED_LINE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Conversations that an import sends at a time.
pub const IMPORT_PARALLEL: usize = 16;
/// Longest line of an imported file.
pub const IMPORT_LINE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Width of prose in a table with other columns.
pub const TABLE_PROSE_MAX_CHARS: usize = 60;
/// Longer words may be broken in a table: they are not ids.
pub const TABLE_WORD_MAX_CHARS: usize = 220;
