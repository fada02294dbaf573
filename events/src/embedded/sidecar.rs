//! The sidecar of a sealed segment: where its frames are. Derived, checked by CRC, rebuilt from the segment when
//! missing; it makes opening a large log fast and spares memory.

use super::chain::EMPTY;
use crate::port::Head;
use quipu_schemas::{digest::Digest, position::LogId};

const MAGIC: [u8; 4] = [b'Q', b'I', 0, 1];
const SPAN: usize = 100;
const ENTRY: usize = 20;
const FIXED: usize = 48;

/// Where a frame is within its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameAt {
    pub(crate) first_offset: u64,
    pub(crate) at: u32,
    pub(crate) len: u32,
    pub(crate) count: u32,
}

impl FrameAt {
    pub(crate) fn end(&self) -> u64 {
        self.first_offset + u64::from(self.count)
    }
}

/// What a segment holds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Head,
    pub(crate) end: Head,
    pub(crate) frames: u32,
}

impl Span {
    pub(crate) fn at(head: Head) -> Self {
        Self {
            start: head,
            end: head,
            frames: 0,
        }
    }
}

/// A sealed segment without its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) log_id: LogId,
    pub(crate) segment: u64,
    /// Length of the segment file.
    pub(crate) bytes: u64,
    pub(crate) next_flush: u64,
    pub(crate) spans: Vec<Span>,
}

fn put_head(out: &mut Vec<u8>, head: &Head) {
    out.extend_from_slice(&head.epoch.to_le_bytes());
    out.extend_from_slice(&head.next_offset.to_le_bytes());
    out.extend_from_slice(&head.frame_hash.0);
}

/// Encodes a sidecar: summary, CRC, entries by partition, CRC.
pub(crate) fn encode(summary: &Summary, frames: &[Vec<FrameAt>]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(summary.spans.len() as u32).to_le_bytes());
    out.extend_from_slice(&summary.log_id.0);
    out.extend_from_slice(&summary.segment.to_le_bytes());
    out.extend_from_slice(&summary.bytes.to_le_bytes());
    out.extend_from_slice(&summary.next_flush.to_le_bytes());
    for span in &summary.spans {
        put_head(&mut out, &span.start);
        put_head(&mut out, &span.end);
        out.extend_from_slice(&span.frames.to_le_bytes());
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    let start = out.len();
    for frame in frames.iter().flatten() {
        out.extend_from_slice(&frame.first_offset.to_le_bytes());
        out.extend_from_slice(&frame.at.to_le_bytes());
        out.extend_from_slice(&frame.len.to_le_bytes());
        out.extend_from_slice(&frame.count.to_le_bytes());
    }
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Bytes of the summary and its CRC.
pub(crate) fn summary_len(partitions: u16) -> usize {
    FIXED + usize::from(partitions) * SPAN + 4
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

fn head(bytes: &[u8], at: usize) -> Head {
    Head {
        epoch: u64::from_le_bytes(array(bytes, at)),
        next_offset: u64::from_le_bytes(array(bytes, at + 8)),
        frame_hash: Digest(array(bytes, at + 16)),
    }
}

/// Decodes the summary at the beginning of a sidecar; `None` if anything is wrong with it.
pub(crate) fn decode_summary(bytes: &[u8], partitions: u16) -> Option<Summary> {
    let bytes = bytes.get(..summary_len(partitions))?;
    let (body, crc) = bytes.split_at(bytes.len() - 4);
    if body[..4] != MAGIC || u32::from_le_bytes(array(body, 4)) != u32::from(partitions) || crc32fast::hash(body).to_le_bytes() != crc {
        return None;
    }
    let span = |i: usize| {
        let at = FIXED + i * SPAN;
        Span {
            start: head(body, at),
            end: head(body, at + 48),
            frames: u32::from_le_bytes(array(body, at + 96)),
        }
    };
    Some(Summary {
        log_id: LogId(array(body, 8)),
        segment: u64::from_le_bytes(array(body, 24)),
        bytes: u64::from_le_bytes(array(body, 32)),
        next_flush: u64::from_le_bytes(array(body, 40)),
        spans: (0..usize::from(partitions)).map(span).collect(),
    })
}

/// Decodes the frames of a sidecar; `None` if anything is wrong with it.
pub(crate) fn decode_frames(bytes: &[u8], summary: &Summary) -> Option<Vec<Vec<FrameAt>>> {
    let rest = bytes.get(summary_len(summary.spans.len() as u16)..)?;
    let entries: usize = summary.spans.iter().map(|s| s.frames as usize).sum();
    let (body, crc) = rest.split_at_checked(entries.checked_mul(ENTRY)?)?;
    if crc32fast::hash(body).to_le_bytes() != crc {
        return None;
    }
    let mut entries = body.chunks_exact(ENTRY).map(|e| FrameAt {
        first_offset: u64::from_le_bytes(array(e, 0)),
        at: u32::from_le_bytes(array(e, 8)),
        len: u32::from_le_bytes(array(e, 12)),
        count: u32::from_le_bytes(array(e, 16)),
    });
    Some(
        summary
            .spans
            .iter()
            .map(|span| entries.by_ref().take(span.frames as usize).collect())
            .collect(),
    )
}

/// Collects where frames are while a segment is written or scanned.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) spans: Vec<Span>,
    pub(crate) frames: Vec<Vec<FrameAt>>,
}

impl Layout {
    pub(crate) fn new(heads: impl Iterator<Item = Head>) -> Self {
        let spans: Vec<Span> = heads.map(Span::at).collect();
        Self {
            frames: vec![Vec::new(); spans.len()],
            spans,
        }
    }

    pub(crate) fn push(&mut self, partition: u16, frame: FrameAt, head: Head) {
        let p = usize::from(partition);
        self.frames[p].push(frame);
        self.spans[p].end = head;
        self.spans[p].frames += 1;
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new(std::iter::once(EMPTY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_round_trip_and_every_flip_is_detected() {
        let mut layout = Layout::new([EMPTY; 2].into_iter());
        let head = Head {
            epoch: 1,
            next_offset: 3,
            frame_hash: Digest([4; 32]),
        };
        let frame = FrameAt {
            first_offset: 0,
            at: 104,
            len: 900,
            count: 3,
        };
        layout.push(1, frame, head);
        let summary = Summary {
            log_id: LogId([5; 16]),
            segment: 7,
            bytes: 1004,
            next_flush: 9,
            spans: layout.spans.clone(),
        };
        let bytes = encode(&summary, &layout.frames);
        assert_eq!(decode_summary(&bytes, 2), Some(summary.clone()));
        assert_eq!(decode_frames(&bytes, &summary), Some(layout.frames));
        assert_eq!(decode_summary(&bytes, 1), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode_summary(&flipped, 2).and_then(|s| decode_frames(&flipped, &s)).is_none(),
                "bit {bit}"
            );
        }
        // Whoever writes another form has checksums that fit as well.
        for at in [0, 4] {
            let mut other = bytes.clone();
            let len = summary_len(2) - 4;
            other[at] ^= 1;
            let crc = crc32fast::hash(&other[..len]);
            other[len..len + 4].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(decode_summary(&other, 2), None, "byte {at}");
        }
    }
}
