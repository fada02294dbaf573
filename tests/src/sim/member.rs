//! One life of a node among three: the ownership machines, writers, entities and relays of its partitions, glued as the
//! shells glue them, with everything that leaves it on its own way through the world.

mod entities;
mod errands;
mod holding;
mod words;

pub(crate) use errands::{Fate, ForwardAnswer, Origin};
use parking_lot::Mutex;
pub(crate) use words::{Out, Wake};

use super::{
    appender::Appender,
    broker::Broker,
    lessee::{LEASE_MS, Lessee, name},
    node_log::NodeLog,
    reading::Library,
    trio::Plant,
};
use entities::Slot;
use errands::{ReplyTo, Running, Submission};
use quipu_events::{
    index::Index,
    keyring::Keyring,
    port::{Head, Log},
};
use quipu_projections::{
    follower::Follower,
    progress::Progress,
    sqlite::SqliteStore,
    store::{Origin as ViewOrigin, ViewStore},
};
use quipu_rules::rights::Charter;
use quipu_runtime::{
    kernel::{
        authorities::Authorities,
        clock::{Clock as WallClock, Reading},
        entity::DecidedRecord,
        ownership::{Input, Ownership, State, Timing},
        refusals::outcome_unknown,
        relay::Relay,
        timers::{Now, Timers},
        writer::Writer,
    },
    kinds::Kinds,
};
use quipu_schemas::{
    context::Millis, digest::Digest, envelope::CommandEnvelope, ids::StreamId, limits, position::Cursor, problem::Problem, record,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// A third of what the product waits, as the lease is.
pub(crate) const REST_MS: u64 = limits::OWNERSHIP_REST_MS / 3;
pub(crate) const HANDOFF_WAIT_MS: u64 = limits::HANDOFF_WAIT_MS / 3;
pub(crate) const FORWARD_MS: u64 = limits::FORWARD_MS / 3;
pub(crate) const DRAIN_LOOK_MS: u64 = 20;
const CLOCK_HOLD_MS: u64 = 3_000;

/// A clock that runs by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) booted: Millis,
    /// Thousandths of the true rate.
    pub(crate) rate: u64,
    /// What its wall clock is ahead.
    pub(crate) ahead: u64,
    /// What it was set wrong by since.
    pub(crate) off: i64,
}

impl Clock {
    /// Both clocks that node time is made of. They run at the true rate, and go on together where the world is made to wait.
    fn reading(&self, now: Millis) -> Reading {
        let elapsed = now + self.ahead;
        Reading {
            wall: elapsed.saturating_add_signed(self.off),
            elapsed,
        }
    }
}

pub(crate) struct Part {
    pub(crate) ownership: Ownership,
    pub(crate) writer: Writer,
    appender: Appender,
    relay: Option<(u64, Relay)>,
    head: Option<Head>,
    refuses_until: u64,
    unknown: Option<([u8; 16], u64)>,
    followed: u64,
    planned: Option<u64>,
}

pub(crate) struct Member {
    pub(crate) id: usize,
    pub(crate) boot: u64,
    pub(crate) clock: Clock,
    now: Millis,
    pub(crate) log: Arc<NodeLog>,
    pub(crate) index: Index,
    keys: Arc<Keyring>,
    kinds: Kinds,
    charter: Arc<Charter>,
    pub(crate) parts: Vec<Part>,
    leases: Lessee,
    entities: BTreeMap<StreamId, Slot>,
    inbox: VecDeque<(Arc<CommandEnvelope>, ReplyTo)>,
    waiters: BTreeMap<(StreamId, u64), ReplyTo>,
    submissions: BTreeMap<u64, Submission>,
    running: BTreeMap<u64, Running>,
    time: WallClock,
    timers: Timers,
    /// Records of unknown outcome, by partition; of a planted defect alone.
    unsettled: BTreeMap<u16, Vec<DecidedRecord>>,
    pub(crate) views: Follower,
    pub(crate) progress: Arc<Progress>,
    pub(crate) outs: Vec<Out>,
    pub(crate) broken: Vec<String>,
    /// It is ending in order.
    pub(crate) leaving: bool,
    last_id: u64,
    known: Authorities,
    plant: Plant,
}

impl Member {
    pub(crate) fn start(
        id: usize,
        boot: u64,
        clock: Clock,
        broker: &Arc<Mutex<Broker>>,
        keys: Arc<Keyring>,
        kinds: Kinds,
        plant: Plant,
    ) -> Result<Self, String> {
        let log = Arc::new(NodeLog::new(broker.clone()));
        let fence = broker.lock().fence();
        let meta = log.meta();
        let index = Index::in_memory(&meta).map_err(|e| e.to_string())?;
        index.catch_up(&*log, &mut |_| ()).map_err(|e| e.to_string())?;
        let store: Arc<dyn ViewStore> = Arc::new(SqliteStore::in_memory(ViewOrigin::of(&meta)).map_err(|e| e.to_string())?);
        let views = Follower::new(&*log, store).map_err(|e| e.to_string())?;
        let timing = Timing {
            lease_ms: LEASE_MS,
            margin_ms: LEASE_MS / 10,
            renew_ms: LEASE_MS / 3,
            drain_ms: LEASE_MS,
            rest_ms: REST_MS,
        };
        let part = |partition: u16| Part {
            ownership: Ownership::new(timing),
            writer: Writer::idle(partition, not_open(partition)),
            appender: Appender::new(partition, fence, name(id)),
            relay: None,
            head: None,
            refuses_until: 0,
            unknown: None,
            followed: 1,
            planned: None,
        };
        let charter = Arc::new(kinds.charter([]));
        Ok(Self {
            id,
            boot,
            clock,
            now: clock.booted,
            parts: (0..meta.partitions).map(part).collect(),
            leases: Lessee::new(id, meta.partitions),
            progress: Arc::new(Progress::new(Cursor::start(meta.log_id, meta.generation, meta.partitions))),
            log,
            index,
            keys,
            charter: charter.clone(),
            kinds,
            entities: BTreeMap::new(),
            inbox: VecDeque::new(),
            waiters: BTreeMap::new(),
            submissions: BTreeMap::new(),
            running: BTreeMap::new(),
            time: WallClock::new(CLOCK_HOLD_MS, clock.reading(clock.booted)),
            timers: Timers::default(),
            unsettled: BTreeMap::new(),
            views,
            outs: Vec::new(),
            broken: Vec::new(),
            leaving: false,
            // No two lives share an id.
            last_id: boot << 32,
            known: Authorities::new(charter, 4, 1_000).with_principals(3, 2),
            plant,
        })
    }

    /// The world's time, of which the node sees its clocks alone.
    pub(crate) fn at(&mut self, now: Millis) -> &mut Self {
        self.now = self.now.max(now);
        self
    }

    /// Milliseconds of a clock that only goes forward, from 1.
    pub(crate) fn monotonic(&self) -> u64 {
        (self.now - self.clock.booted) * self.clock.rate / 1_000 + 1
    }

    /// The node's time, as its wall clock is read.
    pub(crate) fn wall(&mut self) -> Millis {
        self.time.read(self.clock.reading(self.now))
    }

    /// What its timers go by.
    fn timer_now(&mut self) -> Now {
        Now {
            time: self.wall(),
            elapsed: self.monotonic(),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn batch_id(&mut self) -> [u8; 16] {
        u128::from(self.next_id()).to_be_bytes()
    }

    pub(crate) fn library(&self) -> Library<'_> {
        Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        }
    }

    fn part(&mut self, partition: u16) -> &mut Part {
        &mut self.parts[usize::from(partition)]
    }

    pub(crate) fn partition(&self, stream: &StreamId) -> u16 {
        stream.partition(self.parts.len() as u16)
    }

    fn partitions(&self) -> u16 {
        self.parts.len() as u16
    }

    /// Whether this node takes commands for a partition.
    pub(crate) fn is_owner(&self, partition: u16) -> bool {
        self.parts[usize::from(partition)].writer.refuses().is_none()
    }

    pub(crate) fn later(&mut self, after_ms: u64, wake: Wake) {
        self.outs.push(Out::Later { after_ms, wake });
    }

    pub(crate) fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::Tick(partition) => {
                self.part(partition).planned = None;
                self.tell(partition, Input::Tick);
            }
            Wake::LookAgain { partition, question } => {
                let now = self.monotonic();
                let outs = self.part(partition).appender.look_again(question, now);
                self.appender_outs(partition, outs);
            }
            Wake::LeaseDeadline { flow } => {
                let outs = self.leases.timed_out(flow);
                self.lease_outs(outs);
            }
            Wake::ReadToEnd { partition, epoch } => {
                let input = self.read_to_end(partition, epoch);
                self.tell(partition, input);
            }
            Wake::ReadBack { partition, epoch, batch } => {
                let stored = self.is_stored(partition, batch);
                self.tell(
                    partition,
                    stored.map_or(Input::RestoreFailed { epoch }, |stored| Input::ReadBack { epoch, batch, stored }),
                );
            }
            Wake::Drain { partition, epoch } => {
                let waiting = self.inbox.iter().any(|(envelope, _)| self.partition(&envelope.stream) == partition);
                if waiting || self.part(partition).writer.depth() > 0 {
                    // Until the machine has given it up.
                    if matches!(self.part(partition).ownership.state(), State::Draining { epoch: ours, .. } if *ours == epoch) {
                        self.later(DRAIN_LOOK_MS, Wake::Drain { partition, epoch });
                    }
                } else {
                    self.tell(partition, Input::Drained { epoch });
                }
            }
            Wake::Handle => self.handle(),
            Wake::Submit(submission) => self.try_submit(submission),
            Wake::ForwardTimeout { submission, attempt } => self.forward_ended(submission, attempt, Err(outcome_unknown())),
            Wake::Relay { partition, relay } => self.relay_step(partition, Some(relay)),
        }
    }

    /// Ends in order: everything is handed over first.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        for partition in 0..self.partitions() {
            self.tell(partition, Input::Shutdown);
        }
    }

    pub(crate) fn has_left(&self) -> bool {
        self.leaving
            && self
                .parts
                .iter()
                .all(|part| matches!(part.ownership.state(), State::Stopped) && part.appender.is_idle())
            && self.submissions.is_empty()
    }

    /// Whether an append or a claim is on its way.
    pub(crate) fn is_writing(&self) -> bool {
        self.parts.iter().any(|part| !part.appender.is_idle())
    }

    /// Durable records from an offset on, as far as this node knows, as a subscriber gets them.
    pub(crate) fn feed(&self, partition: u16, from: u64, most: usize) -> Result<Vec<(u64, Digest)>, String> {
        let end = self.index.next_offset(partition);
        if from >= end {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        for frame in self.log.read(partition, from, 64 * 1024).map_err(|e| e.to_string())? {
            for (offset, (_, bytes)) in (frame.first_offset..).zip(&frame.records) {
                if offset >= from && offset < end && out.len() < most {
                    out.push((offset, record::decode(bytes).map_err(|e| e.to_string())?.hash));
                }
            }
        }
        Ok(out)
    }

    /// Brings the views a round further.
    pub(crate) fn project(&mut self) {
        let partitions: Vec<u16> = (0..self.partitions()).collect();
        if let Err(error) = self.views.round(&*self.log, &partitions, &self.progress).map_err(|e| e.to_string())
            && !error.contains("simulated")
        {
            self.broken.push(format!("views of node {}: {error}", self.id));
        }
    }

    /// Writes the index's tail.
    pub(crate) fn flush(&mut self) {
        if let Err(error) = self.index.flush(64) {
            self.broken.push(format!("index of node {}: {error}", self.id));
        }
    }

    /// Where its partitions stand, for reading a failure.
    pub(crate) fn standing(&self) -> String {
        let states: Vec<String> = self.parts.iter().map(|part| format!("{:?}", part.ownership.state())).collect();
        format!(
            "{} submissions, {} attempts, {} commands waiting, {}",
            self.submissions.len(),
            self.running.len(),
            self.inbox.len(),
            states.join(", ")
        )
    }
}

/// It may be open in a moment, here or elsewhere.
pub(crate) fn not_open(partition: u16) -> Problem {
    Problem::new(
        503,
        "partition_not_open",
        format!("partition {partition} is being opened or handed over"),
    )
    .retry_after(1)
}
