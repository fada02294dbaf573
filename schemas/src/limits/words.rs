//! Ids, names and commands, whatever their kind.

/// Largest command in its stored form, without values that are kept beside the log (must fit a record with room for its
/// header).
pub const COMMAND_MAX_BYTES: usize = 192 * 1024;
/// Longest entity, org, principal and message id.
pub const ID_MAX_CHARS: usize = 64;
/// Longest command id.
pub const COMMAND_ID_MAX_CHARS: usize = 128;
/// Deepest nesting of free-form JSON.
pub const JSON_MAX_DEPTH: usize = 32;
/// Longest display name or title.
pub const NAME_MAX_CHARS: usize = 200;
/// Longest reason that people give or read.
pub const REASON_MAX_CHARS: usize = 500;
/// Longest correlation id and environment label.
pub const LABEL_MAX_CHARS: usize = 128;
/// Longest word for which a similar one is suggested.
pub const NEAREST_MAX_BYTES: usize = 64;
/// Longest prefix of the ids of a kind.
pub const KIND_PREFIX_MAX_CHARS: usize = 8;
/// Longest plural of a kind.
pub const KIND_PLURAL_MAX_CHARS: usize = 33;
