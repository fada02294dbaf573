//! Catching up behind the log, from where the index stopped or from nothing.

use super::{EntryError, Index, IndexEntry, IndexError, Parked, store, tail::Tail};
use crate::port::{FrameRead, Log, ReadError};
use quipu_schemas::{
    digest::Digest,
    ids::StreamId,
    limits::{FRAME_MAX_BYTES, INDEX_CLAIMS_MAX_BYTES, INDEX_TAIL_RECORDS},
    position::Position,
    record,
};
use std::collections::BTreeMap;

/// Bytes asked of the log at once.
const READ_BYTES: usize = 2 * FRAME_MAX_BYTES;

/// How far catching up has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Partition.
    pub partition: u16,
    /// Records indexed since catching up began, over all partitions.
    pub records: u64,
    /// Next offset to index.
    pub next: u64,
    /// The log's end when the partition was begun.
    pub end: u64,
}

/// Hears of each record that was indexed: its stream, its offset, and its stored bytes.
pub type Each<'a> = &'a mut dyn FnMut(&StreamId, u64, &[u8]);

/// Who hears of what is indexed.
struct Hearing<'a> {
    progress: &'a mut dyn FnMut(u64, u64),
    each: Each<'a>,
}

/// Why a partition cannot be indexed any further.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// The log does not read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A record's header does not decode: damage that no stream owns.
    #[error("record {position} is unreadable: {error}")]
    Record {
        /// Where.
        position: Position,
        /// What is wrong.
        error: EntryError,
    },
}

/// What catching up found.
#[derive(Debug, Default)]
pub struct CaughtUp {
    /// Records indexed now.
    pub records: u64,
    /// The index contradicted the log and was built anew from zero.
    pub rebuilt: bool,
    /// Partitions that stop before their end.
    pub stopped: BTreeMap<u16, Unreadable>,
    /// Streams that were parked: a record of theirs does not decode, so its reactions are unknown.
    /// After the cause is mended, [`Index::rebuild`] learns them.
    pub parked: Vec<Parked>,
}

impl Index {
    /// Indexes every partition up to the log's end. To be called before anything is noted. An index that does not
    /// fit the log (it is ahead of it, or its last record is another) is emptied first.
    pub fn catch_up(&self, log: &dyn Log, progress: &mut dyn FnMut(Progress)) -> Result<CaughtUp, IndexError> {
        let mut caught = CaughtUp::default();
        if self.contradicts(log)? {
            self.clear()?;
            caught.rebuilt = true;
        }
        for partition in 0..self.meta.partitions {
            self.read_on(log, partition, progress, &mut |_, _, _| {}, &mut caught)?;
        }
        self.flush_all()?;
        Ok(caught)
    }

    /// Empties the index and builds it from zero. Snapshots and parks go too.
    pub fn rebuild(&self, log: &dyn Log, progress: &mut dyn FnMut(Progress)) -> Result<CaughtUp, IndexError> {
        self.clear()?;
        let caught = self.catch_up(log, progress)?;
        Ok(CaughtUp { rebuilt: true, ..caught })
    }

    fn clear(&self) -> Result<(), IndexError> {
        let mut writer = self.writer()?;
        store::clear(&mut writer)?;
        *self.tail_mut() = Tail::new(&vec![0; usize::from(self.meta.partitions)]);
        Ok(())
    }

    /// Whether a partition's last indexed record is not what the log holds there. Where the log cannot say
    /// because it is damaged, catching up will stop and report.
    fn contradicts(&self, log: &dyn Log) -> Result<bool, IndexError> {
        for (partition, (next, hash)) in (0u16..).zip(self.store.indexed(self.meta.partitions)?) {
            let Some(last) = next.checked_sub(1) else { continue };
            let Ok(head) = log.head(partition) else { continue };
            if head.next_offset < next {
                return Ok(true);
            }
            let Ok(frames) = log.read(partition, last, READ_BYTES) else {
                continue;
            };
            // Claim frames without records may stand before the one that is meant.
            let mut records = frames.iter().flat_map(|frame| (frame.first_offset..).zip(&frame.records));
            if let Some((_, (_, bytes))) = records.find(|(offset, _)| *offset == last)
                && record::claimed_hash(bytes) != Ok(Digest(hash))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Indexes one partition up to the log's end, or to where it is damaged, adding to `caught`: for a shadow, or before a handoff
    /// admits. `each` gets every record that it indexed, once it can be looked up.
    pub fn follow_partition(&self, log: &dyn Log, partition: u16, each: Each<'_>, caught: &mut CaughtUp) -> Result<(), IndexError> {
        self.read_on(log, partition, &mut |_| {}, each, caught)
    }

    fn read_on(
        &self,
        log: &dyn Log,
        partition: u16,
        progress: &mut dyn FnMut(Progress),
        each: Each<'_>,
        caught: &mut CaughtUp,
    ) -> Result<(), IndexError> {
        let (end, damage) = match log.head(partition) {
            Ok(head) => (head.next_offset, None),
            Err(error @ ReadError::Damaged { offset, .. }) => (offset, Some(error.into())),
            Err(error) => (0, Some(error.into())),
        };
        let mut hearing = Hearing {
            progress: &mut |records, next| {
                progress(Progress {
                    partition,
                    records,
                    next,
                    end,
                });
            },
            each,
        };
        let indexed = self.index_until(log, partition, end, caught, &mut hearing)?;
        let stopped = indexed.or(damage);
        caught.stopped.extend(stopped.map(|stopped| (partition, stopped)));
        Ok(())
    }

    fn index_until(
        &self,
        log: &dyn Log,
        partition: u16,
        end: u64,
        caught: &mut CaughtUp,
        hearing: &mut Hearing<'_>,
    ) -> Result<Option<Unreadable>, IndexError> {
        let mut bytes = READ_BYTES;
        loop {
            let next = self.next_offset(partition);
            (hearing.progress)(caught.records, next);
            if next >= end {
                return Ok(None);
            }
            let frames = match log.read(partition, next, bytes) {
                Ok(frames) => frames,
                Err(error) => return Ok(Some(error.into())),
            };
            for frame in frames {
                if let Some(stopped) = self.index_frame(partition, next, &frame, hearing.each, caught)? {
                    return Ok(Some(stopped));
                }
                if self.tail_len() >= INDEX_TAIL_RECORDS {
                    self.flush(INDEX_TAIL_RECORDS)?;
                }
            }
            if self.next_offset(partition) > next {
                bytes = READ_BYTES;
            } else if bytes < INDEX_CLAIMS_MAX_BYTES {
                // Claim frames only, perhaps, of a partition that was claimed over and over: look past them.
                bytes *= 8;
            } else {
                // The log says that there is more and gives nothing: a hole. Never skipped.
                let (at, detail) = ("end of what it gives".into(), format!("it announces records up to {end}"));
                return Ok(Some(
                    ReadError::Damaged {
                        partition,
                        offset: next,
                        at,
                        detail,
                    }
                    .into(),
                ));
            }
        }
    }

    /// Notes a frame's records from `next` on, up to one that nobody can read.
    fn index_frame(
        &self,
        partition: u16,
        next: u64,
        frame: &FrameRead,
        each: Each<'_>,
        caught: &mut CaughtUp,
    ) -> Result<Option<Unreadable>, IndexError> {
        for (offset, (place, bytes)) in (frame.first_offset..).zip(&frame.records).filter(|(offset, _)| *offset >= next) {
            let position = Position {
                partition,
                offset,
                index: 0,
            };
            let entry = match IndexEntry::read(offset, *place, bytes) {
                Ok(entry) => entry,
                Err(EntryError::Body { entry, error }) => {
                    let parked = Parked {
                        stream: entry.stream.clone(),
                        position,
                        detail: error.to_string(),
                    };
                    self.park(&parked)?;
                    caught.parked.push(parked);
                    *entry
                }
                Err(error @ EntryError::Header(_)) => return Ok(Some(Unreadable::Record { position, error })),
            };
            let stream = entry.stream.clone();
            self.note_durable(partition, vec![entry])?;
            caught.records += 1;
            each(&stream, offset, bytes);
        }
        Ok(None)
    }
}
