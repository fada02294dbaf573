//! Segment files: their header, and the flush headers between frames.
//!
//! ```text
//! segment header [64]: magic "QS\0\x01" · partitions u16 · zero u16 · log id [16] · generation u32 · zero u32
//!                      · segment u64 · first flush u64 · zero [12] · CRC u32
//! flush header [40]:   magic "QG\0\x01" · body_len u32 · frames u32 · own byte u32 · flush u64 · segment u64
//!                      · zero u32 · CRC u32, followed by `frames` frames in `body_len` bytes
//! ```
//! One flush header a write and sync. It is written only after the flush before it was synced: whatever is found
//! where the next flush begins proves that everything before it was durable. So does the next segment's header for the
//! flushes below its first: a segment is begun only behind what was synced. A flush of no frames is a **mark**: it is
//! written when the writer goes idle, gives that proof, and is overwritten by the next flush.

use crate::disk::Disk;
use quipu_schemas::position::LogId;
use std::{
    io,
    path::{Path, PathBuf},
};

pub(crate) const SEGMENT_HEADER: usize = 64;
pub(crate) const FLUSH_HEADER: usize = 40;
pub(crate) const FLUSH_MAGIC: [u8; 4] = [b'Q', b'G', 0, 1];
const SEGMENT_MAGIC: [u8; 4] = [b'Q', b'S', 0, 1];
/// Name of the log's directory within a data directory.
pub const LOG_DIR: &str = "log";

pub(crate) fn segment_path(log_dir: &Path, number: u64) -> PathBuf {
    log_dir.join(format!("{number:016}.seg"))
}

pub(crate) fn sidecar_path(log_dir: &Path, number: u64) -> PathBuf {
    log_dir.join(format!("{number:016}.idx"))
}

/// The number in a segment's file name.
pub(crate) fn segment_number(path: &Path) -> Option<u64> {
    (path.extension()? == "seg").then(|| path.file_stem()?.to_str()?.parse().ok())?
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: LogId,
    pub(crate) generation: u32,
    pub(crate) partitions: u16,
    pub(crate) segment: u64,
    /// Number of the first flush in it.
    pub(crate) first_flush: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..4].copy_from_slice(&SEGMENT_MAGIC);
        out[4..6].copy_from_slice(&self.partitions.to_le_bytes());
        out[8..24].copy_from_slice(&self.log_id.0);
        out[24..28].copy_from_slice(&self.generation.to_le_bytes());
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_flush.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEADER)?;
        let header = Self {
            log_id: LogId(array(bytes, 8)),
            generation: u32::from_le_bytes(array(bytes, 24)),
            partitions: u16::from_le_bytes(array(bytes, 4)),
            segment: u64::from_le_bytes(array(bytes, 32)),
            first_flush: u64::from_le_bytes(array(bytes, 40)),
        };
        (header.encode() == bytes).then_some(header)
    }
}

/// The header of a segment file, if it is readable and names that segment.
pub(crate) fn segment_header(disk: &dyn Disk, log_dir: &Path, number: u64) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; SEGMENT_HEADER];
    let got = disk.open_read(&segment_path(log_dir, number))?.read_at(0, &mut bytes)?;
    Ok(SegmentHeader::decode(&bytes[..got]).filter(|h| h.segment == number))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlushHeader {
    pub(crate) body_len: u32,
    pub(crate) frames: u32,
    /// Its own place in the segment.
    pub(crate) at: u32,
    pub(crate) flush: u64,
    pub(crate) segment: u64,
}

impl FlushHeader {
    pub(crate) fn encode(&self) -> [u8; FLUSH_HEADER] {
        let mut out = [0; FLUSH_HEADER];
        out[..4].copy_from_slice(&FLUSH_MAGIC);
        out[4..8].copy_from_slice(&self.body_len.to_le_bytes());
        out[8..12].copy_from_slice(&self.frames.to_le_bytes());
        out[12..16].copy_from_slice(&self.at.to_le_bytes());
        out[16..24].copy_from_slice(&self.flush.to_le_bytes());
        out[24..32].copy_from_slice(&self.segment.to_le_bytes());
        let crc = crc32fast::hash(&out[..36]);
        out[36..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The flush header at byte `at` of a segment, if it is one and knows that it is there.
    pub(crate) fn decode(bytes: &[u8], segment: u64, at: u64) -> Option<Self> {
        let bytes = bytes.get(..FLUSH_HEADER)?;
        let header = Self {
            body_len: u32::from_le_bytes(array(bytes, 4)),
            frames: u32::from_le_bytes(array(bytes, 8)),
            at: u32::from_le_bytes(array(bytes, 12)),
            flush: u64::from_le_bytes(array(bytes, 16)),
            segment: u64::from_le_bytes(array(bytes, 24)),
        };
        (header.segment == segment && u64::from(header.at) == at && header.encode() == bytes).then_some(header)
    }

    pub(crate) fn is_mark(&self) -> bool {
        self.frames == 0
    }
}

/// The first `len` bytes of a file, fewer if it is shorter.
pub(crate) fn summary_bytes(file: &std::sync::Arc<dyn crate::disk::DiskFile>, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let got = file.read_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_header_knows_its_segment_and_its_place() {
        let header = FlushHeader {
            body_len: 900,
            frames: 2,
            at: 104,
            flush: 9,
            segment: 7,
        };
        let bytes = header.encode();
        assert_eq!(FlushHeader::decode(&bytes, 7, 104), Some(header));
        for (segment, at) in [(8, 104), (7, 105), (8, 105)] {
            assert_eq!(FlushHeader::decode(&bytes, segment, at), None, "{segment} {at}");
        }
        assert_eq!(FlushHeader::decode(&bytes[..FLUSH_HEADER - 1], 7, 104), None);
        for bit in 0..FLUSH_HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FlushHeader::decode(&flipped, 7, 104), None, "bit {bit}");
        }
    }
}
