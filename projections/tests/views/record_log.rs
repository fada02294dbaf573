//! A log over a list of records, with the faults that a projector must meet.

use parking_lot::Mutex;
use quipu_events::port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError};
use quipu_schemas::{digest::Digest, envelope::Durability, position::LogId};
use std::collections::BTreeMap;

pub(crate) struct RecordLog {
    pub(crate) partitions: u16,
    pub(crate) generation: u32,
    /// Frames by partition.
    pub(crate) frames: Mutex<BTreeMap<u16, Vec<FrameRead>>>,
    /// Reading at or after this offset of this partition fails.
    pub(crate) damage: Mutex<Option<(u16, u64)>>,
}

impl RecordLog {
    /// Frames of `per_frame` records; each stream goes to its partition.
    pub(crate) fn new(records: &[crate::scene::Sample], partitions: u16, per_frame: usize) -> Self {
        let mut frames: BTreeMap<u16, Vec<FrameRead>> = BTreeMap::new();
        for sample in records {
            let partition = sample.stream.partition(partitions);
            let list = frames.entry(partition).or_default();
            let next = list.last().map_or(0, |f| f.first_offset + f.records.len() as u64);
            let place = (Place::default(), sample.bytes.clone());
            match list.last_mut() {
                Some(frame) if frame.records.len() < per_frame => frame.records.push(place),
                _ => list.push(FrameRead {
                    generation: 1,
                    partition,
                    epoch: 1,
                    batch_id: [0; 16],
                    first_offset: next,
                    previous: Digest::ZERO,
                    hash: Digest::ZERO,
                    owner: None,
                    records: vec![place],
                }),
            }
        }
        Self {
            partitions,
            generation: 1,
            frames: Mutex::new(frames),
            damage: Mutex::default(),
        }
    }

    /// Lets the caller bend a partition's frames.
    pub(crate) fn bend(&self, partition: u16, with: impl FnOnce(&mut Vec<FrameRead>)) {
        with(self.frames.lock().entry(partition).or_default());
    }
}

impl Log for RecordLog {
    fn meta(&self) -> LogMeta {
        LogMeta {
            log_id: LogId([7; 16]),
            generation: self.generation,
            partitions: self.partitions,
            durability: Durability::Memory,
            backend: "records",
        }
    }
    fn claim(&self, partition: u16, _: &str) -> Result<Head, AppendError> {
        Err(AppendError::Invalid(format!("partition {partition} is only read")))
    }
    fn append(&self, _: Batch, done: AppendDone) {
        done(Err(AppendError::Invalid("only read".into())));
    }
    fn read(&self, partition: u16, from: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let damaged = *self.damage.lock();
        let frames = self.frames.lock();
        let mut out = Vec::new();
        let mut bytes = 0;
        for frame in frames.get(&partition).into_iter().flatten() {
            let end = frame.first_offset + frame.records.len() as u64;
            if end <= from && !frame.records.is_empty() {
                continue;
            }
            if let Some((_, offset)) = damaged.filter(|(p, offset)| *p == partition && end > *offset) {
                if out.is_empty() {
                    return Err(ReadError::Damaged {
                        partition,
                        offset,
                        at: "records".into(),
                        detail: "bent".into(),
                    });
                }
                break;
            }
            if bytes >= max_bytes {
                break;
            }
            bytes += frame.records.iter().map(|(_, b)| b.len()).sum::<usize>();
            out.push(frame.clone());
        }
        Ok(out)
    }
    fn read_at(&self, _: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        Err(ReadError::Io("not by place".into()))
    }
    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        let frames = self.frames.lock();
        let last = frames.get(&partition).and_then(|f| f.last());
        Ok(Head {
            epoch: last.map_or(0, |f| f.epoch),
            next_offset: last.map_or(0, |f| f.first_offset + f.records.len() as u64),
            frame_hash: Digest::ZERO,
        })
    }
}
