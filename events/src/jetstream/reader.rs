//! Reading a partition: forward from an offset, or records at their places.

use super::{
    partition::{NoTail, Partition},
    wire::{Silence, Stored},
};
use crate::{
    broker::{
        frames::{mark, unit_of},
        marks::{Mark, START, Stop, before},
    },
    frame::Decoded,
    port::{FrameRead, Place, ReadError},
};
use futures::{StreamExt, TryStreamExt, stream};
use quipu_schemas::{
    limits::{BROKER_READ_BYTES, BROKER_READ_MESSAGES, BROKER_READS_AT_ONCE},
    record::check_hash,
};
use std::{collections::BTreeMap, sync::Arc};

/// Messages between two marks that are read through rather than halved.
const READ_THROUGH: u64 = 8;

fn io(silence: &Silence) -> ReadError {
    ReadError::Io(silence.to_string())
}

impl Partition {
    /// Messages from a sequence on, contiguous; empty at the end. A replica may lag: what is known to be there is asked
    /// of the leader, and what the leader does not have is damage.
    async fn messages(&self, from: u64, count: u64, bytes: usize) -> Result<Vec<Stored>, ReadError> {
        let bytes = bytes.clamp(BROKER_READ_BYTES.0, BROKER_READ_BYTES.1);
        let place = self.place();
        let mut found = if count == 1 {
            let one = self.asked(|| self.wire.direct(&place, from)).await;
            one.map_err(|e| io(&e))?.into_iter().collect()
        } else {
            let many = self.asked(|| self.wire.direct_from(&place, from, count, bytes)).await;
            many.map_err(|e| io(&e))?
        };
        let contiguous = found.iter().zip(from..).take_while(|(m, sequence)| m.sequence == *sequence).count();
        let gap = contiguous < found.len();
        found.truncate(contiguous);
        if found.is_empty() && (gap || from <= self.marks().last().sequence) {
            found.extend(self.ask_leader(from).await?);
        }
        Ok(found)
    }

    /// A message that is known to be there.
    async fn ask_leader(&self, sequence: u64) -> Result<Option<Stored>, ReadError> {
        if let Some(message) = self.leader_has(Some(sequence)).await.map_err(|e| io(&e))? {
            return Ok(Some(message));
        }
        // Gone, or a leader that was deposed: the end tells.
        let end = self.tail().await.map_err(|e| self.no_tail(e))?;
        match self.leader_has(Some(sequence)).await.map_err(|e| io(&e))? {
            None if end.sequence >= sequence => Err(self.stop_at(Stop {
                sequence,
                offset: self.offset_before(sequence),
                detail: "the stream has lost this message".into(),
            })),
            found => Ok(found),
        }
    }

    fn offset_before(&self, sequence: u64) -> u64 {
        let marks = self.marks();
        marks.before_sequence(sequence).head.next_offset
    }

    pub(crate) fn no_tail(&self, error: NoTail) -> ReadError {
        match error {
            NoTail::Silent(silence) => io(&silence),
            NoTail::Damaged(error) => error,
        }
    }

    /// The mark after which everything from `offset` on follows; `None` if there is nothing from there on.
    async fn locate(&self, offset: u64) -> Result<Option<Mark>, ReadError> {
        let (mut low, mut high) = self.marks().around(offset);
        if low.head.next_offset == offset || low == START && offset == 0 {
            return Ok(Some(low));
        }
        if high.is_none() {
            let end = self.tail().await.map_err(|e| self.no_tail(e))?;
            if end.head.next_offset <= offset {
                return Ok(None);
            }
            (low, high) = self.marks().around(offset);
        }
        let mut high = high.map_or(low.sequence, |m| m.sequence);
        while high.saturating_sub(low.sequence) > READ_THROUGH {
            let middle = low.sequence + (high - low.sequence) / 2;
            let Some(message) = self.messages(middle, 1, 0).await?.into_iter().next() else {
                return Err(ReadError::Io(format!("{} does not show sequence {middle} yet", self.stream)));
            };
            // Damage is named where reading forward meets it.
            let Ok(frame) = self.frames.decode(&message.payload) else { break };
            let probe = mark(middle, &frame);
            self.marks().note(probe);
            if before(&probe, offset) {
                low = probe;
            } else {
                high = middle;
            }
        }
        Ok(Some(low))
    }

    /// The frame after a mark; from the leader if what any replica gave does not follow.
    async fn follow(&self, end: &Mark, message: &mut Stored) -> Result<(Decoded, Mark), ReadError> {
        if let Ok(followed) = self.decode_after(end, message) {
            return Ok(followed);
        }
        if let Some(other) = self.leader_has(Some(end.sequence + 1)).await.map_err(|e| io(&e))? {
            *message = other;
        }
        self.decode_after(end, message).map_err(|detail| {
            self.stop_at(Stop {
                sequence: end.sequence + 1,
                offset: end.head.next_offset,
                detail,
            })
        })
    }

    /// As [`crate::port::Log::read`].
    pub(crate) async fn read(&self, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let stopped = self.marks().stop.clone();
        if let Some(stop) = stopped.filter(|stop| stop.offset <= from_offset) {
            return Err(self.damaged(&stop));
        }
        let (mut frames, mut whole) = (Vec::new(), 0);
        match self.read_into(from_offset, max_bytes, &mut frames, &mut whole).await {
            Err(error) if whole == 0 => return Err(error),
            // What came before the failure is whole; the next read meets it again.
            Ok(()) | Err(_) => {}
        }
        frames.truncate(whole);
        Ok(frames)
    }

    /// Nothing behind this place is read any more, until the log is opened again.
    fn stop_at(&self, stop: Stop) -> ReadError {
        let error = self.damaged(&stop);
        self.marks().stop.get_or_insert(stop);
        error
    }

    async fn read_into(&self, from_offset: u64, max_bytes: usize, frames: &mut Vec<FrameRead>, whole: &mut usize) -> Result<(), ReadError> {
        let Some(mut end) = self.locate(from_offset).await? else {
            return Ok(());
        };
        let mut bytes = 0;
        loop {
            let messages = self
                .messages(end.sequence + 1, BROKER_READ_MESSAGES, max_bytes.saturating_sub(bytes))
                .await?;
            if messages.is_empty() {
                return Ok(());
            }
            for mut message in messages {
                let (frame, mark) = self.follow(&end, &mut message).await?;
                let (starts, claim) = (frame.header.first_offset, mark.claim);
                end = mark;
                self.marks().note(mark);
                if (claim && starts < from_offset) || (!claim && mark.head.next_offset <= from_offset) {
                    continue;
                }
                bytes += frame.records.iter().map(ExactSizeIterator::len).sum::<usize>();
                frames.push(self.frames.read(mark.sequence, &message.payload, frame));
                if !claim {
                    *whole = frames.len();
                    if bytes >= max_bytes {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes records out of one message.
    async fn records(&self, sequence: u64, places: Vec<(usize, Place)>) -> Result<Vec<(usize, Vec<u8>)>, ReadError> {
        let missing = |place: &Place| ReadError::Io(format!("no record at {} sequence {sequence} byte {}", self.stream, place.at));
        let damaged = |detail| {
            self.damaged(&Stop {
                sequence,
                offset: self.offset_before(sequence),
                detail,
            })
        };
        let place = self.place();
        let mut message = self.asked(|| self.wire.direct(&place, sequence)).await.map_err(|e| io(&e))?;
        if message.as_ref().is_none_or(|m| self.frames.decode(&m.payload).is_err()) {
            message = self.leader_has(Some(sequence)).await.map_err(|e| io(&e))?;
        }
        let message = message.ok_or_else(|| {
            places
                .first()
                .map_or_else(|| ReadError::Io(String::new()), |(_, place)| missing(place))
        })?;
        let frame = self.frames.decode(&message.payload).map_err(damaged)?;
        let mut records = Vec::with_capacity(places.len());
        for (index, place) in places {
            let range = place.at as usize..place.at as usize + place.len as usize;
            if !frame.records.contains(&range) {
                return Err(missing(&place));
            }
            let record = &message.payload[range];
            check_hash(record)?;
            records.push((index, record.to_vec()));
        }
        Ok(records)
    }
}

/// As [`crate::port::Log::read_at`].
pub(crate) async fn read_at(partitions: Arc<Vec<Arc<Partition>>>, places: Vec<Place>) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut units: BTreeMap<(u16, u64), Vec<(usize, Place)>> = BTreeMap::new();
    for (index, place) in places.iter().enumerate() {
        units.entry(unit_of(place)).or_default().push((index, *place));
    }
    let reads = units.into_iter().map(|((partition, sequence), places)| {
        let partition = partitions.get(usize::from(partition)).cloned();
        async move {
            match partition {
                Some(partition) if sequence > 0 => partition.records(sequence, places).await,
                _ => Err(ReadError::Io(format!("no record at sequence {sequence} of no partition"))),
            }
        }
    });
    let found: Vec<Vec<(usize, Vec<u8>)>> = stream::iter(reads).buffer_unordered(BROKER_READS_AT_ONCE).try_collect().await?;
    let mut records = vec![Vec::new(); places.len()];
    for (index, record) in found.into_iter().flatten() {
        records[index] = record;
    }
    Ok(records)
}
