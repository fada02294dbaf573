//! Commands that the kernel sends about a reaction. Their ids follow from its key, so that a repetition after a crash is
//! the same command.

use super::words::{Item, Purpose, RelayAction, Work};
use crate::kernel::cause::Cause;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, KernelCommand},
    ids::StreamId,
    reaction::{Dispatch, Outcome, ReactionKey, Settled},
};

pub(super) fn step(what: &str, item: &Item) -> String {
    format!("{what}{}.{}", item.retried, item.attempts)
}

pub(super) fn submit(key: &ReactionKey, purpose: Purpose, envelope: CommandEnvelope) -> RelayAction {
    RelayAction::Submit {
        key: key.clone(),
        purpose,
        envelope: Box::new(envelope),
    }
}

pub(super) fn perform(key: &ReactionKey, item: &Item) -> Option<RelayAction> {
    match &item.work {
        Work::Perform(perform) => Some(RelayAction::Perform {
            key: key.clone(),
            attempt: item.attempts,
            effect: Box::new(perform.effect.clone()),
            subject: item.cause.subject(&key.stream.org),
            recorded_at: item.cause.time,
            correlation: item.cause.correlation.clone(),
        }),
        Work::Dispatch(_) => None,
    }
}

fn envelope(key: &ReactionKey, step: &str, to: StreamId, body: CommandBody, cause: &Cause) -> CommandEnvelope {
    let command_id = key.command_id(step);
    let digest = Digest::of(&[command_id.as_str().as_bytes()]);
    CommandEnvelope {
        stream: to,
        digest,
        seed: u128::from_be_bytes(digest.0[..16].try_into().expect("16 bytes")),
        command_id,
        body,
        principal: cause.principal.clone(),
        on_behalf_of: cause.on_behalf_of.clone(),
        home: cause.home.clone(),
        credential: cause.credential.clone(),
        expected_version: None,
        environment: cause.environment.clone(),
        data_class: cause.data_class,
        correlation: cause.correlation.clone(),
        causation: Some(key.to_string()),
        traceparent: cause.traceparent.clone(),
    }
}

pub(super) fn dispatch(key: &ReactionKey, dispatch: &Dispatch, cause: &Cause) -> CommandEnvelope {
    let body = CommandBody::Given {
        command: dispatch.command.clone(),
        settles: Some(key.clone()),
    };
    let mut envelope = envelope(key, "d", dispatch.to.clone(), body, cause);
    envelope.digest = Digest::of(&[dispatch.command.to_text().as_bytes()]);
    envelope
}

/// Tells the sender of a dispatch what its receiver answered.
pub(super) fn tell(key: &ReactionKey, name: &str, outcome: Settled, cause: &Cause) -> CommandEnvelope {
    let word = KernelCommand::DispatchSettled {
        key: key.clone(),
        name: name.to_owned(),
        outcome,
    };
    envelope(key, "o", key.stream.clone(), CommandBody::Kernel(word), cause)
}

pub(super) fn settle(key: &ReactionKey, item: &Item, outcome: Outcome) -> CommandEnvelope {
    let name = match &item.work {
        Work::Perform(perform) => perform.name.clone(),
        Work::Dispatch(_) => String::new(),
    };
    let dead = matches!(outcome, Outcome::Failed { .. } | Outcome::Lost { .. });
    let word = KernelCommand::EffectSettled {
        key: key.clone(),
        name,
        outcome,
        attempts: item.attempts,
        dead,
    };
    envelope(key, &step("e", item), key.stream.clone(), CommandBody::Kernel(word), &item.cause)
}

pub(super) fn note(key: &ReactionKey, item: &Item, note: Settled, step: &str) -> CommandEnvelope {
    person_note(key, note, &item.cause, step)
}

/// The command that fires a timer.
pub fn fire(key: &ReactionKey, name: &str, due: Millis, cause: &Cause) -> CommandEnvelope {
    let word = KernelCommand::TimerFired {
        key: key.clone(),
        name: name.to_owned(),
        due,
    };
    envelope(key, "t", key.stream.clone(), CommandBody::Kernel(word), cause)
}

/// The command by which a person retries or drops an effect.
pub fn person_note(key: &ReactionKey, settled: Settled, cause: &Cause, step: &str) -> CommandEnvelope {
    let word = KernelCommand::EffectNote {
        key: key.clone(),
        note: settled,
    };
    envelope(key, step, key.stream.clone(), CommandBody::Kernel(word), cause)
}
