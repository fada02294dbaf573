//! The audit's replay: every entity folded from its first record, from the log alone.
//!
//! Neither the index nor snapshots are looked at, nothing is claimed or written, and no reaction is derived: what comes
//! out depends on the log and the rules only. Equal logs give equal digests.

use crate::{kernel::entity::state_digest, kinds::Kinds};
use quipu_events::port::{Log, Place, ReadError};
use quipu_schemas::{
    digest::Digest,
    ids::StreamId,
    record::{self, Record, RecordError},
};
use serde::Serialize;
use std::collections::BTreeMap;

const READ_BYTES: usize = 1024 * 1024;
const READ_RECORDS: usize = 64;

/// One entity as its records make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The entity.
    pub stream: StreamId,
    /// Its version.
    pub version: u64,
    /// Records folded, those without events included.
    pub records: u64,
    /// SHA-256 of its state in stored form, as `state` answers tell it.
    pub digest: Digest,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record does not decode.
    #[error("partition {partition}: {error}")]
    Record {
        /// Partition.
        partition: u16,
        /// What is wrong.
        error: RecordError,
    },
    /// Nobody knows the rules of this stream.
    #[error("stream {0} is of an unknown kind")]
    UnknownKind(StreamId),
    /// An event does not fit.
    #[error("stream {stream} does not fold: {detail}")]
    Fold {
        /// The stream.
        stream: StreamId,
        /// Why.
        detail: String,
    },
}

/// Folds every stream of `log` from zero, sorted by stream. `progress` hears of the records folded so far.
pub fn replay(log: &dyn Log, kinds: &Kinds, mut progress: impl FnMut(u64)) -> Result<Vec<Replayed>, ReplayError> {
    let mut out = Vec::new();
    let mut records = 0;
    for partition in 0..log.meta().partitions {
        for (stream, places) in places(log, partition)? {
            let handler = kinds.get(&stream.kind).ok_or_else(|| ReplayError::UnknownKind(stream.clone()))?;
            let mut failure = None;
            let mut read = Reader { log, places: &places, ready: Vec::new().into_iter() }.map_while(|next| next.map_err(|e| failure = Some(e)).ok());
            let folded = handler.recover(&stream, None, &mut read);
            drop(read);
            if let Some(error) = failure {
                return Err(error.of(partition));
            }
            let entity = folded.map_err(|e| ReplayError::Fold { stream: stream.clone(), detail: e.to_string() })?;
            records += places.len() as u64;
            progress(records);
            let digest = state_digest(&entity.state());
            out.push(Replayed { version: entity.version(), records: places.len() as u64, digest, stream });
        }
    }
    out.sort_by(|a, b| a.stream.cmp(&b.stream));
    Ok(out)
}

/// Where each stream's records are, in order.
fn places(log: &dyn Log, partition: u16) -> Result<BTreeMap<StreamId, Vec<Place>>, ReplayError> {
    let mut streams: BTreeMap<StreamId, Vec<Place>> = BTreeMap::new();
    let end = log.head(partition)?.next_offset;
    let mut offset = 0;
    while offset < end {
        for frame in log.read(partition, offset, READ_BYTES)? {
            for (at, (place, bytes)) in (frame.first_offset..).zip(&frame.records) {
                // A read begins with the whole frame that holds the offset.
                if at >= offset {
                    let header = record::decode_header(bytes).map_err(|error| ReplayError::Record { partition, error })?;
                    streams.entry(header.stream).or_default().push(*place);
                }
            }
            offset = offset.max(frame.first_offset + frame.records.len() as u64);
        }
    }
    Ok(streams)
}

enum Trouble {
    Read(ReadError),
    Record(RecordError),
}

impl Trouble {
    fn of(self, partition: u16) -> ReplayError {
        match self {
            Trouble::Read(error) => ReplayError::Read(error),
            Trouble::Record(error) => ReplayError::Record { partition, error },
        }
    }
}

struct Reader<'a> {
    log: &'a dyn Log,
    places: &'a [Place],
    ready: std::vec::IntoIter<Vec<u8>>,
}

impl Iterator for Reader<'_> {
    type Item = Result<Record, Trouble>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.len() == 0 {
            let (now, later) = self.places.split_at(self.places.len().min(READ_RECORDS));
            if now.is_empty() {
                return None;
            }
            self.places = later;
            match self.log.read_at(now) {
                Ok(read) => self.ready = read.into_iter(),
                Err(error) => return Some(Err(Trouble::Read(error))),
            }
        }
        let bytes = self.ready.next()?;
        Some(record::decode(&bytes).map_err(Trouble::Record))
    }
}
