//! What can go wrong with views.

use quipu_events::port::ReadError;

/// Why views could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Somebody else moved the checkpoint, or it rolled back: read it again before going on. Nothing was written.
    #[error("checkpoint of partition {partition} is not at offset {expected}")]
    Conflict {
        /// Partition.
        partition: u16,
        /// Where it was thought to be.
        expected: u64,
    },
    /// The views were made from another log, generation or projector: rebuild them.
    #[error("views were made from another {what}: {found} instead of {expected}; rebuild them")]
    OtherOrigin {
        /// `log`, `generation`, `partition count` or `projector`.
        what: &'static str,
        /// What the store says.
        found: String,
        /// What is asked for.
        expected: String,
    },
    /// The view's family begins again and has not seen what the others have.
    #[error("the {0} views are being built again; the others answer")]
    Late(&'static str),
    /// The storage failed; a batch under way was not applied, or its outcome shows in the checkpoint.
    #[error("view storage: {0}")]
    Storage(String),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// No such view.
    #[error("no such view: `{0}`; known: {1}")]
    UnknownView(String, String),
    /// A filter that the view does not have.
    #[error("view {view} has no filter `{name}`; it has {allowed}")]
    UnknownFilter {
        /// View.
        view: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        allowed: String,
    },
    /// A filter's value is of the wrong type or not one of a fixed set.
    #[error("filter `{name}` of view {view} takes {takes}, not `{value}`")]
    BadFilter {
        /// View.
        view: &'static str,
        /// Filter.
        name: String,
        /// What it takes.
        takes: String,
        /// What was given, cut short.
        value: String,
    },
    /// A page cursor or size that this view did not give or does not allow.
    #[error("{0}")]
    BadPage(String),
    /// The number of key parts is not the view's.
    #[error("a row of view {view} is named by {names}, not by {given} parts")]
    BadKey {
        /// View.
        view: &'static str,
        /// The parts.
        names: String,
        /// How many were given.
        given: usize,
    },
    /// A partition is stopped, so the views cannot be completed.
    #[error("views of partition {partition} are stopped at offset {offset}: {why}")]
    Stopped {
        /// Partition.
        partition: u16,
        /// Where.
        offset: u64,
        /// Why.
        why: String,
    },
}
