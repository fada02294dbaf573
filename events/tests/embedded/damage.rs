//! What damage, crashes and full disks do to the embedded log, and what `verify` says about them.

mod last_flush;
mod power;

use quipu_events::{
    contract::{self, Owner, append},
    disk::SimDisk,
    embedded::{EmbeddedLog, EmbeddedOptions, LOG_DIR, OpenError},
    heads::{self, HEADS_FILE},
    port::{AppendError, FrameRead, Log, ReadError},
    verify::{VerifyReport, verify},
};
use quipu_schemas::position::LogId;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

const DIR: &str = "/data";

fn options(partitions: u16) -> EmbeddedOptions {
    EmbeddedOptions {
        partitions,
        log_id: Some(LogId([3; 16])),
        segment_bytes: 3 * 1024,
    }
}

fn open(disk: &SimDisk, partitions: u16) -> Arc<dyn Log> {
    Arc::new(EmbeddedLog::open_on(Arc::new(disk.clone()), Path::new(DIR), &options(partitions)).unwrap())
}

/// A closed log of a few small segments: two partitions, claims, several records a frame.
fn sample(rounds: usize) -> SimDisk {
    let disk = SimDisk::new(1);
    let log = open(&disk, 2);
    let mut owners: Vec<Owner> = (0..2).map(|p| Owner::claim(&*log, p)).collect();
    for round in 0..rounds {
        owners.iter_mut().for_each(|o| drop(o.write(&*log, 1 + round % 2)));
    }
    disk
}

fn on(files: &BTreeMap<PathBuf, Vec<u8>>) -> SimDisk {
    let disk = SimDisk::new(1);
    files.iter().for_each(|(path, bytes)| disk.put(path, bytes.clone()));
    disk
}

fn check(disk: &SimDisk) -> VerifyReport {
    verify(disk, Path::new(DIR), |_, _| {}).unwrap()
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(LOG_DIR).join(format!("{number:016}.seg"))
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "seg")
}

#[test]
fn a_new_log_has_an_id_of_its_own() {
    let id = || {
        let options = EmbeddedOptions {
            log_id: None,
            ..options(1)
        };
        let log = EmbeddedLog::open_on(Arc::new(SimDisk::new(1)), Path::new(DIR), &options).unwrap();
        log.meta().log_id
    };
    assert_ne!(id(), id());
}

#[test]
fn an_intact_log_is_intact_and_counted() {
    let report = check(&sample(6));
    assert_eq!(report.problems, []);
    assert_eq!(report.torn, []);
    assert_eq!(
        (report.claims, report.frames, report.records, report.events, report.streams),
        (2, 12, 18, 18, 2)
    );
    assert_eq!((report.heads, report.partitions, report.generation), (2, 2, 1));
    assert!(report.segments > 1);
}

#[test]
fn every_bit_flip_is_detected_and_located() {
    let disk = sample(2);
    let clean = check(&disk);
    assert!(clean.is_intact() && clean.segments > 1);
    for (path, bytes) in disk.files() {
        if !is_segment(&path) && !path.ends_with(HEADS_FILE) {
            continue;
        }
        for bit in 0..bytes.len() as u64 * 8 {
            disk.flip(&path, bit);
            let report = check(&disk);
            disk.flip(&path, bit);
            let found: Vec<_> = report.problems.iter().chain(&report.torn).collect();
            // Located: in that file, no further from the byte than the frame that holds it.
            let near = found.iter().any(|p| p.file == path && p.byte <= bit / 8 && bit / 8 - p.byte < 2048);
            assert!(near, "{} bit {bit}: {found:?}", path.display());
        }
    }
}

/// The flushes of a segment: where each begins, and where the last ends.
fn flushes(bytes: &[u8]) -> Vec<usize> {
    let mut at = 64;
    let mut out = vec![at];
    while bytes.get(at..at + 4) == Some(b"QG\0\x01") {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        if len == 0 {
            break;
        }
        at += 40 + len;
        out.push(at);
    }
    out
}

#[test]
fn tampering_before_the_last_head_is_detected() {
    let files = sample(6).files();
    let last = files.keys().filter(|p| is_segment(p)).count() as u64;
    let mut cases: Vec<(String, BTreeMap<PathBuf, Vec<u8>>)> = Vec::new();
    for number in 1..=last {
        let path = segment(number);
        let bytes = &files[&path];
        let cuts = flushes(bytes);
        let mut case = |name: String, bytes: Vec<u8>| {
            cases.push((
                name,
                files
                    .iter()
                    .map(|(p, b)| (p.clone(), if *p == path { bytes.clone() } else { b.clone() }))
                    .collect(),
            ))
        };
        for pair in cuts.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let mut dropped = bytes.clone();
            dropped.drain(from..to);
            case(format!("drop {from} of {number}"), dropped);
            let mut zeroed = bytes.clone();
            zeroed[from..to].fill(0);
            case(format!("zero {from} of {number}"), zeroed);
            let mut inserted = bytes.clone();
            inserted.splice(to..to, bytes[from..to].to_vec());
            case(format!("insert {from} of {number}"), inserted);
            case(format!("truncate {from} of {number}"), bytes[..from].to_vec());
            case(format!("truncate within {from} of {number}"), bytes[..to - 5].to_vec());
        }
        for three in cuts.windows(3) {
            let mut swapped = bytes[..three[0]].to_vec();
            swapped.extend_from_slice(&bytes[three[1]..three[2]]);
            swapped.extend_from_slice(&bytes[three[0]..three[1]]);
            swapped.extend_from_slice(&bytes[three[2]..]);
            case(format!("swap {} of {number}", three[0]), swapped);
        }
        let mut gone = files.clone();
        gone.remove(&path);
        cases.push((format!("segment {number} gone"), gone));
    }
    for (name, files) in cases {
        let report = check(&on(&files));
        // Behind the end of the log only: no frame, and told.
        let behind_the_end = name.starts_with("insert") && !report.torn.is_empty();
        assert!(!report.is_intact() || behind_the_end, "{name} unnoticed");
        // And opening serves only what continues, never anything else in its place.
        let disk = on(&files);
        let honest = sample(6);
        let honest = open(&honest, 2);
        let log = open(&disk, 2);
        for p in 0..2 {
            let before: Vec<_> = read_until_damage(&*honest, p).iter().map(|f| f.hash).collect();
            let after: Vec<_> = read_until_damage(&*log, p).iter().map(|f| f.hash).collect();
            assert!(before.starts_with(&after), "{name}");
            assert!(
                after.len() == before.len() || log.head(p).is_err() || log.read(p, after_offset(&*log, p), 1).is_err(),
                "{name}: partition {p} serves on"
            );
        }
    }
}

fn after_offset(log: &dyn Log, p: u16) -> u64 {
    read_until_damage(log, p)
        .last()
        .map_or(0, |f| f.first_offset + f.records.len() as u64)
}

fn read_until_damage(log: &dyn Log, partition: u16) -> Vec<FrameRead> {
    let mut all: Vec<FrameRead> = Vec::new();
    let mut from = 0;
    while let Ok(frames) = log.read(partition, from, 1 << 20) {
        let Some(last) = frames.last() else { break };
        from = last.first_offset + last.records.len() as u64;
        all.extend(frames);
    }
    all
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let small = EmbeddedOptions {
        partitions: 1,
        ..options(1)
    };
    let log = EmbeddedLog::open(dir.path(), &small).unwrap();
    match EmbeddedLog::open(dir.path(), &small) {
        Err(OpenError::Locked { holder, .. }) => assert_eq!(holder, format!("process {}", std::process::id())),
        other => panic!("{:?}", other.err()),
    }
    drop(log);
    assert!(matches!(
        EmbeddedLog::open(
            dir.path(),
            &EmbeddedOptions {
                partitions: 2,
                ..small.clone()
            }
        ),
        Err(OpenError::Partitions { found: 1, asked: 2 })
    ));
    EmbeddedLog::open(dir.path(), &small).unwrap();
}

#[test]
fn heads_of_another_log_are_refused_at_open() {
    let disk = sample(2);
    let mut noted = heads::read(&disk, Path::new(DIR)).unwrap().unwrap();
    noted.log_id = LogId([4; 16]);
    heads::write(&disk, Path::new(DIR), &noted).unwrap();
    let refused = EmbeddedLog::open_on(Arc::new(disk), Path::new(DIR), &options(2)).err();
    assert!(
        matches!(&refused, Some(OpenError::Damaged { detail, .. }) if detail == "heads of another log"),
        "{refused:?}"
    );
}

#[test]
fn a_missing_segment_stops_what_it_may_have_held_and_is_named() {
    let mut files = sample(6).files();
    files.remove(&segment(2)).expect("a second segment");
    let log = EmbeddedLog::open_on(Arc::new(on(&files)), Path::new(DIR), &options(2)).unwrap();
    assert_eq!(log.report().notes[0], "segments 2 to 2 are missing");
    assert!((0..2).all(|partition| matches!(log.head(partition), Err(ReadError::Damaged { .. }))));
    assert_eq!(log.report().stopped.len(), 2);
}

#[test]
fn a_full_disk_refuses_and_stores_nothing_until_there_is_room() {
    let disk = SimDisk::new(1);
    disk.inject(|f| f.capacity_bytes = Some(12 * 1024));
    let log = open(&disk, 1);
    let mut owner = Owner::claim(&*log, 0);
    assert_eq!(log.trouble(), None);
    let mut written = 0;
    let refused = loop {
        let batch = owner.batch(1);
        match append(&*log, batch.clone()) {
            Ok(appended) => {
                owner.appended(&batch, &appended);
                written += 1;
            }
            Err(e) => break (e, batch),
        }
    };
    assert_eq!(refused.0, AppendError::Full);
    assert_eq!(log.trouble().as_deref(), Some("the disk is full"));
    assert_eq!(append(&*log, refused.1.clone()), Err(AppendError::Full));
    assert_eq!(log.head(0).unwrap(), owner.head);
    disk.inject(|f| f.capacity_bytes = None);
    append(&*log, refused.1).unwrap();
    assert_eq!(log.trouble(), None, "there is room again");
    drop(log);
    assert!(check(&disk).is_intact());
    assert_eq!(check(&disk).records, written + 1);
}

#[test]
fn failed_sync_poisons_the_writer_until_reopened() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let log = open(&disk, 2);
        let mut owners: Vec<Owner> = (0..2).map(|p| Owner::claim(&*log, p)).collect();
        owners[0].write(&*log, 1);
        disk.inject(|f| f.fail_next_sync = true);
        assert!(matches!(append(&*log, owners[0].batch(3)), Err(AppendError::Unknown(_))));
        assert_eq!(log.trouble().as_deref(), Some("an append failed; restart the node"));
        assert!(matches!(append(&*log, owners[1].batch(1)), Err(AppendError::Poisoned(_))));
        assert!(matches!(log.claim(1, "x"), Err(AppendError::Poisoned(_))));
        drop(log);
        assert_eq!(disk.counts().syncs_failed, 1);
        disk.crash();
        let log = open(&disk, 2);
        let records: usize = contract::read_all(&*log, 0, 1 << 20).unwrap().iter().map(|f| f.records.len()).sum();
        assert!(records == 1 || records == 4, "whole or absent, not {records}");
    }
}

#[test]
fn partition_with_a_damaged_frame_stops_and_others_serve() {
    let disk = sample(6);
    // In the last segment, so that opening meets it.
    let last = disk.files().keys().filter(|p| is_segment(p)).count() as u64;
    let files = disk.files();
    let first = flushes(&files[&segment(last)])[0] as u64;
    let partition = u16::from_le_bytes(files[&segment(last)][first as usize + 40 + 36..][..2].try_into().unwrap());
    disk.flip(&segment(last), (first + 40 + 200) * 8);
    let log = open(&disk, 2);
    let damaged = log.head(partition);
    assert!(
        matches!(&damaged, Err(ReadError::Damaged { at, .. }) if at.contains(&format!("byte {}", first + 40))),
        "{damaged:?}"
    );
    assert!(matches!(log.claim(partition, "x"), Err(AppendError::Poisoned(_))));
    let other = 1 - partition;
    assert_eq!(read_until_damage(&*log, other).iter().map(|f| f.records.len()).sum::<usize>(), 9);
    log.claim(other, "x").unwrap();
}

fn without(files: &BTreeMap<PathBuf, Vec<u8>>, gone: impl Fn(&Path) -> bool) -> BTreeMap<PathBuf, Vec<u8>> {
    files
        .iter()
        .filter(|(path, _)| !gone(path))
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

fn is_sidecar(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "idx")
}
