//! The engine spike of ADR 0001: the segment engine, SQLite holding the same frames in a file of its own, and a bare
//! write + fdatasync loop, interleaved in one run with the same batches; then `verify` beside one thread that reads and hashes.
//!
//! `cargo run --release -p quipu-events --example engine_spike [directory]`

use quipu_events::{
    contract::record,
    disk::RealDisk,
    embedded::{EmbeddedLog, EmbeddedOptions, SegmentEngine},
    frame::{FrameHeader, encode_onto},
    port::{Batch, Head, Log},
    verify::verify,
};
use quipu_schemas::{
    digest::Digest,
    position::LogId,
    record::{EncodedRecord, decode},
};
use std::{
    error::Error,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, mpsc},
    time::Instant,
};

const PARTITIONS: u16 = 16;
const ROUNDS: usize = 7;
const GROUPS: usize = 150;

type Records = Vec<Vec<Arc<EncodedRecord>>>;
type Outcome<T> = Result<T, Box<dyn Error>>;

/// For each partition its next `count` records, about a kilobyte each.
fn records(count: usize) -> Records {
    let stream = |p| {
        let mut previous = Digest::ZERO;
        let mut next = |version| {
            let record = record(&format!("acme/test/tst_{p}"), version, previous, 500);
            previous = record.hash;
            record
        };
        (1..=count as u64).map(&mut next).collect()
    };
    (0..PARTITIONS).map(stream).collect()
}

/// The bytes of a group commit, as every contender writes them.
fn group_bytes(records: &Records, from: usize, size: usize) -> Vec<Vec<u8>> {
    let frame = |p: usize| {
        let header = FrameHeader {
            log_id: LogId([1; 16]),
            generation: 1,
            partition: p as u16,
            epoch: 1,
            batch_id: [0; 16],
            first_offset: from as u64,
            previous: Digest::ZERO,
            owner: None,
        };
        let mut out = Vec::new();
        encode_onto(&mut out, &header, records[p][from..from + size].iter().map(|r| r.bytes.as_slice())).expect("a frame within limits");
        out
    };
    (0..usize::from(PARTITIONS)).map(frame).collect()
}

fn bare(dir: &Path, records: &Records, size: usize) -> Outcome<f64> {
    let file = File::create(dir.join("bare"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64 << 20)?;
    file.sync_all()?;
    let groups: Vec<Vec<u8>> = (0..GROUPS).map(|g| group_bytes(records, g * size, size).concat()).collect();
    let (mut at, start) = (0, Instant::now());
    for group in &groups {
        file.write_all_at(group, at)?;
        file.sync_data()?;
        at += group.len() as u64;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn sqlite(dir: &Path, records: &Records, size: usize) -> Outcome<f64> {
    let mut db = rusqlite::Connection::open(dir.join("log.sqlite"))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch(
        "create table frame (partition integer, first_offset integer, bytes blob, primary key (partition, first_offset)) without rowid",
    )?;
    let start = Instant::now();
    for g in 0..GROUPS {
        // Encoding counts, as it does for the engine.
        let frames = group_bytes(records, g * size, size);
        let tx = db.transaction()?;
        {
            let mut insert = tx.prepare_cached("insert into frame values (?1, ?2, ?3)")?;
            for (p, bytes) in frames.iter().enumerate() {
                insert.execute((p as i64, (g * size) as i64, bytes))?;
            }
        }
        tx.commit()?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn batch(partition: u16, head: &Head, records: &Records, size: usize) -> Batch {
    let from = head.next_offset as usize;
    Batch {
        partition,
        epoch: head.epoch,
        batch_id: [0; 16],
        first_offset: head.next_offset,
        previous: head.frame_hash,
        records: records[usize::from(partition)][from..from + size].to_vec(),
    }
}

fn engine(dir: &Path, records: &Records, size: usize) -> Outcome<f64> {
    let mut engine = SegmentEngine::open(Arc::new(RealDisk), dir, &EmbeddedOptions::default())?;
    let mut heads = (0..PARTITIONS).map(|p| engine.claim(p, "spike")).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    for _ in 0..GROUPS {
        let batches = heads
            .iter()
            .enumerate()
            .map(|(p, head)| batch(p as u16, head, records, size))
            .collect();
        for (head, result) in heads.iter_mut().zip(engine.append_all(batches)) {
            head.frame_hash = result?.frame_hash;
            head.next_offset += size as u64;
        }
    }
    let took = start.elapsed().as_secs_f64();
    engine.write_heads()?;
    Ok(took)
}

/// The same through the port: a writer thread, one append in flight a partition.
fn threaded(dir: &Path, records: &Records, size: usize) -> Outcome<f64> {
    let log = EmbeddedLog::open(dir, &EmbeddedOptions::default())?;
    let mut heads = (0..PARTITIONS).map(|p| log.claim(p, "spike")).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    for _ in 0..GROUPS {
        let (send, receive) = mpsc::channel();
        for (p, head) in heads.iter().enumerate() {
            let send = send.clone();
            log.append(
                batch(p as u16, head, records, size),
                Box::new(move |result| drop(send.send((p, result)))),
            );
        }
        for _ in 0..PARTITIONS {
            let (p, result) = receive.recv()?;
            heads[p].frame_hash = result?.frame_hash;
            heads[p].next_offset += size as u64;
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Reads a log on one thread, finds its frames, and hashes or decodes every record.
fn read_hash(dir: &Path, and_decode: bool) -> Outcome<(f64, u64)> {
    let mut frames = Vec::new();
    let mut segments: Vec<_> = fs::read_dir(dir.join("log"))?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    segments.sort();
    let (mut bytes, start) = (0, Instant::now());
    for path in segments.iter().filter(|p| p.extension().is_some_and(|e| e == "seg")) {
        let content = fs::read(path)?;
        bytes += content.len() as u64;
        let mut at = 64;
        while at + 40 < content.len() {
            match quipu_events::frame::decode(&content[at..]) {
                Ok(frame) => {
                    for range in &frame.records {
                        let record = &content[at + range.start..at + range.end];
                        if and_decode {
                            decode(record)?;
                        } else {
                            frames.push(Digest::of(&[&record[..record.len() - 32]]));
                        }
                    }
                    at += frame.len;
                }
                Err(_) if content[at] == 0 => break,
                Err(_) => at += 40,
            }
        }
    }
    Ok((start.elapsed().as_secs_f64(), bytes))
}

fn main() -> Outcome<()> {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join(format!("quipu-engine-spike-{}", std::process::id()));
    println!("{GROUPS} group commits of 16 frames, medians of {ROUNDS} interleaved rounds, in frames/s (ratio to bare)\n");
    println!("records/frame   KiB/commit        bare        segments   through the port       SQLite");
    for size in [1, 4, 16] {
        let records = records(GROUPS * size);
        let kib = group_bytes(&records, 0, size).concat().len() / 1024;
        let mut times = vec![Vec::new(); 4];
        for _ in 0..ROUNDS {
            for (contender, run) in [bare, engine, threaded, sqlite].into_iter().enumerate() {
                fs::create_dir_all(&dir)?;
                times[contender].push(run(&dir, &records, size)?);
                fs::remove_dir_all(&dir)?;
            }
        }
        let rate: Vec<f64> = times
            .into_iter()
            .map(|t| (GROUPS * usize::from(PARTITIONS)) as f64 / median(t))
            .collect();
        let shown = |i: usize| format!("{:>8.0} ({:.2})", rate[i], rate[i] / rate[0]);
        println!(
            "{size:>13}   {kib:>10}  {:>10.0}  {}  {:>17}  {}",
            rate[0],
            shown(1),
            shown(2),
            shown(3)
        );
    }
    fs::create_dir_all(&dir)?;
    let records = records(GROUPS * 16);
    engine(&dir, &records, 16)?;
    let mut times = vec![Vec::new(); 3];
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let (hash, size) = read_hash(&dir, false)?;
        times[0].push(hash);
        times[1].push(read_hash(&dir, true)?.0);
        let start = Instant::now();
        let report = verify(&RealDisk, &dir, |_, _| {})?;
        times[2].push(start.elapsed().as_secs_f64());
        assert!(report.is_intact());
        bytes = size;
    }
    let rate: Vec<f64> = times.into_iter().map(|t| bytes as f64 / median(t) / 1e6).collect();
    println!(
        "\nread + hash {:.0} MB/s, read + hash + decode {:.0} MB/s, verify {:.0} MB/s",
        rate[0], rate[1], rate[2]
    );
    println!(
        "verify / (read + hash) {:.2}, verify / (read + hash + decode) {:.2}",
        rate[2] / rate[0],
        rate[2] / rate[1]
    );
    fs::remove_dir_all(&dir)?;
    Ok(())
}
