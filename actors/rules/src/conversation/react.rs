//! What must follow: runs to start, stop, hold and let go; timers.

use super::{
    HANDOFF_TIMER, TURN_TIMER_PREFIX,
    state::{ConversationState, Room, Turn},
};
use quipu_kinds::conversation::{ConversationEvent as Event, Phase, TurnMethod, TurnTask};
use quipu_schemas::{
    ids::{EntityId, Kind, StreamId},
    json::Json,
    reaction::{Dispatch, Reaction},
};
use serde_json::{Value, json};

pub(super) fn react(state: &ConversationState, event: &Event) -> Vec<Reaction> {
    let room = match state {
        ConversationState::Missing => return Vec::new(),
        ConversationState::Existing(room) => room,
    };
    match event {
        Event::TurnOpened { turn, closes_at, .. } => vec![Reaction::WakeAt {
            name: format!("{TURN_TIMER_PREFIX}{turn}"),
            due: *closes_at,
        }],
        Event::TurnDecided {
            turn,
            message_id,
            at_version,
            winner,
            method,
            run,
            ..
        } => {
            let task = TurnTask {
                conversation: room.stream.id.clone(),
                at_version: *at_version,
                turn: turn.clone(),
                message_id: message_id.clone(),
                agent: winner.clone(),
            };
            // A run that cannot begin must not hold the floor for ever.
            let start = command_to(room, run, json!({ "create_turn": task })).heeding_refusal(format!("{TURN_TIMER_PREFIX}{turn}"));
            let start = Reaction::Dispatch(start);
            match method {
                TurnMethod::BestClaim | TurnMethod::Fallback => vec![forget(turn), start],
                TurnMethod::OnlyEligible | TurnMethod::Routed => vec![start],
            }
        }
        Event::TurnClosed { turn, .. } => vec![forget(turn)],
        Event::TurnInterrupted { run, reason, .. } => vec![tell(room, run, json!({ "cancel": { "reason": reason } }))],
        Event::Paused { reason, .. } => to_running(room, json!({ "pause": { "reason": reason } })),
        Event::Resumed { .. } => to_running(room, json!({ "resume": {} })),
        Event::HandoffRequested { expires_at, .. } => vec![Reaction::WakeAt {
            name: HANDOFF_TIMER.into(),
            due: *expires_at,
        }],
        Event::PhaseChanged {
            from: Phase::HandoffPending,
            ..
        } => vec![Reaction::CancelWake {
            name: HANDOFF_TIMER.into(),
        }],
        Event::PhaseChanged { .. }
        | Event::Created { .. }
        | Event::Renamed { .. }
        | Event::ParticipantAdded { .. }
        | Event::ParticipantRemoved { .. }
        | Event::ParticipantRoleSet { .. }
        | Event::MessagePosted { .. }
        | Event::MessageImported { .. }
        | Event::MessageEdited { .. }
        | Event::MessageDeleted { .. }
        | Event::TurnClaimed { .. }
        | Event::TurnDeferred { .. }
        | Event::TurnFinished { .. }
        | Event::HandoffAssigned { .. }
        | Event::HandoffAccepted { .. }
        | Event::HandoffReturned { .. }
        | Event::HandoffExpired {} => Vec::new(),
    }
}

fn tell(room: &Room, run: &EntityId, command: Value) -> Reaction {
    Reaction::Dispatch(command_to(room, run, command))
}

fn command_to(room: &Room, run: &EntityId, command: Value) -> Dispatch {
    Dispatch::new(StreamId::new(room.stream.org.clone(), Kind::RUN, run.clone()), Json(command))
}

fn to_running(room: &Room, command: Value) -> Vec<Reaction> {
    match room.floor.turn() {
        Some(Turn::Running(running)) => vec![tell(room, &running.run, command)],
        Some(Turn::Open(_)) | None => Vec::new(),
    }
}

fn forget(turn: &str) -> Reaction {
    Reaction::CancelWake {
        name: format!("{TURN_TIMER_PREFIX}{turn}"),
    }
}
