//! The writer of one partition: every append is a transaction of one message by the partition's only producer.
//!
//! A claim begins a producer, which fences every earlier one, reads to the end, and stores a claim frame: from then on
//! nobody else's transaction can commit, so that the end that this writer knows is the end. An append is acknowledged when
//! its transaction is decided and visible to every reader, which is also when its marker is in the same file as it.

use super::{
    options::KafkaOptions,
    partition::{NoTail, Partition},
    producer::{Failure, Producer},
};
use crate::pause::Pause;
use crate::{
    broker::{
        frames::{encode, written},
        job::{Continues, Job, Standing, fenced, poisoned},
        marks::Mark,
    },
    frame::{Encoded, FrameHeader},
    memory::claim_header,
    port::{AppendError, Appended, Batch, Head},
};
use quipu_schemas::limits::BROKER_PAUSE_MS;
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, mpsc::Receiver},
    time::Instant,
};

pub(crate) struct Writer {
    pub(crate) partition: Arc<Partition>,
    pub(crate) options: Arc<KafkaOptions>,
    /// The partition's `transactional.id`.
    pub(crate) id: String,
    pub(crate) standing: Standing,
    /// None before the first claim and after anything that is not known.
    pub(crate) producer: Option<Producer>,
}

/// How a frame ended.
enum FrameEnd {
    /// It is stored, at this sequence.
    Stored(u64),
    /// It is stored, and another has begun since.
    StoredAndFenced(u64),
    /// Another has begun: nothing is stored.
    Fenced(String),
    /// Nothing is stored.
    Refused(AppendError),
    /// It may or may not be stored.
    Unknown(String),
}

impl Writer {
    /// Runs the partition's jobs in order until nobody can give it any more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            // A callback that panics must not take the partition with it.
            match job {
                Job::Append(batch, done) => {
                    let result = self.append(&batch);
                    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| done(result)));
                }
                Job::Claim(owner, done) => {
                    let result = self.claim(&owner);
                    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| done(result)));
                }
            }
        }
    }

    fn number(&self) -> u16 {
        self.partition.number
    }

    /// The end that a batch must continue.
    fn end_for(&self, batch: &Batch) -> Result<Mark, AppendError> {
        match self.standing.continues(self.number(), batch) {
            Continues::Behind(end) => Ok(end),
            Continues::Refused(error) => Err(error),
            Continues::AskTheLog => Err(self.not_ours(batch.epoch, "this node does not own it")),
        }
    }

    /// Why a partition that this writer does not own refuses it.
    fn not_ours(&self, epoch: u64, why: &str) -> AppendError {
        match self.partition.tail() {
            Ok(end) if epoch < end.head.epoch => fenced(self.number(), end.head.epoch),
            Err(NoTail::Damaged(e)) => poisoned(self.number(), &e.to_string()),
            _ => poisoned(self.number(), why),
        }
    }

    fn append(&mut self, batch: &Batch) -> Result<Appended, AppendError> {
        let end = self.end_for(batch)?;
        let header = self.partition.frames.header(batch);
        let (bytes, encoded) = encode(&header, Some(batch)).map_err(|e| AppendError::Invalid(e.to_string()))?;
        let deadline = Instant::now() + self.options.outcome;
        let sequence = match self.settle(&bytes, &end, deadline) {
            FrameEnd::Stored(sequence) => {
                self.standing = Standing::Owner(self.note(sequence, &header, &encoded));
                sequence
            }
            FrameEnd::StoredAndFenced(sequence) => {
                self.note(sequence, &header, &encoded);
                self.standing = Standing::Stranger;
                sequence
            }
            FrameEnd::Fenced(why) => {
                // For good: only a claim makes this writer the owner again.
                self.standing = Standing::Stranger;
                return Err(self.not_ours(batch.epoch, &why));
            }
            FrameEnd::Refused(error) => return Err(error),
            FrameEnd::Unknown(why) => {
                self.standing = Standing::Unsure(end.head, format!("an append of unknown outcome ({why})"));
                return Err(AppendError::Unknown(why));
            }
        };
        let places = encoded.records.iter();
        Ok(Appended {
            frame_hash: encoded.hash,
            places: places.map(|range| self.partition.frames.place(sequence, range)).collect(),
        })
    }

    fn note(&mut self, sequence: u64, header: &FrameHeader, encoded: &Encoded) -> Mark {
        let end = written(sequence, header, encoded);
        self.partition.known().marks.note(end);
        end
    }

    fn claim(&mut self, owner: &str) -> Result<Head, AppendError> {
        let deadline = Instant::now() + self.options.outcome;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            match self.try_claim(owner, deadline) {
                Err(Again::After(_)) if Instant::now() < deadline => std::thread::sleep(pause.next_wait()),
                // The last try wrote nothing, or nobody knows whether it did: its epoch is no one's then.
                Err(Again::After(why)) => return Err(AppendError::Unknown(why)),
                Err(Again::Never(error)) => return Err(error),
                Ok(head) => return Ok(head),
            }
        }
    }

    fn try_claim(&mut self, owner: &str, deadline: Instant) -> Result<Head, Again> {
        if self.producer.is_none() {
            let begun = Producer::begin(&self.options, &self.id, self.number(), deadline);
            self.producer = Some(begun.map_err(|e| Again::After(e.why().to_owned()))?);
        }
        // Read only now: whoever wrote before has been fenced, and what it wrote is decided.
        let end = match self.partition.tail_read_again() {
            Ok(end) => end,
            Err(NoTail::Damaged(e)) => return Err(Again::Never(AppendError::Poisoned(e.to_string()))),
            Err(NoTail::Silent(why)) => return Err(Again::After(why.to_string())),
        };
        let frames = self.partition.frames;
        let mut header = claim_header(frames.log_id, frames.generation, frames.partition, end.head, owner);
        // Two processes of one address may claim at once: only chance tells their frames apart.
        getrandom::fill(&mut header.batch_id).map_err(|e| Again::Never(AppendError::Poisoned(format!("no randomness: {e}"))))?;
        let (bytes, encoded) = encode(&header, None).map_err(|e| Again::Never(AppendError::Invalid(e.to_string())))?;
        match self.settle(&bytes, &end, deadline) {
            FrameEnd::Stored(sequence) => {
                let end = self.note(sequence, &header, &encoded);
                self.standing = Standing::Owner(end);
                Ok(end.head)
            }
            FrameEnd::StoredAndFenced(sequence) => {
                self.note(sequence, &header, &encoded);
                self.standing = Standing::Stranger;
                Err(Again::After("another claimed it at once".into()))
            }
            FrameEnd::Fenced(why) => {
                self.standing = Standing::Stranger;
                Err(Again::After(why))
            }
            FrameEnd::Refused(error) => Err(Again::Never(error)),
            FrameEnd::Unknown(why) => {
                // It may be stored. The next claim fences this one's producer and reads the end again, so its epoch is later.
                self.standing = Standing::Unsure(end.head, format!("a claim of unknown outcome ({why})"));
                Err(Again::After(why))
            }
        }
    }

    /// Stores a message behind `end` in a transaction of its own, or learns that it is not stored.
    fn settle(&mut self, bytes: &[u8], end: &Mark, deadline: Instant) -> FrameEnd {
        let Some(mut producer) = self.producer.take() else {
            return FrameEnd::Refused(poisoned(self.number(), "it has no producer"));
        };
        let settled = self.transact(&mut producer, bytes, end, deadline);
        // A producer of which anything is not known is never used again: its successor fences whatever it left behind.
        if matches!(
            settled,
            FrameEnd::Stored(_) | FrameEnd::Refused(AppendError::Invalid(_) | AppendError::Full)
        ) {
            self.producer = Some(producer);
        }
        settled
    }

    fn transact(&self, producer: &mut Producer, bytes: &[u8], end: &Mark, deadline: Instant) -> FrameEnd {
        let sequence = match producer.send(bytes, deadline) {
            Ok(offset) => offset + 1,
            Err(failure) => {
                // Nothing was asked to commit, so nothing is stored, whatever the brokers have.
                let aborted = !matches!(failure, Failure::Fenced(_) | Failure::Silent(_)) && producer.abort(deadline);
                return match failure {
                    Failure::Fenced(why) => FrameEnd::Fenced(why),
                    Failure::Refused(why) if aborted => FrameEnd::Refused(AppendError::Invalid(why)),
                    Failure::Full(_) if aborted => FrameEnd::Refused(AppendError::Full),
                    other => FrameEnd::Unknown(other.why().to_owned()),
                };
            }
        };
        if let Err(why) = self.follows(producer, sequence, end, deadline) {
            return if producer.abort(deadline) {
                FrameEnd::Unknown(why)
            } else {
                FrameEnd::Unknown(format!("{why}; and it could not be taken back"))
            };
        }
        match producer.commit(deadline) {
            Ok(()) => self.visible(producer, sequence, deadline),
            // The commit may have been asked for before: what is there settles it, once it is decided.
            Err(Failure::Fenced(why)) => match self.partition.holds(sequence, bytes, deadline) {
                Some(true) => FrameEnd::StoredAndFenced(sequence),
                Some(false) => FrameEnd::Fenced(why),
                None => FrameEnd::Unknown(why),
            },
            Err(other) => FrameEnd::Unknown(other.why().to_owned()),
        }
    }

    /// Whether the message that was sent lies directly behind the end that its frame continues. A leader that was deposed
    /// may have told an old end, a foreign hand may have written; a broker that forgot gives an offset that it gave before.
    fn follows(&self, producer: &Producer, sequence: u64, end: &Mark, deadline: Instant) -> Result<(), String> {
        if sequence <= end.sequence {
            return Err(format!(
                "the topic gave offset {} again: frames that were acknowledged are gone",
                sequence - 1
            ));
        }
        // Between two frames is at most the marker of the first, unless something else was written.
        let marker = u64::from(end.sequence > 0);
        if sequence <= end.sequence + 1 + marker {
            return Ok(());
        }
        // Everything before an open transaction is decided once the end has come to it.
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        while producer.ends(self.options.request).is_ok_and(|(_, end)| end + 1 < sequence) {
            if Instant::now() >= deadline {
                return Err("the end of the partition is not told".into());
            }
            std::thread::sleep(pause.next_wait());
        }
        match self.partition.tail() {
            Ok(now) if now == *end => Ok(()),
            Ok(_) => Err("another frame is there that was not told before".into()),
            Err(e) => Err(e.read_error().to_string()),
        }
    }

    /// Waits until every reader sees the message. The commit is decided before that, but not yet everywhere.
    fn visible(&self, producer: &Producer, sequence: u64, deadline: Instant) -> FrameEnd {
        loop {
            match producer.ends(self.options.request) {
                Ok((_, end)) if end >= sequence => return FrameEnd::Stored(sequence),
                Ok(_) if Instant::now() < deadline => std::thread::yield_now(),
                Err(_) if Instant::now() < deadline => {}
                Ok((_, end)) => return FrameEnd::Unknown(format!("committed at offset {}, but readers see {end} only", sequence - 1)),
                Err(e) => return FrameEnd::Unknown(e.to_string()),
            }
        }
    }
}

/// Why a claim is not made yet.
enum Again {
    After(String),
    Never(AppendError),
}
