//! Reading a segment from its beginning, past whatever is damaged in it.

use super::segment::{FLUSH_HEADER, FLUSH_MAGIC, FlushHeader, SEGMENT_HEADER, SegmentHeader};
use crate::{
    disk::DiskFile,
    frame::{self, Decoded, FrameError},
    heads::Heads,
};
use std::{io, sync::Arc};

const CHUNK: usize = 4 * 1024 * 1024;

/// A part of a file in memory, moved along as it is read.
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    len: u64,
    start: u64,
    buf: Vec<u8>,
    filled: usize,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self {
            file,
            len,
            start: 0,
            buf: Vec::new(),
            filled: 0,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Up to `want` bytes from `at`; fewer only at the end of the file.
    pub(crate) fn bytes(&mut self, at: u64, want: usize) -> io::Result<&[u8]> {
        let want = want.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let inside = at >= self.start && at + want as u64 <= self.start + self.filled as u64;
        if !inside {
            let size = want.max(CHUNK).min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(CHUNK));
            if self.buf.len() < size {
                self.buf.resize(size, 0);
            }
            self.filled = self.file.read_at(at, &mut self.buf[..size])?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(&self.buf[from.min(self.filled)..(from + want).min(self.filled)])
    }

    /// The first and last byte that is not zero, from `at` on.
    fn nonzero(&mut self, at: u64) -> io::Result<Option<(u64, u64)>> {
        let (mut pos, mut found) = (at, None);
        while pos < self.len {
            let bytes = self.bytes(pos, CHUNK)?;
            if let Some(first) = bytes.iter().position(|b| *b != 0) {
                let last = bytes.iter().rposition(|b| *b != 0).unwrap_or(first);
                found = Some((found.map_or(pos + first as u64, |(f, _)| f), pos + last as u64));
            }
            match bytes.len() {
                0 => break,
                n => pos += n as u64,
            }
        }
        Ok(found)
    }

    /// The next place from `at` on where a header is that knows it is there.
    fn resync(&mut self, segment: u64, at: u64) -> io::Result<Option<u64>> {
        let mut pos = at;
        while pos < self.len {
            let bytes = self.bytes(pos, CHUNK)?;
            let step = bytes.len();
            let mut from = 0;
            while let Some(found) = find(&bytes[from..], &FLUSH_MAGIC) {
                let place = from + found;
                if place + FLUSH_HEADER > step {
                    break;
                }
                if FlushHeader::decode(&bytes[place..], segment, pos + place as u64).is_some() {
                    return Ok(Some(pos + place as u64));
                }
                from = place + 1;
            }
            if step < FLUSH_HEADER {
                break;
            }
            pos += (step - FLUSH_HEADER + 1) as u64;
        }
        Ok(None)
    }
}

fn find(bytes: &[u8], what: &[u8; 4]) -> Option<usize> {
    bytes.windows(4).position(|w| w == what)
}

/// What is known from elsewhere than a segment itself to have been synced in it. A broken flush that it covers is damage,
/// never a torn write, although nothing stands behind it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Synced {
    /// Flushes of lower numbers: the writer begins a segment only when what it wrote to the one before is synced.
    flush: u64,
    /// Bytes before this one: the mark in the heads file.
    byte: u64,
}

impl Synced {
    /// By the header of the segment that follows, if it can be read, and by the heads file. No other segment's header
    /// says it: the number of a write that was taken back is used again.
    pub(crate) fn of(segment: u64, following: Option<&SegmentHeader>, heads: Option<&Heads>) -> Self {
        Self {
            flush: following.filter(|h| h.segment == segment + 1).map_or(0, |h| h.first_flush),
            byte: heads.filter(|h| h.synced.0 == segment).map_or(0, |h| h.synced.1),
        }
    }

    fn covers(&self, flush: Option<u64>, at: u64) -> bool {
        at < self.byte || flush.is_some_and(|flush| flush < self.flush)
    }
}

/// What a scan meets, in file order.
pub(crate) enum Found<'a> {
    /// An intact frame.
    Frame { at: u64, frame: &'a Decoded, bytes: &'a [u8] },
    /// Bytes that hold no intact frame; `partition` if a header tells whose they were.
    Gap {
        from: u64,
        to: u64,
        detail: String,
        partition: Option<u16>,
    },
    /// Damage that cost no frame.
    Scratch { from: u64, to: u64, detail: String },
}

/// How a segment ends.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Where the next flush goes.
    pub(crate) end: u64,
    /// Number of the next flush.
    pub(crate) next_flush: u64,
    /// Bytes past the last intact flush that nothing proves to have been synced.
    pub(crate) tail: Option<(u64, u64, String)>,
}

enum Piece {
    Frame {
        at: usize,
        frame: Decoded,
    },
    Gap {
        from: usize,
        to: usize,
        detail: String,
        partition: Option<u16>,
    },
}

/// Decodes the frames of a flush body; what is not a frame becomes a gap.
fn pieces(body: &[u8]) -> (Vec<Piece>, usize) {
    let (mut out, mut at, mut broken) = (Vec::new(), 0, 0);
    while at < body.len() {
        match frame::decode(&body[at..]) {
            Ok(frame) => {
                let len = frame.len;
                out.push(Piece::Frame { at, frame });
                at += len;
            }
            Err(error) => {
                broken += 1;
                let peeked = frame::peek(&body[at..]).ok().filter(|p| at + p.len <= body.len());
                let to = match &peeked {
                    Some(peeked) => at + peeked.len,
                    None => next_frame(body, at + 1),
                };
                let partition = peeked
                    .filter(|_| matches!(error, FrameError::Crc | FrameError::Records))
                    .map(|p| p.header.partition);
                out.push(Piece::Gap {
                    from: at,
                    to,
                    detail: error.to_string(),
                    partition,
                });
                at = to;
            }
        }
    }
    (out, broken)
}

fn next_frame(body: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = body.get(at..).and_then(|rest| find(rest, &frame::MAGIC)) {
        if frame::decode(&body[at + found..]).is_ok() {
            return at + found;
        }
        at += found + 1;
    }
    body.len()
}

fn emit(base: u64, body: &[u8], pieces: &[Piece], visit: &mut dyn FnMut(Found<'_>)) {
    for piece in pieces {
        match piece {
            Piece::Frame { at, frame } => {
                visit(Found::Frame {
                    at: base + *at as u64,
                    frame,
                    bytes: &body[*at..*at + frame.len],
                });
            }
            Piece::Gap {
                from,
                to,
                detail,
                partition,
            } => visit(Found::Gap {
                from: base + *from as u64,
                to: base + *to as u64,
                detail: detail.clone(),
                partition: *partition,
            }),
        }
    }
}

/// Scans a segment from behind its header. `first_flush` is `None` if the header is not readable.
pub(crate) fn scan(
    window: &mut Window,
    segment: u64,
    first_flush: Option<u64>,
    synced: Synced,
    visit: &mut dyn FnMut(Found<'_>),
) -> io::Result<Scanned> {
    let (mut pos, mut next_flush) = (SEGMENT_HEADER as u64, first_flush);
    loop {
        let header = FlushHeader::decode(window.bytes(pos, FLUSH_HEADER)?, segment, pos);
        let Some(header) = header.filter(|h| !h.is_mark()) else {
            // Nothing, a mark, or damage: only what comes after tells.
            let marked = header.is_some();
            let junk_from = if marked { pos + FLUSH_HEADER as u64 } else { pos };
            let end = Scanned {
                end: pos,
                next_flush: next_flush.unwrap_or(0),
                tail: None,
            };
            let Some((first, last)) = window.nonzero(junk_from)? else {
                return Ok(end);
            };
            let Some(next) = window.resync(segment, junk_from)? else {
                if synced.covers(next_flush, pos) {
                    let to = if pos < synced.byte {
                        synced.byte.min(window.len())
                    } else {
                        window.len()
                    };
                    lost_flush(window, pos, to, visit)?;
                    next_flush = next_flush.map(|n| n + 1);
                    pos = to;
                    continue;
                }
                let detail = format!("{} bytes that are not an intact flush", last + 1 - first);
                return Ok(Scanned {
                    tail: Some((first, last + 1, detail)),
                    ..end
                });
            };
            // A later flush exists, so this one was synced: its header is damaged, or it is gone.
            lost_flush(window, pos, next, visit)?;
            next_flush = next_flush.map(|n| n + 1);
            pos = next;
            if FlushHeader::decode(window.bytes(pos, FLUSH_HEADER)?, segment, pos).is_some_and(|h| h.is_mark()) {
                next_flush = next_flush.map(|_| flush_at(window, segment, pos)).transpose()?.flatten();
            }
            continue;
        };
        let after = pos + FLUSH_HEADER as u64 + u64::from(header.body_len);
        let whole = window.bytes(pos, FLUSH_HEADER + header.body_len as usize)?;
        let body = &whole[FLUSH_HEADER..];
        let (found, broken) = pieces(body);
        let cut = body.len() < header.body_len as usize;
        let frames = found.iter().filter(|p| matches!(p, Piece::Frame { .. })).count();
        if broken > 0 || cut || frames != header.frames as usize {
            let resumes = window.resync(segment, pos + FLUSH_HEADER as u64)?;
            let covered = || synced.covers(Some(header.flush), pos).then(|| window.len());
            let Some(resumes) = resumes.or_else(covered) else {
                let to = window.nonzero(pos)?.map_or(after, |(_, last)| last + 1);
                let detail = format!("flush {} is not whole", header.flush);
                return Ok(Scanned {
                    end: pos,
                    next_flush: header.flush,
                    tail: Some((pos, to, detail)),
                });
            };
            let body_end = after.min(resumes);
            let body = window.bytes(pos + FLUSH_HEADER as u64, (body_end - pos) as usize - FLUSH_HEADER)?;
            let (found, broken) = pieces(body);
            emit(pos + FLUSH_HEADER as u64, body, &found, visit);
            // Frames that are not even there: whose they were, nothing tells.
            let told = found.iter().any(|p| matches!(p, Piece::Gap { partition: None, .. }));
            if !told && (broken == 0 || found.len() != header.frames as usize) {
                let detail = format!("flush {} does not hold what its header says", header.flush);
                visit(Found::Gap {
                    from: pos,
                    to: body_end,
                    detail,
                    partition: None,
                });
            }
            if next_flush.is_some_and(|n| n != header.flush) {
                visit(missing_flushes(pos, next_flush, header.flush));
            }
            next_flush = Some(header.flush + 1);
            pos = body_end;
            continue;
        }
        if next_flush.is_some_and(|n| n != header.flush) {
            visit(missing_flushes(pos, next_flush, header.flush));
        }
        emit(pos + FLUSH_HEADER as u64, body, &found, visit);
        next_flush = Some(header.flush + 1);
        pos = after;
    }
}

fn flush_at(window: &mut Window, segment: u64, pos: u64) -> io::Result<Option<u64>> {
    Ok(FlushHeader::decode(window.bytes(pos, FLUSH_HEADER)?, segment, pos).map(|h| h.flush))
}

fn missing_flushes<'a>(at: u64, expected: Option<u64>, found: u64) -> Found<'a> {
    let detail = format!("flush {found} where flush {} should be", expected.unwrap_or(0));
    Found::Gap {
        from: at,
        to: at,
        detail,
        partition: None,
    }
}

/// Bytes between two places where a synced flush was: its frames may be intact behind a damaged header.
fn lost_flush(window: &mut Window, pos: u64, next: u64, visit: &mut dyn FnMut(Found<'_>)) -> io::Result<()> {
    let bytes = window.bytes(pos, (next - pos) as usize)?;
    let body = bytes.get(FLUSH_HEADER..).unwrap_or(&[]);
    let (found, broken) = pieces(body);
    if broken == 0 && !found.is_empty() {
        visit(Found::Scratch {
            from: pos,
            to: pos + FLUSH_HEADER as u64,
            detail: "flush header is damaged".into(),
        });
        emit(pos + FLUSH_HEADER as u64, body, &found, visit);
    } else {
        let header_to = if found.is_empty() { next } else { pos + FLUSH_HEADER as u64 };
        visit(Found::Gap {
            from: pos,
            to: header_to,
            detail: "flush header is damaged".into(),
            partition: None,
        });
        emit(pos + FLUSH_HEADER as u64, body, &found, visit);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
