//! Control events: pause, resume, preempt, cancel, route; resolving and archiving.

use super::{
    draft::{Decided, Draft},
    rejection::ConversationRejection as Rejection,
    state::{Room, Stage, Turn},
    turns,
};
use crate::{decider::Decision, text};
use quipu_kinds::conversation::{
    Control, ConversationEvent as Event, Interruption, ParticipantKind, ParticipantRole, ResolveConversation, RouteTurn,
};
use quipu_schemas::context::Context;

pub(super) fn check_reason(reason: &str) -> Result<(), Rejection> {
    if text::is_reason(reason) {
        Ok(())
    } else {
        Err(Rejection::BadReason)
    }
}

pub(super) fn pause(room: &Room, word: &Control, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Member, context)?;
    check_reason(&word.reason)?;
    if room.floor.paused {
        return Ok(Decision::Unchanged);
    }
    Ok(Decision::one(Event::Paused {
        by: context.actor().clone(),
        reason: word.reason.clone(),
    }))
}

pub(super) fn resume(room: &Room, word: &Control, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Member, context)?;
    check_reason(&word.reason)?;
    if !room.floor.paused {
        return Ok(Decision::Unchanged);
    }
    let mut draft = Draft::new(room, context);
    draft.push(Event::Resumed {
        by: context.actor().clone(),
        reason: word.reason.clone(),
    })?;
    // The claim window may have passed, or everybody have spoken, meanwhile.
    match draft.floor.turn() {
        Some(Turn::Open(open)) if open.closes_at <= context.now || open.all_have_spoken() => turns::settle(&mut draft)?,
        Some(Turn::Open(_) | Turn::Running(_)) | None => turns::start_next(&mut draft)?,
    }
    draft.finish()
}

/// `preempt` and `cancel`: the turn ends here, and a message that waited gets its own.
pub(super) fn stop(room: &Room, word: &Control, how: Interruption, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Member, context)?;
    check_reason(&word.reason)?;
    let mut draft = Draft::new(room, context);
    if !turns::stop(&mut draft, how, &word.reason)? {
        return Err(Rejection::NoTurn);
    }
    turns::start_next(&mut draft)?;
    draft.finish_because(&word.reason)
}

pub(super) fn route(room: &Room, route: &RouteTurn, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Admin, context)?;
    check_reason(&route.reason)?;
    if room
        .participants
        .get(&route.agent)
        .is_none_or(|it| it.kind != ParticipantKind::Agent)
    {
        return Err(Rejection::NotAnAgent(route.agent.clone()));
    }
    match &room.floor.stage {
        stage @ (Stage::HandoffPending(_) | Stage::AgentActive { .. }) => return Err(Rejection::AgentsSilent(stage.phase())),
        Stage::Idle | Stage::AiActive(_) | Stage::WaitingForUser | Stage::Resolved | Stage::Archived => {}
    }
    if room.floor.paused {
        return Err(Rejection::Paused);
    }
    let about = room.floor.last_question.clone().ok_or(Rejection::NothingToAnswer)?;
    match room.floor.turn() {
        Some(Turn::Running(running)) if running.winner == route.agent && running.message_id == about => return Ok(Decision::Unchanged),
        Some(Turn::Running(_) | Turn::Open(_)) | None => {}
    }
    let mut draft = Draft::new(room, context);
    turns::stop(&mut draft, Interruption::Rerouted, &route.reason)?;
    turns::route(&mut draft, &route.agent, about, &route.reason)?;
    draft.finish_because(&route.reason)
}

pub(super) fn resolve(room: &Room, resolve: &ResolveConversation, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Member, context)?;
    check_reason(&resolve.reason)?;
    end(room, Stage::Resolved, "resolved", &resolve.reason, context)
}

pub(super) fn archive(room: &Room, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Admin, context)?;
    end(room, Stage::Archived, "archived", "", context)
}

fn end(room: &Room, stage: Stage, what: &str, reason: &str, context: &Context<'_>) -> Decided {
    if room.floor.stage == stage {
        return Ok(Decision::Unchanged);
    }
    let mut draft = Draft::new(room, context);
    turns::stop(&mut draft, Interruption::Cancelled, if reason.is_empty() { what } else { reason })?;
    draft.go(stage);
    draft.finish_because(reason)
}
