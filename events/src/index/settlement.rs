//! How a reaction stands, folded from what records say about it.
//!
//! Facts about one key are folded partition by partition, each in log order, and the results are joined by
//! a rule that does not look at order: partitions may be indexed in any order and give the same standing.

use super::PendingKind;
use quipu_schemas::{context::Millis, ids::StreamId, position::Position, reaction::Settled};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A final settlement, with the record that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalState {
    /// What happened.
    pub outcome: Settled,
    /// Stream of the record that says so.
    pub stream: StreamId,
    /// That stream's version after the record.
    pub version: u64,
    /// The record (index 0).
    pub position: Position,
    /// Record time.
    pub time: Millis,
}

/// What is known of an effect's attempts since it was first asked for, or since a person last retried it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Highest attempt recorded as started (at-most-once effects only); 0: none.
    pub started: u32,
    /// The last recorded failure.
    pub failed: Option<FailedAttempt>,
    /// How often a person retried it. Attempts count from 1 again after each.
    pub retried: u32,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Which, from 1.
    pub attempt: u32,
    /// The failure's code.
    pub code: String,
    /// The failure.
    pub detail: String,
    /// When the next attempt is due.
    pub retry_at: Millis,
    /// When the failure was recorded.
    pub time: Millis,
}

/// One record's word on a reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) outcome: Settled,
    pub(crate) stream: StreamId,
    pub(crate) version: u64,
    pub(crate) position: Position,
    pub(crate) time: Millis,
}

/// What one partition's records say about one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) settled: Option<FinalState>,
    pub(crate) attempts: Attempts,
    /// Whether the sender of a dispatch recorded the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) told: bool,
    /// Next offset to fold; a note below it was folded already.
    pub(crate) next: u64,
}

/// How a reaction stands over all partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Waits to be done.
    Open,
    /// Given up; a person may retry it.
    Dead,
    /// Done for good.
    Done,
}

fn is_dead(outcome: &Settled) -> bool {
    matches!(outcome, Settled::Dead { .. } | Settled::Parked { .. })
}

impl Verdict {
    /// Folds a note: the first final settlement wins, but a dead reaction may be retried or dropped.
    pub(crate) fn fold(&mut self, note: &Note) {
        if note.position.offset < self.next {
            return;
        }
        self.next = note.position.offset + 1;
        let dead = self.settled.as_ref().is_some_and(|settled| is_dead(&settled.outcome));
        match &note.outcome {
            Settled::Late => {}
            Settled::Told => self.told = true,
            Settled::Retried if dead => {
                self.settled = None;
                self.attempts = Attempts {
                    retried: self.attempts.retried + 1,
                    ..Attempts::default()
                };
            }
            Settled::Retried => {}
            Settled::Started { attempt } if self.settled.is_none() => self.attempts.started = self.attempts.started.max(*attempt),
            Settled::AttemptFailed {
                attempt,
                code,
                detail,
                retry_at,
            } if self.settled.is_none() => {
                let failed = FailedAttempt {
                    attempt: *attempt,
                    code: code.clone(),
                    detail: detail.clone(),
                    retry_at: *retry_at,
                    time: note.time,
                };
                self.attempts.failed = Some(failed);
            }
            Settled::Started { .. } | Settled::AttemptFailed { .. } => {}
            Settled::Dropped if dead => self.settle(note),
            Settled::Accepted
            | Settled::Unchanged
            | Settled::Refused { .. }
            | Settled::Parked { .. }
            | Settled::Dead { .. }
            | Settled::Cancelled
            | Settled::Dropped => {
                if self.settled.is_none() {
                    self.settle(note);
                }
            }
        }
    }

    fn settle(&mut self, note: &Note) {
        self.settled = Some(FinalState {
            outcome: note.outcome.clone(),
            stream: note.stream.clone(),
            version: note.version,
            position: note.position,
            time: note.time,
        });
    }
}

/// Verdicts on one key, by partition.
pub(crate) type Verdicts = BTreeMap<u16, Verdict>;

/// Joins the partitions' verdicts on a reaction of this kind: a dispatch whose sender waits is not done before that was
/// told.
pub(crate) fn standing(kind: PendingKind, verdicts: &Verdicts) -> Standing {
    let settled = settlement_stands(verdicts);
    let accepted = |settled: &FinalState| matches!(settled.outcome, Settled::Accepted | Settled::Unchanged);
    let wants_word = match kind {
        PendingKind::Dispatch | PendingKind::Effect => false,
        PendingKind::AwaitedDispatch => true,
        PendingKind::HeededDispatch => !final_of(verdicts).is_some_and(accepted),
    };
    match settled {
        Standing::Done if wants_word && !verdicts.values().any(|verdict| verdict.told) => Standing::Open,
        settled => settled,
    }
}

fn settlement_stands(verdicts: &Verdicts) -> Standing {
    let mut standing = Standing::Open;
    for settled in verdicts.values().filter_map(|verdict| verdict.settled.as_ref()) {
        if !is_dead(&settled.outcome) {
            return Standing::Done;
        }
        standing = Standing::Dead;
    }
    standing
}

/// The settlement that counts: one that is done for good before a dead one, the lowest partition first.
pub(crate) fn final_state(verdicts: &Verdicts) -> Option<FinalState> {
    final_of(verdicts).cloned()
}

fn final_of(verdicts: &Verdicts) -> Option<&FinalState> {
    let settled = verdicts.values().filter_map(|verdict| verdict.settled.as_ref());
    settled.min_by_key(|settled| is_dead(&settled.outcome))
}

/// The attempts that are known.
pub(crate) fn attempts(verdicts: Verdicts) -> Attempts {
    verdicts
        .into_values()
        .map(|verdict| verdict.attempts)
        .find(|attempts| *attempts != Attempts::default())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(offset: u64, outcome: Settled) -> Note {
        let stream = "acme/run/r1".parse().unwrap();
        Note {
            outcome,
            stream,
            version: 1,
            position: Position {
                partition: 0,
                offset,
                index: 0,
            },
            time: 5,
        }
    }
    fn dead() -> Settled {
        Settled::Dead {
            attempts: 3,
            code: "timeout".into(),
            detail: "slow".into(),
        }
    }
    fn fold(notes: &[Settled]) -> Verdict {
        let mut verdict = Verdict::default();
        for (offset, outcome) in notes.iter().enumerate() {
            verdict.fold(&note(offset as u64, outcome.clone()));
        }
        verdict
    }
    fn outcome(verdict: &Verdict) -> Option<Settled> {
        verdict.settled.as_ref().map(|settled| settled.outcome.clone())
    }

    #[test]
    fn first_final_settlement_wins_over_later_notes() {
        let verdict = fold(&[
            Settled::Started { attempt: 1 },
            Settled::Accepted,
            Settled::Dropped,
            Settled::Started { attempt: 2 },
        ]);
        assert_eq!(outcome(&verdict), Some(Settled::Accepted));
        assert_eq!(verdict.attempts.started, 1);
        assert_eq!(outcome(&fold(&[Settled::Accepted, Settled::Retried])), Some(Settled::Accepted));
    }

    #[test]
    fn a_dead_effect_is_reopened_by_retry_and_closed_by_drop() {
        let reopened = fold(&[Settled::Started { attempt: 1 }, dead(), Settled::Retried]);
        assert_eq!(outcome(&reopened), None);
        assert_eq!(
            reopened.attempts,
            Attempts {
                retried: 1,
                ..Attempts::default()
            }
        );
        assert_eq!(outcome(&fold(&[dead(), Settled::Accepted])), Some(dead()));
        assert_eq!(outcome(&fold(&[dead(), Settled::Dropped])), Some(Settled::Dropped));
        assert_eq!(
            outcome(&fold(&[dead(), Settled::Retried, Settled::Unchanged])),
            Some(Settled::Unchanged)
        );
    }

    #[test]
    fn a_note_is_folded_once() {
        let mut verdict = fold(&[dead(), Settled::Retried]);
        verdict.fold(&note(0, dead()));
        assert_eq!(outcome(&verdict), None);
        let mut verdict = fold(&[dead()]);
        verdict.fold(&note(0, Settled::Dropped));
        assert_eq!(outcome(&verdict), Some(dead()), "the last one too");
    }

    fn failed(attempt: u32) -> Settled {
        Settled::AttemptFailed {
            attempt,
            code: "timeout".into(),
            detail: "slow".into(),
            retry_at: 9,
        }
    }

    #[test]
    fn attempts_are_noted_until_it_is_settled() {
        let last = |notes: &[Settled]| {
            fold(notes)
                .attempts
                .failed
                .map(|failed| (failed.attempt, failed.retry_at, failed.time))
        };
        assert_eq!(last(&[failed(1), failed(2)]), Some((2, 9, 5)));
        assert_eq!(last(&[failed(1), dead(), failed(2)]), Some((1, 9, 5)));
        assert_eq!(last(&[Settled::Accepted, failed(1)]), None);
        assert_eq!(last(&[failed(1), dead(), Settled::Retried]), None, "a retry counts from zero");
        assert_eq!(
            fold(&[Settled::Started { attempt: 2 }, Settled::Started { attempt: 1 }])
                .attempts
                .started,
            2
        );
    }

    #[test]
    fn partitions_are_joined_whatever_their_order() {
        let join = |verdicts: [Verdict; 2]| -> Verdicts { (0u16..).zip(verdicts).collect() };
        let at = |verdicts: &[Verdict; 2]| {
            let [a, b] = verdicts.clone();
            [join([a.clone(), b.clone()]), join([b, a])]
        };
        for (one, other, stands, counts) in [
            (fold(&[]), fold(&[]), Standing::Open, None),
            (fold(&[]), fold(&[dead()]), Standing::Dead, Some(dead())),
            (fold(&[Settled::Accepted]), fold(&[dead()]), Standing::Done, Some(Settled::Accepted)),
            (fold(&[]), fold(&[Settled::Dropped]), Standing::Done, Some(Settled::Dropped)),
        ] {
            for verdicts in at(&[one, other]) {
                assert_eq!(standing(PendingKind::Effect, &verdicts), stands);
                assert_eq!(final_state(&verdicts).map(|settled| settled.outcome), counts);
            }
        }
        let known = fold(&[Settled::Started { attempt: 3 }]);
        for verdicts in at(&[fold(&[]), known.clone()]) {
            assert_eq!(attempts(verdicts), known.attempts);
        }
        assert_eq!(attempts(Verdicts::new()), Attempts::default());
    }

    #[test]
    fn an_awaited_dispatch_is_open_until_its_sender_was_told() {
        let refused = || Settled::Refused { code: "no".into() };
        for (settled, awaited, heeded) in [
            (vec![], Standing::Open, Standing::Open),
            (vec![Settled::Accepted], Standing::Open, Standing::Done),
            (vec![Settled::Unchanged], Standing::Open, Standing::Done),
            (vec![refused()], Standing::Open, Standing::Open),
            (vec![dead()], Standing::Dead, Standing::Dead),
            (vec![dead(), Settled::Dropped], Standing::Open, Standing::Open),
        ] {
            for own in [fold(&[]), fold(&[Settled::Late])] {
                let verdicts: Verdicts = [(0, fold(&settled)), (1, own)].into();
                assert_eq!(standing(PendingKind::AwaitedDispatch, &verdicts), awaited, "{settled:?}");
                assert_eq!(standing(PendingKind::HeededDispatch, &verdicts), heeded, "{settled:?}");
            }
        }
        let elsewhere: Verdicts = [(0, fold(&[refused()])), (1, fold(&[Settled::Told]))].into();
        let here: Verdicts = [(0, fold(&[refused(), Settled::Told]))].into();
        for verdicts in [elsewhere, here] {
            assert_eq!(standing(PendingKind::AwaitedDispatch, &verdicts), Standing::Done);
            assert_eq!(final_state(&verdicts).map(|settled| settled.outcome), Some(refused()));
        }
    }
}
