//! What opening a log makes of damage: who is stopped, what is noted of them, where the log goes on.

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

/// A log of sealed segments: its sidecars are there, its heads were never noted.
fn sealed(partitions: u16) -> WrittenLog {
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

/// Bytes at the end of a sealed segment that are no flush: a mark that a crash tore, or a write that was taken back.
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
