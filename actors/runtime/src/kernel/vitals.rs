//! What goes wrong on a node beside commands: attempts of effects, model calls, dead effects and failed turns, counted.
//!
//! Told by whoever makes attempts and by the durable records of this node; a restart begins at zero. Everything that needs
//! to outlast it stands in the index.

mod recent;
mod times;

pub use recent::Recent;
pub use times::{BOUNDS_MS, Times};

use quipu_schemas::{
    context::Millis,
    ids::{Kind, StreamId},
    reaction::{ReactionKey, Settled},
    record::Record,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const TURN_FINISHED: &str = "quipu.conversation.turn_finished.v1";

/// How an attempt ended, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It did what it was to do.
    Done,
    /// It failed for good.
    Failed,
    /// It failed, and may be made again.
    Retryable,
    /// It was not made: its destination is left alone for a while.
    NotSent,
    /// It was cancelled.
    Cancelled,
    /// Nobody knows what came of it.
    Lost,
}

impl Ended {
    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Retryable => "retryable",
            Self::NotSent => "not_sent",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    fn is_error(self) -> bool {
        match self {
            Self::Failed | Self::Retryable | Self::NotSent | Self::Lost => true,
            Self::Done | Self::Cancelled => false,
        }
    }
}

/// One attempt that came to its end.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// Effect name.
    pub effect: &'static str,
    /// The provider of a model call, by its configured name.
    pub provider: Option<&'a str>,
    /// How it ended.
    pub ended: Ended,
    /// The code of a failure.
    pub code: &'a str,
    /// How long it took.
    pub took_ms: u64,
}

/// What a person should read of once, in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// An effect or a dispatch was given up.
    Dead {
        /// Which.
        key: ReactionKey,
        /// Why.
        code: String,
        /// In words.
        detail: String,
    },
    /// A turn ended without an answer.
    TurnFailed {
        /// The conversation.
        stream: StreamId,
        /// The turn.
        turn: String,
        /// Why.
        code: String,
    },
}

/// The failed calls of one provider.
#[derive(Debug, Clone, Default)]
pub struct ProviderErrors {
    /// Since the node started.
    pub total: u64,
    /// Lately.
    pub recent: Recent,
    /// Code of the last one.
    pub last: String,
}

#[derive(Deserialize)]
struct Finished {
    turn: String,
    outcome: Ending,
}

#[derive(Deserialize)]
struct Ending {
    is: String,
    #[serde(default)]
    code: String,
}

/// The counts of one node. Times are milliseconds of a clock that only goes forward.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    attempts: BTreeMap<(&'static str, Ended), u64>,
    calls: BTreeMap<String, Times>,
    errors: BTreeMap<String, ProviderErrors>,
    /// Model calls under way, and those whose end is not recorded yet.
    open_calls: BTreeSet<ReactionKey>,
    dead: u64,
    turns: BTreeMap<&'static str, u64>,
    failed_turns: Recent,
    last_turn_code: String,
}

impl Vitals {
    /// A model call is about to be sent.
    pub fn call_begins(&mut self, key: &ReactionKey) {
        self.open_calls.insert(key.clone());
    }

    /// An attempt came to its end; its outcome is not recorded yet.
    pub fn attempted(&mut self, attempt: Attempted<'_>, now: u64) {
        *self.attempts.entry((attempt.effect, attempt.ended)).or_default() += 1;
        let Some(provider) = attempt.provider else { return };
        if attempt.ended != Ended::NotSent {
            self.calls.entry(provider.to_owned()).or_default().add(attempt.took_ms);
        }
        if attempt.ended.is_error() {
            let errors = self.errors.entry(provider.to_owned()).or_default();
            errors.total += 1;
            errors.recent.add(now);
            attempt.code.clone_into(&mut errors.last);
        }
    }

    /// A record of this node is durable. What of it a person should read.
    pub fn record(&mut self, record: &Record, now: u64) -> Vec<Trouble> {
        let mut told = Vec::new();
        if let Some(settlement) = &record.header.settlement {
            self.open_calls.remove(&settlement.key);
            let dead = match &settlement.outcome {
                Settled::Dead { code, detail, .. } => Some((code.clone(), detail.clone())),
                Settled::Parked { detail } => Some(("receiver_crashed".to_owned(), detail.clone())),
                _ => None,
            };
            if let Some((code, detail)) = dead {
                self.dead += 1;
                let key = settlement.key.clone();
                told.push(Trouble::Dead { key, code, detail });
            }
        }
        if record.header.stream.kind == Kind::CONVERSATION {
            let finished = record.events.iter().filter(|event| event.name == TURN_FINISHED);
            let turns = finished.filter_map(|event| serde_json::from_str::<Finished>(event.data.get()).ok());
            told.extend(turns.filter_map(|turn| self.turn(&record.header.stream, turn, now)));
        }
        told
    }

    fn turn(&mut self, stream: &StreamId, Finished { turn, outcome }: Finished, now: u64) -> Option<Trouble> {
        let name = match outcome.is.as_str() {
            "answered" => "answered",
            "interrupted" => "interrupted",
            _ => "failed",
        };
        *self.turns.entry(name).or_default() += 1;
        (name == "failed").then(|| {
            self.failed_turns.add(now);
            self.last_turn_code.clone_from(&outcome.code);
            Trouble::TurnFailed {
                stream: stream.clone(),
                turn,
                code: outcome.code,
            }
        })
    }

    /// Another node may own a partition from now on: its calls are not this node's to record.
    pub fn forget(&mut self, is_lost: impl Fn(&StreamId) -> bool) {
        self.open_calls.retain(|key| !is_lost(&key.stream));
    }

    /// Model calls that are under way or whose end is not recorded yet.
    pub fn open_calls(&self) -> usize {
        self.open_calls.len()
    }

    /// Attempts since the start, by effect and end.
    pub fn attempts(&self) -> &BTreeMap<(&'static str, Ended), u64> {
        &self.attempts
    }

    /// How long model calls took, by provider.
    pub fn calls(&self) -> &BTreeMap<String, Times> {
        &self.calls
    }

    /// Failed model calls, by provider.
    pub fn errors(&self) -> &BTreeMap<String, ProviderErrors> {
        &self.errors
    }

    /// Effects and dispatches that were given up since the start.
    pub fn dead(&self) -> u64 {
        self.dead
    }

    /// Turns that ended since the start, by outcome.
    pub fn turns(&self) -> &BTreeMap<&'static str, u64> {
        &self.turns
    }

    /// Turns that failed lately, and the code of the last one.
    pub fn failed_turns(&self, now: Millis) -> (u64, &str) {
        (self.failed_turns.count(now), &self.last_turn_code)
    }
}

#[cfg(test)]
mod tests;
