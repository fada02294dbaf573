//! Copies a log into another one, on whichever backends: the same records at the same offsets under the same hashes, in frames
//! of the target's own epoch. Stopped in between, it goes on where it was.

use crate::port::{AppendError, Batch, Head, Log, ReadError};
use quipu_schemas::{
    digest::Digest,
    limits::{FRAME_MAX_BYTES, FRAME_MAX_RECORDS},
    record::{EncodedRecord, RecordError, claimed_hash},
};
use std::sync::{Arc, mpsc};

/// Why a log is not copied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Records keep their offsets, so both must be cut alike.
    #[error("the source has {from} partitions and the target {to}: make the target with `partitions={from}`")]
    Partitions {
        /// Of the source.
        from: u16,
        /// Of the target.
        to: u16,
    },
    /// The target holds something else.
    #[error("partition {partition} of the target holds other records (at offset {offset}): use a target of another name")]
    Other {
        /// The partition.
        partition: u16,
        /// Where they differ.
        offset: u64,
    },
    /// The source does not read.
    #[error("source: {0}")]
    Source(ReadError),
    /// The target does not read.
    #[error("target: {0}")]
    Target(ReadError),
    /// A record is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The target takes nothing.
    #[error("target: {0}")]
    Append(#[from] AppendError),
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Records in the target.
    pub records: u64,
    /// Of these, records that were there before.
    pub before: u64,
}

/// Room for a frame's own fields and the length before each record.
const FRAME_OVERHEAD: usize = 1024;
const RECORD_OVERHEAD: usize = 8;

/// Copies everything. Nobody may write to either log meanwhile. `progress` hears records done and records in all.
pub fn copy(source: &dyn Log, target: &dyn Log, mut progress: impl FnMut(u64, u64)) -> Result<Copied, MigrateError> {
    let (from, to) = (source.meta().partitions, target.meta().partitions);
    if from != to {
        return Err(MigrateError::Partitions { from, to });
    }
    let mut ends = Vec::new();
    for partition in 0..from {
        ends.push(source.head(partition).map_err(MigrateError::Source)?.next_offset);
    }
    let total = ends.iter().sum();
    let mut copied = Copied::default();
    for (partition, end) in (0u16..).zip(ends) {
        let known = target.head(partition).map_err(MigrateError::Target)?;
        if known.next_offset > 0 {
            same_end(source, target, partition, known.next_offset, end)?;
            copied.before += known.next_offset;
            copied.records += known.next_offset;
        }
        if known.next_offset == end {
            continue;
        }
        let mut writer = Writer {
            target,
            partition,
            head: target.claim(partition, "migrate-log")?,
            batch: Vec::new(),
            bytes: FRAME_OVERHEAD,
        };
        while writer.next() < end {
            for (_, bytes) in read(source, partition, writer.next()).map_err(MigrateError::Source)? {
                writer.push(bytes)?;
            }
            progress(copied.records + writer.next() - known.next_offset, total);
        }
        writer.flush()?;
        copied.records += end - known.next_offset;
    }
    Ok(copied)
}

/// The records from an offset on, one read's worth; at least one.
fn read(log: &dyn Log, partition: u16, from: u64) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
    let frames = log.read(partition, from, 2 * FRAME_MAX_BYTES)?;
    let records = frames.into_iter().flat_map(|frame| (frame.first_offset..).zip(frame.records));
    let found: Vec<_> = records
        .filter(|(offset, _)| *offset >= from)
        .map(|(offset, (_, bytes))| (offset, bytes))
        .collect();
    if found.is_empty() {
        let (at, detail) = ("end of what it gives".into(), "it announces more records".into());
        return Err(ReadError::Damaged {
            partition,
            offset: from,
            at,
            detail,
        });
    }
    Ok(found)
}

/// The last record of the target must be the source's at that place: all before it follows by the chain.
fn same_end(source: &dyn Log, target: &dyn Log, partition: u16, next: u64, end: u64) -> Result<(), MigrateError> {
    let offset = next - 1;
    let theirs = read(target, partition, offset).map_err(MigrateError::Target)?;
    if next <= end && read(source, partition, offset).map_err(MigrateError::Source)?[0].1 == theirs[0].1 {
        return Ok(());
    }
    Err(MigrateError::Other { partition, offset })
}

struct Writer<'a> {
    target: &'a dyn Log,
    partition: u16,
    head: Head,
    batch: Vec<Arc<EncodedRecord>>,
    bytes: usize,
}

impl Writer<'_> {
    /// The offset of the next record that is wanted.
    fn next(&self) -> u64 {
        self.head.next_offset + self.batch.len() as u64
    }

    fn push(&mut self, bytes: Vec<u8>) -> Result<(), MigrateError> {
        let size = bytes.len() + RECORD_OVERHEAD;
        if !self.batch.is_empty() && (self.bytes + size > FRAME_MAX_BYTES || self.batch.len() >= FRAME_MAX_RECORDS) {
            self.flush()?;
        }
        let hash: Digest = claimed_hash(&bytes)?;
        self.bytes += size;
        self.batch.push(Arc::new(EncodedRecord { bytes, hash }));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MigrateError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.batch);
        self.bytes = FRAME_OVERHEAD;
        let count = records.len() as u64;
        let batch = Batch {
            partition: self.partition,
            epoch: self.head.epoch,
            // Its place tells it from every other: there is one writer.
            batch_id: ((u128::from(self.head.epoch) << 64) | u128::from(self.head.next_offset)).to_be_bytes(),
            first_offset: self.head.next_offset,
            previous: self.head.frame_hash,
            records,
        };
        let (send, receive) = mpsc::sync_channel(1);
        self.target.append(batch, Box::new(move |result| drop(send.send(result))));
        let appended = receive
            .recv()
            .unwrap_or_else(|_| Err(AppendError::Unknown("the target answered nothing".into())))?;
        self.head.next_offset += count;
        self.head.frame_hash = appended.frame_hash;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contract, memory::MemoryLog, verify::verify_log};
    use quipu_schemas::position::LogId;

    fn filled(id: u8, partitions: u16, frames: usize) -> MemoryLog {
        let log = MemoryLog::new(LogId([id; 16]), partitions);
        for partition in 0..partitions {
            let mut owner = contract::Owner::claim(&log, partition);
            for count in 1..=frames {
                let batch = owner.batch(count);
                let appended = contract::append(&log, batch.clone()).unwrap();
                owner.appended(&batch, &appended);
            }
        }
        log
    }

    #[test]
    fn a_copy_has_the_same_records_and_may_be_taken_up_again() {
        let source = filled(1, 3, 4);
        let target = MemoryLog::new(LogId([2; 16]), 3);
        assert_eq!(copy(&source, &target, |_, _| {}).unwrap(), Copied { records: 30, before: 0 });
        let (a, b) = (verify_log(&source, |_, _| {}), verify_log(&target, |_, _| {}));
        assert!(a.is_intact() && b.is_intact(), "{a:?} {b:?}");
        assert_eq!((a.digest, a.records, a.streams), (b.digest, b.records, b.streams));
        assert_eq!(copy(&source, &target, |_, _| {}).unwrap(), Copied { records: 30, before: 30 });
    }

    /// What a log holds, frame by frame: records and bytes.
    fn frames(log: &MemoryLog, partition: u16) -> Vec<(usize, usize)> {
        let frames = contract::read_all(log, partition, 1 << 20).unwrap().into_iter();
        let frames = frames.filter(|frame| frame.owner.is_none());
        frames
            .map(|frame| (frame.records.len(), frame.records.iter().map(|(_, bytes)| bytes.len()).sum()))
            .collect()
    }

    #[test]
    fn frames_of_the_copy_are_as_full_as_they_may_be() {
        // Small records: as many as a frame takes.
        let source = MemoryLog::new(LogId([1; 16]), 1);
        let mut owner = contract::Owner::claim(&source, 0);
        for _ in 0..3 {
            owner.write(&source, FRAME_MAX_RECORDS / 2);
        }
        owner.write(&source, 1);
        let target = MemoryLog::new(LogId([2; 16]), 1);
        let mut heard = Vec::new();
        copy(&source, &target, |done, all| heard.push((done, all))).unwrap();
        let records = 3 * (FRAME_MAX_RECORDS / 2) + 1;
        let counts: Vec<usize> = frames(&target, 0).iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [FRAME_MAX_RECORDS, records - FRAME_MAX_RECORDS]);
        assert_eq!(heard.last(), Some(&(records as u64, records as u64)));
        assert!(heard.is_sorted(), "{heard:?}");

        // Large ones: as many bytes.
        let source = MemoryLog::new(LogId([1; 16]), 1);
        let mut previous = Digest::ZERO;
        let mut head = source.claim(0, "n").unwrap();
        for version in 1..=9 {
            let record = contract::record("acme/test/large", version, previous, 100_000);
            previous = record.hash;
            let (first_offset, batch_id) = (head.next_offset, [version as u8; 16]);
            let batch = Batch {
                partition: 0,
                epoch: head.epoch,
                batch_id,
                first_offset,
                previous: head.frame_hash,
                records: vec![record],
            };
            head.frame_hash = contract::append(&source, batch).unwrap().frame_hash;
            head.next_offset += 1;
        }
        let target = MemoryLog::new(LogId([2; 16]), 1);
        assert_eq!(copy(&source, &target, |_, _| {}).unwrap().records, 9);
        let counts: Vec<usize> = frames(&target, 0).iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [5, 4], "five of 100 kB fit into 512 KiB");
    }

    #[test]
    fn copied_frame_takes_what_fits_to_the_byte() {
        for (over, expected) in [(0, vec![6]), (1, vec![5, 1])] {
            let source = MemoryLog::new(LogId([1; 16]), 1);
            let (mut previous, mut head, mut size) = (Digest::ZERO, source.claim(0, "n").unwrap(), FRAME_OVERHEAD);
            for version in 1..=6 {
                let empty = contract::record("acme/test/large", version, previous, 0).bytes.len();
                let text = if version < 6 {
                    80_000
                } else {
                    FRAME_MAX_BYTES - size - RECORD_OVERHEAD - empty + over
                };
                let record = contract::record("acme/test/large", version, previous, text);
                size += record.bytes.len() + RECORD_OVERHEAD;
                previous = record.hash;
                let (first_offset, batch_id) = (head.next_offset, [version as u8; 16]);
                let batch = Batch {
                    partition: 0,
                    epoch: head.epoch,
                    batch_id,
                    first_offset,
                    previous: head.frame_hash,
                    records: vec![record],
                };
                head.frame_hash = contract::append(&source, batch).unwrap().frame_hash;
                head.next_offset += 1;
            }
            assert_eq!(size, FRAME_MAX_BYTES + over);
            let target = MemoryLog::new(LogId([2; 16]), 1);
            assert_eq!(copy(&source, &target, |_, _| {}).unwrap().records, 6);
            let counts: Vec<usize> = frames(&target, 0).iter().map(|(count, _)| *count).collect();
            assert_eq!(counts, expected, "{over} over");
        }
    }

    #[test]
    fn a_copy_that_is_taken_up_again_goes_on_behind_what_is_there() {
        let source = filled(1, 2, 2);
        let target = MemoryLog::new(LogId([2; 16]), 2);
        copy(&source, &target, |_, _| {}).unwrap();
        for partition in 0..2 {
            let known = source.head(partition).unwrap();
            let last = contract::read_all(&source, partition, 1 << 20).unwrap().pop().unwrap();
            let previous = claimed_hash(&last.records.last().unwrap().1).unwrap();
            let records = vec![contract::record(
                &format!("acme/test/tst_{partition}"),
                known.next_offset + 1,
                previous,
                40,
            )];
            let head = source.claim(partition, "n").unwrap();
            let (first_offset, previous) = (head.next_offset, head.frame_hash);
            let batch = Batch {
                partition,
                epoch: head.epoch,
                batch_id: [9; 16],
                first_offset,
                previous,
                records,
            };
            contract::append(&source, batch).unwrap();
        }
        let mut heard = Vec::new();
        assert_eq!(
            copy(&source, &target, |done, all| heard.push((done, all))).unwrap(),
            Copied { records: 8, before: 6 }
        );
        assert_eq!(heard, [(4, 8), (8, 8)]);
        assert_eq!(verify_log(&source, |_, _| {}).digest, verify_log(&target, |_, _| {}).digest);
        // Each frame of the copy can be told from every other.
        let ids = |partition| {
            contract::read_all(&target, partition, 1 << 20)
                .unwrap()
                .into_iter()
                .map(|frame| frame.batch_id)
        };
        let frames: Vec<_> = ids(0).collect();
        let distinct: std::collections::BTreeSet<_> = frames.iter().copied().collect();
        assert_eq!(distinct.len(), frames.len());
    }

    #[test]
    fn another_log_is_not_written_over() {
        let source = filled(1, 2, 2);
        let longer = filled(2, 2, 3);
        assert!(matches!(
            copy(&source, &longer, |_, _| {}),
            Err(MigrateError::Other { partition: 0, .. })
        ));
        let narrow = MemoryLog::new(LogId([3; 16]), 1);
        assert!(matches!(
            copy(&source, &narrow, |_, _| {}),
            Err(MigrateError::Partitions { from: 2, to: 1 })
        ));
    }
}
