//! The projector of one partition: a machine without I/O from frames to batches.
//!
//! [`Projector::step`] takes what happened and says what to do next; whoever performs the actions feeds the results
//! back. After a failed or unknown commit the machine is dropped, and a new one made from the store's checkpoint.

use crate::{
    families::Families,
    gathered::Gathered,
    parked,
    scope::At,
    statement::{Statement, Statements},
    store::{Checkpoint, Of, Tip, ViewBatch},
};
use quipu_events::port::{FrameRead, ReadError};
use quipu_schemas::{
    digest::Digest,
    ids::StreamId,
    limits::VIEW_TIPS_MAX,
    record::{self, Header, Record},
};
use std::collections::{BTreeMap, BTreeSet};

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Begin, or look again after having caught up.
    Poll,
    /// Frames were read; none: the end of the log.
    Frames(Vec<FrameRead>),
    /// The log could not be read.
    Unreadable(ReadError),
    /// Chain ends were read; `None` for a stream without a record.
    Tips(Vec<(StreamId, Option<Tip>)>),
    /// The batch and its checkpoint are committed.
    Committed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read frames of the partition.
    Read {
        /// Partition.
        partition: u16,
        /// First record wanted.
        from_offset: u64,
    },
    /// Read chain ends from the store.
    LoadTips(Vec<StreamId>),
    /// Commit the batch with its checkpoint.
    Commit(ViewBatch),
    /// Nothing more to read for now.
    CaughtUp,
    /// The partition stops: nothing is skipped.
    Stop(Stop),
}

/// Where and why a partition's projector stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Partition.
    pub partition: u16,
    /// Next record offset that could not be had.
    pub offset: u64,
    /// Why.
    pub why: StopReason,
}

impl Stop {
    /// Whether reading again may go on by itself: the log did not answer, and nothing says that it is damaged.
    pub fn is_passing(&self) -> bool {
        matches!(self.why, StopReason::Unreadable(ReadError::Io(_)))
    }
}

/// Why a partition's projector stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Records are missing before this offset.
    Hole {
        /// The offset that came instead.
        found: u64,
    },
    /// The log could not be read, or is damaged, here.
    Unreadable(ReadError),
    /// A record that the other families took does not fit a family that begins again.
    Unfit {
        /// The family.
        family: &'static str,
        /// The record's stream.
        stream: StreamId,
        /// Why.
        detail: String,
    },
    /// A record's header does not decode, so no stream owns the damage.
    NoStream(String),
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StopReason::Hole { found } => write!(f, "records are missing; the next one there is at offset {found}"),
            StopReason::Unfit { family, stream, detail } => write!(
                f,
                "a record of {stream} does not fit the new {family} views ({detail}); `quipu views rebuild` parks the stream and rebuilds all"
            ),
            StopReason::Unreadable(error) => error.fmt(f),
            StopReason::NoStream(detail) => f.write_str(detail),
        }
    }
}

/// A record that was read, or what is known of one that does not decode.
#[derive(Debug)]
enum Entry {
    Whole(Box<Record>),
    Unfit { header: Box<Header>, reason: String },
}

impl Entry {
    fn header(&self) -> &Header {
        match self {
            Entry::Whole(record) => &record.header,
            Entry::Unfit { header, .. } => header,
        }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Projector {
    families: Families,
    late: BTreeSet<&'static str>,
    partition: u16,
    checkpoint: Checkpoint,
    next: Checkpoint,
    parked: BTreeSet<StreamId>,
    tips: BTreeMap<StreamId, Option<Tip>>,
    waiting: Vec<(At, Entry)>,
    stop: Option<Stop>,
    records: u64,
    passed_over: u64,
}

impl Projector {
    /// A projector of `partition` that goes on at `checkpoint`, leaving `parked` streams alone.
    pub fn new(families: Families, partition: u16, checkpoint: Checkpoint, parked: impl IntoIterator<Item = StreamId>) -> Self {
        Self {
            families,
            late: BTreeSet::new(),
            partition,
            checkpoint,
            next: checkpoint,
            parked: parked.into_iter().collect(),
            tips: BTreeMap::new(),
            waiting: Vec::new(),
            stop: None,
            records: 0,
            passed_over: 0,
        }
    }

    /// Without these families, which are behind.
    #[must_use]
    pub fn without(mut self, late: BTreeSet<&'static str>) -> Self {
        self.late = late;
        self
    }

    /// What is committed.
    pub fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// Records committed by this machine.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Frames of an owner that had already been replaced.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Takes what happened; says what to do next.
    pub fn step(&mut self, input: Input) -> Action {
        match input {
            Input::Poll => self.poll(),
            Input::Unreadable(error) => self.stopped(self.next.next_offset, StopReason::Unreadable(error)),
            Input::Frames(frames) => self.frames(frames),
            Input::Tips(tips) => {
                self.tips.extend(tips);
                self.commit()
            }
            Input::Committed => {
                self.records += self.next.next_offset - self.checkpoint.next_offset;
                self.checkpoint = self.next;
                self.poll()
            }
        }
    }

    fn poll(&mut self) -> Action {
        match &self.stop {
            Some(stop) => Action::Stop(stop.clone()),
            None => Action::Read {
                partition: self.partition,
                from_offset: self.next.next_offset,
            },
        }
    }

    fn stopped(&mut self, offset: u64, why: StopReason) -> Action {
        let stop = Stop {
            partition: self.partition,
            offset,
            why,
        };
        // Where the log did not answer, the next poll asks again.
        self.stop = Some(stop.clone()).filter(|stop| !stop.is_passing());
        Action::Stop(stop)
    }

    fn frames(&mut self, frames: Vec<FrameRead>) -> Action {
        for frame in frames {
            if let Err((offset, why)) = self.frame(frame) {
                // What came before is whole and is committed first; the stop is met again at the next poll.
                self.stop = Some(Stop {
                    partition: self.partition,
                    offset,
                    why,
                });
                break;
            }
        }
        if self.next == self.checkpoint {
            return match &self.stop {
                Some(stop) => Action::Stop(stop.clone()),
                None => Action::CaughtUp,
            };
        }
        if self.tips.len() > VIEW_TIPS_MAX {
            self.tips.clear();
        }
        let unknown: BTreeSet<_> = self
            .waiting
            .iter()
            .map(|(_, entry)| &entry.header().stream)
            .filter(|stream| !self.tips.contains_key(stream) && !self.parked.contains(stream))
            .collect();
        if unknown.is_empty() {
            return self.commit();
        }
        Action::LoadTips(unknown.into_iter().cloned().collect())
    }

    fn frame(&mut self, frame: FrameRead) -> Result<(), (u64, StopReason)> {
        if frame.epoch < self.next.epoch {
            self.passed_over += 1;
            return Ok(());
        }
        let expected = self.next.next_offset;
        if frame.first_offset > expected {
            return Err((expected, StopReason::Hole { found: frame.first_offset }));
        }
        self.next.epoch = frame.epoch;
        for (offset, (_, bytes)) in (frame.first_offset..).zip(frame.records) {
            if offset < self.next.next_offset {
                continue;
            }
            let entry = match record::decode(&bytes) {
                Ok(record) => Entry::Whole(Box::new(record)),
                Err(error) => match record::decode_header(&bytes) {
                    Ok(header) => Entry::Unfit {
                        header: Box::new(header),
                        reason: error.to_string(),
                    },
                    Err(error) => return Err((offset, StopReason::NoStream(error.to_string()))),
                },
            };
            self.waiting.push((
                At {
                    partition: self.partition,
                    offset,
                },
                entry,
            ));
            self.next.next_offset = offset + 1;
        }
        Ok(())
    }

    fn commit(&mut self) -> Action {
        let mut statements = Gathered::default();
        for (at, entry) in std::mem::take(&mut self.waiting) {
            self.entry(at, &entry, &mut statements);
        }
        Action::Commit(ViewBatch {
            partition: self.partition,
            of: Of::Views,
            expected: self.checkpoint,
            next: self.next,
            statements: statements.into_inner(),
        })
    }

    fn entry(&mut self, at: At, entry: &Entry, statements: &mut Gathered) {
        let header = entry.header();
        let mut out = Statements::default();
        if self.parked.contains(&header.stream) {
            parked::wait(header, &mut out);
        } else {
            match self.fit(at, entry) {
                Ok(fitting) => return statements.extend(fitting),
                Err(reason) => {
                    parked::park(header, at, &reason, &mut out);
                    self.parked.insert(header.stream.clone());
                    self.tips.remove(&header.stream);
                }
            }
        }
        statements.extend(out.into_inner());
    }

    /// The record's statements, if it continues its stream's chain and decodes.
    fn fit(&mut self, at: At, entry: &Entry) -> Result<Vec<Statement>, String> {
        let record = match entry {
            Entry::Whole(record) => record,
            Entry::Unfit { reason, .. } => return Err(reason.clone()),
        };
        let stream = &record.header.stream;
        let tip = self.tips.get(stream).copied().flatten();
        let statements = follow(self.families, &self.late, tip, record, at)?;
        self.tips.insert(
            stream.clone(),
            Some(Tip {
                version: record.header.last_version(),
                hash: record.hash,
            }),
        );
        Ok(statements)
    }
}

/// The statements of a record that follows `tip` in its stream.
pub(crate) fn follow(
    families: Families,
    late: &BTreeSet<&'static str>,
    tip: Option<Tip>,
    record: &Record,
    at: At,
) -> Result<Vec<Statement>, String> {
    let Tip { version, hash } = tip.unwrap_or(Tip {
        version: 0,
        hash: Digest::ZERO,
    });
    if record.header.first_version != version + 1 {
        return Err(format!("version {} follows version {version}", record.header.first_version));
    }
    if record.previous != hash {
        return Err(format!(
            "the record at version {} does not continue its stream's chain",
            record.header.first_version
        ));
    }
    families.reduce_but(record, at, late).map_err(|e| e.to_string())
}
