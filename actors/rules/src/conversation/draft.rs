//! A decision while it is being made: events, and what they have changed so far.

use super::{
    rejection::ConversationRejection as Rejection,
    state::{Floor, Participant, Room, Stage, allowed},
};
use crate::decider::Decision;
use quipu_kinds::conversation::{ConversationEvent, Phase};
use quipu_schemas::{context::Context, ids::PrincipalId};
use std::{borrow::Cow, collections::BTreeMap};

/// What a command to a conversation comes to.
pub(super) type Decided = Result<Decision<ConversationEvent>, Rejection>;

/// A decision in the making. The floor and the participants follow each event by the very rules of `evolve`;
/// the messages, of which there may be many, are not copied.
pub(super) struct Draft<'a> {
    pub(super) room: &'a Room,
    pub(super) context: &'a Context<'a>,
    pub(super) floor: Floor,
    pub(super) participants: Cow<'a, BTreeMap<PrincipalId, Participant>>,
    from: Phase,
    events: Vec<ConversationEvent>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(room: &'a Room, context: &'a Context<'a>) -> Self {
        Self {
            room,
            context,
            floor: room.floor.clone(),
            participants: Cow::Borrowed(&room.participants),
            from: room.floor.stage.phase(),
            events: Vec::new(),
        }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: ConversationEvent) -> Result<(), Rejection> {
        if super::evolve::changes_participants(&event) {
            super::evolve::participants(self.participants.to_mut(), &event)?;
        }
        self.floor.apply(&self.participants, self.room.auto_turns, &event)?;
        self.events.push(event);
        Ok(())
    }

    /// The version of the stream after the events so far.
    pub(super) fn version(&self) -> u64 {
        self.context.version + self.events.len() as u64
    }

    /// Ends the decision.
    pub(super) fn finish(self) -> Result<Decision<ConversationEvent>, Rejection> {
        self.finish_because("")
    }

    /// Ends the decision; a change of phase is checked against the table, and announced with `reason`.
    pub(super) fn finish_because(mut self, reason: &str) -> Result<Decision<ConversationEvent>, Rejection> {
        let (from, to) = (self.from, self.floor.stage.phase());
        if from != to {
            if !allowed(from, to) {
                return Err(Rejection::IllegalPhase { from, to });
            }
            self.events.push(ConversationEvent::PhaseChanged {
                from,
                to,
                reason: reason.to_owned(),
            });
        }
        Ok(Decision::all(self.events))
    }

    /// Goes to a stage that carries nothing; the announcement itself carries it out.
    pub(super) fn go(&mut self, stage: Stage) {
        self.floor.stage = stage;
    }
}
