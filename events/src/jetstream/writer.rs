//! The writer of one partition: every append is a compare-and-set on the stream's last sequence.
//!
//! An append expects to be the message after `last`, so at most one message ever takes the place `last + 1`, and what is
//! there settles the append, whatever was or was not answered: ours, then it is stored; another's, then it never will
//! be; nothing yet, then the same message is sent again with the same expectation, so that it is stored once even if the
//! first one still arrives. A refusal by sequence (10071, or 10164 in a cluster) is one more reason to look, no verdict.

use super::{
    partition::{NoTail, Partition},
    wire::{Answer, Refusal, Silence},
};
use crate::pause::Pause;
use crate::{
    broker::{
        frames::{encode, mark, written},
        job::{Continues, Job, Standing, fenced, poisoned},
        marks::Mark,
    },
    frame::{Encoded, FrameError, FrameHeader},
    memory::claim_header,
    port::{AppendError, Appended, Batch, Head},
};
use bytes::Bytes;
use quipu_schemas::limits::BROKER_PAUSE_MS;
use std::{panic::AssertUnwindSafe, sync::Arc};
use tokio::{sync::mpsc, time::Instant};

pub(crate) struct Writer {
    partition: Arc<Partition>,
    standing: Standing,
}

/// How an append ended.
enum AppendEnd {
    /// It is in its place.
    Stored,
    /// Another message is there, so it never will be.
    Taken,
    /// It was never sent on: nothing is stored.
    Refused(AppendError),
    /// It may or may not be stored.
    Unknown(String),
}

/// Runs a partition's jobs in order until nobody can give it any more.
pub(crate) async fn run(partition: Arc<Partition>, mut jobs: mpsc::Receiver<Job>) {
    let mut writer = Writer {
        partition,
        standing: Standing::Stranger,
    };
    while let Some(job) = jobs.recv().await {
        // A callback that panics must not take the partition with it.
        match job {
            Job::Append(batch, done) => {
                let result = writer.append(&batch).await;
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| done(result)));
            }
            Job::Claim(owner, done) => {
                let result = writer.claim(&owner).await;
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| done(result)));
            }
        }
    }
}

fn invalid(error: FrameError) -> AppendError {
    AppendError::Invalid(error.to_string())
}

impl Writer {
    /// The end that a batch must continue.
    async fn end_for(&self, batch: &Batch) -> Result<Mark, AppendError> {
        let number = self.partition.number;
        match self.standing.continues(number, batch) {
            Continues::Behind(end) => Ok(end),
            Continues::Refused(error) => Err(error),
            Continues::AskTheLog => Err(match self.partition.tail().await {
                Ok(end) if batch.epoch < end.head.epoch => fenced(number, end.head.epoch),
                _ => poisoned(number, "this node does not own it"),
            }),
        }
    }

    async fn append(&mut self, batch: &Batch) -> Result<Appended, AppendError> {
        let end = self.end_for(batch).await?;
        let header = self.partition.frames.header(batch);
        let (bytes, encoded) = encode(&header, Some(batch)).map_err(invalid)?;
        let bytes = Bytes::from(bytes);
        match self.settle(&bytes, batch.batch_id, end.sequence).await {
            AppendEnd::Stored => {
                let end = self.advance(end.sequence + 1, &header, &encoded);
                let places = encoded.records.iter();
                Ok(Appended {
                    frame_hash: end.head.frame_hash,
                    places: places.map(|range| self.partition.frames.place(end.sequence, range)).collect(),
                })
            }
            AppendEnd::Taken => {
                // For good: only a claim makes this writer the owner again.
                self.standing = Standing::Stranger;
                Err(match self.partition.tail().await {
                    Ok(end) if end.head.epoch > batch.epoch => fenced(self.partition.number, end.head.epoch),
                    Ok(end) => AppendError::Conflict {
                        partition: self.partition.number,
                        expected: end.head.next_offset,
                    },
                    Err(NoTail::Damaged(e)) => poisoned(self.partition.number, &e.to_string()),
                    Err(NoTail::Silent(_)) => poisoned(self.partition.number, "another wrote where the frame should be"),
                })
            }
            AppendEnd::Refused(error) => Err(error),
            AppendEnd::Unknown(why) => {
                self.standing = Standing::Unsure(end.head, format!("an append of unknown outcome ({why})"));
                Err(AppendError::Unknown(why))
            }
        }
    }

    fn advance(&mut self, sequence: u64, header: &FrameHeader, encoded: &Encoded) -> Mark {
        let end = written(sequence, header, encoded);
        self.partition.marks().note(end);
        self.standing = Standing::Owner(end);
        end
    }

    async fn claim(&mut self, owner: &str) -> Result<Head, AppendError> {
        let deadline = Instant::now() + self.partition.outcome;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let end = match self.partition.tail().await {
                Ok(end) => end,
                Err(NoTail::Damaged(e)) => return Err(AppendError::Poisoned(e.to_string())),
                Err(NoTail::Silent(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(pause.next_wait()).await;
                    continue;
                }
                // Nothing was written; there is no name for that among the errors but this one.
                Err(NoTail::Silent(why)) => return Err(AppendError::Unknown(why.to_string())),
            };
            let mut header = claim_header(
                self.partition.frames.log_id,
                self.partition.frames.generation,
                self.partition.number,
                end.head,
                owner,
            );
            // Two processes of one address may claim at once: only chance tells their frames apart.
            getrandom::fill(&mut header.batch_id).map_err(|e| AppendError::Poisoned(format!("no randomness: {e}")))?;
            let (bytes, encoded) = encode(&header, None).map_err(invalid)?;
            let bytes = Bytes::from(bytes);
            match self.settle(&bytes, header.batch_id, end.sequence).await {
                AppendEnd::Stored => return Ok(self.advance(end.sequence + 1, &header, &encoded).head),
                AppendEnd::Taken if Instant::now() < deadline => {}
                AppendEnd::Taken => return Err(poisoned(self.partition.number, "others keep writing to it")),
                AppendEnd::Refused(error) => return Err(error),
                AppendEnd::Unknown(why) => {
                    self.standing = Standing::Unsure(end.head, format!("a claim of unknown outcome ({why})"));
                    return Err(AppendError::Unknown(why));
                }
            }
        }
    }

    /// Puts a message in the place after `last`, or learns that it cannot be there.
    async fn settle(&self, bytes: &Bytes, batch: [u8; 16], last: u64) -> AppendEnd {
        let (p, batch) = (&self.partition, hex::encode(batch));
        let deadline = Instant::now() + p.outcome;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        // An attempt that was not answered may still arrive, and then no later refusal means "nothing stored".
        let mut loose = false;
        loop {
            let mut why = match p.wire.publish(&p.place(), &batch, last, bytes.clone()).await {
                Ok(Answer::Said(sequence)) if sequence == last + 1 => return AppendEnd::Stored,
                Ok(Answer::Said(sequence)) => {
                    return AppendEnd::Unknown(format!("acknowledged as sequence {sequence}, not {}", last + 1));
                }
                Ok(Answer::Refused(refusal)) => match verdict(&refusal) {
                    Some(error) if !loose => return AppendEnd::Refused(error),
                    _ => refusal.to_string(),
                },
                Err(Silence::NoResponders) => Silence::NoResponders.to_string(),
                Err(silence) => {
                    loose = true;
                    silence.to_string()
                }
            };
            // Only a leader that says "nothing is there" lets the message be sent again.
            loop {
                let empty = match p.wire.at_leader(&p.place(), Some(last + 1)).await {
                    Ok(Some(found)) if found.payload == *bytes => return AppendEnd::Stored,
                    Ok(Some(found)) => {
                        if let Ok(frame) = p.frames.decode(&found.payload) {
                            p.marks().note(mark(found.sequence, &frame));
                        }
                        return AppendEnd::Taken;
                    }
                    Ok(None) => true,
                    Err(silence) => {
                        why = silence.to_string();
                        false
                    }
                };
                if Instant::now() >= deadline {
                    return AppendEnd::Unknown(why);
                }
                tokio::time::sleep(pause.next_wait()).await;
                if empty {
                    break;
                }
            }
        }
    }
}

/// What a refusal says for good, if nothing of the append is on its way.
fn verdict(refusal: &Refusal) -> Option<AppendError> {
    match refusal.err_code {
        // Resources of the account, of the server, of the store; limits of the stream.
        10002 | 10023 | 10028 | 10047 | 10122 => Some(AppendError::Full),
        10077 if refusal.description.contains("maximum") || refusal.description.contains("space") => Some(AppendError::Full),
        // Larger than the stream takes; a header that it does not; another stream on the subject.
        10054 | 10097 | 10060 => Some(AppendError::Invalid(refusal.to_string())),
        _ => None,
    }
}
