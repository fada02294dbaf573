//! Reading a partition: forward from an offset, or records at their places.

use super::{
    partition::{NoTail, Partition},
    wire::{Ended, Fetch},
};
use crate::{
    broker::{
        frames::{mark, unit_of},
        marks::{Mark, START, Stop, before},
    },
    port::{FrameRead, Place, ReadError},
};
use quipu_schemas::record::check_hash;
use std::{collections::BTreeMap, sync::Arc};

/// Offsets between two marks that are read through rather than halved.
const READ_THROUGH: u64 = 32;

/// What one read has found so far.
struct Found {
    end: Mark,
    frames: Vec<FrameRead>,
    /// How many of the frames end with one of records.
    whole: usize,
    bytes: usize,
    damage: Option<Stop>,
}

impl Partition {
    /// The mark behind which everything from `offset` on follows; `None` if there is nothing from there on.
    fn locate(&self, offset: u64) -> Result<Option<Mark>, ReadError> {
        let (mut low, mut high) = self.known().marks.around(offset);
        if low.head.next_offset == offset || low == START && offset == 0 {
            return Ok(Some(low));
        }
        if high.is_none() {
            let end = self.tail().map_err(NoTail::read_error)?;
            if end.head.next_offset <= offset {
                return Ok(None);
            }
            (low, high) = self.known().marks.around(offset);
        }
        let mut high = high.map_or(low.sequence, |m| m.sequence);
        while high.saturating_sub(low.sequence) > READ_THROUGH {
            let middle = low.sequence + (high - low.sequence) / 2;
            let mut probe = None;
            let first = self.readers.messages(Fetch::Few, self.number, middle, |message| {
                probe = Some(self.frames.decode(message.payload).map(|frame| mark(message.sequence, &frame)));
                false
            });
            first.map_err(|e| self.no_messages(e, middle).read_error())?;
            match probe {
                // Damage is named where reading forward meets it.
                Some(Err(_)) => break,
                Some(Ok(probe)) if probe.sequence < high => {
                    self.known().marks.note(probe);
                    if before(&probe, offset) {
                        low = probe;
                    } else {
                        high = probe.sequence;
                    }
                }
                // Only markers from the middle on.
                _ => high = middle,
            }
        }
        Ok(Some(low))
    }

    /// As [`crate::port::Log::read`].
    pub(crate) fn read(&self, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let stopped = self.known().marks.stop.clone();
        if let Some(stop) = stopped.filter(|stop| stop.offset <= from_offset) {
            return Err(self.damaged(&stop));
        }
        let Some(low) = self.locate(from_offset)? else {
            return Ok(Vec::new());
        };
        let mut found = Found {
            end: low,
            frames: Vec::new(),
            whole: 0,
            bytes: 0,
            damage: None,
        };
        match self.read_into(from_offset, max_bytes, &mut found) {
            Err(error) if found.whole == 0 => return Err(error),
            // What came before the failure is whole; the next read meets it again.
            Ok(()) | Err(_) => {}
        }
        found.frames.truncate(found.whole);
        Ok(found.frames)
    }

    fn read_into(&self, from_offset: u64, max_bytes: usize, found: &mut Found) -> Result<(), ReadError> {
        let end = self.end().map_err(NoTail::read_error)?;
        let (last, quiet) = {
            let known = self.known();
            (known.marks.last(), end <= known.quiet_to)
        };
        if quiet && found.end.sequence == last.sequence {
            return Ok(());
        }
        let after = found.end.sequence;
        let ended = self.readers.messages(Fetch::Many, self.number, after, |message| {
            let frame = match self.frames.decode_after(&found.end.head, message.payload) {
                Ok(frame) => frame,
                Err(detail) => {
                    found.damage = Some(Stop {
                        sequence: message.sequence,
                        offset: found.end.head.next_offset,
                        detail,
                    });
                    return false;
                }
            };
            let (mark, starts) = (mark(message.sequence, &frame), frame.header.first_offset);
            found.end = mark;
            self.known().marks.note(mark);
            if (mark.claim && starts < from_offset) || (!mark.claim && mark.head.next_offset <= from_offset) {
                return !(quiet && mark.sequence == last.sequence);
            }
            found.bytes += frame.records.iter().map(ExactSizeIterator::len).sum::<usize>();
            found.frames.push(self.frames.read(mark.sequence, message.payload, frame));
            if !mark.claim {
                found.whole = found.frames.len();
            }
            (mark.claim || found.bytes < max_bytes) && !(quiet && mark.sequence == last.sequence)
        });
        if let Some(stop) = found.damage.take() {
            return Err(self.stop_at(stop));
        }
        match ended {
            Ok(Ended::Enough) => Ok(()),
            Ok(Ended::AtTheEnd) if found.end.sequence < last.sequence => Err(self.stop_at(Stop {
                sequence: found.end.sequence + 1,
                offset: found.end.head.next_offset,
                detail: format!(
                    "the topic has lost messages: there was one at offset {}",
                    last.sequence.saturating_sub(1)
                ),
            })),
            Ok(Ended::AtTheEnd) => {
                let mut known = self.known();
                if known.marks.last().sequence == found.end.sequence {
                    known.quiet_to = known.quiet_to.max(end);
                }
                Ok(())
            }
            Err(e) => Err(match self.no_messages(e, found.end.sequence) {
                NoTail::Silent(silence) => ReadError::Io(silence.to_string()),
                NoTail::Damaged(error) => error,
            }),
        }
    }

    /// Takes records out of messages at ascending sequences.
    fn records(&self, wanted: &BTreeMap<u64, Vec<(usize, Place)>>, records: &mut [Vec<u8>]) -> Result<(), ReadError> {
        let missing = |sequence: u64, at: u32| {
            let topic = &self.readers.topic;
            ReadError::Io(format!("no record at {topic} [{}] offset {} byte {at}", self.number, sequence - 1))
        };
        let mut todo = wanted.iter().peekable();
        while let Some((first, _)) = todo.peek() {
            let first = **first;
            let mut failed = None;
            let ended = self.readers.messages(Fetch::Few, self.number, first - 1, |message| {
                let Some((sequence, places)) = todo.peek() else { return false };
                if message.sequence < **sequence {
                    // Messages between two that are wanted: passed over if they are few.
                    return true;
                }
                let taken = if message.sequence == **sequence {
                    self.take(message.sequence, message.payload, places, records)
                } else {
                    Err(missing(**sequence, places.first().map_or(0, |(_, place)| place.at)))
                };
                if let Err(e) = taken {
                    failed = Some(e);
                    return false;
                }
                let here = message.sequence;
                todo.next();
                todo.peek().is_some_and(|(next, _)| **next - here <= READ_THROUGH)
            });
            if let Some(e) = failed {
                return Err(e);
            }
            match ended.map_err(|e| self.no_messages(e, first - 1).read_error())? {
                Ended::Enough => {}
                Ended::AtTheEnd => {
                    if let Some((sequence, places)) = todo.peek() {
                        return Err(missing(**sequence, places.first().map_or(0, |(_, place)| place.at)));
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&self, sequence: u64, payload: &[u8], places: &[(usize, Place)], records: &mut [Vec<u8>]) -> Result<(), ReadError> {
        let frame = self.frames.decode(payload).map_err(|detail| {
            self.damaged(&Stop {
                sequence,
                offset: self.known().marks.before_sequence(sequence).head.next_offset,
                detail,
            })
        })?;
        for (index, place) in places {
            let range = place.at as usize..place.at as usize + place.len as usize;
            if !frame.records.contains(&range) {
                return Err(ReadError::Io(format!(
                    "no record at {} [{}] offset {} byte {}",
                    self.readers.topic,
                    self.number,
                    sequence - 1,
                    place.at
                )));
            }
            let record = &payload[range];
            check_hash(record)?;
            records[*index] = record.to_vec();
        }
        Ok(())
    }
}

/// As [`crate::port::Log::read_at`].
pub(crate) fn read_at(partitions: &[Arc<Partition>], places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut wanted: BTreeMap<u16, BTreeMap<u64, Vec<(usize, Place)>>> = BTreeMap::new();
    for (index, place) in places.iter().enumerate() {
        let (partition, sequence) = unit_of(place);
        if sequence == 0 || usize::from(partition) >= partitions.len() {
            return Err(ReadError::Io(format!("no record at sequence {sequence} of no partition")));
        }
        let of = wanted.entry(partition).or_default();
        of.entry(sequence).or_default().push((index, *place));
    }
    let mut records = vec![Vec::new(); places.len()];
    for (partition, wanted) in wanted {
        partitions[usize::from(partition)].records(&wanted, &mut records)?;
    }
    Ok(records)
}
