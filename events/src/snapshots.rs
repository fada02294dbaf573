//! The envelope of an entity's snapshot: bytes that nobody here can read, and what they are good for.
//!
//! ```text
//! format u8 = 1 · rules u32 · version u64 · offset u64 (little endian) · record hash [u8; 32] · schema [u8; 32]
//! state bytes · CRC-32 u32 of all before it
//! ```
//! Snapshots are kept by the index, two a stream, and may be thrown away at any time. A snapshot that is
//! damaged or of another schema or rules is as good as none.

use quipu_schemas::digest::Digest;

const FORMAT: u8 = 1;
const HEAD: usize = 1 + 4 + 8 + 8 + 32 + 32;

/// A state at a version of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Stream version of the last event folded.
    pub version: u64,
    /// Offset of the last record folded, within the stream's partition.
    pub offset: u64,
    /// Hash of that record: a snapshot counts only on the chain that it was taken from.
    pub record: Digest,
    /// Digest of the state's schema.
    pub schema: Digest,
    /// `RULES_VERSION` of the rules that folded it.
    pub rules: u32,
    /// The state, sealed values sealed.
    pub bytes: Vec<u8>,
}

/// Bytes that are no snapshot, or are damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot is damaged or of another format")]
pub struct BadSnapshot;

impl Snapshot {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.bytes.len() + 4);
        out.push(FORMAT);
        out.extend_from_slice(&self.rules.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.record.0);
        out.extend_from_slice(&self.schema.0);
        out.extend_from_slice(&self.bytes);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the stored form, checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadSnapshot> {
        let (rest, crc) = bytes.split_last_chunk::<4>().ok_or(BadSnapshot)?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
            return Err(BadSnapshot);
        }
        let (format, rest) = rest.split_first_chunk::<1>().ok_or(BadSnapshot)?;
        if *format != [FORMAT] {
            return Err(BadSnapshot);
        }
        let (rules, rest) = rest.split_first_chunk::<4>().ok_or(BadSnapshot)?;
        let (version, rest) = rest.split_first_chunk::<8>().ok_or(BadSnapshot)?;
        let (offset, rest) = rest.split_first_chunk::<8>().ok_or(BadSnapshot)?;
        let (record, rest) = rest.split_first_chunk::<32>().ok_or(BadSnapshot)?;
        let (schema, state) = rest.split_first_chunk::<32>().ok_or(BadSnapshot)?;
        Ok(Self {
            version: u64::from_le_bytes(*version),
            offset: u64::from_le_bytes(*offset),
            record: Digest(*record),
            schema: Digest(*schema),
            rules: u32::from_le_bytes(*rules),
            bytes: state.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Snapshot {
        Snapshot {
            version: 200,
            offset: 1042,
            record: Digest([1; 32]),
            schema: Digest([2; 32]),
            rules: 3,
            bytes: b"state".to_vec(),
        }
    }

    #[test]
    fn a_snapshot_round_trips() {
        assert_eq!(Snapshot::decode(&sample().encode()), Ok(sample()));
        let empty = Snapshot {
            bytes: Vec::new(),
            ..sample()
        };
        assert_eq!(Snapshot::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn every_bit_flip_and_cut_is_noticed() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Snapshot::decode(&flipped), Err(BadSnapshot), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Snapshot::decode(&bytes[..length]), Err(BadSnapshot));
        }
    }
}
