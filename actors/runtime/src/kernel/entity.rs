//! One active entity: decides commands in order on speculative state, without waiting for the disk one by one.
//!
//! Nothing speculative leaves: a receipt waits for its record, and an answer that appends nothing waits for the
//! last version that it saw. After a failed or unknown append the machine is dropped and recovered from the log.

use quipu_events::index::FirstReceipt;
use quipu_rules::decider::{Decider, Decision, Refusal};
use quipu_schemas::{
    codec,
    context::{Authority, Context, Millis},
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, Durability, KernelCommand, Receipt},
    ids::{CommandId, PrincipalId, StreamId},
    json::Json,
    limits::RECORD_MAX_BYTES,
    personal::{self, BlobRef, Made, NewValue, Opener, Subject},
    position::Position,
    problem::Problem,
    reaction::{Outcome, ReactionKey, Settled, Settlement},
    record::{self, Acting, EncodedRecord, Header, Record, RecordError, StoredReaction},
};
use serde::Deserialize;
use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

/// Names the caller that waits for an answer.
pub type Ticket = u64;

/// A decided record on its way to the partition's writer.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The stored bytes.
    pub encoded: Arc<EncodedRecord>,
    /// What they say.
    pub record: Arc<Record>,
}

/// What the entity asks its shell to do.
#[derive(Debug)]
pub enum EntityAction {
    /// Keep these values beside the log, durably, before the record that names them is handed on. If that fails, so does the append.
    Keep(Vec<NewValue>),
    /// Hand this record to the partition's writer, after all earlier ones.
    Append(Decided),
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
    /// What the log promises.
    pub durability: Durability,
}

/// A snapshot to write.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Version of the state.
    pub version: u64,
    /// Hash of the record at that version.
    pub record_hash: Digest,
    /// Record time.
    pub time: Millis,
    /// bincode of the state.
    pub bytes: Vec<u8>,
}

/// The kind-erased face of an [`Active`] entity.
pub trait Entity: Send {
    /// The values kept beside the log that deciding this command looks into. The shell brings them in the opener.
    fn needs(&self, command: &CommandEnvelope) -> Vec<BlobRef>;
    /// Whose key the decision may seal values with, where its rules make values: the shell makes it before, if there is none.
    fn seals_for(&self, command: &CommandEnvelope) -> Option<Subject>;
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

/// Events to store, what the record says about a reaction, and the values that the events name.
type Verdict<E> = (Vec<E>, Option<Settlement>, Vec<NewValue>);

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

/// Why an entity cannot be recovered: its stream parks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream {stream} parks at version {version}: {detail}")]
pub struct ParkedError {
    /// The stream.
    pub stream: StreamId,
    /// Version that could not be folded.
    pub version: u64,
    /// Why.
    pub detail: String,
}

/// A recovered starting point.
pub struct Base {
    /// Version of the state.
    pub version: u64,
    /// Hash of the record at that version.
    pub hash: Digest,
    /// Record time.
    pub time: Millis,
    /// bincode of the state.
    pub bytes: Vec<u8>,
}

/// Raised when equal schemas are encoded otherwise in snapshots.
const SNAPSHOT_FORM: &[u8] = b"2";

/// SHA-256 over the JSON Schema of `D::State`: snapshots of another shape are not read.
pub fn state_shape<D: Decider>() -> Digest {
    // One static a call site would be shared between kinds, so the digest is computed and cached by the caller.
    let schema = schemars::schema_for!(D::State);
    Digest::of(&[SNAPSHOT_FORM, schema.as_value().to_string().as_bytes()])
}

const BINCODE: bincode::config::Configuration = bincode::config::standard();

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

    /// Starts from a snapshot; `None` if its bytes do not decode (the caller then recovers from the beginning).
    pub fn from_snapshot(stream: StreamId, base: &Base) -> Option<Self> {
        let (state, used) = bincode::serde::decode_from_slice::<D::State, _>(&base.bytes, BINCODE).ok()?;
        (used == base.bytes.len()).then_some(Self {
            stream,
            state: Some(state),
            version: base.version,
            hash: base.hash,
            time: base.time,
            in_flight: VecDeque::new(),
            snapshot_version: base.version,
        })
    }

    /// Folds an entity from a snapshot, or from nothing, and the records after it.
    pub fn recovered(stream: &StreamId, base: Option<&Base>, records: &mut dyn Iterator<Item = Record>) -> Result<Self, ParkedError> {
        let mut active = match base {
            None => Self::empty(stream.clone()),
            Some(base) => Self::from_snapshot(stream.clone(), base).ok_or_else(|| ParkedError {
                stream: stream.clone(),
                version: base.version,
                detail: "snapshot does not decode".into(),
            })?,
        };
        for record in records {
            active.fold(&record)?;
        }
        Ok(active)
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

    fn decide(&mut self, now: Millis, admitted: &Admitted, opener: &dyn Opener) -> Result<Verdict<D::Event>, Problem> {
        let command = &*admitted.command;
        let typed: Option<D::Command> = match &command.body {
            CommandBody::Given { command: json, .. } => Some(
                D::Command::deserialize(&json.0)
                    .map_err(|e| Problem::new(422, "invalid_command", format!("command does not parse: {e}")))?,
            ),
            CommandBody::Kernel(KernelCommand::EffectNote { .. }) => None,
            CommandBody::Kernel(word) => D::from_kernel(word.clone()),
        };
        let key = settles(&command.body).cloned();
        let settled = |outcome| key.clone().map(|key| Settlement { key, outcome });
        if let CommandBody::Kernel(KernelCommand::EffectNote { note, .. }) = &command.body {
            return Ok((Vec::new(), settled(note.clone()), Vec::new()));
        }
        // What is told the sender of a dispatch is settled already, by its receiver.
        let is_told = matches!(command.body, CommandBody::Kernel(KernelCommand::DispatchSettled { .. }));
        if admitted.settled.is_some() && !is_told {
            return Ok((Vec::new(), settled(Settled::Late), Vec::new()));
        }
        // Outcomes and timers settle in a suspended org too; whatever they cause parks in the relay.
        let kernel = matches!(command.body, CommandBody::Kernel(_));
        if admitted.authority.org_suspended && !kernel && !typed.as_ref().is_some_and(D::ignores_suspension) {
            return Err(Problem::new(403, "org_suspended", format!("org {} is suspended", self.stream.org)).fix("resume the org first"));
        }
        let context = Context {
            now,
            stream: &self.stream,
            command_id: &command.command_id,
            command_digest: command.digest,
            principal: &command.principal,
            on_behalf_of: command.on_behalf_of.as_ref(),
            authority: &admitted.authority,
            version: self.version,
            seed: command.seed,
            opener,
            minted: Cell::new(0),
            made: Made::default(),
        };
        let decision = match &typed {
            None => Ok(Decision::Unchanged),
            Some(typed) => D::decide(self.typed_state(), typed, &context),
        };
        let final_outcome = |plain: Settled| match &command.body {
            CommandBody::Kernel(KernelCommand::EffectSettled {
                dead: true,
                outcome,
                attempts,
                ..
            }) => {
                let (code, detail) = failure_of(outcome);
                Settled::Dead {
                    attempts: *attempts,
                    code,
                    detail,
                }
            }
            CommandBody::Kernel(KernelCommand::EffectSettled {
                outcome: Outcome::Cancelled { .. },
                ..
            }) => Settled::Cancelled,
            CommandBody::Kernel(KernelCommand::DispatchSettled { .. }) => Settled::Told,
            _ => plain,
        };
        match decision {
            Ok(Decision::Accept(events)) => Ok((events, settled(final_outcome(Settled::Accepted)), context.made.take())),
            Ok(Decision::Unchanged) => Ok((Vec::new(), settled(final_outcome(Settled::Unchanged)), Vec::new())),
            Err(rejection) => {
                let problem = rejection.problem();
                match settled(final_outcome(Settled::Refused {
                    code: problem.code.clone(),
                })) {
                    Some(settlement) => Ok((Vec::new(), Some(settlement), Vec::new())),
                    None => Err(problem),
                }
            }
        }
    }

    /// Folds new events onto the speculative state, collecting reactions, and encodes the record.
    fn record(
        &mut self,
        time: Millis,
        command: &CommandEnvelope,
        events: Vec<D::Event>,
        settlement: Option<Settlement>,
        authority: &Authority,
    ) -> Result<Decided, Problem> {
        let broken = |detail: String| Problem::new(500, "rules_broken", detail);
        let stored = events
            .iter()
            .map(codec::encode_event)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| broken(e.to_string()))?;
        // Events that are too large by themselves are refused before the state is touched. A copy of the state would cost as
        // much as the entity is large: if the fold fails, or reactions make the record too large, the state is lost, and
        // recovered from the log.
        let bytes: usize = stored.iter().map(|event| event.data.get().len()).sum();
        if bytes > RECORD_MAX_BYTES {
            return Err(too_large(bytes));
        }
        let mut state = self.state.take().expect("a lost entity takes no commands");
        let mut reactions = Vec::new();
        for (version, event) in (self.version + 1..).zip(&events) {
            state = D::evolve(state, event).map_err(|e| broken(format!("{}: {e}", self.stream)))?;
            reactions.extend((0..).zip(D::react(&state, event)).map(|(ordinal, reaction)| StoredReaction {
                version,
                ordinal,
                reaction,
            }));
        }
        let sender = Acting {
            principal: command.principal.clone(),
            on_behalf_of: command.on_behalf_of.clone(),
        };
        let acts_as = D::acts_as(&state).filter(|acting| !reactions.is_empty() && *acting != sender);
        let header = Header {
            stream: self.stream.clone(),
            first_version: self.version + 1,
            events: stored.len() as u32,
            reactions: reactions.len() as u32,
            command_id: command.command_id.clone(),
            digest: command.digest,
            time,
            principal: sender.principal,
            on_behalf_of: sender.on_behalf_of,
            acts_as,
            environment: command.environment.clone(),
            data_class: command.data_class,
            authority: authority.org_version,
            correlation: command.correlation.clone(),
            causation: command.causation.clone(),
            traceparent: command.traceparent.clone(),
            schema: 1,
            settlement,
        };
        let encoded = match record::encode(&header, &stored, &reactions, self.hash) {
            Ok(encoded) => encoded,
            Err(error) => {
                // Without events the state was not touched.
                self.state = events.is_empty().then_some(state);
                return Err(match error {
                    RecordError::TooLarge(bytes) => too_large(bytes),
                    other => broken(other.to_string()),
                });
            }
        };
        self.state = Some(state);
        self.version = header.last_version();
        self.time = time;
        let previous = std::mem::replace(&mut self.hash, encoded.hash);
        let record = Record {
            header,
            events: stored,
            reactions,
            previous,
            hash: encoded.hash,
        };
        Ok(Decided {
            encoded: Arc::new(encoded),
            record: Arc::new(record),
        })
    }
}

fn too_large(bytes: usize) -> Problem {
    Problem::new(413, "record_too_large", format!("the decision takes {bytes} bytes"))
        .fix(format!("keep what one command stores under {RECORD_MAX_BYTES} bytes"))
}

/// The reaction that a command settles, if it does.
pub fn settles(body: &CommandBody) -> Option<&ReactionKey> {
    match body {
        CommandBody::Given { settles, .. } => settles.as_ref(),
        CommandBody::Kernel(word) => Some(word.key()),
    }
}

/// What became of a dispatch, as the relay that sent it has to know: the first settlement, where this one came late.
fn dispatch_settled(command: &CommandEnvelope, outcome: Option<&Settled>, first: Option<&Settled>) -> Option<Settled> {
    if !matches!(&command.body, CommandBody::Given { settles: Some(_), .. }) {
        return None;
    }
    outcome.filter(|outcome| outcome.is_final()).or(first).cloned()
}

fn failure_of(outcome: &Outcome) -> (String, String) {
    match outcome {
        Outcome::Failed { code, detail } => (code.clone(), detail.clone()),
        Outcome::Lost { detail } => ("lost".into(), Outcome::lost_detail(detail.as_deref())),
        other => ("failed".into(), format!("{other:?}").chars().take(200).collect()),
    }
}

fn same_command(command: &CommandEnvelope, digest: &Digest, principal: &PrincipalId, on_behalf_of: Option<&PrincipalId>) -> bool {
    // The kernel's own words carry fresh sealed values; their id names one reaction and step.
    let kernel = matches!(command.body, CommandBody::Kernel(_)) || settles(&command.body).is_some();
    kernel || (command.digest == *digest && command.principal == *principal && command.on_behalf_of.as_ref() == on_behalf_of)
}

fn reused_id(id: &CommandId) -> Problem {
    Problem::new(
        409,
        "command_id_reused",
        format!("command id {id} was used before with another body or by another principal"),
    )
    .field("Idempotency-Key")
    .fix("use a new id for a new command; repeat an old one unchanged")
}

impl<D: Decider> Entity for Active<D> {
    fn needs(&self, command: &CommandEnvelope) -> Vec<BlobRef> {
        let Some(state) = &self.state else { return Vec::new() };
        // Nearly every command names no value: it is then not decoded a second time.
        let typed = match &command.body {
            CommandBody::Given { command: json, .. } if D::looks_into(state) || personal::contains_blob(&json.0) => {
                D::Command::deserialize(&json.0).ok()
            }
            CommandBody::Kernel(word) if D::looks_into(state) => D::from_kernel(word.clone()),
            CommandBody::Given { .. } | CommandBody::Kernel(_) => None,
        };
        typed.map_or_else(Vec::new, |typed| D::needs(state, &typed))
    }

    fn seals_for(&self, command: &CommandEnvelope) -> Option<Subject> {
        let state = self.state.as_ref().filter(|_| D::MAKES_VALUES)?;
        let sender = || Acting {
            principal: command.principal.clone(),
            on_behalf_of: command.on_behalf_of.clone(),
        };
        let acting = D::acts_as(state).unwrap_or_else(sender);
        Some(format!("{}/{}", self.stream.org, acting.on_behalf_of.unwrap_or(acting.principal)))
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
        let parked = |version: u64, detail: String| ParkedError {
            stream: self.stream.clone(),
            version,
            detail,
        };
        if record.header.stream != self.stream {
            return Err(parked(self.version, format!("record belongs to {}", record.header.stream)));
        }
        if record.previous != self.hash {
            return Err(parked(
                record.header.first_version,
                "record does not continue the stream's chain".into(),
            ));
        }
        if record.header.first_version != self.version + 1 {
            return Err(parked(
                record.header.first_version,
                format!("expected version {}, found {}", self.version + 1, record.header.first_version),
            ));
        }
        let mut state = self.state.take().expect("state is present between calls");
        for (version, stored) in (record.header.first_version..).zip(&record.events) {
            let event: D::Event = codec::decode_event(stored).map_err(|e| parked(version, e.to_string()))?;
            state = D::evolve(state, &event).map_err(|e| parked(version, e.to_string()))?;
        }
        self.state = Some(state);
        self.version = record.header.last_version();
        self.hash = record.hash;
        self.time = record.header.time;
        Ok(())
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
        Json(
            self.state
                .as_ref()
                .and_then(|state| serde_json::to_value(state).ok())
                .unwrap_or(serde_json::Value::Null),
        )
    }

    fn snapshot(&self) -> Option<Snapshot> {
        if !self.is_settled() || self.version == 0 {
            return None;
        }
        let bytes = bincode::serde::encode_to_vec(self.state.as_ref()?, BINCODE).ok()?;
        Some(Snapshot {
            version: self.version,
            record_hash: self.hash,
            time: self.time,
            bytes,
        })
    }

    fn snapshot_version(&self) -> u64 {
        self.snapshot_version
    }

    fn snapshot_stored(&mut self, version: u64) {
        self.snapshot_version = self.snapshot_version.max(version);
    }
}

/// The answer when nobody knows whether the record was stored.
pub fn outcome_unknown() -> Problem {
    Problem::new(503, "outcome_unknown", "the append's outcome is not known")
        .fix("send the same command again with the same id: it is decided once")
        .retry_after(1)
}

/// The answer to a command that appended nothing itself when an append of its entity failed for `problem`: a full disk stored
/// nothing of either, anything else leaves it open what it was decided on.
pub fn undecided(problem: &Problem) -> Problem {
    if problem.status == 507 {
        problem.clone()
    } else {
        outcome_unknown()
    }
}

/// Digest of a state in its stored form, for comparing replays.
pub fn state_digest(state: &Json) -> Digest {
    Digest::of(&[state.to_text().as_bytes()])
}

/// Caches [`state_shape`] for one kind.
#[derive(Default)]
pub struct ShapeCell(OnceLock<Digest>);

impl ShapeCell {
    /// The shape of `D::State`.
    pub fn get<D: Decider>(&self) -> Digest {
        *self.0.get_or_init(state_shape::<D>)
    }
}

#[cfg(test)]
mod tests;
