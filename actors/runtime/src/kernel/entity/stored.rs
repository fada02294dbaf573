//! How an entity comes back: from a snapshot of its state, and from its records.

use super::{Active, Entity};
use quipu_rules::decider::Decider;
use quipu_schemas::{codec, context::Millis, digest::Digest, ids::StreamId, json::Json, record::Record};
use std::{collections::VecDeque, sync::OnceLock};

/// A snapshot to write.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Version of the state.
    pub version: u64,
    /// Hash of the record at that version.
    pub record_hash: Digest,
    /// Record time.
    pub time: Millis,
    /// bincode of the state.
    pub bytes: Vec<u8>,
}

/// Why an entity cannot be recovered: its stream parks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream {stream} parks at version {version}: {detail}")]
pub struct ParkedError {
    /// The stream.
    pub stream: StreamId,
    /// Version that could not be folded.
    pub version: u64,
    /// Why.
    pub detail: String,
}

/// A recovered starting point.
pub struct Base {
    /// Version of the state.
    pub version: u64,
    /// Hash of the record at that version.
    pub hash: Digest,
    /// Record time.
    pub time: Millis,
    /// bincode of the state.
    pub bytes: Vec<u8>,
}

/// Raised when equal schemas are encoded otherwise in snapshots.
const SNAPSHOT_FORM: &[u8] = b"3";

/// SHA-256 over the JSON Schema of `D::State`: snapshots of another shape are not read.
pub fn state_shape<D: Decider>() -> Digest {
    // One static a call site would be shared between kinds, so the digest is computed and cached by the caller.
    let schema = schemars::schema_for!(D::State);
    Digest::of(&[SNAPSHOT_FORM, schema.as_value().to_string().as_bytes()])
}

const BINCODE: bincode::config::Configuration = bincode::config::standard();

impl<D: Decider> Active<D> {
    /// Starts from a snapshot; `None` if its bytes do not decode (the caller then recovers from the beginning).
    pub fn from_snapshot(stream: StreamId, base: &Base) -> Option<Self> {
        let (state, used) = bincode::serde::decode_from_slice::<D::State, _>(&base.bytes, BINCODE).ok()?;
        (used == base.bytes.len()).then_some(Self {
            stream,
            state: Some(state),
            version: base.version,
            hash: base.hash,
            time: base.time,
            in_flight: VecDeque::new(),
            snapshot_version: base.version,
        })
    }

    /// Folds an entity from a snapshot, or from nothing, and the records after it.
    pub fn recovered(stream: &StreamId, base: Option<&Base>, records: &mut dyn Iterator<Item = Record>) -> Result<Self, ParkedError> {
        let mut active = match base {
            None => Self::empty(stream.clone()),
            Some(base) => Self::from_snapshot(stream.clone(), base).ok_or_else(|| ParkedError {
                stream: stream.clone(),
                version: base.version,
                detail: "snapshot does not decode".into(),
            })?,
        };
        for record in records {
            active.fold(&record)?;
        }
        Ok(active)
    }

    /// See [`Entity::fold`].
    pub(super) fn fold_record(&mut self, record: &Record) -> Result<(), ParkedError> {
        let parked = |version: u64, detail: String| ParkedError {
            stream: self.stream.clone(),
            version,
            detail,
        };
        if record.header.stream != self.stream {
            return Err(parked(self.version, format!("record belongs to {}", record.header.stream)));
        }
        if record.previous != self.hash {
            return Err(parked(
                record.header.first_version,
                "record does not continue the stream's chain".into(),
            ));
        }
        if record.header.first_version != self.version + 1 {
            return Err(parked(
                record.header.first_version,
                format!("expected version {}, found {}", self.version + 1, record.header.first_version),
            ));
        }
        let mut state = self.state.take().expect("state is present between calls");
        for (version, stored) in (record.header.first_version..).zip(&record.events) {
            let event: D::Event = codec::decode_event(stored).map_err(|e| parked(version, e.to_string()))?;
            state = D::evolve(state, &event).map_err(|e| parked(version, e.to_string()))?;
        }
        self.state = Some(state);
        self.version = record.header.last_version();
        self.hash = record.hash;
        self.time = record.header.time;
        Ok(())
    }

    /// See [`Entity::snapshot`].
    pub(super) fn snapshot_now(&self) -> Option<Snapshot> {
        if !self.is_settled() || self.version == 0 {
            return None;
        }
        let bytes = bincode::serde::encode_to_vec(self.state.as_ref()?, BINCODE).ok()?;
        Some(Snapshot {
            version: self.version,
            record_hash: self.hash,
            time: self.time,
            bytes,
        })
    }
}

/// Digest of a state in its stored form, for comparing replays.
pub fn state_digest(state: &Json) -> Digest {
    Digest::of(&[state.to_text().as_bytes()])
}

/// Caches [`state_shape`] for one kind.
#[derive(Default)]
pub struct ShapeCell(OnceLock<Digest>);

impl ShapeCell {
    /// The shape of `D::State`.
    pub fn get<D: Decider>(&self) -> Digest {
        *self.0.get_or_init(state_shape::<D>)
    }
}
