//! The frames of one partition as messages of a broker: one message a frame.

use super::marks::Mark;
use crate::{
    frame::{self, Decoded, Encoded, FrameError, FrameHeader},
    port::{Batch, FrameRead, Head, Place},
};
use quipu_schemas::position::LogId;
use std::ops::Range;

/// Bits of a place's unit that hold the sequence; the partition is above.
const UNIT_BITS: u32 = 48;

/// Whose frames a partition holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) log_id: LogId,
    pub(crate) generation: u32,
    pub(crate) partition: u16,
}

impl Frames {
    /// Decodes a message of this partition.
    pub(crate) fn decode(&self, payload: &[u8]) -> Result<Decoded, String> {
        let frame = frame::decode(payload).map_err(|e| format!("the message is no frame: {e}"))?;
        if frame.len != payload.len() {
            return Err("the message holds more than its frame".into());
        }
        if frame.header.log_id != self.log_id {
            return Err("frame of another log".into());
        }
        if frame.header.partition != self.partition {
            return Err(format!("frame of partition {}", frame.header.partition));
        }
        Ok(frame)
    }

    /// The message as a frame of records, or why it does not continue the partition behind `head`.
    pub(crate) fn decode_after(&self, head: &Head, payload: &[u8]) -> Result<Decoded, String> {
        let frame = self.decode(payload)?;
        let header = &frame.header;
        if header.first_offset != head.next_offset {
            return Err(format!(
                "frame begins at offset {} where {} should follow",
                header.first_offset, head.next_offset
            ));
        }
        if header.previous != head.frame_hash {
            return Err("frame does not name the hash of the frame before it".into());
        }
        let follows = if header.owner.is_some() {
            header.epoch > head.epoch
        } else {
            header.epoch == head.epoch
        };
        if !follows {
            return Err(format!("frame of epoch {} after epoch {}", header.epoch, head.epoch));
        }
        Ok(frame)
    }

    /// The header of a batch's frame.
    pub(crate) fn header(&self, batch: &Batch) -> FrameHeader {
        FrameHeader {
            log_id: self.log_id,
            generation: self.generation,
            partition: batch.partition,
            epoch: batch.epoch,
            batch_id: batch.batch_id,
            first_offset: batch.first_offset,
            previous: batch.previous,
            owner: None,
        }
    }

    /// Where a record is: the sequence under the partition, and the record's bytes in the frame.
    pub(crate) fn place(&self, sequence: u64, range: &Range<usize>) -> Place {
        Place {
            unit: (u64::from(self.partition) << UNIT_BITS) | sequence,
            at: range.start as u32,
            len: range.len() as u32,
        }
    }

    pub(crate) fn read(&self, sequence: u64, payload: &[u8], frame: Decoded) -> FrameRead {
        let records = frame.records.iter();
        FrameRead {
            generation: frame.header.generation,
            partition: frame.header.partition,
            epoch: frame.header.epoch,
            batch_id: frame.header.batch_id,
            first_offset: frame.header.first_offset,
            previous: frame.header.previous,
            hash: frame.hash,
            owner: frame.header.owner,
            records: records
                .map(|range| (self.place(sequence, range), payload[range.clone()].to_vec()))
                .collect(),
        }
    }
}

/// Encodes a frame of a batch's records, or a claim.
pub(crate) fn encode(header: &FrameHeader, batch: Option<&Batch>) -> Result<(Vec<u8>, Encoded), FrameError> {
    let records: Vec<&[u8]> = batch.iter().flat_map(|b| b.records.iter()).map(|r| r.bytes.as_slice()).collect();
    let mut bytes = Vec::new();
    let encoded = frame::encode_onto(&mut bytes, header, records.into_iter())?;
    Ok((bytes, encoded))
}

/// Partition and sequence of a place's unit.
pub(crate) fn unit_of(place: &Place) -> (u16, u64) {
    ((place.unit >> UNIT_BITS) as u16, place.unit & ((1 << UNIT_BITS) - 1))
}

/// The end of a partition as of a message that was read.
pub(crate) fn mark(sequence: u64, frame: &Decoded) -> Mark {
    Mark {
        sequence,
        head: Head {
            epoch: frame.header.epoch,
            next_offset: frame.header.first_offset + frame.records.len() as u64,
            frame_hash: frame.hash,
        },
        claim: frame.header.owner.is_some(),
    }
}

/// The end of a partition as of a message that was written.
pub(crate) fn written(sequence: u64, header: &FrameHeader, encoded: &Encoded) -> Mark {
    Mark {
        sequence,
        head: Head {
            epoch: header.epoch,
            next_offset: header.first_offset + encoded.records.len() as u64,
            frame_hash: encoded.hash,
        },
        claim: header.owner.is_some(),
    }
}
