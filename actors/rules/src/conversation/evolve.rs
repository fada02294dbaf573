//! Folding events into the state.

use super::remembered::{Messages, brought_by};
use super::state::{
    Claim, ConversationState, Deferral, EndedTurn, Ending, Floor, Handoff, OpenTurn, Participant, Question, Room, RunningTurn, Stage, Turn,
    allowed, eligible,
};
use crate::decider::Corrupt;
use quipu_kinds::conversation::{ConversationEvent as Event, ParticipantKind, Phase, TurnMethod, TurnOutcome};
use quipu_schemas::{ids::PrincipalId, limits::TURNS_REMEMBERED};
use std::collections::{BTreeMap, VecDeque};

fn corrupt<T>(what: &str, event: &Event) -> Result<T, Corrupt> {
    Err(Corrupt(format!("{what}: {event:?}")))
}

pub(super) fn evolve(state: ConversationState, event: &Event) -> Result<ConversationState, Corrupt> {
    match state {
        ConversationState::Missing => match event {
            Event::Created {
                stream,
                conversation_type,
                claim_window_ms,
                auto_turns,
                ..
            } => Ok(ConversationState::Existing(Box::new(Room {
                stream: stream.clone(),
                conversation_type: *conversation_type,
                claim_window_ms: *claim_window_ms,
                auto_turns: *auto_turns,
                participants: BTreeMap::new(),
                messages: Messages::default(),
                floor: Floor {
                    stage: Stage::Idle,
                    paused: false,
                    pending: None,
                    last_question: None,
                    ended: VecDeque::new(),
                },
            }))),
            Event::Renamed { .. }
            | Event::ParticipantAdded { .. }
            | Event::ParticipantRemoved { .. }
            | Event::ParticipantRoleSet { .. }
            | Event::MessagePosted { .. }
            | Event::MessageImported { .. }
            | Event::MessageEdited { .. }
            | Event::MessageDeleted { .. }
            | Event::PhaseChanged { .. }
            | Event::TurnOpened { .. }
            | Event::TurnClaimed { .. }
            | Event::TurnDeferred { .. }
            | Event::TurnDecided { .. }
            | Event::TurnClosed { .. }
            | Event::TurnFinished { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::TurnInterrupted { .. }
            | Event::HandoffRequested { .. }
            | Event::HandoffAssigned { .. }
            | Event::HandoffAccepted { .. }
            | Event::HandoffReturned { .. }
            | Event::HandoffExpired {} => corrupt("the conversation does not exist", event),
        },
        ConversationState::Existing(mut room) => {
            if changes_participants(event) {
                participants(&mut room.participants, event)?;
            }
            messages(&mut room, event)?;
            let Room {
                floor,
                participants,
                auto_turns,
                ..
            } = &mut *room;
            floor.apply(participants, *auto_turns, event)?;
            Ok(ConversationState::Existing(room))
        }
    }
}

/// Whether an event is one of [`participants`]'.
pub(super) fn changes_participants(event: &Event) -> bool {
    matches!(
        event,
        Event::ParticipantAdded { .. } | Event::ParticipantRemoved { .. } | Event::ParticipantRoleSet { .. }
    )
}

/// Folds an event about participants; others change nothing.
pub(super) fn participants(participants: &mut BTreeMap<PrincipalId, Participant>, event: &Event) -> Result<(), Corrupt> {
    if let Event::ParticipantAdded { principal, kind, role } = event {
        if participants
            .insert(principal.clone(), Participant { kind: *kind, role: *role })
            .is_some()
        {
            return corrupt("takes part already", event);
        }
    } else if let Event::ParticipantRemoved { principal, .. } = event {
        if participants.remove(principal).is_none() {
            return corrupt("takes no part", event);
        }
    } else if let Event::ParticipantRoleSet { principal, role } = event {
        match participants.get_mut(principal) {
            Some(participant) => participant.role = *role,
            None => return corrupt("takes no part", event),
        }
    }
    Ok(())
}

/// Folds an event about messages; others change nothing.
fn messages(room: &mut Room, event: &Event) -> Result<(), Corrupt> {
    if let Event::MessagePosted { message_id, indexed, .. } | Event::MessageImported { message_id, indexed, .. } = event {
        let Some(message) = brought_by(event) else { return Ok(()) };
        if room.messages.add(message_id.clone(), message, *indexed) {
            return corrupt("the message id is taken", event);
        }
    } else if let Event::MessageEdited { message_id, .. } = event {
        if !room.messages.may_be_edited(message_id) {
            return corrupt("no message to edit", event);
        }
    } else if let Event::MessageDeleted { message_id, .. } = event
        && !room.messages.delete(message_id)
    {
        return corrupt("no message to delete", event);
    }
    Ok(())
}

impl Floor {
    /// Folds an event, given the participants after it.
    pub(super) fn apply(
        &mut self,
        participants: &BTreeMap<PrincipalId, Participant>,
        auto_turns: bool,
        event: &Event,
    ) -> Result<(), Corrupt> {
        match event {
            Event::Created { .. } => return corrupt("the conversation exists", event),
            Event::Renamed { .. }
            | Event::ParticipantAdded { .. }
            | Event::ParticipantRoleSet { .. }
            | Event::MessageImported { .. }
            | Event::MessageEdited { .. } => {}
            Event::ParticipantRemoved { principal, .. } => {
                if let Stage::AiActive(Turn::Open(open)) = &mut self.stage {
                    open.eligible.retain(|agent| agent != principal);
                    open.claims.retain(|claim| claim.agent != *principal);
                    open.deferrals.retain(|deferral| deferral.agent != *principal);
                }
            }
            Event::MessagePosted {
                message_id,
                sender_kind,
                mentions,
                ..
            } => {
                if self.stage == Stage::Resolved || (self.stage == Stage::WaitingForUser && *sender_kind == ParticipantKind::Person) {
                    self.stage = Stage::Idle;
                }
                if *sender_kind != ParticipantKind::Agent {
                    self.last_question = Some(message_id.clone());
                }
                let opens = auto_turns && *sender_kind == ParticipantKind::Person && self.stage.phase() != Phase::AgentActive;
                if opens && !eligible(participants, mentions).is_empty() {
                    self.pending = Some(Question {
                        message_id: message_id.clone(),
                        mentions: mentions.clone(),
                    });
                }
            }
            Event::MessageDeleted { message_id, .. } => {
                if self.pending.as_ref().is_some_and(|question| question.message_id == *message_id) {
                    self.pending = None;
                }
            }
            Event::PhaseChanged { from, to, .. } => self.change_phase(*from, *to, event)?,
            Event::TurnOpened {
                turn,
                message_id,
                at_version,
                eligible,
                closes_at,
            } => {
                if !matches!(self.stage, Stage::Idle | Stage::WaitingForUser) {
                    return corrupt("no turn can open now", event);
                }
                self.pending = None;
                self.stage = Stage::AiActive(Turn::Open(OpenTurn {
                    turn: turn.clone(),
                    message_id: message_id.clone(),
                    at_version: *at_version,
                    eligible: eligible.clone(),
                    closes_at: *closes_at,
                    claims: Vec::new(),
                    deferrals: Vec::new(),
                }));
            }
            Event::TurnClaimed {
                turn,
                agent,
                reason,
                confidence,
                priority,
                rule: _,
                conditions: _,
                expires_at,
            } => {
                let claim = Claim {
                    agent: agent.clone(),
                    reason: reason.clone(),
                    confidence: *confidence,
                    priority: *priority,
                    expires_at: *expires_at,
                };
                self.open_turn(turn, agent, event)?.claims.push(claim);
            }
            Event::TurnDeferred { turn, agent, reason } => {
                let deferral = Deferral {
                    agent: agent.clone(),
                    reason: reason.clone(),
                };
                self.open_turn(turn, agent, event)?.deferrals.push(deferral);
            }
            Event::TurnDecided {
                turn,
                message_id,
                winner,
                method,
                run,
                ..
            } => {
                match method {
                    // A turn of its own, of a question that waited; nobody was asked.
                    TurnMethod::OnlyEligible | TurnMethod::Routed => {
                        if !matches!(self.stage, Stage::Idle | Stage::WaitingForUser | Stage::Resolved) {
                            return corrupt("no turn can start now", event);
                        }
                        self.pending = None;
                    }
                    TurnMethod::BestClaim | TurnMethod::Fallback => match &self.stage {
                        Stage::AiActive(Turn::Open(open)) if open.turn == *turn => {}
                        Stage::AiActive(_)
                        | Stage::Idle
                        | Stage::WaitingForUser
                        | Stage::HandoffPending(_)
                        | Stage::AgentActive { .. }
                        | Stage::Resolved
                        | Stage::Archived => return corrupt("the turn is not open", event),
                    },
                }
                let running = RunningTurn {
                    turn: turn.clone(),
                    message_id: message_id.clone(),
                    winner: winner.clone(),
                    run: run.clone(),
                };
                self.stage = Stage::AiActive(Turn::Running(running));
            }
            Event::TurnClosed { turn, .. } => match &self.stage {
                Stage::AiActive(Turn::Open(open)) if open.turn == *turn => {
                    self.stage = Stage::Idle;
                    self.remember(turn, Ending::Closed);
                }
                Stage::AiActive(_)
                | Stage::Idle
                | Stage::WaitingForUser
                | Stage::HandoffPending(_)
                | Stage::AgentActive { .. }
                | Stage::Resolved
                | Stage::Archived => return corrupt("the turn is not open", event),
            },
            Event::TurnInterrupted { turn, .. } => {
                let RunningTurn { winner, run, .. } = self
                    .take_running(turn)
                    .map_or_else(|| corrupt("the turn does not run", event), Ok)?;
                self.stage = Stage::Idle;
                self.remember(
                    turn,
                    Ending::Interrupted {
                        winner,
                        run,
                        reported: false,
                    },
                );
            }
            Event::TurnFinished { turn, outcome } => self.finish_turn(turn, outcome, event)?,
            Event::Paused { .. } => {
                if std::mem::replace(&mut self.paused, true) {
                    return corrupt("paused already", event);
                }
            }
            Event::Resumed { .. } => {
                if !std::mem::replace(&mut self.paused, false) {
                    return corrupt("not paused", event);
                }
            }
            Event::HandoffRequested { by, to, expires_at, .. } => match &self.stage {
                Stage::AiActive(_) | Stage::HandoffPending(_) | Stage::Archived => {
                    return corrupt("no handoff can be asked for now", event);
                }
                Stage::Idle | Stage::WaitingForUser | Stage::AgentActive { .. } | Stage::Resolved => {
                    self.stage = Stage::HandoffPending(Handoff {
                        by: by.clone(),
                        to: to.clone(),
                        expires_at: *expires_at,
                    });
                }
            },
            Event::HandoffAssigned { to } => match &mut self.stage {
                Stage::HandoffPending(handoff) => handoff.to = Some(to.clone()),
                Stage::Idle
                | Stage::AiActive(_)
                | Stage::WaitingForUser
                | Stage::AgentActive { .. }
                | Stage::Resolved
                | Stage::Archived => return corrupt("no handoff waits", event),
            },
            Event::HandoffAccepted { by } => {
                if self.stage.phase() != Phase::HandoffPending {
                    return corrupt("no handoff waits", event);
                }
                self.stage = Stage::AgentActive { by: by.clone() };
                // The person answers what was asked.
                self.pending = None;
            }
            Event::HandoffReturned { .. } | Event::HandoffExpired {} => {
                if !matches!(self.stage.phase(), Phase::HandoffPending | Phase::AgentActive) {
                    return corrupt("no handoff is open", event);
                }
                self.stage = Stage::Idle;
            }
        }
        Ok(())
    }

    /// An announcement of what events before it did, or the change itself where the stage carries nothing.
    fn change_phase(&mut self, from: Phase, to: Phase, event: &Event) -> Result<(), Corrupt> {
        if !allowed(from, to) {
            return corrupt("the table has no such change", event);
        }
        if self.stage.phase() == to {
            return Ok(());
        }
        let stage = match to {
            Phase::Idle => Stage::Idle,
            Phase::WaitingForUser => Stage::WaitingForUser,
            Phase::Resolved => Stage::Resolved,
            Phase::Archived => Stage::Archived,
            Phase::AiActive | Phase::HandoffPending | Phase::AgentActive => return corrupt("nothing led there", event),
        };
        if self.turn().is_some() {
            return corrupt("a turn goes on", event);
        }
        self.stage = stage;
        if matches!(to, Phase::Resolved | Phase::Archived) {
            self.pending = None;
        }
        Ok(())
    }

    fn open_turn(&mut self, turn: &str, agent: &PrincipalId, event: &Event) -> Result<&mut OpenTurn, Corrupt> {
        match &mut self.stage {
            Stage::AiActive(Turn::Open(open)) if open.turn == turn && open.eligible.contains(agent) && !open.has_spoken(agent) => Ok(open),
            Stage::AiActive(_)
            | Stage::Idle
            | Stage::WaitingForUser
            | Stage::HandoffPending(_)
            | Stage::AgentActive { .. }
            | Stage::Resolved
            | Stage::Archived => corrupt("the turn does not take this agent's word", event),
        }
    }

    fn take_running(&self, turn: &str) -> Option<RunningTurn> {
        match self.turn() {
            Some(Turn::Running(running)) if running.turn == turn => Some(running.clone()),
            Some(Turn::Running(_) | Turn::Open(_)) | None => None,
        }
    }

    fn finish_turn(&mut self, turn: &str, outcome: &TurnOutcome, event: &Event) -> Result<(), Corrupt> {
        if let Some(RunningTurn { winner, run, .. }) = self.take_running(turn) {
            let (stage, ending) = match outcome {
                TurnOutcome::Answered { .. } => (Stage::WaitingForUser, Ending::Answered { winner, run }),
                TurnOutcome::Interrupted { .. } => (
                    Stage::Idle,
                    Ending::Interrupted {
                        winner,
                        run,
                        reported: true,
                    },
                ),
                TurnOutcome::Failed { .. } => (Stage::Idle, Ending::Failed { winner, run }),
            };
            self.stage = stage;
            self.remember(turn, ending);
            return Ok(());
        }
        match self
            .ended
            .iter_mut()
            .find(|ended| ended.turn == turn)
            .map(|ended| &mut ended.ending)
        {
            Some(Ending::Interrupted { reported, .. }) if !*reported => {
                *reported = true;
                Ok(())
            }
            Some(Ending::Interrupted { .. } | Ending::Answered { .. } | Ending::Failed { .. } | Ending::Closed) | None => {
                corrupt("the turn does not run", event)
            }
        }
    }

    fn remember(&mut self, turn: &str, ending: Ending) {
        self.ended.push_back(EndedTurn {
            turn: turn.to_owned(),
            ending,
        });
        if self.ended.len() > TURNS_REMEMBERED {
            self.ended.pop_front();
        }
    }
}
