//! Where every durable frame is, shared by the writer and its readers.

use super::{
    chain::{Chain, Stop},
    scan::{Found, Synced, Window, scan},
    segment::{SEGMENT_HEADER, SegmentHeader, segment_header, segment_path, sidecar_path},
    sidecar::{FrameAt, Layout, Span, Summary, decode_frames, decode_summary, encode},
};
use crate::{
    disk::{Disk, DiskFile, read_all},
    frame,
    heads::{HeadEntry, Heads},
    port::{FrameRead, Head, LogMeta, Place, ReadError},
};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use quipu_schemas::{limits::LOG_READ_MAX_BYTES, position::LogId, record::check_hash};
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

    pub(crate) fn read(&self, partition: u16, from: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let p = usize::from(partition);
        let (mut segment, limit) = {
            let state = self.state();
            let head = state.heads.get(p).ok_or_else(|| no_partition(partition))?;
            let limit = match &state.stops[p] {
                Some(stop) if from >= stop.offset => return Err(damaged(partition, stop)),
                Some(stop) => stop.offset,
                None if from >= head.next_offset => return Ok(Vec::new()),
                None => head.next_offset,
            };
            // The first segment that ends at `from` or later: claims just before the wanted frame may end the one before.
            let index = state.sealed.partition_point(|s| s.spans[p].end.next_offset < from);
            (state.sealed.get(index).map_or(state.active.number, |s| s.number), limit)
        };
        let (mut frames, mut whole, mut bytes, mut next): (Vec<FrameRead>, usize, usize, Option<u64>) = (Vec::new(), 0, 0, None);
        loop {
            let (last, (wanted, size), file) = self.wanted(segment, p, from, limit, max_bytes.saturating_sub(bytes))?;
            bytes += size;
            for run in runs(&wanted) {
                match self.read_run(partition, segment, &file, run, &mut next, from) {
                    Ok(more) => {
                        for frame in more {
                            frames.push(frame);
                            if frames.last().is_some_and(|f| f.owner.is_none()) {
                                whole = frames.len();
                            }
                        }
                    }
                    Err((before, error)) => {
                        frames.extend(before);
                        while frames.last().is_some_and(|f| f.owner.is_some()) {
                            frames.pop();
                        }
                        return if frames.is_empty() { Err(error) } else { Ok(frames) };
                    }
                }
            }
            if last || (whole > 0 && bytes >= max_bytes) {
                break;
            }
            segment += 1;
        }
        // A claim is returned with the frame that follows it.
        frames.truncate(whole);
        if frames.is_empty() && from < limit {
            let stop = Stop {
                offset: from,
                at: place_text(segment, 0),
                detail: "no frame holds this offset".into(),
            };
            return Err(self.stop(partition, stop));
        }
        Ok(frames)
    }

    /// The frames of a segment that a read wants, with their bytes, and whether it is the last segment.
    fn wanted(&self, segment: u64, p: usize, from: u64, limit: u64, budget: usize) -> Result<(bool, Picked, Arc<dyn DiskFile>), ReadError> {
        {
            let state = self.state();
            if segment >= state.active.number {
                let frames = pick(&state.active.layout.frames[p], from, limit, budget);
                return Ok((true, frames, state.active.file.clone()));
            }
        }
        let (file, frames) = self.sealed(segment).map_err(io_error)?;
        Ok((false, pick(&frames[p], from, limit, budget), file))
    }
    /// On damage: the frames before it, and what it is.
    fn read_run(
        &self,
        partition: u16,
        segment: u64,
        file: &Arc<dyn DiskFile>,
        run: &[FrameAt],
        next: &mut Option<u64>,
        from: u64,
    ) -> Result<Vec<FrameRead>, (Vec<FrameRead>, ReadError)> {
        let (start, end) = (u64::from(run[0].at), run.last().map_or(0, |f| u64::from(f.at) + u64::from(f.len)));
        let mut bytes = vec![0; (end - start) as usize];
        let got = file.read_at(start, &mut bytes).map_err(|e| (Vec::new(), io_error(e)))?;
        let mut frames = Vec::with_capacity(run.len());
        for frame in run {
            let at = (u64::from(frame.at) - start) as usize;
            let piece = &bytes[at.min(got)..(at + frame.len as usize).min(got)];
            let found = frame::decode(piece).map_err(|e| e.to_string()).and_then(|decoded| {
                let header = &decoded.header;
                let same = header.partition == partition && header.first_offset == frame.first_offset && header.log_id == self.meta.log_id;
                let follows = next.map_or(frame.first_offset <= from, |n| n == frame.first_offset);
                match (same, follows) {
                    (true, true) => Ok(decoded),
                    (false, _) => Err("another frame than the one written here".to_owned()),
                    (true, false) => Err(format!(
                        "frame begins at offset {} where {} should follow",
                        frame.first_offset,
                        next.unwrap_or(from)
                    )),
                }
            });
            match found {
                Ok(decoded) => {
                    *next = Some(frame.end());
                    frames.push(frame_read(segment, u64::from(frame.at), &decoded, piece));
                }
                Err(detail) => {
                    let offset = next.unwrap_or(frame.first_offset).min(frame.first_offset);
                    let stop = Stop {
                        offset,
                        at: place_text(segment, u64::from(frame.at)),
                        detail,
                    };
                    return Err((frames, self.stop(partition, stop)));
                }
            }
        }
        Ok(frames)
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

    /// A sealed segment, opened, with its layout.
    fn sealed(&self, segment: u64) -> io::Result<OpenSegment> {
        let file = self.file(segment)?;
        if let Some(frames) = recent(&self.layouts, segment) {
            return Ok((file, frames));
        }
        let bytes = read_all(self.disk.as_ref(), &sidecar_path(&self.log_dir, segment)).unwrap_or_default();
        let summary = decode_summary(&bytes, self.meta.partitions)
            .filter(|s| s.log_id == self.meta.log_id && s.segment == segment && Some(&s.spans) == self.spans(segment).as_ref());
        let frames = match summary.and_then(|s| decode_frames(&bytes, &s)) {
            Some(frames) => frames,
            None => self.rebuild(segment, &file)?,
        };
        let frames = Arc::new(frames);
        keep(&self.layouts, segment, frames.clone(), KEPT_LAYOUTS);
        Ok((file, frames))
    }

    fn spans(&self, segment: u64) -> Option<Vec<Span>> {
        self.state().sealed.iter().find(|s| s.number == segment).map(|s| s.spans.clone())
    }

    /// Finds the frames of a segment again whose sidecar is missing or wrong.
    fn rebuild(&self, segment: u64, file: &Arc<dyn DiskFile>) -> io::Result<Vec<Vec<FrameAt>>> {
        let partitions = self.meta.partitions;
        let starts = self.spans(segment).unwrap_or_default();
        let mut chain = Chain::new(partitions);
        for (link, span) in chain.links.iter_mut().zip(&starts) {
            link.head = span.start;
        }
        let following = segment_header(self.disk.as_ref(), &self.log_dir, segment + 1).ok().flatten();
        let synced = Synced::of(segment, following.filter(|h| h.log_id == self.meta.log_id).as_ref(), None);
        let scanned = scan_layout(file, segment, None, synced, &mut chain, self.meta.log_id)?;
        if scanned.clean {
            write_sidecar(
                self.disk.as_ref(),
                &self.log_dir,
                &scanned.summary(self.meta.log_id, segment),
                &scanned.layout,
            );
        }
        Ok(scanned.layout.frames)
    }

    /// Forgets nothing, remembers a segment that was sealed with this layout.
    pub(crate) fn keep_open(&self, number: u64, file: Arc<dyn DiskFile>, layout: Layout) {
        keep(&self.files, number, file, OPEN_SEGMENTS);
        keep(&self.layouts, number, Arc::new(layout.frames), KEPT_LAYOUTS);
    }

    pub(crate) fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|i| (places[*i].unit, places[*i].at));
        let mut records = vec![Vec::new(); places.len()];
        let mut rest = order.as_slice();
        while let Some(&first) = rest.first() {
            let (unit, start) = (places[first].unit, u64::from(places[first].at));
            let (mut end, mut count) = (start, 0);
            for &i in rest {
                let (at, to) = (u64::from(places[i].at), u64::from(places[i].at) + u64::from(places[i].len));
                if places[i].unit != unit || at > end + SKIP || (count > 0 && to - start > LOG_READ_MAX_BYTES) {
                    break;
                }
                end = end.max(to);
                count += 1;
            }
            let file = {
                let state = self.state();
                (unit >= state.active.number).then(|| state.active.file.clone())
            };
            let file = match file {
                Some(file) => file,
                None => self.file(unit).map_err(io_error)?,
            };
            let mut bytes = vec![0; (end - start) as usize];
            let got = file.read_at(start, &mut bytes).map_err(io_error)?;
            let (group, after) = rest.split_at(count);
            for &i in group {
                let at = (u64::from(places[i].at) - start) as usize;
                let record = &bytes[at.min(got)..(at + places[i].len as usize).min(got)];
                check_hash(record)?;
                records[i] = record.to_vec();
            }
            rest = after;
        }
        Ok(records)
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

/// A segment as scanned onto a chain.
pub(crate) struct ScannedLayout {
    pub(crate) layout: Layout,
    pub(crate) end: u64,
    pub(crate) next_flush: u64,
    pub(crate) tail: Option<(u64, u64, String)>,
    /// Nothing in it is damaged.
    pub(crate) clean: bool,
    pub(crate) notes: Vec<String>,
}

impl ScannedLayout {
    pub(crate) fn summary(&self, log_id: LogId, segment: u64) -> Summary {
        Summary {
            log_id,
            segment,
            bytes: self.end,
            next_flush: self.next_flush,
            spans: self.layout.spans.clone(),
        }
    }
}

/// Scans a segment, stopping the partitions that its damage stops. A tail is left to the caller.
///
/// `next_flush` is the number that its first flush should have, if that is known.
pub(crate) fn scan_layout(
    file: &Arc<dyn DiskFile>,
    segment: u64,
    next_flush: Option<u64>,
    synced: Synced,
    chain: &mut Chain,
    log_id: LogId,
) -> io::Result<ScannedLayout> {
    let mut window = Window::new(file.clone())?;
    let header = SegmentHeader::decode(window.bytes(0, SEGMENT_HEADER)?).filter(|h| h.segment == segment && h.log_id == log_id);
    let mut layout = Layout::new(chain.links.iter().map(|l| l.head));
    let mut notes = Vec::new();
    if header.is_none() {
        notes.push(format!("{}: segment header is damaged", place_text(segment, 0)));
    }
    if let (Some(header), Some(next)) = (header, next_flush.filter(|next| header.is_some_and(|h| h.first_flush != *next))) {
        let detail = format!("begins with flush {} where flush {next} should follow", header.first_flush);
        notes.push(format!("{}: {detail}", place_text(segment, 0)));
        chain.suspect_all(segment, 0, &detail);
    }
    let scanned = scan(
        &mut window,
        segment,
        header.map(|h| h.first_flush).or(next_flush),
        synced,
        &mut |found| match found {
            Found::Frame { at, frame, .. } => {
                let partition = frame.header.partition;
                if chain.links.get(usize::from(partition)).is_some_and(|l| l.stop.is_some()) {
                    return;
                }
                match chain.check(frame, log_id) {
                    Ok(()) => {
                        chain.advance(frame);
                        let place = FrameAt {
                            first_offset: frame.header.first_offset,
                            at: at as u32,
                            len: frame.len as u32,
                            count: frame.records.len() as u32,
                        };
                        layout.push(partition, place, chain.links[usize::from(partition)].head);
                    }
                    Err(detail) => {
                        notes.push(format!("{}: {detail}", place_text(segment, at)));
                        chain.stop(partition, place_text(segment, at), detail);
                    }
                }
            }
            Found::Gap {
                from,
                to,
                detail,
                partition,
            } => {
                notes.push(format!("{} to {to}: {detail}", place_text(segment, from)));
                match partition {
                    Some(partition) => chain.stop(partition, place_text(segment, from), detail),
                    None => chain.suspect_all(segment, from, &detail),
                }
            }
            Found::Scratch { from, to, detail } => notes.push(format!("{} to {to}: {detail}; nothing lost", place_text(segment, from))),
        },
    )?;
    let clean = notes.is_empty() && scanned.tail.is_none();
    Ok(ScannedLayout {
        layout,
        end: scanned.end,
        next_flush: scanned.next_flush,
        tail: scanned.tail,
        clean,
        notes,
    })
}

/// Writes a sidecar; a failure costs only the next reader a scan.
pub(crate) fn write_sidecar(disk: &dyn Disk, log_dir: &std::path::Path, summary: &Summary, layout: &Layout) {
    let path = sidecar_path(log_dir, summary.segment);
    let draft = path.with_extension("idx-tmp");
    let written = disk
        .create(&draft)
        .and_then(|file| file.write_all_at(0, &encode(summary, &layout.frames)))
        .and_then(|()| disk.rename(&draft, &path));
    if written.is_err() {
        // A half-written draft is never read, and the sidecar is derived.
        let _ = disk.remove(&draft);
    }
}

#[cfg(test)]
mod tests;
