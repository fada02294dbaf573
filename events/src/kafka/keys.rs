//! Wrapped data keys on Kafka, for nodes that share a log: a topic of its own, in which the first key of a name counts.

use super::{
    open_error::OpenError,
    options::KafkaOptions,
    topics::{Kept, Topics},
    wire::{self, Ended, Fetch, NoMessages, Readers},
};
use crate::keyring::KeyStore;
use parking_lot::Mutex;
use quipu_schemas::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The keys of a log's subjects, wrapped under a master key that the brokers never see.
pub struct KafkaKeys {
    options: KafkaOptions,
    readers: Readers,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    /// First key of each name.
    keys: BTreeMap<String, String>,
    /// Sequence of the last message read.
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct Note {
    /// Digest of the name: names of people are no business of the brokers.
    name: String,
    wrapped: String,
}

fn digest(name: &str) -> String {
    hex::encode(Digest::of(&[b"quipu key name\0", name.as_bytes()]).0)
}

impl KafkaKeys {
    pub(super) fn open(options: &KafkaOptions) -> Result<Self, OpenError> {
        let readers = Readers::new(options, format!("{}.keys", options.prefix));
        {
            let topics = Topics::connect(options, &readers)?;
            let shape = match topics.find(&readers.topic)? {
                Some(shape) => shape,
                None => topics.make(&readers.topic, 1, Kept::ForEver)?,
            };
            topics.check(&readers.topic, &shape)?;
        }
        Ok(Self {
            options: options.clone(),
            readers,
            read: Mutex::default(),
        })
    }

    /// Reads to the end, then looks.
    fn look(&self, digest: &str) -> Result<Option<String>, String> {
        let mut read = self.read.lock();
        let (first, end) = self.readers.ends(0).map_err(|e| e.to_string())?;
        if first > 0 || end < read.sequence {
            return Err(format!("the topic {} lost keys: it runs from {first} to {end}", self.readers.topic));
        }
        if end > read.sequence {
            let from = read.sequence;
            let mut wrong = None;
            let ended = self.readers.messages(Fetch::Many, 0, from, |message| {
                match serde_json::from_slice::<Note>(message.payload) {
                    Ok(note) => {
                        read.keys.entry(note.name).or_insert(note.wrapped);
                        read.sequence = message.sequence;
                    }
                    Err(error) => wrong = Some(format!("message {} is not a key: {error}", message.sequence)),
                }
                wrong.is_none()
            });
            match (ended, wrong) {
                (Ok(Ended::AtTheEnd), None) => {}
                (_, Some(wrong)) => return Err(wrong),
                (Ok(Ended::Enough), None) => return Err("reading ended early".into()),
                (Err(NoMessages::Silent(silence)), None) => return Err(silence.to_string()),
                (Err(NoMessages::Damaged(detail)), None) => return Err(detail),
            }
        }
        Ok(read.keys.get(digest).cloned())
    }
}

impl KeyStore for KafkaKeys {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        self.look(&digest(name))
    }

    fn add(&self, name: &str, wrapped: &str) -> Result<bool, String> {
        let name = digest(name);
        if self.look(&name)?.is_some() {
            return Ok(false);
        }
        let note = serde_json::to_vec(&Note {
            name: name.clone(),
            wrapped: wrapped.to_owned(),
        })
        .map_err(|e| e.to_string())?;
        wire::store(&self.options, &self.readers.topic, &note, self.options.outcome).map_err(|e| e.to_string())?;
        // Another node's may have come before it.
        Ok(self.look(&name)?.as_deref() == Some(wrapped))
    }

    fn place(&self) -> String {
        format!("the topic {}", self.readers.topic)
    }
}
