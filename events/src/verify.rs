//! `verify`: reads a whole log offline and locates everything that is wrong with it.
//!
//! Checked: every frame's CRC and place in its partition's chain, every record's CRC and hash and place in its stream's
//! chain (previous hash, versions without a gap), and the heads file. So every flip inside frames is located, and every
//! drop, swap, insertion and truncation before the last head.
//!
//! **Not promised**: frames cut off after the last head leave no trace, except by the next heads file.

use crate::{
    blobs::{
        BlobError, Blobs,
        copy::complaint,
        names::{self, Named},
        retention::Retention,
        wall_clock,
    },
    disk::Disk,
    embedded::{
        LOG_DIR, UNFINISHED_BACKUP_FILE, UNFINISHED_FILE,
        chain::{Chain, EMPTY},
        recover::segment_numbers,
        scan::{Found, Synced, Window, scan},
        segment::{SEGMENT_HEADER, SegmentHeader, segment_path},
    },
    erased::Erased,
    heads::{self, Heads, HeadsError},
    port::Log,
};
use quipu_schemas::{
    digest::Digest,
    ids::StreamId,
    position::LogId,
    record::{check_hash, claimed_hash, claimed_previous, decode_header},
};
use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::mpsc,
};

/// Bytes asked of a log at once.
const READ_BYTES: usize = 1024 * 1024;

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Byte in it.
    pub byte: u64,
    /// Partition, where known.
    pub partition: Option<u16>,
    /// Record offset, where known.
    pub offset: Option<u64>,
    /// Stream, where known.
    pub stream: Option<String>,
    /// What is wrong.
    pub detail: String,
}

/// What a verification comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong.
    Intact,
    /// What is there is not wrong, and it is a part of a log, or may be one: a backup that did not finish, or a log whose ends
    /// nothing notes.
    Incomplete,
    /// Something is wrong.
    Damaged,
}

/// What a log holds, and what is wrong with it.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct VerifyReport {
    /// The log's id in hex.
    pub log_id: String,
    /// Its generation.
    pub generation: u32,
    /// Its partitions.
    pub partitions: u16,
    /// Segment files read.
    pub segments: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Frames of records.
    pub frames: u64,
    /// Claim frames.
    pub claims: u64,
    /// Records.
    pub records: u64,
    /// Events.
    pub events: u64,
    /// Streams.
    pub streams: u64,
    /// Digest of all record hashes in partition and offset order: equal logs have equal digests.
    pub digest: String,
    /// Heads that were found in the log.
    pub heads: u64,
    /// Tails of writes that a crash tore: nothing in them was acknowledged, and opening the log drops them.
    pub torn: Vec<Problem>,
    /// Why what is there is no whole log, or cannot be known to be one.
    pub incomplete: Vec<String>,
    /// Everything wrong.
    pub problems: Vec<Problem>,
    /// Blobs that records name, each once, with the place of the first record that does.
    #[serde(skip)]
    pub names: BTreeMap<Named, Problem>,
    /// What else records say of them.
    #[serde(skip)]
    pub retention: Retention,
    /// How many of them were read and match their names; `None` where that was not looked at.
    pub blobs: Option<u64>,
    /// How many of them are gone and had to go: their time was over, or their subject was erased.
    pub gone: u64,
    /// What this cannot see.
    pub not_promised: &'static str,
}

impl VerifyReport {
    /// Whether nothing is wrong, and nothing is missing.
    pub fn is_intact(&self) -> bool {
        self.verdict() == Verdict::Intact
    }

    /// What it all comes to.
    pub fn verdict(&self) -> Verdict {
        if !self.problems.is_empty() {
            Verdict::Damaged
        } else if !self.incomplete.is_empty() {
            Verdict::Incomplete
        } else {
            Verdict::Intact
        }
    }
}

impl VerifyReport {
    /// Reads every blob that records name and adds what is wrong. Without a store every name is wrong. What is gone by a rule of
    /// its org, or with one of these subjects, is counted apart.
    pub fn check_blobs(&mut self, blobs: Option<&dyn Blobs>, erased: &Erased) -> Result<(), BlobError> {
        let (mut intact, now) = (0, wall_clock());
        for (named, place) in &self.names {
            let found = blobs.map_or(Err(BlobError::Missing(named.name)), |blobs| blobs.get(&named.org, &named.name));
            match found {
                Ok(_) => intact += 1,
                Err(error @ BlobError::Unreachable { .. }) => return Err(error),
                Err(BlobError::Missing(_)) if self.retention.may_be_gone(named, now, erased) => self.gone += 1,
                Err(error) => self.problems.push(Problem {
                    detail: complaint(&named.name, &error),
                    ..place.clone()
                }),
            }
        }
        self.blobs = Some(intact);
        Ok(())
    }
}

/// Why a log cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No segments.
    #[error("{} holds no log", .0.display())]
    NoLog(PathBuf),
    /// The storage failed.
    #[error("log storage: {0}")]
    Io(#[from] io::Error),
}

/// The records of one frame, on their way to be checked.
struct Parcel {
    file: PathBuf,
    at: u64,
    partition: u16,
    first_offset: u64,
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
}

/// Verifies the log of a data directory that nobody writes. `progress` hears bytes done and bytes in all.
pub fn verify(disk: &dyn Disk, data_dir: &Path, mut progress: impl FnMut(u64, u64)) -> Result<VerifyReport, VerifyError> {
    let log_dir = data_dir.join(LOG_DIR);
    let numbers = segment_numbers(disk, &log_dir)?;
    if numbers.is_empty() {
        return Err(VerifyError::NoLog(data_dir.to_owned()));
    }
    let (send, parcels) = mpsc::sync_channel::<Parcel>(256);
    std::thread::scope(|scope| {
        // Hashing records takes as long as reading and checking frames: two threads halve the time.
        let checker = scope.spawn(move || {
            let mut records = Records::default();
            for parcel in parcels {
                records.check(&parcel);
            }
            records
        });
        let walked = walk(disk, data_dir, &log_dir, &numbers, &send, &mut progress);
        drop(send);
        let records = checker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut report = walked?;
        records.finish(&mut report);
        Ok(report)
    })
}

/// Verifies a log through its port, wherever it is: every frame's place in its partition's chain, every record's hash and
/// place in its stream's chain. What the backend itself checks (sums of frames, what it knows to be there) comes with reading.
/// `progress` hears records done and records in all.
pub fn verify_log(log: &dyn Log, mut progress: impl FnMut(u64, u64)) -> VerifyReport {
    let meta = log.meta();
    let mut report = VerifyReport {
        log_id: hex::encode(meta.log_id.0),
        generation: meta.generation,
        partitions: meta.partitions,
        not_promised: "frames that the servers lost at the end of a partition leave no trace, except in the heads that a node noted",
        ..VerifyReport::default()
    };
    let mut records = Records::default();
    let problem = |partition: u16, offset: u64, detail: String| Problem {
        file: PathBuf::from(meta.backend),
        byte: 0,
        partition: Some(partition),
        offset: Some(offset),
        stream: None,
        detail,
    };
    let mut ends = Vec::new();
    for partition in 0..meta.partitions {
        match log.head(partition) {
            Ok(head) => ends.push((partition, head.next_offset)),
            Err(error) => report.problems.push(problem(partition, 0, error.to_string())),
        }
    }
    let total = ends.iter().map(|(_, end)| end).sum();
    for (partition, end) in ends {
        let (mut next, mut previous) = (0, None);
        while next < end {
            let frames = match log.read(partition, next, READ_BYTES) {
                Ok(frames) if !frames.is_empty() => frames,
                Ok(_) => {
                    report.problems.push(problem(
                        partition,
                        next,
                        format!("nothing is there, and the partition ends at {end}"),
                    ));
                    break;
                }
                Err(error) => {
                    report.problems.push(problem(partition, next, error.to_string()));
                    break;
                }
            };
            let before = next;
            for frame in frames {
                if frame.first_offset != next {
                    // One that was read before, because it holds the first offset of this read.
                    if frame.first_offset + frame.records.len() as u64 <= next {
                        continue;
                    }
                    report
                        .problems
                        .push(problem(partition, next, format!("a frame begins at offset {}", frame.first_offset)));
                }
                if previous.is_some_and(|hash| hash != frame.previous) {
                    report
                        .problems
                        .push(problem(partition, next, "frame does not name the hash of the one before it".into()));
                }
                previous = Some(frame.hash);
                next = frame.first_offset + frame.records.len() as u64;
                if frame.owner.is_some() {
                    report.claims += 1;
                    continue;
                }
                report.frames += 1;
                let mut parcel = Parcel {
                    file: PathBuf::from(meta.backend),
                    at: 0,
                    partition,
                    first_offset: frame.first_offset,
                    bytes: Vec::new(),
                    records: Vec::new(),
                };
                for (_, bytes) in &frame.records {
                    let from = parcel.bytes.len();
                    parcel.bytes.extend_from_slice(bytes);
                    parcel.records.push(from..parcel.bytes.len());
                }
                report.bytes += parcel.bytes.len() as u64;
                records.check(&parcel);
            }
            if next == before {
                report
                    .problems
                    .push(problem(partition, next, "reading does not get further".into()));
                break;
            }
            progress(records.records, total);
        }
    }
    records.finish(&mut report);
    report
}

fn walk(
    disk: &dyn Disk,
    data_dir: &Path,
    log_dir: &Path,
    numbers: &[u64],
    send: &mpsc::SyncSender<Parcel>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    let mut files = Vec::new();
    let mut total = 0;
    let mut known: Option<SegmentHeader> = None;
    for number in numbers {
        let path = segment_path(log_dir, *number);
        let mut window = Window::new(disk.open_read(&path)?)?;
        let header = SegmentHeader::decode(window.bytes(0, SEGMENT_HEADER)?).filter(|h| h.segment == *number);
        known = header.or(known);
        total += window.len();
        files.push((*number, path, header));
    }
    let heads = heads::read(disk, data_dir);
    let mut walker = Walker::new(known, heads, data_dir, send);
    let names = disk.list(data_dir)?;
    let unfinished = data_dir.join(UNFINISHED_FILE);
    if names.contains(&unfinished) {
        let detail = "the restore into this directory did not finish: delete it and restore again";
        walker.problem(&unfinished, 0, None, detail.into());
    }
    walker.report.incomplete = incomplete(&names, data_dir);
    let mut next_flush = None;
    let mut expected = 1;
    for (index, (number, path, header)) in files.iter().enumerate() {
        if *number != expected {
            walker.problem(path, 0, None, format!("segments {expected} to {} are missing", number - 1));
            next_flush = None;
        }
        expected = number + 1;
        let mut window = Window::new(disk.open_read(path)?)?;
        walker.segment_header(path, header.as_ref(), next_flush);
        let first = header.map(|h| h.first_flush).or(next_flush);
        let following = files.get(index + 1).and_then(|(_, _, next)| next.as_ref());
        let following = following.filter(|h| walker.log_id.is_none_or(|id| id == h.log_id));
        let synced = Synced::of(*number, following, walker.heads.as_ref());
        let scanned = scan(&mut window, *number, first, synced, &mut |found| walker.found(path, found))?;
        next_flush = Some(scanned.next_flush);
        // A last segment ends where it ends; an earlier one where the next says that it continues.
        let complete = match files.get(index + 1) {
            None => true,
            Some((_, _, next)) => next.is_some_and(|h| h.first_flush == scanned.next_flush),
        };
        walker.tail(path, *number, scanned.end, scanned.tail, complete);
        walker.report.segments += 1;
        walker.report.bytes += window.len();
        progress(walker.report.bytes, total);
    }
    Ok(walker.finish(log_dir, expected - 1))
}

/// What the names in a directory say of whether its log is whole.
fn incomplete(names: &[PathBuf], data_dir: &Path) -> Vec<String> {
    let has = |name: &str| names.contains(&data_dir.join(name));
    let mut why = Vec::new();
    if has(UNFINISHED_BACKUP_FILE) {
        why.push("the backup in this directory did not finish: delete it and take another one".to_owned());
    }
    if !has(heads::HEADS_FILE) {
        why.push(format!(
            "there is no `{}` file, which says where each partition ended: what is cut off at the end leaves no trace",
            heads::HEADS_FILE
        ));
    }
    why
}

struct Walker<'a> {
    report: VerifyReport,
    log_id: Option<LogId>,
    partitions: u16,
    chain: Chain,
    heads_path: PathBuf,
    heads: Option<Heads>,
    found_heads: Vec<bool>,
    send: &'a mpsc::SyncSender<Parcel>,
}

impl<'a> Walker<'a> {
    fn new(
        known: Option<SegmentHeader>,
        heads: Result<Option<Heads>, HeadsError>,
        data_dir: &Path,
        send: &'a mpsc::SyncSender<Parcel>,
    ) -> Self {
        let heads_path = data_dir.join(heads::HEADS_FILE);
        let noted = heads.as_ref().ok().and_then(Option::as_ref);
        let log_id = known.map(|h| h.log_id).or(noted.map(|h| h.log_id));
        let partitions = known.map_or_else(|| noted.map_or(u16::MAX, |h| h.entries.len() as u16), |h| h.partitions);
        let report = VerifyReport {
            log_id: log_id.map(|id| hex::encode(id.0)).unwrap_or_default(),
            generation: known.map_or(0, |h| h.generation),
            partitions,
            not_promised: "frames cut off after the last head in the heads file leave no trace",
            ..VerifyReport::default()
        };
        let mut walker = Self {
            report,
            log_id,
            partitions,
            chain: Chain::new(partitions),
            heads_path,
            heads: None,
            found_heads: Vec::new(),
            send,
        };
        match heads {
            Ok(heads) => walker.heads = heads,
            Err(HeadsError::Damaged { path, byte, detail }) => walker.problem(&path, byte, None, format!("heads file: {detail}")),
            Err(HeadsError::Io(e)) => walker.problem(&walker.heads_path.clone(), 0, None, e.to_string()),
        }
        if let Some(heads) = &walker.heads {
            walker.found_heads = heads
                .entries
                .iter()
                .map(|e| e.offset == 0 && e.frame_hash == EMPTY.frame_hash)
                .collect();
            if log_id.is_some_and(|id| id != heads.log_id) {
                walker.problem(&walker.heads_path.clone(), 0, None, "heads of another log".into());
            }
        }
        walker
    }

    fn problem(&mut self, file: &Path, byte: u64, partition: Option<u16>, detail: String) {
        let offset = partition
            .and_then(|p| self.chain.links.get(usize::from(p)))
            .map(|l| l.head.next_offset);
        self.report.problems.push(Problem {
            file: file.to_owned(),
            byte,
            partition,
            offset,
            stream: None,
            detail,
        });
    }

    fn segment_header(&mut self, path: &Path, header: Option<&SegmentHeader>, next_flush: Option<u64>) {
        let Some(header) = header else {
            return self.problem(path, 0, None, "segment header is damaged".into());
        };
        if self.log_id.is_some_and(|id| id != header.log_id) || header.partitions != self.partitions {
            self.problem(path, 0, None, "segment of another log".into());
        }
        if let Some(next) = next_flush.filter(|next| *next != header.first_flush) {
            self.problem(
                path,
                0,
                None,
                format!("begins with flush {} where flush {next} should follow", header.first_flush),
            );
        }
    }

    fn found(&mut self, path: &Path, found: Found<'_>) {
        match found {
            Found::Gap {
                from,
                to,
                detail,
                partition,
            } => self.problem(path, from, partition, format!("{detail} (to byte {to})")),
            Found::Scratch { from, detail, .. } => self.problem(path, from, None, detail),
            Found::Frame { at, frame, bytes } => {
                let header = &frame.header;
                let log_id = *self.log_id.get_or_insert(header.log_id);
                if let Err(detail) = self.chain.check(frame, log_id) {
                    self.problem(path, at, Some(header.partition), detail);
                }
                // What is there is checked further, so that one break is told once.
                self.chain.advance(frame);
                let end = header.first_offset + frame.records.len() as u64;
                if let Some(heads) = &self.heads {
                    for (found, entry) in self.found_heads.iter_mut().zip(&heads.entries) {
                        *found |= (entry.partition, entry.offset, entry.frame_hash) == (header.partition, end, frame.hash);
                    }
                }
                if header.owner.is_some() {
                    self.report.claims += 1;
                    return;
                }
                self.report.frames += 1;
                let parcel = Parcel {
                    file: path.to_owned(),
                    at,
                    partition: header.partition,
                    first_offset: header.first_offset,
                    bytes: bytes.to_vec(),
                    records: frame.records.clone(),
                };
                self.send.send(parcel).expect("the checker lives until the channel closes");
            }
        }
    }

    fn tail(&mut self, path: &Path, segment: u64, end: u64, tail: Option<(u64, u64, String)>, complete: bool) {
        let synced = self.heads.as_ref().map_or((0, 0), |h| h.synced);
        let short = synced.0 == segment && synced.1 > end;
        if short {
            let detail = format!("the log ends before byte {} of segment {}, which was synced", synced.1, synced.0);
            self.problem(path, end, None, detail);
        }
        let Some((from, to, detail)) = tail else { return };
        let detail = format!("{detail} (to byte {to})");
        if complete && !short {
            self.report.torn.push(Problem {
                file: path.to_owned(),
                byte: from,
                partition: None,
                offset: None,
                stream: None,
                detail,
            });
        } else {
            self.problem(path, from, None, detail);
        }
    }

    fn finish(mut self, log_dir: &Path, last: u64) -> VerifyReport {
        let heads = self.heads.take();
        if let Some(heads) = heads.as_ref().filter(|h| h.synced.0 > last) {
            self.problem(
                log_dir,
                0,
                None,
                format!("segment {} is missing: it was synced to byte {}", heads.synced.0, heads.synced.1),
            );
        }
        for (entry, found) in heads.iter().flat_map(|h| &h.entries).zip(self.found_heads.clone()) {
            if found {
                self.report.heads += 1;
                continue;
            }
            let detail = format!(
                "the log does not hold the head at offset {} with frame {}",
                entry.offset, entry.frame_hash
            );
            self.problem(log_dir, 0, Some(entry.partition), detail);
        }
        self.report
    }
}

#[derive(Default)]
struct Records {
    streams: BTreeMap<StreamId, (u64, Digest)>,
    digests: BTreeMap<u16, Digest>,
    records: u64,
    events: u64,
    problems: Vec<Problem>,
    names: BTreeMap<Named, Problem>,
    retention: Retention,
}

impl Records {
    fn check(&mut self, parcel: &Parcel) {
        let mut hashes = Vec::with_capacity(parcel.records.len() * 32);
        for (index, range) in parcel.records.iter().enumerate() {
            let bytes = &parcel.bytes[range.clone()];
            self.records += 1;
            let (stream, wrong) = self.record(bytes);
            // One that does not decode is told below.
            for named in names::note(&mut self.retention, bytes).unwrap_or_default() {
                self.names.entry(named).or_insert_with(|| Problem {
                    file: parcel.file.clone(),
                    byte: parcel.at + range.start as u64,
                    partition: Some(parcel.partition),
                    offset: Some(parcel.first_offset + index as u64),
                    stream: decode_header(bytes).ok().map(|header| header.stream.to_string()),
                    detail: String::new(),
                });
            }
            if let Some(detail) = wrong {
                self.problems.push(Problem {
                    file: parcel.file.clone(),
                    byte: parcel.at + range.start as u64,
                    partition: Some(parcel.partition),
                    offset: Some(parcel.first_offset + index as u64),
                    stream,
                    detail,
                });
            }
            hashes.extend_from_slice(&bytes[bytes.len() - 32..]);
        }
        let before = self.digests.entry(parcel.partition).or_insert(Digest::ZERO);
        // Folded a record at a time: frames may be cut differently in an equal log.
        for hash in hashes.chunks_exact(32) {
            *before = Digest::of(&[&before.0, hash]);
        }
    }

    fn record(&mut self, bytes: &[u8]) -> (Option<String>, Option<String>) {
        let checked = check_hash(bytes).and_then(|()| Ok((decode_header(bytes)?, claimed_previous(bytes)?, claimed_hash(bytes)?)));
        let (header, previous, hash) = match checked {
            Ok(parts) => parts,
            Err(e) => return (decode_header(bytes).ok().map(|h| h.stream.to_string()), Some(e.to_string())),
        };
        self.events += u64::from(header.events);
        let after = header.first_version + u64::from(header.events);
        let (next, expected) = self.streams.get(&header.stream).copied().unwrap_or((1, Digest::ZERO));
        let wrong = if header.first_version != next {
            Some(format!("version {} where {next} should follow", header.first_version))
        } else if previous != expected {
            Some("record does not name the hash of its stream's record before it".to_owned())
        } else {
            None
        };
        let stream = wrong.as_ref().map(|_| header.stream.to_string());
        self.streams.insert(header.stream, (after, hash));
        (stream, wrong)
    }

    fn finish(self, report: &mut VerifyReport) {
        report.records = self.records;
        report.events = self.events;
        report.streams = self.streams.len() as u64;
        report.problems.extend(self.problems);
        report.names = self.names;
        report.retention = self.retention;
        let mut all = Vec::new();
        for (partition, digest) in &self.digests {
            all.extend_from_slice(&partition.to_le_bytes());
            all.extend_from_slice(&digest.0);
        }
        report.digest = Digest::of(&[&all]).to_string();
    }
}

#[cfg(test)]
mod tests;
