//! A node: everything that runs on one log, behind one cheap handle.

mod accounts;
mod bodies;
mod callbacks;
mod codes;
mod devices;
mod erasure;
mod health;
mod holders;
mod identity;
mod invites;
mod leaving;
mod logins;
mod outbox;
mod peers;
mod rates;
mod reads;
mod rights;
mod root;
#[cfg(test)]
pub(crate) mod scene;
mod sessions;
mod standing;
mod start;
mod tokens;
mod upkeep;
mod vitals;

use crate::{
    accounts::KeyHash,
    api::{CommandRequest, KindInfo},
    cluster::PartitionStatus,
    core::Core,
    ingress,
    kernel::{admission, ownership::Input},
    kinds::KindHandler,
    performers::Performers,
    refusals::stopping,
    secrets::NodeSecrets,
    tasks::Tasks,
    tokens::Tokens,
    volatile::Volatile,
};
use parking_lot::Mutex;
use quipu_events::{
    blobs::Blobs,
    disk::{DiskLock, RealDisk},
    embedded::EmbeddedLog,
    heads,
    leases::Member,
    port::{Head, Log, ReadError},
};
use quipu_schemas::{
    context::Keys,
    envelope::{CommandEnvelope, Receipt},
    ids::Kind,
    problem::Problem,
};
use ractor::ActorRef;
use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub use crate::core::Counters;
pub use bodies::BodyHold;
use bodies::rough_size;
pub use callbacks::Delivery;
pub use codes::ShownCode;
pub use identity::Identity;
pub use invites::{Joined, Joins};
pub use reads::{Held, PageFrom, ReadPermit, RecordKey};
pub use standing::Account;
pub use start::{NodeConfig, StartError};

struct Inner {
    core: Arc<Core>,
    config: NodeConfig,
    performers: Performers,
    tokens: Tokens,
    secrets: Arc<NodeSecrets>,
    root: Mutex<Option<ActorRef<()>>>,
    /// What works on the index beside the actors: ended before it is closed.
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    embedded: Option<Arc<EmbeddedLog>>,
    /// Dropped last: the data directory is free when the log is.
    lock: Option<Box<dyn DiskLock>>,
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
        self.check_secret(&request)?;
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
        if request.command_id.is_none() {
            admission::key_not_needed(&core.org(&request.org)?)?;
        }
        let (drawn, now) = (ingress::Drawn::fresh()?, core.now());
        let entered = if ingress::may_block(&request.body, bytes) {
            let admitting = core.clone();
            let admitted = tokio::task::spawn_blocking(move || ingress::admit(request, &admitting.kinds, &admitting.keys, &drawn, now));
            admitted
                .await
                .unwrap_or_else(|_| Err(Problem::new(500, "command_crashed", "reading the command crashed")))?
        } else {
            ingress::admit(request, &core.kinds, &core.keys, &drawn, now)?
        };
        let ingress::Entered { mut envelope, shown } = entered;
        if self.0.config.key_hash == KeyHash::Argon2id {
            envelope = ingress::kept_slowly(envelope, &core.accounts.passwords).await?;
        }
        let answer = core.submit(envelope).await;
        drop(admission);
        answer.map(|receipt| ingress::showing(receipt, shown))
    }

    /// What the configuration holds wins, and is not shadowed: an org would believe to have replaced it.
    fn check_secret(&self, request: &CommandRequest) -> Result<(), Problem> {
        let name = request
            .id
            .as_ref()
            .filter(|_| request.kind == Kind::SECRET && request.command != "retire");
        match name.filter(|name| self.0.config.secrets.is_configured(&request.org, name.as_str())) {
            Some(name) => Err(Problem::new(
                409,
                "secret_configured",
                format!("secret {name} stands in the configuration of the node"),
            )
            .field("id")
            .fix("change it there, or use another name")),
            None => Ok(()),
        }
    }

    /// Whether a command brings a secret, or makes one which its answer shows: for faces whose commands and answers are kept.
    pub fn carries_secret(&self, kind: &Kind, command: &str) -> bool {
        let carries = |handler: &Arc<dyn KindHandler>| handler.mints(command).is_some() || handler.takes_secret(command);
        self.0.core.kinds.get(kind).is_some_and(carries)
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

    /// Every partition as this node sees it.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        let core = &self.0.core;
        (0..core.meta.partitions)
            .map(|partition| {
                let writer = core.partition(partition).writer.lock();
                let here = writer.refuses().is_none();
                PartitionStatus {
                    partition,
                    owner: core
                        .cluster()
                        .and_then(|cluster| cluster.leases.holder(partition).or_else(|| here.then(|| cluster.me.clone()))),
                    here,
                    epoch: here.then(|| writer.epoch()),
                    records: core.index.next_offset(partition),
                    trouble: writer.stopped().map(|problem| problem.detail.clone()),
                }
            })
            .collect()
    }

    /// The durable end of each partition, in order, as the log tells it; a log that does not answer is not asked about the next
    /// one. Blocks.
    pub fn ends(&self) -> Vec<Option<Head>> {
        let core = &self.0.core;
        let mut is_silent = false;
        let end = |partition| {
            let end = (!is_silent).then(|| core.log.head(partition))?;
            is_silent = matches!(end, Err(ReadError::Io(_)));
            end.ok()
        };
        (0..core.meta.partitions).map(end).collect()
    }

    /// The partitions that another node owns, as far as this one knows, in order.
    pub fn owned_elsewhere(&self) -> Vec<bool> {
        let core = &self.0.core;
        let is_elsewhere = |partition| core.is_elsewhere(partition) && core.cluster().is_some_and(|cluster| cluster.is_anothers(partition));
        (0..core.meta.partitions).map(is_elsewhere).collect()
    }

    /// Deltas, typing, presence.
    pub fn volatile(&self) -> &Volatile {
        &self.0.core.volatile
    }

    /// Opens and seals personal data.
    pub fn keys(&self) -> Arc<dyn Keys> {
        self.0.core.keys.clone()
    }

    /// Where values that are too large for a record are kept; `None` where they stand in their records.
    pub fn blobs(&self) -> Option<Arc<dyn Blobs>> {
        self.0.core.keys.blobs().cloned()
    }

    /// The kinds that this node knows, with their schemas: for documents.
    pub fn kinds(&self) -> Vec<KindInfo> {
        self.0.core.kinds.info()
    }

    /// The kinds that this node knows, with the names of the commands that clients may send.
    pub fn commands(&self) -> Vec<(Kind, Vec<String>)> {
        self.0
            .core
            .kinds
            .commands()
            .map(|(kind, names)| (kind.clone(), names.to_vec()))
            .collect()
    }

    /// The plural of a kind, as in paths and in the `source` of events.
    pub fn plural<'a>(&'a self, kind: &Kind) -> Cow<'a, str> {
        self.0.core.kinds.plural(kind)
    }

    /// The log, for projectors and tools.
    pub fn log(&self) -> Arc<dyn Log> {
        self.0.core.log.clone()
    }

    /// The embedded log, for online backups; `None` where everything is in memory.
    pub fn embedded(&self) -> Option<Arc<EmbeddedLog>> {
        self.0.embedded.clone()
    }

    /// The long-lived tasks of the node and of its faces.
    pub fn tasks(&self) -> Tasks {
        self.0.core.tasks.clone()
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

    /// Writes the heads file now, and how many keys the log has used (shells call it each second).
    pub fn write_heads(&self) -> std::io::Result<()> {
        match (&self.0.embedded, &self.0.config.data_dir) {
            (Some(log), _) => log.write_heads()?,
            (None, Some(dir)) => {
                if let Some(Err(why)) = self.0.lock.as_ref().map(|lock| lock.check()) {
                    return Err(std::io::Error::other(why));
                }
                let core = &self.0.core;
                heads::note_ends(&RealDisk, dir, core.meta.log_id, core.owned_heads()).map_err(std::io::Error::other)?;
            }
            (None, None) => {}
        }
        self.0.core.keys.note().map_err(std::io::Error::other)
    }

    /// Refuses new commands, waits up to `drain` for the ones inside and for model calls that are under way (see
    /// [`Node::finish_model_calls`]), then stops the tree and closes the index cleanly.
    pub async fn shutdown(&self, drain: Duration) {
        let core = &self.0.core;
        let deadline = tokio::time::Instant::now() + drain;
        core.stopping.store(true, Ordering::Release);
        core.stopped.send_replace(true);
        core.timers.send_modify(|n| *n += 1);
        let mut durable = core.durable.subscribe();
        let idle = async {
            while core.waiting.load(Ordering::Acquire) > 0 || core.partitions.iter().any(|p| p.writer.lock().depth() > 0) {
                let _ = tokio::time::timeout(Duration::from_millis(20), durable.changed()).await;
            }
        };
        // Beside the commands: neither is held up by the other.
        let (_, drained) = tokio::join!(self.finish_model_calls(drain), tokio::time::timeout_at(deadline, idle));
        if drained.is_err() {
            tracing::warn!("stopped before every command was answered; each of the others is stored whole or not at all");
        }
        self.hand_over().await;
        let root = self.0.root.lock().take();
        if let Some(root) = root {
            let _ = root.stop_and_wait(None, Some(Duration::from_secs(5))).await;
        }
        core.durable.send_modify(|n| *n += 1);
        let tasks = std::mem::take(&mut *self.0.tasks.lock());
        // Each looks at `stopping` at least every few milliseconds, or was woken just now. The first to crash was logged.
        if tokio::time::timeout(Duration::from_secs(5), futures::future::join_all(tasks))
            .await
            .is_err()
        {
            tracing::warn!("background work did not end in time; closing the index anyway");
        }
        let core = core.clone();
        let _ = tokio::task::spawn_blocking(move || core.index.close()).await;
        let _ = self.write_heads();
    }

    /// Gives its partitions to the other nodes, as far as there are any: others need not wait for leases to end. Commands
    /// go on being taken, and wait for whoever comes next.
    pub async fn hand_over(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let core = &self.0.core;
        let Some(cluster) = core.cluster().filter(|_| self.0.config.log.is_shared()) else {
            return;
        };
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

#[cfg(test)]
mod tests;
