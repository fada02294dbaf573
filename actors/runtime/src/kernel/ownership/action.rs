//! What a node's ownership of a partition asks of its shell.

use super::BatchId;

/// What the shell is to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Ask the store for the lease; it grants what is free or past its end.
    AskLease {
        /// To be given back with the answer.
        asked_at: u64,
    },
    /// Renew: the store extends it if the grant is still the last, even past its end.
    RenewLease {
        /// Which.
        grant: u64,
        /// To be given back with the answer.
        asked_at: u64,
    },
    /// Let the lease go, if the grant is still the last. No answer is awaited.
    ReleaseLease {
        /// Which.
        grant: u64,
    },
    /// Append an empty claim frame of the next epoch, fencing every earlier append, also those still on their way.
    Claim,
    /// Read to the durable end.
    ReadToEnd {
        /// To be given back.
        epoch: u64,
    },
    /// Look for a batch. Its absence is final, because the claim came first.
    ReadBack {
        /// To be given back.
        epoch: u64,
        /// Which.
        batch: BatchId,
    },
    /// Answer the commands of the unknown batch: the receipts if it is stored, `not_stored` otherwise.
    Settle {
        /// Which.
        batch: BatchId,
        /// Whether it is in the log.
        stored: bool,
    },
    /// Open admission, with a writer of this epoch.
    Admit {
        /// The epoch.
        epoch: u64,
    },
    /// Close admission; what was admitted goes on. After an unknown append, what is queued behind it fails.
    StopAdmission,
    /// Say `Input::Drained` when nothing is queued or in flight.
    Drain {
        /// To be given back.
        epoch: u64,
    },
    /// Drop writer, queue and entities; what is in flight or unknown is answered `503 outcome_unknown`.
    Abandon,
}
