//! What a log is, as the first message of its meta topic says.
//!
//! Whoever finds the topic empty proposes an identity; the broker's order decides between makers at once, because only the
//! first proposal counts and it is never deleted. Once the log's topic is made, that is noted too: a topic that is missing
//! from then on is a loss that is told, not made anew.

use super::{
    open_error::OpenError,
    options::KafkaOptions,
    wire::{self, Fetch, NoMessages, Readers},
};
use crate::pause::Pause;
use quipu_schemas::{limits::BROKER_PAUSE_MS, position::LogId};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const FORMAT: u32 = 1;

/// What a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) log_id: LogId,
    pub(crate) generation: u32,
    pub(crate) partitions: u16,
    /// Whether its topic was made.
    pub(crate) complete: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "quipu", rename_all = "lowercase")]
enum Note {
    Log {
        format: u32,
        log: String,
        generation: u32,
        partitions: u16,
    },
    Complete {
        log: String,
    },
}

/// The meta topic of a log.
pub(crate) struct Meta<'a> {
    pub(crate) options: &'a KafkaOptions,
    pub(crate) readers: Readers,
    pub(crate) deadline: Instant,
}

impl<'a> Meta<'a> {
    pub(crate) fn new(options: &'a KafkaOptions, deadline: Instant) -> Self {
        Self {
            options,
            readers: Readers::new(options, options.meta_topic()),
            deadline,
        }
    }

    fn refused(&self, detail: impl ToString) -> OpenError {
        OpenError::Topic {
            topic: self.readers.topic.clone(),
            detail: detail.to_string(),
        }
    }

    /// What the log is; proposed first if nothing is there.
    pub(crate) fn identity(&self) -> Result<Identity, OpenError> {
        if let Some(identity) = self.read()? {
            return Ok(identity);
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| std::io::Error::other(e.to_string()))?;
        self.note(&Note::Log {
            format: FORMAT,
            log: hex::encode(self.options.log_id.unwrap_or(LogId(id)).0),
            generation: self.options.generation,
            partitions: self.options.partitions,
        })?;
        self.read()?.ok_or_else(|| self.refused("it does not show what was written to it"))
    }

    /// Notes that the log's topic is made.
    pub(crate) fn complete(&self, identity: &Identity) -> Result<(), OpenError> {
        let log = hex::encode(identity.log_id.0);
        self.note(&Note::Complete { log })
    }

    fn read(&self) -> Result<Option<Identity>, OpenError> {
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let mut notes = Vec::new();
            let read = self.readers.ends(0).map_err(NoMessages::Silent).and_then(|(first, end)| {
                if first > 0 {
                    return Err(NoMessages::Damaged("its first message was deleted".into()));
                }
                if end > 0 {
                    self.readers.messages(Fetch::Few, 0, 0, |message| {
                        notes.push(message.payload.to_vec());
                        true
                    })?;
                }
                Ok(())
            });
            match read {
                Ok(()) => return self.understand(&notes),
                Err(NoMessages::Damaged(detail)) => return Err(self.refused(detail)),
                Err(NoMessages::Silent(silence)) if Instant::now() >= self.deadline => return Err(self.refused(silence)),
                Err(NoMessages::Silent(_)) => std::thread::sleep(pause.next_wait()),
            }
        }
    }

    fn understand(&self, notes: &[Vec<u8>]) -> Result<Option<Identity>, OpenError> {
        let mut identity: Option<Identity> = None;
        for note in notes {
            let note: Note = serde_json::from_slice(note).map_err(|e| self.refused(format!("it is not a log's: {e}")))?;
            match (note, &mut identity) {
                (Note::Log { format, .. }, None) if format != FORMAT => {
                    return Err(self.refused(format!("it is of format {format}, this release reads {FORMAT}")));
                }
                (
                    Note::Log {
                        log,
                        generation,
                        partitions,
                        ..
                    },
                    None,
                ) => {
                    let id = hex::decode(&log).ok().and_then(|id| id.try_into().ok());
                    identity = Some(Identity {
                        log_id: LogId(id.ok_or_else(|| self.refused(format!("not a log id: `{log}`")))?),
                        generation,
                        partitions,
                        complete: false,
                    });
                }
                (Note::Complete { log }, Some(identity)) => identity.complete |= hex::encode(identity.log_id.0) == log,
                // A proposal that came later.
                (Note::Log { .. }, Some(_)) => {}
                (Note::Complete { .. }, None) => return Err(self.refused("it does not begin with what the log is")),
            }
        }
        Ok(identity)
    }

    fn note(&self, note: &Note) -> Result<(), OpenError> {
        let patience = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let payload = serde_json::to_vec(note).map_err(|e| self.refused(e))?;
        wire::store(self.options, &self.readers.topic, &payload, patience).map_err(|e| self.refused(e))
    }
}
