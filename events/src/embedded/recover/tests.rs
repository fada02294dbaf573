//! What opening a log makes of damage: who is stopped, what is noted of them, where the log goes on.

mod sidecars;

use super::*;
use crate::{
    contract::Owner,
    disk::SimDisk,
    embedded::{SegmentEngine, segment::FLUSH_HEADER},
    frame,
    verify::verify,
};

const DIR: &str = "/data";
const SMALL: u64 = 2 * 1024;
const LARGE: u64 = 64 * 1024;

/// A log that is written frame by frame, each in a flush of its own.
struct WrittenLog {
    disk: SimDisk,
    engine: SegmentEngine,
    owners: Vec<Owner>,
    segment_bytes: u64,
}

fn open(disk: &SimDisk, partitions: u16, segment_bytes: u64) -> SegmentEngine {
    let options = EmbeddedOptions {
        partitions,
        log_id: None,
        segment_bytes,
    };
    SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options).unwrap()
}

fn log_dir() -> PathBuf {
    Path::new(DIR).join(LOG_DIR)
}

fn numbers(disk: &SimDisk) -> Vec<u64> {
    segment_numbers(disk, &log_dir()).unwrap()
}

fn has_sidecar(disk: &SimDisk, number: u64) -> bool {
    disk.files().contains_key(&sidecar_path(&log_dir(), number))
}

impl WrittenLog {
    fn new(partitions: u16, segment_bytes: u64) -> Self {
        let disk = SimDisk::new(1);
        let mut engine = open(&disk, partitions, segment_bytes);
        let owners = (0..partitions)
            .map(|p| Owner::at(p, engine.claim(p, "http://test").unwrap()))
            .collect();
        Self {
            disk,
            engine,
            owners,
            segment_bytes,
        }
    }

    /// Where the next flush goes.
    fn end(&self) -> (u64, u64) {
        self.engine.heads().synced
    }

    /// Writes one record; where its frame begins and ends in the active segment.
    fn write(&mut self, partition: usize) -> (u64, u64) {
        let batch = self.owners[partition].batch(1);
        let appended = self.engine.append_all(vec![batch.clone()]).pop().unwrap().unwrap();
        self.owners[partition].appended(&batch, &appended);
        let (_, end) = self.end();
        (
            end - frame::encoded_len(None, batch.records.iter().map(|r| r.bytes.len())) as u64,
            end,
        )
    }

    fn flip(&self, segment: u64, byte: u64) {
        self.disk.flip(&segment_path(&log_dir(), segment), byte * 8);
    }

    /// Opens the log again.
    fn again(self) -> Self {
        let Self {
            disk,
            engine,
            owners,
            segment_bytes,
        } = self;
        drop(engine);
        let engine = open(&disk, owners.len() as u16, segment_bytes);
        Self {
            disk,
            engine,
            owners,
            segment_bytes,
        }
    }

    fn stopped(&self) -> Vec<u16> {
        self.engine.report().stopped.iter().map(|(partition, _)| *partition).collect()
    }

    fn noted(&self) -> Heads {
        heads::read(&self.disk, Path::new(DIR)).unwrap().unwrap()
    }

    fn note(&self, change: impl FnOnce(&mut Heads)) {
        let mut heads = self.engine.heads();
        change(&mut heads);
        heads::write(&self.disk, Path::new(DIR), &heads).unwrap();
    }

    fn bytes(&self, segment: u64) -> Vec<u8> {
        self.disk.files()[&segment_path(&log_dir(), segment)].clone()
    }

    fn put(&self, segment: u64, bytes: Vec<u8>) {
        self.disk.put(&segment_path(&log_dir(), segment), bytes);
    }

    fn without_sidecar(&self, segment: u64) {
        self.disk.remove(&sidecar_path(&log_dir(), segment)).unwrap();
    }
}

/// Otherwise the next open would take the end that is left for the end that was.
#[test]
fn what_was_noted_of_a_partition_that_lost_its_end_stays_noted() {
    // Noted after so many records; whether a claim came last; whether what was noted is further on than what is left.
    for (noted_after, claimed, further) in [(3, false, true), (1, false, false), (2, false, false), (3, true, true)] {
        let name = format!("noted after {noted_after}, claimed {claimed}");
        let mut log = WrittenLog::new(3, LARGE);
        let mut last = (0, 0);
        for record in 1..=3 {
            log.write(0);
            last = log.write(1);
            if record == noted_after && !claimed {
                log.engine.write_heads().unwrap();
            }
        }
        if claimed {
            log.engine.claim(1, "http://again").unwrap();
            last.1 = log.end().1;
            log.engine.write_heads().unwrap();
        }
        let noted = log.noted().entries;
        log.write(2);
        log.flip(1, last.1 - 1);
        let log = log.again();
        assert_eq!(log.stopped(), [1], "{name}");
        let stop = &log.engine.report().stopped[0].1;
        assert_eq!(stop.offset, if claimed { 3 } else { 2 }, "{name}");
        let now = log.engine.heads().entries;
        let of = |partition: u16| now.iter().find(|e| e.partition == partition).map(|e| (e.offset, e.frame_hash));
        let head = |partition: usize| (log.owners[partition].head.next_offset, log.owners[partition].head.frame_hash);
        assert_eq!((of(0), of(2)), (Some(head(0)), Some(head(2))), "{name}: the others");
        let expected = further.then(|| (noted[1].offset, noted[1].frame_hash));
        assert_eq!(of(1), expected, "{name}");
    }
}

#[test]
fn log_continues_in_its_last_segment_if_it_is_appendable() {
    let mut log = WrittenLog::new(1, LARGE);
    log.write(0);
    log.engine.write_heads().unwrap();
    let mut log = log.again();
    log.write(0);
    assert_eq!(numbers(&log.disk), [1], "an intact one");
    // A generation that only the heads name: the header that raised it is gone. The next segment names it again.
    log.note(|heads| heads.entries.iter_mut().for_each(|e| e.generation = 2));
    let mut log = log.again();
    assert_eq!(log.engine.meta().generation, 2);
    log.write(0);
    assert_eq!(numbers(&log.disk), [1, 2]);
    assert_eq!(segment_header(&log.disk, &log_dir(), 2).unwrap().unwrap().generation, 2);
    assert!(has_sidecar(&log.disk, 1), "what is not damaged is sealed with its sidecar");
    // It ends before what was noted as synced: what is there stays as it is.
    log.note(|heads| heads.synced.1 += 1);
    let (before, end) = (log.bytes(2), log.end().1);
    let mut log = log.again();
    let note = format!(
        "segment 0000000000000002.seg byte {end}: the log ends before the place that was synced, byte {} of segment 2",
        end + 1
    );
    assert_eq!(log.engine.report().notes, [note]);
    assert_eq!(log.bytes(2), before, "not even a mark");
    log.write(0);
    assert_eq!(numbers(&log.disk), [1, 2, 3]);
    assert_eq!(log.bytes(2), before);
    assert!(!has_sidecar(&log.disk, 2));
    let log = log.again();
    assert_eq!(log.engine.report().notes, Vec::<String>::new());
}

/// A sidecar is believed without a look at its segment: it would hide the damage from the next who opens the log.
#[test]
fn segment_damaged_while_active_gets_no_sidecar() {
    for damaged in [false, true] {
        let mut log = WrittenLog::new(2, 2 * SMALL);
        log.write(0);
        let (_, to) = log.write(1);
        log.write(0);
        if damaged {
            log.flip(1, to - 1);
        }
        let mut log = log.again();
        while numbers(&log.disk).len() < 2 {
            log.write(0);
        }
        assert_eq!(has_sidecar(&log.disk, 1), !damaged);
        let log = log.again();
        assert_eq!(log.stopped(), if damaged { vec![1] } else { vec![] }, "again");
    }
}

/// Damage of which nothing tells whose it was: whoever goes on behind it lost nothing, and whoever was noted behind it.
#[test]
fn unowned_damage_stops_partitions_not_proven_whole() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Noted {
        Never,
        Before,
        Exactly,
        Behind,
    }
    for (noted, stopped) in [
        (Noted::Never, vec![1, 2]),
        (Noted::Before, vec![1, 2]),
        (Noted::Exactly, vec![1, 2]),
        (Noted::Behind, vec![1]),
    ] {
        let mut log = WrittenLog::new(3, LARGE);
        (0..3).for_each(|p| _ = log.write(p));
        if noted == Noted::Before {
            log.engine.write_heads().unwrap();
        }
        log.write(0);
        let from = log.end().1;
        if noted == Noted::Exactly {
            log.engine.write_heads().unwrap();
        }
        let (_, to) = log.write(1);
        log.write(0);
        if noted == Noted::Behind {
            log.engine.write_heads().unwrap();
        }
        // A whole flush, header and all: it begins exactly where the heads may have been noted.
        let mut bytes = log.bytes(1);
        bytes[from as usize..to as usize].fill(0);
        log.put(1, bytes);
        let log = log.again();
        assert_eq!(log.stopped(), stopped, "{noted:?}");
        let stop = &log.engine.report().stopped[0].1;
        assert_eq!(
            (stop.offset, stop.at.as_str()),
            (1, format!("segment {:016}.seg byte {from}", 1).as_str()),
            "{noted:?}"
        );
        assert!(
            stop.detail.starts_with("frames of this partition may have been lost"),
            "{}",
            stop.detail
        );
        let heads = log.engine.heads();
        assert_eq!(
            heads.entries.iter().any(|e| e.partition == 2),
            noted == Noted::Behind,
            "an end that is not known is not noted"
        );
    }
}

/// What stops a partition first is what is told, whatever else is suspected of it.
#[test]
fn stopped_partition_is_not_stopped_again_by_suspicion() {
    let mut log = WrittenLog::new(2, LARGE);
    log.write(0);
    let (_, first) = log.write(1);
    let from = log.end().1;
    let (_, to) = log.write(0);
    log.write(0);
    log.flip(1, first - 1);
    let mut bytes = log.bytes(1);
    bytes[from as usize..to as usize].fill(0);
    log.put(1, bytes);
    let log = log.again();
    assert_eq!(log.stopped(), [0, 1]);
    let stop = &log.engine.report().stopped[1].1;
    assert!(stop.detail.contains("checksum") && stop.offset == 0, "{stop:?}");
    let stop = &log.engine.report().stopped[0].1;
    assert!(stop.detail.contains("begins at offset 2 where 1 should follow"), "{stop:?}");
}

#[test]
fn a_torn_tail_is_zeroed_from_its_first_byte_to_its_last() {
    for tail in [100, ZEROS, 2 * ZEROS + 77] {
        let mut log = WrittenLog::new(1, LARGE);
        log.write(0);
        let (end, mut bytes) = (log.end().1 as usize, log.bytes(1));
        bytes.truncate(end);
        bytes.resize(end + tail, 0xEE);
        bytes.resize(end + tail + 60, 0);
        log.put(1, bytes.clone());
        let report = verify(&log.disk, Path::new(DIR), |_, _| {}).unwrap();
        assert_eq!((report.problems.len(), report.torn.len()), (0, 1), "{report:?}");
        let log = log.again();
        assert_eq!(log.engine.report().dropped_bytes, tail as u64);
        let note = format!(
            "segment {:016}.seg byte {end} to {}: torn tail dropped ({tail} bytes that are not an intact flush)",
            1,
            end + tail
        );
        assert_eq!(log.engine.report().notes, [note]);
        let after = log.bytes(1);
        assert_eq!((after.len(), &after[..end]), (bytes.len(), &bytes[..end]));
        // The mark behind the last flush is all that is there.
        assert!(after[end + FLUSH_HEADER..].iter().all(|b| *b == 0), "{tail}");
        assert!(log.stopped().is_empty());
    }
}
