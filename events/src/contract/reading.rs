//! What reads promise.

use super::{Owner, Subject, last_partition, read_all, same};
use crate::port::{Head, Place, ReadError};
use quipu_schemas::digest::Digest;

/// Promise 7: whole frames, in order, from the one that holds the offset, never past damage.
pub fn reads_return_whole_frames_and_never_skip(subject: &mut dyn Subject) {
    let log = subject.log();
    let p = last_partition(&*log);
    assert!(log.read(p, 0, 1).unwrap().is_empty());
    let mut owner = Owner::claim(&*log, p);
    let mut places = Vec::new();
    for count in [2, 3, 4] {
        places.extend(owner.write(&*log, count));
    }
    for (from, first) in [(0, 0), (1, 0), (2, 2), (4, 2), (5, 5), (8, 5)] {
        let frames = log.read(p, from, 1).unwrap();
        let records: Vec<_> = frames.iter().filter(|f| !f.records.is_empty()).collect();
        assert_eq!((records.len(), records[0].first_offset), (1, first), "from {from}");
    }
    assert!(log.read(p, 9, 1).unwrap().is_empty(), "caught up");
    let frames = read_all(&*log, p, 1).unwrap();
    assert_eq!(same(&frames), same(&read_all(&*log, p, 1 << 20).unwrap()));
    assert!(frames.windows(2).all(|w| w[1].previous == w[0].hash));
    if !subject.damage(places[3]) {
        return;
    }
    let before = log.read(p, 0, 1 << 20).unwrap();
    assert_eq!(before.iter().map(|f| f.records.len()).sum::<usize>(), 2);
    for _ in 0..2 {
        let damaged = log.read(p, 2, 1 << 20);
        assert!(matches!(damaged, Err(ReadError::Damaged { offset: 2, .. })), "{damaged:?}");
        assert!(
            matches!(log.read(p, 5, 1 << 20), Err(ReadError::Damaged { .. })),
            "nothing behind damage is served"
        );
    }
    for other in (0..log.meta().partitions).filter(|other| *other != p) {
        Owner::claim(&*log, other).write(&*log, 1);
        assert_eq!(read_all(&*log, other, 1 << 20).unwrap().len(), 2, "other partitions serve");
    }
}

/// Promise 8: what was read once is read again, byte for byte.
pub fn reads_repeat_byte_for_byte(subject: &mut dyn Subject) {
    let log = subject.log();
    let partitions: Vec<u16> = (0..log.meta().partitions).collect();
    let mut owners: Vec<Owner> = partitions.iter().map(|p| Owner::claim(&*log, *p)).collect();
    let mut first = Vec::new();
    for _ in 0..30 {
        for owner in &mut owners {
            owner.write(&*log, 3);
        }
    }
    for p in &partitions {
        first.push(same(&read_all(&*log, *p, 4096).unwrap()));
    }
    for owner in &mut owners {
        owner.write(&*log, 1);
    }
    drop(log);
    subject.reopen();
    let log = subject.log();
    for (p, first) in partitions.iter().zip(&first) {
        let again = same(&read_all(&*log, *p, 1 << 20).unwrap());
        assert_eq!(again[..first.len()], first[..]);
        assert_eq!(again.len(), first.len() + 1);
    }
}

/// Promise 9: records at their places, in the order asked for, checked.
pub fn places_give_their_records(subject: &mut dyn Subject) {
    let log = subject.log();
    let p = last_partition(&*log);
    let mut owner = Owner::claim(&*log, p);
    let mut places = owner.write(&*log, 3);
    places.extend(owner.write(&*log, 2));
    let frames = read_all(&*log, p, 1 << 20).unwrap();
    let read: Vec<(Place, Vec<u8>)> = frames.into_iter().flat_map(|f| f.records).collect();
    assert_eq!(
        read.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
        places,
        "appends and reads give the same places"
    );
    let order = [4, 0, 2, 2, 1, 3];
    let wanted: Vec<Place> = order.iter().map(|i| places[*i]).collect();
    let records = log.read_at(&wanted).unwrap();
    for (i, record) in order.iter().zip(&records) {
        assert_eq!(record, &read[*i].1);
    }
    assert!(log.read_at(&[]).unwrap().is_empty());
    let wrong = Place {
        at: places[1].at + 1,
        ..places[4]
    };
    assert!(log.read_at(&[wrong]).is_err());
    drop(log);
    subject.reopen();
    assert_eq!(subject.log().read_at(&wanted).unwrap(), records, "places live as long as the log");
    if subject.damage(places[4]) {
        assert!(subject.log().read_at(&places[4..]).is_err());
        subject.log().read_at(&places[..4]).unwrap();
    }
}

/// Promise 10: the head is the durable end.
pub fn the_head_is_the_durable_end(subject: &mut dyn Subject) {
    let log = subject.log();
    let p = last_partition(&*log);
    assert_eq!(
        log.head(p).unwrap(),
        Head {
            epoch: 0,
            next_offset: 0,
            frame_hash: Digest::ZERO
        }
    );
    let mut owner = Owner::claim(&*log, p);
    assert_eq!(log.head(p).unwrap(), owner.head);
    for count in [1, 2] {
        owner.write(&*log, count);
        assert_eq!(log.head(p).unwrap(), owner.head);
    }
    let last = read_all(&*log, p, 1 << 20).unwrap().pop().unwrap();
    assert_eq!(last.hash, owner.head.frame_hash);
    drop(log);
    subject.reopen();
    assert_eq!(subject.log().head(p).unwrap(), owner.head);
}
