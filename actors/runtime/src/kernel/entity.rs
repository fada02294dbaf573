//! One active entity: decides commands in order on speculative state, without waiting for the disk one by one.
//!
//! Nothing speculative leaves: a receipt waits for its record, and an answer that appends nothing waits for the
//! last version that it saw. After a failed or unknown append the machine is dropped and recovered from the log.

mod deciding;
mod stored;

pub use deciding::{Recalled, is_owed, settles};
pub use stored::{Base, ParkedError, ShapeCell, Snapshot, state_digest, state_shape};

use super::refusals::{outcome_unknown, reused_id, undecided};
use deciding::{dispatch_settled, same_command};
use quipu_events::index::FirstReceipt;
use quipu_rules::decider::{Belongs, Decider};
use quipu_schemas::{
    context::{Authority, Millis},
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, Durability, KernelCommand, Receipt},
    ids::StreamId,
    json::Json,
    personal::{self, BlobRef, NewValue, Opener, Subject},
    position::Position,
    problem::Problem,
    reaction::Settled,
    record::{EncodedRecord, Record},
};
use std::{collections::VecDeque, sync::Arc};

/// Names the caller that waits for an answer.
pub type Ticket = u64;

/// A decided record on its way to the partition's writer.
#[derive(Debug, Clone)]
pub struct DecidedRecord {
    /// The stored bytes.
    pub encoded: Arc<EncodedRecord>,
    /// What they say.
    pub record: Arc<Record>,
}

/// What the entity asks its shell to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "few are alive at a time, and each is moved once")]
pub enum EntityAction {
    /// Keep these values beside the log, durably, before the record that names them is handed on. If that fails, so does the append.
    Keep(Vec<NewValue>),
    /// Hand this record to the partition's writer, after all earlier ones.
    Append(DecidedRecord),
    /// Answer the caller.
    Reply(Ticket, Result<Receipt, Problem>),
}

/// A command with everything that its decision may depend on, resolved just before.
pub struct Admitted {
    /// Who waits.
    pub ticket: Ticket,
    /// The command.
    pub command: Arc<CommandEnvelope>,
    /// The first receipt, if this command id was decided before and is durable.
    pub seen: Option<FirstReceipt>,
    /// For a settlement: the final one that its key has already.
    pub settled: Option<Settled>,
    /// The actor's rights.
    pub authority: Authority,
    /// Why it is not put to the rules: somebody in its chain does not hold the right. What was decided before gets its first
    /// receipt all the same.
    pub refused: Option<Problem>,
    /// What the log promises.
    pub durability: Durability,
    /// The durable events of each name that [`Entity::recalls`] told, oldest first, with others of the same records.
    pub recalled: Recalled,
}

/// The kind-erased face of an [`Active`] entity.
pub trait Entity: Send {
    /// The values kept beside the log that deciding this command looks into. The shell brings them in the opener.
    fn needs(&self, command: &CommandEnvelope) -> Vec<BlobRef>;
    /// The names that deciding this command asks for and that the entity's state has forgotten.
    fn recalls(&self, command: &CommandEnvelope) -> Vec<String>;
    /// Whose key the decision may seal values with, where its rules make values: the shell makes it before, if there is none.
    fn seals_for(&self, command: &CommandEnvelope) -> Option<Subject>;
    /// Whose key the decision seals secrets under that came with the command: the shell makes it before, for whoever holds the right.
    fn seals_under(&self, command: &CommandEnvelope) -> Option<Subject>;
    /// What it belongs to, as far as rights on more than itself go.
    fn belongs(&self, command: &CommandEnvelope) -> Belongs;
    /// Takes a command. `opener` finds what [`Entity::needs`] named, without I/O.
    fn command(&mut self, now: Millis, admitted: Admitted, opener: &dyn Opener) -> Vec<EntityAction>;
    /// The oldest record in flight is durable at `position`.
    fn durable(&mut self, hash: Digest, position: Position, durability: Durability) -> Vec<EntityAction>;
    /// An append failed or its outcome is unknown: everything in flight fails, and the machine is done for.
    fn fail(&mut self, problem: &Problem) -> Vec<EntityAction>;
    /// Folds the next record of the stream, checking chain and version.
    fn fold(&mut self, record: &Record) -> Result<(), ParkedError>;
    /// Whether nothing is in flight.
    fn is_settled(&self) -> bool;
    /// Whether a decision could not be folded or stored when the state had been touched already: the state is gone, nothing
    /// of that decision leaves, and the machine must be recovered from the log once what is in flight is durable.
    fn is_lost(&self) -> bool;
    /// Version, in flight included.
    fn version(&self) -> u64;
    /// Record time of the last event.
    fn time(&self) -> Millis;
    /// The state in its stored JSON form (sealed).
    fn state(&self) -> Json;
    /// A snapshot of the state; `None` while records are in flight or there is nothing yet.
    fn snapshot(&self) -> Option<Snapshot>;
    /// Version of the last snapshot taken or recovered from.
    fn snapshot_version(&self) -> u64;
    /// Remembers that a snapshot of this version is stored.
    fn snapshot_stored(&mut self, version: u64);
}

enum Pending {
    Record {
        ticket: Ticket,
        more: Vec<Ticket>,
        record: Arc<Record>,
        /// What became of the dispatch that brought the command.
        settled: Option<Settled>,
    },
    Answer {
        ticket: Ticket,
        answer: Result<Receipt, Problem>,
    },
}

/// An entity in memory.
pub struct Active<D: Decider> {
    stream: StreamId,
    state: Option<D::State>,
    version: u64,
    hash: Digest,
    time: Millis,
    in_flight: VecDeque<Pending>,
    snapshot_version: u64,
}

impl<D: Decider> Active<D> {
    /// An entity before its first event.
    pub fn empty(stream: StreamId) -> Self {
        Self {
            stream,
            state: Some(D::initial()),
            version: 0,
            hash: Digest::ZERO,
            time: 0,
            in_flight: VecDeque::new(),
            snapshot_version: 0,
        }
    }

    /// The entity's stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Hash of its last record, in flight included.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The typed state.
    pub fn typed_state(&self) -> &D::State {
        self.state.as_ref().expect("state is present between calls")
    }

    /// Answers now if nothing is in flight, else when everything before is durable (law 9).
    fn answer(&mut self, ticket: Ticket, answer: Result<Receipt, Problem>) -> Vec<EntityAction> {
        if self.in_flight.is_empty() {
            return vec![EntityAction::Reply(ticket, answer)];
        }
        self.in_flight.push_back(Pending::Answer { ticket, answer });
        Vec::new()
    }

    /// A repetition of a command that is still in flight waits with it.
    fn join_in_flight(&mut self, ticket: Ticket, command: &CommandEnvelope) -> Option<Vec<EntityAction>> {
        for pending in &mut self.in_flight {
            let Pending::Record { more, record, .. } = pending else { continue };
            if record.header.command_id != command.command_id {
                continue;
            }
            let header = &record.header;
            if same_command(command, &header.digest, &header.principal, header.on_behalf_of.as_ref()) {
                more.push(ticket);
                return Some(Vec::new());
            }
            return Some(self.answer(ticket, Err(reused_id(&command.command_id))));
        }
        None
    }
}

impl<D: Decider> Entity for Active<D> {
    fn needs(&self, command: &CommandEnvelope) -> Vec<BlobRef> {
        let Some(state) = &self.state else { return Vec::new() };
        // Nearly every command names no value: it is then not decoded a second time.
        let names_one = matches!(&command.body, CommandBody::Given { command, .. } if personal::contains_blob(&command.0));
        if !names_one && !D::looks_into(state) {
            return Vec::new();
        }
        let typed = deciding::asked_in::<D>(&command.body).ok().flatten();
        typed.map_or_else(Vec::new, |typed| D::needs(state, &typed))
    }

    fn recalls(&self, command: &CommandEnvelope) -> Vec<String> {
        deciding::recalls::<D>(self.state.as_ref(), &command.body)
    }

    fn seals_for(&self, command: &CommandEnvelope) -> Option<Subject> {
        let state = self.state.as_ref().filter(|_| D::MAKES_VALUES)?;
        let acting = D::acts_as(state).unwrap_or_else(|| deciding::sender_of(command));
        Some(format!("{}/{}", self.stream.org, acting.on_behalf_of.unwrap_or(acting.principal)))
    }

    fn seals_under(&self, command: &CommandEnvelope) -> Option<Subject> {
        let state = self.state.as_ref()?;
        D::seals_under(state, &self.stream, &deciding::brings_secret::<D>(&command.body)?)
    }

    fn belongs(&self, command: &CommandEnvelope) -> Belongs {
        deciding::belongs::<D>(self.state.as_ref(), &command.body)
    }

    fn command(&mut self, now: Millis, admitted: Admitted, opener: &dyn Opener) -> Vec<EntityAction> {
        let ticket = admitted.ticket;
        let command = admitted.command.clone();
        if self.is_lost() {
            return vec![EntityAction::Reply(ticket, Err(outcome_unknown()))];
        }
        if let Some(actions) = self.join_in_flight(ticket, &command) {
            return actions;
        }
        if let Some(seen) = &admitted.seen {
            let answer = if same_command(&command, &seen.digest, &seen.principal, seen.on_behalf_of.as_ref()) {
                Ok(Receipt {
                    command_id: command.command_id.clone(),
                    stream: self.stream.clone(),
                    version: seen.version,
                    position: seen.position,
                    durability: admitted.durability,
                    unchanged: seen.unchanged,
                    duplicate: true,
                    settled: dispatch_settled(&command, None, admitted.settled.as_ref()),
                    shown: None,
                    behind: None,
                })
            } else {
                Err(reused_id(&command.command_id))
            };
            return self.answer(ticket, answer);
        }
        if let Some(expected) = command.expected_version
            && expected != self.version
        {
            let problem = Problem::new(
                412,
                "wrong_version",
                format!("{} is at version {}, not {expected}", self.stream, self.version),
            )
            .field("If-Match")
            .fix("read the current state and decide again")
            .at_version(self.version);
            return self.answer(ticket, Err(problem));
        }
        let due = match &command.body {
            CommandBody::Kernel(KernelCommand::TimerFired { due, .. }) => *due,
            _ => 0,
        };
        // Due times count from the clock. Only the record's own time stays at that of a stream which was written while a
        // clock was ahead: delays counted from there would never pass.
        let now = now.max(due);
        let time = now.max(self.time);
        let decided = self.decide(now, &admitted, opener).and_then(|(events, settlement, made)| {
            let decided = self.record(time, &command, events, settlement, &admitted.authority)?;
            Ok((decided, made))
        });
        match decided {
            Err(problem) => self.answer(ticket, Err(problem)),
            Ok((decided, made)) => {
                let outcome = decided.record.header.settlement.as_ref().map(|settlement| &settlement.outcome);
                self.in_flight.push_back(Pending::Record {
                    ticket,
                    more: Vec::new(),
                    settled: dispatch_settled(&command, outcome, admitted.settled.as_ref()),
                    record: decided.record.clone(),
                });
                let keep = (!made.is_empty()).then_some(EntityAction::Keep(made));
                keep.into_iter().chain([EntityAction::Append(decided)]).collect()
            }
        }
    }

    fn durable(&mut self, hash: Digest, position: Position, durability: Durability) -> Vec<EntityAction> {
        let mut actions = Vec::new();
        match self.in_flight.pop_front() {
            Some(Pending::Record {
                ticket,
                more,
                record,
                settled,
            }) if record.hash == hash => {
                let receipt = Receipt {
                    command_id: record.header.command_id.clone(),
                    stream: self.stream.clone(),
                    version: record.header.last_version(),
                    position,
                    durability,
                    unchanged: record.events.is_empty(),
                    duplicate: false,
                    settled,
                    shown: None,
                    behind: None,
                };
                let again = |ticket| {
                    EntityAction::Reply(
                        ticket,
                        Ok(Receipt {
                            duplicate: true,
                            ..receipt.clone()
                        }),
                    )
                };
                let more: Vec<_> = more.into_iter().map(again).collect();
                actions.push(EntityAction::Reply(ticket, Ok(receipt)));
                actions.extend(more);
            }
            Some(other) => self.in_flight.push_front(other),
            None => {}
        }
        while let Some(Pending::Answer { .. }) = self.in_flight.front() {
            if let Some(Pending::Answer { ticket, answer }) = self.in_flight.pop_front() {
                actions.push(EntityAction::Reply(ticket, answer));
            }
        }
        actions
    }

    fn fail(&mut self, problem: &Problem) -> Vec<EntityAction> {
        let mut actions = Vec::new();
        let unseen = undecided(problem);
        for pending in self.in_flight.drain(..) {
            match pending {
                Pending::Record { ticket, more, .. } => {
                    actions.push(EntityAction::Reply(ticket, Err(problem.clone())));
                    actions.extend(more.into_iter().map(|ticket| EntityAction::Reply(ticket, Err(problem.clone()))));
                }
                // It saw versions that may never have existed.
                Pending::Answer { ticket, .. } => actions.push(EntityAction::Reply(ticket, Err(unseen.clone()))),
            }
        }
        actions
    }

    fn fold(&mut self, record: &Record) -> Result<(), ParkedError> {
        self.fold_record(record)
    }

    fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    fn is_lost(&self) -> bool {
        self.state.is_none()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn time(&self) -> Millis {
        self.time
    }

    fn state(&self) -> Json {
        let state = self.state.as_ref().and_then(|state| serde_json::to_value(state).ok());
        Json(state.unwrap_or(serde_json::Value::Null))
    }

    fn snapshot(&self) -> Option<Snapshot> {
        self.snapshot_now()
    }

    fn snapshot_version(&self) -> u64 {
        self.snapshot_version
    }

    fn snapshot_stored(&mut self, version: u64) {
        self.snapshot_version = self.snapshot_version.max(version);
    }
}

#[cfg(test)]
mod tests;
