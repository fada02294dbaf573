//! The newest records of a broker's log, kept in memory: what a node appended or read while it followed. An entity that is
//! recovered after its partition changed hands is rebuilt from them, instead of from a request to the broker a record.

use crate::port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Moved, Place, ReadError};
use parking_lot::Mutex;
use quipu_schemas::{limits::BROKER_RECENT_BYTES, record::check_hash};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What a record costs beside its bytes: its place twice, and its share of the tables.
const RECORD_BYTES: usize = 128;

#[derive(Default)]
struct Kept {
    records: BTreeMap<Place, Box<[u8]>>,
    /// Places in the order in which they came.
    order: VecDeque<Place>,
    /// Of each partition, the offset behind its newest record.
    next: BTreeMap<u16, u64>,
    bytes: usize,
}

impl Kept {
    /// Keeps records that follow those it has; what is read of the past would only drive the newest out.
    fn take<'a>(&mut self, partition: u16, first_offset: u64, records: impl ExactSizeIterator<Item = (Place, &'a [u8])>, most: usize) {
        let next = self.next.entry(partition).or_default();
        if first_offset < *next {
            return;
        }
        *next = first_offset + records.len() as u64;
        for (place, record) in records {
            self.bytes += record.len() + RECORD_BYTES;
            self.records.insert(place, record.into());
            self.order.push_back(place);
        }
        while self.bytes > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.records.remove(&oldest).map_or(0, |record| record.len() + RECORD_BYTES);
        }
    }
}

/// A log that remembers its newest records.
pub(crate) struct Recent {
    log: Arc<dyn Log>,
    kept: Arc<Mutex<Kept>>,
    /// Bytes of memory, about.
    most: usize,
}

impl Recent {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            kept: Arc::default(),
            most: BROKER_RECENT_BYTES,
        }
    }
}

impl Log for Recent {
    fn meta(&self) -> LogMeta {
        self.log.meta()
    }

    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        self.log.claim(partition, owner)
    }

    fn append(&self, batch: Batch, done: AppendDone) {
        let (kept, most) = (self.kept.clone(), self.most);
        let (partition, first_offset, records) = (batch.partition, batch.first_offset, batch.records.clone());
        let remembered: AppendDone = Box::new(move |outcome| {
            if let Ok(appended) = &outcome {
                let records = appended
                    .places
                    .iter()
                    .zip(&records)
                    .map(|(place, record)| (*place, record.bytes.as_slice()));
                kept.lock().take(partition, first_offset, records, most);
            }
            done(outcome);
        });
        self.log.append(batch, remembered);
    }

    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let frames = self.log.read(partition, from_offset, max_bytes)?;
        let mut kept = self.kept.lock();
        for frame in &frames {
            let records = frame.records.iter().map(|(place, record)| (*place, record.as_slice()));
            kept.take(partition, frame.first_offset, records, self.most);
        }
        drop(kept);
        Ok(frames)
    }

    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        let found: Vec<Option<Vec<u8>>> = {
            let kept = self.kept.lock();
            places
                .iter()
                .map(|place| kept.records.get(place).map(|record| record.to_vec()))
                .collect()
        };
        let missing: Vec<Place> = places
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(place, _)| *place)
            .collect();
        let mut asked = if missing.is_empty() {
            Vec::new()
        } else {
            self.log.read_at(&missing)?
        }
        .into_iter();
        let mut records = Vec::with_capacity(places.len());
        for (place, found) in places.iter().zip(found) {
            records.push(match found {
                Some(record) => {
                    // A read does not check the hashes of its records.
                    check_hash(&record)?;
                    record
                }
                None => asked
                    .next()
                    .ok_or_else(|| ReadError::Io(format!("no answer about the record at {place:?}")))?,
            });
        }
        Ok(records)
    }

    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        self.log.head(partition)
    }

    fn damage(&self, partition: u16) -> Option<ReadError> {
        self.log.damage(partition)
    }

    fn follow(&self, moved: Moved) {
        self.log.follow(moved);
    }

    fn trouble(&self) -> Option<String> {
        self.log.trouble()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contract, memory::MemoryLog};
    use quipu_schemas::{digest::Digest, position::LogId, record::EncodedRecord};
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    /// A log in memory that counts the records it is asked for.
    struct Asked(MemoryLog, AtomicUsize);

    impl Log for Asked {
        fn meta(&self) -> LogMeta {
            self.0.meta()
        }
        fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
            self.0.claim(partition, owner)
        }
        fn append(&self, batch: Batch, done: AppendDone) {
            self.0.append(batch, done);
        }
        fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
            self.0.read(partition, from_offset, max_bytes)
        }
        fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
            self.1.fetch_add(places.len(), Ordering::Relaxed);
            self.0.read_at(places)
        }
        fn head(&self, partition: u16) -> Result<Head, ReadError> {
            self.0.head(partition)
        }
    }

    fn append(log: &dyn Log, head: &mut Head, records: Vec<Arc<EncodedRecord>>) -> Vec<Place> {
        let (send, told) = mpsc::channel();
        let (count, first_offset) = (records.len() as u64, head.next_offset);
        let batch = Batch {
            partition: 0,
            epoch: head.epoch,
            batch_id: [first_offset as u8; 16],
            first_offset,
            previous: head.frame_hash,
            records,
        };
        log.append(batch, Box::new(move |outcome| send.send(outcome).unwrap()));
        let appended = told.recv().unwrap().unwrap();
        *head = Head {
            next_offset: first_offset + count,
            frame_hash: appended.frame_hash,
            ..*head
        };
        appended.places
    }

    fn records(count: u64) -> Vec<Arc<EncodedRecord>> {
        (1..=count)
            .map(|version| contract::record("acme/conversation/r", version, Digest::ZERO, 100))
            .collect()
    }

    #[test]
    fn recent_records_are_served_from_memory_oldest_evicted() {
        let asked = Arc::new(Asked(MemoryLog::new(LogId([7; 16]), 1), AtomicUsize::new(0)));
        let written = records(10);
        let room = (written[0].bytes.len() + RECORD_BYTES) * 13 / 2;
        let owner = Recent {
            most: room,
            ..Recent::new(asked.clone())
        };
        let mut head = owner.claim(0, "owner").unwrap();
        let mut places = append(&owner, &mut head, written[..4].to_vec());
        let expect = |log: &Recent, places: &[Place], from: usize, most_asked: usize| {
            let before = asked.1.load(Ordering::Relaxed);
            let read = log.read_at(places).unwrap();
            assert!(read.iter().zip(&written[from..]).all(|(read, written)| *read == written.bytes));
            assert_eq!((read.len(), asked.1.load(Ordering::Relaxed) - before), (places.len(), most_asked));
        };
        expect(&owner, &places, 0, 0);
        places.extend(append(&owner, &mut head, written[4..].to_vec()));
        expect(&owner, &places, 0, 4);

        let shadow = Recent {
            most: room,
            ..Recent::new(asked.clone())
        };
        expect(&shadow, &places[..2], 0, 2);
        assert_eq!(shadow.read(0, 4, usize::MAX).unwrap().len(), 1);
        // The past, read later, drives nothing out.
        assert_eq!(
            shadow
                .read(0, 0, usize::MAX)
                .unwrap()
                .iter()
                .map(|f| f.records.len())
                .sum::<usize>(),
            10
        );
        expect(&shadow, &places[4..], 4, 0);
        expect(&shadow, &places, 0, 4);
        assert!(shadow.kept.lock().bytes <= room && shadow.kept.lock().order.len() == 6);
    }

    #[test]
    fn a_record_that_was_read_damaged_is_told_so() {
        let log = Recent::new(Arc::new(MemoryLog::new(LogId([7; 16]), 1)));
        let mut head = log.claim(0, "owner").unwrap();
        let mut broken = EncodedRecord::clone(&contract::record("acme/conversation/r", 1, Digest::ZERO, 100));
        broken.bytes[40] ^= 1;
        let places = append(&log, &mut head, vec![Arc::new(broken)]);
        assert!(matches!(log.read_at(&places), Err(ReadError::Record(_))));
    }
}
