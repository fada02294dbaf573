//! A person is asked for, takes over, and gives back.

use super::{
    control::check_reason,
    draft::{Decided, Draft},
    rejection::ConversationRejection as Rejection,
    state::{Handoff, Room, Stage},
    turns,
};
use crate::decider::Decision;
use quipu_kinds::conversation::{
    AssignHandoff, ConversationEvent as Event, Interruption, ParticipantKind, ParticipantRole, RequestHandoff, ReturnHandoff,
};
use quipu_schemas::{context::Context, ids::PrincipalId, limits::HANDOFF_TTL_MS, role::Role};

pub(super) fn request(room: &Room, request: &RequestHandoff, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Member, context)?;
    check_reason(&request.reason)?;
    if let Some(to) = &request.to {
        require_assignee(room, to)?;
    }
    if waiting(room).is_ok() {
        return Err(Rejection::HandoffWaits);
    }
    let mut draft = Draft::new(room, context);
    turns::stop(&mut draft, Interruption::HandedOff, &request.reason)?;
    draft.push(Event::HandoffRequested {
        by: context.actor().clone(),
        to: request.to.clone(),
        reason: request.reason.clone(),
        expires_at: context.now.saturating_add(HANDOFF_TTL_MS),
    })?;
    draft.finish_because(&request.reason)
}

pub(super) fn assign(room: &Room, assign: &AssignHandoff, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Admin, context)?;
    let handoff = waiting(room)?;
    require_assignee(room, &assign.to)?;
    if handoff.to.as_ref() == Some(&assign.to) {
        return Ok(Decision::Unchanged);
    }
    Ok(Decision::one(Event::HandoffAssigned { to: assign.to.clone() }))
}

/// A person takes over, coming in if they took no part yet.
pub(super) fn accept(room: &Room, context: &Context<'_>) -> Decided {
    let actor = context.actor();
    if !context.may() {
        return Err(Rejection::NotAnOrgMember(actor.clone()));
    }
    if let Stage::AgentActive { by } = &room.floor.stage
        && by == actor
    {
        return Ok(Decision::Unchanged);
    }
    let handoff = waiting(room)?;
    require_person(room, "actor", actor)?;
    if let Some(to) = &handoff.to
        && to != actor
        && !context.at_least(Role::Admin)
    {
        return Err(Rejection::NotAssignee(to.clone()));
    }
    let mut draft = Draft::new(room, context);
    if !room.participants.contains_key(actor) {
        room.require_room()?;
        draft.push(Event::ParticipantAdded {
            principal: actor.clone(),
            kind: ParticipantKind::Person,
            role: ParticipantRole::Member,
        })?;
    }
    draft.push(Event::HandoffAccepted { by: actor.clone() })?;
    draft.finish()
}

/// Back to the agents: from whoever took over, or withdrawn while it waits.
pub(super) fn give_back(room: &Room, back: &ReturnHandoff, context: &Context<'_>) -> Decided {
    let (actor, standing) = (context.actor(), room.standing(context)?);
    check_reason(&back.reason)?;
    let is_theirs = match &room.floor.stage {
        Stage::AgentActive { by } => by == actor,
        Stage::HandoffPending(handoff) => handoff.by == *actor || handoff.to.as_ref() == Some(actor),
        stage @ (Stage::Idle | Stage::AiActive(_) | Stage::WaitingForUser | Stage::Resolved | Stage::Archived) => {
            return Err(Rejection::NoHandoff(stage.phase()));
        }
    };
    if !is_theirs && standing < ParticipantRole::Admin {
        return Err(Rejection::RoleNeeded {
            actor: actor.clone(),
            needed: ParticipantRole::Admin,
        });
    }
    let mut draft = Draft::new(room, context);
    draft.push(Event::HandoffReturned {
        by: actor.clone(),
        reason: back.reason.clone(),
    })?;
    turns::start_next(&mut draft)?;
    draft.finish_because(&back.reason)
}

/// Nobody came: the agents have the floor again, for what was asked meanwhile.
pub(super) fn expire(room: &Room, context: &Context<'_>) -> Decided {
    match waiting(room) {
        Ok(handoff) if handoff.expires_at <= context.now => {
            let mut draft = Draft::new(room, context);
            draft.push(Event::HandoffExpired {})?;
            turns::start_next(&mut draft)?;
            draft.finish()
        }
        // A timer of an earlier handoff.
        Ok(_) | Err(_) => Ok(Decision::Unchanged),
    }
}

fn waiting(room: &Room) -> Result<&Handoff, Rejection> {
    match &room.floor.stage {
        Stage::HandoffPending(handoff) => Ok(handoff),
        stage @ (Stage::Idle
        | Stage::AiActive(_)
        | Stage::WaitingForUser
        | Stage::AgentActive { .. }
        | Stage::Resolved
        | Stage::Archived) => Err(Rejection::NoHandoff(stage.phase())),
    }
}

/// Whoever is asked for by name takes part: nobody else would learn of it, and the agents would keep silent for nothing.
fn require_assignee(room: &Room, to: &PrincipalId) -> Result<(), Rejection> {
    if !room.participants.contains_key(to) {
        return Err(Rejection::HandoffToOutsider(to.clone()));
    }
    require_person(room, "to", to)
}

fn require_person(room: &Room, field: &'static str, who: &PrincipalId) -> Result<(), Rejection> {
    match room.participants.get(who).map(|it| it.kind) {
        Some(ParticipantKind::Agent | ParticipantKind::Service) => Err(Rejection::NotAPerson {
            field,
            principal: who.clone(),
        }),
        Some(ParticipantKind::Person) | None => Ok(()),
    }
}
