//! The log in memory: for tests, simulation and throw-away nodes.

use crate::{
    frame::{self, FrameHeader},
    port::{AppendDone, AppendError, Appended, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError},
};
use parking_lot::{Mutex, MutexGuard};
use quipu_schemas::{digest::Digest, envelope::Durability, position::LogId, record::check_hash};
use std::collections::VecDeque;

/// What the next append to a partition will meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An unknown outcome; the frame is stored.
    UnknownStored,
    /// An unknown outcome; the frame is not stored.
    UnknownLost,
    /// A full disk.
    Full,
    /// No answer: what waits for one is dropped, as when a log's writer crashes. The frame is not stored.
    Dropped,
}

#[derive(Default)]
struct Partition {
    frames: Vec<FrameRead>,
    head: Option<Head>,
    fault: Option<Fault>,
    /// After an unknown outcome: refuses until the next claim.
    unsure: bool,
}

impl Partition {
    fn head(&self) -> Head {
        self.head.unwrap_or(Head {
            epoch: 0,
            next_offset: 0,
            frame_hash: Digest::ZERO,
        })
    }
}

/// A log in memory. Durability class `memory`: it lives as long as this value.
pub struct MemoryLog {
    log_id: LogId,
    generation: u32,
    partitions: Vec<Mutex<Partition>>,
    turns: Vec<Mutex<Turn>>,
}

/// Whoever is told of an append may append again, and must have heard of the first one to its end before the second one is
/// told: what is appended meanwhile waits.
#[derive(Default)]
struct Turn {
    is_telling: bool,
    waiting: VecDeque<(Batch, AppendDone)>,
}

/// Ends a turn also where whoever was told crashed.
struct Telling<'a>(&'a Mutex<Turn>);

impl Telling<'_> {
    /// What waits; once nothing does, the turn has ended.
    fn next(&self) -> Option<(Batch, AppendDone)> {
        let mut turn = self.0.lock();
        let next = turn.waiting.pop_front();
        turn.is_telling = next.is_some();
        next
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_telling = false;
        }
    }
}

impl MemoryLog {
    /// An empty log of generation 1.
    pub fn new(log_id: LogId, partitions: u16) -> Self {
        Self {
            log_id,
            generation: 1,
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            turns: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    /// Makes the next append to a partition fail.
    pub fn fail_next(&self, partition: u16, fault: Fault) {
        if let Some(mut p) = self.partition(partition) {
            p.fault = Some(fault);
        }
    }

    fn partition(&self, partition: u16) -> Option<MutexGuard<'_, Partition>> {
        self.partitions.get(usize::from(partition)).map(|p| p.lock())
    }

    fn store(&self, state: &mut Partition, header: FrameHeader, records: &[&[u8]]) -> Result<Appended, AppendError> {
        let mut bytes = Vec::new();
        let encoded = frame::encode_onto(&mut bytes, &header, records.iter().copied()).map_err(|e| AppendError::Invalid(e.to_string()))?;
        let unit = (u64::from(header.partition) << 48) | state.frames.len() as u64;
        let places: Vec<Place> = records
            .iter()
            .enumerate()
            .map(|(at, record)| Place {
                unit,
                at: at as u32,
                len: record.len() as u32,
            })
            .collect();
        state.head = Some(Head {
            epoch: header.epoch,
            next_offset: header.first_offset + records.len() as u64,
            frame_hash: encoded.hash,
        });
        state.frames.push(FrameRead {
            generation: header.generation,
            partition: header.partition,
            epoch: header.epoch,
            batch_id: header.batch_id,
            first_offset: header.first_offset,
            previous: header.previous,
            hash: encoded.hash,
            owner: header.owner,
            records: places
                .iter()
                .zip(records)
                .map(|(place, record)| (*place, record.to_vec()))
                .collect(),
        });
        Ok(Appended {
            frame_hash: encoded.hash,
            places,
        })
    }

    fn append_now(&self, batch: Batch, done: AppendDone) {
        let is_dropped = |p: &mut Partition| p.fault.take_if(|fault| *fault == Fault::Dropped).is_some();
        if self.partition(batch.partition).is_some_and(|mut p| is_dropped(&mut p)) {
            return drop(done);
        }
        // Outside the lock: `done` may append again.
        let result = self.try_append(batch);
        done(result);
    }

    fn try_append(&self, batch: Batch) -> Result<Appended, AppendError> {
        let mut state = self.partition(batch.partition).ok_or_else(|| no_partition(batch.partition))?;
        let head = state.head();
        if batch.epoch < head.epoch {
            return Err(AppendError::Fenced {
                partition: batch.partition,
                epoch: head.epoch,
            });
        }
        if state.unsure {
            return Err(AppendError::Poisoned(format!(
                "partition {} has an append of unknown outcome: claim it again",
                batch.partition
            )));
        }
        if batch.epoch != head.epoch || batch.first_offset != head.next_offset || batch.previous != head.frame_hash {
            return Err(AppendError::Conflict {
                partition: batch.partition,
                expected: head.next_offset,
            });
        }
        let header = FrameHeader {
            log_id: self.log_id,
            generation: self.generation,
            partition: batch.partition,
            epoch: batch.epoch,
            batch_id: batch.batch_id,
            first_offset: batch.first_offset,
            previous: batch.previous,
            owner: None,
        };
        let records: Vec<&[u8]> = batch.records.iter().map(|r| r.bytes.as_slice()).collect();
        match state.fault.take() {
            None => self.store(&mut state, header, &records),
            Some(Fault::Full) => Err(AppendError::Full),
            Some(fault) => {
                if fault == Fault::UnknownStored {
                    self.store(&mut state, header, &records)?;
                }
                state.unsure = true;
                Err(AppendError::Unknown("injected".into()))
            }
        }
    }
}

fn no_partition(partition: u16) -> AppendError {
    AppendError::Invalid(format!("no such partition: {partition}"))
}

impl Log for MemoryLog {
    fn meta(&self) -> LogMeta {
        LogMeta {
            log_id: self.log_id,
            generation: self.generation,
            partitions: self.partitions.len() as u16,
            durability: Durability::Memory,
            backend: "memory",
        }
    }

    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        let mut state = self.partition(partition).ok_or_else(|| no_partition(partition))?;
        let head = state.head();
        let header = claim_header(self.log_id, self.generation, partition, head, owner);
        self.store(&mut state, header, &[])?;
        state.unsure = false;
        Ok(state.head())
    }

    fn append(&self, batch: Batch, done: AppendDone) {
        let Some(turn) = self.turns.get(usize::from(batch.partition)) else {
            return self.append_now(batch, done);
        };
        {
            let mut turn = turn.lock();
            if turn.is_telling {
                return turn.waiting.push_back((batch, done));
            }
            turn.is_telling = true;
        }
        let telling = Telling(turn);
        let mut next = Some((batch, done));
        while let Some((batch, done)) = next {
            self.append_now(batch, done);
            next = telling.next();
        }
    }

    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let Some(state) = self.partition(partition) else {
            return Err(ReadError::Io(format!("no such partition: {partition}")));
        };
        let (mut frames, mut whole, mut bytes) = (Vec::new(), 0, 0);
        let start = state
            .frames
            .partition_point(|f| f.first_offset + (f.records.len() as u64) < from_offset);
        for frame in &state.frames[start..] {
            let end = frame.first_offset + frame.records.len() as u64;
            if frame.owner.is_none() && end <= from_offset {
                continue;
            }
            bytes += frame.records.iter().map(|(place, _)| place.len as usize).sum::<usize>();
            frames.push(frame.clone());
            if frame.owner.is_none() {
                whole = frames.len();
                if bytes >= max_bytes {
                    break;
                }
            }
        }
        // A claim is returned with the frame that follows it.
        frames.truncate(whole);
        Ok(frames)
    }

    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut records = Vec::with_capacity(places.len());
        for place in places {
            let missing = || ReadError::Io(format!("no record at unit {} index {}", place.unit, place.at));
            let state = self.partition((place.unit >> 48) as u16).ok_or_else(missing)?;
            let frame = state.frames.get((place.unit & ((1 << 48) - 1)) as usize).ok_or_else(missing)?;
            let (_, record) = frame.records.get(place.at as usize).ok_or_else(missing)?;
            check_hash(record)?;
            records.push(record.clone());
        }
        Ok(records)
    }

    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        match self.partition(partition) {
            Some(state) => Ok(state.head()),
            None => Err(ReadError::Io(format!("no such partition: {partition}"))),
        }
    }
}

/// The header of the frame by which `owner` takes over a partition whose end is `head`.
pub(crate) fn claim_header(log_id: LogId, generation: u32, partition: u16, head: Head, owner: &str) -> FrameHeader {
    let epoch = head.epoch + 1;
    let id = Digest::of(&[
        b"claim",
        &epoch.to_le_bytes(),
        &partition.to_le_bytes(),
        &head.frame_hash.0,
        owner.as_bytes(),
    ]);
    FrameHeader {
        log_id,
        generation,
        partition,
        epoch,
        batch_id: id.0[..16].try_into().expect("16 of 32 bytes"),
        first_offset: head.next_offset,
        previous: head.frame_hash,
        owner: Some(owner.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Owner, append, read_all};

    #[test]
    fn an_append_of_unknown_outcome_is_stored_or_lost_as_was_asked() {
        for (fault, stored) in [(Fault::UnknownStored, 1), (Fault::UnknownLost, 0)] {
            let log = MemoryLog::new(LogId([1; 16]), 1);
            let mut owner = Owner::claim(&log, 0);
            assert_eq!(log.trouble(), None);
            log.fail_next(0, fault);
            assert!(matches!(append(&log, owner.batch(1)), Err(AppendError::Unknown(_))));
            assert_eq!(log.claim(0, "again").unwrap().next_offset, stored, "{fault:?}");
            let frames = read_all(&log, 0, 1 << 20).unwrap();
            assert_eq!(frames.iter().flat_map(|f| &f.records).count() as u64, stored, "{fault:?}");
        }
    }
}
