//! A node: everything that runs on one log, behind one cheap handle.

use crate::{
    abroad::{OverChannel, OverHttp},
    api::{CommandRequest, FeedItem, HealthPart, HistoryEntry, KindInfo, OutboxRow, ParkedStream, StateAt, Stopped, TreeNode},
    cluster::{self, Cluster, ClusterConfig, PartitionStatus},
    core::{Core, Opened, index_problem, lock, partition_stopped, refold, stopping},
    feed, ingress,
    kernel::{
        entity::state_digest,
        ownership::Input,
        relay::{Cause, person_note},
    },
    kinds::Kinds,
    partition_actor::{PartitionActor, PartitionArgs},
    performers::{Egress, Performers, PerformersConfig, Provider},
    prompts::LogPrompts,
    relay_actor::RelayMsg,
    secrets::Secrets,
    shadow, snapshotter, timers,
    volatile::Volatile,
};
use quipu_events::{
    backend::{Backend, OpenedLog, node_id},
    channel::Channel,
    disk::{DiskLock, RealDisk},
    embedded::EmbeddedLog,
    heads,
    index::{FinalState, Index, IndexError, Unreadable},
    keyring::Keyring,
    leases::{Leases, Member},
    port::{Log, ReadError},
};
use quipu_schemas::{
    context::{Keys, Millis},
    envelope::{CommandEnvelope, DataClass, Receipt},
    ids::{CommandId, Kind, OrgId, PrincipalId, StreamId},
    limits,
    personal,
    position::{Cursor, LogId},
    problem::Problem,
    reaction::{ReactionKey, Settled},
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

pub use crate::core::Counters;

/// How a node is started.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Which log.
    pub log: Backend,
    /// Where index, keys and blobs live, and the log if it is embedded; `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Partitions of a new log in memory or in the data directory.
    pub partitions: u16,
    /// Model providers by name (`scripted` is always there).
    pub providers: BTreeMap<String, Provider>,
    /// Secrets by name.
    pub secrets: Secrets,
    /// Which addresses effects may reach.
    pub egress: Egress,
    /// Idle time after which an entity is put to sleep, milliseconds.
    pub passivate_after_ms: u64,
    /// Entities kept in memory; the least recently used are put to sleep above it.
    pub active_max: usize,
    /// Commands in the node at a time.
    pub queue_max: usize,
    /// Bytes of commands in the node at a time.
    pub queue_max_bytes: usize,
    /// Whether a log that has records may be opened without its keys: new ones are made, and what was sealed stays closed.
    pub allow_lost_keys: bool,
    /// How this node appears to others that serve the same log.
    pub cluster: ClusterConfig,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            log: Backend::Memory,
            data_dir: None,
            partitions: limits::PARTITIONS_DEFAULT,
            providers: BTreeMap::new(),
            secrets: Secrets::default(),
            egress: Egress::default(),
            passivate_after_ms: limits::PASSIVATE_AFTER_MS,
            active_max: limits::ACTIVE_ENTITIES_MAX,
            queue_max: limits::NODE_QUEUE_MAX,
            queue_max_bytes: limits::NODE_QUEUE_MAX_BYTES,
            allow_lost_keys: false,
            cluster: ClusterConfig::default(),
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log.
    #[error(transparent)]
    Log(#[from] quipu_events::backend::OpenError),
    /// The index.
    #[error("index: {0}")]
    Index(#[from] quipu_events::index::IndexError),
    /// The keys.
    #[error("keys: {0}")]
    Keys(String),
    /// The HTTP client of the performers.
    #[error("performers: {0}")]
    Performers(String),
    /// The supervision tree.
    #[error("actors: {0}")]
    Actors(String),
    /// The system gives no randomness.
    #[error("{0}")]
    Entropy(Problem),
}

struct Inner {
    core: Arc<Core>,
    config: NodeConfig,
    root: Mutex<Option<ActorRef<()>>>,
    /// What works on the index beside the actors: ended before it is closed.
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    embedded: Option<Arc<EmbeddedLog>>,
    /// Dropped last: the data directory is free when the log is.
    _lock: Option<Box<dyn DiskLock>>,
}

/// A running node. Clones are handles to the same node.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

/// Frees a command's share of the node's bounds when it is answered, or when its caller goes away.
struct Admission<'a> {
    core: &'a Core,
    bytes: usize,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.core.waiting.fetch_sub(1, Ordering::AcqRel);
        self.core.waiting_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Node {
    /// Opens the log, catches the index up, claims every partition and starts the supervision tree. `progress` hears
    /// about long catch-ups: records indexed so far.
    pub async fn start(config: NodeConfig, kinds: Kinds, progress: impl FnMut(u64) + Send + 'static) -> Result<Self, StartError> {
        let opened = config.clone();
        let open = move || open(&opened, progress);
        let Parts { log, embedded, lock, me, leases, channel, index, keys, unreadable } = tokio::task::spawn_blocking(open).await.map_err(|e| StartError::Actors(e.to_string()))??;
        let volatile = Volatile::new();
        let (snapshots, snapshot_queue) = mpsc::channel(1024);
        let prompts = Arc::new(LogPrompts::default());
        let performers = Performers::new(PerformersConfig {
            providers: config.providers.clone(),
            secrets: config.secrets.clone(),
            egress: config.egress.clone(),
            keys: keys.clone(),
            prompts: prompts.clone(),
            volatile: volatile.clone(),
            clock: Arc::new(wall_clock),
        })
        .map_err(|e| StartError::Performers(e.to_string()))?;
        let opened = Opened { kinds, log, index, unreadable, keys, volatile, snapshots, is_shared: config.log.is_shared() };
        let core = tokio::task::spawn_blocking(move || Core::new(opened)).await.map_err(|e| StartError::Actors(e.to_string()))?;
        let core = Arc::new(core);
        prompts.set(&core);
        let node = me.node.clone();
        let owner = if config.cluster.address.is_empty() { me.node.as_str() } else { me.address.as_str() }.into();
        let cluster = Cluster::new(me, leases.clone(), config.cluster.token.clone()).map_err(|e| StartError::Performers(e.to_string()))?;
        core.among(cluster);
        match channel {
            Some(channel) => core.volatile.reach(Box::new(OverChannel { me: node, channel })),
            None if config.log.is_shared() && config.cluster.token.is_some() => core.volatile.reach(Box::new(OverHttp::begin(&core, node))),
            None => {}
        }
        let args = RootArgs { core: core.clone(), performers: Arc::new(performers), leases: leases.clone(), owner };
        let (root, _) = Actor::spawn(None, RootActor, args).await.map_err(|e| StartError::Actors(e.to_string()))?;
        cluster::listen(&core, &*leases);
        core.all_opened().await;
        let tasks = Mutex::new(vec![
            tokio::spawn(snapshotter::run(core.clone(), snapshot_queue)),
            tokio::spawn(timers::run(core.clone())),
            tokio::spawn(flush_index(core.clone())),
            tokio::spawn(passivate(core.clone(), config.passivate_after_ms, config.active_max)),
        ]);
        if config.log.is_shared() {
            crate::core::lock(&tasks).push(tokio::spawn(shadow::run(core.clone())));
        }
        Ok(Self(Arc::new(Inner { core, config, root: Mutex::new(Some(root)), tasks, embedded, _lock: lock })))
    }

    /// Decides a command. The receipt says that it is durable; nothing changed if there is none, except after
    /// `503 outcome_unknown`, when the same command may be sent again with the same id.
    pub async fn command(&self, request: CommandRequest) -> Result<Receipt, Problem> {
        let core = &self.0.core;
        let answer = self.admit_and_submit(request).await;
        match &answer {
            Ok(_) => core.counters.accepted.fetch_add(1, Ordering::Relaxed),
            Err(_) => core.counters.refused.fetch_add(1, Ordering::Relaxed),
        };
        answer
    }

    async fn admit_and_submit(&self, request: CommandRequest) -> Result<Receipt, Problem> {
        let core = &self.0.core;
        if core.stopping.load(Ordering::Acquire) {
            return Err(stopping());
        }
        let bytes = 512 + rough_size(&request.body);
        let admission = Admission { core, bytes };
        let depth = core.waiting.fetch_add(1, Ordering::AcqRel);
        let held = core.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        if depth >= self.0.config.queue_max || held + bytes > self.0.config.queue_max_bytes {
            core.counters.overloaded.fetch_add(1, Ordering::Relaxed);
            let mut problem = Problem::new(429, "node_busy", format!("{depth} commands wait in this node")).retry_after(1);
            problem.queue_depth = Some(depth as u64);
            return Err(problem);
        }
        let envelope = ingress::admit(request, &core.kinds, &core.keys, ingress::entropy()?, core.now())?;
        let answer = core.submit(envelope).await;
        drop(admission);
        answer
    }

    /// Decides a command that another node forwarded. It is not forwarded again.
    pub async fn forwarded(&self, envelope: CommandEnvelope) -> Result<Receipt, Problem> {
        let core = &self.0.core;
        if core.stopping.load(Ordering::Acquire) {
            return Err(stopping());
        }
        let admission = Admission { core, bytes: 0 };
        let depth = core.waiting.fetch_add(1, Ordering::AcqRel);
        if depth >= self.0.config.queue_max {
            core.counters.overloaded.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::new(429, "node_busy", format!("{depth} commands wait in this node")).retry_after(1));
        }
        let answer = core.submit_here(Arc::new(envelope)).await;
        drop(admission);
        answer
    }

    /// The nodes that serve this log, as this one knows them.
    pub fn members(&self) -> Vec<Member> {
        self.0.core.cluster().map(|cluster| cluster.leases.members()).unwrap_or_default()
    }

    /// This node as others see it.
    pub fn me(&self) -> Option<Member> {
        self.0.core.cluster().map(|cluster| cluster.me.clone())
    }

    /// Takes what another node said on the volatile channel.
    pub fn heard(&self, said: Vec<crate::abroad::Said>) {
        self.0.core.volatile.heard(said);
    }

    /// Every partition as this node sees it.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        let core = &self.0.core;
        (0..core.meta.partitions)
            .map(|partition| {
                let writer = lock(&core.partition(partition).writer);
                let here = writer.refuses().is_none();
                PartitionStatus {
                    partition,
                    owner: core.cluster().and_then(|cluster| cluster.leases.holder(partition).or_else(|| here.then(|| cluster.me.clone()))),
                    here,
                    epoch: here.then(|| writer.epoch()),
                    records: core.index.next_offset(partition),
                    trouble: writer.stopped().map(|problem| problem.detail.clone()),
                }
            })
            .collect()
    }

    /// The partitions that another node owns, as far as this one knows, in order.
    pub fn owned_elsewhere(&self) -> Vec<bool> {
        let core = &self.0.core;
        let is_elsewhere = |partition| core.is_elsewhere(partition) && core.cluster().is_some_and(|cluster| cluster.is_anothers(partition));
        (0..core.meta.partitions).map(is_elsewhere).collect()
    }

    /// The receipt of a command that was decided before.
    pub async fn receipt(&self, stream: &StreamId, id: &CommandId) -> Result<Option<Receipt>, Problem> {
        let seen = self.0.core.first_receipt(stream, id)?;
        Ok(seen.map(|seen| Receipt {
            command_id: id.clone(),
            stream: stream.clone(),
            version: seen.version,
            position: seen.position,
            durability: self.0.core.meta.durability,
            unchanged: seen.unchanged,
            duplicate: false,
        }))
    }

    /// Whether the log holds anything of a stream. The index knows, so damage and length are no matter.
    pub async fn exists(&self, stream: &StreamId) -> Result<bool, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move || {
            let known = || Ok(core.index.stream_head(&stream).map_err(|e| index_problem(&e))?.is_some());
            let partition = stream.partition(core.meta.partitions);
            if known()? || !core.is_elsewhere(partition) {
                return known();
            }
            // It may have been made a moment ago, at another node.
            shadow::follow(&core, partition);
            known()
        })
        .await
    }

    /// Records of a stream, from the one that holds `from_version` on.
    pub async fn history(&self, stream: &StreamId, from_version: u64, limit: usize) -> Result<Vec<HistoryEntry>, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move || {
            let records = core.positioned_records(&stream, from_version)?;
            Ok(records.into_iter().take(limit).map(|(position, record)| HistoryEntry { position, record }).collect())
        })
        .await
    }

    /// The state of an entity now, at a version, or at a time; `None` before its first record.
    pub async fn state(&self, stream: &StreamId, version: Option<u64>, at: Option<Millis>) -> Result<Option<StateAt>, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move || {
            let entity = if version.is_none() && at.is_none() {
                core.recover(&stream)?
            } else {
                let handler = core.kinds.get(&stream.kind).ok_or_else(|| Problem::new(404, "unknown_kind", format!("there is no kind {}", stream.kind)))?;
                // A version may lie within a record: time travel sees the events up to it, whole records otherwise.
                let until = core.records(&stream, 0)?.into_iter().filter(|r| at.is_none_or(|at| r.header.time <= at)).map_while(|mut record| {
                    let first = record.header.first_version;
                    match version {
                        Some(v) if v < first => None,
                        Some(v) if v < record.header.last_version() => {
                            record.header.events = (v + 1 - first) as u32;
                            record.events.truncate(record.header.events as usize);
                            Some(record)
                        }
                        Some(_) | None => Some(record),
                    }
                });
                refold(&**handler, &stream, None, &mut { until }).map_err(|e| crate::core::parked(&stream, &e.to_string()))?
            };
            if entity.version() == 0 {
                return Ok(None);
            }
            if version.is_some_and(|asked| asked > entity.version()) {
                return Err(Problem::new(404, "unknown_version", format!("{stream} is at version {}", entity.version()))
                    .field("version")
                    .at_version(entity.version()));
            }
            let mut state = entity.state();
            let digest = state_digest(&state).to_string();
            personal::show_all(&mut state.0, &*core.keys).map_err(|e| Problem::new(500, "sealed_value", e.to_string()))?;
            Ok(Some(StateAt { version: entity.version(), time: entity.time(), digest, state, stream }))
        })
        .await
    }

    /// The durable end of every partition.
    pub fn cursor(&self) -> Cursor {
        lock(&self.0.core.cursor).clone()
    }

    /// Ticks with every durable frame.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.0.core.durable.subscribe()
    }

    /// Partitions that this node serves, as that changes: those that it owns, and all of them where no other node could own
    /// one. What is done once for a partition is done by the node that serves it; for a moment two may think so.
    pub fn serving(&self) -> watch::Receiver<BTreeSet<u16>> {
        self.0.core.serving.subscribe()
    }

    /// Every record behind `from`: catches up, says so, and goes on live. Bounded: a slow reader slows its own feed.
    pub fn feed(&self, from: Cursor) -> mpsc::Receiver<FeedItem> {
        feed::start(self.0.core.clone(), from)
    }

    /// Refuses a cursor of another log or generation.
    pub fn check_cursor(&self, cursor: &Cursor) -> Result<(), Problem> {
        let meta = &self.0.core.meta;
        if cursor.log != meta.log_id || cursor.generation != meta.generation {
            return Err(Problem::new(410, "log_generation_changed", "the cursor belongs to another log or to its time before a restore")
                .field("from")
                .fix("start again from the beginning (`from=start`)"));
        }
        if cursor.next.len() != usize::from(meta.partitions) {
            return Err(Problem::new(400, "bad_cursor", "the cursor has another number of partitions than the log").field("from"));
        }
        // Nobody was ever given such a cursor, unless the log has lost its end since: passing over what comes next would hide it.
        let end = self.cursor();
        if let Some(partition) = (0..end.next.len()).find(|p| cursor.next[*p] > end.next[*p]) {
            if let Some(stopped) = self.0.core.stopped(partition as u16) {
                return Err(partition_stopped(&stopped).field("from"));
            }
            let detail = format!("the cursor is at {} of partition {partition}, which ends at {}", cursor.next[partition], end.next[partition]);
            return Err(Problem::new(400, "bad_cursor", detail).field("from").fix("pass a cursor that this node gave you, unchanged"));
        }
        Ok(())
    }

    /// Deltas, typing, presence.
    pub fn volatile(&self) -> &Volatile {
        &self.0.core.volatile
    }

    /// Opens and seals personal data.
    pub fn keys(&self) -> Arc<dyn Keys> {
        self.0.core.keys.clone()
    }

    /// Effects and dispatches that are not settled, of one org or of all.
    pub async fn outbox(&self, org: Option<&OrgId>) -> Vec<OutboxRow> {
        let core = &self.0.core;
        let mut rows = Vec::new();
        for partition in &core.partitions {
            let Some(relay) = lock(&partition.relay).clone() else { continue };
            let (sender, receiver) = oneshot::channel();
            if relay.send_message(RelayMsg::Rows(sender)).is_ok()
                && let Ok(found) = receiver.await
            {
                rows.extend(found);
            }
        }
        let dead = (0..core.meta.partitions).flat_map(|p| core.index.dead_letters(p, None, limits::PAGE_MAX_ROWS).unwrap_or_default());
        let mut out: BTreeMap<String, OutboxRow> = rows
            .into_iter()
            .filter(|row| org.is_none_or(|org| row.key.stream.org == *org))
            .map(|row| {
                let last_error = core.index.attempts(&row.key).ok().and_then(|a| a.failed).map(|f| format!("{}: {}", f.code, f.detail));
                let row = OutboxRow {
                    key: row.key.to_string(),
                    effect: row.effect.into(),
                    destination: row.destination,
                    status: row.status.into(),
                    attempts: row.attempts,
                    last_error,
                    next_attempt_at: row.next_attempt_at,
                };
                (row.key.clone(), row)
            })
            .collect();
        for letter in dead.filter(|letter| org.is_none_or(|org| letter.key.stream.org == *org)) {
            let key = letter.key.to_string();
            let (effect, destination) = self.describe(&letter.key).unwrap_or(("effect".into(), String::new()));
            let (attempts, last_error) = match core.index.settled(&letter.key).ok().flatten().map(|state| state.outcome) {
                Some(Settled::Dead { attempts, code, detail }) => (attempts, Some(format!("{code}: {detail}"))),
                Some(Settled::Parked { detail }) => (0, Some(detail)),
                _ => (0, None),
            };
            out.insert(
                key.clone(),
                OutboxRow { key, effect, destination, status: "dead".into(), attempts, last_error, next_attempt_at: None },
            );
        }
        out.into_values().collect()
    }

    fn describe(&self, key: &ReactionKey) -> Option<(String, String)> {
        let record = self.0.core.records(&key.stream, key.version).ok()?.into_iter().next()?;
        record.keyed_reactions().find(|(at, _)| at == key).map(|(_, reaction)| match reaction {
            quipu_schemas::reaction::Reaction::Perform(perform) => (perform.effect.name().to_owned(), perform.effect.destination()),
            quipu_schemas::reaction::Reaction::Dispatch(dispatch) => ("dispatch".to_owned(), dispatch.to.to_string()),
            _ => ("timer".to_owned(), String::new()),
        })
    }

    /// Sends a dead effect again, from its first attempt.
    pub async fn outbox_retry(&self, key: &ReactionKey, by: &PrincipalId) -> Result<Receipt, Problem> {
        let Some(dead) = self.settled(key)?.filter(|state| matches!(state.outcome, Settled::Dead { .. } | Settled::Parked { .. })) else {
            return Err(Problem::new(409, "not_dead", format!("{key} is not a dead letter")).field("key").fix("see `quipu outbox ls`"));
        };
        // Where it was given up: a dispatch that crashed its receiver is settled there.
        let receipt = self.note(key, &dead.stream, Settled::Retried, "retry", by).await?;
        // The relay may not hold it (after a restart): let it look again.
        self.reload(key).await;
        Ok(receipt)
    }

    /// Gives an effect up: it is never sent again.
    pub async fn outbox_drop(&self, key: &ReactionKey, by: &PrincipalId) -> Result<Receipt, Problem> {
        let settled = self.settled(key)?;
        let at = settled.as_ref().map_or(&key.stream, |state| &state.stream);
        match settled.as_ref().map(|state| &state.outcome) {
            None | Some(Settled::Dead { .. } | Settled::Parked { .. }) => self.note(key, at, Settled::Dropped, "drop", by).await,
            Some(_) => Err(Problem::new(409, "already_settled", format!("{key} is settled")).field("key")),
        }
    }

    fn settled(&self, key: &ReactionKey) -> Result<Option<FinalState>, Problem> {
        if self.describe(key).is_none() {
            return Err(Problem::new(404, "unknown_effect", format!("there is no effect {key}")).field("key").fix("see `quipu outbox ls`"));
        }
        self.0.core.index.settled(key).map_err(|e| index_problem(&e))
    }

    async fn note(&self, key: &ReactionKey, at: &StreamId, settled: Settled, step: &str, by: &PrincipalId) -> Result<Receipt, Problem> {
        let retried = self.0.core.index.attempts(key).map_err(|e| index_problem(&e))?.retried;
        let cause = Cause {
            principal: by.clone(),
            on_behalf_of: None,
            correlation: None,
            traceparent: None,
            environment: None,
            data_class: DataClass::None,
            time: self.0.core.now(),
        };
        let note = person_note(key, settled, &cause, &format!("{step}{retried}"));
        self.0.core.submit(CommandEnvelope { stream: at.clone(), ..note }).await
    }

    async fn reload(&self, key: &ReactionKey) {
        let partition = key.stream.partition(self.0.core.meta.partitions);
        let relay = lock(&self.0.core.partition(partition).relay).clone();
        if let Some(relay) = relay {
            let _ = relay.send_message(RelayMsg::Reload);
        }
    }

    /// Takes a parked stream back into service; what comes after its parked position is folded again.
    pub async fn unpark(&self, stream: &StreamId) -> Result<(), Problem> {
        let core = &self.0.core;
        if core.index.parked(stream).map_err(|e| index_problem(&e))?.is_none() {
            return Err(Problem::new(409, "not_parked", format!("{stream} is not parked")).field("stream"));
        }
        core.index.unpark(stream).map_err(|e| index_problem(&e))?;
        core.drop_entity(stream);
        core.recover(stream).map(|_| ())
    }

    /// Streams that the node has taken out of service, by name. Those that only the views left alone are not among them.
    pub fn parked(&self) -> Result<Vec<ParkedStream>, Problem> {
        let found = self.0.core.index.all_parked().map_err(|e| index_problem(&e))?;
        let mut parked: Vec<ParkedStream> =
            found.into_iter().map(|p| ParkedStream { stream: p.stream, position: p.position, detail: p.detail }).collect();
        parked.sort_by(|a, b| a.stream.cmp(&b.stream));
        Ok(parked)
    }

    /// Partitions that stop before their end because the log is damaged there.
    pub fn stopped(&self) -> Vec<Stopped> {
        (0..self.0.core.meta.partitions).filter_map(|partition| self.0.core.stopped(partition)).collect()
    }

    /// The supervision tree.
    pub fn tree(&self) -> TreeNode {
        let core = &self.0.core;
        let partitions = (0..core.meta.partitions).map(|number| {
            let partition = core.partition(number);
            let restarts = partition.restarts.load(Ordering::Relaxed);
            let leaf = |name: String, role: &str, status: &str| TreeNode { name, role: role.into(), status: status.into(), restarts: 0, children: vec![] };
            let stopped = lock(&partition.writer).stopped().is_some() || core.stopped(number).is_some();
            let relay = lock(&partition.relay).is_some();
            let mut children = vec![
                leaf("writer".into(), "writer", if stopped { "stopped" } else { "running" }),
                leaf("relay".into(), "relay", if relay { "running" } else { "stopped" }),
            ];
            children.extend(core.registry.sample(number, core.meta.partitions, 100).into_iter().map(|s| leaf(s.to_string(), "entity", "running")));
            TreeNode { name: format!("partition-{number}"), role: "partition".into(), status: if stopped { "stopped" } else { "running" }.into(), restarts, children }
        });
        let status = if core.stopping.load(Ordering::Acquire) { "stopping" } else { "running" };
        TreeNode { name: core.cluster().map_or_else(String::new, |cluster| cluster.me.node.clone()), role: "node".into(), status: status.into(), restarts: 0, children: partitions.collect() }
    }

    /// Health of the parts that the node itself runs.
    pub fn health(&self) -> Vec<HealthPart> {
        let core = &self.0.core;
        let trouble = core.log.trouble();
        let mut parts = vec![HealthPart {
            name: "log".into(),
            ok: trouble.is_none(),
            critical: true,
            detail: trouble.unwrap_or_else(|| {
                let durability = serde_json::to_value(core.meta.durability).unwrap_or_default();
                format!("{}, {} partitions, {}", core.meta.backend, core.meta.partitions, durability.as_str().unwrap_or_default())
            }),
        }];
        for number in 0..core.meta.partitions {
            // What another node serves is nothing to worry about here.
            let elsewhere = core.cluster().and_then(|cluster| cluster.leases.holder(number).filter(|holder| holder.node != cluster.me.node));
            let refused = if elsewhere.is_some() { None } else { lock(&core.partition(number).writer).refuses().map(|problem| problem.detail.clone()) };
            // Damage says more than what follows from it.
            let detail = core.stopped(number).map(|stopped| format!("stopped at offset {}: {}", stopped.offset, stopped.detail)).or(refused);
            if let Some(detail) = detail {
                parts.push(HealthPart { name: format!("partition-{number}"), ok: false, critical: false, detail });
            }
        }
        let parked = core.index.all_parked().unwrap_or_default();
        if !parked.is_empty() {
            let names: Vec<String> = parked.iter().take(5).map(|p| p.stream.to_string()).collect();
            let detail = format!("{} parked: {}", parked.len(), names.join(", "));
            parts.push(HealthPart { name: "streams".into(), ok: false, critical: false, detail });
        }
        parts
    }

    /// The kinds that this node knows, with their schemas: for documents.
    pub fn kinds(&self) -> Vec<KindInfo> {
        self.0.core.kinds.info()
    }

    /// The kinds that this node knows, with the names of the commands that clients may send.
    pub fn commands(&self) -> Vec<(Kind, Vec<String>)> {
        self.0.core.kinds.commands().map(|(kind, names)| (kind.clone(), names.to_vec())).collect()
    }

    /// The log, for projectors and tools.
    pub fn log(&self) -> Arc<dyn Log> {
        self.0.core.log.clone()
    }

    /// The embedded log, for online backups; `None` where everything is in memory.
    pub fn embedded(&self) -> Option<Arc<EmbeddedLog>> {
        self.0.embedded.clone()
    }

    /// Counters.
    pub fn counters(&self) -> &Counters {
        &self.0.core.counters
    }

    /// Entities in memory.
    pub fn active_entities(&self) -> usize {
        self.0.core.registry.len()
    }

    /// Commands that wait for their answers.
    pub fn waiting(&self) -> usize {
        self.0.core.waiting.load(Ordering::Relaxed)
    }

    /// Writes the heads file now (shells call it each second).
    pub fn write_heads(&self) -> std::io::Result<()> {
        match (&self.0.embedded, &self.0.config.data_dir) {
            (Some(log), _) => log.write_heads(),
            (None, Some(dir)) => {
                let core = &self.0.core;
                heads::note_ends(&RealDisk, dir, core.meta.log_id, core.owned_heads()).map_err(std::io::Error::other)
            }
            (None, None) => Ok(()),
        }
    }

    /// Refuses new commands, waits up to `drain` for the ones inside, then stops the tree and closes the index cleanly.
    pub async fn shutdown(&self, drain: Duration) {
        let core = &self.0.core;
        core.stopping.store(true, Ordering::Release);
        core.stopped.send_replace(true);
        core.timers.send_modify(|n| *n += 1);
        let mut durable = core.durable.subscribe();
        let idle = async {
            while core.waiting.load(Ordering::Acquire) > 0 || core.partitions.iter().any(|p| lock(&p.writer).depth() > 0) {
                let _ = tokio::time::timeout(Duration::from_millis(20), durable.changed()).await;
            }
        };
        if tokio::time::timeout(drain, idle).await.is_err() {
            tracing::warn!("stopped before every command was answered; unanswered ones are decided or absent, never half done");
        }
        self.hand_over().await;
        let root = lock(&self.0.root).take();
        if let Some(root) = root {
            let _ = root.stop_and_wait(None, Some(Duration::from_secs(5))).await;
        }
        core.durable.send_modify(|n| *n += 1);
        let tasks = std::mem::take(&mut *lock(&self.0.tasks));
        // Each looks at `stopping` at least every few milliseconds, or was woken just now. The first to crash was logged.
        if tokio::time::timeout(Duration::from_secs(5), futures::future::join_all(tasks)).await.is_err() {
            tracing::warn!("background work did not end in time; the index is closed under it");
        }
        let core = core.clone();
        let _ = tokio::task::spawn_blocking(move || core.index.close()).await;
        let _ = self.write_heads();
    }
}

impl Node {
    /// Gives its partitions to the other nodes, as far as there are any: others need not wait for leases to end. Commands
    /// go on being taken, and wait for whoever comes next.
    pub async fn hand_over(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let core = &self.0.core;
        let Some(cluster) = core.cluster().filter(|_| self.0.config.log.is_shared()) else { return };
        // First of all: the others must know that they are wanted.
        cluster.leases.leave().await;
        for partition in 0..core.meta.partitions {
            core.tell(partition, Input::Shutdown);
        }
        let mut owners = core.owners.subscribe();
        let mine = |holder: Option<Member>| holder.is_some_and(|holder| holder.node == cluster.me.node);
        let gone = async {
            while (0..core.meta.partitions).any(|p| mine(cluster.leases.holder(p))) {
                let _ = owners.changed().await;
            }
            // Somebody else comes, if there is anybody.
            while cluster.leases.members().len() > 1 && (0..core.meta.partitions).any(|p| cluster.leases.holder(p).is_none()) {
                let _ = owners.changed().await;
            }
        };
        // What is not given up ends by itself.
        let _ = tokio::time::timeout(PATIENCE, gone).await;
    }
}

fn wall_clock() -> Millis {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

fn rough_size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len() + 16,
        serde_json::Value::Array(items) => 16 + items.iter().map(rough_size).sum::<usize>(),
        serde_json::Value::Object(map) => 16 + map.iter().map(|(k, v)| k.len() + rough_size(v)).sum::<usize>(),
        _ => 16,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Problem::new(500, "internal", "the query crashed")))
}

struct Parts {
    log: Arc<dyn Log>,
    embedded: Option<Arc<EmbeddedLog>>,
    lock: Option<Box<dyn DiskLock>>,
    me: Member,
    leases: Arc<dyn Leases>,
    channel: Option<Arc<dyn Channel>>,
    index: Arc<Index>,
    keys: Arc<Keyring>,
    unreadable: BTreeMap<u16, Stopped>,
}

fn open(config: &NodeConfig, mut progress: impl FnMut(u64)) -> Result<Parts, StartError> {
    let id = ingress::entropy().map_err(StartError::Entropy)?;
    let dir = config.data_dir.as_deref();
    let opened = config.log.open(dir, config.partitions, LogId(id.to_be_bytes()))?;
    let (index, keys) = match dir {
        None => (Index::in_memory(&opened.log.meta())?, Keyring::ephemeral(id as u64)),
        Some(dir) => {
            let keys = opened.keys(dir, config.allow_lost_keys).map_err(|e| StartError::Keys(e.to_string()))?;
            (Index::open(&dir.join("index"), &opened.log.meta(), quipu_events::index::boot_id())?, keys)
        }
    };
    let me = Member {
        node: node_id(dir).map_err(quipu_events::backend::OpenError::Io)?,
        address: config.cluster.address.clone(),
    };
    let life = if config.cluster.lease_ms == 0 { limits::LEASE_MS } else { config.cluster.lease_ms };
    let leases = opened.join(me.clone(), Duration::from_millis(life))?;
    let channel = opened.shared.as_ref().and_then(|shared| shared.channel());
    let OpenedLog { log, embedded, lock, .. } = opened;
    let (index, keys) = (Arc::new(index), Arc::new(keys));
    let caught = index.catch_up(&*log, &mut |at| progress(at.next))?;
    let unreadable = caught.stopped.into_iter().map(|(partition, why)| {
        let offset = match &why {
            Unreadable::Record { position, .. } => position.offset,
            Unreadable::Log(ReadError::Damaged { offset, .. }) => *offset,
            Unreadable::Log(_) => 0,
        };
        (partition, Stopped { partition, offset, detail: why.to_string() })
    });
    Ok(Parts { unreadable: unreadable.collect(), log, embedded, lock, me, leases, channel, index, keys })
}

/// Moves the index's tail into its file behind the log: when it is large, or after a while. Large flushes are cheaper a record.
async fn flush_index(core: Arc<Core>) {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let mut durable = core.durable.subscribe();
    let mut flushed_at = core.now();
    let stopping = || core.stopping.load(Ordering::Acquire);
    // Looked at on both sides of the wait: the last notice of a stop may have come during a pause below.
    while !stopping() && durable.changed().await.is_ok() && !stopping() {
        tokio::time::sleep(LOOK_EVERY).await;
        while !stopping() && core.index.tail_len() < limits::INDEX_TAIL_RECORDS && core.now() < flushed_at + limits::INDEX_FLUSH_MS {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let flusher = core.clone();
        let flushed = tokio::task::spawn_blocking(move || flusher.index.flush_all()).await;
        flushed_at = core.now();
        // Closing flushes what was left, and then refuses: the last flush of this loop may come after it.
        if let Ok(Err(error)) = flushed
            && !matches!(error, IndexError::Closed)
        {
            tracing::error!(%error, "index falls behind; it is rebuilt from the log at the next start");
        }
    }
}

async fn passivate(core: Arc<Core>, after_ms: u64, active_max: usize) {
    let every = Duration::from_millis((after_ms / 4).clamp(10, 5_000));
    let mut stopped = core.stopped.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let before = core.now().saturating_sub(after_ms);
        for actor in core.registry.idle(before, active_max) {
            let _ = actor.send_message(crate::entity_actor::EntityMsg::Passivate);
        }
    }
}

/// The root of the tree: supervises the partitions and starts a crashed one again.
struct RootActor;

#[derive(Clone)]
struct RootArgs {
    core: Arc<Core>,
    performers: Arc<Performers>,
    leases: Arc<dyn Leases>,
    owner: Arc<str>,
}

impl RootArgs {
    async fn start(&self, partition: u16, root: ActorCell) -> Result<ActorCell, ActorProcessingErr> {
        let Self { core, performers, leases, owner } = self.clone();
        let args = PartitionArgs { core, partition, performers, leases, owner };
        let (actor, _) = Actor::spawn_linked(None, PartitionActor, args, root).await?;
        Ok(actor.get_cell())
    }
}

struct RootState {
    args: RootArgs,
    partitions: Vec<ActorCell>,
}

impl Actor for RootActor {
    type Msg = ();
    type State = RootState;
    type Arguments = RootArgs;

    async fn pre_start(&self, myself: ActorRef<()>, args: RootArgs) -> Result<RootState, ActorProcessingErr> {
        let mut partitions = Vec::new();
        for partition in 0..args.core.meta.partitions {
            partitions.push(args.start(partition, myself.get_cell()).await?);
        }
        Ok(RootState { args, partitions })
    }

    async fn handle_supervisor_evt(&self, myself: ActorRef<()>, event: SupervisionEvent, state: &mut RootState) -> Result<(), ActorProcessingErr> {
        let core = &state.args.core;
        if let SupervisionEvent::ActorFailed(who, error) = event
            && !core.stopping.load(Ordering::Acquire)
            && let Some(partition) = state.partitions.iter().position(|cell| cell.get_id() == who.get_id())
        {
            tracing::error!(partition, %error, "partition supervisor crashed; it claims the partition and starts again");
            core.abandon(partition as u16);
            state.partitions[partition] = state.args.start(partition as u16, myself.get_cell()).await?;
        }
        Ok(())
    }
}
