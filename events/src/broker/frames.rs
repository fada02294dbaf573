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
        let frame = frame::decode(payload).map_err(|e| format!("the message is not a frame: {e}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::record;
    use quipu_schemas::digest::Digest;

    const OURS: Frames = Frames {
        log_id: LogId([1; 16]),
        generation: 2,
        partition: 3,
    };
    const HEAD: Head = Head {
        epoch: 5,
        next_offset: 40,
        frame_hash: Digest([9; 32]),
    };

    fn batch(records: usize) -> Batch {
        Batch {
            partition: OURS.partition,
            epoch: HEAD.epoch,
            batch_id: [7; 16],
            first_offset: HEAD.next_offset,
            previous: HEAD.frame_hash,
            records: (0..records)
                .map(|n| record("acme/test/t", n as u64 + 1, Digest::ZERO, 20 + n))
                .collect(),
        }
    }

    /// A frame of two records behind `HEAD`, or a claim there, with its header changed.
    fn payload(claim: bool, change: impl FnOnce(&mut FrameHeader)) -> (FrameHeader, Vec<u8>, Encoded) {
        let batch = batch(2);
        let mut header = OURS.header(&batch);
        if claim {
            (header.owner, header.epoch) = (Some("http://me".into()), HEAD.epoch + 1);
        }
        change(&mut header);
        let (bytes, encoded) = encode(&header, (!claim).then_some(&batch)).unwrap();
        (header, bytes, encoded)
    }

    #[test]
    fn a_message_that_continues_the_partition_is_its_frame() {
        for claim in [false, true] {
            let (header, bytes, encoded) = payload(claim, |_| {});
            let decoded = OURS.decode_after(&HEAD, &bytes).unwrap();
            assert_eq!((&decoded.header, decoded.hash, decoded.len), (&header, encoded.hash, bytes.len()));
            assert_eq!((header.generation, header.batch_id), (2, [7; 16]));
            // What was written and what is read name the same end.
            let end = Head {
                epoch: HEAD.epoch + u64::from(claim),
                next_offset: if claim { 40 } else { 42 },
                frame_hash: encoded.hash,
            };
            let expected = Mark {
                sequence: 77,
                head: end,
                claim,
            };
            assert_eq!((mark(77, &decoded), written(77, &header, &encoded)), (expected, expected));
            let read = OURS.read(77, &bytes, decoded);
            assert_eq!(
                (read.generation, read.partition, read.epoch, read.first_offset),
                (2, 3, end.epoch, 40)
            );
            assert_eq!((read.batch_id, read.previous, read.hash), ([7; 16], HEAD.frame_hash, encoded.hash));
            assert_eq!(read.owner.as_deref(), claim.then_some("http://me"));
            let records: Vec<Vec<u8>> = read.records.iter().map(|(_, bytes)| bytes.clone()).collect();
            let expected: Vec<Vec<u8>> = if claim {
                vec![]
            } else {
                batch(2).records.iter().map(|r| r.bytes.clone()).collect()
            };
            assert_eq!(records, expected);
            for ((place, bytes), range) in read.records.iter().zip(&encoded.records) {
                assert_eq!(unit_of(place), (3, 77));
                assert_eq!((place.at as usize, place.len as usize), (range.start, bytes.len()));
            }
        }
        // Partition and sequence do not run into each other.
        let last = Frames {
            partition: u16::MAX,
            ..OURS
        };
        assert_eq!(unit_of(&last.place((1 << 48) - 1, &(0..4))), (u16::MAX, (1 << 48) - 1));
        assert_eq!(unit_of(&last.place(0, &(0..4))), (u16::MAX, 0));
    }

    #[test]
    fn message_that_breaks_the_sequence_is_refused_with_reason() {
        let refused = |claim: bool, change: &dyn Fn(&mut FrameHeader)| OURS.decode_after(&HEAD, &payload(claim, change).1).unwrap_err();
        for claim in [false, true] {
            assert_eq!(refused(claim, &|h| h.log_id = LogId([2; 16])), "frame of another log");
            assert_eq!(refused(claim, &|h| h.partition = 4), "frame of partition 4");
            for offset in [39, 41] {
                let told = format!("frame begins at offset {offset} where 40 should follow");
                assert_eq!(refused(claim, &|h| h.first_offset = offset), told);
            }
            assert_eq!(
                refused(claim, &|h| h.previous = Digest::ZERO),
                "frame does not name the hash of the frame before it"
            );
        }
        // A claim raises the epoch, records are of the one that was claimed last.
        for (claim, epoch, follows) in [
            (false, 4, false),
            (false, 5, true),
            (false, 6, false),
            (true, 4, false),
            (true, 5, false),
            (true, 6, true),
            (true, 9, true),
        ] {
            let decoded = OURS.decode_after(&HEAD, &payload(claim, |h| h.epoch = epoch).1);
            assert_eq!(decoded.is_ok(), follows, "{claim} {epoch}");
            if let Err(detail) = decoded {
                assert_eq!(detail, format!("frame of epoch {epoch} after epoch 5"));
            }
        }
        let (_, mut bytes, _) = payload(false, |_| {});
        bytes.push(0);
        assert_eq!(OURS.decode(&bytes).unwrap_err(), "the message holds more than its frame");
        assert_eq!(OURS.decode(b"{}").unwrap_err(), "the message is not a frame: frame is cut short");
    }
}
