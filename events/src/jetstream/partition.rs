//! One partition's stream: its frames, checked, and its end.

use super::wire::{Answer, Place, Silence, Stored, Wire};
use crate::pause::Pause;
use crate::{
    broker::{
        frames::{Frames, mark},
        marks::{Mark, Marks, START, Stop},
    },
    frame::Decoded,
    port::ReadError,
};
use parking_lot::{Mutex, MutexGuard};
use quipu_schemas::limits::BROKER_PAUSE_MS;
use serde::Deserialize;
use serde_json::json;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A partition of an open log.
pub(crate) struct Partition {
    pub(crate) wire: Arc<Wire>,
    pub(crate) frames: Frames,
    pub(crate) number: u16,
    pub(crate) stream: String,
    pub(crate) subject: String,
    /// How long an outcome is looked for.
    pub(crate) outcome: Duration,
    pub(crate) marks: Mutex<Marks>,
}

/// Why the end of a partition is not known.
#[derive(Debug)]
pub(crate) enum NoTail {
    Silent(Silence),
    Damaged(ReadError),
}

impl Partition {
    /// The subjects of all partitions of the log.
    pub(crate) fn family(&self) -> String {
        self.subject
            .rsplit_once('.')
            .map_or_else(|| self.subject.clone(), |(log, _)| format!("{log}.*"))
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            stream: &self.stream,
            subject: &self.subject,
        }
    }

    /// Asks until somebody answers: while a stream has no leader nobody does. To read twice does no harm. At most as long as one
    /// request is waited for.
    pub(crate) async fn asked<T, F: Future<Output = Result<T, Silence>>>(&self, ask: impl Fn() -> F) -> Result<T, Silence> {
        let deadline = Instant::now() + self.wire.timeout;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            match ask().await {
                Err(Silence::NoResponders) if Instant::now() < deadline => tokio::time::sleep(pause.next_wait()).await,
                answer => return answer,
            }
        }
    }

    pub(crate) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock()
    }

    pub(crate) fn damaged(&self, stop: &Stop) -> ReadError {
        ReadError::Damaged {
            partition: self.number,
            offset: stop.offset,
            at: format!("{} sequence {}", self.stream, stop.sequence),
            detail: stop.detail.clone(),
        }
    }

    /// Decodes the message that follows a mark.
    pub(crate) fn decode_after(&self, before: &Mark, message: &Stored) -> Result<(Decoded, Mark), String> {
        if message.sequence != before.sequence + 1 {
            return Err(format!(
                "the stream has no message {}, but has {}",
                before.sequence + 1,
                message.sequence
            ));
        }
        let frame = self.frames.decode_after(&before.head, &message.payload)?;
        let mark = mark(message.sequence, &frame);
        Ok((frame, mark))
    }

    /// As [`Wire::at_leader`], once there is a leader.
    pub(crate) async fn leader_has(&self, sequence: Option<u64>) -> Result<Option<Stored>, Silence> {
        let place = self.place();
        self.asked(|| self.wire.at_leader(&place, sequence)).await
    }

    /// The last message of the stream, as its leader knows it.
    pub(crate) async fn tail(&self) -> Result<Mark, NoTail> {
        let deadline = Instant::now() + self.outcome;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let known = self.marks().last();
            let found = match self.leader_has(None).await.map_err(NoTail::Silent)? {
                Some(message) => match self.frames.decode(&message.payload) {
                    Ok(frame) => mark(message.sequence, &frame),
                    Err(detail) => {
                        return Err(NoTail::Damaged(self.damaged(&Stop {
                            sequence: message.sequence,
                            offset: known.head.next_offset,
                            detail,
                        })));
                    }
                },
                None => START,
            };
            if found.sequence > known.sequence {
                self.marks().note(found);
                return Ok(found);
            }
            if found == known && (found.sequence > 0 || self.never_written().await.map_err(NoTail::Silent)?) {
                return Ok(found);
            }
            // A deposed leader may be behind for a moment; a stream that stays behind has lost what was acknowledged.
            if Instant::now() >= deadline {
                let detail = if found.sequence == known.sequence {
                    "the message here is not the one that was written".into()
                } else {
                    format!(
                        "the stream ends at sequence {}: messages that were acknowledged are gone",
                        found.sequence
                    )
                };
                return Err(NoTail::Damaged(self.damaged(&Stop {
                    sequence: known.sequence,
                    offset: found.head.next_offset,
                    detail,
                })));
            }
            tokio::time::sleep(pause.next_wait()).await;
        }
    }

    /// Whether an empty stream is a new one, not an emptied one.
    async fn never_written(&self) -> Result<bool, Silence> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            last_seq: u64,
        }
        match self.wire.ask::<Info>(&format!("STREAM.INFO.{}", self.stream), &json!({})).await? {
            Answer::Said(info) => Ok(info.state.last_seq == 0),
            Answer::Refused(refusal) => Err(Silence::Lost(refusal.to_string())),
        }
    }
}
