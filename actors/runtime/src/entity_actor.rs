//! The ractor shell of one entity: recovers it from the log, feeds its machine, performs what the machine asks for.

use crate::{
    core::Core,
    kernel::{
        entity::{Admitted, Entity, EntityAction, Ticket, outcome_unknown, settles},
        writer::Durable,
    },
    registry::Waiting,
};
use quipu_events::index::{FirstReceipt, command_mark};
use quipu_schemas::{
    envelope::{CommandBody, CommandEnvelope, Receipt},
    ids::{CommandId, Kind, StreamId},
    limits::SNAPSHOT_EVERY_EVENTS,
    problem::Problem,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::oneshot;

/// Answers its caller whatever happens: dropped without an answer, it says that the command crashed its entity (while
/// unwinding) or that the outcome is unknown.
pub(crate) struct Reply(Option<oneshot::Sender<Result<Receipt, Problem>>>);

impl Reply {
    pub(crate) fn new(sender: oneshot::Sender<Result<Receipt, Problem>>) -> Self {
        Self(Some(sender))
    }

    pub(crate) fn send(mut self, answer: Result<Receipt, Problem>) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let problem = if std::thread::panicking() {
                Problem::new(500, "command_crashed", "the command crashed its entity; the entity recovers from the log and nothing changed")
                    .fix("this is a defect of the kind's rules; report it with the command")
            } else {
                outcome_unknown()
            };
            let _ = sender.send(Err(problem));
        }
    }
}

pub(crate) enum EntityMsg {
    Command { envelope: Arc<CommandEnvelope>, reply: Reply, _waiting: Waiting },
    Durable(Durable),
    Failed(Problem),
    Passivate,
}

pub(crate) struct EntityActor;

pub(crate) struct EntityState {
    core: Arc<Core>,
    stream: StreamId,
    partition: u16,
    incarnation: u64,
    phase: Phase,
    replies: BTreeMap<Ticket, Reply>,
    next_ticket: Ticket,
    /// Offset of the last durable record.
    offset: u64,
    decided: Decided,
}

/// Which commands the entity has decided: nearly every command is new, and to hear so from memory costs a fraction of
/// asking the index. All records of a stream pass through its one active entity, so nothing is missed.
enum Decided {
    /// Not worth remembering yet: this many were looked up.
    Unknown(u32),
    /// The marks of all.
    Marks(BTreeSet<u64>),
    /// Too many to remember.
    TooMany,
}

/// Lookups after which an entity's marks are loaded.
const LOOKUPS_BEFORE_MARKS: u32 = 8;
/// Marks that are loaded at most, about 12 bytes each.
const MARKS_LOAD_MAX: usize = 4_096;
/// Marks that are kept at most.
const MARKS_KEEP_MAX: usize = 65_536;

impl Decided {
    /// The first receipt of a command, which is now taken as decided.
    fn first_receipt(&mut self, core: &Core, stream: &StreamId, id: &CommandId) -> Result<Option<FirstReceipt>, Problem> {
        match self {
            Decided::Marks(marks) => {
                let is_new = marks.insert(command_mark(id));
                if marks.len() > MARKS_KEEP_MAX {
                    *self = Decided::TooMany;
                }
                if is_new {
                    return Ok(None);
                }
            }
            Decided::Unknown(lookups) if *lookups >= LOOKUPS_BEFORE_MARKS => {
                *self = match core.command_marks(stream, MARKS_LOAD_MAX)? {
                    Some(marks) => Decided::Marks(marks),
                    None => Decided::TooMany,
                };
                return self.first_receipt(core, stream, id);
            }
            Decided::Unknown(lookups) => *lookups += 1,
            Decided::TooMany => {}
        }
        core.first_receipt(stream, id)
    }
}

enum Phase {
    Active(Box<dyn Entity>),
    /// The stream cannot be recovered; every command is refused until it is unparked.
    Parked(Problem),
    /// Dropped after a failed append; the registry starts a fresh one.
    Gone,
}

impl Actor for EntityActor {
    type Msg = EntityMsg;
    type State = EntityState;
    type Arguments = (Arc<Core>, StreamId);

    async fn pre_start(&self, _: ActorRef<EntityMsg>, (core, stream): Self::Arguments) -> Result<EntityState, ActorProcessingErr> {
        let partition = stream.partition(core.meta.partitions);
        core.wait_until_not_pending(partition, &stream).await;
        let incarnation = core.incarnation(partition);
        let offset = core.index.stream_head(&stream).ok().flatten().map_or(0, |head| head.position.offset);
        let phase = match core.recover(&stream) {
            Ok(entity) => Phase::Active(entity),
            Err(problem) => Phase::Parked(problem),
        };
        Ok(EntityState { core, stream, partition, incarnation, phase, replies: BTreeMap::new(), next_ticket: 0, offset, decided: Decided::Unknown(0) })
    }

    async fn handle(&self, myself: ActorRef<EntityMsg>, message: EntityMsg, state: &mut EntityState) -> Result<(), ActorProcessingErr> {
        match message {
            EntityMsg::Command { envelope, reply, _waiting } => state.command(envelope, reply),
            EntityMsg::Durable(durable) => state.durable(&durable),
            EntityMsg::Failed(problem) => state.fail(&problem),
            EntityMsg::Passivate => state.passivate(&myself),
        }
        if matches!(state.phase, Phase::Gone) {
            state.core.registry.remove(&state.stream, myself.get_id());
            myself.stop(None);
        }
        Ok(())
    }
}

impl EntityState {
    fn command(&mut self, envelope: Arc<CommandEnvelope>, reply: Reply) {
        let entity = match &mut self.phase {
            Phase::Active(entity) => entity,
            Phase::Parked(problem) => return reply.send(Err(problem.clone())),
            Phase::Gone => return reply.send(Err(outcome_unknown())),
        };
        let (core, decided) = (&self.core, &mut self.decided);
        let mut resolve = || -> Result<_, Problem> {
            let authority = core.authority(&envelope)?;
            let outside = matches!(envelope.body, CommandBody::Given { .. });
            if outside && self.stream.kind != Kind::ORG && authority.org_version == 0 {
                return Err(Problem::new(404, "unknown_org", format!("there is no org {}", self.stream.org))
                    .field("org")
                    .fix(format!("create it with POST /v1/orgs/{}/orgs", self.stream.org)));
            }
            let seen = decided.first_receipt(core, &self.stream, &envelope.command_id)?;
            let already_settled = match settles(&envelope.body) {
                Some(key) => core.is_settled(key)?,
                None => false,
            };
            Ok((authority, seen, already_settled))
        };
        let (authority, seen, already_settled) = match resolve() {
            Ok(resolved) => resolved,
            Err(problem) => return reply.send(Err(problem)),
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let admitted = Admitted { ticket, command: envelope, seen, already_settled, authority, durability: core.meta.durability };
        // If the rules panic, unwinding drops `reply`, which then answers `command_crashed`.
        let actions = entity.command(core.now(), admitted, &*core.keys);
        let lost = entity.is_lost();
        self.replies.insert(ticket, reply);
        self.perform(actions);
        if lost {
            self.fail(&outcome_unknown());
        }
    }

    fn durable(&mut self, durable: &Durable) {
        self.offset = durable.position.offset;
        let Phase::Active(entity) = &mut self.phase else { return };
        let actions = entity.durable(durable.decided.encoded.hash, durable.position, self.core.meta.durability);
        let due = entity.is_settled() && entity.version() >= entity.snapshot_version() + SNAPSHOT_EVERY_EVENTS;
        if due {
            self.snapshot();
        }
        self.perform(actions);
    }

    fn snapshot(&mut self) {
        let Phase::Active(entity) = &mut self.phase else { return };
        if let Some(snapshot) = entity.snapshot() {
            entity.snapshot_stored(snapshot.version);
            self.core.store_snapshot(&self.stream, snapshot, self.offset);
        }
    }

    fn fail(&mut self, problem: &Problem) {
        if let Phase::Active(entity) = &mut self.phase {
            let actions = entity.fail(problem);
            self.perform(actions);
        }
        self.phase = Phase::Gone;
    }

    fn perform(&mut self, actions: Vec<EntityAction>) {
        let mut refused = None;
        for action in actions {
            match action {
                EntityAction::Reply(ticket, answer) => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        reply.send(answer);
                    }
                }
                EntityAction::Append(decided) => {
                    if let Err(problem) = self.core.append(self.partition, decided, self.incarnation) {
                        refused = Some(problem);
                    }
                }
            }
        }
        if let Some(problem) = refused {
            self.fail(&problem);
        }
    }

    fn passivate(&mut self, myself: &ActorRef<EntityMsg>) {
        let settled = match &self.phase {
            Phase::Active(entity) => entity.is_settled(),
            Phase::Parked(_) | Phase::Gone => true,
        };
        // Under the registry's lock no command can slip in between the check and the removal.
        if settled && self.core.registry.remove_if_idle(&self.stream, myself.get_id()) {
            let worth_it = match &self.phase {
                Phase::Active(entity) => entity.version() >= entity.snapshot_version() + SNAPSHOT_EVERY_EVENTS / 4,
                Phase::Parked(_) | Phase::Gone => false,
            };
            if worth_it {
                self.snapshot();
            }
            self.core.counters.passivated.fetch_add(1, Ordering::Relaxed);
            myself.stop(None);
        }
    }
}
