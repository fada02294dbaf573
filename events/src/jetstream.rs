//! The log on NATS JetStream: one stream a partition, one message a frame, every append a compare-and-set.
//!
//! A log `main` of 16 partitions is the streams `QUIPU_main_P000` … `QUIPU_main_P015`, each with one subject
//! (`quipu.log.main.000` …), in files, without limits, never deleted from. Frames are the same bytes as on every backend,
//! so nothing is kept beside them: the last message of a stream tells its partition's epoch, next offset and frame hash,
//! and an offset is found by halving the sequences. Places are (partition, sequence, byte).
//!
//! The servers' acknowledgement is only as good as their sync mode: [`JetStreamOptions::accept_unsynced`] must be set for
//! a log whose class would be `memory` or `quorum-memory`. The decision record `ops/docs/adr/0008-jetstream-log.md` says
//! why, and what was measured.

use crate::{
    blobs::{BlobError, JetStreamBlobs},
    broker::job::Job,
    leases::Member,
    port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Moved, Place, ReadError},
};
use futures::StreamExt;
use quipu_schemas::limits::BROKER_QUEUE_MAX;
use std::{
    future::Future,
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::mpsc::{Sender, channel, error::TrySendError},
    task::JoinHandle,
};

mod channel;
mod connect;
mod durability;
mod keys;
mod leases;
mod open;
mod options;
mod partition;
mod reader;
mod wire;
mod writer;

pub use crate::broker::durability::SyncMode;
pub use channel::JetStreamChannel;
pub use keys::JetStreamKeys;
pub use leases::JetStreamLeases;
pub use open::OpenError;
pub use options::{BadOptions, JetStreamOptions, Login};
use partition::Partition;

/// Threads that drive the connection; appends of different partitions are in flight at once on them.
const THREADS: usize = 2;

/// A log on JetStream, driven by a small runtime of its own. Dropping it settles what was submitted.
pub struct JetStreamLog {
    meta: LogMeta,
    partitions: Arc<Vec<Arc<Partition>>>,
    writers: Vec<Sender<Job>>,
    running: Vec<JoinHandle<()>>,
    runtime: Option<Runtime>,
    handle: Handle,
}

/// Waits on this thread for what another runtime does, so that it may be called from within any runtime.
fn wait<T: Send + 'static>(handle: &Handle, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (send, receive) = sync_channel(1);
    handle.spawn(async move {
        // The receiver waits below.
        let _ = send.send(work.await);
    });
    receive.recv().ok()
}

impl JetStreamLog {
    /// Opens or makes a log. Blocks until its streams are there and checked.
    pub fn open(options: &JetStreamOptions) -> Result<Self, OpenError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("quipu-jetstream")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let asked = options.clone();
        let opened = wait(&handle, async move { open::open(&asked).await });
        let opened = match opened.unwrap_or_else(|| Err(std::io::Error::other("opening was cut short").into())) {
            Ok(opened) => opened,
            Err(e) => {
                runtime.shutdown_background();
                return Err(e);
            }
        };
        let (mut writers, mut running) = (Vec::new(), Vec::new());
        for partition in &opened.partitions {
            let (send, jobs) = channel(BROKER_QUEUE_MAX);
            writers.push(send);
            running.push(handle.spawn(writer::run(partition.clone(), jobs)));
        }
        Ok(Self {
            meta: opened.meta,
            partitions: Arc::new(opened.partitions),
            writers,
            running,
            runtime: Some(runtime),
            handle,
        })
    }

    /// Joins the nodes that share this log, as `me`. A lease lives for `life` from its last renewal. Blocks until the other
    /// nodes had time to answer. The leases end with the log's runtime: keep both.
    pub fn join(&self, options: &JetStreamOptions, me: Member, life: Duration) -> Result<JetStreamLeases, OpenError> {
        let Some(wire) = self.partitions.first().map(|partition| partition.wire.clone()) else {
            return Err(std::io::Error::other("a log without partitions").into());
        };
        let (asked, partitions, handle) = (options.clone(), self.meta.partitions, self.handle.clone());
        let joined = wait(&self.handle, async move {
            JetStreamLeases::join(wire, &asked, partitions, me, life, &handle).await
        });
        joined.unwrap_or_else(|| Err(std::io::Error::other("joining was cut short").into()))
    }

    /// The store of the log's wrapped data keys, made where there is none. It ends with the log's runtime: keep both.
    pub fn keys(&self, options: &JetStreamOptions) -> Result<JetStreamKeys, OpenError> {
        let Some(wire) = self.partitions.first().map(|partition| partition.wire.clone()) else {
            return Err(std::io::Error::other("a log without partitions").into());
        };
        let (asked, handle) = (options.clone(), self.handle.clone());
        let opened = wait(&self.handle, async move { JetStreamKeys::open(wire, &asked, handle).await });
        opened.unwrap_or_else(|| Err(std::io::Error::other("opening the keys was cut short").into()))
    }

    /// The store of the log's large values, made where there is none. It ends with the log's runtime: keep both.
    pub fn blobs(&self, options: &JetStreamOptions) -> Result<JetStreamBlobs, BlobError> {
        let silent = |detail: &str| BlobError::Unreachable {
            place: format!("the object store of log {}", options.prefix),
            detail: detail.into(),
        };
        let client = self.partitions.first().map(|partition| partition.wire.client.clone());
        let client = client.ok_or_else(|| silent("a log without partitions"))?;
        let (asked, handle) = (options.clone(), self.handle.clone());
        let opened = wait(&self.handle, async move {
            JetStreamBlobs::open(client, asked.domain.as_deref(), &asked.prefix, asked.replicas, handle).await
        });
        opened.unwrap_or_else(|| Err(silent("opening was cut short")))
    }

    /// Plain messages between the nodes of this log. They end with the log's runtime: keep both.
    pub fn channel(&self, options: &JetStreamOptions) -> Option<JetStreamChannel> {
        let wire = self.partitions.first()?.wire.clone();
        Some(JetStreamChannel::new(wire, &options.prefix, self.handle.clone()))
    }

    /// Deletes a log with everything in it, leases and keys included. What is not there is no error.
    pub fn remove(options: &JetStreamOptions) -> Result<(), OpenError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let asked = options.clone();
        let worker = std::thread::spawn(move || runtime.block_on(open::remove(&asked)));
        worker
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("deleting crashed").into()))
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
            Err(TrySendError::Closed(job)) => job.refuse(AppendError::Poisoned("the partition's writer ended".into())),
        }
    }

    fn partition(&self, partition: u16) -> Result<Arc<Partition>, ReadError> {
        let found = self.partitions.get(usize::from(partition)).cloned();
        found.ok_or_else(|| ReadError::Io(format!("no such partition: {partition}")))
    }

    fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T, ReadError>> + Send + 'static) -> Result<T, ReadError> {
        wait(&self.handle, work).unwrap_or_else(|| Err(ReadError::Io("the read was cut short".into())))
    }
}

impl Log for JetStreamLog {
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
        let partition = self.partition(partition)?;
        self.wait(async move { partition.read(from_offset, max_bytes).await })
    }

    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.wait(reader::read_at(self.partitions.clone(), places.to_vec()))
    }

    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        let partition = self.partition(partition)?;
        self.wait(async move {
            let end = partition.tail().await;
            end.map(|end| end.head).map_err(|e| partition.no_tail(e))
        })
    }

    fn damage(&self, partition: u16) -> Option<ReadError> {
        let partition = self.partition(partition).ok()?;
        let stop = partition.marks().stop.clone()?;
        Some(partition.damaged(&stop))
    }

    fn follow(&self, moved: Moved) {
        let Some(wire) = self.partitions.first().map(|partition| partition.wire.clone()) else {
            return;
        };
        let partitions = self.partitions.clone();
        self.handle.spawn(async move {
            // Whoever publishes a frame tells everybody who listens to its subject, also where the stream refuses it. A message
            // that is lost is made up for by the next one, or by looking.
            let Ok(mut frames) = wire.client.subscribe(partitions[0].family()).await else {
                return;
            };
            while let Some(message) = frames.next().await {
                if let Some(partition) = partitions.iter().find(|partition| partition.subject == message.subject.as_str()) {
                    moved(partition.number);
                }
            }
        });
    }

    fn trouble(&self) -> Option<String> {
        let wire = &self.partitions.first()?.wire;
        (!wire.is_connected()).then(|| "no connection to the NATS servers; commands wait for their outcome or are refused".into())
    }
}

impl Drop for JetStreamLog {
    fn drop(&mut self) {
        self.writers.clear();
        let running = std::mem::take(&mut self.running);
        // From a callback of its own there is nobody left to wait for; each append has its deadline.
        if !Handle::try_current().is_ok_and(|current| current.id() == self.handle.id()) {
            wait(&self.handle, async move {
                for writer in running {
                    // Its panic, if any, was already told to whoever waited.
                    let _ = writer.await;
                }
            });
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
