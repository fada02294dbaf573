//! Entities in memory, the records that they append, and the answers that follow.

use super::{Member, Out, ReplyTo, Wake};
use crate::sim::trio::Plant;
use quipu_events::{
    index::IndexEntry,
    port::{AppendError, Appended, Batch},
};
use quipu_runtime::kernel::{
    admission::{Admission, OrgPartition, Question, Step, Terms, actor, within_lease},
    authorities,
    entity::{self, Admitted, Entity, EntityAction},
    ownership::{Input, outcome_of},
    refusals::outcome_unknown,
    rights::{ActorRights, KnownKey},
    seen_commands::SeenCommands,
    writer::Incarnation,
};
use quipu_schemas::{
    envelope::{CommandEnvelope, Durability, Receipt},
    ids::{EntityId, OrgId, PrincipalId, StreamId},
    limits::SEEN_LOADED_MAX,
    position::Position,
    problem::Problem,
};
use std::{collections::BTreeMap, sync::Arc};

/// Few, so that short lives reach it.
const COMMANDS_BEFORE_MARKS: u32 = 2;
const DURABILITY: Durability = Durability::QuorumFsync;

pub(crate) struct Slot {
    pub(crate) entity: Box<dyn Entity>,
    incarnation: Incarnation,
    seen: SeenCommands,
}

impl Member {
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&StreamId, &dyn Entity)> {
        self.entities.iter().map(|(stream, slot)| (stream, &*slot.entity))
    }

    /// A command for an entity of this node; it waits in its turn.
    pub(super) fn submit_here(&mut self, envelope: Arc<CommandEnvelope>, reply: ReplyTo) {
        let partition = self.partition(&envelope.stream);
        if let Some(problem) = self.part(partition).writer.refuses().cloned() {
            return self.reply(reply, Err(problem));
        }
        self.inbox.push_back((envelope, reply));
        self.later(0, Wake::Handle);
    }

    /// Hands the oldest command to its entity.
    pub(super) fn handle(&mut self) {
        let Some((envelope, reply)) = self.inbox.pop_front() else { return };
        let partition = self.partition(&envelope.stream);
        if !self.entities.contains_key(&envelope.stream) && self.part(partition).writer.is_pending(&envelope.stream) {
            // Its earlier records are still on their way: it is not recovered yet.
            self.inbox.push_back((envelope, reply));
            return self.later(5, Wake::Handle);
        }
        match self.admit(&envelope) {
            Ok((admitted, ticket)) => {
                let stream = envelope.stream.clone();
                self.waiters.insert((stream.clone(), ticket), reply);
                let (now, keys) = (self.wall(), self.keys.clone());
                let Some(incarnation) = self.entities.get(&stream).map(|slot| slot.incarnation) else {
                    return;
                };
                let renewed = self.part(partition).writer.renewed(incarnation);
                let Some(slot) = self.entities.get_mut(&stream) else { return };
                if slot.entity.is_settled() {
                    slot.incarnation = renewed;
                }
                // Values are in memory here: a store that does not answer is not simulated.
                let values = quipu_runtime::values::bring(&slot.entity.needs(&admitted.command), &*keys).unwrap_or_default();
                let opener = quipu_schemas::personal::Brought::new(&*keys, values);
                let actions = slot.entity.command(now, admitted, &opener);
                let lost = slot.entity.is_lost();
                self.entity_actions(&stream, actions);
                if lost {
                    self.drop_entity(&stream, &outcome_unknown());
                }
            }
            Err(problem) => self.reply(reply, Err(problem)),
        }
    }

    fn rights(&mut self, org: &OrgId, principal: &PrincipalId) -> Result<Arc<ActorRights>, String> {
        let rights = self.known(&mut |known| known.actor(org, principal, 0))?;
        Ok(rights.unwrap_or_else(|| Arc::new(ActorRights::nobody())))
    }

    fn key(&mut self, org: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, String> {
        self.known(&mut |known| known.key(org, id, 0))
    }

    /// Everything that the decision may depend on, resolved just before.
    fn admit(&mut self, envelope: &Arc<CommandEnvelope>) -> Result<(Admitted, u64), Problem> {
        let unreadable = |error: String| Problem::new(503, "log_unreadable", error).retry_after(1);
        let stream = &envelope.stream;
        let partition = self.partition(stream);
        if !self.entities.contains_key(stream) {
            let recovered = self.library().recover(stream);
            if let Err(error) = &recovered {
                self.unreadable(partition, error);
            }
            let entity = recovered.map_err(unreadable)?;
            let incarnation = self.part(partition).writer.incarnation();
            let seen = SeenCommands::after(COMMANDS_BEFORE_MARKS);
            let slot = Slot { entity, incarnation, seen };
            self.entities.insert(stream.clone(), slot);
        }
        let placed = self.partition(&StreamId::of_org(&stream.org));
        let org_partition = OrgPartition {
            is_fresh: self.is_fresh(placed),
            is_elsewhere: !self.is_owner(placed),
        };
        let ticket = self.next_id();
        let slot = self.entities.get(stream);
        let belongs = slot.map(|slot| slot.entity.belongs(envelope)).unwrap_or_default();
        let charter = self.charter.clone();
        let terms = Terms {
            charter: &charter,
            durability: DURABILITY,
            partition: org_partition,
            belongs: &belongs,
            recalls: slot.map(|slot| slot.entity.recalls(envelope)).unwrap_or_default(),
            now: self.wall(),
        };
        let mut admission = Admission::of(ticket, envelope.clone(), terms);
        loop {
            let Some(slot) = self.entities.get_mut(stream) else {
                return Err(outcome_unknown());
            };
            match admission.step(&mut slot.seen) {
                Step::Ask(Question::Org { is_read_first }) => {
                    if is_read_first {
                        self.follow(placed);
                    }
                    admission.org(self.rights(&stream.org, actor(envelope)).map_err(unreadable)?, is_read_first);
                }
                Step::Ask(Question::Sender(who)) => admission.sender(who.clone(), self.rights(&stream.org, &who).map_err(unreadable)?),
                Step::Ask(Question::Principal(home)) => admission.principal(home.clone(), self.principal(&home).map_err(unreadable)?),
                Step::Ask(Question::Key(id)) => admission.key(self.key(&stream.org, &id).map_err(unreadable)?),
                Step::Ask(Question::Application(of)) => admission.application(of.clone(), self.application(&of).map_err(unreadable)?),
                Step::Ask(Question::Project(of)) => admission.project(self.is_archived(&stream.org, &of).map_err(unreadable)?),
                Step::Ask(Question::Marks) => {
                    let marks = self.index.command_marks(stream, SEEN_LOADED_MAX);
                    slot.seen.load(marks.map_err(|e| unreadable(e.to_string()))?);
                }
                Step::Ask(Question::Receipt) => {
                    let receipt = self.index.command(stream, &envelope.command_id);
                    admission.receipt(receipt.map_err(|e| unreadable(e.to_string()))?);
                }
                Step::Ask(Question::Settlement(key)) => {
                    let settled = self.index.settled(&key).map_err(|e| unreadable(e.to_string()))?;
                    admission.settlement(settled.map(|settled| settled.outcome));
                }
                Step::Ask(Question::Named(name)) => self.library().recall(stream, name, &mut admission).map_err(unreadable)?,
                Step::Admit(admitted) => return Ok((admitted, ticket)),
                Step::Refuse(problem) => return Err(problem),
            }
        }
    }

    fn entity_actions(&mut self, stream: &StreamId, actions: Vec<EntityAction>) {
        let partition = self.partition(stream);
        let mut refused = None;
        for action in actions {
            match action {
                EntityAction::Reply(ticket, result) => {
                    let is_leased = self.monotonic() < self.parts[usize::from(partition)].refuses_until;
                    let result = within_lease(result, is_leased || self.plant == Plant::RefusesPastItsLease);
                    if let Some(reply) = self.waiters.remove(&(stream.clone(), ticket)) {
                        self.reply(reply, result);
                    }
                }
                EntityAction::Keep(made) => {
                    if let Err(error) = quipu_runtime::values::keep(made, &*self.keys) {
                        return self.drop_entity(stream, &error.problem());
                    }
                }
                EntityAction::Append(decided) => {
                    if self.plant == Plant::AcknowledgesBeforeItIsStored {
                        self.acknowledge_early(stream, &decided);
                    }
                    let id = self.batch_id();
                    let incarnation = match self.plant {
                        Plant::KeepsEntities => self.part(partition).writer.incarnation(),
                        _ => self.entities.get(stream).map_or_else(Incarnation::default, |slot| slot.incarnation),
                    };
                    match self.part(partition).writer.submit(decided, incarnation, id) {
                        Ok(batch) => self.append(batch),
                        Err(problem) => refused = Some(problem),
                    }
                }
            }
        }
        if let Some(problem) = refused {
            self.drop_entity(stream, &problem);
        }
    }

    pub(super) fn append(&mut self, batch: Option<Batch>) {
        let Some(batch) = batch else { return };
        let (partition, now) = (batch.partition, self.monotonic());
        let outs = self.part(partition).appender.append(batch, now);
        self.appender_outs(partition, outs);
    }

    fn acknowledge_early(&mut self, stream: &StreamId, decided: &entity::DecidedRecord) {
        let partition = self.partition(stream);
        let offset = self.part(partition).writer.next_offset();
        let header = &decided.record.header;
        let receipt = Receipt {
            command_id: header.command_id.clone(),
            stream: stream.clone(),
            version: header.last_version(),
            position: Position {
                partition,
                offset,
                index: 0,
            },
            durability: DURABILITY,
            unchanged: false,
            duplicate: false,
            settled: None,
            shown: None,
            behind: None,
        };
        let waiting = self
            .waiters
            .iter()
            .rev()
            .find(|((of, _), _)| of == stream)
            .map(|(key, _)| key.clone());
        if let Some(reply) = waiting.and_then(|key| self.waiters.remove(&key)) {
            self.reply(reply, Ok(receipt));
        }
    }

    /// An append came to its end.
    pub(super) fn appended(&mut self, batch: &Batch, result: Result<Appended, AppendError>) {
        let (partition, id) = (batch.partition, self.batch_id());
        let failed = result.as_ref().err().map(|error| outcome_of(error, batch.batch_id));
        let part = self.part(partition);
        // The partition was abandoned meanwhile.
        if part.writer.epoch() != batch.epoch || !part.writer.is_appending() {
            return;
        }
        let flushed = part.writer.appended(result, id);
        self.append(flushed.next);
        let entries: Vec<IndexEntry> = flushed
            .durable
            .iter()
            .map(|d| {
                IndexEntry::new(
                    d.position.offset,
                    d.place,
                    d.decided.record.hash,
                    &d.decided.record.header,
                    &d.decided.record.reactions,
                )
            })
            .collect();
        if !entries.is_empty()
            && let Err(error) = self.index.note_durable(partition, entries)
        {
            self.broken
                .push(format!("node {}: index of partition {partition}: {error}", self.id));
        }
        for durable in flushed.durable {
            let stream = durable.decided.record.header.stream.clone();
            if authorities::is_about(&stream.kind) {
                self.known.record(&durable.decided.record);
            }
            self.relay_record(partition, durable.position.offset, &durable.decided.record);
            if let Some(slot) = self.entities.get_mut(&stream) {
                let actions = slot.entity.durable(durable.decided.encoded.hash, durable.position, DURABILITY);
                self.entity_actions(&stream, actions);
            }
        }
        let again: Vec<entity::DecidedRecord> = if self.plant == Plant::SendsUnknownAgain {
            flushed.failed.iter().map(|(decided, _)| decided.clone()).collect()
        } else {
            Vec::new()
        };
        let failing: BTreeMap<StreamId, Problem> = flushed
            .failed
            .into_iter()
            .map(|(d, p)| (d.record.header.stream.clone(), p))
            .collect();
        for (stream, problem) in failing {
            self.drop_entity(&stream, &problem);
        }
        if let Some(outcome) = failed {
            self.part(partition).unknown = Some((batch.batch_id, batch.first_offset));
            if !again.is_empty() {
                self.unsettled.insert(partition, again);
            }
            self.tell(
                partition,
                Input::Appended {
                    epoch: batch.epoch,
                    outcome,
                },
            );
        }
    }

    pub(super) fn drop_entity(&mut self, stream: &StreamId, problem: &Problem) {
        if let Some(mut slot) = self.entities.remove(stream) {
            let actions = slot.entity.fail(problem);
            self.entity_actions(stream, actions);
            self.unanswered(stream);
        }
    }

    /// Whoever still waits for an entity that is gone is told that nobody knows.
    fn unanswered(&mut self, stream: &StreamId) {
        let waiting: Vec<_> = self.waiters.keys().filter(|(of, _)| of == stream).cloned().collect();
        for key in waiting {
            if let Some(reply) = self.waiters.remove(&key) {
                self.reply(reply, Err(outcome_unknown()));
            }
        }
    }

    /// Of a partition that is given up.
    pub(super) fn forget_entities(&mut self, partition: u16) {
        let streams: Vec<StreamId> = self
            .entities
            .keys()
            .filter(|stream| self.partition(stream) == partition)
            .cloned()
            .collect();
        for stream in streams {
            if self.plant != Plant::KeepsEntities {
                self.entities.remove(&stream);
            }
            self.unanswered(&stream);
        }
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.inbox)
            .into_iter()
            .partition(|(envelope, _)| self.partition(&envelope.stream) == partition);
        self.inbox = kept.into();
        for (_, reply) in gone {
            self.reply(reply, Err(outcome_unknown()));
        }
    }

    pub(super) fn reply(&mut self, reply: ReplyTo, result: Result<Receipt, Problem>) {
        match reply {
            ReplyTo::Local { submission } => self.answered(submission, result),
            ReplyTo::Remote(mut answer) => {
                answer.result = result;
                self.outs.push(Out::Forwarded(*answer));
            }
        }
    }

    /// Puts an entity that is at rest to sleep, with a snapshot half of the time.
    pub(crate) fn passivate(&mut self, at: u64, snapshot: bool) -> bool {
        let Some(stream) = self
            .entities
            .keys()
            .nth((at % (self.entities.len() as u64).max(1)) as usize)
            .cloned()
        else {
            return false;
        };
        let slot = &self.entities[&stream];
        if !slot.entity.is_settled() || !self.is_owner(self.partition(&stream)) {
            return false;
        }
        if snapshot
            && let Some(snapshot) = slot.entity.snapshot()
            && let Some(handler) = self.kinds.get(&stream.kind)
            && let Ok(Some(head)) = self.index.stream_head(&stream)
        {
            let stored = quipu_events::snapshots::Snapshot {
                version: snapshot.version,
                offset: head.position.offset,
                record: snapshot.record_hash,
                schema: handler.shape(),
                rules: handler.rules_version(),
                bytes: snapshot.bytes,
            };
            if let Err(error) = self.index.put_snapshot(&stream, &stored) {
                self.broken.push(format!("snapshot: {error}"));
            }
        }
        self.entities.remove(&stream);
        true
    }
}
