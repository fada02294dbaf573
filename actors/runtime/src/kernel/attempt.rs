//! How an attempt at an effect ends, as those who perform it tell the relay.

use quipu_schemas::reaction::Outcome;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptEnd {
    /// For good: delivered, failed or lost.
    Done(Outcome),
    /// In a way that another attempt may mend.
    Retryable {
        /// Stable code.
        code: String,
        /// What happened, without secrets or personal data.
        detail: String,
        /// How long to wait at least, where the receiver (or the breaker) said so. Milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// By cancellation; the connection is closed. Always [`Outcome::Cancelled`].
    Cancelled(Outcome),
}

/// The code of an attempt that was not made because its destination's breaker is open.
pub const BREAKER_OPEN: &str = "breaker_open";
