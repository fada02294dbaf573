//! The consumer of commands: a thread that is always polling, so that the group never takes this node for stuck.

use super::super::{
    status::{Part, Status},
    topic::{self, COMMANDS},
};
use parking_lot::{Mutex, MutexGuard};
use quipu_events::kafka::KafkaOptions;
use quipu_schemas::limits::{BUS_COMMIT_MS, BUS_QUEUE_AHEAD, BUS_SESSION_MS, BUS_TOPICS_LOOK_MS};
use rdkafka::{
    Offset, TopicPartitionList,
    client::ClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::OwnedMessage,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How often the thread looks whether it is to end, to pause or to commit.
const LOOK: Duration = Duration::from_millis(50);

/// A partition of a topic.
pub(super) type Place = (String, i32);

/// What the thread hears, in its order.
pub(super) enum ConsumerEvent {
    /// A command.
    Message(Box<OwnedMessage>),
    /// Partitions that are another's from now on.
    Revoked(Vec<Place>),
}

/// What the thread and whoever decides tell each other.
struct Shared {
    status: Arc<Status>,
    /// Messages that were heard and are not finished: bounds the channel between them.
    held: AtomicUsize,
    /// Offset of the first message without an answer.
    answered: Mutex<BTreeMap<Place, i64>>,
    /// Not all of `answered` is committed.
    is_behind: AtomicBool,
    /// Partitions came that are not paused with the others.
    is_assigned: AtomicBool,
    ends: AtomicBool,
}

impl Shared {
    fn answered(&self) -> MutexGuard<'_, BTreeMap<Place, i64>> {
        self.answered.lock()
    }

    fn offsets(&self, fits: impl Fn(&Place) -> bool) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (place, next) in self.answered().iter().filter(|(place, _)| fits(place)) {
            // A place that the group once gave is one.
            let _ = list.add_partition_offset(&place.0, place.1, Offset::Offset(*next));
        }
        list
    }
}

/// Hears what the group assigns and takes back.
struct Group {
    shared: Arc<Shared>,
    heard: UnboundedSender<ConsumerEvent>,
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the bus's consumer");
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let gone: Vec<Place> = list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        let offsets = self.shared.offsets(|place| gone.contains(place));
        if offsets.count() > 0 && !consumer.assignment_lost() {
            // What is not committed is decided again elsewhere, with the same outcome where it was accepted.
            let _ = consumer.commit(&offsets, CommitMode::Sync);
        }
        self.shared.answered().retain(|place, _| !gone.contains(place));
        // The receiver ends before its thread does.
        let _ = self.heard.send(ConsumerEvent::Revoked(gone));
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(_) = rebalance {
            self.shared.is_assigned.store(true, Ordering::Release);
            self.shared.status.works(Part::Queue);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if result.is_err() {
            self.shared.is_behind.store(true, Ordering::Release);
        }
    }
}

/// A member of the group of nodes that decide commands. [`Consumer::end`] leaves the group; a dropped one leaves it by
/// itself a little later.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
    }
}

impl Consumer {
    /// Joins the group; what is heard comes until the thread ends, in the order of each partition.
    pub(super) fn begin(options: &KafkaOptions, status: Arc<Status>) -> Result<(Self, UnboundedReceiver<ConsumerEvent>), String> {
        let group = topic::common(&options.prefix, COMMANDS);
        let mut config = options.client_config();
        for (key, value) in [
            ("group.id", group.as_str()),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", &BUS_SESSION_MS.to_string()),
            ("heartbeat.interval.ms", &(BUS_SESSION_MS / 6).to_string()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("allow.auto.create.topics", "false"),
            // Topics of orgs that are made later.
            ("topic.metadata.refresh.interval.ms", &BUS_TOPICS_LOOK_MS.to_string()),
            ("fetch.error.backoff.ms", "100"),
            ("queued.max.messages.kbytes", "4096"),
        ] {
            config.set(key, value);
        }
        let shared = Arc::new(Shared {
            status,
            held: AtomicUsize::new(0),
            answered: Mutex::default(),
            is_behind: AtomicBool::new(false),
            is_assigned: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "the consumer pauses at a bound of commands held: BUS_QUEUE_AHEAD"
        )]
        let (send, heard) = unbounded_channel();
        let context = Group {
            shared: shared.clone(),
            heard: send.clone(),
        };
        let group: BaseConsumer<Group> = config.create_with_context(context).map_err(|e| e.to_string())?;
        let pattern = format!("^{}\\.{COMMANDS}(\\.[A-Za-z0-9_-]+)?$", options.prefix);
        group.subscribe(&[&pattern]).map_err(|e| e.to_string())?;
        let polling = shared.clone();
        let named = thread::Builder::new().name("quipu-bus".into());
        let thread = named.spawn(move || polling.poll(&group, &send)).map_err(|e| e.to_string())?;
        let thread = Some(thread);
        Ok((Self { shared, thread }, heard))
    }

    /// So many messages need no room any more.
    pub(super) fn finished(&self, messages: usize) {
        self.shared.held.fetch_sub(messages, Ordering::AcqRel);
    }

    /// All messages of a partition before this offset have their final answers.
    pub(super) fn answered(&self, place: &Place, next: u64) {
        let Ok(next) = i64::try_from(next) else { return };
        if self.shared.answered().insert(place.clone(), next) != Some(next) {
            self.shared.is_behind.store(true, Ordering::Release);
        }
    }

    /// Commits and leaves the group.
    pub(super) async fn end(mut self) {
        self.shared.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A crash of it was told where it happened.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Shared {
    fn poll(&self, group: &BaseConsumer<Group>, heard: &UnboundedSender<ConsumerEvent>) {
        let (mut is_paused, mut committed) = (false, Instant::now());
        while !self.ends.load(Ordering::Acquire) {
            match group.poll(LOOK) {
                Some(Ok(message)) => {
                    self.status.works(Part::Queue);
                    self.held.fetch_add(1, Ordering::AcqRel);
                    if heard.send(ConsumerEvent::Message(Box::new(message.detach()))).is_err() {
                        break;
                    }
                }
                Some(Err(error)) => self.trouble(&error),
                None => {}
            }
            if group.client().fatal_error().is_some() {
                break;
            }
            self.pause(group, &mut is_paused);
            if committed.elapsed() >= Duration::from_millis(BUS_COMMIT_MS) && self.is_behind.swap(false, Ordering::AcqRel) {
                committed = Instant::now();
                let offsets = self.offsets(|_| true);
                if offsets.count() > 0 && group.commit(&offsets, CommitMode::Async).is_err() {
                    self.is_behind.store(true, Ordering::Release);
                }
            }
        }
        // The group takes everything back as the consumer ends, and what is answered is committed then.
    }

    /// Reads no further ahead than the bound; polling goes on.
    fn pause(&self, group: &BaseConsumer<Group>, is_paused: &mut bool) {
        let held = self.held.load(Ordering::Acquire);
        let is_new = self.is_assigned.swap(false, Ordering::AcqRel);
        let pauses = if *is_paused {
            held > BUS_QUEUE_AHEAD / 2
        } else {
            held >= BUS_QUEUE_AHEAD
        };
        if pauses == *is_paused && !(is_new && pauses) {
            return;
        }
        let Ok(all) = group.assignment() else { return };
        let done = if pauses { group.pause(&all) } else { group.resume(&all) };
        if done.is_ok() {
            *is_paused = pauses;
        }
    }

    fn trouble(&self, error: &KafkaError) {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
        let part = match error.rdkafka_error_code() {
            // That they answer again is found by looking for topics.
            Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve) => Part::Connection,
            _ => Part::Queue,
        };
        self.status.trouble(part, error.to_string());
    }
}
