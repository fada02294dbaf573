//! Opening a conversation; who takes part, and what they may.

use super::{
    draft::{Decided, Draft},
    rejection::ConversationRejection as Rejection,
    state::{Participant, Room, Stage, Turn},
    turns,
};
use crate::{decider::Decision, text};
use quipu_kinds::conversation::{
    AddParticipant, ConversationEvent as Event, ConversationType, CreateConversation, Interruption, JoinConversation, ParticipantKind,
    ParticipantRole, RemoveParticipant, RenameConversation, SetParticipantRole,
};
use quipu_schemas::{
    context::Context,
    ids::PrincipalId,
    limits::{CLAIM_WINDOW_MAX_MS, CLAIM_WINDOW_MS, PARTICIPANTS_MAX},
    personal::{Opened, Personal},
    role::Role,
};

impl Room {
    /// What the actor may here: their role as a participant, admin for admins of the org, everything for the platform.
    pub(super) fn standing(&self, context: &Context<'_>) -> Result<ParticipantRole, Rejection> {
        let actor = context.actor();
        if context.authority.platform {
            return Ok(ParticipantRole::Owner);
        }
        let taking_part = self.participants.get(actor);
        let moderates = match context.authority.role {
            Some(Role::Viewer) if !context.may() => return Err(Rejection::ViewerCannotWrite(actor.clone())),
            // Agents and services take part by being added; people lose their voice with their membership.
            None => match taking_part.map(|it| it.kind) {
                Some(ParticipantKind::Agent | ParticipantKind::Service) => false,
                Some(ParticipantKind::Person) if context.may() => false,
                Some(ParticipantKind::Person) => return Err(Rejection::NotAnOrgMember(actor.clone())),
                None => return Err(Rejection::NotAParticipant(actor.clone())),
            },
            Some(Role::Viewer | Role::Member) => false,
            Some(Role::Admin | Role::Owner) => true,
        };
        match (taking_part.map(|it| it.role), moderates) {
            (Some(role), true) => Ok(role.max(ParticipantRole::Admin)),
            (None, true) => Ok(ParticipantRole::Admin),
            (Some(role), false) => Ok(role),
            (None, false) => Err(Rejection::NotAParticipant(actor.clone())),
        }
    }

    /// Refuses an actor of a lower standing.
    pub(super) fn require(&self, needed: ParticipantRole, context: &Context<'_>) -> Result<ParticipantRole, Rejection> {
        let held = self.standing(context)?;
        if held >= needed {
            Ok(held)
        } else {
            Err(Rejection::RoleNeeded {
                actor: context.actor().clone(),
                needed,
            })
        }
    }

    fn require_group(&self) -> Result<(), Rejection> {
        match self.conversation_type {
            ConversationType::Group => Ok(()),
            ConversationType::Private => Err(Rejection::PrivateIsTwo),
        }
    }

    /// Whether somebody may come in.
    pub(super) fn require_room(&self) -> Result<(), Rejection> {
        self.require_group()?;
        if self.participants.len() >= PARTICIPANTS_MAX {
            Err(Rejection::TooManyParticipants)
        } else {
            Ok(())
        }
    }
}

pub(super) fn create(create: &CreateConversation, context: &Context<'_>) -> Decided {
    let actor = context.actor();
    if !context.may() {
        return Err(match context.authority.role {
            Some(Role::Viewer) => Rejection::ViewerCannotWrite(actor.clone()),
            Some(Role::Member | Role::Admin | Role::Owner) | None => Rejection::NotAnOrgMember(actor.clone()),
        });
    }
    if let Some(title) = &create.title {
        check_title(title, context)?;
    }
    let claim_window_ms = create.claim_window_ms.unwrap_or(CLAIM_WINDOW_MS);
    if claim_window_ms > CLAIM_WINDOW_MAX_MS {
        return Err(Rejection::BadClaimWindow(claim_window_ms));
    }
    match create.conversation_type {
        ConversationType::Private if create.participants.len() != 1 => return Err(Rejection::PrivateIsTwo),
        ConversationType::Group if create.participants.len() >= PARTICIPANTS_MAX => return Err(Rejection::TooManyParticipants),
        ConversationType::Private | ConversationType::Group => {}
    }
    let mut events = vec![
        Event::Created {
            stream: context.stream.clone(),
            conversation_type: create.conversation_type,
            title: create.title.clone(),
            claim_window_ms,
            auto_turns: create.auto_turns.unwrap_or(true),
        },
        Event::ParticipantAdded {
            principal: actor.clone(),
            kind: create.kind.unwrap_or(ParticipantKind::Person),
            role: ParticipantRole::Owner,
        },
    ];
    let mut seen = std::collections::BTreeSet::from([actor]);
    for other in &create.participants {
        if other.role == ParticipantRole::Owner {
            return Err(Rejection::OwnerNotGiven);
        }
        if other.principal.is_platform() {
            return Err(Rejection::ReservedId("participants", other.principal.to_string()));
        }
        if !seen.insert(&other.principal) {
            return Err(Rejection::DuplicateParticipant(other.principal.clone()));
        }
        events.push(Event::ParticipantAdded {
            principal: other.principal.clone(),
            kind: other.kind,
            role: other.role,
        });
    }
    Ok(Decision::Accept(events))
}

pub(super) fn rename(room: &Room, rename: &RenameConversation, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Admin, context)?;
    check_title(&rename.title, context)?;
    Ok(Decision::one(Event::Renamed {
        title: rename.title.clone(),
    }))
}

pub(super) fn add(room: &Room, add: &AddParticipant, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Admin, context)?;
    if add.role == ParticipantRole::Owner {
        return Err(Rejection::OwnerNotGiven);
    }
    if add.principal.is_platform() && !room.participants.contains_key(&add.principal) {
        return Err(Rejection::ReservedId("principal", add.principal.to_string()));
    }
    come_in(
        room,
        &add.principal,
        Participant {
            kind: add.kind,
            role: add.role,
        },
    )
}

pub(super) fn join(room: &Room, join: &JoinConversation, context: &Context<'_>) -> Decided {
    if !context.may() {
        return Err(Rejection::NotAnOrgMember(context.actor().clone()));
    }
    let held = room.participants.get(context.actor());
    let role = held
        .filter(|held| held.kind == join.kind)
        .map_or(ParticipantRole::Member, |held| held.role);
    come_in(room, context.actor(), Participant { kind: join.kind, role })
}

fn come_in(room: &Room, who: &PrincipalId, wanted: Participant) -> Decided {
    match room.participants.get(who) {
        Some(held) if *held == wanted => Ok(Decision::Unchanged),
        Some(_) => Err(Rejection::AlreadyParticipant(who.clone())),
        None => {
            room.require_room()?;
            Ok(Decision::one(Event::ParticipantAdded {
                principal: who.clone(),
                kind: wanted.kind,
                role: wanted.role,
            }))
        }
    }
}

pub(super) fn set_role(room: &Room, set: &SetParticipantRole, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Admin, context)?;
    if set.role == ParticipantRole::Owner {
        return Err(Rejection::OwnerNotGiven);
    }
    let held = room
        .participants
        .get(&set.principal)
        .ok_or_else(|| Rejection::UnknownParticipant(set.principal.clone()))?;
    if held.role == ParticipantRole::Owner {
        return Err(Rejection::OwnerStays(set.principal.clone()));
    }
    if held.role == set.role {
        return Ok(Decision::Unchanged);
    }
    Ok(Decision::one(Event::ParticipantRoleSet {
        principal: set.principal.clone(),
        role: set.role,
    }))
}

pub(super) fn remove(room: &Room, remove: &RemoveParticipant, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Admin, context)?;
    let held = room
        .participants
        .get(&remove.principal)
        .ok_or_else(|| Rejection::UnknownParticipant(remove.principal.clone()))?;
    if held.role == ParticipantRole::Owner {
        return Err(Rejection::OwnerStays(remove.principal.clone()));
    }
    room.require_group()?;
    go_out(room, &remove.principal, false, context)
}

pub(super) fn leave(room: &Room, context: &Context<'_>) -> Decided {
    // Leaving takes no rights: whoever lost them may still go.
    let actor = context.actor();
    let held = room
        .participants
        .get(actor)
        .ok_or_else(|| Rejection::NotAParticipant(actor.clone()))?;
    if held.role == ParticipantRole::Owner {
        return Err(Rejection::OwnerCannotLeave);
    }
    room.require_group()?;
    go_out(room, actor, true, context)
}

/// Whoever goes takes their claims, their turn and their handoff along.
fn go_out(room: &Room, who: &PrincipalId, left: bool, context: &Context<'_>) -> Decided {
    let mut draft = Draft::new(room, context);
    draft.push(Event::ParticipantRemoved {
        principal: who.clone(),
        left,
    })?;
    let why = if left {
        format!("{who} left")
    } else {
        format!("{who} was removed")
    };
    match &draft.floor.stage {
        Stage::AiActive(Turn::Running(running)) if running.winner == *who => {
            turns::stop(&mut draft, Interruption::Cancelled, &why)?;
            turns::start_next(&mut draft)?;
        }
        Stage::AiActive(Turn::Open(open)) => {
            if open.eligible.is_empty() || open.all_have_spoken() {
                turns::settle(&mut draft)?;
            }
        }
        Stage::AgentActive { by } if by == who => draft.push(Event::HandoffReturned {
            by: who.clone(),
            reason: why.clone(),
        })?,
        Stage::AiActive(Turn::Running(_))
        | Stage::AgentActive { .. }
        | Stage::Idle
        | Stage::WaitingForUser
        | Stage::HandoffPending(_)
        | Stage::Resolved
        | Stage::Archived => {}
    }
    draft.finish_because(&why)
}

fn check_title(title: &Personal<String>, context: &Context<'_>) -> Result<(), Rejection> {
    match title.open(context.opener) {
        Ok(Opened::Value(title)) if text::is_display_name(&title) => Ok(()),
        Ok(Opened::Erased) if title.sealed_len() <= quipu_schemas::limits::NAME_MAX_CHARS * 16 => Ok(()),
        Ok(Opened::Value(_) | Opened::Erased) | Err(_) => Err(Rejection::BadTitle),
    }
}
