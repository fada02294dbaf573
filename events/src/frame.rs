//! A frame: the unit of append on every backend, one group commit of one partition.
//!
//! ```text
//! magic [4] "QF\0\x01" · kind u8 (1 records, 2 claim) · zero u8 · owner_len u16 · body_len u32 · count u32
//! log id [16] · generation u32 · partition u16 · zero u16 · epoch u64 · batch id [16] · first offset u64
//! previous frame hash [32] · header CRC u32                                    (104 + 4 bytes, little endian)
//! owner · (record len u32 · record bytes)* · frame CRC u32
//! ```
//! `body_len` counts the records with their lengths. The header CRC covers the first 104 bytes and the owner, so a
//! frame whose body is damaged still tells where it ends and whose it is. The frame CRC covers every byte before it.
//!
//! The frame's **hash** is the SHA-256 of the first 104 bytes, the owner and the last 32 bytes of each record (its own
//! hash), so that data is hashed once. The next frame of the partition names it: that is the frame chain.

use quipu_schemas::{
    digest::Digest,
    limits::{FRAME_MAX_BYTES, FRAME_MAX_RECORDS, OWNER_MAX_BYTES, RECORD_MAX_BYTES},
    position::LogId,
};
use std::ops::Range;

/// The first bytes of a frame. The zero byte cannot occur in JSON, so no record text contains it.
pub const MAGIC: [u8; 4] = [b'Q', b'F', 0, 1];
/// Bytes of a frame's header, without its owner.
pub const HEADER_BYTES: usize = 108;
const HASHED: usize = 104;
const CRC: usize = 4;
const RECORD_HASH: usize = 32;

/// What a frame says before its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHeader {
    /// The log.
    pub log_id: LogId,
    /// Generation it was written in.
    pub generation: u32,
    /// Partition.
    pub partition: u16,
    /// Epoch of its owner.
    pub epoch: u64,
    /// Tells this append from every other.
    pub batch_id: [u8; 16],
    /// Offset of the first record (of the next one, in a claim frame).
    pub first_offset: u64,
    /// Hash of the partition's previous frame.
    pub previous: Digest,
    /// Owner's address, in a claim frame; a frame has an owner or records, never both.
    pub owner: Option<String>,
}

/// Why bytes are not a frame, or a frame cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the frame says.
    #[error("frame is cut short")]
    Truncated,
    /// The bytes do not begin with a frame.
    #[error("no frame begins here")]
    Magic,
    /// The header's checksum is wrong, so nothing that it says can be believed.
    #[error("frame header is damaged")]
    HeaderCrc,
    /// A header that this release never writes.
    #[error("frame header is not valid: {0}")]
    Header(&'static str),
    /// The frame's checksum is wrong; its header is intact.
    #[error("frame is damaged: its checksum does not match its bytes")]
    Crc,
    /// Record lengths that do not add up.
    #[error("records of a frame do not add up to its length")]
    Records,
    /// Over a limit, when encoding.
    #[error("frame over a limit: {0}")]
    Limit(String),
}

/// A frame encoded onto a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its hash.
    pub hash: Digest,
    /// Where it is in the buffer.
    pub range: Range<usize>,
    /// Where each record is in the buffer.
    pub records: Vec<Range<usize>>,
}

/// A frame decoded in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Header.
    pub header: FrameHeader,
    /// Its hash.
    pub hash: Digest,
    /// Bytes of the whole frame.
    pub len: usize,
    /// Where each record is, from the frame's first byte.
    pub records: Vec<Range<usize>>,
}

/// A header with the numbers that tell where its frame ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peeked {
    /// Header.
    pub header: FrameHeader,
    /// Number of records.
    pub count: u32,
    /// Bytes of the whole frame.
    pub len: usize,
}

fn frame_len(owner: usize, body: usize) -> usize {
    HEADER_BYTES + owner + body + CRC
}

/// Bytes that a frame of these records takes.
pub fn encoded_len(owner: Option<&str>, record_lens: impl Iterator<Item = usize>) -> usize {
    frame_len(owner.map_or(0, str::len), record_lens.map(|len| len + 4).sum())
}

/// Appends a frame to `out`. On an error `out` is unchanged.
pub fn encode_onto<'a>(
    out: &mut Vec<u8>,
    header: &FrameHeader,
    records: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) -> Result<Encoded, FrameError> {
    let (owner, count) = (header.owner.as_deref().unwrap_or(""), records.len());
    if header.owner.is_some() != (count == 0) {
        return Err(FrameError::Limit(
            "a frame has an owner or records, not both and not neither".into(),
        ));
    }
    if count > FRAME_MAX_RECORDS {
        return Err(FrameError::Limit(format!("{count} records, at most {FRAME_MAX_RECORDS}")));
    }
    if owner.len() > OWNER_MAX_BYTES {
        return Err(FrameError::Limit(format!(
            "owner of {} bytes, at most {OWNER_MAX_BYTES}",
            owner.len()
        )));
    }
    if let Some(record) = records.clone().find(|r| r.len() < RECORD_HASH || r.len() > RECORD_MAX_BYTES) {
        return Err(FrameError::Limit(format!(
            "record of {} bytes, at most {RECORD_MAX_BYTES}",
            record.len()
        )));
    }
    let body: usize = records.clone().map(|r| r.len() + 4).sum();
    let total = frame_len(owner.len(), body);
    if total > FRAME_MAX_BYTES {
        return Err(FrameError::Limit(format!("{total} bytes, at most {FRAME_MAX_BYTES}")));
    }
    let start = out.len();
    out.reserve(total);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[if count == 0 { 2 } else { 1 }, 0]);
    out.extend_from_slice(&(owner.len() as u16).to_le_bytes());
    out.extend_from_slice(&(body as u32).to_le_bytes());
    out.extend_from_slice(&(count as u32).to_le_bytes());
    out.extend_from_slice(&header.log_id.0);
    out.extend_from_slice(&header.generation.to_le_bytes());
    out.extend_from_slice(&header.partition.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&header.epoch.to_le_bytes());
    out.extend_from_slice(&header.batch_id);
    out.extend_from_slice(&header.first_offset.to_le_bytes());
    out.extend_from_slice(&header.previous.0);
    let crc = header_crc(&out[start..], owner.as_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(owner.as_bytes());
    let mut ranges = Vec::with_capacity(count);
    for record in records {
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        ranges.push(out.len()..out.len() + record.len());
        out.extend_from_slice(record);
    }
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    let hash = frame_hash(
        &out[start..],
        owner.as_bytes(),
        ranges.iter().map(|r| &out[r.end - RECORD_HASH..r.end]),
    );
    Ok(Encoded {
        hash,
        range: start..out.len(),
        records: ranges,
    })
}

fn header_crc(bytes: &[u8], owner: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..HASHED]);
    crc.update(owner);
    crc.finalize()
}

fn frame_hash<'a>(bytes: &'a [u8], owner: &'a [u8], hashes: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut parts = vec![&bytes[..HASHED], owner];
    parts.extend(hashes);
    Digest::of(&parts)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

/// Decodes the header at the beginning of `bytes`, checking its CRC; the body need not be there.
pub fn peek(bytes: &[u8]) -> Result<Peeked, FrameError> {
    if bytes.len() < 4 {
        return Err(FrameError::Truncated);
    }
    if bytes[..4] != MAGIC {
        return Err(FrameError::Magic);
    }
    if bytes.len() < HEADER_BYTES {
        return Err(FrameError::Truncated);
    }
    let owner_len = usize::from(u16::from_le_bytes(array(bytes, 6)));
    let owner = bytes.get(HEADER_BYTES..HEADER_BYTES + owner_len).ok_or(FrameError::Truncated)?;
    if header_crc(bytes, owner) != u32::from_le_bytes(array(bytes, HASHED)) {
        return Err(FrameError::HeaderCrc);
    }
    let (kind, body, count) = (
        bytes[4],
        u32::from_le_bytes(array(bytes, 8)) as usize,
        u32::from_le_bytes(array(bytes, 12)),
    );
    if bytes[5] != 0 || bytes[38..40] != [0, 0] || !matches!(kind, 1 | 2) {
        return Err(FrameError::Header("unknown kind or bytes that must be zero"));
    }
    if (kind == 2) != (count == 0) || (kind == 1 && owner_len != 0) {
        return Err(FrameError::Header("a frame has an owner or records"));
    }
    if body > FRAME_MAX_BYTES
        || frame_len(owner_len, body) > FRAME_MAX_BYTES
        || count as usize > FRAME_MAX_RECORDS
        || owner_len > OWNER_MAX_BYTES
    {
        return Err(FrameError::Header("over a limit"));
    }
    let owner = std::str::from_utf8(owner).map_err(|_| FrameError::Header("owner is not text"))?;
    Ok(Peeked {
        header: FrameHeader {
            log_id: LogId(array(bytes, 16)),
            generation: u32::from_le_bytes(array(bytes, 32)),
            partition: u16::from_le_bytes(array(bytes, 36)),
            epoch: u64::from_le_bytes(array(bytes, 40)),
            batch_id: array(bytes, 48),
            first_offset: u64::from_le_bytes(array(bytes, 64)),
            previous: Digest(array(bytes, 72)),
            owner: (kind == 2).then(|| owner.to_owned()),
        },
        count,
        len: frame_len(owner_len, body),
    })
}

/// Decodes the frame at the beginning of `bytes`, checking both CRCs; total on any bytes. Record hashes are not checked.
pub fn decode(bytes: &[u8]) -> Result<Decoded, FrameError> {
    let peeked = peek(bytes)?;
    let frame = bytes.get(..peeked.len).ok_or(FrameError::Truncated)?;
    let end = frame.len() - CRC;
    if crc32fast::hash(&frame[..end]) != u32::from_le_bytes(array(frame, end)) {
        return Err(FrameError::Crc);
    }
    let owner = peeked.header.owner.as_deref().unwrap_or("").as_bytes();
    let mut at = HEADER_BYTES + owner.len();
    let mut records = Vec::with_capacity(peeked.count as usize);
    for _ in 0..peeked.count {
        if at + 4 > end {
            return Err(FrameError::Records);
        }
        let len = u32::from_le_bytes(array(frame, at)) as usize;
        let range = at + 4..(at + 4).saturating_add(len);
        if !(RECORD_HASH..=RECORD_MAX_BYTES).contains(&len) || range.end > end {
            return Err(FrameError::Records);
        }
        at = range.end;
        records.push(range);
    }
    if at != end {
        return Err(FrameError::Records);
    }
    let hash = frame_hash(frame, owner, records.iter().map(|r| &frame[r.end - RECORD_HASH..r.end]));
    Ok(Decoded {
        header: peeked.header,
        hash,
        len: peeked.len,
        records,
    })
}

#[cfg(test)]
mod tests;
