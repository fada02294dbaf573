//! The writer: frames of all partitions, one write and one sync a group.

mod flushing;

use super::{
    EmbeddedOptions, OpenError, OpenReport,
    catalog::{Catalog, place_text},
    recover::recover,
    segment::{FLUSH_HEADER, FlushHeader},
    sidecar::FrameAt,
};
use crate::{
    disk::{Disk, DiskLock, LockError},
    heads::{self, Heads},
    port::{AppendError, Appended, Batch, FrameRead, Head, LogMeta, Place, ReadError},
};
use quipu_schemas::limits::FLUSH_MAX_BYTES;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Something to write.
#[derive(Debug, Clone)]
pub enum Write {
    /// A frame of records.
    Append(Batch),
    /// A claim frame.
    Claim {
        /// Partition.
        partition: u16,
        /// The owner's address.
        owner: String,
    },
}

/// What was written, durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flushed {
    /// A frame of records.
    Appended(Appended),
    /// A claim: the partition's new end.
    Claimed(Head),
}

struct Staged {
    index: usize,
    partition: u16,
    head: Head,
    /// Relative to the flush.
    frame: FrameAt,
    records: Vec<std::ops::Range<usize>>,
    claim: bool,
}

/// The embedded log without threads: whoever owns it is the writer. Used by [`super::EmbeddedLog`] and, over a
/// simulated disk, by simulation.
pub struct SegmentEngine {
    catalog: Arc<Catalog>,
    data_dir: PathBuf,
    segment_bytes: u64,
    /// The active segment takes no more.
    full: bool,
    /// The active segment holds damage: no sidecar may vouch for it.
    damaged: bool,
    poisoned: Option<String>,
    buffer: Vec<u8>,
    report: OpenReport,
    lock: Arc<dyn DiskLock>,
}

fn is_full(error: &io::Error) -> bool {
    // A file that would pass the process's limit (`ulimit -f`) is refused like one without room.
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl SegmentEngine {
    /// Opens or makes the log of a data directory and locks the directory.
    pub fn open(disk: Arc<dyn Disk>, data_dir: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        if options.partitions == 0 {
            return Err(OpenError::Partitions { found: 0, asked: 0 });
        }
        disk.create_dir_all(data_dir)?;
        let holder = format!("process {}", std::process::id());
        let lock = disk.lock(&data_dir.join(super::LOCK_FILE), &holder).map_err(|e| match e {
            LockError::Held(holder) => OpenError::Locked {
                dir: data_dir.to_owned(),
                holder,
            },
            LockError::Io(e) => e.into(),
        })?;
        let recovered = recover(disk, data_dir, options)?;
        let mut engine = Self {
            catalog: recovered.catalog,
            data_dir: data_dir.to_owned(),
            segment_bytes: options.segment_bytes,
            full: recovered.full,
            damaged: recovered.damaged,
            poisoned: None,
            buffer: Vec::new(),
            report: recovered.report,
            lock: Arc::from(lock),
        };
        engine.mark();
        Ok(engine)
    }

    /// What opening found.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// What the log is.
    pub fn meta(&self) -> LogMeta {
        self.catalog.meta.clone()
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    /// What keeps other processes away from the data directory.
    pub(crate) fn lock(&self) -> Arc<dyn DiskLock> {
        self.lock.clone()
    }

    /// Takes nothing any more: somebody else may write here.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.poisoned.get_or_insert_with(|| why.to_owned());
    }

    /// Why the writer takes nothing any more, if it does not.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// Appends frames as one group commit (or more, if they are large); results in the same order, each durable.
    pub fn append_all(&mut self, batches: Vec<Batch>) -> Vec<Result<Appended, AppendError>> {
        let results = self.write_all(batches.into_iter().map(Write::Append).collect());
        let unexpected = || AppendError::Invalid("an append was answered as a claim".into());
        results
            .into_iter()
            .map(|r| r.and_then(|w| if let Flushed::Appended(a) = w { Ok(a) } else { Err(unexpected()) }))
            .collect()
    }

    /// Claims a partition; durable on return.
    pub fn claim(&mut self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        match self
            .write_all(vec![Write::Claim {
                partition,
                owner: owner.to_owned(),
            }])
            .pop()
        {
            Some(Ok(Flushed::Claimed(head))) => Ok(head),
            Some(Err(e)) => Err(e),
            _ => Err(AppendError::Invalid("a claim was answered as an append".into())),
        }
    }

    /// Writes frames and claims in order; results in the same order.
    pub fn write_all(&mut self, writes: Vec<Write>) -> Vec<Result<Flushed, AppendError>> {
        let mut results: Vec<Option<Result<Flushed, AppendError>>> = writes.iter().map(|_| None).collect();
        let mut next = 0;
        while next < writes.len() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            buffer.resize(FLUSH_HEADER, 0);
            let (mut staged, mut ends) = (Vec::new(), BTreeMap::new());
            while next < writes.len() {
                match self.stage(next, &writes[next], &mut ends, &mut buffer) {
                    Ok(frame) => staged.push(frame),
                    Err(refused) => results[next] = Some(Err(refused)),
                }
                next += 1;
                if buffer.len() >= FLUSH_MAX_BYTES {
                    break;
                }
            }
            if !staged.is_empty() {
                match self.commit(&mut buffer, &staged) {
                    Ok(base) => self.publish(base, buffer.len(), &staged, &mut results),
                    Err(e) => staged.iter().for_each(|s| results[s.index] = Some(Err(e.clone()))),
                }
            }
            self.buffer = buffer;
        }
        let lost = || Err(AppendError::Unknown("the write was not answered".into()));
        results.into_iter().map(|r| r.unwrap_or_else(lost)).collect()
    }

    fn next_flush(&self) -> u64 {
        self.catalog.state().next_flush
    }

    fn active(&self) -> (Arc<dyn crate::disk::DiskFile>, u64, u64) {
        let state = self.catalog.state();
        (state.active.file.clone(), state.active.end, state.active.number)
    }

    fn poison(&mut self, error: &io::Error, outcome: fn(String) -> AppendError) -> AppendError {
        let (_, end, number) = self.active();
        let why = format!("{}: {error}", place_text(number, end));
        self.poisoned = Some(why.clone());
        outcome(why)
    }

    /// Notes behind the last flush that it was synced, so that a later tear cannot be mistaken for it. Not synced itself.
    pub fn mark(&mut self) {
        let (file, end, number) = self.active();
        let fits = file.len().is_ok_and(|len| end + FLUSH_HEADER as u64 <= len);
        if self.poisoned.is_some() || self.full || !fits {
            return;
        }
        let mark = FlushHeader {
            body_len: 0,
            frames: 0,
            at: end as u32,
            flush: self.next_flush(),
            segment: number,
        };
        if let Err(e) = file.write_all_at(end, &mark.encode()) {
            self.poison(&e, AppendError::Poisoned);
        }
    }

    /// The durable end of every partition; of one that damage cost its end, the last that was noted, if any.
    pub fn heads(&self) -> Heads {
        self.catalog.heads()
    }

    /// Writes the heads file; the owner calls it each second.
    pub fn write_heads(&self) -> io::Result<()> {
        heads::write(self.catalog.disk.as_ref(), &self.data_dir, &self.heads())
    }

    /// As [`crate::port::Log::read`].
    pub fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        self.catalog.read(partition, from_offset, max_bytes)
    }

    /// As [`crate::port::Log::read_at`].
    pub fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.catalog.read_at(places)
    }

    /// As [`crate::port::Log::head`].
    pub fn head(&self, partition: u16) -> Result<Head, ReadError> {
        self.catalog.head(partition)
    }
}

#[cfg(test)]
mod tests;
