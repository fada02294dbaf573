//! Opening a log: what is durable, what was torn, what is damaged.

use super::{
    EmbeddedOptions, OpenError, OpenReport, UNFINISHED_BACKUP_FILE, UNFINISHED_FILE,
    catalog::{Active, Catalog, ScannedLayout, Sealed, State, place_text, scan_layout, write_sidecar},
    chain::{Chain, EMPTY, Stop},
    scan::Synced,
    segment::{LOG_DIR, SEGMENT_HEADER, SegmentHeader, segment_header, segment_number, segment_path, sidecar_path, summary_bytes},
    sidecar::{Layout, decode_summary, summary_len},
};
use crate::{
    disk::{Disk, DiskFile},
    heads::{self, HeadEntry, Heads},
    port::LogMeta,
};
use quipu_schemas::{envelope::Durability, position::LogId};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

const ZEROS: usize = 256 * 1024;

/// A log as found on disk, ready to be written.
pub(crate) struct Recovered {
    pub(crate) catalog: Arc<Catalog>,
    /// The active segment cannot be written: the next append begins another.
    pub(crate) full: bool,
    /// The active segment is damaged: its sidecar must not be written.
    pub(crate) damaged: bool,
    pub(crate) report: OpenReport,
}

/// The numbers of all segments, ascending.
pub(crate) fn segment_numbers(disk: &dyn Disk, log_dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk.list(log_dir)?.iter().filter_map(|path| segment_number(path)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Creates a segment: reserved, headed, durable by content and by name. The name appears last, so a segment file
/// always has its header.
pub(crate) fn create_segment(disk: &dyn Disk, log_dir: &Path, header: &SegmentHeader, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
    let path = segment_path(log_dir, header.segment);
    let draft = path.with_extension("seg-tmp");
    let made = disk.create(&draft).and_then(|file| {
        file.reserve(bytes)?;
        file.write_all_at(0, &header.encode())?;
        file.sync_data()?;
        disk.rename(&draft, &path)?;
        disk.sync_dir(log_dir)?;
        Ok(file)
    });
    if made.is_err() {
        // Best effort: a draft is never read.
        let _ = disk.remove(&draft);
    }
    made
}

pub(crate) fn recover(disk: Arc<dyn Disk>, data_dir: &Path, options: &EmbeddedOptions) -> Result<Recovered, OpenError> {
    let names = disk.list(data_dir)?;
    if names.contains(&data_dir.join(UNFINISHED_FILE)) {
        return Err(OpenError::Unfinished { dir: data_dir.to_owned() });
    }
    if names.contains(&data_dir.join(UNFINISHED_BACKUP_FILE)) {
        return Err(OpenError::UnfinishedBackup { dir: data_dir.to_owned() });
    }
    let log_dir = data_dir.join(LOG_DIR);
    let numbers = segment_numbers(disk.as_ref(), &log_dir)?;
    if numbers.is_empty() {
        if let Ok(Some(_)) = heads::read(disk.as_ref(), data_dir) {
            return Err(OpenError::Damaged {
                at: log_dir.display().to_string(),
                detail: "the heads file names a log, but there is none".into(),
            });
        }
        return fresh(disk, data_dir, log_dir, options);
    }
    let mut known = None;
    for number in numbers.iter().rev() {
        known = known.or(segment_header(disk.as_ref(), &log_dir, *number)?);
    }
    let Some(known) = known else {
        return Err(OpenError::Damaged {
            at: place_text(numbers[0], 0),
            detail: "no segment has a readable header".into(),
        });
    };
    if known.partitions != options.partitions {
        return Err(OpenError::Partitions {
            found: known.partitions,
            asked: options.partitions,
        });
    }
    if options.log_id.is_some_and(|id| id != known.log_id) {
        return Err(OpenError::OtherLog { path: log_dir });
    }
    Recovery {
        disk,
        data_dir,
        log_dir,
        log_id: known.log_id,
        partitions: known.partitions,
        chain: Chain::new(known.partitions),
        next_flush: None,
        report: OpenReport::default(),
    }
    .run(&numbers, known.generation)
}

fn meta(log_id: LogId, generation: u32, partitions: u16) -> LogMeta {
    LogMeta {
        log_id,
        generation,
        partitions,
        durability: Durability::Fsync,
        backend: "embedded",
    }
}

fn fresh(disk: Arc<dyn Disk>, data_dir: &Path, log_dir: PathBuf, options: &EmbeddedOptions) -> Result<Recovered, OpenError> {
    let log_id = match options.log_id {
        Some(id) => id,
        None => LogId(random_id()?),
    };
    disk.create_dir_all(&log_dir)?;
    disk.sync_dir(data_dir)?;
    let header = SegmentHeader {
        log_id,
        generation: 1,
        partitions: options.partitions,
        segment: 1,
        first_flush: 1,
    };
    let file = create_segment(disk.as_ref(), &log_dir, &header, options.segment_bytes.max(SEGMENT_HEADER as u64))?;
    let partitions = usize::from(options.partitions);
    let state = State {
        heads: vec![EMPTY; partitions],
        stops: vec![None; partitions],
        cut: BTreeMap::new(),
        sealed: Vec::new(),
        next_flush: 1,
        active: Active {
            number: 1,
            file,
            end: SEGMENT_HEADER as u64,
            layout: Layout::new(vec![EMPTY; partitions].into_iter()),
        },
    };
    let catalog = Arc::new(Catalog::new(disk, log_dir, meta(log_id, 1, options.partitions), state));
    Ok(Recovered {
        catalog,
        full: false,
        damaged: false,
        report: OpenReport::default(),
    })
}

fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut id)?;
    Ok(id)
}

struct Recovery<'a> {
    disk: Arc<dyn Disk>,
    data_dir: &'a Path,
    log_dir: PathBuf,
    log_id: LogId,
    partitions: u16,
    chain: Chain,
    /// Number of the next segment's first flush.
    next_flush: Option<u64>,
    report: OpenReport,
}

impl Recovery<'_> {
    fn run(mut self, numbers: &[u64], generation: u32) -> Result<Recovered, OpenError> {
        let heads = self.heads_file()?;
        let (last, earlier) = numbers.split_last().expect("a segment");
        let mut sealed = Vec::new();
        let mut expected = 1;
        for number in earlier {
            self.missing(expected, *number);
            expected = number + 1;
            sealed.push(self.sealed(*number, heads.as_ref())?);
        }
        self.missing(expected, *last);
        let file = self.disk.open(&segment_path(&self.log_dir, *last))?;
        let scanned = self.scan(&file, *last, Synced::of(*last, None, heads.as_ref()))?;
        let short = self.end(&file, *last, &scanned, heads.as_ref())?;
        let noted = heads.iter().flat_map(|h| &h.entries).map(|e| e.generation).max().unwrap_or(0);
        // A header that cannot be read may have raised the generation; then the next segment names it again.
        let full = short || noted > generation;
        let generation = generation.max(noted);
        let damaged = short || !scanned.notes.is_empty();
        // What a killed process wrote may still be in memory only.
        file.sync_data()?;
        self.judge(heads.as_ref());
        let stops: Vec<Option<Stop>> = self.chain.links.iter().map(|l| l.stop.clone()).collect();
        self.report.stopped = stops.iter().enumerate().filter_map(|(p, s)| Some((p as u16, s.clone()?))).collect();
        let cut = self.report.stopped.iter().map(|(partition, stop)| {
            let noted = heads.iter().flat_map(|h| &h.entries).find(|e| e.partition == *partition);
            let found = self.chain.links[usize::from(*partition)].head.frame_hash;
            let further = |e: &&HeadEntry| e.offset > stop.offset || (e.offset == stop.offset && e.frame_hash != found);
            (*partition, noted.filter(further).copied())
        });
        let cut = cut.collect();
        let state = State {
            heads: self.chain.links.iter().map(|l| l.head).collect(),
            stops,
            cut,
            sealed,
            next_flush: scanned.next_flush.max(1),
            active: Active {
                number: *last,
                file,
                end: scanned.end,
                layout: scanned.layout,
            },
        };
        let meta = meta(self.log_id, generation, self.partitions);
        let catalog = Arc::new(Catalog::new(self.disk, self.log_dir, meta, state));
        Ok(Recovered {
            catalog,
            full,
            damaged,
            report: self.report,
        })
    }

    fn heads_file(&mut self) -> Result<Option<Heads>, OpenError> {
        match heads::read(self.disk.as_ref(), self.data_dir) {
            Ok(Some(heads)) if heads.log_id != self.log_id => Err(OpenError::Damaged {
                at: self.data_dir.join(heads::HEADS_FILE).display().to_string(),
                detail: "heads of another log".into(),
            }),
            Ok(heads) => Ok(heads),
            Err(heads::HeadsError::Io(e)) => Err(e.into()),
            Err(damaged) => {
                self.report.notes.push(damaged.to_string());
                Ok(None)
            }
        }
    }

    fn missing(&mut self, expected: u64, found: u64) {
        if expected != found {
            let detail = format!("segments {expected} to {} are missing", found - 1);
            self.report.notes.push(detail.clone());
            self.chain.suspect_all(expected, 0, &detail);
        }
    }

    /// A segment before the last: by its sidecar, or scanned.
    fn sealed(&mut self, number: u64, heads: Option<&Heads>) -> Result<Sealed, OpenError> {
        let file = self.disk.open(&segment_path(&self.log_dir, number))?;
        let bytes = file.len()?;
        if let Some(summary) = self.sidecar(number)?.filter(|s| s.bytes == bytes) {
            let continues = self
                .chain
                .links
                .iter()
                .zip(&summary.spans)
                .all(|(l, s)| l.stop.is_none() && l.head == s.start);
            if continues {
                for (link, span) in self.chain.links.iter_mut().zip(&summary.spans) {
                    link.head = span.end;
                    if span.frames > 0 {
                        link.suspicion = None;
                    }
                }
                self.next_flush = Some(summary.next_flush);
                return Ok(Sealed {
                    number,
                    bytes,
                    spans: summary.spans,
                });
            }
        }
        let following = segment_header(self.disk.as_ref(), &self.log_dir, number + 1).ok().flatten();
        let following = following.filter(|h| h.log_id == self.log_id);
        let scanned = self.scan(&file, number, Synced::of(number, following.as_ref(), heads))?;
        // A mark torn by a crash, or a write that was taken back: the next segment's number says that no flush is missing.
        let harmless = following.is_some_and(|next| next.first_flush == scanned.next_flush);
        if let Some((from, to, detail)) = scanned.tail.as_ref().filter(|_| !harmless) {
            let detail = format!("{detail}, and a later segment exists");
            self.report.notes.push(format!("{} to {to}: {detail}", place_text(number, *from)));
            self.chain.suspect_all(number, *from, &detail);
        }
        let clean = scanned.notes.is_empty() && (scanned.tail.is_none() || harmless);
        if clean {
            // The crash came between the next segment and this: give back what was reserved.
            file.set_len(scanned.end)?;
            let summary = scanned.summary(self.log_id, number);
            write_sidecar(self.disk.as_ref(), &self.log_dir, &summary, &scanned.layout);
        }
        // What is damaged is kept, and copied, whole.
        Ok(Sealed {
            number,
            bytes: if clean { scanned.end } else { bytes },
            spans: scanned.layout.spans,
        })
    }

    fn sidecar(&self, number: u64) -> io::Result<Option<super::sidecar::Summary>> {
        let bytes = match self.disk.open_read(&sidecar_path(&self.log_dir, number)) {
            Ok(file) => summary_bytes(&file, summary_len(self.partitions))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(decode_summary(&bytes, self.partitions).filter(|s| s.log_id == self.log_id && s.segment == number))
    }

    fn scan(&mut self, file: &Arc<dyn DiskFile>, number: u64, synced: Synced) -> Result<ScannedLayout, OpenError> {
        let scanned = scan_layout(file, number, self.next_flush, synced, &mut self.chain, self.log_id)?;
        self.next_flush = Some(scanned.next_flush);
        self.report.notes.extend(scanned.notes.iter().cloned());
        Ok(scanned)
    }

    /// Settles the end of the last segment: a torn tail is zeroed; what was synced once is damage and stays as it is.
    fn end(&mut self, file: &Arc<dyn DiskFile>, number: u64, scanned: &ScannedLayout, heads: Option<&Heads>) -> Result<bool, OpenError> {
        let mark = heads.map_or((0, 0), |h| h.synced);
        let was_synced = mark > (number, scanned.end);
        if was_synced {
            let detail = format!(
                "the log ends before the place that was synced, byte {} of segment {}",
                mark.1, mark.0
            );
            self.report.notes.push(format!("{}: {detail}", place_text(number, scanned.end)));
            return Ok(true);
        }
        let Some((from, to, detail)) = &scanned.tail else {
            return Ok(false);
        };
        self.report.dropped_bytes = to - from;
        self.report
            .notes
            .push(format!("{} to {to}: torn tail dropped ({detail})", place_text(number, *from)));
        let zeros = vec![0; ZEROS];
        let mut at = *from;
        while at < *to {
            let len = (to - at).min(ZEROS as u64);
            file.write_all_at(at, &zeros[..len as usize])?;
            at += len;
        }
        Ok(false)
    }

    /// Turns suspicion that nothing removed, and heads that the log does not reach, into stops.
    fn judge(&mut self, heads: Option<&Heads>) {
        for (partition, link) in self.chain.links.iter_mut().enumerate() {
            let noted = heads.and_then(|h| h.entries.iter().find(|e| usize::from(e.partition) == partition));
            if let Some(suspicion) = link.suspicion.take() {
                // A head noted after the damage proves that nothing of this partition was in it.
                let proven = heads.zip(noted).is_some_and(|(heads, entry)| {
                    heads.synced > (suspicion.segment, suspicion.byte)
                        && (entry.offset, entry.frame_hash) == (link.head.next_offset, link.head.frame_hash)
                });
                if !proven && link.stop.is_none() {
                    let detail = format!("frames of this partition may have been lost: {}", suspicion.detail);
                    link.stop = Some(Stop {
                        offset: link.head.next_offset,
                        at: place_text(suspicion.segment, suspicion.byte),
                        detail,
                    });
                }
            }
            if let Some(entry) = noted.filter(|e| e.offset > link.head.next_offset) {
                let detail = format!(
                    "the log ends at offset {} before its last head at {}",
                    link.head.next_offset, entry.offset
                );
                link.stop.get_or_insert(Stop {
                    offset: link.head.next_offset,
                    at: "the end of the log".into(),
                    detail,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
