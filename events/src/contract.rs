//! The contract of [`crate::port`], one function a promise, run on every backend.
//!
//! A backend proves itself by implementing [`Subject`] and calling each function with a fresh one.

mod reading;

use crate::port::{AppendError, Appended, Batch, FrameRead, Head, Log, Place, ReadError};
use parking_lot::Mutex;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::{DataClass, Durability},
    ids::{CommandId, PrincipalId},
    limits::{FRAME_MAX_RECORDS, RECORD_MAX_BYTES},
    record::{EncodedRecord, Header, StoredEvent, encode},
};
pub use reading::{
    places_give_their_records, reads_repeat_byte_for_byte, reads_return_whole_frames_and_never_skip, the_head_is_the_durable_end,
};
use std::sync::{Arc, mpsc};

/// A backend under test, with an empty log.
pub trait Subject {
    /// The log.
    fn log(&self) -> Arc<dyn Log>;
    /// Closes and opens the log again; `false` if the backend does not outlive its value.
    fn reopen(&mut self) -> bool;
    /// Makes the outcome of the next append to a partition unknown.
    fn make_next_unknown(&mut self, partition: u16);
    /// After an unknown outcome: does what the backend asks for before it can be claimed again (nothing, or opening).
    fn recover(&mut self);
    /// Damages the stored bytes of a record; `false` if the backend cannot be damaged.
    fn damage(&mut self, place: Place) -> bool;
}

/// An encoded record with one event of `size` bytes of text.
pub fn record(stream: &str, version: u64, previous: Digest, size: usize) -> Arc<EncodedRecord> {
    let header = Header {
        stream: stream.parse().expect("a stream id"),
        first_version: version,
        events: 1,
        reactions: 0,
        command_id: CommandId::parse(format!("c-{version}")).expect("a command id"),
        digest: Digest([1; 32]),
        time: 1_700_000_000_000 as Millis,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        home: None,
        credential: None,
        acts_as: None,
        environment: None,
        data_class: DataClass::None,
        authority: 1,
        correlation: None,
        causation: None,
        traceparent: None,
        schema: 1,
        settlement: None,
        names: Vec::new(),
    };
    let data = serde_json::value::to_raw_value(&"x".repeat(size)).expect("text is JSON");
    let event = StoredEvent {
        name: "quipu.test.happened.v1".into(),
        data,
    };
    Arc::new(encode(&header, vec![event], vec![], previous).expect("a record within its limit"))
}

/// Appends and waits.
pub fn append(log: &dyn Log, batch: Batch) -> Result<Appended, AppendError> {
    let (send, receive) = mpsc::sync_channel(1);
    log.append(batch, Box::new(move |result| send.send(result).expect("the test waits")));
    receive.recv().expect("an append is always answered")
}

/// One owner of one partition, writing one stream.
pub struct Owner {
    /// The partition.
    pub partition: u16,
    /// Its end as the owner knows it.
    pub head: Head,
    version: u64,
    previous: Digest,
    batches: u8,
}

impl Owner {
    /// Claims a partition whose stream is at its beginning.
    pub fn claim(log: &dyn Log, partition: u16) -> Self {
        Self::at(partition, log.claim(partition, "http://test").expect("a claim"))
    }

    /// The owner of a partition claimed by other means.
    pub fn at(partition: u16, head: Head) -> Self {
        Self {
            partition,
            head,
            version: 1,
            previous: Digest::ZERO,
            batches: 0,
        }
    }

    /// The next batch of `count` records.
    pub fn batch(&mut self, count: usize) -> Batch {
        let stream = format!("acme/test/tst_{}", self.partition);
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            let record = record(&stream, self.version, self.previous, 40);
            self.version += 1;
            self.previous = record.hash;
            records.push(record);
        }
        self.batches = self.batches.wrapping_add(1);
        Batch {
            partition: self.partition,
            epoch: self.head.epoch,
            batch_id: [self.batches; 16],
            first_offset: self.head.next_offset,
            previous: self.head.frame_hash,
            records,
        }
    }

    /// Notes an append.
    pub fn appended(&mut self, batch: &Batch, appended: &Appended) {
        self.head.next_offset = batch.first_offset + batch.records.len() as u64;
        self.head.frame_hash = appended.frame_hash;
    }

    /// Appends `count` records; their places.
    pub fn write(&mut self, log: &dyn Log, count: usize) -> Vec<Place> {
        let batch = self.batch(count);
        let appended = append(log, batch.clone()).expect("an append that continues the partition");
        self.appended(&batch, &appended);
        appended.places
    }
}

/// Reads a partition to its end, `max_bytes` at a time.
pub fn read_all(log: &dyn Log, partition: u16, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
    let (mut all, mut from): (Vec<FrameRead>, u64) = (Vec::new(), 0);
    loop {
        let frames = log.read(partition, from, max_bytes)?;
        let Some(last) = frames.last() else { return Ok(all) };
        assert!(!last.records.is_empty(), "a read ends with a frame of records");
        from = last.first_offset + last.records.len() as u64;
        all.extend(frames);
    }
}

type Seen = (u64, Digest, Vec<(Place, Vec<u8>)>);

fn same(frames: &[FrameRead]) -> Vec<Seen> {
    frames.iter().map(|f| (f.first_offset, f.hash, f.records.clone())).collect()
}

fn last_partition(log: &dyn Log) -> u16 {
    log.meta().partitions - 1
}

/// Promise 1: contiguous offsets from 0, kept inside the frames; claims take none.
pub fn offsets_are_contiguous_and_claims_take_none(subject: &mut dyn Subject) {
    let log = subject.log();
    for partition in [0, last_partition(&*log)] {
        let before = log.head(partition).unwrap();
        let mut owner = Owner::claim(&*log, partition);
        assert_eq!(owner.head.next_offset, before.next_offset);
        if partition == 0 {
            assert_eq!(owner.head.next_offset, 0);
        }
        let mut owned = before.next_offset;
        for count in [1, 3, 2] {
            owner.write(&*log, count);
            owned += count as u64;
            owner.head = log.claim(partition, "http://test").unwrap();
            assert_eq!(owner.head.next_offset, owned);
            // A new claim keeps the writer's stream.
        }
        let frames = read_all(&*log, partition, 1 << 20).unwrap();
        let mut next = 0;
        for frame in &frames {
            assert_eq!((frame.partition, frame.first_offset), (partition, next));
            assert_eq!(frame.owner.is_some(), frame.records.is_empty());
            next += frame.records.len() as u64;
        }
        assert_eq!(next, owned);
        if log.meta().partitions == 1 {
            break;
        }
    }
}

/// Promise 2: a claim raises the epoch, names its owner, and fences everyone before it.
pub fn a_claim_raises_the_epoch_and_fences_the_owner_before(subject: &mut dyn Subject) {
    let log = subject.log();
    let p = last_partition(&*log);
    assert_eq!(log.head(p).unwrap().epoch, 0);
    let mut first = Owner::claim(&*log, p);
    first.write(&*log, 1);
    let second = log.claim(p, "http://second").unwrap();
    assert_eq!(second.epoch, first.head.epoch + 1);
    let stale = first.batch(1);
    assert_eq!(
        append(&*log, stale),
        Err(AppendError::Fenced {
            partition: p,
            epoch: second.epoch
        })
    );
    assert_eq!(log.head(p).unwrap(), second);
    first.head = second;
    first.write(&*log, 1);
    let owners: Vec<_> = read_all(&*log, p, 1 << 20).unwrap().into_iter().filter_map(|f| f.owner).collect();
    assert_eq!(owners, ["http://test", "http://second"]);
}

/// Promise 3: what does not continue the partition is refused and stores nothing.
pub fn what_does_not_continue_the_partition_is_refused(subject: &mut dyn Subject) {
    let log = subject.log();
    let p = last_partition(&*log);
    let mut owner = Owner::claim(&*log, p);
    owner.write(&*log, 2);
    let good = owner.batch(1);
    let conflict = Err(AppendError::Conflict { partition: p, expected: 2 });
    for first_offset in [0, 1, 3, u64::MAX] {
        assert_eq!(
            append(
                &*log,
                Batch {
                    first_offset,
                    ..good.clone()
                }
            ),
            conflict
        );
    }
    assert_eq!(
        append(
            &*log,
            Batch {
                previous: Digest([7; 32]),
                ..good.clone()
            }
        ),
        conflict
    );
    assert_eq!(
        append(
            &*log,
            Batch {
                epoch: good.epoch + 1,
                ..good.clone()
            }
        ),
        conflict
    );
    let huge = Arc::new(EncodedRecord {
        bytes: vec![0; RECORD_MAX_BYTES + 1],
        hash: Digest::ZERO,
    });
    for records in [vec![], vec![huge], vec![good.records[0].clone(); FRAME_MAX_RECORDS + 1]] {
        assert!(matches!(
            append(&*log, Batch { records, ..good.clone() }),
            Err(AppendError::Invalid(_))
        ));
    }
    let nowhere = Batch {
        partition: log.meta().partitions,
        ..good.clone()
    };
    assert!(matches!(append(&*log, nowhere), Err(AppendError::Invalid(_))));
    assert!(matches!(log.claim(log.meta().partitions, "x"), Err(AppendError::Invalid(_))));
    assert!(log.read(log.meta().partitions, 0, 1).is_err() && log.head(log.meta().partitions).is_err());
    assert_eq!(log.head(p).unwrap(), owner.head);
    append(&*log, good).unwrap();
}

/// Promise 4: an acknowledged frame is there after opening again, whole.
pub fn acknowledged_frames_are_durable_and_whole(subject: &mut dyn Subject) {
    let log = subject.log();
    let p = last_partition(&*log);
    let mut owner = Owner::claim(&*log, p);
    for count in [1, 5, 1] {
        owner.write(&*log, count);
    }
    let before = same(&read_all(&*log, p, 1 << 20).unwrap());
    let durability = log.meta().durability;
    drop(log);
    if !subject.reopen() {
        assert_eq!(durability, Durability::Memory);
        return;
    }
    let log = subject.log();
    assert_eq!(same(&read_all(&*log, p, 1 << 20).unwrap()), before);
    assert_eq!(log.head(p).unwrap(), owner.head);
    owner.head = log.claim(p, "http://again").unwrap();
    owner.write(&*log, 1);
}

/// Promise 5: appends to one partition complete in the order in which they were submitted.
pub fn appends_complete_in_submission_order(subject: &mut dyn Subject) {
    let log = subject.log();
    let partitions = log.meta().partitions;
    let mut owners: Vec<Owner> = (0..partitions).map(|p| Owner::claim(&*log, p)).collect();
    let order = Arc::new(Mutex::new(Vec::new()));
    for round in 0..5u64 {
        let (send, receive) = mpsc::channel();
        for owner in &mut owners {
            let (batch, send, order) = (owner.batch(2), send.clone(), order.clone());
            let mut owned = (owner.partition, batch.clone());
            log.append(
                batch,
                Box::new(move |result| {
                    order.lock().push((owned.0, round));
                    owned.1.records.clear();
                    send.send((owned.0, result.unwrap())).unwrap();
                }),
            );
        }
        for _ in 0..partitions {
            let (partition, appended) = receive.recv().unwrap();
            let owner = &mut owners[usize::from(partition)];
            owner.head.next_offset += 2;
            owner.head.frame_hash = appended.frame_hash;
        }
    }
    let order = order.lock();
    for p in 0..partitions {
        let rounds: Vec<u64> = order.iter().filter(|(q, _)| *q == p).map(|(_, round)| *round).collect();
        assert_eq!(rounds, [0, 1, 2, 3, 4]);
        assert_eq!(log.head(p).unwrap().next_offset, 10);
    }
}

/// Promise 6: after an unknown outcome the partition refuses until claimed again, and reading tells what was stored.
pub fn unknown_outcome_blocks_until_claimed_and_read_back(subject: &mut dyn Subject) {
    let log = subject.log();
    let p = last_partition(&*log);
    let mut owner = Owner::claim(&*log, p);
    owner.write(&*log, 1);
    subject.make_next_unknown(p);
    let batch = owner.batch(2);
    assert!(matches!(append(&*log, batch.clone()), Err(AppendError::Unknown(_))));
    assert!(append(&*log, batch.clone()).is_err(), "refused until claimed again");
    drop(log);
    subject.recover();
    let log = subject.log();
    let head = log.claim(p, "http://again").unwrap();
    let frames = read_all(&*log, p, 1 << 20).unwrap();
    let stored = frames.iter().any(|f| f.batch_id == batch.batch_id);
    assert_eq!(head.next_offset, if stored { 3 } else { 1 });
    let again = Batch {
        epoch: head.epoch,
        first_offset: head.next_offset,
        previous: head.frame_hash,
        ..batch
    };
    if !stored {
        append(&*log, again).unwrap();
    }
    assert_eq!(
        read_all(&*log, p, 1 << 20).unwrap().iter().map(|f| f.records.len()).sum::<usize>(),
        3
    );
}
