//! Ownership on Kafka: a consumer group assigns the partitions, and a commit under the group's generation proves that an
//! assignment still stands. The group's session is the lease: whoever commits has its whole length before another is assigned.
//!
//! The group is that of a topic which stays empty (`quipu.owners`), so that membership costs no reading. Nodes say who they
//! are, where they are and what they hold on `quipu.nodes`; what is said there may be late or lost, and only helps to find
//! them.

mod membership;

use super::{
    open_error::OpenError,
    options::KafkaOptions,
    topics::{Kept, Topics},
    wire::Readers,
};
use crate::leases::{Answering, Change, LeaseAnswer, Leases, Member, Tell};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rdkafka::{
    Offset, TopicPartitionList,
    client::ClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DefaultProducerContext, ThreadedProducer},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What a node says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Heartbeat {
    #[serde(flatten)]
    member: Member,
    /// Partitions whose lease it holds.
    holds: Vec<u16>,
    /// The node ends in order.
    leaving: bool,
    /// Everybody is asked to say that they are here.
    asks: bool,
}

/// This node's part in a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    /// The group assigned it.
    assigned: bool,
    /// Rises with each assignment of this process.
    tenure: u64,
    /// Its lease was granted and not let go.
    held: bool,
}

struct Other {
    member: Member,
    holds: Vec<u16>,
    heard: Instant,
}

struct Known {
    own: Vec<Own>,
    others: BTreeMap<String, Other>,
    /// Whether the group has answered once.
    has_assigned: bool,
    /// What the brokers last said against this member.
    trouble: Option<String>,
    tell: Option<Tell>,
}

struct Shared {
    me: Member,
    life: Duration,
    owners: String,
    nodes: String,
    known: Mutex<Known>,
    changed: Condvar,
    has_left: AtomicBool,
    ends: AtomicBool,
    voice: ThreadedProducer<DefaultProducerContext>,
}

/// Hears what the group assigns.
struct Group(Arc<Shared>);

impl ClientContext for Group {}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.0.revoked(&numbers(list), consumer.assignment_lost());
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.0.assigned(&numbers(list));
        }
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<u16> {
    list.elements().iter().filter_map(|e| e.partition().try_into().ok()).collect()
}

/// Heartbeats in the life of a lease.
const BEATS: u32 = 5;
/// How often threads look whether they are to end.
const LOOK: Duration = Duration::from_millis(100);

/// Leases and membership by a consumer group of the brokers that hold the log.
pub struct KafkaLeases {
    shared: Arc<Shared>,
    group: Arc<BaseConsumer<Group>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for KafkaLeases {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A crash of it was told where it happened.
            let _ = thread.join();
        }
    }
}

impl KafkaLeases {
    /// Joins the nodes of a log; returns when the group has answered for the first time.
    pub(super) fn join(options: &KafkaOptions, partitions: u16, me: Member, life: Duration) -> Result<Self, OpenError> {
        let (owners, nodes) = (format!("{}.owners", options.prefix), format!("{}.nodes", options.prefix));
        {
            let readers = Readers::new(options, nodes.clone());
            let topics = Topics::connect(options, &readers)?;
            for (topic, partitions) in [(&owners, partitions), (&nodes, 1)] {
                match topics.find(topic)? {
                    None => topics.make(topic, partitions, Kept::AnHour)?,
                    Some(shape) => shape,
                };
            }
        }
        let lost = |error: KafkaError| OpenError::Topic {
            topic: owners.clone(),
            detail: error.to_string(),
        };
        let mut speaking = options.client_config();
        speaking
            .set("acks", "1")
            .set("linger.ms", "0")
            .set("message.timeout.ms", life.as_millis().max(1_000).to_string());
        let shared = Arc::new(Shared {
            voice: speaking.create().map_err(lost)?,
            life,
            owners: owners.clone(),
            nodes: nodes.clone(),
            known: Mutex::new(Known {
                own: vec![Own::default(); usize::from(partitions)],
                others: BTreeMap::new(),
                has_assigned: false,
                trouble: None,
                tell: None,
            }),
            changed: Condvar::new(),
            has_left: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            me,
        });
        let (session, beat) = (life.as_millis().to_string(), (life / BEATS).as_millis().to_string());
        // While a partition is handed over nobody polls.
        let poll = (life * 3).as_millis().to_string();
        let mut joining = options.client_config();
        for (key, value) in [
            ("group.id", owners.as_str()),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", &session),
            ("heartbeat.interval.ms", &beat),
            ("max.poll.interval.ms", &poll),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("allow.auto.create.topics", "false"),
            ("auto.offset.reset", "latest"),
        ] {
            joining.set(key, value);
        }
        let group: Arc<BaseConsumer<Group>> = Arc::new(joining.create_with_context(Group(shared.clone())).map_err(lost)?);
        group.subscribe(&[&owners]).map_err(lost)?;
        let mut hearing = options.client_config();
        hearing
            .set("group.id", "quipu")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        hearing.set("auto.offset.reset", "latest").set("fetch.wait.max.ms", "100");
        let ear: BaseConsumer = hearing.create().map_err(lost)?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&nodes, 0, Offset::End).map_err(lost)?;
        ear.assign(&from).map_err(lost)?;

        let mut leases = Self {
            shared: shared.clone(),
            group: group.clone(),
            threads: Vec::new(),
        };
        let (member, listener, speaker) = (shared.clone(), shared.clone(), shared.clone());
        let named = |name: &str| thread::Builder::new().name(format!("quipu-{name}"));
        leases.threads.push(named("kafka-group").spawn(move || member.be_a_member(&group))?);
        leases.threads.push(named("kafka-nodes").spawn(move || listener.listen(&ear))?);
        leases.threads.push(named("kafka-beats").spawn(move || speaker.beat())?);
        shared.say(true);
        let deadline = Instant::now() + options.open.max(life * 2);
        let mut known = shared.known();
        while !known.has_assigned {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = known
                    .trouble
                    .take()
                    .unwrap_or_else(|| "is the coordinator of consumer groups up?".into());
                let detail = format!("the group of owners assigned nothing: {why}");
                return Err(OpenError::Topic { topic: owners, detail });
            }
            shared.changed.wait_for(&mut known, left);
        }
        drop(known);
        Ok(leases)
    }

    /// Proves that the group still counts this node in: a commit under an older generation is refused.
    fn prove(&self, partition: u16, tenure: Option<u64>) -> LeaseAnswer {
        let own = self.shared.known().own.get(usize::from(partition)).copied().unwrap_or_default();
        let refused = LeaseAnswer::Refused {
            free_in_ms: self.shared.life.as_millis() as u64,
        };
        if !own.assigned || tenure.is_some_and(|tenure| tenure != own.tenure || !own.held) {
            return refused;
        }
        let mut place = TopicPartitionList::new();
        if place
            .add_partition_offset(&self.shared.owners, i32::from(partition), Offset::Offset(0))
            .is_err()
        {
            return LeaseAnswer::Unknown;
        }
        match self.group.commit(&place, CommitMode::Sync) {
            Ok(()) => {
                let mut known = self.shared.known();
                let own = &mut known.own[usize::from(partition)];
                if !own.assigned || tenure.is_some_and(|tenure| tenure != own.tenure) {
                    return refused;
                }
                let (is_new, grant) = (!std::mem::replace(&mut own.held, true), own.tenure);
                drop(known);
                if is_new {
                    self.shared.say(false);
                }
                LeaseAnswer::Granted { grant }
            }
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::FencedInstanceId) => {
                    refused
                }
                _ => LeaseAnswer::Unknown,
            },
        }
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

impl Leases for Arc<KafkaLeases> {
    fn lease_ms(&self) -> u64 {
        self.shared.life.as_millis() as u64
    }

    fn ask(&self, partition: u16) -> Answering<'_> {
        answer(self.clone(), partition, None)
    }

    fn renew(&self, partition: u16, grant: u64) -> Answering<'_> {
        answer(self.clone(), partition, Some(grant))
    }

    fn release(&self, partition: u16, grant: u64) -> Answering<'_, ()> {
        self.shared.let_go(partition, grant);
        Box::pin(std::future::ready(()))
    }

    fn is_wanted(&self, partition: u16) -> bool {
        self.shared.known().own.get(usize::from(partition)).is_some_and(|own| own.assigned)
    }

    fn holder(&self, partition: u16) -> Option<Member> {
        let known = self.shared.known();
        if known.own.get(usize::from(partition))?.held {
            return Some(self.shared.me.clone());
        }
        known
            .others
            .values()
            .filter(|other| other.holds.contains(&partition))
            .max_by_key(|other| other.heard)
            .map(|other| other.member.clone())
    }

    fn members(&self) -> Vec<Member> {
        let known = self.shared.known();
        let mut members: Vec<Member> = known.others.values().map(|other| other.member.clone()).collect();
        members.push(self.shared.me.clone());
        members.sort();
        members
    }

    fn on_change(&self, tell: Tell) {
        let mut known = self.shared.known();
        for (partition, own) in (0u16..).zip(&known.own) {
            tell(Change::Wanted {
                partition,
                wanted: own.assigned,
            });
        }
        known.tell = Some(tell);
    }

    fn leave(&self) -> Answering<'_, ()> {
        self.shared.has_left.store(true, Ordering::Release);
        self.shared.say(false);
        Box::pin(std::future::ready(()))
    }
}

/// Asks the brokers from a thread that may block; no answer within half the lease is none.
fn answer(leases: Arc<KafkaLeases>, partition: u16, tenure: Option<u64>) -> Answering<'static> {
    let patience = leases.shared.life / 2;
    Box::pin(async move {
        let asked = tokio::task::spawn_blocking(move || leases.prove(partition, tenure));
        match tokio::time::timeout(patience, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => LeaseAnswer::Unknown,
        }
    })
}
