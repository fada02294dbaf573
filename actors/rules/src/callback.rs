//! Rules of a callback: how its deliveries are signed, as whom and to where their commands go.

mod checks;
pub mod delivery;
mod rejection;

pub use rejection::CallbackRejection;

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    rights::may_hand_on,
    secret::{shredded, shredding, subject_of},
    text,
};
use checks::{check_mapping, check_target, checked_scheme};
use quipu_kinds::callback::{
    CallbackCommand, CallbackEvent, CallbackScheme, CallbackSecret, CallbackShredded, CallbackTarget, CallbackWord, CreateCallback,
    DeliveryId, EndOldCallbackSecret, PauseCallback, RetireCallback, RotateCallbackSecret,
};
use quipu_schemas::{
    context::{Context, Millis},
    envelope::KernelCommand,
    ids::{PrincipalId, StreamId},
    json::Json,
    limits::{SECRET_GRACE_DEFAULT_HOURS, SECRET_GRACE_MAX_HOURS},
    personal::Subject,
    reaction::Reaction,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const HOUR_MS: Millis = 3_600_000;
/// The timer that ends the secret before a rotation. What is taken is decided by the clock.
const OLD_TIMER: &str = "old";

/// The kind `callback`.
pub struct Callback;

/// State of a callback.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    /// Not opened.
    #[default]
    Missing,
    /// Takes deliveries.
    Open(Open),
    /// Takes none for now.
    Paused {
        /// As it was.
        callback: Open,
        /// Why.
        reason: String,
    },
    /// Closed for good.
    Retired {
        /// Display name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A callback that was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Open {
    /// Display name.
    pub name: String,
    /// How deliveries are signed.
    pub scheme: CallbackScheme,
    /// How many secrets it has had.
    pub generation: u64,
    /// By what they are signed.
    pub secret: CallbackSecret,
    /// What is taken as well for a while.
    pub old: Option<OldSecret>,
    /// As whom commands are sent.
    pub principal: PrincipalId,
    /// Where they go.
    pub target: CallbackTarget,
    /// Their fields.
    pub mapping: Json,
    /// What tells one delivery from another.
    pub delivery_id: DeliveryId,
}

/// A secret that is still taken for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OldSecret {
    /// The secret.
    pub secret: CallbackSecret,
    /// Until when; the moment itself is outside.
    pub until: Millis,
}

impl Open {
    /// The secrets that are taken now, the newest first.
    pub fn secrets(&self, now: Millis) -> Vec<&CallbackSecret> {
        let old = self.old.as_ref().filter(|old| now < old.until).map(|old| &old.secret);
        [&self.secret].into_iter().chain(old).collect()
    }

    /// Whose keys open the secrets that it has.
    fn subjects(&self) -> Vec<Subject> {
        self.secrets(0).into_iter().filter_map(own_subject).collect()
    }
}

fn own_subject(secret: &CallbackSecret) -> Option<Subject> {
    match secret {
        CallbackSecret::Value(value) => Some(value.subject().to_owned()),
        CallbackSecret::Name(_) => None,
    }
}

impl CallbackState {
    /// The callback, where it was opened and not closed.
    pub fn callback(&self) -> Option<&Open> {
        match self {
            Self::Missing | Self::Retired { .. } => None,
            Self::Open(callback) | Self::Paused { callback, .. } => Some(callback),
        }
    }
}

impl Decider for Callback {
    const KIND: &'static str = "callback";
    const RULES_VERSION: u32 = 1;
    type State = CallbackState;
    type Command = CallbackCommand;
    type Word = CallbackWord;
    type Event = CallbackEvent;
    type Rejection = CallbackRejection;

    fn initial() -> CallbackState {
        CallbackState::Missing
    }

    fn decide(state: &CallbackState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<CallbackEvent>, CallbackRejection> {
        match asked {
            Asked::Command(CallbackCommand::Create(create)) => match state {
                CallbackState::Missing => decide_create(create, context),
                CallbackState::Open(_) | CallbackState::Paused { .. } | CallbackState::Retired { .. } => {
                    Err(CallbackRejection::Exists(context.stream.id.clone()))
                }
            },
            Asked::Command(CallbackCommand::RotateSecret(rotate)) => decide_rotate(state, rotate, context),
            Asked::Command(CallbackCommand::Pause(pause)) => decide_pause(state, pause, context),
            Asked::Command(CallbackCommand::Resume(_)) => decide_resume(state, context),
            Asked::Command(CallbackCommand::Retire(retire)) => decide_retire(state, retire, context),
            Asked::Word(CallbackWord::EndOld(EndOldCallbackSecret {})) => Ok(end_old(state, context.now)),
            Asked::Word(CallbackWord::Shredded(CallbackShredded { subject })) => {
                Ok(Decision::one(CallbackEvent::Shredded { subject: subject.clone() }))
            }
        }
    }

    fn evolve(state: CallbackState, event: &CallbackEvent) -> Result<CallbackState, Corrupt> {
        match (state, event) {
            (CallbackState::Missing, CallbackEvent::Created { .. }) => created(event),
            (CallbackState::Open(callback), CallbackEvent::SecretRotated { .. } | CallbackEvent::OldEnded { .. }) => {
                Ok(CallbackState::Open(with_secret(callback, event)))
            }
            (CallbackState::Paused { callback, reason }, CallbackEvent::SecretRotated { .. } | CallbackEvent::OldEnded { .. }) => {
                let callback = with_secret(callback, event);
                Ok(CallbackState::Paused { callback, reason })
            }
            (CallbackState::Open(callback), CallbackEvent::Paused { reason }) => Ok(CallbackState::Paused {
                callback,
                reason: reason.clone(),
            }),
            (CallbackState::Paused { callback, .. }, CallbackEvent::Resumed {}) => Ok(CallbackState::Open(callback)),
            (CallbackState::Open(callback) | CallbackState::Paused { callback, .. }, CallbackEvent::Retired { reason, shreds: _ }) => {
                Ok(CallbackState::Retired {
                    name: callback.name,
                    reason: reason.clone(),
                })
            }
            (
                state @ (CallbackState::Open(_) | CallbackState::Paused { .. } | CallbackState::Retired { .. }),
                CallbackEvent::Shredded { subject: _ },
            ) => Ok(state),
            (state, event) => Err(Corrupt(format!("{event:?} of a callback that is {state:?}"))),
        }
    }

    fn react(_state: &CallbackState, event: &CallbackEvent) -> Vec<Reaction> {
        let name = || OLD_TIMER.to_owned();
        let (timer, shreds) = match event {
            CallbackEvent::SecretRotated { old_until, shreds, .. } => {
                let timer = match old_until {
                    Some(due) => Reaction::WakeAt { name: name(), due: *due },
                    None => Reaction::CancelWake { name: name() },
                };
                (Some(timer), shreds)
            }
            CallbackEvent::Retired { shreds, .. } => (Some(Reaction::CancelWake { name: name() }), shreds),
            CallbackEvent::OldEnded { shreds } => (None, shreds),
            CallbackEvent::Created { .. } | CallbackEvent::Paused { .. } | CallbackEvent::Resumed {} | CallbackEvent::Shredded { .. } => {
                return Vec::new();
            }
        };
        timer.into_iter().chain(shredding(shreds)).collect()
    }

    fn from_kernel(told: KernelCommand) -> Option<CallbackWord> {
        match told {
            KernelCommand::TimerFired { name, .. } if name == OLD_TIMER => Some(CallbackWord::EndOld(EndOldCallbackSecret {})),
            told => shredded(&told).map(|subject| CallbackWord::Shredded(CallbackShredded { subject })),
        }
    }

    fn right(_command: &str) -> Right {
        Right::Role(Role::Admin)
    }

    fn ignores_suspension(command: &CallbackCommand) -> bool {
        // An address whose secret has leaked is closed whatever became of its org.
        matches!(command, CallbackCommand::Retire(_))
    }

    fn seals_under(state: &CallbackState, stream: &StreamId, asked: &AskedOf<Self>) -> Option<Subject> {
        match asked {
            Asked::Command(CallbackCommand::Create(_)) => Some(subject_of(stream, 1)),
            Asked::Command(CallbackCommand::RotateSecret(_)) => Some(subject_of(stream, state.callback()?.generation + 1)),
            Asked::Command(CallbackCommand::Pause(_) | CallbackCommand::Resume(_) | CallbackCommand::Retire(_)) | Asked::Word(_) => None,
        }
    }
}

fn created(event: &CallbackEvent) -> Result<CallbackState, Corrupt> {
    match event {
        CallbackEvent::Created {
            name,
            scheme,
            secret,
            principal,
            target,
            mapping,
            delivery_id,
        } => Ok(CallbackState::Open(Open {
            name: name.clone(),
            scheme: scheme.clone(),
            generation: 1,
            secret: secret.clone(),
            old: None,
            principal: principal.clone(),
            target: target.clone(),
            mapping: mapping.clone(),
            delivery_id: delivery_id.clone(),
        })),
        other => Err(Corrupt(format!("{other:?} opens no callback"))),
    }
}

fn with_secret(callback: Open, event: &CallbackEvent) -> Open {
    match event {
        CallbackEvent::SecretRotated {
            generation,
            secret,
            old_until,
            shreds: _,
        } => Open {
            generation: *generation,
            old: old_until.map(|until| OldSecret {
                secret: callback.secret,
                until,
            }),
            secret: secret.clone(),
            ..callback
        },
        CallbackEvent::OldEnded { shreds: _ } => Open { old: None, ..callback },
        _ => callback,
    }
}

/// Whoever signs a delivery acts as the principal, with all of its rights: that is handed on like a key of theirs.
fn may_act_as(principal: &PrincipalId, context: &Context<'_>) -> Result<(), CallbackRejection> {
    if context.authority.dispatched_by.is_some() {
        return Err(CallbackRejection::Dispatched);
    }
    if principal.is_platform() {
        return Err(CallbackRejection::ReservedPrincipal(principal.clone()));
    }
    let needed = if principal == context.actor() { Role::Viewer } else { Role::Owner };
    Ok(may_hand_on(needed, context)?)
}

fn sealed(secret: &CallbackSecret, generation: u64, context: &Context<'_>) -> Result<CallbackSecret, CallbackRejection> {
    Ok(match secret {
        CallbackSecret::Value(value) => CallbackSecret::Value(context.seal_secret(value, &subject_of(context.stream, generation))?),
        CallbackSecret::Name(name) => CallbackSecret::Name(name.clone()),
    })
}

fn decide_create(create: &CreateCallback, context: &Context<'_>) -> Result<Decision<CallbackEvent>, CallbackRejection> {
    let principal = create.principal.as_ref().unwrap_or(context.actor());
    may_act_as(principal, context)?;
    if !text::is_display_name(&create.name) {
        return Err(CallbackRejection::BadName);
    }
    let delivery_id = checked_scheme(&create.scheme, create.delivery_id.as_ref())?;
    check_target(&create.target)?;
    check_mapping(&create.mapping)?;
    Ok(Decision::one(CallbackEvent::Created {
        name: create.name.clone(),
        scheme: create.scheme.clone(),
        secret: sealed(&create.secret, 1, context)?,
        principal: principal.clone(),
        target: create.target.clone(),
        mapping: create.mapping.clone(),
        delivery_id,
    }))
}

fn opened<'s>(state: &'s CallbackState, context: &Context<'_>) -> Result<&'s Open, CallbackRejection> {
    let id = || context.stream.id.clone();
    match state {
        CallbackState::Missing => Err(CallbackRejection::NotFound(id())),
        CallbackState::Retired { .. } => Err(CallbackRejection::Retired(id())),
        CallbackState::Open(callback) | CallbackState::Paused { callback, .. } => Ok(callback),
    }
}

fn decide_rotate(
    state: &CallbackState,
    rotate: &RotateCallbackSecret,
    context: &Context<'_>,
) -> Result<Decision<CallbackEvent>, CallbackRejection> {
    let callback = opened(state, context)?;
    may_act_as(&callback.principal, context)?;
    let grace_hours = rotate.grace_hours.unwrap_or(SECRET_GRACE_DEFAULT_HOURS);
    if grace_hours > SECRET_GRACE_MAX_HOURS {
        return Err(CallbackRejection::BadGrace);
    }
    let generation = callback.generation + 1;
    let old_until = (grace_hours > 0).then(|| context.now.saturating_add(Millis::from(grace_hours) * HOUR_MS));
    let mut shreds = callback.subjects();
    if old_until.is_some() {
        let kept = own_subject(&callback.secret);
        shreds.retain(|subject| Some(subject) != kept.as_ref());
    }
    Ok(Decision::one(CallbackEvent::SecretRotated {
        generation,
        secret: sealed(&rotate.secret, generation, context)?,
        old_until,
        shreds,
    }))
}

fn decide_pause(state: &CallbackState, pause: &PauseCallback, context: &Context<'_>) -> Result<Decision<CallbackEvent>, CallbackRejection> {
    opened(state, context)?;
    if !text::is_reason(&pause.reason) {
        return Err(CallbackRejection::BadReason);
    }
    Ok(match state {
        CallbackState::Open(_) => Decision::one(CallbackEvent::Paused {
            reason: pause.reason.clone(),
        }),
        CallbackState::Missing | CallbackState::Paused { .. } | CallbackState::Retired { .. } => Decision::Unchanged,
    })
}

fn decide_resume(state: &CallbackState, context: &Context<'_>) -> Result<Decision<CallbackEvent>, CallbackRejection> {
    may_act_as(&opened(state, context)?.principal, context)?;
    Ok(match state {
        CallbackState::Paused { .. } => Decision::one(CallbackEvent::Resumed {}),
        CallbackState::Missing | CallbackState::Open(_) | CallbackState::Retired { .. } => Decision::Unchanged,
    })
}

fn decide_retire(
    state: &CallbackState,
    retire: &RetireCallback,
    context: &Context<'_>,
) -> Result<Decision<CallbackEvent>, CallbackRejection> {
    if !text::is_reason(&retire.reason) {
        return Err(CallbackRejection::BadReason);
    }
    if let CallbackState::Retired { .. } = state {
        return Ok(Decision::Unchanged);
    }
    let (reason, shreds) = (retire.reason.clone(), opened(state, context)?.subjects());
    Ok(Decision::one(CallbackEvent::Retired { reason, shreds }))
}

fn end_old(state: &CallbackState, now: Millis) -> Decision<CallbackEvent> {
    let old = state.callback().and_then(|callback| callback.old.as_ref());
    match old.filter(|old| now >= old.until) {
        Some(old) => Decision::one(CallbackEvent::OldEnded {
            shreds: own_subject(&old.secret).into_iter().collect(),
        }),
        None => Decision::Unchanged,
    }
}

#[cfg(test)]
mod tests;
