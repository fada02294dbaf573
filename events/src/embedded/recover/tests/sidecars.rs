//! What sidecars spare and prove.

use super::super::*;
use super::{DIR, SMALL, WrittenLog, has_sidecar, log_dir, numbers};
use crate::{embedded::segment::FLUSH_HEADER, verify::verify};

/// A log of sealed segments: its sidecars are there, its heads were never noted.
pub(super) fn sealed(partitions: u16) -> WrittenLog {
    let mut log = WrittenLog::new(partitions, SMALL);
    while numbers(&log.disk).len() < 3 {
        log.write(0);
    }
    assert!(has_sidecar(&log.disk, 1) && has_sidecar(&log.disk, 2));
    log
}

#[test]
fn sidecar_spares_reading_of_its_own_segment_only() {
    // Believed: damage is not met before the frame is asked for.
    let log = sealed(1);
    log.flip(1, log.bytes(1).len() as u64 - 1);
    let log = log.again();
    assert!(log.engine.report().notes.is_empty() && log.stopped().is_empty());
    assert!(matches!(log.engine.read(0, 0, usize::MAX), Ok(frames) if !frames.is_empty()));
    // Not believed: of a segment that is shorter, of another segment, of another log.
    type Case<'a> = (&'a str, &'a dyn Fn(&WrittenLog));
    let cases: [Case<'_>; 3] = [
        ("shorter", &|log| {
            let mut bytes = log.bytes(1);
            bytes.truncate(bytes.len() - 1);
            log.put(1, bytes);
        }),
        ("of another segment", &|log| {
            log.flip(1, log.bytes(1).len() as u64 - 1);
            let other = log.disk.files()[&sidecar_path(&log_dir(), 2)].clone();
            log.disk.put(&sidecar_path(&log_dir(), 1), other);
        }),
        ("of another log", &|log| {
            log.flip(1, log.bytes(1).len() as u64 - 1);
            let path = sidecar_path(&log_dir(), 1);
            let mut bytes = log.disk.files()[&path].clone();
            let len = summary_len(1);
            bytes[8] ^= 1;
            let crc = crc32fast::hash(&bytes[..len - 4]);
            bytes[len - 4..len].copy_from_slice(&crc.to_le_bytes());
            log.disk.put(&path, bytes);
        }),
    ];
    for (name, change) in cases {
        let log = sealed(1);
        change(&log);
        let log = log.again();
        assert_eq!(log.stopped(), [0], "{name}");
    }
}

/// Bytes at the end of a sealed segment that do not form a flush: a torn mark after a crash, or a write that was undone.
#[test]
fn torn_sealed_segment_is_harmless_if_the_next_continues_it() {
    let torn = |log: &WrittenLog| {
        let mut bytes = log.bytes(1);
        bytes.extend_from_slice(&[7; FLUSH_HEADER / 2]);
        log.put(1, bytes);
    };
    let log = sealed(2);
    let (len, end) = (log.bytes(1).len(), log.end());
    torn(&log);
    log.without_sidecar(1);
    let report = verify(&log.disk, Path::new(DIR), |_, _| {}).unwrap();
    assert_eq!((report.problems.len(), report.torn.len()), (0, 1), "{report:?}");
    let log = log.again();
    assert!(
        log.engine.report().notes.is_empty() && log.stopped().is_empty(),
        "{:?}",
        log.engine.report()
    );
    assert_eq!(log.end(), end);
    assert!(has_sidecar(&log.disk, 1) && log.bytes(1).len() == len, "it is mended");

    // Whether a flush is missing, only the next segment's header would tell.
    let log = sealed(2);
    torn(&log);
    log.without_sidecar(1);
    log.without_sidecar(2);
    log.flip(2, 41);
    let report = verify(&log.disk, Path::new(DIR), |_, _| {}).unwrap();
    assert!(
        report.torn.is_empty() && report.problems.iter().any(|p| p.byte == len as u64),
        "{report:?}"
    );
    let log = log.again();
    let note = format!(
        "segment {:016}.seg byte {len} to {}: 20 bytes that are not an intact flush, and a later segment exists",
        1,
        len + 20
    );
    assert_eq!(log.engine.report().notes[0], note);
    assert_eq!(log.stopped(), [1], "whoever goes on lost nothing");
    assert!(!has_sidecar(&log.disk, 1) && log.bytes(1).len() == len + 20, "it stays as it is");

    // Nothing torn: that the next header cannot be read costs this one nothing.
    let log = sealed(2);
    log.without_sidecar(1);
    log.without_sidecar(2);
    log.flip(2, 41);
    let log = log.again();
    assert!(has_sidecar(&log.disk, 1) && !has_sidecar(&log.disk, 2));
    assert_eq!(log.stopped(), Vec::<u16>::new());
}

/// A segment that held nothing is lost: whoever wrote behind it, by that segment's sidecar alone, lost nothing.
#[test]
fn frames_of_a_sidecar_prove_nothing_was_lost_before() {
    let mut log = WrittenLog::new(2, SMALL);
    log.write(0);
    let header = SegmentHeader {
        log_id: log.engine.meta().log_id,
        generation: 2,
        partitions: 2,
        segment: 2,
        first_flush: 4,
    };
    create_segment(&log.disk, &log_dir(), &header, SMALL).unwrap();
    // Nothing is written to it: a later generation begins another one.
    log.note(|heads| heads.entries.iter_mut().for_each(|e| e.generation = 3));
    let mut log = log.again();
    while numbers(&log.disk).len() < 4 {
        log.write(0);
    }
    assert!((1..=3).all(|n| has_sidecar(&log.disk, n)));
    log.disk.remove(&segment_path(&log_dir(), 2)).unwrap();
    log.disk.remove(&Path::new(DIR).join(heads::HEADS_FILE)).unwrap();
    // Not by the last segment, in which it goes on as well.
    let bytes = log.bytes(4);
    log.put(4, bytes[..SEGMENT_HEADER].to_vec());
    let log = log.again();
    assert_eq!(log.engine.report().notes, ["segments 2 to 2 are missing"]);
    assert_eq!(log.stopped(), [1]);
}
