//! What `verify` tells, and where: the log's end, other logs' files, heads that it does not hold, records out of place.

use super::*;
use crate::{
    contract::{Owner, record},
    disk::SimDisk,
    embedded::{EmbeddedOptions, SegmentEngine},
};
use std::sync::Arc;

const DIR: &str = "/data";

/// Three small segments of two partitions, with their heads.
fn log() -> SimDisk {
    let disk = SimDisk::new(1);
    let options = EmbeddedOptions {
        partitions: 2,
        log_id: None,
        segment_bytes: 2048,
    };
    let mut engine = SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options).unwrap();
    let mut owners: Vec<Owner> = (0..2).map(|p| Owner::at(p, engine.claim(p, "http://test").unwrap())).collect();
    let numbers = || segment_numbers(&disk, &Path::new(DIR).join(LOG_DIR)).unwrap().len();
    while numbers() < 3 {
        for owner in &mut owners {
            let batch = owner.batch(1);
            let appended = engine.append_all(vec![batch.clone()]).pop().unwrap().unwrap();
            owner.appended(&batch, &appended);
        }
    }
    engine.write_heads().unwrap();
    disk
}

fn segment(number: u64) -> PathBuf {
    segment_path(&Path::new(DIR).join(LOG_DIR), number)
}

fn check(disk: &SimDisk) -> VerifyReport {
    verify(disk, Path::new(DIR), |_, _| {}).unwrap()
}

fn noted(disk: &SimDisk, change: impl FnOnce(&mut Heads)) {
    let mut heads = heads::read(disk, Path::new(DIR)).unwrap().unwrap();
    change(&mut heads);
    heads::write(disk, Path::new(DIR), &heads).unwrap();
}

/// File, byte, partition and words of each problem.
fn told(report: &VerifyReport) -> Vec<(PathBuf, u64, Option<u16>, &str)> {
    let problems = report.problems.iter();
    problems.map(|p| (p.file.clone(), p.byte, p.partition, p.detail.as_str())).collect()
}

#[test]
fn progress_is_told_in_bytes_of_all_segments() {
    let disk = log();
    let mut heard = Vec::new();
    let report = verify(&disk, Path::new(DIR), |done, all| heard.push((done, all))).unwrap();
    let lens: Vec<u64> = (1..=3).map(|n| disk.files()[&segment(n)].len() as u64).collect();
    let all: u64 = lens.iter().sum();
    assert_eq!(heard, [(lens[0], all), (lens[0] + lens[1], all), (all, all)]);
    assert_eq!((report.bytes, report.segments, report.heads), (all, 3, 2));
    assert!(report.is_intact() && report.torn.is_empty(), "{report:?}");
}

#[test]
fn a_segment_of_another_log_is_told() {
    for change in [|h: &mut SegmentHeader| h.log_id.0[0] ^= 1, |h: &mut SegmentHeader| h.partitions = 3] {
        let disk = log();
        let mut bytes = disk.files()[&segment(2)].clone();
        let mut header = SegmentHeader::decode(&bytes).unwrap();
        change(&mut header);
        bytes[..SEGMENT_HEADER].copy_from_slice(&header.encode());
        disk.put(&segment(2), bytes);
        assert_eq!(told(&check(&disk)), [(segment(2), 0, None, "segment of another log")]);
    }
}

#[test]
fn a_log_that_does_not_reach_what_was_noted_is_told() {
    let end = |disk: &SimDisk| heads::read(disk, Path::new(DIR)).unwrap().unwrap().synced;
    // Its last segment is gone.
    let disk = log();
    let (last, byte) = end(&disk);
    disk.remove(&segment(last)).unwrap();
    let report = check(&disk);
    let missing = format!("segment 3 is missing: it was synced to byte {byte}");
    let log_dir = Path::new(DIR).join(LOG_DIR);
    assert_eq!(told(&report)[0], (log_dir.clone(), 0, None, missing.as_str()));
    assert_eq!(
        report.heads + report.problems.len() as u64 - 1,
        2,
        "its frames are missed as well: {report:?}"
    );
    // It is a byte shorter than was noted; noted before its end, it is whole.
    let disk = log();
    noted(&disk, |heads| heads.synced.1 += 1);
    let short = format!("the log ends before byte {} of segment 3, which was synced", byte + 1);
    assert_eq!(told(&check(&disk)), [(segment(3), byte, None, short.as_str())]);
    noted(&disk, |heads| heads.synced.1 -= 2);
    assert_eq!(told(&check(&disk)), []);
    // It holds another frame where the noted one was.
    let disk = log();
    noted(&disk, |heads| heads.entries[1].frame_hash = Digest([9; 32]));
    let entry = heads::read(&disk, Path::new(DIR)).unwrap().unwrap().entries[1];
    let report = check(&disk);
    let detail = format!(
        "the log does not hold the head at offset {} with frame {}",
        entry.offset, entry.frame_hash
    );
    assert_eq!(told(&report), [(log_dir, 0, Some(1), detail.as_str())]);
    assert_eq!(report.heads, 1);
}

#[test]
fn a_record_out_of_place_is_told_with_its_byte_and_offset() {
    let first = record("acme/test/a", 1, Digest::ZERO, 40);
    let second = record("acme/test/a", 3, first.hash, 40);
    let bytes = [vec![0; 50], first.bytes.clone(), second.bytes.clone()].concat();
    let ends = [50, 50 + first.bytes.len(), bytes.len()];
    let mut records = Records::default();
    records.check(&Parcel {
        file: segment(1),
        at: 1000,
        partition: 1,
        first_offset: 40,
        bytes,
        records: vec![ends[0]..ends[1], ends[1]..ends[2]],
    });
    let [problem] = &records.problems[..] else {
        panic!("{:?}", records.problems)
    };
    assert_eq!(
        (problem.byte, problem.offset, problem.partition),
        (1000 + ends[1] as u64, Some(41), Some(1))
    );
    assert_eq!(
        (problem.stream.as_deref(), problem.detail.as_str()),
        (Some("acme/test/a"), "version 3 where 2 should follow")
    );
}
