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

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::digest::Digest;
    use std::sync::mpsc;

    const END: Mark = Mark {
        sequence: 8,
        head: Head {
            epoch: 5,
            next_offset: 40,
            frame_hash: Digest([9; 32]),
        },
        claim: false,
    };

    fn batch(epoch: u64, first_offset: u64, previous: u8) -> Batch {
        Batch {
            partition: 3,
            epoch,
            batch_id: [0; 16],
            first_offset,
            previous: Digest([previous; 32]),
            records: vec![],
        }
    }

    fn told(standing: &Standing, batch: &Batch) -> Result<Option<Mark>, AppendError> {
        match standing.continues(3, batch) {
            Continues::Behind(mark) => Ok(Some(mark)),
            Continues::AskTheLog => Ok(None),
            Continues::Refused(error) => Err(error),
        }
    }

    #[test]
    fn an_owner_takes_what_continues_its_end_and_refuses_the_rest() {
        let owner = Standing::Owner(END);
        assert_eq!(told(&owner, &batch(5, 40, 9)), Ok(Some(END)));
        let conflict = Err(AppendError::Conflict {
            partition: 3,
            expected: 40,
        });
        for other in [batch(6, 40, 9), batch(5, 39, 9), batch(5, 41, 9), batch(5, 40, 8)] {
            assert_eq!(told(&owner, &other), conflict, "{other:?}");
        }
        // An epoch that is over says so, whatever else is wrong.
        let fenced = Err(AppendError::Fenced { partition: 3, epoch: 5 });
        for old in [batch(4, 40, 9), batch(4, 1, 1)] {
            assert_eq!(told(&owner, &old), fenced, "{old:?}");
        }
    }

    #[test]
    fn unknown_outcome_needs_a_claim_and_others_need_the_log() {
        let unsure = Standing::Unsure(END.head, "no answer".into());
        assert_eq!(told(&unsure, &batch(4, 40, 9)), Err(AppendError::Fenced { partition: 3, epoch: 5 }));
        let claim = "partition 3 must be claimed again: no answer";
        for epoch in [5, 6] {
            assert_eq!(told(&unsure, &batch(epoch, 40, 9)), Err(AppendError::Poisoned(claim.into())));
        }
        assert_eq!(told(&Standing::Stranger, &batch(5, 40, 9)), Ok(None));
    }

    #[test]
    fn whatever_is_refused_is_answered() {
        let (send, answers) = mpsc::channel();
        let claimed = send.clone();
        Job::Append(batch(5, 40, 9), Box::new(move |result| send.send(result.err()).unwrap())).refuse(AppendError::Full);
        Job::Claim("me".into(), Box::new(move |result| claimed.send(result.err()).unwrap())).refuse(AppendError::Full);
        assert_eq!(
            answers.iter().collect::<Vec<_>>(),
            [Some(AppendError::Full), Some(AppendError::Full)]
        );
    }
}
