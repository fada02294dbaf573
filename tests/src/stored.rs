//! The log as it is stored, read without a node.

use quipu_events::{
    embedded::{EmbeddedLog, EmbeddedOptions},
    port::Log,
};
use quipu_runtime::{
    kinds::Kinds,
    replay::{self, Replayed},
};
use quipu_schemas::{
    ids::{CommandId, StreamId},
    position::Position,
    record::{self, Record},
};
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

const READ_BYTES: usize = 1024 * 1024;

/// Opens the log of a data directory that no node holds.
///
/// # Panics
/// If it does not open.
pub fn open(data: &Path) -> EmbeddedLog {
    // Opened once only: a lock that was just given back may live on for a moment in a child of another thread.
    let first = data.join("log/0000000000000001.seg");
    let mut head = [0; 6];
    let read = File::open(&first).and_then(|mut file| file.read_exact(&mut head));
    read.unwrap_or_else(|e| panic!("{}: {e}", first.display()));
    let options = EmbeddedOptions {
        partitions: u16::from_le_bytes([head[4], head[5]]),
        ..EmbeddedOptions::default()
    };
    EmbeddedLog::open(data, &options).unwrap_or_else(|e| panic!("log of {}: {e}", data.display()))
}

/// Every record with its place, partition by partition.
///
/// # Panics
/// If the log does not read.
pub fn records(log: &dyn Log) -> Vec<(Position, Record)> {
    let mut out = Vec::new();
    for partition in 0..log.meta().partitions {
        let end = log.head(partition).expect("a head").next_offset;
        let mut offset = 0;
        while offset < end {
            for frame in log.read(partition, offset, READ_BYTES).expect("frames") {
                for (at, (_, bytes)) in (frame.first_offset..).zip(&frame.records) {
                    if at >= offset {
                        out.push((
                            Position {
                                partition,
                                offset: at,
                                index: 0,
                            },
                            record::decode(bytes).expect("a record"),
                        ));
                    }
                }
                offset = offset.max(frame.first_offset + frame.records.len() as u64);
            }
        }
    }
    out
}

/// Streams whose log breaks a law of every log: a command decided twice, a version given twice or left out.
pub fn broken(records: &[(Position, Record)]) -> Vec<String> {
    let mut decided: BTreeMap<(&StreamId, &CommandId), Position> = BTreeMap::new();
    let mut versions: BTreeMap<&StreamId, u64> = BTreeMap::new();
    let mut out = Vec::new();
    for (position, record) in records {
        let header = &record.header;
        if let Some(first) = decided.insert((&header.stream, &header.command_id), *position) {
            out.push(format!(
                "{} of {} is decided at {first} and at {position}",
                header.command_id, header.stream
            ));
        }
        let next = versions.entry(&header.stream).or_insert(1);
        if header.first_version != *next {
            out.push(format!(
                "{} goes on with version {} at {position}, after {}",
                header.stream,
                header.first_version,
                *next - 1
            ));
        }
        *next = header.first_version + record.events.len() as u64;
    }
    out
}

/// Every entity folded from its first record, by stream: version and digest.
///
/// # Panics
/// If the log does not fold.
pub fn replayed(log: &dyn Log) -> BTreeMap<StreamId, (u64, String)> {
    let entities: Vec<Replayed> = replay::replay(log, &Kinds::builtin(), |_| {}).unwrap_or_else(|e| panic!("replay: {e}"));
    entities
        .into_iter()
        .filter(|e| e.version > 0)
        .map(|e| (e.stream, (e.version, e.digest.to_string())))
        .collect()
}
