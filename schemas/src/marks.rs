//! What tells stored JSON from JSON that a client sends: keys that mark sealed values, and whether a client's command is being parsed.

use std::cell::Cell;

/// Marks a sealed value in stored JSON; refused in free-form JSON from clients.
pub const SEALED_KEY: &str = "$sealed";
/// Marks the name of a sealed value that is kept beside the log; refused in free-form JSON from clients.
pub const BLOB_KEY: &str = "$blob";
/// Tells a value's size beside [`BLOB_KEY`].
pub const SIZE_KEY: &str = "$size";
/// Tells the type of a value beside [`BLOB_KEY`].
pub const TYPE_KEY: &str = "$type";
/// Marks a sealed secret in stored JSON; refused in free-form JSON from clients.
pub const SECRET_KEY: &str = "$secret";
/// Names the subject beside [`SEALED_KEY`], [`BLOB_KEY`] and [`SECRET_KEY`].
pub const SUBJECT_KEY: &str = "$subject";

thread_local! {
    static IS_SEALING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a client's command is being parsed on this thread.
pub fn is_sealing() -> bool {
    IS_SEALING.get()
}

/// Notes whether a client's command is being parsed on this thread; returns what held before.
pub(crate) fn set_sealing(is_sealing: bool) -> bool {
    IS_SEALING.replace(is_sealing)
}
