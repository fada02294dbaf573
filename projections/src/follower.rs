//! Drives the projectors of all partitions against a log and a store, synchronously; shells, the CLI and simulation
//! share it.

use crate::{
    error::ViewError,
    families::Families,
    late::Late,
    progress::Progress,
    projector::{Action, Input, Projector, Stop, StopReason, follow},
    scope::At,
    statement::{Statement, Statements},
    store::{Behind, Checkpoint, Of, Origin, ParkedStream, Tip, ViewBatch, ViewStore},
};
use quipu_events::port::Log;
use quipu_schemas::{ids::StreamId, limits::VIEW_BATCH_MAX_BYTES, record};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Batches that a family which is behind takes in the time of one of the others.
const LATE_BATCHES: usize = 4;

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Records whose statements were committed.
    pub records: u64,
    /// Whether every partition asked for had nothing more to read, or is stopped.
    pub caught_up: bool,
    /// Partitions that are stopped.
    pub stopped: Vec<Stop>,
}

/// Keeps a store up with a log. One at a time a store: a second one gets [`ViewError::Conflict`].
pub struct Follower {
    store: Arc<dyn ViewStore>,
    projectors: Vec<Projector>,
    behind: Vec<Behind>,
}

impl Follower {
    /// A follower that goes on where the store is; refuses a store of another log or projector.
    pub fn new(log: &dyn Log, store: Arc<dyn ViewStore>) -> Result<Self, ViewError> {
        let origin = store.origin();
        origin.made().check(&Origin::by(origin.families, &log.meta()).made())?;
        let mut follower = Self {
            store,
            projectors: Vec::new(),
            behind: Vec::new(),
        };
        follower.reload()?;
        Ok(follower)
    }

    /// Forgets everything in memory and goes on at the store's checkpoints; done by itself after an error.
    pub fn reload(&mut self) -> Result<(), ViewError> {
        let checkpoints = self.store.checkpoints()?;
        self.behind = self.store.behind()?;
        let parked = self.store.parked()?;
        let all = (0u16..).zip(checkpoints);
        self.projectors = all
            .map(|(partition, checkpoint)| self.projector(partition, checkpoint, &parked))
            .collect();
        Ok(())
    }

    fn projector(&self, partition: u16, checkpoint: Checkpoint, parked: &[ParkedStream]) -> Projector {
        let streams = parked.iter().filter(|p| p.partition == partition).map(|p| p.stream.clone());
        let late = self
            .behind
            .iter()
            .filter(|late| late.at(partition).is_some())
            .map(|late| late.family);
        Projector::new(self.store.origin().families, partition, checkpoint, streams).without(late.collect())
    }

    /// Names of the families that are behind the others in some partition.
    pub fn late(&self) -> Vec<&'static str> {
        self.behind.iter().map(|late| late.family).collect()
    }

    /// Whether some family is behind the others in a partition.
    pub fn is_late(&self, partition: u16) -> bool {
        self.behind.iter().any(|late| late.at(partition).is_some())
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn ViewStore> {
        &self.store
    }

    /// Committed checkpoints, by partition.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.projectors.iter().map(Projector::checkpoint).collect()
    }

    /// Frames of replaced owners that were passed over.
    pub fn passed_over(&self) -> u64 {
        self.projectors.iter().map(Projector::passed_over).sum()
    }

    /// Records in the log that are not in the views, by partition.
    pub fn lag(&self, log: &dyn Log) -> Result<Vec<u64>, ViewError> {
        (0u16..)
            .zip(&self.projectors)
            .map(|(partition, p)| Ok(log.head(partition)?.next_offset.saturating_sub(p.checkpoint().next_offset)))
            .collect()
    }

    /// Takes one batch of each of these partitions, committed in one transaction. After an error nothing was committed
    /// or the outcome is unknown; either way the next round goes on from the store's checkpoints.
    pub fn round(&mut self, log: &dyn Log, partitions: &[u16], progress: &Progress) -> Result<Round, ViewError> {
        let result = self.try_round(log, partitions, progress);
        if result.is_err() {
            self.reload()?;
            self.report(progress);
        }
        result
    }

    fn try_round(&mut self, log: &dyn Log, partitions: &[u16], progress: &Progress) -> Result<Round, ViewError> {
        let mut round = Round {
            caught_up: true,
            ..Round::default()
        };
        let late = self.catch_up_late(log, partitions, &mut round)?;
        let mut batches = Vec::new();
        for &partition in partitions {
            let Some(projector) = self.projectors.get_mut(usize::from(partition)) else {
                continue;
            };
            match batch_of(projector, log, &*self.store)? {
                Action::Commit(batch) => batches.push(batch),
                Action::Stop(stop) => round.stopped.push(stop),
                Action::CaughtUp | Action::Read { .. } | Action::LoadTips(_) => {}
            }
        }
        round.records = late;
        if late > 0 {
            round.caught_up = false;
            self.report(progress);
        }
        if batches.is_empty() {
            return Ok(round);
        }
        self.store.apply(&batches)?;
        round.caught_up = false;
        for batch in &batches {
            self.projectors[usize::from(batch.partition)].step(Input::Committed);
            round.records += batch.next.next_offset - batch.expected.next_offset;
        }
        self.report(progress);
        Ok(round)
    }

    /// Brings families that are behind nearer to the others, or to them; the number of records that it took.
    fn catch_up_late(&mut self, log: &dyn Log, partitions: &[u16], round: &mut Round) -> Result<u64, ViewError> {
        if self.behind.is_empty() {
            return Ok(0);
        }
        let parked = self.store.parked()?;
        let left_alone: BTreeMap<StreamId, u64> = parked.iter().map(|p| (p.stream.clone(), p.offset)).collect();
        let (families, mut records) = (self.store.origin().families, 0);
        for &partition in partitions {
            for family in families.iter() {
                // More than one batch, so that it comes nearer however fast the others go on.
                for _ in 0..LATE_BATCHES {
                    let of_family = self.behind.iter().find(|late| late.family == family.name);
                    let Some(at) = of_family.and_then(|late| late.at(partition)) else {
                        break;
                    };
                    let late = Late {
                        family,
                        partition,
                        at,
                        others: self.projectors[usize::from(partition)].checkpoint(),
                        parked: &left_alone,
                    };
                    let frames = match log.read(partition, at.next_offset, VIEW_BATCH_MAX_BYTES) {
                        Ok(frames) => late.batch(frames),
                        Err(error) => Err(Stop {
                            partition,
                            offset: at.next_offset,
                            why: StopReason::Unreadable(error),
                        }),
                    };
                    match frames {
                        Ok(Some(batch)) => {
                            self.store.apply(std::slice::from_ref(&batch))?;
                            // What joins counts, so that whoever waits hears of it.
                            records += (batch.next.next_offset - batch.expected.next_offset).max(1);
                            self.moved(&batch, &parked);
                        }
                        Ok(None) => break,
                        Err(stop) => {
                            round.stopped.push(stop);
                            break;
                        }
                    }
                }
            }
        }
        Ok(records)
    }

    /// Takes note of what was committed of a family that is behind.
    fn moved(&mut self, batch: &ViewBatch, parked: &[ParkedStream]) {
        let place = usize::from(batch.partition);
        let (name, at) = match batch.of {
            Of::Views => return,
            Of::Late(name) => (name, Some(batch.next)),
            Of::Joining(name, _) => (name, None),
        };
        for late in self.behind.iter_mut().filter(|late| late.family == name) {
            late.checkpoints[place] = at;
        }
        if let Of::Joining(_, mut others) = batch.of {
            self.behind.retain(|late| late.checkpoints.iter().any(Option::is_some));
            others.behind -= 1;
            self.projectors[place] = self.projector(batch.partition, others, parked);
        }
    }

    /// Takes note of how far others have brought these partitions in the same store.
    pub fn look(&mut self, partitions: &[u16], progress: &Progress) -> Result<(), ViewError> {
        let checkpoints = self.store.checkpoints()?;
        let moved = |p: &u16| {
            checkpoints
                .get(usize::from(*p))
                .is_some_and(|c| *c != self.projectors[usize::from(*p)].checkpoint())
        };
        let moved: Vec<u16> = partitions.iter().copied().filter(moved).collect();
        if moved.is_empty() {
            return Ok(());
        }
        let parked = self.store.parked()?;
        self.behind = self.store.behind()?;
        for partition in moved {
            let at = usize::from(partition);
            self.projectors[at] = self.projector(partition, checkpoints[at], &parked);
        }
        self.report(progress);
        Ok(())
    }

    fn report(&self, progress: &Progress) {
        let mut cursor = progress.now();
        let origin = self.store.origin();
        (cursor.log, cursor.generation) = (origin.log_id, origin.generation);
        cursor.next = self.projectors.iter().map(|p| p.checkpoint().next_offset).collect();
        progress.set_late(self.late());
        progress.set(cursor);
    }

    /// Rounds over all partitions until there is nothing more to read. A stopped partition does not hold up the others.
    pub fn catch_up(&mut self, log: &dyn Log, progress: &Progress) -> Result<Round, ViewError> {
        let partitions: Vec<u16> = (0..log.meta().partitions).collect();
        let mut records = 0;
        loop {
            let round = self.round(log, &partitions, progress)?;
            records += round.records;
            if round.caught_up {
                return Ok(Round { records, ..round });
            }
        }
    }

    /// Takes up a parked stream again from the record where it parked, as far as the partition's checkpoint. Returns
    /// whether all of it fits now; if not, the stream stays parked, at the first record that does not fit.
    pub fn unpark(&mut self, log: &dyn Log, stream: &StreamId) -> Result<bool, ViewError> {
        if let Some(late) = self.behind.first() {
            return Err(ViewError::Late(late.family));
        }
        let Some(parked) = self.store.parked()?.into_iter().find(|p| p.stream == *stream) else {
            return Ok(true);
        };
        let checkpoint = self.projectors[usize::from(parked.partition)].checkpoint();
        let mut tip = self.store.tips(std::slice::from_ref(stream))?.pop().flatten();
        let mut out = Statements::default();
        out.delete(
            &crate::parked::PARKED,
            &stream.org,
            [("kind", (&stream.kind).into()), ("id", (&stream.id).into())],
        );
        let mut statements: Vec<Statement> = out.into_inner();
        let mut again = false;
        let mut from = parked.offset;
        let mut epoch = 0;
        let families = self.store.origin().families;
        while from < checkpoint.next_offset {
            let frames = log.read(parked.partition, from, VIEW_BATCH_MAX_BYTES)?;
            let Some(last) = frames.last() else { break };
            let next = last.first_offset + last.records.len() as u64;
            for frame in frames {
                if frame.epoch < epoch {
                    continue;
                }
                epoch = frame.epoch;
                for (offset, (_, bytes)) in (frame.first_offset..).zip(frame.records) {
                    if offset < from || offset >= checkpoint.next_offset {
                        continue;
                    }
                    let at = At {
                        partition: parked.partition,
                        offset,
                    };
                    again |= again_in(families, stream, &mut tip, at, &bytes, again, &mut statements)?;
                }
            }
            from = next.max(from + 1);
        }
        self.store.apply(&[ViewBatch {
            partition: parked.partition,
            of: Of::Views,
            expected: checkpoint,
            next: checkpoint,
            statements,
        }])?;
        self.reload()?;
        Ok(!again)
    }
}

/// Reduces a record of the stream that is being unparked; says whether the stream is parked again.
fn again_in(
    families: Families,
    stream: &StreamId,
    tip: &mut Option<Tip>,
    at: At,
    bytes: &[u8],
    parked: bool,
    statements: &mut Vec<Statement>,
) -> Result<bool, ViewError> {
    let header = record::decode_header(bytes).map_err(quipu_events::port::ReadError::from)?;
    if header.stream != *stream {
        return Ok(parked);
    }
    let mut out = Statements::default();
    let reduced = record::decode(bytes).map_err(|e| e.to_string()).and_then(|record| {
        let fitting = follow(families, &BTreeSet::new(), *tip, &record, at)?;
        Ok((
            fitting,
            Tip {
                version: record.header.last_version(),
                hash: record.hash,
            },
        ))
    });
    match reduced {
        _ if parked => crate::parked::wait(&header, &mut out),
        Ok((mut fitting, next)) => {
            *tip = Some(next);
            statements.append(&mut fitting);
            return Ok(false);
        }
        Err(reason) => crate::parked::park(&header, at, &reason, &mut out),
    }
    statements.extend(out.into_inner());
    Ok(true)
}

/// Steps a projector until it has a batch, has caught up or has stopped.
fn batch_of(projector: &mut Projector, log: &dyn Log, store: &dyn ViewStore) -> Result<Action, ViewError> {
    let mut action = projector.step(Input::Poll);
    loop {
        let input = match action {
            Action::Read { partition, from_offset } => match log.read(partition, from_offset, VIEW_BATCH_MAX_BYTES) {
                Ok(frames) => Input::Frames(frames),
                Err(error) => Input::Unreadable(error),
            },
            Action::LoadTips(streams) => {
                let tips = store.tips(&streams)?;
                Input::Tips(streams.into_iter().zip(tips).collect())
            }
            Action::Commit(_) | Action::CaughtUp | Action::Stop(_) => return Ok(action),
        };
        action = projector.step(input);
    }
}

/// Brings `store` up to the end of `log` from wherever it is.
pub fn catch_up(log: &dyn Log, store: &Arc<dyn ViewStore>, progress: &Progress) -> Result<Round, ViewError> {
    Follower::new(log, store.clone())?.catch_up(log, progress)
}
