//! Reads by offset and by place.

use super::super::{
    chain::{Chain, Stop},
    scan::Synced,
    segment::{segment_header, sidecar_path},
    sidecar::{FrameAt, decode_frames, decode_summary},
};
use super::{
    Catalog, KEPT_LAYOUTS, OpenSegment, Picked, SKIP, damaged, frame_read, io_error, keep,
    layout::{scan_layout, write_sidecar},
    no_partition, pick, place_text, recent, runs,
};
use crate::{
    disk::{DiskFile, read_all},
    frame,
    port::{FrameRead, Place, ReadError},
};
use quipu_schemas::{limits::LOG_READ_MAX_BYTES, record::check_hash};
use std::{io, sync::Arc};

impl Catalog {
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
    pub(super) fn wanted(
        &self,
        segment: u64,
        p: usize,
        from: u64,
        limit: u64,
        budget: usize,
    ) -> Result<(bool, Picked, Arc<dyn DiskFile>), ReadError> {
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
    pub(super) fn read_run(
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

    /// A sealed segment, opened, with its layout.
    pub(super) fn sealed(&self, segment: u64) -> io::Result<OpenSegment> {
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

    /// Finds the frames of a segment again whose sidecar is missing or wrong.
    pub(super) fn rebuild(&self, segment: u64, file: &Arc<dyn DiskFile>) -> io::Result<Vec<Vec<FrameAt>>> {
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
