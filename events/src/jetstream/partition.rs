//! One partition's stream: its frames, checked, and its end.

use super::{
    marks::{Mark, Marks, START, Stop},
    wire::{Answer, Place, Silence, Stored, Wire},
};
use crate::{
    frame::{self, Decoded},
    port::{FrameRead, Head, Place as RecordPlace, ReadError},
};
use quipu_schemas::position::LogId;
use serde::Deserialize;
use serde_json::json;
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// First and longest pause between two questions about the same thing.
pub(crate) const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// A partition of an open log.
pub(crate) struct Partition {
    pub(crate) wire: Arc<Wire>,
    pub(crate) log_id: LogId,
    pub(crate) generation: u32,
    pub(crate) number: u16,
    pub(crate) stream: String,
    pub(crate) subject: String,
    /// How long an outcome is looked for.
    pub(crate) outcome: Duration,
    pub(crate) marks: Mutex<Marks>,
}

/// Why the end of a partition is not known.
#[derive(Debug)]
pub(crate) enum NoTail {
    Silent(Silence),
    Damaged(ReadError),
}

/// Doubles from the shortest pause to the longest.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(PAUSE.0)
    }

    pub(crate) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE.1);
    }
}

impl Partition {
    /// The subjects of all partitions of the log.
    pub(crate) fn family(&self) -> String {
        self.subject.rsplit_once('.').map_or_else(|| self.subject.clone(), |(log, _)| format!("{log}.*"))
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            stream: &self.stream,
            subject: &self.subject,
        }
    }

    pub(crate) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn damaged(&self, stop: &Stop) -> ReadError {
        ReadError::Damaged {
            partition: self.number,
            offset: stop.offset,
            at: format!("{} sequence {}", self.stream, stop.sequence),
            detail: stop.detail.clone(),
        }
    }

    /// Decodes a message of this partition.
    pub(crate) fn decode(&self, payload: &[u8]) -> Result<Decoded, String> {
        let frame = frame::decode(payload).map_err(|e| format!("the message is no frame: {e}"))?;
        if frame.len != payload.len() {
            return Err("the message holds more than its frame".into());
        }
        if frame.header.log_id != self.log_id {
            return Err("frame of another log".into());
        }
        if frame.header.partition != self.number {
            return Err(format!("frame of partition {}", frame.header.partition));
        }
        Ok(frame)
    }

    /// Decodes the message that follows a mark.
    pub(crate) fn decode_after(&self, before: &Mark, message: &Stored) -> Result<(Decoded, Mark), String> {
        if message.sequence != before.sequence + 1 {
            return Err(format!(
                "the stream has no message {}, but has {}",
                before.sequence + 1,
                message.sequence
            ));
        }
        let frame = self.decode(&message.payload)?;
        let (header, head) = (&frame.header, &before.head);
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
        let mark = mark(message.sequence, &frame);
        Ok((frame, mark))
    }

    /// The last message of the stream, as its leader knows it.
    pub(crate) async fn tail(&self) -> Result<Mark, NoTail> {
        let deadline = Instant::now() + self.outcome;
        let mut pause = Pause::new();
        loop {
            let known = self.marks().last();
            let found = match self.wire.at_leader(&self.place(), None).await.map_err(NoTail::Silent)? {
                Some(message) => match self.decode(&message.payload) {
                    Ok(frame) => mark(message.sequence, &frame),
                    Err(detail) => {
                        return Err(NoTail::Damaged(self.damaged(&Stop {
                            sequence: message.sequence,
                            offset: known.head.next_offset,
                            detail,
                        })));
                    }
                },
                None => START,
            };
            if found.sequence > known.sequence {
                self.marks().note(found);
                return Ok(found);
            }
            if found == known && (found.sequence > 0 || self.never_written().await.map_err(NoTail::Silent)?) {
                return Ok(found);
            }
            // A deposed leader may be behind for a moment; a stream that stays behind has lost what was acknowledged.
            if Instant::now() >= deadline {
                let detail = if found.sequence == known.sequence {
                    "the message here is not the one that was written".into()
                } else {
                    format!(
                        "the stream ends at sequence {}: messages that were acknowledged are gone",
                        found.sequence
                    )
                };
                return Err(NoTail::Damaged(self.damaged(&Stop {
                    sequence: known.sequence,
                    offset: found.head.next_offset,
                    detail,
                })));
            }
            pause.wait().await;
        }
    }

    /// Whether an empty stream is a new one, not an emptied one.
    async fn never_written(&self) -> Result<bool, Silence> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            last_seq: u64,
        }
        match self.wire.ask::<Info>(&format!("STREAM.INFO.{}", self.stream), &json!({})).await? {
            Answer::Said(info) => Ok(info.state.last_seq == 0),
            Answer::Refused(refusal) => Err(Silence::Lost(refusal.to_string())),
        }
    }

    /// Where a record is: the sequence under the partition, and the record's bytes in the frame.
    pub(crate) fn record_place(&self, sequence: u64, range: &Range<usize>) -> RecordPlace {
        RecordPlace {
            unit: (u64::from(self.number) << UNIT_BITS) | sequence,
            at: range.start as u32,
            len: range.len() as u32,
        }
    }

    pub(crate) fn frame_read(&self, sequence: u64, payload: &[u8], frame: Decoded) -> FrameRead {
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
                .map(|range| (self.record_place(sequence, range), payload[range.clone()].to_vec()))
                .collect(),
        }
    }
}

/// Bits of a place's unit that hold the sequence; the partition is above.
const UNIT_BITS: u32 = 48;

/// Partition and sequence of a place's unit.
pub(crate) fn unit_of(place: &RecordPlace) -> (u16, u64) {
    ((place.unit >> UNIT_BITS) as u16, place.unit & ((1 << UNIT_BITS) - 1))
}

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
