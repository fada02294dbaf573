//! The audit's replay: every entity folded from its first record, from the log alone.
//!
//! Neither the index nor snapshots are looked at, nothing is claimed or written, and no reaction is derived: what comes
//! out depends on the log and the rules only. Equal logs give equal digests.

use crate::{
    kernel::entity::{Entity, ParkedError, state_digest},
    kinds::Kinds,
};
use quipu_events::port::{Log, ReadError};
use quipu_schemas::{
    digest::Digest,
    ids::StreamId,
    record::{self, RecordError},
};
use serde::Serialize;
use std::collections::{BTreeMap, btree_map::Entry};

const READ_BYTES: usize = 1024 * 1024;

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
    #[error("stream {stream} cannot be replayed: {detail}")]
    Fold {
        /// The stream.
        stream: StreamId,
        /// Why.
        detail: String,
    },
}

/// Folds every stream of `log` from zero, sorted by stream, reading the log once. `progress` hears of the records folded so
/// far. The states of one partition's entities are in memory at a time.
pub fn replay(log: &dyn Log, kinds: &Kinds, mut progress: impl FnMut(u64)) -> Result<Vec<Replayed>, ReplayError> {
    let mut out = Vec::new();
    let mut done = 0;
    for partition in 0..log.meta().partitions {
        for (stream, folding) in fold(log, kinds, partition, &mut |records| progress(done + records))? {
            done += folding.records;
            let digest = state_digest(&folding.entity.state());
            out.push(Replayed {
                version: folding.entity.version(),
                records: folding.records,
                digest,
                stream,
            });
        }
    }
    out.sort_by(|a, b| a.stream.cmp(&b.stream));
    Ok(out)
}

/// An entity on its way through the log.
struct Folding {
    entity: Box<dyn Entity>,
    records: u64,
}

/// Folds the streams of one partition as their records come.
fn fold(log: &dyn Log, kinds: &Kinds, partition: u16, progress: &mut dyn FnMut(u64)) -> Result<BTreeMap<StreamId, Folding>, ReplayError> {
    let mut streams: BTreeMap<StreamId, Folding> = BTreeMap::new();
    let end = log.head(partition)?.next_offset;
    let (mut offset, mut records) = (0, 0);
    while offset < end {
        for frame in log.read(partition, offset, READ_BYTES)? {
            for (at, (_, bytes)) in (frame.first_offset..).zip(&frame.records) {
                // A read begins with the whole frame that holds the offset.
                if at < offset {
                    continue;
                }
                let record = record::decode(bytes).map_err(|error| ReplayError::Record { partition, error })?;
                let folding = match streams.entry(record.header.stream.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let handler = kinds
                            .get(&new.key().kind)
                            .ok_or_else(|| ReplayError::UnknownKind(new.key().clone()))?;
                        let entity = handler
                            .recover(new.key(), None, &mut std::iter::empty())
                            .map_err(ReplayError::fold)?;
                        new.insert(Folding { entity, records: 0 })
                    }
                };
                folding.entity.fold(&record).map_err(ReplayError::fold)?;
                folding.records += 1;
                records += 1;
            }
            offset = offset.max(frame.first_offset + frame.records.len() as u64);
            progress(records);
        }
    }
    Ok(streams)
}

impl ReplayError {
    fn fold(error: ParkedError) -> Self {
        Self::Fold {
            detail: error.to_string(),
            stream: error.stream,
        }
    }
}
