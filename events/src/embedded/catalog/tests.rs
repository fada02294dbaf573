//! Reading over several segments: by offset and by place, through sidecars that are believed or not.

use super::super::{
    segment::{SEGMENT_HEADER, SegmentHeader, sidecar_path},
    sidecar::{Summary, decode_frames, decode_summary, encode},
};
use super::*;
use crate::{
    contract::Owner,
    disk::SimDisk,
    embedded::{EmbeddedOptions, LOG_DIR, SegmentEngine},
};
use std::path::Path;

const DIR: &str = "/data";
const SMALL: u64 = 2 * 1024;

fn open(disk: &SimDisk, segment_bytes: u64) -> SegmentEngine {
    let options = EmbeddedOptions {
        partitions: 2,
        log_id: None,
        segment_bytes,
    };
    SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options).unwrap()
}

fn write(engine: &mut SegmentEngine, owner: &mut Owner) -> Place {
    let batch = owner.batch(1);
    let appended = engine.append_all(vec![batch.clone()]).pop().unwrap().unwrap();
    owner.appended(&batch, &appended);
    appended.places[0]
}

fn log_dir() -> PathBuf {
    Path::new(DIR).join(LOG_DIR)
}

/// Two records of partition 1, then partition 0 alone over several segments; the places of its records.
fn log() -> (SimDisk, SegmentEngine, Vec<Place>) {
    let disk = SimDisk::new(1);
    let mut engine = open(&disk, SMALL);
    let mut owners: Vec<Owner> = (0..2).map(|p| Owner::at(p, engine.claim(p, "http://test").unwrap())).collect();
    (0..2).for_each(|_| _ = write(&mut engine, &mut owners[1]));
    let places = (0..12).map(|_| write(&mut engine, &mut owners[0])).collect();
    assert!(engine.heads().synced.0 > 3);
    (disk, engine, places)
}

/// The records of a partition from an offset on, `max_bytes` at a time.
fn records(engine: &SegmentEngine, partition: u16, from: u64, max_bytes: usize) -> Result<Vec<(Place, Vec<u8>)>, ReadError> {
    let (mut all, mut from) = (Vec::new(), from);
    loop {
        let frames = engine.read(partition, from, max_bytes)?;
        let Some(last) = frames.last() else { return Ok(all) };
        from = last.first_offset + last.records.len() as u64;
        all.extend(frames.into_iter().flat_map(|frame| frame.records));
    }
}

fn sidecar(disk: &SimDisk, segment: u64) -> (Summary, Vec<Vec<FrameAt>>) {
    let bytes = disk.files()[&sidecar_path(&log_dir(), segment)].clone();
    let summary = decode_summary(&bytes, 2).unwrap();
    let frames = decode_frames(&bytes, &summary).unwrap();
    (summary, frames)
}

#[test]
fn records_are_read_by_place_across_segments() {
    let (disk, engine, places) = log();
    let expected = records(&engine, 0, 0, 1).unwrap();
    assert_eq!(expected.iter().map(|(place, _)| *place).collect::<Vec<_>>(), places);
    let check = |engine: &SegmentEngine| {
        assert_eq!(records(engine, 0, 0, usize::MAX).unwrap(), expected);
        // One of each segment at the same byte lie next to each other in what is asked for.
        for step in [1, 5, 7, 11] {
            let order: Vec<usize> = (0..24).map(|n| n * step % 12).collect();
            let wanted: Vec<Place> = order.iter().map(|n| places[*n]).collect();
            let found = engine.read_at(&wanted).unwrap();
            assert!(
                found.iter().zip(&order).all(|(bytes, n)| *bytes == expected[*n].1),
                "every {step}th"
            );
        }
    };
    check(&engine);
    drop(engine);
    check(&open(&disk, SMALL));
}

#[test]
fn what_stands_before_the_damage_of_a_partition_is_served() {
    let disk = SimDisk::new(1);
    let mut engine = open(&disk, 64 * 1024);
    let mut owners: Vec<Owner> = (0..2).map(|p| Owner::at(p, engine.claim(p, "http://test").unwrap())).collect();
    let places: Vec<Place> = (0..4).map(|_| write(&mut engine, &mut owners[1])).collect();
    write(&mut engine, &mut owners[0]);
    drop(engine);
    disk.flip(&segment_path(&log_dir(), 1), u64::from(places[2].at + 9) * 8);
    let engine = open(&disk, 64 * 1024);
    let before = engine.read(1, 0, usize::MAX).unwrap();
    let read: Vec<Place> = before.iter().flat_map(|frame| &frame.records).map(|(place, _)| *place).collect();
    assert_eq!(read, places[..2]);
    assert_eq!(engine.read(1, 1, usize::MAX).unwrap().last().unwrap().first_offset, 1);
    for from in [2, 3, 4, 9] {
        assert!(
            matches!(engine.read(1, from, 1), Err(ReadError::Damaged { offset: 2, .. })),
            "from {from}"
        );
    }
    assert_eq!(records(&engine, 0, 0, 1).unwrap().len(), 1, "the other partition");
}

/// A claim is given with the frame that follows it, also where that begins the next segment and few bytes are asked for.
#[test]
fn a_claim_at_the_end_of_a_segment_does_not_end_a_read() {
    let life = |segment_bytes: u64| {
        let disk = SimDisk::new(1);
        let mut engine = open(&disk, segment_bytes);
        let mut owner = Owner::at(0, engine.claim(0, "http://test").unwrap());
        write(&mut engine, &mut owner);
        owner.head = engine.claim(0, "http://test").unwrap();
        let end = engine.heads().synced.1;
        write(&mut engine, &mut owner);
        (engine, end)
    };
    let (engine, _) = life(life(64 * 1024).1);
    assert_eq!(engine.heads().synced.0, 2);
    let frames = engine.read(0, 1, 1).unwrap();
    let found: Vec<_> = frames
        .iter()
        .map(|f| (f.first_offset, f.owner.is_some(), f.records.len()))
        .collect();
    assert_eq!(found, [(1, true, 0), (1, false, 1)]);
}

/// They may have changed since the log was opened; a place that they name is believed only as far as they are its own.
#[test]
fn a_sidecar_of_something_else_is_not_read_by() {
    for name in ["log", "segment", "spans"] {
        let (disk, engine, _) = log();
        let expected = records(&engine, 0, 0, 1).unwrap();
        drop(engine);
        let engine = open(&disk, SMALL);
        let (mut summary, mut frames) = sidecar(&disk, 2);
        frames[0].iter_mut().for_each(|frame| frame.at += 1);
        match name {
            "log" => summary.log_id.0[0] ^= 1,
            "segment" => summary.segment = 1,
            _ => summary.spans[1].end.epoch += 1,
        }
        disk.put(&sidecar_path(&log_dir(), 2), encode(&summary, &frames));
        assert_eq!(records(&engine, 0, 0, usize::MAX).unwrap(), expected, "another {name}");
    }
}

/// Never passed over: that would give another record for it, or none.
#[test]
fn an_offset_that_no_frame_holds_is_damage() {
    let (disk, engine, _) = log();
    drop(engine);
    let engine = open(&disk, SMALL);
    let (summary, mut frames) = sidecar(&disk, 1);
    frames[1].last_mut().unwrap().first_offset += 100;
    disk.put(&sidecar_path(&log_dir(), 1), encode(&summary, &frames));
    assert_eq!(engine.read(1, 0, 1).unwrap().len(), 2, "a claim and a record");
    let Err(ReadError::Damaged {
        partition: 1,
        offset: 1,
        detail,
        ..
    }) = engine.read(1, 1, usize::MAX)
    else {
        panic!("{:?}", engine.read(1, 1, usize::MAX))
    };
    assert_eq!(detail, "no frame holds this offset");
    assert!(engine.head(1).is_err() && engine.head(0).is_ok());
}

#[test]
fn a_sidecar_is_made_again_for_an_intact_segment_only() {
    for damaged in [false, true] {
        let (disk, engine, places) = log();
        drop(engine);
        let engine = open(&disk, SMALL);
        let path = sidecar_path(&log_dir(), 2);
        let before = disk.files()[&path].clone();
        disk.remove(&path).unwrap();
        let last = places.iter().rfind(|place| place.unit == 2).unwrap();
        if damaged {
            disk.flip(&segment_path(&log_dir(), 2), u64::from(last.at + 9) * 8);
        }
        let count = places.iter().filter(|place| place.unit < 2).count() as u64;
        assert_eq!(engine.read(0, count, 1).unwrap().last().unwrap().first_offset, count);
        assert_eq!(disk.files().get(&path), (!damaged).then_some(&before));
    }
}

#[test]
fn a_segment_header_of_another_log_is_damage_and_costs_no_frame() {
    let (disk, engine, _) = log();
    let expected = records(&engine, 0, 0, 1).unwrap();
    drop(engine);
    let (path, sidecar) = (segment_path(&log_dir(), 2), sidecar_path(&log_dir(), 2));
    disk.remove(&sidecar).unwrap();
    let mut bytes = disk.files()[&path].clone();
    let mut header = SegmentHeader::decode(&bytes).unwrap();
    header.log_id.0[0] ^= 1;
    bytes[..SEGMENT_HEADER].copy_from_slice(&header.encode());
    disk.put(&path, bytes);
    let engine = open(&disk, SMALL);
    assert_eq!(engine.report().notes, [format!("{}: segment header is damaged", place_text(2, 0))]);
    assert!(engine.report().stopped.is_empty());
    assert_eq!(records(&engine, 0, 0, 1).unwrap(), expected);
}
