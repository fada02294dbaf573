//! Places in the log, and cursors over all of it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Identifies one log for ever; a copy keeps it, a restore raises the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub [u8; 16]);

/// `(partition, offset, index)`: the offset counts records of the partition from 0, the index events
/// within the record. Text form `p3.1042.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// Partition.
    pub partition: u16,
    /// Record offset within the partition, from 0.
    pub offset: u64,
    /// Event within the record, from 0.
    pub index: u32,
}

/// Text that is no position or cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a position: pass one that this node gave you, unchanged")]
pub struct BadPosition(pub String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}.{}.{}", self.partition, self.offset, self.index)
    }
}

impl FromStr for Position {
    type Err = BadPosition;
    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let bad = || BadPosition(text.chars().take(80).collect());
        let mut parts = text.strip_prefix('p').ok_or_else(bad)?.split('.');
        let mut next = || parts.next().ok_or_else(bad);
        let position = Self {
            partition: next()?.parse().map_err(|_| bad())?,
            offset: next()?.parse().map_err(|_| bad())?,
            index: next()?.parse().map_err(|_| bad())?,
        };
        if parts.next().is_some() { Err(bad()) } else { Ok(position) }
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl JsonSchema for Position {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Position".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^p[0-9]+\\.[0-9]+\\.[0-9]+$" })
    }
}

/// How much of each partition has been seen: the next record offset, by partition. Opaque to clients,
/// tied to a log and its generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The log it belongs to.
    pub log: LogId,
    /// The log's generation when it was given.
    pub generation: u32,
    /// The next offset of each partition.
    pub next: Vec<u64>,
}

impl Cursor {
    /// The beginning of a log.
    pub fn start(log: LogId, generation: u32, partitions: u16) -> Self {
        Self {
            log,
            generation,
            next: vec![0; usize::from(partitions)],
        }
    }

    /// Whether this cursor has seen the record at `position`.
    pub fn covers(&self, position: Position) -> bool {
        self.next
            .get(usize::from(position.partition))
            .is_some_and(|next| *next > position.offset)
    }

    /// Raises one partition to have seen `position`.
    pub fn advance(&mut self, position: Position) {
        if let Some(next) = self.next.get_mut(usize::from(position.partition)) {
            *next = (*next).max(position.offset + 1);
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.log.0.to_vec();
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        for next in &self.next {
            let mut rest = *next;
            while rest >= 0x80 {
                bytes.push((rest as u8 & 0x7f) | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = BadPosition;
    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let bad = || BadPosition(text.chars().take(80).collect());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let (log, rest) = bytes.split_first_chunk::<16>().ok_or_else(bad)?;
        let (generation, rest) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        let mut next = Vec::new();
        let (mut value, mut shift) = (0u64, 0u32);
        for byte in rest {
            if shift > 63 {
                return Err(bad());
            }
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                next.push(value);
                (value, shift) = (0, 0);
            }
        }
        if shift != 0 || next.is_empty() || next.len() > usize::from(u16::MAX) {
            return Err(bad());
        }
        Ok(Self {
            log: LogId(*log),
            generation: u32::from_be_bytes(*generation),
            next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_cursors_round_trip_and_refuse_noise() {
        let position = Position {
            partition: 3,
            offset: 1042,
            index: 1,
        };
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        let cursor = Cursor {
            log: LogId([9; 16]),
            generation: 2,
            next: vec![0, 127, 128, u64::MAX],
        };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for noise in ["", "p1", "p1.2.3.4", "px.1.1", "!!!", "AAAA"] {
            assert!(noise.parse::<Position>().is_err());
            assert!(noise.parse::<Cursor>().is_err(), "{noise}");
        }
    }
}
