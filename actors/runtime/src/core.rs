//! What all of a node's actors share: log, index, keys, writers, registry, authority.

use crate::{
    api::{Backlog, Stopped},
    authority::AuthorityView,
    clock::{ClockSource, NodeClock},
    cluster::Cluster,
    entity_actor::{EntityActor, EntityMsg, Reply},
    hub, ingress,
    kernel::{
        entity::{Active, Base, Decided, Entity, ParkedError, Snapshot},
        ownership::{AppendOutcome, Input},
        relay::Cause,
        timers::Timers,
        vitals::{Trouble, Vitals},
        writer::{self, Durable, Incarnation, Writer},
    },
    kinds::{KindHandler, Kinds},
    library::Cancel,
    off_worker::off_worker,
    partition::{Partition, not_open},
    partition_actor::outcome_of,
    read_budget::ReadBudget,
    registry::Registry,
    relay_actor::RelayMsg,
    snapshotter::SnapshotMsg,
    tasks::Tasks,
    volatile::Volatile,
};
use quipu_events::{
    index::{FirstReceipt, Index, IndexEntry, IndexError, PageFrom, Parked},
    keyring::Keyring,
    port::{AppendError, Appended, Batch, Log, LogMeta, ReadError},
};
use quipu_rules::decider::Decider;
use quipu_schemas::{
    context::{Authority, Millis},
    envelope::{CommandBody, CommandEnvelope, Receipt},
    ids::{CommandId, Kind, OrgId, PrincipalId, StreamId},
    limits,
    position::{Cursor, Position},
    problem::Problem,
    reaction::{ReactionKey, Settled},
    record::{self, Record},
};
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

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
    pub(crate) log: Arc<dyn Log>,
    pub(crate) meta: LogMeta,
    pub(crate) index: Arc<Index>,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) unreadable: BTreeMap<u16, Stopped>,
    pub(crate) registry: Registry,
    pub(crate) authority: AuthorityView,
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn index_problem(error: &IndexError) -> Problem {
    Problem::new(503, "index_unavailable", format!("the local index does not answer: {error}")).retry_after(5)
}

pub(crate) fn read_problem(error: &ReadError) -> Problem {
    Problem::new(503, "log_unreadable", format!("the log cannot be read here: {error}"))
        .fix("run `quipu verify`")
        .retry_after(30)
}

pub(crate) fn partition_stopped(stopped: &Stopped) -> Problem {
    let Stopped { partition, offset, detail } = stopped;
    Problem::new(
        503,
        "partition_stopped",
        format!("partition {partition} stops at offset {offset}: {detail}"),
    )
    .fix("run `quipu verify`, and restore the log from a backup; the feed gives what lies before")
    .retry_after(60)
}

/// Parts of [`Core`] that the node opens first.
pub(crate) struct Opened {
    pub(crate) kinds: Kinds,
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

impl Core {
    /// Every partition waits to be claimed by its actor.
    pub(crate) fn new(opened: Opened) -> Self {
        let meta = opened.log.meta();
        let mut cursor = Cursor::start(meta.log_id, meta.generation, meta.partitions);
        let mut partitions = Vec::new();
        for partition in 0..meta.partitions {
            let writer = match opened.unreadable.get(&partition) {
                // A damaged partition stops alone: the rest is served, and health says so. One that the index does not know
                // to its end takes no commands either: they would be decided on less than there is.
                Some(stopped) => {
                    tracing::error!(partition, detail = stopped.detail, "partition cannot be read to its end");
                    Writer::idle(
                        partition,
                        writer::stopped(partition, &AppendError::Poisoned(stopped.detail.clone())),
                    )
                }
                None => Writer::idle(partition, not_open(partition)),
            };
            // What lies before damage is read like everything else; the feed says where it ends.
            cursor.next[usize::from(partition)] = match opened.log.head(partition) {
                Ok(head) => head.next_offset,
                Err(ReadError::Damaged { offset, .. }) => offset,
                Err(_) => opened.unreadable.get(&partition).map_or(0, |stopped| stopped.offset),
            };
            partitions.push(Partition::new(writer));
        }
        let serving = if opened.is_shared {
            BTreeSet::new()
        } else {
            (0..meta.partitions).collect()
        };
        let authority = AuthorityView::new(meta.partitions);
        let meta_partitions = meta.partitions;
        Self {
            kinds: opened.kinds,
            log: opened.log,
            meta,
            index: opened.index,
            keys: opened.keys,
            partitions,
            unreadable: opened.unreadable,
            registry: Registry::new(),
            authority,
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

    pub(crate) fn partition(&self, partition: u16) -> &Partition {
        &self.partitions[usize::from(partition)]
    }

    /// Where a partition stops before its end, if it does: met when the node started, or by a read since.
    pub(crate) fn stopped(&self, partition: u16) -> Option<Stopped> {
        match self.log.damage(partition) {
            Some(error @ ReadError::Damaged { offset, .. }) => Some(Stopped {
                partition,
                offset,
                detail: error.to_string(),
            }),
            // A log that does not answer is no damage; whoever reads it is told.
            Some(_) | None => self.unreadable.get(&partition).cloned(),
        }
    }

    pub(crate) fn incarnation(&self, partition: u16) -> Incarnation {
        lock(&self.partition(partition).writer).incarnation()
    }

    /// That of an entity that waits for no record.
    pub(crate) fn renewed(&self, partition: u16, incarnation: Incarnation) -> Incarnation {
        lock(&self.partition(partition).writer).renewed(incarnation)
    }

    /// Waits until no record of the stream is queued or in flight, and the index knows what was: what is recovered then is all
    /// there is. Whether it came to that within a while.
    pub(crate) async fn until_indexed(&self, partition: u16, stream: &StreamId) -> bool {
        let mut durable = self.durable.subscribe();
        let indexed = async {
            let end = loop {
                {
                    let writer = lock(&self.partition(partition).writer);
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

    /// Hands a record to its partition's writer.
    pub(crate) fn append(self: &Arc<Self>, partition: u16, decided: Decided, incarnation: Incarnation) -> Result<(), Problem> {
        let batch = lock(&self.partition(partition).writer).submit(decided, incarnation, self.batch_ids.next())?;
        if let Some(batch) = batch {
            self.append_batch(batch);
        }
        Ok(())
    }

    // The append belongs to the log's own task, not to an actor: an actor that is killed cannot cut it in half.
    fn append_batch(self: &Arc<Self>, batch: Batch) {
        let sent = Sent::of(&batch);
        self.partition(sent.partition).appending_since(Some(self.monotonic()));
        let unanswered = Unanswered(Some((self.clone(), sent)));
        self.log.append(batch, Box::new(move |result| unanswered.answer(result)));
    }

    /// A panic in what follows an append must leave nobody waiting: whatever of it was not done counts as unknown, and the
    /// partition is read back from the log.
    pub(crate) fn guarded(&self, sent: Sent, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.given_up(sent, panic_text(&*panic));
        }
    }

    fn given_up(&self, sent: Sent, detail: &str) {
        let partition = sent.partition;
        let unknown = AppendError::Unknown(format!("what follows an append crashed: {detail}"));
        let failed = {
            let mut writer = lock(&self.partition(partition).writer);
            if writer.epoch() != sent.epoch {
                return;
            }
            let flushed = if writer.is_appending() {
                writer.appended(Err(unknown.clone()), [0; 16])
            } else {
                writer::Flushed::default()
            };
            writer.refuse(writer::stopped(partition, &unknown));
            self.partition(partition).appending_since(None);
            flushed.failed
        };
        self.counters.appends_crashed.fetch_add(1, Ordering::Relaxed);
        self.fail(sent, failed, Some(outcome_of(&unknown, sent.batch_id)));
        // The logger may be what crashed, and this may run while that crash unwinds.
        let _ = catch_unwind(|| {
            tracing::error!(
                partition,
                detail,
                "what follows an append crashed; the partition is read back from the log"
            );
        });
    }

    /// The writer first, then everybody who waits; whoever only wants to know comes last.
    fn appended(self: &Arc<Self>, sent: Sent, result: Result<Appended, AppendError>) {
        let partition = sent.partition;
        let error = result.as_ref().err().map(ToString::to_string);
        let next_id = self.batch_ids.next();
        let failed = result.as_ref().err().map(|error| outcome_of(error, sent.batch_id));
        let flushed = {
            let mut writer = lock(&self.partition(partition).writer);
            // The partition was abandoned meanwhile. What was stored of it is read from the log, as by everybody else.
            if writer.epoch() != sent.epoch || !writer.is_appending() {
                return;
            }
            let flushed = writer.appended(result, next_id);
            self.partition(partition).appending_since(None);
            // Under the writer's lock: a stream that has nothing pending any more is recovered from the index.
            self.note_durable(partition, &flushed.durable);
            flushed
        };
        if let Some(next) = flushed.next {
            self.append_batch(next);
        }
        self.publish(partition, flushed.durable);
        self.fail(sent, flushed.failed, failed);
        if let Some(error) = error {
            tracing::error!(partition, error, "append failed");
        }
    }

    fn fail(&self, sent: Sent, failed: Vec<(Decided, Problem)>, outcome: Option<AppendOutcome>) {
        let partition = sent.partition;
        let mut problems = BTreeMap::new();
        for (decided, problem) in failed {
            problems.insert(decided.record.header.stream.clone(), problem);
        }
        let incarnation = self.incarnation(partition);
        for (stream, problem) in problems {
            self.registry.notify(&stream, EntityMsg::Failed(problem, incarnation));
        }
        if let Some(outcome) = outcome {
            // Whoever waits for what was in flight waits no longer.
            self.durable.send_modify(|n| *n += 1);
            self.partition(partition).lost_sight_of(sent.batch_id, sent.first_offset);
            self.tell(
                partition,
                Input::Appended {
                    epoch: sent.epoch,
                    outcome,
                },
            );
        }
    }

    /// Index first: whoever hears of a record can look it up.
    fn note_durable(&self, partition: u16, durable: &[Durable]) {
        let entries: Vec<IndexEntry> = durable
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
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.index.note_durable(partition, entries) {
            tracing::error!(partition, %error, "records cannot be indexed; the index is rebuilt at the next start");
        }
    }

    /// Then authority, then everybody who waits.
    fn publish(&self, partition: u16, durable: Vec<Durable>) {
        if durable.is_empty() {
            return;
        }
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        self.counters.records.fetch_add(durable.len() as u64, Ordering::Relaxed);
        for Durable { decided, .. } in &durable {
            if decided.record.header.stream.kind == Kind::ORG {
                self.authority.record(&decided.record);
            }
        }
        self.hub.publish(&self.cursor, partition, &durable);
        let mut reacting = Vec::new();
        let mut wakes = false;
        for durable in durable {
            let record = durable.decided.record.clone();
            self.clock.met(record.header.time);
            self.note_trouble(&record);
            if !record.reactions.is_empty() || record.header.settlement.is_some() {
                wakes |= record
                    .reactions
                    .iter()
                    .any(|r| matches!(r.reaction, quipu_schemas::reaction::Reaction::WakeAt { .. }));
                reacting.push((durable.position.offset, record.clone()));
            }
            self.registry.notify(&record.header.stream, EntityMsg::Durable(durable));
        }
        if !reacting.is_empty()
            && let Some(relay) = lock(&self.partition(partition).relay).as_ref()
        {
            let _ = relay.send_message(RelayMsg::Records(reacting));
        }
        if wakes {
            self.timers.send_modify(|n| *n += 1);
        }
        self.durable.send_modify(|n| *n += 1);
    }

    /// What a record tells of failures is counted, and said once.
    fn note_trouble(&self, record: &Record) {
        let now = self.monotonic();
        let told = lock(&self.vitals).record(record, now);
        for trouble in told {
            match trouble {
                Trouble::Dead { key, code, detail } => {
                    tracing::warn!(%key, code, detail, "an effect was given up; see `quipu outbox ls`");
                }
                Trouble::TurnFailed { stream, turn, code } => {
                    tracing::warn!(%stream, turn, code, "a turn ended without an answer");
                }
            }
        }
    }

    /// Whether the relay holds back what is not under way yet: of a suspended org, or because the node leaves.
    pub(crate) fn holds_back(&self, org: &OrgId) -> bool {
        self.leaving.load(Ordering::Acquire) || self.is_suspended(org)
    }

    /// Recovers an entity: snapshot, then the stream's tail. Blocks.
    pub(crate) fn recover(&self, stream: &StreamId) -> Result<Box<dyn Entity>, Problem> {
        self.counters.recovered.fetch_add(1, Ordering::Relaxed);
        let handler = self.handler(stream)?;
        self.recover_by(stream, &**handler, &|base, records| handler.recover(stream, base, records))
    }

    /// Recovers an entity whose rules are known. Blocks.
    pub(crate) fn recover_as<D: Decider>(&self, stream: &StreamId) -> Result<Active<D>, Problem> {
        let handler = self.handler(stream)?;
        self.recover_by(stream, &**handler, &|base, records| Active::recovered(stream, base, records))
    }

    fn handler(&self, stream: &StreamId) -> Result<&Arc<dyn KindHandler>, Problem> {
        self.kinds
            .get(&stream.kind)
            .ok_or_else(|| Problem::new(404, "unknown_kind", format!("no such kind: {}", stream.kind)).field("kind"))
    }

    fn recover_by<T>(&self, stream: &StreamId, handler: &dyn KindHandler, fold: Fold<'_, T>) -> Result<T, Problem> {
        if let Some(found) = self.index.parked(stream).map_err(|e| index_problem(&e))? {
            return Err(parked(stream, &found.detail));
        }
        let snapshot = self
            .index
            .latest_snapshot(stream, &handler.shape(), handler.rules_version())
            .map_err(|e| index_problem(&e))?;
        let head = self.index.stream_head(stream).map_err(|e| index_problem(&e))?;
        if let Some(head) = &head {
            self.clock.met(head.time);
        }
        if let (Some(snapshot), Some(head)) = (snapshot, head) {
            let base = Base {
                version: snapshot.version,
                hash: snapshot.record,
                time: head.time,
                bytes: snapshot.bytes,
            };
            let mut tail = self.read_on(stream, PageFrom::Version(snapshot.version), &Cancel::default())?;
            let mut behind = tail
                .by_ref()
                .filter(|(position, _)| position.offset > snapshot.offset)
                .map(|(_, record)| record);
            let refolded = folded(stream, Some(&base), &mut behind, fold);
            tail.end()?;
            match refolded {
                Ok(entity) => return Ok(entity),
                Err(error) => tracing::warn!(%error, "snapshot does not fit the log; recovering from the beginning"),
            }
        }
        let mut records = self.read_on(stream, PageFrom::Version(0), &Cancel::default())?;
        let refolded = folded(stream, None, &mut records.by_ref().map(|(_, record)| record), fold);
        records.end()?;
        refolded.map_err(|error| {
            tracing::error!(%stream, %error, "stream parked");
            self.park(stream, &error.to_string())
        })
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

    /// Takes a stream out of service until a person has repaired it.
    pub(crate) fn park(&self, stream: &StreamId, detail: &str) -> Problem {
        let place = self.index.stream_head(stream).ok().flatten().map(|head| head.position);
        let position = place.unwrap_or(Position {
            partition: stream.partition(self.meta.partitions),
            offset: 0,
            index: 0,
        });
        if let Err(error) = self.index.park(&Parked {
            stream: stream.clone(),
            position,
            detail: detail.to_owned(),
        }) {
            tracing::error!(%stream, %error, "parked stream cannot be noted");
        }
        parked(stream, detail)
    }

    /// The stream's records from the one that holds `from_version` on, in order: all of them in memory.
    pub(crate) fn records(&self, stream: &StreamId, from_version: u64) -> Result<Vec<Record>, Problem> {
        let mut records = self.read_on(stream, PageFrom::Version(from_version), &Cancel::default())?;
        let all = records.by_ref().map(|(_, record)| record).collect();
        records.end()?;
        Ok(all)
    }

    /// Who caused a reaction: whatever follows from it acts for them.
    pub(crate) fn cause_of(&self, key: &ReactionKey) -> Result<Cause, Problem> {
        let row = self.index.place_of(&key.stream, key.version).map_err(|e| index_problem(&e))?;
        let row = row.ok_or_else(|| Problem::new(404, "unknown_effect", format!("{key} is not in the log")).field("key"))?;
        let bytes = self.log.read_at(&[row.place]).map_err(|e| read_problem(&e))?;
        let header = record::decode_header(&bytes[0]).map_err(|e| parked(&key.stream, &e.to_string()))?;
        Ok(Cause::from(&header))
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

    pub(crate) fn first_receipt(&self, stream: &StreamId, id: &CommandId) -> Result<Option<FirstReceipt>, Problem> {
        self.index.command(stream, id).map_err(|e| index_problem(&e))
    }

    pub(crate) fn command_marks(&self, stream: &StreamId, most: usize) -> Result<Option<BTreeSet<u64>>, Problem> {
        self.index.command_marks(stream, most).map_err(|e| index_problem(&e))
    }

    pub(crate) fn settled(&self, key: &ReactionKey) -> Result<Option<Settled>, Problem> {
        let settled = self.index.settled(key).map_err(|e| index_problem(&e))?;
        Ok(settled.map(|settled| settled.outcome))
    }

    /// What the sender of a command may, read just before it is decided.
    pub(crate) fn authority(&self, envelope: &CommandEnvelope) -> Result<Authority, Problem> {
        let placed = StreamId::of_org(&envelope.stream.org).partition(self.meta.partitions);
        if !self.is_fresh(placed) {
            let detail = format!("what this node knows of org {} is too old to decide by", envelope.stream.org);
            return Err(Problem::new(503, "authority_stale", detail)
                .fix("send the command again with the same id")
                .retry_after(1));
        }
        let actor = envelope.on_behalf_of.as_ref().unwrap_or(&envelope.principal);
        let mut org = self.authority.org(self, &envelope.stream.org, Some(actor))?;
        if org.version == 0 && self.is_elsewhere(placed) {
            // It may have been made a moment ago, at another node.
            off_worker(|| crate::shadow::follow(self, placed));
            org = self.authority.org(self, &envelope.stream.org, Some(actor))?;
        }
        let dispatched_by = match &envelope.body {
            CommandBody::Given { settles, .. } => settles.as_ref().map(|key| key.stream.clone()),
            CommandBody::Kernel(_) => None,
        };
        let kernel = matches!(envelope.body, CommandBody::Kernel(_));
        Ok(Authority {
            platform: kernel || (envelope.principal == PrincipalId::BOOTSTRAP && envelope.on_behalf_of.is_none()),
            role: org.role,
            org_version: org.version,
            org_suspended: org.suspended,
            dispatched_by,
        })
    }

    pub(crate) fn is_suspended(&self, org: &OrgId) -> bool {
        self.authority.org(self, org, None).is_ok_and(|org| org.suspended)
    }

    /// Sends a command in stored form to an entity of this node, and waits for the answer.
    pub(crate) async fn submit_here(self: &Arc<Self>, envelope: Arc<CommandEnvelope>) -> Result<Receipt, Problem> {
        let (sender, receiver) = oneshot::channel();
        self.send(envelope, Reply::new(sender));
        receiver.await.unwrap_or_else(|_| Err(crate::kernel::entity::outcome_unknown()))
    }

    fn send(self: &Arc<Self>, envelope: Arc<CommandEnvelope>, reply: Reply) {
        let stream = envelope.stream.clone();
        if self.kinds.get(&stream.kind).is_none() {
            return reply.send(Err(
                Problem::new(404, "unknown_kind", format!("no such kind: {}", stream.kind)).field("kind")
            ));
        }
        let partition = stream.partition(self.meta.partitions);
        if let Some(problem) = lock(&self.partition(partition).writer).refuses() {
            return reply.send(Err(problem.clone()));
        }
        let mut shard = self.registry.shard(&stream);
        for _ in 0..2 {
            let slot = match shard.get(&stream) {
                Some(slot) => slot.clone(),
                None => {
                    let Some(supervisor) = lock(&self.partition(partition).supervisor).clone() else {
                        return reply.send(Err(stopping()));
                    };
                    let spawned = ractor::ActorRuntime::spawn_linked_instant(
                        None,
                        EntityActor,
                        (self.clone(), stream.clone()),
                        supervisor.get_cell(),
                    );
                    let Ok((actor, _)) = spawned else {
                        return reply.send(Err(stopping()));
                    };
                    self.registry.insert(&mut shard, &stream, actor)
                }
            };
            let kernel = matches!(envelope.body, CommandBody::Kernel(_)) || crate::kernel::entity::settles(&envelope.body).is_some();
            let depth = slot.waiting.load(Ordering::Acquire);
            if !kernel && depth >= limits::ENTITY_QUEUE_MAX {
                self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
                let mut problem = Problem::new(429, "entity_busy", format!("{depth} commands wait for {stream}")).retry_after(1);
                problem.queue_depth = Some(depth as u64);
                return reply.send(Err(problem));
            }
            slot.last_used.store(self.monotonic(), Ordering::Relaxed);
            if slot.actor.get_status() >= ractor::ActorStatus::Stopping {
                self.registry.remove_from(&mut shard, &stream);
                continue;
            }
            let waiting = self.registry.wait(&slot);
            // A dead actor drops the message, and with it the reply, which then answers for itself.
            let _ = slot.actor.send_message(EntityMsg::Command {
                envelope,
                reply,
                _waiting: waiting,
            });
            return;
        }
        reply.send(Err(crate::kernel::entity::outcome_unknown()));
    }
}

/// An append that is answered whatever becomes of it: a log that drops it unanswered leaves its outcome unknown.
struct Unanswered(Option<(Arc<Core>, Sent)>);

impl Unanswered {
    fn answer(mut self, result: Result<Appended, AppendError>) {
        if let Some((core, sent)) = self.0.take() {
            core.guarded(sent, || core.appended(sent, result));
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some((core, sent)) = self.0.take() {
            core.given_up(sent, "the log dropped it");
        }
    }
}

/// A frame on its way to the log.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    partition: u16,
    epoch: u64,
    batch_id: [u8; 16],
    first_offset: u64,
}

impl Sent {
    pub(crate) fn of(batch: &Batch) -> Self {
        Self {
            partition: batch.partition,
            epoch: batch.epoch,
            batch_id: batch.batch_id,
            first_offset: batch.first_offset,
        }
    }
}
/// Folds a stream's records onto a base.
type Fold<'a, T> = &'a dyn Fn(Option<&Base>, &mut dyn Iterator<Item = Record>) -> Result<T, ParkedError>;

/// Folds a stream by its kind's rules. Rules that panic on a record do not fit it: its stream parks, and nothing else.
pub(crate) fn refold(
    handler: &dyn KindHandler,
    stream: &StreamId,
    base: Option<&Base>,
    records: &mut dyn Iterator<Item = Record>,
) -> Result<Box<dyn Entity>, ParkedError> {
    folded(stream, base, records, &|base, records| handler.recover(stream, base, records))
}

fn folded<T>(
    stream: &StreamId,
    base: Option<&Base>,
    records: &mut dyn Iterator<Item = Record>,
    fold: Fold<'_, T>,
) -> Result<T, ParkedError> {
    let mut version = base.map_or(0, |base| base.version);
    let mut noting = records.inspect(|record| version = record.header.first_version);
    let folded = catch_unwind(AssertUnwindSafe(|| fold(base, &mut noting)));
    folded.unwrap_or_else(|panic| {
        Err(ParkedError {
            stream: stream.clone(),
            version,
            detail: format!("the rules crashed: {}", panic_text(&*panic)),
        })
    })
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

pub(crate) fn stopping() -> Problem {
    Problem::new(503, "stopping", "the node is stopping").retry_after(5)
}

pub(crate) fn parked(stream: &StreamId, detail: &str) -> Problem {
    Problem::new(503, "stream_parked", format!("{stream} is parked: {detail}"))
        .fix("see `A parked stream` in ops/docs/runbook.md, then POST /v1/ops/unpark")
        .retry_after(60)
}

/// Batch ids of this process: random at their beginning, counted from there.
pub(crate) struct BatchIds(AtomicU64, u64);

impl BatchIds {
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
