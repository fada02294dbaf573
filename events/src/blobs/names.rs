//! Which blobs the records of a log name.
//!
//! The names are found in the stored bytes, without knowing what they belong to: a kind of one's own is covered, and
//! so is an event of a later release. Nobody but the codec writes them: free-form JSON of clients may not hold the key.

use crate::port::{Log, ReadError};
use quipu_schemas::{
    digest::Digest,
    ids::OrgId,
    limits::FRAME_MAX_BYTES,
    personal::BlobRef,
    record::{RecordError, decode},
};
use std::collections::BTreeSet;

/// A blob that a record names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Whose.
    pub org: OrgId,
    /// Its name.
    pub name: Digest,
}

/// Why the names of a log are not known.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The log does not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is damaged.
    #[error("partition {partition}, offset {offset}: {error}")]
    Record {
        /// The partition.
        partition: u16,
        /// The record's offset.
        offset: u64,
        /// What is wrong.
        error: RecordError,
    },
}

/// The blobs that a stored record names.
pub fn of_record(bytes: &[u8]) -> Result<Vec<Named>, RecordError> {
    if !BlobRef::may_be_in(bytes) {
        return Ok(Vec::new());
    }
    let record = decode(bytes)?;
    let mut found = Vec::new();
    let mut take = |text: &str| {
        if BlobRef::may_be_in(text.as_bytes())
            && let Ok(value) = serde_json::from_str(text)
        {
            BlobRef::each_in(&value, &mut |blob: BlobRef| {
                if let Some(org) = blob.org() {
                    found.push(Named { org, name: blob.digest });
                }
            });
        }
    };
    record.events.iter().for_each(|event| take(event.data.get()));
    for reaction in &record.reactions {
        // What was decoded from JSON has a JSON form.
        take(&serde_json::to_string(&reaction.reaction).unwrap_or_default());
    }
    Ok(found)
}

/// Visits every blob that the log names, as often as it is named, with the partition and offset of the record.
pub fn each(log: &dyn Log, mut visit: impl FnMut(u16, u64, Named)) -> Result<(), NamesError> {
    for partition in 0..log.meta().partitions {
        let end = log.head(partition)?.next_offset;
        let mut next = 0;
        while next < end {
            let frames = log.read(partition, next, 4 * FRAME_MAX_BYTES)?;
            let before = next;
            for frame in frames {
                for (offset, (_, bytes)) in (frame.first_offset..).zip(&frame.records) {
                    if offset < next {
                        continue;
                    }
                    next = offset + 1;
                    let names = of_record(bytes).map_err(|error| NamesError::Record { partition, offset, error })?;
                    names.into_iter().for_each(|named| visit(partition, offset, named));
                }
            }
            if next == before {
                let (at, detail) = ("end of what it gives".into(), "it announces more records".into());
                return Err(NamesError::Read(ReadError::Damaged {
                    partition,
                    offset: next,
                    at,
                    detail,
                }));
            }
        }
    }
    Ok(())
}

/// Every blob that the log names, once.
pub fn of_log(log: &dyn Log) -> Result<BTreeSet<Named>, NamesError> {
    let mut names = BTreeSet::new();
    each(log, |_, _, named| {
        names.insert(named);
    })?;
    Ok(names)
}
