//! Every bit of a sample log is flipped, every file is cut at every byte, and records, frames and flushes are dropped,
//! doubled, swapped and put in, with every checksum and place around them made right again: `verify` detects and locates
//! each, or it lies behind the last head, which is named as not promised. Opened, a log serves what continues, and never
//! anything else in its place.
//!
//! CI flips every seventh bit and cuts at every third byte; `QUIPU_CORRUPTION=all cargo test -p quipu-events --test embedded corruption_sweep -- --nocapture`
//! takes all and prints the numbers.

use quipu_events::{
    contract::Owner,
    disk::{Disk, SimDisk},
    embedded::{EmbeddedLog, EmbeddedOptions, LOG_DIR, SegmentEngine},
    frame::{self, FrameHeader},
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

/// A frame as its parts: what a forger would write again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    header: FrameHeader,
    records: Vec<Vec<u8>>,
    /// Whether it comes after the last head of its partition.
    late: bool,
}

/// A log as flushes of frames, segment by segment.
type Model = Vec<Vec<Vec<Frame>>>;

fn model(files: &Files) -> Model {
    let disk = on(files);
    let heads = quipu_events::heads::read(&disk, Path::new(DIR)).expect("heads").expect("heads");
    let mut model = Vec::new();
    for (_, bytes) in files.iter().filter(|(path, _)| ends_in(path, "seg")) {
        let (mut at, mut flushes) = (SEGMENT_HEADER, Vec::new());
        while bytes.get(at..at + 4) == Some(b"QG\0\x01") {
            let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
            if len == 0 {
                break;
            }
            let (mut frames, mut from) = (Vec::new(), at + FLUSH_HEADER);
            while from < at + FLUSH_HEADER + len {
                let decoded = frame::decode(&bytes[from..]).expect("a frame");
                let end = decoded.header.first_offset + decoded.records.len() as u64;
                let noted = heads.entries[usize::from(decoded.header.partition)].offset;
                frames.push(Frame {
                    late: end > noted,
                    records: decoded
                        .records
                        .iter()
                        .map(|r| bytes[from + r.start..from + r.end].to_vec())
                        .collect(),
                    header: decoded.header,
                });
                from += decoded.len;
            }
            flushes.push(frames);
            at += FLUSH_HEADER + len;
        }
        model.push(flushes);
    }
    model
}

/// Writes a model down: every checksum, length, place and number as a writer of just these frames would have written it.
fn written(model: &Model, files: &Files) -> Files {
    let mut out: Files = files
        .iter()
        .filter(|(path, _)| path.ends_with(HEADS_FILE))
        .map(|(p, b)| (p.clone(), b.clone()))
        .collect();
    let mut flush = 1u64;
    for (segment, flushes) in (1u64..).zip(model) {
        let path = Path::new(DIR).join(LOG_DIR).join(format!("{segment:016}.seg"));
        let mut bytes = files[&path][..SEGMENT_HEADER].to_vec();
        bytes[40..48].copy_from_slice(&flush.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        for frames in flushes.iter().filter(|frames| !frames.is_empty()) {
            let at = bytes.len();
            bytes.resize(at + FLUSH_HEADER, 0);
            for frame in frames {
                frame::encode_onto(&mut bytes, &frame.header, frame.records.iter().map(Vec::as_slice)).expect("a frame");
            }
            let body = (bytes.len() - at - FLUSH_HEADER) as u32;
            let head = &mut bytes[at..at + FLUSH_HEADER];
            head[..4].copy_from_slice(b"QG\0\x01");
            head[4..8].copy_from_slice(&body.to_le_bytes());
            head[8..12].copy_from_slice(&(frames.len() as u32).to_le_bytes());
            head[12..16].copy_from_slice(&(at as u32).to_le_bytes());
            head[16..24].copy_from_slice(&flush.to_le_bytes());
            head[24..32].copy_from_slice(&segment.to_le_bytes());
            let crc = crc32fast::hash(&head[..36]);
            head[36..40].copy_from_slice(&crc.to_le_bytes());
            flush += 1;
        }
        let len = files[&path].len().max(bytes.len());
        bytes.resize(len, 0);
        out.insert(path, bytes);
    }
    out
}

/// One forgery: what it is called, the log, and the partitions that it touches before (true) or behind their last head.
struct Forged {
    kind: &'static str,
    model: Model,
    touched: Vec<(u16, bool)>,
}

fn places(model: &Model) -> Vec<(usize, usize, usize)> {
    let mut out = Vec::new();
    for (s, flushes) in model.iter().enumerate() {
        for (f, frames) in flushes.iter().enumerate() {
            out.extend((0..frames.len()).map(|n| (s, f, n)));
        }
    }
    out
}

fn touched(frame: &Frame) -> (u16, bool) {
    (frame.header.partition, !frame.late)
}

/// Every forgery of a frame, a flush or a record of `honest`; frames that are put in come from `other`, a log of the same id.
fn forgeries(honest: &Model, other: &Model) -> Vec<Forged> {
    let mut out = Vec::new();
    let mut forge = |kind, touched: Vec<(u16, bool)>, change: &dyn Fn(&mut Model)| {
        let mut model = honest.clone();
        change(&mut model);
        out.push(Forged { kind, model, touched });
    };
    let all = places(honest);
    let frame = |(s, f, n): (usize, usize, usize)| &honest[s][f][n];
    for (at, &place) in all.iter().enumerate() {
        let (s, f, n) = place;
        forge("frame dropped", vec![touched(frame(place))], &|m| drop(m[s][f].remove(n)));
        forge("frame doubled", vec![touched(frame(place))], &|m| {
            let again = m[s][f][n].clone();
            m[s][f].insert(n, again);
        });
        // With the next frame of its own partition: of different partitions there is no order.
        let next = all[at + 1..]
            .iter()
            .copied()
            .find(|p| frame(*p).header.partition == frame(place).header.partition);
        if let Some((s2, f2, n2)) = next {
            forge("frames swapped", vec![touched(frame(place))], &|m| {
                let one = m[s][f][n].clone();
                m[s][f][n] = std::mem::replace(&mut m[s2][f2][n2], one);
            });
        }
        let stranger = places(other).into_iter().map(|(s, f, n)| &other[s][f][n]).find(|o| {
            let (a, b) = (&o.header, &frame(place).header);
            (a.partition, a.first_offset, a.owner.is_some()) == (b.partition, b.first_offset, b.owner.is_some()) && *o != frame(place)
        });
        if let Some(stranger) = stranger {
            forge("frame of another log put in", vec![touched(frame(place))], &|m| {
                m[s][f].insert(n, stranger.clone())
            });
            forge("frame replaced by another log's", vec![touched(frame(place))], &|m| {
                m[s][f][n] = stranger.clone()
            });
        }
        let records = frame(place).records.len();
        for r in 0..records {
            let here = vec![touched(frame(place))];
            if records > 1 {
                forge("record dropped", here.clone(), &|m| drop(m[s][f][n].records.remove(r)));
            }
            forge("record doubled", here.clone(), &|m| {
                let again = m[s][f][n].records[r].clone();
                m[s][f][n].records.insert(r, again);
            });
            if r + 1 < records {
                forge("records swapped", here.clone(), &|m| m[s][f][n].records.swap(r, r + 1));
            }
            if let Some(stranger) = all
                .iter()
                .map(|p| frame(*p))
                .find(|o| o.header.partition != frame(place).header.partition && !o.records.is_empty())
            {
                let record = stranger.records[0].clone();
                forge("record of another partition put in", here.clone(), &|m| {
                    m[s][f][n].records.insert(r, record.clone())
                });
            }
        }
    }
    for (s, flushes) in honest.iter().enumerate() {
        for (f, frames) in flushes.iter().enumerate() {
            let here: Vec<_> = frames.iter().map(touched).collect();
            forge("flush dropped", here.clone(), &|m| drop(m[s].remove(f)));
            forge("flush doubled", here.clone(), &|m| {
                let again = m[s][f].clone();
                m[s].insert(f, again);
            });
            let in_both = |a: &Frame| {
                flushes
                    .get(f + 1)
                    .is_some_and(|next| next.iter().any(|b| b.header.partition == a.header.partition))
            };
            if frames.iter().any(in_both) {
                let both = frames.iter().filter(|a| in_both(a)).map(touched).collect();
                forge("flushes swapped", both, &|m| m[s].swap(f, f + 1));
            }
        }
    }
    out
}

#[test]
fn tampering_with_valid_checksums_is_detected() {
    let started = Instant::now();
    let files = sample(20, 14, 0);
    let honest = model(&files);
    // What is written down again is what was there: the forger's pen is right.
    let again = written(&honest, &files);
    let clean = check(&on(&again));
    assert!(clean.is_intact() && clean.torn.is_empty(), "{clean:?}");
    assert_eq!(
        (clean.digest.clone(), clean.frames),
        (check(&on(&files)).digest, check(&on(&files)).frames)
    );
    let before = served(&again);
    let forged = forgeries(&honest, &model(&sample(20, 14, 1)));
    let table = parking_lot::Mutex::new(BTreeMap::<&str, (usize, usize)>::new());
    each(forged.len(), |n| {
        let Forged { kind, model, touched } = &forged[n];
        let files = written(model, &again);
        let report = check(&on(&files));
        let promised = touched.iter().any(|(_, early)| *early);
        if report.is_intact() {
            assert!(!promised, "{kind} {n}, before the last head, unnoticed");
        } else {
            // Located: one of the partitions that it touches is named, and no partition that it does not.
            let named: Vec<u16> = report.problems.iter().filter_map(|p| p.partition).collect();
            assert!(
                named.iter().any(|p| touched.iter().any(|(t, _)| t == p)),
                "{kind} {n}: {:?}",
                report.problems
            );
            let known = |p: &u16| touched.iter().any(|(t, _)| t == p) || kind.contains("another partition");
            assert!(named.iter().all(known), "{kind} {n} of {touched:?}: {:?}", report.problems);
        }
        let mut table = table.lock();
        let entry = table.entry(kind).or_default();
        *(if report.is_intact() { &mut entry.1 } else { &mut entry.0 }) += 1;
        drop(table);
        // Served is a beginning of what was there; the partitions that it does not touch are whole.
        let records_forged = kind.starts_with("record") || kind.starts_with("frame replaced");
        for (p, ((after, stopped), (whole, _))) in (0u16..).zip(served(&files).iter().zip(&before)) {
            let here = touched.iter().find(|(t, _)| *t == p);
            match here {
                None => assert!(after == whole && !stopped, "{kind} {n}: partition {p} was not touched"),
                Some((_, true)) => assert!(
                    *stopped && whole.starts_with(after) || after == whole || records_forged,
                    "{kind} {n}: partition {p} serves on"
                ),
                Some((_, false)) => assert!(
                    whole.starts_with(after) || records_forged,
                    "{kind} {n}: partition {p} serves something else"
                ),
            }
        }
    });
    let table = table.into_inner();
    let sum = |of: fn(&(usize, usize)) -> usize| table.values().map(of).sum::<usize>();
    for (kind, (located, silent)) in &table {
        println!("{located:>7} located {silent:>5} behind the last head, not promised  {kind}");
    }
    println!(
        "forgeries: {} located, {} not promised; {:.1} s",
        sum(|n| n.0),
        sum(|n| n.1),
        started.elapsed().as_secs_f64()
    );
    assert!(sum(|n| n.0) > 300 && table.len() == 12, "{table:?}");
}
