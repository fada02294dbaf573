//! One partition's writer: group commit. What queued during the last flush goes in the next frame; one frame is in
//! flight at a time.

use super::{entity::DecidedRecord, refusals::outcome_unknown};
use quipu_events::port::{AppendError, Appended, Batch, Head, Place};
use quipu_schemas::{
    digest::Digest,
    ids::StreamId,
    limits::{FRAME_MAX_BYTES, FRAME_MAX_RECORDS},
    position::Position,
    problem::Problem,
};
use std::collections::{BTreeMap, VecDeque};

/// Room for a frame's own fields and the length before each record.
const FRAME_OVERHEAD_BYTES: usize = 1024;
const RECORD_OVERHEAD_BYTES: usize = 8;

/// The writer of one partition.
pub struct Writer {
    partition: u16,
    epoch: u64,
    next_offset: u64,
    previous: Digest,
    queue: VecDeque<DecidedRecord>,
    in_flight: Vec<DecidedRecord>,
    /// Records queued or in flight, by stream: an entity is not recovered while it has any.
    pending: BTreeMap<StreamId, u32>,
    incarnation: Incarnation,
    /// What a command gets whose entity holds state that the last failed append cost it.
    lost: Problem,
    stopped: Option<Problem>,
    /// Admission is closed; what was admitted goes on.
    closing: Option<Problem>,
}

/// Under which owner, and after how many failed appends, an entity's state was folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation {
    /// Rises when the partition is claimed or abandoned: whatever was in memory before is worth nothing then.
    claims: u64,
    /// Rises with every failed append: only an entity that waited for one may hold state that was never stored.
    failures: u64,
}

/// A record that is now durable.
#[derive(Debug, Clone)]
pub struct Durable {
    /// The record.
    pub decided: DecidedRecord,
    /// Its position.
    pub position: Position,
    /// Its place in the log.
    pub place: Place,
}

/// What follows the end of an append.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Records that are durable now, in order.
    pub durable: Vec<Durable>,
    /// Records that failed; all their entities must be dropped and recovered.
    pub failed: Vec<(DecidedRecord, Problem)>,
    /// The next frame to append.
    pub next: Option<Batch>,
}

impl Writer {
    /// A writer that continues at `head`, which its owner has just claimed.
    pub fn new(partition: u16, head: Head) -> Self {
        Self {
            partition,
            epoch: head.epoch,
            next_offset: head.next_offset,
            previous: head.frame_hash,
            queue: VecDeque::new(),
            in_flight: Vec::new(),
            pending: BTreeMap::new(),
            incarnation: Incarnation::default(),
            lost: not_stored("an earlier append of this entity failed"),
            stopped: None,
            closing: None,
        }
    }

    /// A writer that takes nothing until it is resumed.
    pub fn idle(partition: u16, problem: Problem) -> Self {
        let head = Head {
            epoch: 0,
            next_offset: 0,
            frame_hash: Digest::ZERO,
        };
        Self {
            stopped: Some(problem),
            ..Self::new(partition, head)
        }
    }

    /// Goes on at `head`, which its owner has just claimed. Nothing may be queued or in flight.
    pub fn resume(&mut self, head: Head) {
        let incarnation = Incarnation {
            claims: self.incarnation.claims + 1,
            failures: self.incarnation.failures,
        };
        *self = Self {
            incarnation,
            ..Self::new(self.partition, head)
        };
    }

    /// Refuses new commands with this problem from now on; records of those that were admitted are still taken.
    pub fn close(&mut self, problem: Problem) {
        self.closing = Some(problem);
    }

    /// Takes nothing more, and forgets what is queued or in flight: its entities must be dropped. What was in flight may be
    /// stored all the same.
    pub fn abandon(&mut self, problem: Problem) {
        self.queue.clear();
        self.in_flight.clear();
        self.pending.clear();
        self.incarnation.claims += 1;
        self.stopped = Some(problem);
    }

    /// Why it takes nothing, from now on.
    pub fn refuse(&mut self, problem: Problem) {
        self.stopped = Some(problem);
    }

    /// The epoch under which it appends.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The end of what is durable, as far as this writer knows.
    pub fn head(&self) -> Head {
        Head {
            epoch: self.epoch,
            next_offset: self.next_offset,
            frame_hash: self.previous,
        }
    }

    /// Whether a frame is on its way.
    pub fn is_appending(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Why new commands are refused, if they are.
    pub fn refuses(&self) -> Option<&Problem> {
        self.stopped.as_ref().or(self.closing.as_ref())
    }

    /// What an entity that is recovered now belongs to. It rises with every failed append and with every change of the
    /// owner; an entity of an older one may hold state that was never stored.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The incarnation of an entity that waits for no record. A failed append costs it nothing, so it goes on under the
    /// current one; a change of the owner ends it all the same.
    pub fn renewed(&self, incarnation: Incarnation) -> Incarnation {
        if incarnation.claims == self.incarnation.claims {
            self.incarnation
        } else {
            incarnation
        }
    }

    /// Whether records of this stream are queued or in flight.
    pub fn is_pending(&self, stream: &StreamId) -> bool {
        self.pending.contains_key(stream)
    }

    /// Records waiting.
    pub fn depth(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    /// The next offset, in flight included.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Why the partition takes no more commands, if it stopped.
    pub fn stopped(&self) -> Option<&Problem> {
        self.stopped.as_ref()
    }

    /// Takes a record; `Ok(Some)` is a frame to append now. `Err` refuses it (its entity must be dropped).
    pub fn submit(&mut self, decided: DecidedRecord, incarnation: Incarnation, batch_id: [u8; 16]) -> Result<Option<Batch>, Problem> {
        if let Some(problem) = &self.stopped {
            return Err(problem.clone());
        }
        if incarnation != self.incarnation {
            return Err(self.lost.clone());
        }
        *self.pending.entry(decided.record.header.stream.clone()).or_default() += 1;
        self.queue.push_back(decided);
        Ok(self.next_batch(batch_id))
    }

    fn next_batch(&mut self, batch_id: [u8; 16]) -> Option<Batch> {
        if !self.in_flight.is_empty() || self.queue.is_empty() || self.stopped.is_some() {
            return None;
        }
        let mut bytes = FRAME_OVERHEAD_BYTES;
        while let Some(front) = self.queue.front() {
            let size = front.encoded.bytes.len() + RECORD_OVERHEAD_BYTES;
            if !self.in_flight.is_empty() && (bytes + size > FRAME_MAX_BYTES || self.in_flight.len() >= FRAME_MAX_RECORDS) {
                break;
            }
            bytes += size;
            self.in_flight.extend(self.queue.pop_front());
        }
        Some(Batch {
            partition: self.partition,
            epoch: self.epoch,
            batch_id,
            first_offset: self.next_offset,
            previous: self.previous,
            records: self.in_flight.iter().map(|d| d.encoded.clone()).collect(),
        })
    }

    fn forget(&mut self, decided: &DecidedRecord) {
        let stream = &decided.record.header.stream;
        if let Some(count) = self.pending.get_mut(stream) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(stream);
            }
        }
    }

    /// The frame in flight came to its end.
    pub fn appended(&mut self, result: Result<Appended, AppendError>, next_batch_id: [u8; 16]) -> Flushed {
        let mut flushed = Flushed::default();
        match result {
            Ok(appended) => {
                let records = std::mem::take(&mut self.in_flight);
                for (decided, place) in records.into_iter().zip(appended.places) {
                    self.forget(&decided);
                    let position = Position {
                        partition: self.partition,
                        offset: self.next_offset,
                        index: 0,
                    };
                    self.next_offset += 1;
                    flushed.durable.push(Durable { decided, position, place });
                }
                self.previous = appended.frame_hash;
                flushed.next = self.next_batch(next_batch_id);
            }
            Err(error) => {
                self.incarnation.failures += 1;
                let behind = match &error {
                    AppendError::Full => storage_full(),
                    _ => not_stored("an earlier append of this partition failed"),
                };
                let (in_flight, stop) = match &error {
                    AppendError::Full => (storage_full(), false),
                    AppendError::Invalid(detail) => (Problem::new(500, "append_refused", detail.clone()), false),
                    AppendError::Unknown(_) => (outcome_unknown(), true),
                    AppendError::Fenced { .. } | AppendError::Conflict { .. } | AppendError::Poisoned(_) => {
                        (not_stored(&error.to_string()), true)
                    }
                };
                if stop {
                    self.stopped = Some(stopped(self.partition, &error));
                }
                for decided in std::mem::take(&mut self.in_flight) {
                    self.forget(&decided);
                    flushed.failed.push((decided, in_flight.clone()));
                }
                for decided in std::mem::take(&mut self.queue) {
                    self.forget(&decided);
                    flushed.failed.push((decided, behind.clone()));
                }
                self.lost = behind;
            }
        }
        flushed
    }
}

/// What a partition answers that takes no commands.
pub fn stopped(partition: u16, error: &AppendError) -> Problem {
    Problem::new(
        503,
        "partition_stopped",
        format!("partition {partition} takes no commands: {error}"),
    )
    .fix("see /health; fix the cause, then restart the node")
    .retry_after(5)
}

/// What every command gets whose record met a full disk, or waited behind one that did.
fn storage_full() -> Problem {
    Problem::new(507, "storage_full", "no space left for the log")
        .fix("free space on the log's disk")
        .retry_after(5)
}

fn not_stored(detail: &str) -> Problem {
    Problem::new(503, "not_stored", format!("the command was not stored: {detail}"))
        .fix("send it again with the same id")
        .retry_after(1)
}

#[cfg(test)]
mod tests;
