//! The writer: frames of all partitions, one write and one sync a group.

use super::{
    EmbeddedOptions, OpenError, OpenReport,
    catalog::{Active, Catalog, Sealed, place_text, write_sidecar},
    recover::{create_segment, recover},
    segment::{FLUSH_HEADER, FlushHeader, SEGMENT_HEADER, SegmentHeader},
    sidecar::{FrameAt, Layout, Summary},
};
use crate::{
    disk::{Disk, DiskLock, LockError},
    frame::{self, FrameHeader},
    heads::{self, Heads},
    memory::claim_header,
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

    fn stage(&self, index: usize, write: &Write, ends: &mut BTreeMap<u16, Head>, buffer: &mut Vec<u8>) -> Result<Staged, AppendError> {
        if let Some(why) = &self.poisoned {
            return Err(AppendError::Poisoned(why.clone()));
        }
        let partition = match write {
            Write::Append(batch) => batch.partition,
            Write::Claim { partition, .. } => *partition,
        };
        let head = match ends.get(&partition) {
            Some(head) => *head,
            None => self.end_of(partition)?,
        };
        let meta = &self.catalog.meta;
        let (header, records): (_, &[_]) = match write {
            Write::Claim { owner, .. } => (claim_header(meta.log_id, meta.generation, partition, head, owner), &[]),
            Write::Append(batch) => {
                if batch.epoch < head.epoch {
                    return Err(AppendError::Fenced {
                        partition,
                        epoch: head.epoch,
                    });
                }
                if batch.epoch != head.epoch || batch.first_offset != head.next_offset || batch.previous != head.frame_hash {
                    return Err(AppendError::Conflict {
                        partition,
                        expected: head.next_offset,
                    });
                }
                let header = FrameHeader {
                    log_id: meta.log_id,
                    generation: meta.generation,
                    partition,
                    epoch: batch.epoch,
                    batch_id: batch.batch_id,
                    first_offset: batch.first_offset,
                    previous: batch.previous,
                    owner: None,
                };
                (header, &batch.records)
            }
        };
        let encoded = frame::encode_onto(buffer, &header, records.iter().map(|r| r.bytes.as_slice()))
            .map_err(|e| AppendError::Invalid(e.to_string()))?;
        let count = records.len() as u32;
        let head = Head {
            epoch: header.epoch,
            next_offset: header.first_offset + u64::from(count),
            frame_hash: encoded.hash,
        };
        ends.insert(partition, head);
        let frame = FrameAt {
            first_offset: header.first_offset,
            at: encoded.range.start as u32,
            len: encoded.range.len() as u32,
            count,
        };
        Ok(Staged {
            index,
            partition,
            head,
            frame,
            records: encoded.records,
            claim: count == 0,
        })
    }

    fn end_of(&self, partition: u16) -> Result<Head, AppendError> {
        let state = self.catalog.state();
        let p = usize::from(partition);
        let head = *state
            .heads
            .get(p)
            .ok_or_else(|| AppendError::Invalid(format!("no such partition: {partition}")))?;
        match &state.stops[p] {
            Some(stop) => {
                let detail = format!(
                    "partition {partition} is damaged at offset {} ({}): {}",
                    stop.offset, stop.at, stop.detail
                );
                Err(AppendError::Poisoned(detail))
            }
            None => Ok(head),
        }
    }

    /// Writes and syncs a flush; the byte where it begins.
    fn commit(&mut self, buffer: &mut [u8], staged: &[Staged]) -> Result<u64, AppendError> {
        let (mut file, mut end, mut number) = self.active();
        let len = buffer.len() as u64;
        let room = self
            .segment_bytes
            .max(file.len().map_err(|e| self.poison(&e, AppendError::Poisoned))?);
        if self.full || (end + len > room && end > SEGMENT_HEADER as u64) || end + len > u64::from(u32::MAX) {
            self.roll(len)?;
            (file, end, number) = self.active();
        }
        let header = FlushHeader {
            body_len: (buffer.len() - FLUSH_HEADER) as u32,
            frames: staged.len() as u32,
            at: end as u32,
            flush: self.next_flush(),
            segment: number,
        };
        buffer[..FLUSH_HEADER].copy_from_slice(&header.encode());
        if let Err(e) = file.write_all_at(end, buffer) {
            // Only where space could not be reserved. Nothing may be left of it that a later open would find whole.
            if is_full(&e) && file.set_len(end).and_then(|()| file.sync_data()).is_ok() {
                self.full = true;
                return Err(AppendError::Full);
            }
            return Err(self.poison(&e, AppendError::Unknown));
        }
        // Never again on this handle: a second sync would succeed without the bytes that the first one lost.
        file.sync_data().map_err(|e| self.poison(&e, AppendError::Unknown))?;
        Ok(end)
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

    /// Begins the next segment. Until it is durable, file and name, nothing is written to it.
    fn roll(&mut self, flush_len: u64) -> Result<(), AppendError> {
        // A name in a directory that is not this one's any more would begin another log there.
        if let Err(why) = self.lock.check() {
            self.give_up(&why);
            return Err(AppendError::Poisoned(why));
        }
        let (old, end, number) = self.active();
        let meta = &self.catalog.meta;
        let header = SegmentHeader {
            log_id: meta.log_id,
            generation: meta.generation,
            partitions: meta.partitions,
            segment: number + 1,
            first_flush: self.next_flush(),
        };
        let bytes = self.segment_bytes.max(SEGMENT_HEADER as u64 + flush_len);
        let file = match create_segment(self.catalog.disk.as_ref(), &self.catalog.log_dir, &header, bytes) {
            Ok(file) => file,
            Err(e) if is_full(&e) => return Err(AppendError::Full),
            Err(e) => return Err(self.poison(&e, AppendError::Poisoned)),
        };
        self.full = false;
        let damaged = std::mem::take(&mut self.damaged);
        let layout = {
            let mut state = self.catalog.change();
            let layout = Layout::new(state.heads.clone().into_iter());
            let active = Active {
                number: number + 1,
                file,
                end: SEGMENT_HEADER as u64,
                layout,
            };
            let sealed = std::mem::replace(&mut state.active, active);
            state.sealed.push(Sealed {
                number,
                bytes: end,
                spans: sealed.layout.spans.clone(),
            });
            sealed.layout
        };
        if !damaged {
            // Gives back what was reserved; a failure costs space, not data.
            let _ = old.set_len(end);
            let summary = Summary {
                log_id: header.log_id,
                segment: number,
                bytes: end,
                next_flush: self.next_flush(),
                spans: layout.spans.clone(),
            };
            write_sidecar(self.catalog.disk.as_ref(), &self.catalog.log_dir, &summary, &layout);
        }
        self.catalog.keep_open(number, old, layout);
        Ok(())
    }

    fn publish(&self, base: u64, len: usize, staged: &[Staged], results: &mut [Option<Result<Flushed, AppendError>>]) {
        let mut state = self.catalog.change();
        let number = state.active.number;
        state.active.end = base + len as u64;
        state.next_flush += 1;
        for frame in staged {
            state.heads[usize::from(frame.partition)] = frame.head;
            let place = FrameAt {
                at: base as u32 + frame.frame.at,
                ..frame.frame
            };
            state.active.layout.push(frame.partition, place, frame.head);
            let places = frame.records.iter().map(|r| Place {
                unit: number,
                at: (base + r.start as u64) as u32,
                len: r.len() as u32,
            });
            results[frame.index] = Some(Ok(if frame.claim {
                Flushed::Claimed(frame.head)
            } else {
                Flushed::Appended(Appended {
                    frame_hash: frame.head.frame_hash,
                    places: places.collect(),
                })
            }));
        }
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
