//! Where the writer puts what it writes, and what it leaves when it cannot.

use super::*;
use crate::{
    contract::{Owner, record},
    disk::SimDisk,
    embedded::{LOG_DIR, recover::segment_numbers, segment::segment_path},
};
use quipu_schemas::digest::Digest;

const DIR: &str = "/data";

fn open(disk: &SimDisk, segment_bytes: u64) -> SegmentEngine {
    let options = EmbeddedOptions {
        partitions: 1,
        log_id: None,
        segment_bytes,
    };
    SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options).unwrap()
}

fn begun(disk: &SimDisk, segment_bytes: u64) -> (SegmentEngine, Owner) {
    let mut engine = open(disk, segment_bytes);
    let head = engine.claim(0, "http://test").unwrap();
    (engine, Owner::at(0, head))
}

fn write(engine: &mut SegmentEngine, owner: &mut Owner) -> Result<Appended, AppendError> {
    let batch = owner.batch(1);
    let result = engine.append_all(vec![batch.clone()]).pop().unwrap();
    if let Ok(appended) = &result {
        owner.appended(&batch, appended);
    }
    result
}

fn numbers(disk: &SimDisk) -> Vec<u64> {
    segment_numbers(disk, &Path::new(DIR).join(LOG_DIR)).unwrap()
}

fn bytes(disk: &SimDisk, segment: u64) -> Vec<u8> {
    disk.files()[&segment_path(&Path::new(DIR).join(LOG_DIR), segment)].clone()
}

/// Where the log ends after a claim and two records.
fn end_of_two() -> u64 {
    let (mut engine, mut owner) = begun(&SimDisk::new(1), 64 * 1024);
    (0..2).for_each(|_| drop(write(&mut engine, &mut owner).unwrap()));
    engine.heads().synced.1
}

#[test]
fn segment_fills_to_its_last_byte_and_is_marked_if_room() {
    let end = end_of_two();
    for (room, segments, marked) in [(0, 1, false), (39, 1, false), (40, 1, true), (41, 1, true)] {
        let disk = SimDisk::new(1);
        let (mut engine, mut owner) = begun(&disk, end + room);
        (0..2).for_each(|_| drop(write(&mut engine, &mut owner).unwrap()));
        assert_eq!((numbers(&disk).len(), engine.heads().synced), (segments, (1, end)), "{room} more");
        engine.mark();
        let bytes = bytes(&disk, 1);
        assert_eq!(bytes.len() as u64, end + room, "a mark takes no space of its own");
        let mark = FlushHeader::decode(&bytes[end as usize..], 1, end);
        let expected = FlushHeader {
            body_len: 0,
            frames: 0,
            at: end as u32,
            flush: 4,
            segment: 1,
        };
        assert_eq!(mark, marked.then_some(expected), "{room} more");
    }
    let disk = SimDisk::new(1);
    let (mut engine, mut owner) = begun(&disk, end - 1);
    (0..2).for_each(|_| drop(write(&mut engine, &mut owner).unwrap()));
    assert_eq!(numbers(&disk), [1, 2], "a byte too few");
}

#[test]
fn oversized_flush_gets_its_own_segment_and_leaves_none_empty() {
    let disk = SimDisk::new(1);
    let (mut engine, mut owner) = begun(&disk, 100);
    assert_eq!(numbers(&disk), [1], "a new segment is not passed over");
    write(&mut engine, &mut owner).unwrap();
    assert_eq!(numbers(&disk), [1, 2]);
    assert_eq!(bytes(&disk, 2).len() as u64, engine.heads().synced.1, "as large as it must be");
}

/// The bound of a segment's places, four bytes, is one of their sum.
#[test]
fn large_flushes_follow_each_other_in_one_segment() {
    let disk = SimDisk::new(1);
    let (mut engine, mut owner) = begun(&disk, 1024 * 1024);
    for version in 1..=3 {
        let mut batch = owner.batch(1);
        batch.records = vec![record(&format!("acme/test/large_{version}"), 1, Digest::ZERO, 120_000)];
        let appended = engine.append_all(vec![batch.clone()]).pop().unwrap().unwrap();
        owner.appended(&batch, &appended);
    }
    assert_eq!(numbers(&disk), [1]);
}

#[test]
fn what_is_refused_is_answered_with_its_reason() {
    let disk = SimDisk::new(1);
    let (mut engine, mut owner) = begun(&disk, 64 * 1024);
    assert_eq!(engine.claim(9, "x"), Err(AppendError::Invalid("no such partition: 9".into())));
    let appended = write(&mut engine, &mut owner).unwrap();
    let frames = engine.read(0, 0, usize::MAX).unwrap();
    assert_eq!(frames.iter().map(|f| f.records.len()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(frames[1].records[0].0, appended.places[0]);
    assert_eq!(engine.read_at(&appended.places).unwrap(), [frames[1].records[0].1.clone()]);
}

/// Whether a failed write is there nobody knows; a full disk is known to hold nothing of it.
#[test]
fn failed_write_ends_the_writer_but_a_full_disk_does_not() {
    let disk = SimDisk::new(1);
    let (mut engine, mut owner) = begun(&disk, 64 * 1024);
    disk.inject(|faults| faults.fail_next_write = true);
    assert!(matches!(write(&mut engine, &mut owner), Err(AppendError::Unknown(_))));
    assert!(engine.poisoned().is_some());
    let left = bytes(&disk, 1);
    engine.mark();
    assert_eq!(bytes(&disk, 1), left, "no mark vouches for it");
    assert!(matches!(write(&mut engine, &mut owner), Err(AppendError::Poisoned(_))));

    // Room that was not reserved: the file was cut behind its last flush.
    let disk = SimDisk::new(1);
    let (engine, mut owner) = begun(&disk, 64 * 1024);
    let end = engine.heads().synced.1;
    drop(engine);
    let mut cut = bytes(&disk, 1);
    cut.truncate(end as usize);
    disk.put(&segment_path(&Path::new(DIR).join(LOG_DIR), 1), cut.clone());
    let mut engine = open(&disk, 64 * 1024);
    disk.inject(|faults| faults.capacity_bytes = Some(end + 100));
    let batch = owner.batch(1);
    assert_eq!(engine.append_all(vec![batch.clone()]), [Err(AppendError::Full)]);
    assert_eq!(bytes(&disk, 1), cut, "what fitted is gone again");
    assert_eq!(engine.poisoned(), None);
    engine.mark();
    disk.inject(|faults| faults.capacity_bytes = None);
    engine.mark();
    assert_eq!(bytes(&disk, 1), cut, "nor does a mark begin behind it");
    assert!(engine.append_all(vec![batch]).pop().unwrap().is_ok());
    assert_eq!(numbers(&disk), [1, 2], "the first one is full");
}

#[test]
fn failed_new_segment_ends_the_writer_unless_disk_is_full() {
    let end = end_of_two();
    for full in [false, true] {
        let disk = SimDisk::new(1);
        let (mut engine, mut owner) = begun(&disk, end);
        (0..2).for_each(|_| drop(write(&mut engine, &mut owner).unwrap()));
        disk.inject(|faults| match full {
            true => faults.capacity_bytes = Some(end + 10),
            false => faults.fail_next_write = true,
        });
        let refused = write(&mut engine, &mut owner).unwrap_err();
        assert_eq!(refused == AppendError::Full, full, "{refused}");
        assert!(
            full || matches!(refused, AppendError::Poisoned(_)),
            "nothing was written: {refused}"
        );
        assert_eq!(engine.poisoned().is_none(), full);
        assert_eq!(numbers(&disk), [1]);
    }
}
