//! Starting a node: its settings, the log, the index and the keys, and then the tree.

mod opening;

use super::{
    Inner, Node,
    root::{RootActor, RootArgs},
    upkeep,
};
use crate::{
    accounts::KeyHash,
    background::lower_priority,
    clock::ClockSource,
    cluster::{Cluster, ClusterConfig, NodeKey, NodeKeyError},
    core::{Core, Opened},
    feed::offers,
    kinds::Kinds,
    mailbox::SnapshotMsg,
    ownership,
    performers::{Egress, Mail, MailConfig, Performers, PerformersConfig},
    prompts::LogPrompts,
    providers::ProviderConfig,
    secrets::{NodeSecrets, Secrets},
    shadow, snapshotter, timers,
    tokens::{Tokens, TokensConfig},
    volatile::Volatile,
    volatile_remote::{ViaBroker, ViaHttp},
};
use opening::{Parts, open};
use parking_lot::Mutex;
use quipu_events::{
    backend::Backend,
    blobs::BlobsAt,
    channel::Channel,
    keyring::Keyring,
    leases::{Leases, Member},
};
use quipu_schemas::{context::Millis, limits, problem::Problem, rights::Capability};
use ractor::Actor;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak, atomic::Ordering},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// How a node is started.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Which log.
    pub log: Backend,
    /// Where large values are kept, if not where the log is.
    pub blobs: BlobsAt,
    /// Where index, keys and blobs live, and the log if it is embedded; `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Partitions of a new log in memory or in the data directory.
    pub partitions: u16,
    /// Model providers by name (`scripted` is always there).
    pub providers: BTreeMap<String, ProviderConfig>,
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
    /// What can be read besides the kinds: a capability for each view, held by viewers and higher roles.
    pub reads: Vec<Capability>,
    /// How this node appears to others that serve the same log.
    pub cluster: ClusterConfig,
    /// Where the node reads its clocks.
    pub clock: ClockSource,
    /// How tokens are signed.
    pub tokens: TokensConfig,
    /// Where letters go, if anywhere.
    pub mail: Option<MailConfig>,
    /// What is kept of new API keys.
    pub key_hash: KeyHash,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            log: Backend::Memory,
            blobs: BlobsAt::default(),
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
            reads: Vec::new(),
            cluster: ClusterConfig::default(),
            clock: ClockSource::default(),
            tokens: TokensConfig::default(),
            mail: None,
            key_hash: KeyHash::default(),
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
    /// The key that other nodes know it by.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    /// The HTTP client that calls other nodes.
    #[error("cluster: {0}")]
    Cluster(String),
    /// The supervision tree.
    #[error("actors: {0}")]
    Actors(String),
    /// The system gives no randomness.
    #[error("{0}")]
    Entropy(Problem),
}

impl Node {
    /// Opens the log, catches the index up, claims every partition and starts the supervision tree. `progress` hears
    /// about long catch-ups: records indexed so far.
    pub async fn start(config: NodeConfig, kinds: Kinds, progress: impl FnMut(u64) + Send + 'static) -> Result<Self, StartError> {
        let opened = config.clone();
        let open = move || open(&opened, progress);
        let Parts {
            log,
            embedded,
            lock,
            me,
            node_key,
            leases,
            channel,
            index,
            keys,
            unreadable,
        } = tokio::task::spawn_blocking(open)
            .await
            .map_err(|e| StartError::Actors(e.to_string()))??;
        let volatile = Volatile::new();
        let (snapshots, snapshot_queue) = mpsc::channel(1024);
        let prompts = Arc::new(LogPrompts::default());
        let secrets = Arc::new(NodeSecrets::new(config.secrets.clone()));
        let performers = performers_of(&config, &keys, &prompts, &secrets, &volatile)?;
        let opened = Opened {
            charter: kinds.charter(config.reads.iter().cloned()),
            kinds,
            log,
            index,
            unreadable,
            keys,
            volatile,
            snapshots,
            is_shared: config.log.is_shared(),
            clock: config.clock.clone(),
            vitals: performers.vitals(),
        };
        let core = core_of(opened).await?;
        prompts.set(&core);
        secrets.set(&core);
        core.among(cluster_of(&config, &me, node_key, &leases)?);
        reach_others(&core, &config, me.node.clone(), channel);
        let args = RootArgs {
            core: core.clone(),
            performers: Arc::new(performers.clone()),
            leases: leases.clone(),
            owner: owner_name(&config, &me),
        };
        let (root, _) = Actor::spawn(None, RootActor, args)
            .await
            .map_err(|e| StartError::Actors(e.to_string()))?;
        ownership::listen(&core, &*leases);
        core.all_opened().await;
        let tasks = Mutex::new(long_lived(&core, &config, snapshot_queue)?);
        Ok(Self(Arc::new(Inner {
            tokens: Tokens::new(&config.tokens, core.keys.clone()),
            core,
            config,
            performers,
            secrets,
            root: Mutex::new(Some(root)),
            tasks,
            embedded,
            lock,
        })))
    }
}

fn performers_of(
    config: &NodeConfig,
    keys: &Arc<Keyring>,
    prompts: &Arc<LogPrompts>,
    secrets: &Arc<NodeSecrets>,
    volatile: &Volatile,
) -> Result<Performers, StartError> {
    Performers::new(PerformersConfig {
        providers: config.providers.clone(),
        secrets: secrets.clone(),
        egress: config.egress.clone(),
        keys: keys.clone(),
        prompts: prompts.clone(),
        volatile: volatile.clone(),
        clock: Arc::new(wall_clock),
        mail: config.mail.clone().map(|config| Mail {
            config,
            digest_key: keys.digest_key(),
        }),
    })
    .map_err(|e| StartError::Performers(e.to_string()))
}

async fn core_of(opened: Opened) -> Result<Arc<Core>, StartError> {
    let core = tokio::task::spawn_blocking(move || Arc::new(Core::new(opened))).await;
    core.map_err(|e| StartError::Actors(e.to_string()))
}

/// The nodes among which this one is.
fn cluster_of(config: &NodeConfig, me: &Member, key: Option<NodeKey>, leases: &Arc<dyn Leases>) -> Result<Cluster, StartError> {
    let ClusterConfig { token, ca, tls, .. } = config.cluster.clone();
    let cluster = Cluster::new(me.clone(), leases.clone(), token, ca.as_deref()).map_err(StartError::Cluster)?;
    Ok(cluster.with_key(tls, key))
}

/// What claim frames call this node.
fn owner_name(config: &NodeConfig, me: &Member) -> Arc<str> {
    if config.cluster.address.is_empty() {
        me.node.as_str().into()
    } else {
        me.address.as_str().into()
    }
}

/// Says how what is said on the volatile channel reaches the other nodes, where there are any.
fn reach_others(core: &Arc<Core>, config: &NodeConfig, me: String, channel: Option<Arc<dyn Channel>>) {
    match channel {
        Some(channel) => core.volatile.reach(Box::new(ViaBroker { me, channel })),
        None if config.log.is_shared() && config.cluster.token.is_some() => core.volatile.reach(Box::new(ViaHttp::begin(core, me))),
        None => {}
    }
}

/// What works beside the actors until the node stops.
fn long_lived(core: &Arc<Core>, config: &NodeConfig, snapshots: mpsc::Receiver<SnapshotMsg>) -> Result<Vec<JoinHandle<()>>, StartError> {
    let snapshots = Arc::new(tokio::sync::Mutex::new(snapshots));
    let (after_ms, most) = (config.passivate_after_ms, config.active_max);
    let mut tasks = vec![
        supervised(core, "snapshots", move |core| snapshotter::run(core, snapshots.clone())),
        supervised(core, "timers", timers::run),
        supervised(core, "hub", offers::follow),
        on_thread(core, "index", upkeep::flush_index)?,
        supervised(core, "sleep", move |core| upkeep::passivate(core, after_ms, most)),
    ];
    if core.keys.blobs().is_some() {
        tasks.push(supervised(core, "sweep", upkeep::sweep_blobs));
    }
    if config.log.is_shared() {
        tasks.push(supervised(core, "shadow", shadow::run));
        tasks.push(supervised(core, "keys of nodes", upkeep::note_keys));
    } else if config.data_dir.is_some() {
        tasks.push(supervised(core, "scrub", upkeep::scrub));
    }
    Ok(tasks)
}

fn supervised<F>(core: &Arc<Core>, name: &'static str, task: impl Fn(Arc<Core>) -> F + Send + Sync + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let core = core.clone();
    tokio::spawn(async move {
        let is_over = || core.stopping.load(Ordering::Acquire);
        core.tasks.run(name, is_over, || task(core.clone())).await;
    })
}

/// A task that works more than it waits, on a thread of its own and of lower priority: no request and no lookup queues behind
/// it, and where processors are scarce the workers go first.
fn on_thread<F>(core: &Arc<Core>, name: &'static str, task: impl Fn(Weak<Core>) -> F + Send + 'static) -> Result<JoinHandle<()>, StartError>
where
    F: Future<Output = ()>,
{
    let failed = |error: std::io::Error| StartError::Actors(format!("no thread for `{name}`: {error}"));
    let (tasks, core) = (core.tasks.clone(), Arc::downgrade(core));
    let (ended, end) = oneshot::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        // Dropped with the thread.
        let _ended = ended;
        lower_priority(name);
        // Made here: a runtime that is dropped within another one panics.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        drop(ready.send(Ok(())));
        let is_over = || core.upgrade().is_none_or(|core| core.stopping.load(Ordering::Acquire));
        runtime.block_on(tasks.run(name, is_over, || task(core.clone())));
    };
    std::thread::Builder::new()
        .name(format!("quipu-{name}"))
        .spawn(work)
        .map_err(failed)?;
    is_ready
        .recv()
        .unwrap_or_else(|_| Err(std::io::Error::other("it ended")))
        .map_err(failed)?;
    Ok(tokio::spawn(async move {
        // Nothing is ever sent: its other end goes with the thread.
        let _ = end.await;
    }))
}

#[expect(clippy::disallowed_methods, reason = "where node time is made of the clocks")]
fn wall_clock() -> Millis {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
