//! Every bit of a sample log is flipped, every file is cut at every byte, and records, frames and flushes are dropped,
//! doubled, swapped and put in, with every checksum and place around them made right again: `verify` detects and locates
//! each, or it lies behind the last head, which is named as not promised. Opened, a log serves what continues, and never
//! anything else in its place.
//!
//! CI flips every seventh bit and cuts at every third byte; `QUIPU_CORRUPTION=all cargo test -p quipu-events --test embedded corruption_sweep -- --nocapture`
//! takes all and prints the numbers.

mod forging;

use quipu_events::{
    contract::Owner,
    disk::{Disk, SimDisk},
    embedded::{EmbeddedLog, EmbeddedOptions, SegmentEngine},
    heads::HEADS_FILE,
    port::Log,
    verify::{VerifyReport, verify},
};
use quipu_schemas::{digest::Digest, position::LogId};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

const DIR: &str = "/data";
const PARTITIONS: u16 = 3;
const SEGMENT_HEADER: usize = 64;
const FLUSH_HEADER: usize = 40;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A closed log of several segments, most flushes of several frames. After `noted` rounds of `rounds` the heads file is
/// written for the last time: what comes later is not promised to be missed. `salt` makes another log of the same id.
fn sample(rounds: usize, noted: usize, salt: usize) -> Files {
    let disk = SimDisk::new(1);
    let options = EmbeddedOptions {
        partitions: PARTITIONS,
        log_id: Some(LogId([7; 16])),
        segment_bytes: 4 * 1024,
    };
    let mut engine = SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options).expect("a log");
    let mut owners: Vec<Owner> = (0..PARTITIONS)
        .map(|p| {
            Owner::at(
                p,
                engine
                    .claim(p, if salt == 0 { "http://one" } else { "http://two" })
                    .expect("a claim"),
            )
        })
        .collect();
    for round in 0..rounds {
        // One partition alone, two, or all three in a flush; one record a frame, or two.
        let some: Vec<usize> = (0..owners.len()).filter(|p| (round + p) % 3 > 0 || round % 4 == 3).collect();
        let batches: Vec<_> = some.iter().map(|p| owners[*p].batch(1 + (round + salt + p) % 2)).collect();
        let results = engine.append_all(batches.clone());
        for ((p, batch), result) in some.iter().zip(&batches).zip(results) {
            owners[*p].appended(batch, &result.expect("an append"));
        }
        if round % 2 == 0 {
            engine.mark();
        }
        if round + 1 == noted {
            engine.write_heads().expect("heads");
        }
    }
    drop(engine);
    disk.files()
}

fn on(files: &Files) -> SimDisk {
    let disk = SimDisk::new(1);
    files.iter().for_each(|(path, bytes)| disk.put(path, bytes.clone()));
    disk
}

fn check(disk: &dyn Disk) -> VerifyReport {
    verify(disk, Path::new(DIR), |_, _| {}).expect("segments are there")
}

fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|e| e == ending)
}

fn every_bit() -> bool {
    std::env::var("QUIPU_CORRUPTION").as_deref() == Ok("all")
}

/// The hashes of the frames that an opened log serves, by partition, and whether it says that there should be more.
fn served(files: &Files) -> Vec<(Vec<Digest>, bool)> {
    let options = EmbeddedOptions {
        partitions: PARTITIONS,
        log_id: None,
        segment_bytes: 4 * 1024,
    };
    let Ok(log) = EmbeddedLog::open_on(Arc::new(on(files)), Path::new(DIR), &options) else {
        return vec![(Vec::new(), true); usize::from(PARTITIONS)];
    };
    (0..PARTITIONS)
        .map(|p| {
            let (mut hashes, mut from) = (Vec::new(), 0);
            let stopped = loop {
                match log.read(p, from, 1 << 20) {
                    Err(_) => break true,
                    Ok(frames) => {
                        let Some(last) = frames.last() else { break false };
                        from = last.first_offset + last.records.len() as u64;
                        hashes.extend(frames.iter().filter(|f| !f.records.is_empty()).map(|f| f.hash));
                    }
                }
            };
            (hashes, stopped || log.head(p).is_err())
        })
        .collect()
}

/// Does `work` for each number below `count`, on two threads.
fn each(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(64, Ordering::Relaxed);
                    if from >= count {
                        return;
                    }
                    (from..count.min(from + 64)).for_each(&work);
                }
            });
        }
    });
}

#[test]
fn every_flipped_bit_is_detected_and_located() {
    let started = Instant::now();
    let files = sample(14, 14, 0);
    let clean = check(&on(&files));
    assert!(clean.is_intact() && clean.torn.is_empty() && clean.segments > 2, "{clean:?}");
    let stride = if every_bit() { 1 } else { 7 };
    let (mut segments, mut heads) = (0, 0);
    for (path, bytes) in &files {
        let of_heads = path.ends_with(HEADS_FILE);
        if !ends_in(path, "seg") && !of_heads {
            continue;
        }
        let begins = if of_heads { Vec::new() } else { flushes(bytes) };
        let bits = (bytes.len() * 8).div_ceil(stride);
        each(bits, |n| {
            let bit = (n * stride) as u64;
            let disk = on(&files);
            disk.flip(path, bit);
            let report = check(&disk);
            let found: Vec<_> = report.problems.iter().chain(&report.torn).collect();
            // Located: in that file, no further before the byte than the flush that holds it.
            let from = begins.iter().copied().rfind(|at| *at <= bit / 8).unwrap_or(0);
            let near = found.iter().any(|p| p.file == *path && (from..=bit / 8).contains(&p.byte));
            assert!(near, "{} bit {bit}: {found:?}", path.display());
        });
        *(if of_heads { &mut heads } else { &mut segments }) += bits;
    }
    println!(
        "flips: {segments} in segments, {heads} in the heads file, all located; {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

/// Where the flushes of a segment begin, and where the next would.
fn flushes(bytes: &[u8]) -> Vec<u64> {
    let mut out = vec![0, SEGMENT_HEADER as u64];
    let mut at = SEGMENT_HEADER;
    while bytes.get(at..at + 4) == Some(b"QG\0\x01") {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
        if len == 0 {
            break;
        }
        at += FLUSH_HEADER + len;
        out.push(at as u64);
    }
    out
}

/// Sidecars are derived: `verify` does not read them, and a damaged one is never believed.
#[test]
fn every_flip_and_cut_of_a_sidecar_changes_nothing() {
    let started = Instant::now();
    let files = sample(14, 14, 0);
    let honest = served(&files);
    assert!(honest.iter().all(|(frames, stopped)| !frames.is_empty() && !stopped));
    let stride = if every_bit() { 1 } else { 61 };
    let (mut flips, mut cuts) = (0, 0);
    for (path, bytes) in files.iter().filter(|(path, _)| ends_in(path, "idx")) {
        let bits = (bytes.len() * 8).div_ceil(stride);
        let lengths = bytes.len().div_ceil(stride.min(7));
        each(bits + lengths, |n| {
            let mut damaged = files.clone();
            let bytes = damaged.get_mut(path).expect("it is there");
            match n.checked_sub(bits) {
                None => bytes[n * stride / 8] ^= 1 << (n * stride % 8),
                Some(n) => bytes.truncate(n * stride.min(7)),
            }
            assert_eq!(served(&damaged), honest, "{} {n}", path.display());
        });
        flips += bits;
        cuts += lengths;
    }
    assert!(flips > 0);
    println!(
        "sidecars: {flips} flips, {cuts} cuts, none believed; {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn file_cut_at_any_byte_is_detected_or_ends_at_the_last_head() {
    let started = Instant::now();
    let files = sample(14, 9, 0);
    let clean = check(&on(&files));
    assert!(clean.is_intact(), "{clean:?}");
    let honest = served(&files);
    let (located, torn, silent, heads) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let segments: Vec<&PathBuf> = files.keys().filter(|p| ends_in(p, "seg")).collect();
    let noted = noted(&files);
    let stride = if every_bit() { 1 } else { 3 };
    for (path, bytes) in &files {
        let number = segments.iter().position(|p| *p == path).map(|n| n as u64 + 1);
        if number.is_none() && !path.ends_with(HEADS_FILE) {
            continue;
        }
        each(bytes.len().div_ceil(stride), |n| {
            let len = n * stride;
            let mut cut = files.clone();
            cut.get_mut(path).expect("it is there").truncate(len);
            let report = check(&on(&cut));
            let Some(number) = number else {
                // An empty heads file as well: there is one, and it says nothing.
                assert!(
                    report.problems.iter().any(|p| p.file == *path),
                    "heads cut at {len}: {:?}",
                    report.problems
                );
                heads.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            if !report.is_intact() {
                let here = report
                    .problems
                    .iter()
                    .any(|p| p.file == *path && p.byte <= len as u64 || p.partition.is_some());
                assert!(here, "{} cut at {len}: {:?}", path.display(), report.problems);
                located.fetch_add(1, Ordering::Relaxed);
            } else {
                // Of the last segment only, behind the place that was synced when heads were noted: or it cut nothing.
                let cut_nothing = len >= used;
                let behind = number == segments.len() as u64 && (number, len as u64) >= noted;
                assert!(cut_nothing || behind, "{} cut at {len} unnoticed", path.display());
                (if report.torn.is_empty() { &silent } else { &torn }).fetch_add(1, Ordering::Relaxed);
            }
            if len % 5 == 0 || every_bit() {
                for ((after, stopped), (before, _)) in served(&cut).iter().zip(&honest) {
                    assert!(before.starts_with(after), "{} cut at {len} serves something else", path.display());
                    // A last segment that loses its header behind the last head is taken for one that was being made.
                    let promised = (number, len as u64) < noted && len < used;
                    assert!(
                        !promised || *stopped || after == before,
                        "{} cut at {len} is served as whole",
                        path.display()
                    );
                }
            }
        });
    }
    let count = |n: &AtomicUsize| n.load(Ordering::Relaxed);
    assert!(count(&located) > 1_000 && count(&torn) > 100 && count(&silent) > 0 && count(&heads) > 50);
    println!(
        "cuts: {} located, {} of the heads file located; not promised: {} behind the last head told as a torn write, {} silent; {:.1} s",
        count(&located),
        count(&heads),
        count(&torn),
        count(&silent),
        started.elapsed().as_secs_f64()
    );
}

/// Segment and byte that the heads file names as synced.
fn noted(files: &Files) -> (u64, u64) {
    let disk = on(files);
    quipu_events::heads::read(&disk, Path::new(DIR))
        .expect("heads")
        .expect("heads")
        .synced
}
