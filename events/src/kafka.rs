//! The log on Kafka: one topic, one message a frame, every append a transaction by the partition's only producer.
//!
//! A log `quipu` is the topics `quipu.log` (a Kafka partition a partition, without limits) and `quipu.meta` (what the log
//! is); beside them `quipu.keys`, `quipu.owners` and `quipu.nodes` for the nodes that share it. Frames are the same bytes as on every backend, so nothing is kept beside them: the last message of a partition
//! tells its epoch, next offset and frame hash, and a record's offset is found by halving Kafka's. Kafka's own offsets are
//! places, never positions: markers of transactions take some of them.
//!
//! Kafka has no compare-and-set. What takes its place is the partition's `transactional.id`: whoever begins a producer
//! under it fences all earlier ones, then reads to the end, then stores a claim. The brokers acknowledge before they sync
//! unless `flush.messages=1`: [`KafkaOptions::accept_unsynced`] must be set for a log whose class would be `memory` or
//! `quorum-memory`. The decision record `ops/docs/adr/0010-kafka-log.md` says why, and what was measured.
//!
//! Its calls block on the network and may be made from any thread.

use crate::{
    broker::job::{Job, Standing},
    leases::Member,
    port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Moved, Place, ReadError},
};
use parking_lot::Mutex;
use quipu_schemas::limits::BROKER_QUEUE_MAX;
use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

mod follow;
mod identity;
mod keys;
mod leases;
mod open;
mod open_error;
mod options;
mod partition;
mod producer;
mod reader;
mod refusal;
mod security;
mod topics;
mod wire;
mod writer;

pub use crate::broker::durability::SyncMode;
pub use keys::KafkaKeys;
pub use leases::KafkaLeases;
pub use open_error::OpenError;
pub use options::{BadOptions, KafkaOptions};
use partition::{NoTail, Partition};
pub use refusal::Refusal;
pub use security::{KafkaSecurity, Mechanism, Password};
use writer::Writer;

/// A log on Kafka: a thread and, once claimed, a producer a partition. Dropping it settles what was submitted.
pub struct KafkaLog {
    meta: LogMeta,
    partitions: Vec<Arc<Partition>>,
    writers: Vec<SyncSender<Job>>,
    running: Vec<JoinHandle<()>>,
    options: Arc<KafkaOptions>,
    followers: Mutex<Vec<JoinHandle<()>>>,
    following: Arc<follow::Following>,
}

impl KafkaLog {
    /// Opens or makes a log. Blocks until its topics are there and checked.
    pub fn open(options: &KafkaOptions) -> Result<Self, OpenError> {
        let opened = open::open(options)?;
        let options = Arc::new(options.clone());
        let mut log = Self {
            meta: opened.meta,
            partitions: opened.partitions,
            writers: Vec::new(),
            running: Vec::new(),
            options: options.clone(),
            followers: Mutex::default(),
            following: Arc::default(),
        };
        for partition in &log.partitions {
            let (send, jobs) = sync_channel(BROKER_QUEUE_MAX);
            let writer = Writer {
                partition: partition.clone(),
                options: options.clone(),
                id: format!("{}/{}/{}", options.prefix, hex::encode(log.meta.log_id.0), partition.number),
                standing: Standing::Stranger,
                producer: None,
            };
            let named = thread::Builder::new().name(format!("quipu-kafka-{}", partition.number));
            log.running.push(named.spawn(move || writer.run(&jobs))?);
            log.writers.push(send);
        }
        Ok(log)
    }

    /// Joins the nodes that share this log, as `me`. A lease, and the group's session, lives for `life`
    /// from its last renewal. Blocks until the group of owners has answered.
    pub fn join(&self, options: &KafkaOptions, me: Member, life: Duration) -> Result<Arc<KafkaLeases>, OpenError> {
        Ok(Arc::new(KafkaLeases::join(options, self.meta.partitions, me, life)?))
    }

    /// The store of the log's wrapped data keys, made where there is none. Blocks.
    pub fn keys(options: &KafkaOptions) -> Result<KafkaKeys, OpenError> {
        KafkaKeys::open(options)
    }

    /// Deletes a log with everything in it, leases and keys included. What is not there is no error.
    pub fn remove(options: &KafkaOptions) -> Result<(), OpenError> {
        open::remove(options)
    }

    fn submit(&self, partition: u16, job: Job) {
        let Some(writer) = self.writers.get(usize::from(partition)) else {
            return job.refuse(AppendError::Invalid(format!("no such partition: {partition}")));
        };
        match writer.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => {
                job.refuse(AppendError::Invalid(format!(
                    "over {BROKER_QUEUE_MAX} appends are waiting for partition {partition}"
                )));
            }
            Err(TrySendError::Disconnected(job)) => job.refuse(AppendError::Poisoned("the partition's writer ended".into())),
        }
    }

    fn partition(&self, partition: u16) -> Result<&Partition, ReadError> {
        let found = self.partitions.get(usize::from(partition));
        found
            .map(Arc::as_ref)
            .ok_or_else(|| ReadError::Io(format!("no such partition: {partition}")))
    }
}

impl Log for KafkaLog {
    fn meta(&self) -> LogMeta {
        self.meta.clone()
    }

    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        let (send, receive) = sync_channel(1);
        let done = Box::new(move |result| {
            // The receiver waits below.
            let _ = send.send(result);
        });
        self.submit(partition, Job::Claim(owner.to_owned(), done));
        receive
            .recv()
            .unwrap_or_else(|_| Err(AppendError::Unknown("the partition's writer ended".into())))
    }

    fn append(&self, batch: Batch, done: AppendDone) {
        self.submit(batch.partition, Job::Append(batch, done));
    }

    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        self.partition(partition)?.read(from_offset, max_bytes)
    }

    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        reader::read_at(&self.partitions, places)
    }

    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        let end = self.partition(partition)?.tail();
        end.map(|end| end.head).map_err(NoTail::read_error)
    }

    fn damage(&self, partition: u16) -> Option<ReadError> {
        let partition = self.partition(partition).ok()?;
        let stop = partition.known().marks.stop.clone()?;
        Some(partition.damaged(&stop))
    }

    fn follow(&self, moved: Moved) {
        // A machine that has no thread left: whoever follows also looks now and then.
        if let Ok(follower) = follow::follow(&self.options, self.meta.partitions, moved, self.following.clone()) {
            self.followers.lock().push(follower);
        }
    }

    fn trouble(&self) -> Option<String> {
        let is_silent = self.following.is_silent.load(Ordering::Acquire);
        is_silent.then(|| "no Kafka broker answers; commands wait for their outcome or are refused".into())
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.writers.clear();
        self.following.ends.store(true, Ordering::Release);
        let followers = std::mem::take(&mut *self.followers.lock());
        for writer in self.running.drain(..).chain(followers) {
            // From a callback of its own there is nobody left to wait for; each append has its deadline.
            if writer.thread().id() != thread::current().id() {
                // Its panic, if any, was already told to whoever waited.
                let _ = writer.join();
            }
        }
    }
}
