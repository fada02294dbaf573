//! Lines within this process: appends, recovery of an entity, replay and verification, each beside the bare work.

use super::{
    BenchError, Setup,
    material::{self, Material},
    report::{Line, count, list, median},
};
use quipu_events::{
    disk::{Disk, DiskFile, RealDisk},
    embedded::{EmbeddedLog, EmbeddedOptions, LOG_DIR},
    index::{Index, boot_id},
    port::{Batch, Log, Place},
    verify,
};
use quipu_runtime::{
    kernel::entity::Base,
    kinds::{KindHandler, Kinds},
    node::{Node, NodeConfig},
    replay,
};
use quipu_schemas::{
    ids::{Kind, StreamId},
    limits::SEGMENT_BYTES,
    record::{self, EncodedRecord},
};
use std::{
    collections::BTreeMap,
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

const READ_BYTES: usize = 1024 * 1024;

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Material(error.to_string())
}

/// A fresh file with a segment's space behind it.
pub(super) fn reserved(path: &Path) -> Result<Arc<dyn DiskFile>, BenchError> {
    let file = RealDisk.create(path)?;
    file.reserve(SEGMENT_BYTES)?;
    file.sync_data()?;
    Ok(file)
}

/// Appends of batches through the log against a write and a sync of the same bytes.
pub(super) fn append_lines(setup: &Setup, material: &Material, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let posts = material.encoded_posts()?;
    let data = setup.path("append");
    let log = EmbeddedLog::open(&data, &EmbeddedOptions::default()).map_err(failed)?;
    let mut head = log.claim(0, "bench").map_err(failed)?;
    for records in [1usize, 64] {
        let batch: Vec<Arc<EncodedRecord>> = posts.iter().take(records).cloned().collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|record| record.bytes.iter().copied()).collect();
        let rounds = setup.scaled(if records == 1 { 2_000 } else { 500 });
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for pair in 0..setup.pairs() {
            let begun = Instant::now();
            for _ in 0..rounds {
                let (send, receive) = mpsc::sync_channel(1);
                let frame = Batch {
                    partition: 0,
                    epoch: head.epoch,
                    batch_id: [1; 16],
                    first_offset: head.next_offset,
                    previous: head.frame_hash,
                    records: batch.clone(),
                };
                log.append(frame, Box::new(move |result| drop(send.send(result))));
                head.frame_hash = receive.recv().map_err(failed)?.map_err(failed)?.frame_hash;
                head.next_offset += records as u64;
            }
            ours.push(rounds as f64 / begun.elapsed().as_secs_f64());
            let file = reserved(&setup.path(&format!("bare-{records}-{pair}")))?;
            let begun = Instant::now();
            for round in 0..rounds as u64 {
                file.write_all_at(round * bytes.len() as u64 % SEGMENT_BYTES, &bytes)?;
                file.sync_data()?;
            }
            bare.push(rounds as f64 / begun.elapsed().as_secs_f64());
        }
        let ratios: Vec<f64> = ours.iter().zip(&bare).map(|(a, b)| a / b).collect();
        out.push(Line::judged(
            &format!("appends in process, batches of {records}"),
            "≥ 0.7 × write + fdatasync",
            format!("{}/s = {:.2} ×", count(median(&ours)), median(&ratios)),
            median(&ratios) >= 0.7,
            format!(
                "batches a second, {} bytes each; ratios {}; bare {}",
                bytes.len(),
                list(&ratios, 2),
                list(&bare, 0)
            ),
        ));
    }
    Ok(())
}

/// Reads every place with one positioned read, hashes and decodes it.
fn raw(files: &BTreeMap<u64, File>, places: &[Place]) -> Result<usize, BenchError> {
    let (mut buffer, mut events) = (Vec::new(), 0);
    for place in places {
        buffer.resize(place.len as usize, 0);
        let file = files.get(&place.unit).ok_or_else(|| failed("a place names an unknown segment"))?;
        file.read_exact_at(&mut buffer, place.at.into())?;
        // Decoding hashes the record.
        events += record::decode(&buffer).map_err(failed)?.events.len();
    }
    Ok(events)
}

fn segments(data: &Path) -> Result<BTreeMap<u64, File>, BenchError> {
    let mut files = BTreeMap::new();
    for path in RealDisk.list(&data.join(LOG_DIR))? {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(number), Some("seg")) = (number, path.extension().and_then(|e| e.to_str())) {
            files.insert(number, File::open(&path)?);
        }
    }
    Ok(files)
}

/// Median time of some work, in microseconds.
fn timed<T>(times: usize, mut work: impl FnMut() -> Result<T, BenchError>) -> Result<f64, BenchError> {
    let mut all = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        black_box(work()?);
        all.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&all))
}

/// What a node does to bring one entity back, on the log and index that it left.
struct Recovery<'a> {
    log: &'a EmbeddedLog,
    index: &'a Index,
    handler: &'a dyn KindHandler,
    stream: &'a StreamId,
}

impl Recovery<'_> {
    fn run(&self, from_snapshot: bool) -> Result<u64, BenchError> {
        self.index.parked(self.stream).map_err(failed)?;
        let snapshot = match from_snapshot {
            true => self
                .index
                .latest_snapshot(self.stream, &self.handler.shape(), self.handler.rules_version())
                .map_err(failed)?,
            false => None,
        };
        let head = self
            .index
            .stream_head(self.stream)
            .map_err(failed)?
            .ok_or_else(|| failed("no head"))?;
        let base = snapshot.map(|s| {
            (
                s.offset,
                Base {
                    version: s.version,
                    hash: s.record,
                    time: head.time,
                    bytes: s.bytes,
                },
            )
        });
        let rows = self
            .index
            .places(self.stream, base.as_ref().map_or(0, |(_, base)| base.version))
            .map_err(failed)?;
        let after = base.as_ref().map(|(offset, _)| *offset);
        let places: Vec<Place> = rows
            .iter()
            .filter(|row| after.is_none_or(|offset| row.offset > offset))
            .map(|row| row.place)
            .collect();
        let read = self.log.read_at(&places).map_err(failed)?;
        let mut records = Vec::with_capacity(read.len());
        for bytes in read {
            records.push(record::decode(&bytes).map_err(failed)?);
        }
        let entity = self
            .handler
            .recover(self.stream, base.as_ref().map(|(_, base)| base), &mut records.into_iter())
            .map_err(failed)?;
        Ok(entity.version())
    }
}

/// Recovery of an entity of 1,000 events.
pub(super) async fn recover_lines(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let data = setup.path("recover");
    let node = Node::start(
        NodeConfig {
            log: quipu_events::backend::Backend::Embedded,
            data_dir: Some(data.clone()),
            ..NodeConfig::default()
        },
        Kinds::builtin(),
        |_| {},
    )
    .await
    .map_err(failed)?;
    material::fill(&node, 999).await?;
    node.shutdown(Duration::from_secs(10)).await;
    drop(node);
    let lines = tokio::task::spawn_blocking(move || recover(&data)).await.map_err(failed)??;
    out.extend(lines);
    Ok(())
}

/// The directory is free once the last task of the stopped node has let go of its log.
fn reopen(data: &Path) -> Result<EmbeddedLog, BenchError> {
    let begun = Instant::now();
    loop {
        match EmbeddedLog::open(data, &EmbeddedOptions::default()) {
            Err(quipu_events::embedded::OpenError::Locked { .. }) if begun.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other.map_err(failed),
        }
    }
}

fn recover(data: &Path) -> Result<[Line; 2], BenchError> {
    let log = reopen(data)?;
    let index = Index::open(&data.join("index"), &log.meta(), boot_id()).map_err(failed)?;
    let kinds = Kinds::builtin();
    let handler = kinds.get(&Kind::CONVERSATION).ok_or_else(|| failed("no conversations"))?;
    let stream = material::conversation(0)?;
    let recovery = Recovery {
        log: &log,
        index: &index,
        handler: &**handler,
        stream: &stream,
    };
    let files = segments(data)?;
    let rows = index.places(&stream, 0).map_err(failed)?;
    let places: Vec<Place> = rows.iter().map(|row| row.place).collect();
    let version = recovery.run(false)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        bare.push(timed(15, || raw(&files, &places))?);
        ours.push(timed(15, || recovery.run(false))?);
    }
    let ratio = median(&ours.iter().zip(&bare).map(|(a, b)| a / b).collect::<Vec<_>>());
    let bytes: u64 = places.iter().map(|place| u64::from(place.len)).sum();
    let cold = Line::judged(
        &format!("recover an entity of {version} events from the log"),
        "≤ 2 × raw read + hash + decode",
        format!("{:.1} ms = {ratio:.2} ×", median(&ours) / 1_000.0),
        ratio <= 2.0,
        format!(
            "raw {:.1} ms for {} bytes in {} records",
            median(&bare) / 1_000.0,
            count(bytes as f64),
            places.len()
        ),
    );
    let records = log.read_at(&places).map_err(failed)?;
    let mut decoded = records
        .iter()
        .map(|bytes| record::decode(bytes))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?
        .into_iter();
    let entity = handler.recover(&stream, None, &mut decoded).map_err(failed)?;
    let snapshot = entity.snapshot().ok_or_else(|| failed("no snapshot"))?;
    let bytes = snapshot.bytes.len();
    let stored = quipu_events::snapshots::Snapshot {
        version: snapshot.version,
        offset: rows.last().map_or(0, |row| row.offset),
        record: snapshot.record_hash,
        schema: handler.shape(),
        rules: handler.rules_version(),
        bytes: snapshot.bytes,
    };
    index.put_snapshot(&stream, &stored).map_err(failed)?;
    let micros = timed(500, || recovery.run(true))?;
    let warm = Line::judged(
        &format!("recover it from a snapshot of {version} events"),
        "≤ 200 µs",
        format!("{micros:.0} µs"),
        micros <= 200.0,
        format!("{} bytes of snapshot, nothing after it", count(bytes as f64)),
    );
    Ok([cold, warm])
}

/// Replay and verification of a whole log.
pub(super) fn replay_lines(setup: &Setup, material: &Material, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let data = setup.path("replay");
    let records = material.write(&data, setup.scaled(1_000) as u64, 99)?;
    let log = EmbeddedLog::open(&data, &EmbeddedOptions::default()).map_err(failed)?;
    let places = layout(&log)?;
    let kinds = Kinds::builtin();
    let (mut bare, mut replays, mut verifies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.pairs() {
        let begun = Instant::now();
        let read = raw_log(&places, &data)?;
        bare.push(read as f64 / begun.elapsed().as_secs_f64());
        if read != records {
            return Err(failed(format!("{read} records read of {records}")));
        }
        let begun = Instant::now();
        let replayed = replay::replay(&log, &kinds, |_| {}).map_err(failed)?;
        replays.push(records as f64 / begun.elapsed().as_secs_f64());
        black_box(replayed);
        let begun = Instant::now();
        let report = verify::verify(&RealDisk, &data, |_, _| {}).map_err(failed)?;
        verifies.push(records as f64 / begun.elapsed().as_secs_f64());
        if !report.is_intact() || report.records != records {
            return Err(failed("the generated log does not verify"));
        }
    }
    for (name, rates) in [("replay of a whole log", replays), ("verification of a whole log", verifies)] {
        let ratios: Vec<f64> = rates.iter().zip(&bare).map(|(a, b)| a / b).collect();
        out.push(Line::judged(
            name,
            "≥ 0.5 × raw read + hash + decode",
            format!("{} records/s = {:.2} ×", count(median(&rates)), median(&ratios)),
            median(&ratios) >= 0.5,
            format!(
                "{} records; ratios {}; raw {} records/s",
                count(records as f64),
                list(&ratios, 2),
                count(median(&bare))
            ),
        ));
    }
    Ok(())
}

/// Where the records of each segment are.
fn layout(log: &EmbeddedLog) -> Result<BTreeMap<u64, Vec<Place>>, BenchError> {
    let mut places: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
    for partition in 0..log.meta().partitions {
        let (mut offset, end) = (0, log.head(partition).map_err(failed)?.next_offset);
        while offset < end {
            for frame in log.read(partition, offset, READ_BYTES).map_err(failed)? {
                offset = frame.first_offset + frame.records.len() as u64;
                frame
                    .records
                    .iter()
                    .for_each(|(place, _)| places.entry(place.unit).or_default().push(*place));
            }
        }
    }
    Ok(places)
}

/// Reads each segment whole, in one piece, hashes and decodes its records.
fn raw_log(places: &BTreeMap<u64, Vec<Place>>, data: &Path) -> Result<u64, BenchError> {
    let mut records = 0;
    for (number, file) in segments(data)? {
        let Some(places) = places.get(&number) else { continue };
        let end = places.iter().map(|place| place.at + place.len).max().unwrap_or_default();
        let mut bytes = vec![0; end as usize];
        file.read_exact_at(&mut bytes, 0)?;
        for place in places {
            let at = place.at as usize;
            black_box(record::decode(&bytes[at..at + place.len as usize]).map_err(failed)?);
            records += 1;
        }
    }
    Ok(records)
}
