//! What goes into a relay and what comes out of it.

use crate::kernel::{
    attempt::{AttemptEnd, BREAKER_OPEN},
    cause::Cause,
};
use quipu_events::index::{Attempts, PendingCursor};
use quipu_schemas::{
    context::Millis,
    envelope::CommandEnvelope,
    ids::{EntityId, Kind, OrgId, StreamId},
    reaction::{Awaited, Dispatch, Effect, Perform, Reaction, ReactionKey, Settled},
    record::Record,
};
use std::collections::{BTreeMap, BTreeSet};

/// A reaction that the relay carries out (timers have their own queue).
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few are in memory at a time, and each is moved once")]
pub enum Work {
    /// Send a command.
    Dispatch(Dispatch),
    /// Act on the world.
    Perform(Perform),
}

impl Work {
    /// The work of a reaction, if the relay carries it out.
    pub fn of(reaction: &Reaction) -> Option<Self> {
        match reaction {
            Reaction::Dispatch(dispatch) => Some(Self::Dispatch(dispatch.clone())),
            Reaction::Perform(perform) => Some(Self::Perform(perform.clone())),
            Reaction::WakeAt { .. } | Reaction::CancelWake { .. } | Reaction::CancelEffect { .. } => None,
        }
    }

    pub(super) fn destination(&self) -> String {
        match self {
            Self::Dispatch(dispatch) => dispatch.to.to_string(),
            Self::Perform(perform) => perform.effect.facts().destination.to_owned(),
        }
    }
}

/// A pending reaction as its records tell it.
#[derive(Debug, Clone)]
pub struct Found {
    /// What to do.
    pub work: Work,
    /// Its cause.
    pub cause: Cause,
    /// Whether the entity asked for its end later on.
    pub cancelled: bool,
}

/// Finds pending reactions of one stream in its records, which come in order: for effects all records from the first
/// of them on, because a later one may ask for an effect's end.
pub fn find<'r>(keys: &BTreeSet<ReactionKey>, records: impl Iterator<Item = &'r Record>) -> BTreeMap<ReactionKey, Found> {
    let mut found: BTreeMap<ReactionKey, Found> = BTreeMap::new();
    for record in records {
        for (key, reaction) in record.keyed_reactions() {
            if let Reaction::CancelEffect { name } = reaction {
                let named = |found: &&mut Found| matches!(&found.work, Work::Perform(perform) if perform.name == *name);
                found.values_mut().filter(named).for_each(|found| found.cancelled = true);
            } else if keys.contains(&key)
                && let Some(work) = Work::of(reaction)
            {
                let cause = Cause::from(&record.header);
                found.insert(
                    key,
                    Found {
                        work,
                        cause,
                        cancelled: false,
                    },
                );
            }
        }
    }
    found
}

/// A pending reaction as loaded from the index and the log.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What to do, and why.
    pub found: Found,
    /// Attempts recorded so far.
    pub attempts: u32,
    /// How many of them are known to have sent nothing, because the destination's breaker was open.
    pub unsent: u32,
    /// How often a person asked for it again.
    pub retried: u32,
    /// Whether a start was recorded without an end.
    pub started: bool,
    /// When the next attempt is due.
    pub retry_at: Option<Millis>,
    /// What its receiver answered, where its sender has not been told yet.
    pub settled: Option<Settled>,
}

impl Loaded {
    /// A reaction with what the index knows of its attempts and its settlement.
    pub fn new(found: Found, attempts: &Attempts, settled: Option<Settled>) -> Self {
        let failed = attempts.failed.as_ref().map_or(0, |failed| failed.attempt);
        Self {
            found,
            attempts: attempts.started.max(failed),
            // The index keeps the last failure only; earlier ones count as sent, which ends the effect sooner.
            unsent: u32::from(attempts.failed.as_ref().is_some_and(|failed| failed.code == BREAKER_OPEN)),
            retried: attempts.retried,
            started: attempts.started > failed,
            retry_at: attempts.failed.as_ref().map(|failed| failed.retry_at),
            settled,
        }
    }
}

/// One row of a [`Page`].
#[derive(Debug, Clone)]
pub struct PageRow {
    /// Which.
    pub key: ReactionKey,
    /// Offset of the record that holds it.
    pub offset: u64,
    /// `None` where its record cannot be read: its stream is parked.
    pub loaded: Option<Loaded>,
}

impl PageRow {
    pub(super) fn cursor(&self) -> PendingCursor {
        cursor(&self.key, self.offset)
    }
}

pub(super) fn cursor(key: &ReactionKey, offset: u64) -> PendingCursor {
    PendingCursor {
        offset,
        version: key.version,
        ordinal: key.ordinal,
    }
}

/// Pending reactions of a partition in log order, as [`RelayAction::Load`] asked for them.
#[derive(Debug, Clone)]
pub struct Page {
    /// The rows.
    pub rows: Vec<PageRow>,
    /// The index knew every record before this offset when the rows were looked up; read before them.
    pub end: u64,
}

/// Why a kernel command is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A dispatch to its receiver.
    Dispatch,
    /// The receiver's answer to the sender who waits for it.
    Tell,
    /// The durable start of an at-most-once effect.
    Start,
    /// A failed attempt, before the pause.
    AttemptFailed,
    /// The end of an effect.
    Settle,
    /// Giving up on a command that keeps crashing its receiver.
    Park,
}

/// What the relay asks its shell to do.
#[derive(Debug)]
pub enum RelayAction {
    /// Read pending reactions and hand them over with [`Relay::page`](super::Relay::page), or say that they cannot be
    /// read.
    Load {
        /// After this one; `None`: from the first.
        after: Option<PendingCursor>,
        /// At most so many.
        most: usize,
        /// Passing over those of these orgs.
        without: BTreeSet<OrgId>,
    },
    /// Submit this command and report the answer with [`Relay::submitted`](super::Relay::submitted).
    Submit {
        /// The reaction.
        key: ReactionKey,
        /// Why.
        purpose: Purpose,
        /// The command.
        envelope: Box<CommandEnvelope>,
    },
    /// Perform an attempt and report its end with [`Relay::performed`](super::Relay::performed).
    Perform {
        /// The reaction.
        key: ReactionKey,
        /// Attempt, from 1.
        attempt: u32,
        /// The effect.
        effect: Box<Effect>,
        /// Whose key seals the result.
        subject: String,
        /// Record time of the event that it follows from.
        recorded_at: Millis,
        /// Correlates it with the request that caused it.
        correlation: Option<String>,
    },
    /// Abort the attempt under way.
    Cancel(ReactionKey),
}

/// A row for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which.
    pub key: ReactionKey,
    /// Effect name, or `dispatch`.
    pub effect: &'static str,
    /// Where to.
    pub destination: String,
    /// Delivery state.
    pub status: &'static str,
    /// Attempts made.
    pub attempts: u32,
    /// When the next is due.
    pub next_attempt_at: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    /// May go as soon as its order key, destination and org allow.
    Ready,
    /// Waits for a time.
    Until(Millis),
    /// A kernel command about it is on its way.
    Submitting,
    /// An attempt is under way.
    Running,
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) work: Work,
    pub(super) cause: Cause,
    /// Offset of its record.
    pub(super) offset: u64,
    /// Attempts made since it was first asked for, or last asked for again.
    pub(super) attempts: u32,
    /// How many of them sent nothing, because the destination's breaker was open.
    pub(super) unsent: u32,
    /// How often a person asked for it again; with the attempt it makes command ids unique.
    pub(super) retried: u32,
    pub(super) stage: Stage,
    pub(super) cancelled: bool,
    pub(super) crashes: u32,
    pub(super) resends: u32,
    /// What to submit once the pause of a failed submission is over.
    pub(super) again: Option<(Purpose, Box<CommandEnvelope>)>,
    /// The receiver's answer that the sender is to be told.
    pub(super) answer: Option<Settled>,
    pub(super) order_key: Option<String>,
    pub(super) destination: String,
    /// Whether it holds one of its lane's slots.
    pub(super) has_slot: bool,
    /// Whether it waits for whoever caused it, outside of its org's share of the memory.
    pub(super) is_apart: bool,
}

impl Item {
    pub(super) fn new(key: &ReactionKey, offset: u64, work: Work, cause: Cause) -> Self {
        let order_key = match &work {
            Work::Perform(perform) => perform.effect.order_key(&key.stream),
            // A stream's commands to another entity arrive in the order in which they were decided.
            Work::Dispatch(dispatch) => Some(format!("{} > {}", key.stream, dispatch.to)),
        };
        Self {
            destination: work.destination(),
            work,
            cause,
            offset,
            attempts: 0,
            unsent: 0,
            retried: 0,
            stage: Stage::Ready,
            cancelled: false,
            crashes: 0,
            resends: 0,
            again: None,
            answer: None,
            order_key,
            has_slot: false,
            is_apart: false,
        }
    }

    /// Whether it says something about what has happened already: then it waits for no slot, no order and no org.
    pub(super) fn is_urgent(&self) -> bool {
        self.again.is_some() || self.cancelled || self.answer.is_some()
    }

    /// Whether it can be read again later without loss.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Ready | Stage::Until(_)) && !self.is_urgent()
    }

    /// How its sender waits for its receiver's answer, if it does.
    pub(super) fn awaited(&self) -> Option<&Awaited> {
        match &self.work {
            Work::Dispatch(dispatch) => dispatch.awaited.as_ref(),
            Work::Perform(_) => None,
        }
    }

    pub(super) fn is_dispatch(&self) -> bool {
        matches!(self.work, Work::Dispatch(_))
    }

    pub(super) fn row(&self, key: &ReactionKey) -> Row {
        let effect = match &self.work {
            Work::Dispatch(_) => "dispatch",
            Work::Perform(perform) => perform.effect.facts().name,
        };
        let (status, next_attempt_at) = match &self.stage {
            Stage::Running | Stage::Submitting => ("processing", None),
            Stage::Until(at) => (if self.attempts > 0 { "failed" } else { "pending" }, Some(*at)),
            Stage::Ready => ("pending", None),
        };
        Row {
            key: key.clone(),
            effect,
            destination: self.destination.clone(),
            status,
            attempts: self.attempts,
            next_attempt_at,
        }
    }
}

/// How an attempt ended, where the breaker refused it before anything was sent.
pub(super) fn was_not_sent(end: &AttemptEnd) -> bool {
    matches!(end, AttemptEnd::Retryable { code, .. } if code == BREAKER_OPEN)
}

/// Before every reaction of an org.
pub(super) fn first_of_org(org: &OrgId) -> ReactionKey {
    first_of(&StreamId::new(org.clone(), Kind::from_static("a"), EntityId::from_static("-")))
}

/// Before every reaction of a stream.
pub(super) fn first_of(stream: &StreamId) -> ReactionKey {
    ReactionKey {
        stream: stream.clone(),
        version: 0,
        ordinal: 0,
    }
}
