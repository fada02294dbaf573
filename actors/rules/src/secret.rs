//! Rules of a secret: which of its values are used, where they may be sent, and when their keys are destroyed. They never look into
//! a value.

mod connection;
mod rejection;

pub use connection::{Access, Connection};
pub use rejection::SecretRejection;

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    text,
};
use quipu_kinds::secret::{
    EndOldSecret, RefreshDue, RetireSecret, RotateSecret, SecretCommand, SecretEvent, SecretShredded, SecretWord, SetSecret,
};
use quipu_schemas::{
    context::{Context, Millis},
    envelope::KernelCommand,
    host::HostPattern,
    ids::StreamId,
    limits::{SECRET_GRACE_DEFAULT_HOURS, SECRET_GRACE_MAX_HOURS, SECRET_HOSTS_MAX},
    personal::{SecretValue, Subject},
    reaction::{Effect, Outcome, Perform, Reaction, Retry, ShredKey},
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const HOUR_MS: Millis = 3_600_000;
/// The timer that ends the value before a rotation. What is used is decided by the clock.
const OLD_TIMER: &str = "old";
/// Effects that destroy keys are called so, and by the subject.
const SHRED: &str = "shred:";

/// The kind `secret`.
pub struct Secret;

/// State of a secret.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretState {
    /// Never set.
    #[default]
    Missing,
    /// It has a value.
    Held(Held),
    /// It is a connection, whose value is an access token.
    Connected(Connection),
    /// Ended.
    Retired {
        /// How many values it has had.
        generation: u64,
        /// Why.
        reason: String,
    },
}

/// A secret that has a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// How many values it has had, this one included.
    pub generation: u64,
    /// The value.
    pub value: SecretValue,
    /// The value before the last rotation.
    pub old: Option<OldValue>,
    /// The only hosts that it may be sent to; any where there are none.
    pub hosts: Vec<HostPattern>,
}

/// A value that is still used for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OldValue {
    /// The value.
    pub value: SecretValue,
    /// Until when; the moment itself is outside.
    pub until: Millis,
}

impl SecretState {
    /// The values that are used now, the newest first; `None` where it has none.
    pub fn values(&self, now: Millis) -> Option<Vec<&SecretValue>> {
        match self {
            Self::Missing | Self::Retired { .. } => None,
            Self::Connected(connection) => connection.token(now).map(|token| vec![token]),
            Self::Held(held) => {
                let old = held.old.as_ref().filter(|old| now < old.until).map(|old| &old.value);
                Some([&held.value].into_iter().chain(old).collect())
            }
        }
    }

    /// The only hosts that it may be sent to; any where there are none.
    pub fn hosts(&self) -> &[HostPattern] {
        match self {
            Self::Missing | Self::Retired { .. } => &[],
            Self::Held(held) => &held.hosts,
            Self::Connected(connection) => &connection.hosts,
        }
    }

    /// How many values it has had.
    fn generation(&self) -> u64 {
        match self {
            Self::Missing => 0,
            Self::Held(held) => held.generation,
            Self::Connected(connection) => connection.generation,
            Self::Retired { generation, .. } => *generation,
        }
    }

    /// Whose keys open the values that it has.
    fn subjects(&self) -> Vec<Subject> {
        let values: Vec<&SecretValue> = match self {
            Self::Missing | Self::Retired { .. } => Vec::new(),
            Self::Connected(connection) => connection.values().collect(),
            Self::Held(held) => [&held.value].into_iter().chain(held.old.iter().map(|old| &old.value)).collect(),
        };
        let subjects: BTreeSet<Subject> = values.into_iter().map(|value| value.subject().to_owned()).collect();
        subjects.into_iter().collect()
    }
}

/// Whose key seals the values of one generation of a secret. No principal is called so: their ids have no dot.
pub fn subject_of(stream: &StreamId, generation: u64) -> Subject {
    format!("{}/{}.{}.{generation}", stream.org, stream.kind, stream.id)
}

/// Whether a key is one of this entity's own secrets.
pub fn is_own_subject(stream: &StreamId, subject: &str) -> bool {
    let number = subject.strip_prefix(&format!("{}/{}.{}.", stream.org, stream.kind, stream.id));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The effects that destroy these keys.
pub(crate) fn shredding(subjects: &[Subject]) -> Vec<Reaction> {
    let shred = |subject: &Subject| {
        Reaction::Perform(Perform {
            name: format!("{SHRED}{subject}"),
            effect: Effect::Shred(ShredKey { subject: subject.clone() }),
            retry: Retry::default(),
        })
    };
    subjects.iter().map(shred).collect()
}

/// The key that an effect of [`shredding`] has destroyed, where it has.
pub(crate) fn shredded(told: &KernelCommand) -> Option<Subject> {
    match told {
        KernelCommand::EffectSettled {
            name,
            outcome: Outcome::Shredded { destroyed: true },
            ..
        } => name.strip_prefix(SHRED).map(str::to_owned),
        _ => None,
    }
}

impl Decider for Secret {
    const KIND: &'static str = "secret";
    const RULES_VERSION: u32 = 1;
    type State = SecretState;
    type Command = SecretCommand;
    type Word = SecretWord;
    type Event = SecretEvent;
    type Rejection = SecretRejection;

    fn initial() -> SecretState {
        SecretState::Missing
    }

    fn decide(state: &SecretState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<SecretEvent>, SecretRejection> {
        match asked {
            Asked::Command(SecretCommand::Set(set)) => decide_set(state, set, context),
            Asked::Command(SecretCommand::Rotate(rotate)) => decide_rotate(state, rotate, context),
            Asked::Command(SecretCommand::Connect(connect)) => connection::decide_connect(state, connect, context),
            Asked::Command(SecretCommand::Retire(retire)) => decide_retire(state, retire, context),
            Asked::Word(SecretWord::RefreshDue(RefreshDue {})) => Ok(connection::due(state)),
            Asked::Word(SecretWord::Refreshed(refreshed)) => Ok(connection::take(state, refreshed, context.now)),
            Asked::Word(SecretWord::RefreshFailed(failed)) => Ok(connection::fail(state, failed, context.now)),
            Asked::Word(SecretWord::EndOld(EndOldSecret {})) => Ok(end_old(state, context.now)),
            Asked::Word(SecretWord::Shredded(SecretShredded { subject })) => {
                Ok(Decision::one(SecretEvent::Shredded { subject: subject.clone() }))
            }
        }
    }

    fn evolve(state: SecretState, event: &SecretEvent) -> Result<SecretState, Corrupt> {
        match (state, event) {
            (
                _,
                SecretEvent::Set {
                    generation,
                    value,
                    hosts,
                    shreds: _,
                },
            ) => Ok(SecretState::Held(Held {
                generation: *generation,
                value: value.clone(),
                old: None,
                hosts: hosts.clone(),
            })),
            (
                SecretState::Held(held),
                SecretEvent::Rotated {
                    generation,
                    value,
                    old_until,
                    shreds: _,
                },
            ) => Ok(SecretState::Held(Held {
                generation: *generation,
                value: value.clone(),
                old: old_until.map(|until| OldValue { value: held.value, until }),
                hosts: held.hosts,
            })),
            (_, SecretEvent::Connected { .. }) => connection::begun(event).map(SecretState::Connected),
            (SecretState::Held(held), SecretEvent::OldEnded { shreds: _ }) => Ok(SecretState::Held(Held { old: None, ..held })),
            (state @ (SecretState::Held(_) | SecretState::Connected(_)), SecretEvent::Retired { reason, shreds: _ }) => {
                Ok(SecretState::Retired {
                    generation: state.generation(),
                    reason: reason.clone(),
                })
            }
            (
                state @ (SecretState::Held(_) | SecretState::Connected(_) | SecretState::Retired { .. }),
                SecretEvent::Shredded { subject: _ },
            ) => Ok(state),
            (SecretState::Connected(connection), event) => Ok(SecretState::Connected(connection::evolve(connection, event)?)),
            (state, event) => Err(Corrupt(format!("{event:?} of a secret that is {state:?}"))),
        }
    }

    fn react(state: &SecretState, event: &SecretEvent) -> Vec<Reaction> {
        let stop = |name: &str| Reaction::CancelWake { name: name.to_owned() };
        let (timers, shreds) = match event {
            SecretEvent::Set { shreds, .. } | SecretEvent::Retired { shreds, .. } | SecretEvent::Connected { shreds, .. } => {
                (vec![stop(OLD_TIMER), stop(connection::REFRESH_TIMER)], &shreds[..])
            }
            SecretEvent::Rotated { old_until, shreds, .. } => {
                let name = OLD_TIMER.to_owned();
                let wake = old_until.map(|due| Reaction::WakeAt { name, due });
                (vec![wake.unwrap_or_else(|| stop(OLD_TIMER))], &shreds[..])
            }
            SecretEvent::OldEnded { shreds } => (Vec::new(), &shreds[..]),
            SecretEvent::Shredded { .. }
            | SecretEvent::RefreshBegun {}
            | SecretEvent::Refreshed { .. }
            | SecretEvent::RefreshFailed { .. }
            | SecretEvent::Broken { .. } => (Vec::new(), &[][..]),
        };
        let renewing = connection::react(state, event);
        timers.into_iter().chain(renewing).chain(shredding(shreds)).collect()
    }

    fn from_kernel(told: KernelCommand) -> Option<SecretWord> {
        match told {
            KernelCommand::TimerFired { name, .. } if name == OLD_TIMER => Some(SecretWord::EndOld(EndOldSecret {})),
            KernelCommand::TimerFired { name, .. } if name == connection::REFRESH_TIMER => Some(SecretWord::RefreshDue(RefreshDue {})),
            told => match connection::refreshed(&told) {
                Some(Ok(refreshed)) => Some(SecretWord::Refreshed(refreshed)),
                Some(Err(failed)) => Some(SecretWord::RefreshFailed(failed)),
                None => shredded(&told).map(|subject| SecretWord::Shredded(SecretShredded { subject })),
            },
        }
    }

    fn right(_command: &str) -> Right {
        Right::Role(Role::Admin)
    }

    fn ignores_suspension(command: &SecretCommand) -> bool {
        // A secret that has leaked is stopped whatever became of its org.
        matches!(command, SecretCommand::Retire(_))
    }

    fn seals_under(state: &SecretState, stream: &StreamId, asked: &AskedOf<Self>) -> Option<Subject> {
        match asked {
            Asked::Command(SecretCommand::Set(_) | SecretCommand::Rotate(_) | SecretCommand::Connect(_)) => {
                Some(subject_of(stream, state.generation() + 1))
            }
            Asked::Command(SecretCommand::Retire(_)) | Asked::Word(_) => None,
        }
    }
}

/// The value under a key of the secret's own.
fn sealed(value: &SecretValue, generation: u64, context: &Context<'_>) -> Result<SecretValue, SecretRejection> {
    if context.authority.dispatched_by.is_some() {
        return Err(SecretRejection::Dispatched);
    }
    Ok(context.seal_secret(value, &subject_of(context.stream, generation))?)
}

fn decide_set(state: &SecretState, set: &SetSecret, context: &Context<'_>) -> Result<Decision<SecretEvent>, SecretRejection> {
    let hosts = set.hosts.as_deref().unwrap_or(state.hosts());
    let generation = state.generation() + 1;
    Ok(Decision::one(SecretEvent::Set {
        generation,
        hosts: checked(hosts)?,
        value: sealed(&set.value, generation, context)?,
        shreds: state.subjects(),
    }))
}

fn decide_rotate(state: &SecretState, rotate: &RotateSecret, context: &Context<'_>) -> Result<Decision<SecretEvent>, SecretRejection> {
    let held = held(state, context)?;
    let grace_hours = rotate.grace_hours.unwrap_or(SECRET_GRACE_DEFAULT_HOURS);
    if grace_hours > SECRET_GRACE_MAX_HOURS {
        return Err(SecretRejection::BadGrace);
    }
    let generation = held.generation + 1;
    let old_until = (grace_hours > 0).then(|| context.now.saturating_add(Millis::from(grace_hours) * HOUR_MS));
    let mut shreds = state.subjects();
    if old_until.is_some() {
        shreds.retain(|subject| subject != held.value.subject());
    }
    Ok(Decision::one(SecretEvent::Rotated {
        generation,
        value: sealed(&rotate.value, generation, context)?,
        old_until,
        shreds,
    }))
}

fn decide_retire(state: &SecretState, retire: &RetireSecret, context: &Context<'_>) -> Result<Decision<SecretEvent>, SecretRejection> {
    if !text::is_reason(&retire.reason) {
        return Err(SecretRejection::BadReason);
    }
    match state {
        SecretState::Missing => Err(SecretRejection::NotFound(context.stream.id.clone())),
        SecretState::Retired { .. } => Ok(Decision::Unchanged),
        SecretState::Held(_) | SecretState::Connected(_) => Ok(Decision::one(SecretEvent::Retired {
            reason: retire.reason.clone(),
            shreds: state.subjects(),
        })),
    }
}

fn end_old(state: &SecretState, now: Millis) -> Decision<SecretEvent> {
    match state {
        SecretState::Held(Held { old: Some(old), .. }) if now >= old.until => Decision::one(SecretEvent::OldEnded {
            shreds: vec![old.value.subject().to_owned()],
        }),
        SecretState::Held(_) | SecretState::Connected(_) | SecretState::Missing | SecretState::Retired { .. } => Decision::Unchanged,
    }
}

fn held<'s>(state: &'s SecretState, context: &Context<'_>) -> Result<&'s Held, SecretRejection> {
    match state {
        SecretState::Held(held) => Ok(held),
        SecretState::Connected(_) => Err(SecretRejection::Connected(context.stream.id.clone())),
        SecretState::Missing => Err(SecretRejection::NotFound(context.stream.id.clone())),
        SecretState::Retired { .. } => Err(SecretRejection::Retired(context.stream.id.clone())),
    }
}

/// Sorted, each once.
fn checked(hosts: &[HostPattern]) -> Result<Vec<HostPattern>, SecretRejection> {
    if hosts.len() > SECRET_HOSTS_MAX {
        return Err(SecretRejection::TooManyHosts(hosts.len()));
    }
    Ok(hosts.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect())
}

#[cfg(test)]
mod tests;
