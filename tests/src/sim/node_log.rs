//! The port of the log over the simulated broker, as one node reaches it.

use super::broker::{Broker, GENERATION, LOG_ID, Put, UNIT_BITS, header, places};
use parking_lot::{Mutex, MutexGuard};
use quipu_events::{
    frame,
    port::{AppendDone, AppendError, Appended, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError},
};
use quipu_schemas::{envelope::Durability, record::check_hash};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The broker as one node reaches it: the real port over it. Appends and claims of the nodes take the world's network
/// instead, because they may be cut in two.
pub(crate) struct NodeLog {
    broker: Arc<Mutex<Broker>>,
    partitions: u16,
    reachable: AtomicBool,
}

impl NodeLog {
    pub(crate) fn new(broker: Arc<Mutex<Broker>>) -> Self {
        let partitions = broker.lock().streams.len() as u16;
        Self {
            broker,
            partitions,
            reachable: AtomicBool::new(true),
        }
    }

    pub(crate) fn reach(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Release);
    }

    fn reached(&self) -> Result<MutexGuard<'_, Broker>, ReadError> {
        if !self.reachable.load(Ordering::Acquire) {
            return Err(ReadError::Io("simulated: the broker does not answer".into()));
        }
        Ok(self.broker.lock())
    }

    fn write(&self, partition: u16, batch: Option<&Batch>, owner: &str) -> Result<(Head, Appended), AppendError> {
        let mut broker = self.reached().map_err(|e| AppendError::Unknown(e.to_string()))?;
        let (guard, head) = broker.begin(partition);
        if batch.is_some_and(|batch| batch.epoch != head.epoch) {
            return Err(AppendError::Fenced {
                partition,
                epoch: head.epoch,
            });
        }
        let header = header(partition, batch, head, ([0; 16], owner));
        let mut bytes = Vec::new();
        let records: Vec<&[u8]> = batch
            .iter()
            .flat_map(|batch| &batch.records)
            .map(|record| record.bytes.as_slice())
            .collect();
        let encoded = frame::encode_onto(&mut bytes, &header, records.into_iter()).map_err(|e| AppendError::Invalid(e.to_string()))?;
        match broker.put(partition, guard, &bytes) {
            Put::Stored { sequence } => Ok((
                broker.head(partition),
                Appended {
                    frame_hash: encoded.hash,
                    places: places(partition, sequence, &encoded.records),
                },
            )),
            Put::Refused => Err(AppendError::Conflict {
                partition,
                expected: head.next_offset,
            }),
        }
    }
}

impl Log for NodeLog {
    fn meta(&self) -> LogMeta {
        LogMeta {
            log_id: LOG_ID,
            generation: GENERATION,
            partitions: self.partitions,
            durability: Durability::QuorumFsync,
            backend: "simulated",
        }
    }

    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        self.write(partition, None, owner).map(|(head, _)| head)
    }

    fn append(&self, batch: Batch, done: AppendDone) {
        done(self.write(batch.partition, Some(&batch), "").map(|(_, appended)| appended));
    }

    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let broker = self.reached()?;
        let stream = &broker.streams[usize::from(partition)];
        let (mut frames, mut whole, mut bytes) = (Vec::new(), 0, 0);
        for frame in &stream.taken {
            let claim = frame.owner.is_some();
            let end = frame.first_offset + frame.records.len() as u64;
            if (claim && frame.first_offset < from_offset) || (!claim && end <= from_offset) {
                continue;
            }
            bytes += frame.records.iter().map(|(place, _)| place.len as usize).sum::<usize>();
            frames.push(frame.clone());
            if !claim {
                whole = frames.len();
                if bytes >= max_bytes {
                    break;
                }
            }
        }
        if whole == 0
            && let Some(why) = &stream.broken
        {
            let offset = stream.head().next_offset;
            return Err(ReadError::Damaged {
                partition,
                offset,
                at: "stream".into(),
                detail: why.clone(),
            });
        }
        // A claim is returned with the frame that follows it.
        frames.truncate(whole);
        Ok(frames)
    }

    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        let broker = self.reached()?;
        let mut records = Vec::with_capacity(places.len());
        for place in places {
            let missing = || ReadError::Io(format!("no record at unit {} byte {}", place.unit, place.at));
            let stream = broker.streams.get((place.unit >> UNIT_BITS) as usize).ok_or_else(missing)?;
            let at = (place.unit & ((1 << UNIT_BITS) - 1)).checked_sub(1).ok_or_else(missing)?;
            let message = stream.messages.get(at as usize).ok_or_else(missing)?;
            let record = message
                .get(place.at as usize..(place.at + place.len) as usize)
                .ok_or_else(missing)?;
            check_hash(record)?;
            records.push(record.to_vec());
        }
        Ok(records)
    }

    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        Ok(self.reached()?.head(partition))
    }
}
