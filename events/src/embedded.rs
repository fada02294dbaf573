//! The embedded log: append-only segment files shared by all partitions, one writer thread, one sync a group commit.
//!
//! A data directory holds `lock`, `heads`, and `log/NNNNNNNNNNNNNNNN.seg` with a derived `.idx` beside each sealed one.
//! The decision record `ops/docs/adr/0001-embedded-engine.md` says why.

use crate::{
    disk::{Disk, DiskLock, RealDisk},
    heads::{self, Heads},
    port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError},
};
pub use error::{OpenError, OpenReport};
use parking_lot::{Condvar, Mutex, MutexGuard};
use quipu_schemas::{
    limits::{LOG_QUEUE_MAX, PARTITIONS_DEFAULT, SEGMENT_BYTES},
    position::LogId,
};
use std::{
    io,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

pub(crate) mod catalog;
pub(crate) mod chain;
mod engine;
mod error;
pub(crate) mod recover;
pub(crate) mod scan;
pub(crate) mod segment;
mod sidecar;

pub use chain::Stop;
pub use engine::{Flushed, SegmentEngine, Write};
pub use segment::LOG_DIR;

/// Name of the lock file within a data directory.
pub const LOCK_FILE: &str = "lock";

/// Stands in a directory from before a restore's first file until after its last: half of a log must not be taken for a
/// whole one, whose end would then be missing without a trace.
pub(crate) const UNFINISHED_FILE: &str = "restore.unfinished";
/// The same in a directory that a backup is written to: until it is gone, what is there is a part of a log.
pub(crate) const UNFINISHED_BACKUP_FILE: &str = "backup.unfinished";

/// How a log is opened or made.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Number of partitions; fixed when the log is made, and checked afterwards.
    pub partitions: u16,
    /// Identity of a new log (random if `None`); of an existing one, checked if given.
    pub log_id: Option<LogId>,
    /// Bytes that a segment is reserved to.
    pub segment_bytes: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            partitions: PARTITIONS_DEFAULT,
            log_id: None,
            segment_bytes: SEGMENT_BYTES,
        }
    }
}

enum Job {
    Append(Batch, AppendDone),
    Claim {
        partition: u16,
        owner: String,
        done: Box<dyn FnOnce(Result<Head, AppendError>) + Send>,
    },
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    closing: bool,
    /// The writer crashed: nobody takes jobs any more.
    crashed: bool,
    /// The writer waits: only then is waking it worth a system call.
    idle: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    full: AtomicBool,
    poisoned: AtomicBool,
    /// Why the lock on the data directory does not keep others away any more.
    lost: OnceLock<String>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// Answers what waits for a writer that is gone.
    fn crashed(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
        let jobs = {
            let mut queue = self.queue();
            queue.crashed = true;
            std::mem::take(&mut queue.jobs)
        };
        jobs.into_iter().for_each(|job| job.refuse(&writer_crashed()));
    }
}

fn writer_crashed() -> AppendError {
    AppendError::Poisoned("the log's writer crashed".into())
}

/// The embedded log with its writer thread. Dropping it writes what is queued, notes the heads and unlocks the directory.
pub struct EmbeddedLog {
    catalog: Arc<catalog::Catalog>,
    data_dir: PathBuf,
    report: OpenReport,
    lock: Arc<dyn DiskLock>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedLog {
    /// Opens or makes the log of a data directory on the real disk.
    pub fn open(data_dir: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), data_dir, options)
    }

    /// Opens or makes the log of a data directory on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, data_dir: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let engine = SegmentEngine::open(disk, data_dir, options)?;
        let (catalog, report, lock) = (engine.catalog(), engine.report().clone(), engine.lock());
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            full: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            lost: OnceLock::new(),
        });
        let at_work = shared.clone();
        let writer = std::thread::Builder::new().name("quipu-log".into()).spawn(move || {
            // Whoever waited for what was being written hears of it when its callback is dropped.
            if std::panic::catch_unwind(AssertUnwindSafe(|| run(engine, &at_work))).is_err() {
                at_work.crashed();
            }
        })?;
        Ok(Self {
            catalog,
            data_dir: data_dir.to_owned(),
            report,
            lock,
            shared,
            writer: Some(writer),
        })
    }

    /// What opening found.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether the last append met a full disk: commands are best refused before they are decided.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Whether an earlier failure stopped the writer for good: only opening again helps.
    pub fn is_poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Relaxed)
    }

    /// The durable end of every partition; of one that damage cost its end, the last that was noted, if any.
    pub fn heads(&self) -> Heads {
        self.catalog.heads()
    }

    /// Writes the heads file, durable on return; the owner calls it each second. Looks at the directory's lock first: where it
    /// does not keep others away any more, nothing is written here from then on, heads and frames alike.
    pub fn write_heads(&self) -> io::Result<()> {
        if let Err(why) = self.lock.check() {
            let _ = self.shared.lost.set(why);
            self.shared.poisoned.store(true, Ordering::Relaxed);
        }
        if let Some(why) = self.shared.lost.get() {
            return Err(io::Error::other(format!("the data directory is not this node's any more: {why}")));
        }
        heads::write(self.catalog.disk.as_ref(), &self.data_dir, &self.catalog.heads())
    }

    pub(crate) fn catalog(&self) -> &catalog::Catalog {
        &self.catalog
    }

    fn submit(&self, job: Job) {
        let (refused, wake) = {
            let mut queue = self.shared.queue();
            if queue.crashed {
                (Some((job, writer_crashed())), false)
            } else if queue.jobs.len() < LOG_QUEUE_MAX {
                queue.jobs.push(job);
                (None, std::mem::take(&mut queue.idle))
            } else {
                let full = AppendError::Invalid(format!("over {LOG_QUEUE_MAX} appends are waiting"));
                (Some((job, full)), false)
            }
        };
        match refused {
            None if wake => {
                self.shared.work.notify_one();
            }
            None => {}
            Some((job, error)) => job.refuse(&error),
        }
    }
}

impl Job {
    fn refuse(self, error: &AppendError) {
        match self {
            Job::Append(_, done) => done(Err(error.clone())),
            Job::Claim { done, .. } => done(Err(error.clone())),
        }
    }
}

enum Done {
    Append(AppendDone),
    Claim(Box<dyn FnOnce(Result<Head, AppendError>) + Send>),
}

fn run(mut engine: SegmentEngine, shared: &Shared) {
    let mut marked = true;
    loop {
        let jobs = {
            let mut queue = shared.queue();
            loop {
                if !queue.jobs.is_empty() || queue.closing {
                    break;
                }
                if !marked {
                    drop(queue);
                    engine.mark();
                    marked = true;
                    queue = shared.queue();
                    continue;
                }
                queue.idle = true;
                shared.work.wait(&mut queue);
            }
            std::mem::take(&mut queue.jobs)
        };
        if let Some(why) = shared.lost.get() {
            engine.give_up(why);
        }
        if jobs.is_empty() {
            break;
        }
        let (writes, dones): (Vec<Write>, Vec<Done>) = jobs
            .into_iter()
            .map(|job| match job {
                Job::Append(batch, done) => (Write::Append(batch), Done::Append(done)),
                Job::Claim { partition, owner, done } => (Write::Claim { partition, owner }, Done::Claim(done)),
            })
            .unzip();
        let results = engine.write_all(writes);
        marked = false;
        shared
            .full
            .store(results.iter().any(|r| matches!(r, Err(AppendError::Full))), Ordering::Relaxed);
        shared.poisoned.store(engine.poisoned().is_some(), Ordering::Relaxed);
        for (result, done) in results.into_iter().zip(dones) {
            // A callback that panics must not take the log with it.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| answer(result, done)));
        }
    }
    engine.mark();
    if engine.poisoned().is_none() {
        // The next open does without: it only loses the notice of what happens to the files meanwhile.
        let _ = engine.write_heads();
    }
}

fn answer(result: Result<Flushed, AppendError>, done: Done) {
    match (result, done) {
        (Ok(Flushed::Appended(appended)), Done::Append(done)) => done(Ok(appended)),
        (Ok(Flushed::Claimed(head)), Done::Claim(done)) => done(Ok(head)),
        (Err(e), Done::Append(done)) => done(Err(e)),
        (Err(e), Done::Claim(done)) => done(Err(e)),
        (Ok(_), _) => unreachable!("the engine answers appends with appends and claims with claims"),
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.queue().closing = true;
        self.shared.work.notify_all();
        if let Some(writer) = self.writer.take().filter(|w| w.thread().id() != std::thread::current().id()) {
            // Its panic, if any, was already told to whoever waited.
            let _ = writer.join();
        }
    }
}

impl Log for EmbeddedLog {
    fn meta(&self) -> LogMeta {
        self.catalog.meta.clone()
    }

    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let done = Box::new(move |result| {
            // The receiver waits below.
            let _ = send.send(result);
        });
        self.submit(Job::Claim {
            partition,
            owner: owner.to_owned(),
            done,
        });
        receive
            .recv()
            .unwrap_or_else(|_| Err(AppendError::Unknown("the log's writer ended".into())))
    }

    fn append(&self, batch: Batch, done: AppendDone) {
        self.submit(Job::Append(batch, done));
    }

    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        self.catalog.read(partition, from_offset, max_bytes)
    }

    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.catalog.read_at(places)
    }

    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        self.catalog.head(partition)
    }

    fn trouble(&self) -> Option<String> {
        if let Some(why) = self.shared.lost.get() {
            Some(format!("the data directory is not this node's any more: {why}; stop the node"))
        } else if self.is_poisoned() {
            Some("an append failed; restart the node".into())
        } else {
            self.is_full().then(|| "the disk is full".into())
        }
    }
}

#[cfg(test)]
mod tests;
