//! Damage in the last flush of a segment.

use super::{DIR, after_offset, check, flushes, is_segment, is_sidecar, on, open, options, read_until_damage, without};
use quipu_events::{contract::Owner, disk::SimDisk, embedded::SegmentEngine, frame, heads::HEADS_FILE};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

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
