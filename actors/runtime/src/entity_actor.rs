//! The ractor shell of one entity: recovers it from the log, feeds its machine, performs what the machine asks for.

use crate::{
    core::Core,
    facts::admit,
    kernel::{
        admission::within_lease,
        entity::{Entity, EntityAction, Ticket},
        refusals::{outcome_unknown, undecided},
        seen_commands::SeenCommands,
        writer::{Durable, Incarnation},
    },
    mailbox::{EntityMsg, Reply},
    values::{self, Values},
};
use quipu_schemas::{
    envelope::CommandEnvelope,
    ids::StreamId,
    limits::SNAPSHOT_EVERY_EVENTS,
    personal::{Brought, SealError, Sealer},
    problem::Problem,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

pub(crate) struct EntityActor;

pub(crate) struct EntityState {
    core: Arc<Core>,
    stream: StreamId,
    partition: u16,
    incarnation: Incarnation,
    phase: Phase,
    /// Machines of before a recovery, the oldest first, while records of them are on their way to the log.
    leaving: Vec<Box<dyn Entity>>,
    replies: BTreeMap<Ticket, Reply>,
    next_ticket: Ticket,
    /// Offset of the last durable record.
    offset: u64,
    seen: SeenCommands,
    is_leaving: bool,
    /// Whether the key that its decisions seal with was made, or is there.
    has_key: bool,
}

/// Commands after which an entity's marks are loaded.
const COMMANDS_BEFORE_MARKS: u32 = 8;

/// Events after a snapshot of that version until the next one: up to a quarter less than it might be, another part of it for
/// each stream, so that entities which began together do not write theirs in the same second.
fn snapshot_interval(stream: &StreamId, version: u64) -> u64 {
    let most = SNAPSHOT_EVERY_EVENTS.max(version / 8);
    most - u64::from(stream.partition(SNAPSHOT_SPREAD)) * most / (4 * u64::from(SNAPSHOT_SPREAD))
}

const SNAPSHOT_SPREAD: u16 = 1_000;

enum Phase {
    Active(Box<dyn Entity>),
    /// The stream cannot be recovered. Every command is refused until it is unparked, or, where only reading failed, until
    /// it can be read.
    Parked(Problem),
    /// Its state is gone: it is recovered before the next command.
    Lost,
    /// Dropped after a failed append, with what whoever still waits gets; the registry starts a fresh one.
    Gone(Problem),
}

impl Actor for EntityActor {
    type Msg = EntityMsg;
    type State = EntityState;
    type Arguments = (Arc<Core>, StreamId);

    async fn pre_start(&self, _: ActorRef<EntityMsg>, (core, stream): Self::Arguments) -> Result<EntityState, ActorProcessingErr> {
        let partition = stream.partition(core.meta.partitions);
        let mut state = EntityState {
            core,
            stream,
            partition,
            incarnation: Incarnation::default(),
            phase: Phase::Lost,
            leaving: Vec::new(),
            replies: BTreeMap::new(),
            next_ticket: 0,
            offset: 0,
            seen: SeenCommands::after(COMMANDS_BEFORE_MARKS),
            is_leaving: false,
            has_key: false,
        };
        state.recover().await;
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<EntityMsg>, message: EntityMsg, state: &mut EntityState) -> Result<(), ActorProcessingErr> {
        match message {
            EntityMsg::Command { envelope, reply, _waiting } => {
                if state.may_be_readable() {
                    state.recover().await;
                }
                match state.bring(&envelope).await {
                    Ok(values) => {
                        // Until it exists, whoever commands it next may be somebody else.
                        state.has_key = state.offset > 0;
                        let mut actions = state.command(envelope, reply, values);
                        match state.keep(&mut actions).await {
                            Ok(()) => state.perform(actions),
                            Err(problem) => state.fail(&problem),
                        }
                        state.lose();
                    }
                    Err(problem) => reply.send(Err(problem)),
                }
                if matches!(state.phase, Phase::Lost) {
                    state.recover().await;
                }
            }
            EntityMsg::Durable(durable) => state.durable(&durable),
            // It may be late, and meant for the entity that was here before this one.
            EntityMsg::Failed(problem, failed) if state.incarnation < failed => state.fail(&problem),
            EntityMsg::Failed(..) => {}
            EntityMsg::Passivate => state.passivate(&myself),
            EntityMsg::End => myself.stop(None),
        }
        if matches!(state.phase, Phase::Gone(_)) && !state.is_leaving {
            state.is_leaving = true;
            state.core.registry.remove(&state.stream, myself.get_id());
            // Out of the registry nothing is sent to it any more: what is in its mailbox is answered, and this comes last.
            if myself.send_message(EntityMsg::End).is_err() {
                myself.stop(None);
            }
        }
        Ok(())
    }
}

/// Refuses a command that is not decided.
fn unanswered<T>(reply: Reply, problem: Problem) -> Option<T> {
    reply.send(Err(problem));
    None
}

impl EntityState {
    /// Reads the entity from the log, once everything of it that is on its way there has arrived. That may wait for a disk or
    /// a broker, so it is done away from the threads that all actors share.
    async fn recover(&mut self) {
        let (core, stream) = (self.core.clone(), self.stream.clone());
        if !core.until_indexed(self.partition, &stream).await {
            let behind = Problem::new(503, "index_behind", format!("the local index does not know all of {stream} yet"));
            self.phase = Phase::Parked(behind.fix("send the command again with the same id").retry_after(1));
            return;
        }
        self.incarnation = core.incarnation(self.partition);
        let permit = core.recoveries.acquire().await;
        let reader = core.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let head = reader.index.stream_head(&stream).ok().flatten();
            (head.map_or(0, |head| head.position.offset), reader.recover(&stream))
        });
        self.phase = match reading.await {
            Ok((offset, Ok(entity))) => {
                self.offset = self.offset.max(offset);
                Phase::Active(entity)
            }
            Ok((_, Err(problem))) => Phase::Parked(problem),
            // The crash was logged, or the node is stopping.
            Err(_) => Phase::Parked(outcome_unknown()),
        };
        drop(permit);
    }

    /// Whether only reading failed when it was recovered: a log that did not answer then may answer now.
    fn may_be_readable(&self) -> bool {
        matches!(&self.phase, Phase::Parked(problem) if problem.code != "stream_parked")
    }

    /// What deciding this command looks into, from the store of values, and the key that it seals with. The entity's other
    /// messages wait meanwhile, so the state that the rules named it by is the state that they decide on.
    fn bring(&self, envelope: &Arc<CommandEnvelope>) -> impl Future<Output = Result<Values, Problem>> + Send + use<> {
        let (needs, values, secrets) = match &self.phase {
            Phase::Active(entity) => (entity.needs(envelope), entity.seals_for(envelope), entity.seals_under(envelope)),
            Phase::Parked(_) | Phase::Gone(_) | Phase::Lost => (Vec::new(), None, None),
        };
        let values = values.filter(|_| !self.has_key);
        let secrets = secrets.filter(|_| self.would_decide(envelope));
        let keys = self.core.keys.clone();
        async move {
            if needs.is_empty() && values.is_none() && secrets.is_none() {
                return Ok(Values::new());
            }
            let bringing = move || {
                for subject in values.iter().chain(&secrets) {
                    match keys.sealing_key(subject) {
                        // The rules meet the erasure where they seal: a node fails by it, and the run goes on to its end.
                        Ok(_) | Err(SealError::Erased(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                values::bring(&needs, &*keys)
            };
            match tokio::task::spawn_blocking(bringing).await {
                Ok(brought) => brought.map_err(|error| error.problem()),
                Err(_) => Err(Problem::new(500, "internal", "reading values crashed")),
            }
        }
    }

    /// Whether a command will be put to the rules. Keys are kept for good: whoever holds no right makes none. It is decided all the
    /// same by what is known then.
    fn would_decide(&self, envelope: &Arc<CommandEnvelope>) -> bool {
        let mut seen = SeenCommands::after(COMMANDS_BEFORE_MARKS);
        let Phase::Active(entity) = &self.phase else { return false };
        let admitted = admit(&self.core, 0, envelope.clone(), (&mut seen, &**entity));
        admitted.is_ok_and(|admitted| admitted.refused.is_none() && admitted.seen.is_none())
    }

    /// Keeps the values that a decision made, durably, before anything else of it is done.
    fn keep(&self, actions: &mut [EntityAction]) -> impl Future<Output = Result<(), Problem>> + Send + use<> {
        let made = match actions.first_mut() {
            Some(EntityAction::Keep(made)) => std::mem::take(made),
            _ => Vec::new(),
        };
        let keys = self.core.keys.clone();
        async move {
            if made.is_empty() {
                return Ok(());
            }
            match tokio::task::spawn_blocking(move || values::keep(made, &*keys)).await {
                Ok(kept) => kept.map_err(|error| error.problem()),
                Err(_) => Err(Problem::new(500, "internal", "keeping values crashed")),
            }
        }
    }

    /// Decides; what is left to be done.
    fn command(&mut self, envelope: Arc<CommandEnvelope>, reply: Reply, values: Values) -> Vec<EntityAction> {
        self.decide(envelope, reply, values).unwrap_or_default()
    }

    /// `None` where it was answered without deciding.
    fn decide(&mut self, envelope: Arc<CommandEnvelope>, mut reply: Reply, values: Values) -> Option<Vec<EntityAction>> {
        let entity = match &mut self.phase {
            Phase::Active(entity) => entity,
            Phase::Parked(problem) => return unanswered(reply, problem.clone()),
            Phase::Gone(problem) => return unanswered(reply, undecided(problem)),
            Phase::Lost => return unanswered(reply, outcome_unknown()),
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let core = &self.core;
        let admitted = match admit(core, ticket, envelope, (&mut self.seen, &**entity)) {
            Ok(admitted) => admitted,
            Err(problem) => return unanswered(reply, problem),
        };
        if entity.is_settled() {
            self.incarnation = core.renewed(self.partition, self.incarnation);
        }
        // If the rules panic, unwinding drops `reply`, which then answers `command_crashed`.
        reply.is_deciding(true);
        let actions = entity.command(core.now(), admitted, &Brought::new(&*core.keys, values));
        reply.is_deciding(false);
        self.replies.insert(ticket, reply);
        Some(actions)
    }

    /// If its state is gone, what was decided before still becomes durable and is answered.
    fn lose(&mut self) {
        if matches!(&self.phase, Phase::Active(entity) if entity.is_lost())
            && let Phase::Active(entity) = std::mem::replace(&mut self.phase, Phase::Lost)
            && !entity.is_settled()
        {
            self.leaving.push(entity);
        }
    }

    fn durable(&mut self, durable: &Durable) {
        self.offset = self.offset.max(durable.position.offset);
        for mut leaving in std::mem::take(&mut self.leaving) {
            let actions = leaving.durable(durable.decided.encoded.hash, durable.position, self.core.meta.durability);
            if !leaving.is_settled() {
                self.leaving.push(leaving);
            }
            self.perform(actions);
        }
        let Phase::Active(entity) = &mut self.phase else { return };
        let actions = entity.durable(durable.decided.encoded.hash, durable.position, self.core.meta.durability);
        let due = entity.is_settled()
            && entity.version() >= entity.snapshot_version() + snapshot_interval(&self.stream, entity.snapshot_version());
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
        for mut leaving in std::mem::take(&mut self.leaving) {
            let actions = leaving.fail(problem);
            self.perform(actions);
        }
        if let Phase::Active(entity) = &mut self.phase {
            let actions = entity.fail(problem);
            self.perform(actions);
        }
        self.phase = Phase::Gone(problem.clone());
    }

    fn perform(&mut self, actions: Vec<EntityAction>) {
        let mut refused = None;
        for action in actions {
            match action {
                EntityAction::Reply(ticket, answer) => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        reply.send(within_lease(answer, self.core.may_refuse(self.partition)));
                    }
                }
                // Kept before: see `keep`.
                EntityAction::Keep(_) => {}
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
            Phase::Active(entity) => entity.is_settled() && self.leaving.is_empty(),
            Phase::Parked(_) | Phase::Lost | Phase::Gone(_) => true,
        };
        // Under the registry's lock no command can slip in between the check and the removal.
        if settled && self.core.registry.remove_if_idle(&self.stream, myself.get_id()) {
            let worth_it = match &self.phase {
                Phase::Active(entity) => {
                    entity.version() >= entity.snapshot_version() + snapshot_interval(&self.stream, entity.snapshot_version()) / 4
                }
                Phase::Parked(_) | Phase::Lost | Phase::Gone(_) => false,
            };
            if worth_it {
                self.snapshot();
            }
            self.core.counters.passivated.fetch_add(1, Ordering::Relaxed);
            myself.stop(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_of_entities_that_began_together_are_spread() {
        let at = |n: u32| snapshot_interval(&format!("acme/conversation/c{n}").parse().expect("a stream"), 0);
        let mut versions: Vec<u64> = (0..1_000).map(at).collect();
        assert!(
            versions
                .iter()
                .all(|at| (SNAPSHOT_EVERY_EVENTS * 3 / 4..=SNAPSHOT_EVERY_EVENTS).contains(at))
        );
        versions.sort_unstable();
        let fullest = versions.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
        assert!(fullest.is_some_and(|most| most < 60), "{fullest:?} at the same version");
        assert_eq!(at(1), at(1));
    }
}
