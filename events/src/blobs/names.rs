//! Which blobs the records of a log name.
//!
//! The names are found in the stored bytes, without knowing what they belong to: a kind of one's own is covered, and
//! so is an event of a later release. Nobody but the codec writes them: free-form JSON of clients may not hold the key.

pub use super::retention::Named;

use super::retention::Retention;
use crate::port::{Log, ReadError};
use quipu_schemas::{
    limits::FRAME_MAX_BYTES,
    personal::BlobRef,
    record::{RecordError, decode},
};

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

/// Takes note of what a stored record says of values; the blobs that it names.
pub fn note(retention: &mut Retention, bytes: &[u8]) -> Result<Vec<Named>, RecordError> {
    let may_name = BlobRef::may_be_in(bytes);
    if !may_name && !Retention::may_be_ruled_by(bytes) {
        return Ok(Vec::new());
    }
    let record = decode(bytes)?;
    retention.ruled(&record);
    let mut found = Vec::new();
    let mut take = |text: &str| {
        if BlobRef::may_be_in(text.as_bytes())
            && let Ok(value) = serde_json::from_str(text)
        {
            BlobRef::each_in(&value, &mut |blob: BlobRef| {
                if let Some(org) = blob.org() {
                    let named = Named { org, name: blob.digest };
                    retention.named(named.clone(), &blob.subject, record.header.time);
                    found.push(named);
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

/// Everything that a log says of values.
pub fn of_log(log: &dyn Log) -> Result<Retention, NamesError> {
    let mut retention = Retention::default();
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
                    note(&mut retention, bytes).map_err(|error| NamesError::Record { partition, offset, error })?;
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
    Ok(retention)
}
