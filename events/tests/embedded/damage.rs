//! What damage, crashes and full disks do to the embedded log, and what `verify` says about them.

use quipu_events::{
    contract::{self, Owner, append},
    disk::SimDisk,
    embedded::{EmbeddedLog, EmbeddedOptions, LOG_DIR, OpenError, SegmentEngine},
    frame,
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

/// Every point of a short life at which power can fail, on several seeds: what was acknowledged is there, whole and
/// in order; the log verifies; and it takes appends again.
#[test]
fn power_loss_at_any_change_loses_nothing_acknowledged() {
    let life = |disk: &SimDisk| -> Vec<u64> {
        let mut acknowledged = vec![0; 3];
        let Ok(mut engine) = SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options(3)) else {
            return acknowledged;
        };
        let mut owners = Vec::new();
        for p in 0..3 {
            let Ok(head) = engine.claim(p, "http://test") else {
                return acknowledged;
            };
            owners.push(Owner::at(p, head));
        }
        for round in 0..6 {
            let batches: Vec<_> = owners.iter_mut().map(|o| o.batch(1 + round % 3)).collect();
            for ((owner, batch), result) in owners.iter_mut().zip(&batches).zip(engine.append_all(batches.clone())) {
                let Ok(appended) = result else { return acknowledged };
                owner.appended(batch, &appended);
                acknowledged[usize::from(owner.partition)] = owner.head.next_offset;
            }
            if round % 2 == 0 {
                engine.mark();
            }
            if round == 3 && engine.write_heads().is_err() {
                return acknowledged;
            }
        }
        acknowledged
    };
    let counting = SimDisk::new(0);
    life(&counting);
    let changes = counting.counts().changes;
    let mut counts = (0, 0, 0);
    for seed in 0..5 {
        for point in 0..=changes {
            let disk = SimDisk::new(seed * 1000 + point);
            disk.inject(|f| f.power_loss_after = Some(point));
            let acknowledged = life(&disk);
            disk.crash();
            let log = open(&disk, 3);
            for p in 0..3 {
                let head = log.head(p).unwrap_or_else(|e| panic!("seed {seed} point {point}: {e}"));
                assert!(
                    head.next_offset >= acknowledged[usize::from(p)],
                    "seed {seed} point {point} partition {p} lost records"
                );
                let frames = contract::read_all(&*log, p, 1 << 20).unwrap();
                assert_eq!(
                    frames.last().map_or(0, |f| f.first_offset + f.records.len() as u64),
                    head.next_offset
                );
                let again = log.claim(p, "http://again").unwrap();
                let mut other = Owner::at(p, again);
                let mut batch = other.batch(1);
                batch.records = vec![contract::record(
                    &format!("acme/test/after_{p}"),
                    1,
                    quipu_schemas::digest::Digest::ZERO,
                    10,
                )];
                append(&*log, batch).unwrap();
            }
            drop(log);
            let report = check(&disk);
            assert_eq!((report.problems, report.torn), (vec![], vec![]), "seed {seed} point {point}");
            let c = disk.counts();
            counts = (counts.0 + c.sectors_lost, counts.1 + c.sectors_kept, counts.2 + c.names_lost);
        }
    }
    assert!(
        counts.0 > 100 && counts.1 > 100 && counts.2 > 10,
        "the faults that this is about happened: {counts:?}"
    );
}

#[test]
fn sidecars_are_derived() {
    let disk = sample(12);
    let files = disk.files();
    let log = open(&disk, 2);
    let before: Vec<_> = (0..2)
        .map(|p| {
            contract::read_all(&*log, p, 1 << 20)
                .unwrap()
                .into_iter()
                .map(|f| (f.hash, f.records))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(files.keys().any(|p| is_sidecar(p)));
    let gone = on(&files
        .iter()
        .filter(|(p, _)| !is_sidecar(p))
        .map(|(p, b)| (p.clone(), b.clone()))
        .collect());
    let wrong = on(&files
        .iter()
        .map(|(p, b)| {
            (
                p.clone(),
                if is_sidecar(p) {
                    b.iter().map(|b| b ^ 1).collect()
                } else {
                    b.clone()
                },
            )
        })
        .collect());
    for disk in [gone, wrong] {
        let log = open(&disk, 2);
        for p in 0..2 {
            let again: Vec<_> = contract::read_all(&*log, p, 1 << 20)
                .unwrap()
                .into_iter()
                .map(|f| (f.hash, f.records))
                .collect();
            assert!(again == before[usize::from(p)]);
        }
    }
}

/// Segments of flushes that hold a frame of each of three partitions; partition 2 is idle after the first five rounds. The
/// heads are noted behind the last flush, behind which no mark stands.
fn shared_flushes() -> BTreeMap<PathBuf, Vec<u8>> {
    let disk = SimDisk::new(1);
    let mut engine = SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options(3)).unwrap();
    let mut owners: Vec<Owner> = (0..3).map(|p| Owner::at(p, engine.claim(p, "http://test").unwrap())).collect();
    for round in 0..12 {
        let busy = if round < 5 { 3 } else { 2 };
        let batches: Vec<_> = owners[..busy].iter_mut().map(|o| o.batch(1 + round % 2)).collect();
        for ((owner, batch), result) in owners.iter_mut().zip(&batches).zip(engine.append_all(batches.clone())) {
            owner.appended(batch, &result.unwrap());
        }
    }
    engine.write_heads().unwrap();
    drop(engine);
    disk.files()
}

/// The frames of a flush: where each begins and ends, and its partition.
fn frames_of(bytes: &[u8], flush: (usize, usize)) -> Vec<(usize, usize, u16)> {
    let (mut at, mut out) = (flush.0 + 40, Vec::new());
    while at < flush.1 {
        let frame = frame::decode(&bytes[at..]).unwrap();
        out.push((at, at + frame.len, frame.header.partition));
        at += frame.len;
    }
    out
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

/// The frames that each of three partitions serves, and whether it serves to its end.
fn served(disk: &SimDisk) -> Vec<(Vec<quipu_schemas::digest::Digest>, bool)> {
    let log = open(disk, 3);
    let each = |p| {
        let frames = read_until_damage(&*log, p);
        let end = after_offset(&*log, p);
        let whole = log.read(p, end, 1).is_ok_and(|f| f.is_empty()) && log.head(p).is_ok_and(|h| h.next_offset == end);
        (frames.iter().map(|f| f.hash).collect(), whole)
    };
    (0..3).map(each).collect()
}

/// The last flush of each segment: of the sealed ones the next segment's header proves that it was synced, of the last
/// one the heads file. Nothing stands behind it.
fn last_flushes(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<(PathBuf, (usize, usize))> {
    let segments: Vec<_> = files.iter().filter(|(path, _)| is_segment(path)).collect();
    assert!(segments.len() > 3);
    segments
        .into_iter()
        .map(|(path, bytes)| {
            let ends = flushes(bytes);
            assert!(bytes[ends[ends.len() - 1]..].iter().all(|b| *b == 0), "no mark");
            (path.clone(), (ends[ends.len() - 2], ends[ends.len() - 1]))
        })
        .collect()
}

#[test]
fn bit_flip_in_the_last_flush_costs_one_frame() {
    let files = shared_flushes();
    let clean = check(&on(&files));
    assert!(clean.is_intact() && clean.torn.is_empty(), "{clean:?}");
    let honest = served(&on(&files));
    assert!(honest.iter().all(|(_, whole)| *whole));
    let mut shared = 0;
    for (path, flush) in last_flushes(&files) {
        let frames = frames_of(&files[&path], flush);
        shared += usize::from(frames.len() > 1);
        for (from, to, partition) in frames {
            for byte in (from..to).step_by(19) {
                let name = format!("{} byte {byte} of partition {partition}", path.display());
                let disk = on(&files);
                disk.flip(&path, byte as u64 * 8 + byte as u64 % 8);
                let report = check(&disk);
                assert_eq!(report.torn, [], "{name}");
                let counted = (report.frames + report.claims, clean.frames + clean.claims - 1);
                assert_eq!(
                    counted.0, counted.1,
                    "{name}: only the damaged frame is lost: {:?}",
                    report.problems
                );
                let in_header = byte < from + frame::HEADER_BYTES;
                let here = report.problems.iter().find(|p| p.file == path && p.byte == from as u64);
                let here = here.unwrap_or_else(|| panic!("{name}: {:?}", report.problems));
                assert_eq!(here.partition, (!in_header).then_some(partition), "{name}");
                // What else is told follows from it: the partition does not continue.
                let others = |p: &&quipu_events::verify::Problem| p.partition.is_some_and(|p| p != partition);
                assert_eq!(report.problems.iter().find(others), None, "{name}");
                // Opened: by the sidecars, by a scan, and by a scan without the heads that would prove the others good.
                for (how, gone) in [
                    ("sidecars", (|_| false) as fn(&Path) -> bool),
                    ("scan", is_sidecar),
                    ("no heads", |p| is_sidecar(p) || p.ends_with(HEADS_FILE)),
                ] {
                    // Without heads nothing proves the last flush, nor whose a frame was that cannot be read.
                    let last = files.keys().rfind(|p| is_segment(p)) == Some(&path);
                    if how == "no heads" && (in_header || last) {
                        continue;
                    }
                    let disk = on(&without(&files, gone));
                    disk.flip(&path, byte as u64 * 8 + byte as u64 % 8);
                    let before = disk.files();
                    let after = served(&disk);
                    for (p, ((after, whole), (before, _))) in (0u16..).zip(after.iter().zip(&honest)) {
                        if p == partition {
                            assert!(
                                !whole && before.starts_with(after) && after.len() < before.len(),
                                "{name}: {how} serves on"
                            );
                        } else {
                            assert!(*whole && after == before, "{name}: {how} stops partition {p}");
                        }
                    }
                    let len = flush.1;
                    assert_eq!(
                        disk.files()[&path][..len],
                        before[&path][..len],
                        "{name}: {how} changes what is damaged"
                    );
                    assert_eq!(served(&disk), after, "{name}: {how}, opened again");
                }
            }
        }
    }
    assert!(shared > 3, "flushes of several partitions");
}

#[test]
fn damaged_header_of_the_last_flush_costs_nothing() {
    let files = shared_flushes();
    let clean = check(&on(&files));
    let honest = served(&on(&files));
    for (path, flush) in last_flushes(&files) {
        for bit in (flush.0 as u64 * 8..(flush.0 as u64 + 40) * 8).step_by(3) {
            let disk = on(&without(&files, is_sidecar));
            disk.flip(&path, bit);
            let report = check(&disk);
            assert_eq!(
                (report.frames, &report.digest),
                (clean.frames, &clean.digest),
                "{} bit {bit}",
                path.display()
            );
            let located: Vec<_> = report.problems.iter().map(|p| (&p.file, p.byte)).collect();
            assert_eq!((located, report.torn), (vec![(&path, flush.0 as u64)], vec![]), "bit {bit}");
            assert_eq!(served(&disk), honest, "{} bit {bit}", path.display());
        }
    }
}

/// A flush that is cut short, although it was synced: what is left of it is served, and whose frames may be gone is told.
#[test]
fn sealed_segment_cut_in_its_last_flush_keeps_earlier_frames() {
    let files = shared_flushes();
    let clean = check(&on(&files));
    let honest = served(&on(&files));
    let (path, flush) = last_flushes(&files).remove(1);
    let frames = frames_of(&files[&path], flush);
    assert!(frames.len() > 1);
    for (kept, (from, to, _)) in frames.iter().enumerate() {
        for len in [*from, from + 3, from + 120, to - 1] {
            let mut cut = without(&files, is_sidecar);
            cut.get_mut(&path).unwrap().truncate(len);
            let report = check(&on(&cut));
            let lost = (frames.len() - kept) as u64;
            assert_eq!(report.frames + report.claims, clean.frames + clean.claims - lost, "cut at {len}");
            assert!(
                report.problems.iter().any(|p| p.file == path && p.byte <= len as u64),
                "cut at {len}"
            );
            for (p, ((after, whole), (before, _))) in (0u16..).zip(served(&on(&cut)).iter().zip(&honest)) {
                let gone = frames[kept..].iter().any(|(_, _, of)| *of == p);
                assert!(if gone { !whole } else { *whole && after == before }, "cut at {len}: partition {p}");
            }
        }
    }
}
