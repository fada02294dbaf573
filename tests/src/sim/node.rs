//! One incarnation of the node: writers, entities, relays, index and views, glued as the shells glue them, with every
//! hand-over a separate step that the scheduler may delay, reorder or lose in a crash.

mod deciding;
mod firing;
mod looking;
mod mutant;
mod outbox;
mod storing;
mod truth;

use super::{Rng, log::SimLog, reading::Library};
pub use mutant::{MUTANTS, Mutant};
pub(crate) use outbox::outcome;
use quipu_events::{
    index::Index,
    keyring::Keyring,
    port::{AppendError, Appended, Batch, Log},
};
use quipu_projections::{
    follower::Follower,
    progress::Progress,
    sqlite::SqliteStore,
    store::{Origin, ViewStore},
};
use quipu_rules::org::OrgState;
use quipu_rules::rights::Charter;
use quipu_runtime::{
    kernel::{
        authorities::{Authorities, folded::Folded},
        clock::{Clock, Reading},
        entity::Entity,
        principals::KnownPrincipal,
        relay::{Page, Purpose, Relay},
        rights::KnownKey,
        seen_commands::SeenCommands,
        timers::{Now, Timers},
        writer::{Incarnation, Writer},
    },
    kinds::Kinds,
};
use quipu_schemas::{
    context::Millis,
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, EntityId, OrgId, StreamId},
    position::Cursor,
    problem::Problem,
    reaction::{Effect, ReactionKey},
    record::Record,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// So few that the relays leave most of their work in the index.
const LOADED_MAX: usize = 4;
/// Few, so that short lives reach it.
const COMMANDS_BEFORE_MARKS: u32 = 2;
/// Short, so that some steps of the clock are followed.
const CLOCK_HOLD_MS: u64 = 5_000;
/// How many in a hundred reads of the index or the log for a timer fail.
const READS_FAIL_PERCENT: u64 = 3;

/// [`SeenCommands`] as it was when `kill -9` found its defect.
#[derive(Default)]
struct LoadsLate {
    seen: u32,
    marks: Option<BTreeSet<u64>>,
}

impl LoadsLate {
    fn is_new<E>(&mut self, mark: u64, load: impl FnOnce() -> Result<Option<BTreeSet<u64>>, E>) -> Result<bool, E> {
        self.seen += 1;
        if self.seen <= COMMANDS_BEFORE_MARKS {
            return Ok(false);
        }
        if self.marks.is_none() {
            self.marks = Some(load()?.unwrap_or_default());
        }
        Ok(self.marks.as_mut().is_some_and(|marks| marks.insert(mark)))
    }
}

/// An answer to a client.
pub(crate) struct Answer {
    pub(crate) stream: StreamId,
    pub(crate) command_id: CommandId,
    pub(crate) result: Result<Receipt, Problem>,
}

enum Waiter {
    Client(StreamId, CommandId),
    Relay {
        partition: u16,
        key: ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
    },
    Timer(ReactionKey),
}

struct Running {
    key: ReactionKey,
    attempt: u32,
    effect: Effect,
    subject: String,
    cancelled: bool,
}

pub(crate) struct SimNode {
    log: Arc<SimLog>,
    index: Index,
    keys: Arc<Keyring>,
    kinds: Kinds,
    charter: Arc<Charter>,
    writers: Vec<Writer>,
    relays: Vec<Relay>,
    entities: BTreeMap<StreamId, (Box<dyn Entity>, Incarnation, SeenCommands)>,
    /// Commands of clients on their way, in any order.
    pub(crate) inbox: Vec<CommandEnvelope>,
    /// Commands of the kernel on their way, in order.
    kernel: VecDeque<(CommandEnvelope, Waiter)>,
    batches: Vec<Batch>,
    completions: VecDeque<(u16, Result<Appended, AppendError>)>,
    running: Vec<Running>,
    /// Pages of pending work on their way to their relays, read when they were asked for.
    pages: VecDeque<(u16, Page)>,
    waiters: BTreeMap<(StreamId, u64), Waiter>,
    next_ticket: u64,
    clock: Clock,
    now: Now,
    timers: Timers,
    /// Elapsed time when a timer was set in this life, and the delay from then.
    set: BTreeMap<ReactionKey, (u64, u64)>,
    known: Authorities,
    /// Keys as they were when they were first asked for; of a planted defect alone.
    first_keys: BTreeMap<EntityId, Option<Arc<KnownKey>>>,
    /// Principals as they were when a session of theirs was live; of a planted defect alone.
    live_sessions: BTreeMap<EntityId, Arc<KnownPrincipal>>,
    /// What its log says of rights, by which its decisions are checked.
    truth: BTreeMap<StreamId, Arc<Folded>>,
    views: Follower,
    progress: Arc<Progress>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) broken: Vec<String>,
    /// Durable end of each partition.
    ends: Vec<u64>,
    asleep: BTreeSet<StreamId>,
    loads_late: BTreeMap<StreamId, LoadsLate>,
    /// Entities that were asleep when something came for them.
    pub(crate) woken: u64,
    batch: u64,
    dead: bool,
    mutant: Option<Mutant>,
}

impl SimNode {
    pub(crate) fn start(
        log: SimLog,
        keys: Arc<Keyring>,
        kinds: Kinds,
        seed: u64,
        first: Reading,
        mutant: Option<Mutant>,
    ) -> Result<Self, String> {
        let log = Arc::new(log);
        let meta = log.meta();
        let index = Index::in_memory(&meta).map_err(|e| e.to_string())?;
        index.catch_up(&*log, &mut |_| ()).map_err(|e| e.to_string())?;
        let mut writers = Vec::new();
        for partition in 0..meta.partitions {
            writers.push(Writer::new(partition, log.claim(partition, "sim").map_err(|e| e.to_string())?));
        }
        let ends = writers.iter().map(Writer::next_offset).collect();
        let store: Arc<dyn ViewStore> = Arc::new(SqliteStore::in_memory(Origin::of(&meta)).map_err(|e| e.to_string())?);
        let views = Follower::new(&*log, store).map_err(|e| e.to_string())?;
        let relays = (0..meta.partitions).map(|p| Relay::new(seed ^ u64::from(p), LOADED_MAX)).collect();
        let charter = Arc::new(kinds.charter([]));
        Ok(Self {
            log,
            index,
            keys,
            charter: charter.clone(),
            kinds,
            writers,
            relays,
            entities: BTreeMap::new(),
            inbox: Vec::new(),
            kernel: VecDeque::new(),
            batches: Vec::new(),
            completions: VecDeque::new(),
            running: Vec::new(),
            pages: VecDeque::new(),
            waiters: BTreeMap::new(),
            next_ticket: 0,
            clock: Clock::new(CLOCK_HOLD_MS, first),
            now: Now {
                time: first.wall,
                elapsed: first.elapsed,
            },
            timers: Timers::default(),
            set: BTreeMap::new(),
            known: Authorities::new(charter, 4, 1_000).with_principals(3, 2),
            first_keys: BTreeMap::new(),
            live_sessions: BTreeMap::new(),
            truth: BTreeMap::new(),
            views,
            progress: Arc::new(Progress::new(Cursor::start(meta.log_id, meta.generation, meta.partitions))),
            answers: Vec::new(),
            broken: Vec::new(),
            ends,
            asleep: BTreeSet::new(),
            loads_late: BTreeMap::new(),
            woken: 0,
            batch: seed,
            dead: false,
            mutant,
        })
    }

    pub(crate) fn log(&self) -> &Arc<SimLog> {
        &self.log
    }
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&StreamId, &dyn Entity)> {
        self.entities.iter().map(|(stream, (entity, ..))| (stream, &**entity))
    }
    pub(crate) fn views(&mut self) -> (&mut Follower, &Arc<Progress>) {
        (&mut self.views, &self.progress)
    }

    /// State of an entity in memory, for clients that look before they send.
    pub(crate) fn state_of(&self, stream: &StreamId) -> Option<serde_json::Value> {
        self.entities.get(stream).map(|(entity, ..)| entity.state().0)
    }

    /// Whether the one org of the simulation is suspended.
    pub(crate) fn is_suspended(&self) -> bool {
        let org = StreamId::of_org(&OrgId::from_static("acme"));
        let state = self
            .recover(&org)
            .ok()
            .and_then(|org| serde_json::from_value::<OrgState>(org.state().0).ok());
        matches!(state, Some(OrgState::Suspended { .. }))
    }

    /// The node looks at its clocks.
    pub(crate) fn at(&mut self, reading: Reading) -> Millis {
        let time = match self.mutant {
            Some(Mutant::TrustsTheWallClock) => self.now.time.max(reading.wall),
            _ => self.clock.read(reading),
        };
        self.now = Now {
            time,
            elapsed: reading.elapsed,
        };
        time
    }

    /// How long the node would wait before it looks for due timers again, if nothing else happens.
    pub(crate) fn timers_wait_ms(&self) -> u64 {
        self.timers.wait_ms(self.now)
    }

    fn partition(&self, stream: &StreamId) -> u16 {
        stream.partition(self.writers.len() as u16)
    }

    fn library(&self) -> Library<'_> {
        Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        }
    }

    fn records(&self, stream: &StreamId, from: u64) -> Result<Vec<Record>, String> {
        self.library().records(stream, from)
    }

    pub(crate) fn recover(&self, stream: &StreamId) -> Result<Box<dyn Entity>, String> {
        self.library().recover(stream)
    }

    /// Hands one waiting command to its entity. Clients' commands come in any order, the kernel's in theirs.
    pub(crate) fn deliver(&mut self, rng: &mut Rng, now: Millis) -> Option<String> {
        let from_kernel = !self.kernel.is_empty() && (self.inbox.is_empty() || rng.chance(60));
        let (envelope, waiter) = if from_kernel {
            self.kernel.pop_front()?
        } else if self.inbox.is_empty() {
            return None;
        } else {
            let at = rng.below(self.inbox.len() as u64) as usize;
            let envelope = self.inbox.swap_remove(at);
            let waiter = Waiter::Client(envelope.stream.clone(), envelope.command_id.clone());
            (envelope, waiter)
        };
        let line = format!(
            "deliver {} {} to {}",
            envelope.command_id,
            if from_kernel { "(kernel)" } else { "" },
            envelope.stream
        );
        if let Err(error) = self.command(envelope, waiter, now) {
            self.fail(&line, &error);
        }
        Some(line)
    }

    /// A machine without power reads nothing: it waits for its crash. Anything else is a broken promise.
    fn fail(&mut self, what: &str, error: &str) {
        if error.contains("simulated") {
            self.dead = true;
        } else {
            self.broken.push(format!("{what}: {error}"));
        }
    }

    pub(crate) fn project_or_index(&mut self, rng: &mut Rng, _: Millis) {
        let result = if rng.chance(50) {
            self.index.flush(64).map(|_| ()).map_err(|e| e.to_string())
        } else {
            let partitions: Vec<u16> = (0..self.writers.len() as u16).collect();
            self.views
                .round(&*self.log, &partitions, &self.progress)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        if let Err(error) = result {
            self.fail("views or index", &error);
        }
    }

    /// Puts an entity that is at rest to sleep, with a snapshot half of the time.
    pub(crate) fn passivate(&mut self, rng: &mut Rng, _: Millis) -> bool {
        if self.entities.is_empty() {
            return false;
        }
        let at = rng.below(self.entities.len() as u64) as usize;
        let stream = self.entities.keys().nth(at).expect("within bounds").clone();
        let (entity, ..) = &self.entities[&stream];
        if !entity.is_settled() && self.mutant != Some(Mutant::PassivatesInFlight) {
            return false;
        }
        if rng.chance(50)
            && let Some(snapshot) = entity.snapshot()
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
        self.loads_late.remove(&stream);
        self.asleep.insert(stream);
        true
    }
}
