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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(owner: Option<&str>) -> FrameHeader {
        FrameHeader {
            log_id: LogId([7; 16]),
            generation: 2,
            partition: 3,
            epoch: 5,
            batch_id: [8; 16],
            first_offset: 41,
            previous: Digest([9; 32]),
            owner: owner.map(Into::into),
        }
    }

    fn encode(header: &FrameHeader, records: &[Vec<u8>]) -> (Vec<u8>, Encoded) {
        let mut out = vec![0xAA; 3];
        let encoded = encode_onto(&mut out, header, records.iter().map(Vec::as_slice)).unwrap();
        (out[3..].to_vec(), encoded)
    }

    #[test]
    fn frames_round_trip_and_their_bytes_never_change() {
        let records = vec![vec![1; 40], vec![2; 33]];
        let (bytes, encoded) = encode(&header(None), &records);
        assert_eq!(encoded.range, 3..3 + bytes.len());
        assert_eq!(bytes.len(), encoded_len(None, records.iter().map(Vec::len)));
        let decoded = decode(&bytes).unwrap();
        assert_eq!(
            (decoded.header, decoded.hash, decoded.len),
            (header(None), encoded.hash, bytes.len())
        );
        assert_eq!(bytes[decoded.records[1].clone()], records[1]);
        // Golden: a change here is a change of the stored form.
        assert_eq!(encoded.hash.to_string(), GOLDEN_HASH);
        let (bytes, encoded) = encode(&header(Some("http://node-1:7000")), &[]);
        let decoded = decode(&bytes).unwrap();
        assert_eq!(decoded.header.owner.as_deref(), Some("http://node-1:7000"));
        assert_eq!(decoded.hash, encoded.hash);
    }
    const GOLDEN_HASH: &str = "b41a28d6d65528d5a38448e5f9c15ddfacf14fb1650ee655518dea6a99dc90f7";

    #[test]
    fn every_bit_flip_and_every_cut_is_detected() {
        for bytes in [
            encode(&header(None), &[vec![1; 40], vec![2; 70]]).0,
            encode(&header(Some("n")), &[]).0,
        ] {
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&flipped).is_err(), "bit {bit} flipped unnoticed");
            }
            for len in 0..bytes.len() {
                assert!(decode(&bytes[..len]).is_err());
            }
        }
    }

    /// A header with a field changed and its CRC made to fit: what is then wrong is told by the field alone.
    #[test]
    fn headers_whose_checksums_fit_are_still_checked_field_by_field() {
        let records = encode(&header(None), &[vec![1; 40]]).0;
        let claim = encode(&header(Some("node")), &[]).0;
        let with = |bytes: &[u8], at: usize, field: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[at..at + field.len()].copy_from_slice(field);
            let owner = usize::from(u16::from_le_bytes(array(&bytes, 6)));
            let owned = bytes.get(HEADER_BYTES..HEADER_BYTES + owner).unwrap_or_default().to_vec();
            let crc = header_crc(&bytes, &owned);
            bytes[HASHED..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            peek(&bytes)
        };
        let no_kind = Err(FrameError::Header("unknown kind or bytes that must be zero"));
        let no_pair = Err(FrameError::Header("a frame has an owner or records"));
        let too_big = Err(FrameError::Header("over a limit"));
        // Kind; bytes that must be zero.
        assert!(with(&records, 4, &[1]).is_ok() && with(&claim, 4, &[2]).is_ok());
        for (at, field) in [(4, [0]), (4, [3]), (5, [1]), (38, [1]), (39, [1])] {
            assert_eq!(with(&records, at, &field), no_kind, "byte {at}");
        }
        // An owner goes with a claim, records with the others.
        assert_eq!(with(&records, 4, &[2]), no_pair);
        assert_eq!(with(&claim, 4, &[1]), no_pair);
        assert_eq!(with(&records, 12, &0u32.to_le_bytes()), no_pair);
        assert_eq!(with(&claim, 12, &1u32.to_le_bytes()), no_pair);
        assert_eq!(with(&records, 6, &4u16.to_le_bytes()), no_pair);
        // Limits: of records, of the frame, of the owner.
        let count = |count: usize| with(&records, 12, &(count as u32).to_le_bytes());
        assert_eq!(count(FRAME_MAX_RECORDS).unwrap().count as usize, FRAME_MAX_RECORDS);
        assert_eq!(count(FRAME_MAX_RECORDS + 1), too_big);
        let body = |body: usize| with(&records, 8, &(body as u32).to_le_bytes());
        let most = FRAME_MAX_BYTES - frame_len(0, 0);
        assert_eq!(body(most).unwrap().len, FRAME_MAX_BYTES);
        for beyond in [most + 1, FRAME_MAX_BYTES, FRAME_MAX_BYTES + 1, u32::MAX as usize] {
            assert_eq!(body(beyond), too_big);
        }
        let owner = |length: usize| {
            let mut bytes = claim.clone();
            bytes.truncate(HEADER_BYTES);
            bytes.resize(HEADER_BYTES + length, b'n');
            with(&bytes, 6, &(length as u16).to_le_bytes())
        };
        assert_eq!(owner(OWNER_MAX_BYTES).unwrap().header.owner.unwrap().len(), OWNER_MAX_BYTES);
        assert_eq!(owner(OWNER_MAX_BYTES + 1), too_big);
        assert_eq!(with(&claim, HEADER_BYTES, &[0xFF]), Err(FrameError::Header("owner is not text")));
    }

    /// What is cut is told apart from what is wrong, by the bytes that are there.
    #[test]
    fn a_header_is_read_as_soon_as_it_is_there() {
        let (bytes, _) = encode(&header(None), &[vec![1; 40]]);
        for length in 0..HEADER_BYTES {
            assert_eq!(peek(&bytes[..length]), Err(FrameError::Truncated), "{length} bytes");
        }
        assert_eq!(peek(&bytes[..HEADER_BYTES]).unwrap().len, bytes.len());
        assert_eq!(peek(b"QG\0\x01"), Err(FrameError::Magic));
        assert_eq!(peek(b"QG"), Err(FrameError::Truncated));
    }

    /// Frames whose checksums fit, and whose records do not fill the body.
    #[test]
    fn records_fill_the_body_and_no_more() {
        let (bytes, _) = encode(&header(None), &[vec![1; 40], vec![2; 40]]);
        let with = |first: u32, count: u32| {
            let mut bytes = bytes.clone();
            bytes[12..16].copy_from_slice(&count.to_le_bytes());
            bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&first.to_le_bytes());
            let crc = header_crc(&bytes, &[]);
            bytes[HASHED..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            let end = bytes.len() - CRC;
            let crc = crc32fast::hash(&bytes[..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
            decode(&bytes).map(|decoded| decoded.records.len())
        };
        assert_eq!(with(40, 2), Ok(2));
        assert_eq!(with(84, 1), Ok(1), "one record of all the bytes");
        for (first, count) in [
            (40, 1),
            (40, 3),
            (84, 2),
            (85, 1),
            (83, 1),
            (82, 2),
            (80, 2),
            (31, 2),
            (u32::MAX, 1),
        ] {
            assert_eq!(with(first, count), Err(FrameError::Records), "{first} {count}");
        }
        // A record too short to hold its hash, although all lengths add up.
        let mut first = vec![1; 40];
        first[8..12].copy_from_slice(&72u32.to_le_bytes());
        let bytes = encode(&header(None), &[first, vec![2; 40]]).0;
        let short = |length: u32| {
            let mut bytes = bytes.clone();
            bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&length.to_le_bytes());
            let end = bytes.len() - CRC;
            let crc = crc32fast::hash(&bytes[..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
            decode(&bytes).map(|decoded| decoded.records.len())
        };
        assert_eq!((short(40), short(8)), (Ok(2), Err(FrameError::Records)));
    }

    #[test]
    fn a_header_vouches_for_itself() {
        for (bytes, header_len) in [
            (encode(&header(None), &[vec![1; 40]]).0, HEADER_BYTES),
            (encode(&header(Some("node")), &[]).0, HEADER_BYTES + 4),
        ] {
            for bit in 0..header_len * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(peek(&flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn frames_are_taken_up_to_their_limits() {
        let takes = |header: &FrameHeader, records: &[Vec<u8>]| {
            let encoded = encode_onto(&mut Vec::new(), header, records.iter().map(Vec::as_slice));
            assert!(
                !matches!(encoded, Err(ref error) if !matches!(error, FrameError::Limit(_))),
                "{encoded:?}"
            );
            encoded.is_ok()
        };
        let plain = header(None);
        let claim = |length: usize| header(Some(&"n".repeat(length)));
        assert!(takes(&plain, &vec![vec![0; RECORD_HASH]; FRAME_MAX_RECORDS]));
        assert!(!takes(&plain, &vec![vec![0; RECORD_HASH]; FRAME_MAX_RECORDS + 1]));
        assert!(takes(&plain, &[vec![0; RECORD_MAX_BYTES]]) && !takes(&plain, &[vec![0; RECORD_MAX_BYTES + 1]]));
        assert!(takes(&plain, &[vec![0; RECORD_HASH]]) && !takes(&plain, &[vec![0; RECORD_HASH - 1]]));
        assert!(takes(&claim(OWNER_MAX_BYTES), &[]) && !takes(&claim(OWNER_MAX_BYTES + 1), &[]));
        // A whole frame of five records, and one of a byte more.
        let rest = |bytes: usize| {
            let mut records = vec![vec![0; RECORD_MAX_BYTES - 4]; 3];
            let so_far = encoded_len(None, records.iter().map(Vec::len).chain([0, 0]));
            let left = bytes - so_far;
            records.extend([vec![0; left / 2], vec![0; left - left / 2]]);
            assert_eq!(encoded_len(None, records.iter().map(Vec::len)), bytes);
            records
        };
        assert!(takes(&plain, &rest(FRAME_MAX_BYTES)) && !takes(&plain, &rest(FRAME_MAX_BYTES + 1)));
        let (bytes, _) = encode(&plain, &rest(FRAME_MAX_BYTES));
        assert_eq!(decode(&bytes).unwrap().len, FRAME_MAX_BYTES);
    }

    #[test]
    fn limits_are_refused_and_leave_the_buffer_alone() {
        let mut out = vec![1, 2, 3];
        let big = vec![0u8; RECORD_MAX_BYTES + 1];
        let small = vec![0u8; 64];
        let full = vec![0u8; RECORD_MAX_BYTES];
        for records in [vec![&big], vec![], vec![&small; FRAME_MAX_RECORDS + 1], vec![&full; 4]] {
            let refused = encode_onto(&mut out, &header(None), records.iter().map(|r| r.as_slice()));
            assert!(matches!(refused, Err(FrameError::Limit(_))));
            assert_eq!(out, [1, 2, 3]);
        }
    }

    proptest! {
        #[test]
        fn decoding_is_total_on_hostile_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), patch in any::<bool>(), fix in any::<bool>()) {
            if patch && bytes.len() > 12 {
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[7] = 0;
            }
            // Even with checksums that match.
            if fix && bytes.len() > HEADER_BYTES {
                let owner = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
                if let Some(text) = bytes.get(HEADER_BYTES..HEADER_BYTES + owner) {
                    let crc = header_crc(&bytes, text);
                    bytes[HASHED..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
                }
            }
            let _ = peek(&bytes);
            let _ = decode(&bytes);
        }

        #[test]
        fn any_records_round_trip(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 32..200), 1..20)) {
            let (bytes, encoded) = encode(&header(None), &records);
            let decoded = decode(&bytes).unwrap();
            prop_assert_eq!(decoded.hash, encoded.hash);
            for (range, record) in decoded.records.iter().zip(&records) {
                prop_assert_eq!(&bytes[range.clone()], record.as_slice());
            }
        }
    }
}
