//! Where frames lie in a segment that has no sidecar yet.

use super::super::{
    chain::Chain,
    scan::{Found, Synced, Window, scan},
    segment::{SEGMENT_HEADER, SegmentHeader, sidecar_path},
    sidecar::{FrameAt, Layout, Summary, encode},
};
use super::place_text;
use crate::disk::{Disk, DiskFile};
use quipu_schemas::position::LogId;
use std::{io, sync::Arc};

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
