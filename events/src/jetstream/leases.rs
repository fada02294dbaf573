//! Leases on JetStream: one subject a partition in a stream that keeps the last message of each, every change a
//! compare-and-set on that subject. Nobody's clock is compared with another's: a lease ends for whoever has seen no change
//! of it for its whole life.
//!
//! Nodes hear of each other, and of changed leases, by plain messages, which may be lost: each only says that it is time to
//! look.

mod storing;

use super::{
    OpenError,
    open::make_beside,
    options::JetStreamOptions,
    wire::{Silence, Wire},
};
use crate::leases::{Answering, Change, LeaseAnswer, Leases, Member, Tell, placement};
use futures::StreamExt;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

/// A lease as the stream keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    grant: u64,
    #[serde(flatten)]
    holder: Member,
    /// It was let go.
    free: bool,
}

/// What is said on the nodes' subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Heartbeat {
    #[serde(flatten)]
    member: Member,
    /// The node ends in order.
    leaving: bool,
    /// Everybody is asked to say that they are here.
    asks: bool,
}

/// A partition's lease as last seen.
#[derive(Debug, Clone)]
struct Seen {
    lease: Option<Lease>,
    sequence: u64,
    /// When this node first saw it so.
    at: Instant,
}

struct Known {
    leases: Vec<Option<Seen>>,
    members: BTreeMap<String, (Member, Instant)>,
    wanted: Vec<bool>,
    tell: Option<Tell>,
}

struct Shared {
    wire: Arc<Wire>,
    prefix: String,
    me: Member,
    life: Duration,
    /// Good-bye was said; nothing else is from then on.
    has_left: AtomicBool,
    known: Mutex<Known>,
}

/// Leases and membership on the servers that hold the log.
pub struct JetStreamLeases {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for JetStreamLeases {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Heartbeats in the life of a lease.
const BEATS: u32 = 5;
/// How long others are given to say that they are here when a node comes.
const GREETING: Duration = Duration::from_millis(150);

impl JetStreamLeases {
    /// Joins the nodes of a log. Returns when the others had time to say that they are here.
    pub(super) async fn join(
        wire: Arc<Wire>,
        options: &JetStreamOptions,
        partitions: u16,
        me: Member,
        life: Duration,
        handle: &Handle,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            wire,
            prefix: options.prefix.clone(),
            life,
            has_left: AtomicBool::new(false),
            known: Mutex::new(Known {
                leases: vec![None; usize::from(partitions)],
                members: BTreeMap::from([(me.node.clone(), (me.clone(), Instant::now()))]),
                wanted: vec![false; usize::from(partitions)],
                tell: None,
            }),
            me,
        });
        shared.make(options).await?;
        let lost = |error: String| OpenError::Stream {
            stream: shared.stream(),
            detail: error,
        };
        let mut changed = shared
            .wire
            .client
            .subscribe(shared.subject("*"))
            .await
            .map_err(|e| lost(e.to_string()))?;
        let mut nodes = shared
            .wire
            .client
            .subscribe(shared.nodes())
            .await
            .map_err(|e| lost(e.to_string()))?;
        let (watching, listening, beating) = (shared.clone(), shared.clone(), shared.clone());
        let tasks = vec![
            handle.spawn(async move {
                while let Some(message) = changed.next().await {
                    let partition = message.subject.rsplit('.').next().and_then(|p| p.parse().ok());
                    if let Some(partition) = partition {
                        // It may have been refused: only what the stream holds counts.
                        let _ = watching.look(partition).await;
                    }
                }
            }),
            handle.spawn(async move {
                while let Some(message) = nodes.next().await {
                    if let Ok(heard) = serde_json::from_slice::<Heartbeat>(&message.payload) {
                        listening.heard(heard).await;
                    }
                }
            }),
            handle.spawn(async move {
                let mut beat = tokio::time::interval(beating.life / BEATS);
                loop {
                    beat.tick().await;
                    beating.say(false).await;
                    beating.place();
                }
            }),
        ];
        shared.say(true).await;
        tokio::time::sleep(GREETING).await;
        shared.place();
        Ok(Self { shared, tasks })
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    fn stream(&self) -> String {
        format!("QUIPU_{}_LEASES", self.prefix)
    }

    fn subject(&self, partition: impl std::fmt::Display) -> String {
        format!("quipu.lease.{}.{partition}", self.prefix)
    }

    fn nodes(&self) -> String {
        format!("quipu.node.{}", self.prefix)
    }

    async fn make(&self, options: &JetStreamOptions) -> Result<(), OpenError> {
        let stream = self.stream();
        let config = json!({
            "name": stream,
            "subjects": [self.subject("*")],
            "storage": "file",
            "num_replicas": options.replicas,
            "retention": "limits",
            "max_msgs_per_subject": 1,
        });
        make_beside(&self.wire, options, &stream, &config).await
    }

    async fn say(&self, asks: bool) {
        let heartbeat = Heartbeat {
            member: self.me.clone(),
            leaving: self.has_left.load(Ordering::Acquire),
            asks,
        };
        let Ok(payload) = serde_json::to_vec(&heartbeat) else { return };
        // Lost ones are followed by others.
        let _ = self.wire.client.publish(self.nodes(), payload.into()).await;
    }

    async fn heard(&self, heartbeat: Heartbeat) {
        let node = heartbeat.member.node.clone();
        if node == self.me.node {
            return;
        }
        {
            let mut known = self.known();
            if heartbeat.leaving {
                known.members.remove(&node);
            } else {
                known.members.insert(node, (heartbeat.member, Instant::now()));
            }
        }
        if heartbeat.asks {
            self.say(false).await;
        }
        self.place();
    }

    /// Forgets nodes that were not heard of, and tells what this one should own.
    fn place(&self) {
        let mut known = self.known();
        let me = &self.me.node;
        known.members.retain(|node, (_, heard)| node == me || heard.elapsed() < self.life);
        let members: Vec<Member> = known.members.values().map(|(member, _)| member.clone()).collect();
        let placed = placement(&members, known.leases.len() as u16);
        for (partition, owner) in (0u16..).zip(placed) {
            let wanted = owner == *me;
            if std::mem::replace(&mut known.wanted[usize::from(partition)], wanted) != wanted
                && let Some(tell) = &known.tell
            {
                tell(Change::Wanted { partition, wanted });
            }
        }
    }

    /// Its grant, and for how long it may be held at most; `None`: free. One of this node's own, perhaps of an earlier life,
    /// may be asked for at once.
    fn shown(&self, seen: &Seen) -> Option<(u64, u64)> {
        let lease = seen.lease.as_ref().filter(|lease| !lease.free)?;
        let left = if lease.holder.node == self.me.node {
            Duration::ZERO
        } else {
            self.life.saturating_sub(seen.at.elapsed())
        };
        Some((lease.grant, left.as_millis() as u64))
    }

    async fn release(&self, partition: u16, grant: u64) -> Result<(), Silence> {
        let seen = self.look(partition).await?;
        if let Some(lease) = seen.lease
            && lease.grant == grant
            && lease.holder.node == self.me.node
        {
            self.store(partition, &Lease { free: true, ..lease }, seen.sequence).await?;
        }
        Ok(())
    }

    async fn answer(&self, answer: impl Future<Output = Result<LeaseAnswer, Silence>>) -> LeaseAnswer {
        match timeout(self.life / 2, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => LeaseAnswer::Unknown,
        }
    }
}

impl Leases for JetStreamLeases {
    fn lease_ms(&self) -> u64 {
        self.shared.life.as_millis() as u64
    }

    fn ask(&self, partition: u16) -> Answering<'_> {
        Box::pin(self.shared.answer(self.shared.ask(partition)))
    }

    fn renew(&self, partition: u16, grant: u64) -> Answering<'_> {
        Box::pin(self.shared.answer(self.shared.renew(partition, grant)))
    }

    fn release(&self, partition: u16, grant: u64) -> Answering<'_, ()> {
        Box::pin(async move {
            // What is not let go ends by itself.
            let _ = timeout(self.shared.life, self.shared.release(partition, grant)).await;
        })
    }

    fn is_wanted(&self, partition: u16) -> bool {
        self.shared.known().wanted.get(usize::from(partition)).copied().unwrap_or(false)
    }

    fn holder(&self, partition: u16) -> Option<Member> {
        let known = self.shared.known();
        let seen = known.leases.get(usize::from(partition))?.as_ref()?;
        seen.lease.as_ref().filter(|lease| !lease.free).map(|lease| lease.holder.clone())
    }

    fn members(&self) -> Vec<Member> {
        self.shared.known().members.values().map(|(member, _)| member.clone()).collect()
    }

    fn on_change(&self, tell: Tell) {
        let mut known = self.shared.known();
        for partition in 0..known.leases.len() {
            tell(Change::Wanted {
                partition: partition as u16,
                wanted: known.wanted[partition],
            });
        }
        known.tell = Some(tell);
    }

    fn leave(&self) -> Answering<'_, ()> {
        Box::pin(async move {
            self.shared.has_left.store(true, Ordering::Release);
            self.shared.say(false).await;
            let _ = timeout(self.shared.life, self.shared.wire.client.flush()).await;
        })
    }
}
