//! Where every durable frame is, shared by the writer and its readers.

mod layout;
mod reading;

use super::{
    chain::Stop,
    segment::segment_path,
    sidecar::{FrameAt, Layout, Span},
};
use crate::{
    disk::{Disk, DiskFile},
    frame,
    heads::{HeadEntry, Heads},
    port::{FrameRead, Head, LogMeta, Place, ReadError},
};
pub(crate) use layout::{ScannedLayout, scan_layout, write_sidecar};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use quipu_schemas::limits::LOG_READ_MAX_BYTES;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
};

/// Sealed segments whose files stay open: whoever asks for a record by its place needs no more.
const OPEN_SEGMENTS: usize = 16;
/// Sealed segments whose layouts stay in memory: more than a megabyte each where frames are small.
const KEPT_LAYOUTS: usize = 4;
/// Bytes between two wanted pieces that are read rather than skipped.
const SKIP: u64 = 16 * 1024;

/// What is known of a segment without opening it.
pub(crate) struct Sealed {
    pub(crate) number: u64,
    /// Durable bytes.
    pub(crate) bytes: u64,
    pub(crate) spans: Vec<Span>,
}

/// The segment that is being written.
pub(crate) struct Active {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Durable bytes.
    pub(crate) end: u64,
    pub(crate) layout: Layout,
}

pub(crate) struct State {
    pub(crate) heads: Vec<Head>,
    pub(crate) stops: Vec<Option<Stop>>,
    /// Partitions that were stopped when the log was opened: their end here is not where they ended. With it, the head
    /// noted further on, if one was.
    pub(crate) cut: BTreeMap<u16, Option<HeadEntry>>,
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) active: Active,
    /// Number of the next flush.
    pub(crate) next_flush: u64,
}

/// Frames, and the bytes of all of them.
type Picked = (Vec<FrameAt>, usize);
type Layouts = Arc<Vec<Vec<FrameAt>>>;
type OpenSegment = (Arc<dyn DiskFile>, Layouts);

/// Where every durable frame is.
pub(crate) struct Catalog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log_dir: PathBuf,
    pub(crate) meta: LogMeta,
    state: RwLock<State>,
    files: Recent<Arc<dyn DiskFile>>,
    layouts: Recent<Layouts>,
}

fn io_error(e: io::Error) -> ReadError {
    ReadError::Io(e.to_string())
}

pub(crate) fn place_text(segment: u64, byte: u64) -> String {
    format!("segment {segment:016}.seg byte {byte}")
}

impl Catalog {
    pub(crate) fn new(disk: Arc<dyn Disk>, log_dir: PathBuf, meta: LogMeta, state: State) -> Self {
        Self {
            disk,
            log_dir,
            meta,
            state: RwLock::new(state),
            files: Recent::default(),
            layouts: Recent::default(),
        }
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    pub(crate) fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }

    /// The durable end of every partition and of the log, at one moment.
    pub(crate) fn heads(&self) -> Heads {
        self.heads_of(&self.state())
    }

    /// The same, of a state that is held. Of a partition that lost its end, what was noted of it before or nothing: its
    /// head as found would prove, to the next who opens the log, that nothing is missing.
    pub(crate) fn heads_of(&self, state: &State) -> Heads {
        let entries = (0u16..)
            .zip(&state.heads)
            .filter_map(|(partition, head)| match state.cut.get(&partition) {
                Some(noted) => *noted,
                None => Some(HeadEntry {
                    generation: self.meta.generation,
                    partition,
                    offset: head.next_offset,
                    frame_hash: head.frame_hash,
                }),
            });
        Heads {
            log_id: self.meta.log_id,
            synced: (state.active.number, state.active.end),
            entries: entries.collect(),
        }
    }

    pub(crate) fn head(&self, partition: u16) -> Result<Head, ReadError> {
        let state = self.state();
        let p = usize::from(partition);
        let head = state.heads.get(p).ok_or_else(|| no_partition(partition))?;
        match &state.stops[p] {
            Some(stop) => Err(damaged(partition, stop)),
            None => Ok(*head),
        }
    }

    /// Stops a partition where its damage was met.
    fn stop(&self, partition: u16, stop: Stop) -> ReadError {
        let mut state = self.change();
        damaged(partition, state.stops[usize::from(partition)].get_or_insert(stop))
    }

    /// A sealed segment's file.
    fn file(&self, segment: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = recent(&self.files, segment) {
            return Ok(file);
        }
        let file = self.disk.open_read(&segment_path(&self.log_dir, segment))?;
        keep(&self.files, segment, file.clone(), OPEN_SEGMENTS);
        Ok(file)
    }

    fn spans(&self, segment: u64) -> Option<Vec<Span>> {
        self.state().sealed.iter().find(|s| s.number == segment).map(|s| s.spans.clone())
    }

    /// Forgets nothing, remembers a segment that was sealed with this layout.
    pub(crate) fn keep_open(&self, number: u64, file: Arc<dyn DiskFile>, layout: Layout) {
        keep(&self.files, number, file, OPEN_SEGMENTS);
        keep(&self.layouts, number, Arc::new(layout.frames), KEPT_LAYOUTS);
    }
}

/// What was used last comes first; by segment.
type Recent<T> = Mutex<VecDeque<(u64, T)>>;

fn recent<T: Clone>(kept: &Recent<T>, segment: u64) -> Option<T> {
    let mut kept = kept.lock();
    let entry = kept
        .iter()
        .position(|(number, _)| *number == segment)
        .and_then(|at| kept.remove(at))?;
    let found = entry.1.clone();
    kept.push_front(entry);
    Some(found)
}

fn keep<T>(kept: &Recent<T>, segment: u64, value: T, most: usize) {
    let mut kept = kept.lock();
    // Somebody else may have opened it meanwhile.
    kept.retain(|(number, _)| *number != segment);
    kept.push_front((segment, value));
    kept.truncate(most);
}

fn no_partition(partition: u16) -> ReadError {
    ReadError::Io(format!("no such partition: {partition}"))
}

fn damaged(partition: u16, stop: &Stop) -> ReadError {
    ReadError::Damaged {
        partition,
        offset: stop.offset,
        at: stop.at.clone(),
        detail: stop.detail.clone(),
    }
}

/// The frames from `from` up to `limit`, about `budget` bytes of them, with the claims between; and their bytes.
fn pick(frames: &[FrameAt], from: u64, limit: u64, budget: usize) -> (Vec<FrameAt>, usize) {
    let (mut out, mut bytes) = (Vec::new(), 0);
    let start = frames.partition_point(|f| f.end() < from);
    for frame in &frames[start..] {
        if (frame.count > 0 && frame.end() <= from) || frame.first_offset >= limit {
            continue;
        }
        out.push(*frame);
        bytes += frame.len as usize;
        if frame.count > 0 && bytes >= budget {
            break;
        }
    }
    (out, bytes)
}

/// Groups frames that lie close together.
fn runs(frames: &[FrameAt]) -> impl Iterator<Item = &[FrameAt]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let mut count = 1;
        for pair in rest.windows(2) {
            let end = u64::from(pair[0].at) + u64::from(pair[0].len);
            let next_end = u64::from(pair[1].at) + u64::from(pair[1].len);
            if u64::from(pair[1].at) > end + SKIP || next_end - u64::from(first.at) > LOG_READ_MAX_BYTES {
                break;
            }
            count += 1;
        }
        let (run, after) = rest.split_at(count);
        rest = after;
        Some(run)
    })
}

fn frame_read(segment: u64, at: u64, decoded: &frame::Decoded, bytes: &[u8]) -> FrameRead {
    let records = decoded.records.iter().map(|range| {
        let place = Place {
            unit: segment,
            at: (at + range.start as u64) as u32,
            len: range.len() as u32,
        };
        (place, bytes[range.clone()].to_vec())
    });
    FrameRead {
        generation: decoded.header.generation,
        partition: decoded.header.partition,
        epoch: decoded.header.epoch,
        batch_id: decoded.header.batch_id,
        first_offset: decoded.header.first_offset,
        previous: decoded.header.previous,
        hash: decoded.hash,
        owner: decoded.header.owner.clone(),
        records: records.collect(),
    }
}

#[cfg(test)]
mod tests;
