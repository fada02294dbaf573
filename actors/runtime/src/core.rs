//! What all of a node's actors share: log, index, keys, writers, registry, authority.

use crate::{
    accounts::Accounts,
    api::{Backlog, Stopped},
    authority::AuthorityView,
    clock::{ClockSource, NodeClock},
    cluster::Cluster,
    hub, ingress,
    kernel::{
        entity::Snapshot,
        timers::Timers,
        vitals::Vitals,
        writer::{self, Incarnation, Writer},
    },
    kinds::Kinds,
    mailbox::SnapshotMsg,
    partition::Partition,
    rates::Rates,
    read_budget::ReadBudget,
    refusals::not_open,
    registry::Registry,
    tasks::Tasks,
    volatile::Volatile,
};
use parking_lot::Mutex;
use quipu_events::{
    index::Index,
    keyring::Keyring,
    port::{AppendError, Log, LogMeta, ReadError},
};
use quipu_rules::rights::Charter;
use quipu_schemas::{context::Millis, ids::StreamId, limits, position::Cursor};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{Semaphore, mpsc, watch};

/// Counters of a node, for metrics and the tree.
#[derive(Debug, Default)]
pub struct Counters {
    /// Commands answered with a receipt.
    pub accepted: AtomicU64,
    /// Commands answered with a problem.
    pub refused: AtomicU64,
    /// Commands refused before they reached an entity, for overload.
    pub overloaded: AtomicU64,
    /// Entities recovered from the log.
    pub recovered: AtomicU64,
    /// Entities put to sleep.
    pub passivated: AtomicU64,
    /// Entities that crashed and were dropped.
    pub crashed: AtomicU64,
    /// Frames appended.
    pub frames: AtomicU64,
    /// Records appended.
    pub records: AtomicU64,
    /// Appends of which what follows crashed; their partitions were read back from the log.
    pub appends_crashed: AtomicU64,
    /// Snapshots stored.
    pub snapshots: AtomicU64,
    /// Snapshots whose audit (a refold from zero) gave another state.
    pub snapshots_wrong: AtomicU64,
    /// Records of single streams read from the log: to recover entities, to answer questions, for prompts.
    pub records_read: AtomicU64,
    /// Records whose headers feeds read from the log, to catch up or to follow other nodes.
    pub feed_looked: AtomicU64,
    /// Records that feeds read from the log and decoded.
    pub feed_decoded: AtomicU64,
}

pub(crate) struct Core {
    pub(crate) kinds: Kinds,
    /// What commands and reads take.
    pub(crate) charter: Arc<Charter>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) meta: LogMeta,
    pub(crate) index: Arc<Index>,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) unreadable: BTreeMap<u16, Stopped>,
    pub(crate) registry: Registry,
    pub(crate) authority: AuthorityView,
    /// Passwords, guesses and addresses.
    pub(crate) accounts: Accounts,
    /// How many requests are let through.
    pub(crate) rates: Rates,
    pub(crate) volatile: Volatile,
    pub(crate) counters: Counters,
    pub(crate) snapshots: mpsc::Sender<SnapshotMsg>,
    pub(crate) durable: watch::Sender<u64>,
    pub(crate) timers: watch::Sender<u64>,
    /// Timers that are due, and what is done about them.
    pub(crate) due: Mutex<Timers>,
    pub(crate) clock: NodeClock,
    /// What goes wrong beside commands, counted.
    pub(crate) vitals: Arc<Mutex<Vitals>>,
    /// The last count of what waits, and when it was made, by [`Core::monotonic`].
    pub(crate) counted: Mutex<Option<(u64, Backlog)>>,
    /// Turns true when the node is about to stop or to hand its partitions over: the relays begin nothing new.
    pub(crate) leaving: AtomicBool,
    /// Entities that may be read back from the log at a time.
    pub(crate) recoveries: Semaphore,
    /// Turns true with `stopping`, for tasks that wait for nothing else: `durable` would wake them for every frame.
    pub(crate) stopped: watch::Sender<bool>,
    pub(crate) cursor: Mutex<Cursor>,
    pub(crate) hub: hub::Shared,
    pub(crate) reads: ReadBudget,
    /// Partitions whose first attempt to own them has come to an end, well or not.
    pub(crate) opened: watch::Sender<BTreeSet<u16>>,
    /// Rises when a partition changes hands, as far as this node hears of it.
    pub(crate) owners: watch::Sender<u64>,
    /// Partitions that this node serves: those that it owns, and all of them where nobody else could.
    pub(crate) serving: watch::Sender<BTreeSet<u16>>,
    /// Set once, before the first command.
    pub(crate) cluster: OnceLock<Cluster>,
    pub(crate) is_shared: bool,
    pub(crate) stopping: AtomicBool,
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) waiting_bytes: AtomicUsize,
    /// The long-lived tasks, started again when they crash.
    pub(crate) tasks: Tasks,
    begun: Instant,
    batch_ids: BatchIds,
}

/// Parts of [`Core`] that the node opens first.
pub(crate) struct Opened {
    pub(crate) kinds: Kinds,
    pub(crate) charter: Charter,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) index: Arc<Index>,
    /// Partitions that could not be indexed to their end.
    pub(crate) unreadable: BTreeMap<u16, Stopped>,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) volatile: Volatile,
    pub(crate) snapshots: mpsc::Sender<SnapshotMsg>,
    /// Whether other nodes may write to the log.
    pub(crate) is_shared: bool,
    pub(crate) clock: ClockSource,
    pub(crate) vitals: Arc<Mutex<Vitals>>,
}

/// The writer of a partition that is not opened yet. A damaged partition stops alone: the rest is served, and health says so. One that the
/// index does not know to its end takes no commands either: they would be decided on less than there is.
fn writer_of(partition: u16, stopped: Option<&Stopped>) -> Writer {
    match stopped {
        Some(stopped) => {
            tracing::error!(partition, detail = stopped.detail, "partition cannot be read to its end");
            let damage = AppendError::Poisoned(stopped.detail.clone());
            Writer::idle(partition, writer::stopped(partition, &damage))
        }
        None => Writer::idle(partition, not_open(partition)),
    }
}

impl Core {
    /// Every partition waits to be claimed by its actor.
    pub(crate) fn new(opened: Opened) -> Self {
        let meta = opened.log.meta();
        let mut cursor = Cursor::start(meta.log_id, meta.generation, meta.partitions);
        let mut partitions = Vec::new();
        for partition in 0..meta.partitions {
            let writer = writer_of(partition, opened.unreadable.get(&partition));
            // What lies before damage is read like everything else; the feed says where it ends.
            cursor.next[usize::from(partition)] = match opened.log.head(partition) {
                Ok(head) => head.next_offset,
                Err(ReadError::Damaged { offset, .. }) => offset,
                Err(_) => opened.unreadable.get(&partition).map_or(0, |stopped| stopped.offset),
            };
            partitions.push(Partition::new(writer));
        }
        let serving = (0..meta.partitions).filter(|_| !opened.is_shared).collect();
        let charter = Arc::new(opened.charter);
        let authority = AuthorityView::new(meta.partitions, &charter);
        let meta_partitions = meta.partitions;
        let digest_key = opened.keys.digest_key();
        Self {
            kinds: opened.kinds,
            charter,
            log: opened.log,
            meta,
            index: opened.index,
            keys: opened.keys,
            partitions,
            unreadable: opened.unreadable,
            registry: Registry::new(),
            authority,
            accounts: Accounts::new(&digest_key),
            rates: Rates::default(),
            volatile: opened.volatile,
            counters: Counters::default(),
            snapshots: opened.snapshots,
            durable: watch::channel(0).0,
            timers: watch::channel(0).0,
            due: Mutex::default(),
            clock: NodeClock::new(opened.clock),
            vitals: opened.vitals,
            counted: Mutex::default(),
            leaving: AtomicBool::new(false),
            recoveries: Semaphore::new(limits::RECOVERIES_MAX),
            stopped: watch::channel(false).0,
            cursor: Mutex::new(cursor),
            hub: hub::Shared::new(meta_partitions),
            reads: ReadBudget::new(limits::READ_BUDGET_BYTES),
            opened: watch::channel(BTreeSet::new()).0,
            owners: watch::channel(0).0,
            serving: watch::channel(serving).0,
            cluster: OnceLock::new(),
            is_shared: opened.is_shared,
            stopping: AtomicBool::new(false),
            waiting: Arc::default(),
            waiting_bytes: AtomicUsize::new(0),
            tasks: Tasks::default(),
            begun: Instant::now(),
            batch_ids: BatchIds::new(),
        }
    }

    /// Milliseconds of a clock that only goes forward, from 1.
    pub(crate) fn monotonic(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64 + 1
    }

    /// Node time: the wall clock without its steps, see [`crate::kernel::clock`]. Intervals of this process are measured by
    /// [`Core::monotonic`].
    pub(crate) fn now(&self) -> Millis {
        self.clock.now().time
    }

    pub(crate) fn next_batch_id(&self) -> [u8; 16] {
        self.batch_ids.next()
    }

    pub(crate) fn partition(&self, partition: u16) -> &Partition {
        &self.partitions[usize::from(partition)]
    }

    pub(crate) fn incarnation(&self, partition: u16) -> Incarnation {
        self.partition(partition).writer.lock().incarnation()
    }

    /// That of an entity that waits for no record.
    pub(crate) fn renewed(&self, partition: u16, incarnation: Incarnation) -> Incarnation {
        self.partition(partition).writer.lock().renewed(incarnation)
    }

    /// Waits until no record of the stream is queued or in flight, and the index knows what was: what is recovered then is all
    /// there is. Whether it came to that within a while.
    pub(crate) async fn until_indexed(&self, partition: u16, stream: &StreamId) -> bool {
        let mut durable = self.durable.subscribe();
        let indexed = async {
            let end = loop {
                {
                    let writer = self.partition(partition).writer.lock();
                    if !writer.is_pending(stream) {
                        break writer.next_offset();
                    }
                }
                // The sender lives in `self`.
                let _ = durable.changed().await;
            };
            // A record is no longer in flight a moment before it is in the index.
            while self.index.next_offset(partition) < end {
                let _ = durable.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_millis(limits::RECOVERY_WAIT_MS), indexed)
            .await
            .is_ok()
    }

    /// Takes a stream out of service whose rules crash on what the kernel must tell it, again and again.
    pub(crate) fn take_out(&self, stream: &StreamId, detail: &str) {
        tracing::error!(%stream, detail, "stream parked");
        self.park(stream, detail);
        // The next command starts a fresh entity, which finds the stream parked.
        self.drop_entity(stream);
    }

    /// Forgets the entity in memory, if it is there; the next command recovers it.
    pub(crate) fn drop_entity(&self, stream: &StreamId) {
        if let Some(actor) = self.registry.take(stream) {
            actor.stop(None);
        }
    }

    /// `offset` is that of the last record folded.
    pub(crate) fn store_snapshot(&self, stream: &StreamId, snapshot: Snapshot, offset: u64) {
        // A full queue only means that a later one is written.
        let _ = self.snapshots.try_send(SnapshotMsg {
            stream: stream.clone(),
            snapshot,
            offset,
        });
    }
}

/// Batch ids of this process: random at their beginning, counted from there.
struct BatchIds(AtomicU64, u64);

impl BatchIds {
    #[expect(clippy::disallowed_methods, reason = "a seed, where the system gives no randomness")]
    fn new() -> Self {
        // Without randomness the clock tells this process from an earlier one; the owner's epoch does so too.
        let seed = ingress::entropy().unwrap_or_else(|_| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos()));
        Self(AtomicU64::new((seed >> 64) as u64), seed as u64)
    }

    fn next(&self) -> [u8; 16] {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        ((u128::from(self.1) << 64) | u128::from(count)).to_be_bytes()
    }
}
