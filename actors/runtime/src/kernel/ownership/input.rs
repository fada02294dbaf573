//! What a node's ownership of a partition is told.

use super::BatchId;
use quipu_events::port::AppendError;

/// What the lease store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseAnswer {
    /// Granted, or renewed under the same grant: nobody else held it in between.
    Granted {
        /// The store's number for this tenure.
        grant: u64,
    },
    /// Another's.
    Refused {
        /// When it may be free.
        until: u64,
    },
    /// No answer came.
    Unknown,
}

/// How a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimOutcome {
    /// The claim frame is durable.
    Durable {
        /// The epoch that it opened.
        epoch: u64,
        /// Next record offset.
        next_offset: u64,
    },
    /// Another frame came first; nothing was stored.
    Stale,
    /// It may or may not be stored.
    Unknown,
    /// The log cannot take it now (full, damaged, unreachable); nothing was stored.
    Failed,
}

/// How an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// Durable.
    Stored,
    /// Not stored, for a reason of its own (too large, no space); the next may succeed.
    Refused,
    /// There is a newer owner. Of a batch that was sent more than once this may come after it was stored.
    Fenced,
    /// It may or may not be stored, or be stored later. A broker's wrong-sequence error is this, not a conflict: the
    /// frame in the way may be the very same one, whose acknowledgement was lost.
    Unknown(BatchId),
}

/// What happens to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time passed.
    Tick,
    /// It should own the partition.
    Own,
    /// It should own it no longer, until told otherwise.
    HandOff,
    /// It is going to end.
    Shutdown,
    /// The store's lease as watched: its grant and when it may be free; `None`: free.
    LeaseSeen(Option<(u64, u64)>),
    /// The store's answer to the question asked at that time. Each question gets one, `Unknown` after a deadline of the
    /// shell's.
    Lease {
        /// From the action.
        asked_at: u64,
        /// The answer.
        answer: LeaseAnswer,
    },
    /// A claim ended. Each `Action::Claim` gets one answer, within a deadline of the shell's.
    Claimed(ClaimOutcome),
    /// Everything up to the durable end is read.
    CaughtUp {
        /// From the action.
        epoch: u64,
        /// Highest epoch that was read.
        newest: u64,
        /// Next record offset.
        next_offset: u64,
    },
    /// Reading met damage or the log is out of reach.
    RestoreFailed {
        /// From the action.
        epoch: u64,
    },
    /// An append ended.
    Appended {
        /// The epoch under which it was sent.
        epoch: u64,
        /// How.
        outcome: AppendOutcome,
    },
    /// A batch was looked for, up to the end.
    ReadBack {
        /// From the action.
        epoch: u64,
        /// From the action.
        batch: BatchId,
        /// Whether it is in the log.
        stored: bool,
    },
    /// Nothing is queued and nothing in flight.
    Drained {
        /// From the action.
        epoch: u64,
    },
}

/// What an append that was not acknowledged is to the machine.
pub fn outcome_of(error: &AppendError, batch: [u8; 16]) -> AppendOutcome {
    match error {
        AppendError::Full | AppendError::Invalid(_) => AppendOutcome::Refused,
        AppendError::Fenced { .. } => AppendOutcome::Fenced,
        // A writer that was poisoned, or lost its place, is of no use until it has claimed again.
        AppendError::Conflict { .. } | AppendError::Unknown(_) | AppendError::Poisoned(_) => AppendOutcome::Unknown(batch),
    }
}
