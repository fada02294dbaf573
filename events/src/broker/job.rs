//! What a partition's writer is asked to do, and what it is to its partition.

use super::marks::Mark;
use crate::port::{AppendDone, AppendError, Batch, Head};

/// Called once when a claim is settled.
pub(crate) type ClaimDone = Box<dyn FnOnce(Result<Head, AppendError>) + Send>;

pub(crate) enum Job {
    Append(Batch, AppendDone),
    Claim(String, ClaimDone),
}

impl Job {
    pub(crate) fn refuse(self, error: AppendError) {
        match self {
            Job::Append(_, done) => done(Err(error)),
            Job::Claim(_, done) => done(Err(error)),
        }
    }
}

/// What a writer is to its partition.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Not its owner: it never was, or another has claimed it.
    Stranger,
    /// Its owner, and where it ends.
    Owner(Mark),
    /// It was the owner until an append whose outcome is unknown.
    Unsure(Head, String),
}

/// Whether a batch continues the partition, as far as its writer knows without asking.
pub(crate) enum Continues {
    /// It does, behind this end.
    Behind(Mark),
    /// It does not.
    Refused(AppendError),
    /// Only the log tells.
    AskTheLog,
}

impl Standing {
    pub(crate) fn continues(&self, partition: u16, batch: &Batch) -> Continues {
        let end = match self {
            Standing::Owner(end) => *end,
            Standing::Unsure(head, _) if batch.epoch < head.epoch => return Continues::Refused(fenced(partition, head.epoch)),
            Standing::Unsure(_, why) => return Continues::Refused(poisoned(partition, why)),
            Standing::Stranger => return Continues::AskTheLog,
        };
        if batch.epoch < end.head.epoch {
            return Continues::Refused(fenced(partition, end.head.epoch));
        }
        if batch.epoch != end.head.epoch || batch.first_offset != end.head.next_offset || batch.previous != end.head.frame_hash {
            return Continues::Refused(AppendError::Conflict {
                partition,
                expected: end.head.next_offset,
            });
        }
        Continues::Behind(end)
    }
}

pub(crate) fn fenced(partition: u16, epoch: u64) -> AppendError {
    AppendError::Fenced { partition, epoch }
}

pub(crate) fn poisoned(partition: u16, why: &str) -> AppendError {
    AppendError::Poisoned(format!("partition {partition} must be claimed again: {why}"))
}
