//! What the index keeps of one record.

use crate::port::Place;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{CommandId, PrincipalId, StreamId},
    reaction::{Awaited, Reaction, Settlement},
    record::{self, Header, RecordError, StoredReaction},
};

/// A durable record, reduced to what lookups need.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexEntry {
    /// Its offset within the partition.
    pub offset: u64,
    /// Where its bytes are.
    pub place: Place,
    /// Its hash.
    pub hash: Digest,
    /// The stream.
    pub stream: StreamId,
    /// Version of its first event (of the stream's next one, where it has none).
    pub first_version: u64,
    /// Number of events.
    pub events: u32,
    /// The command.
    pub command_id: CommandId,
    /// Keyed digest of the command's body.
    pub digest: Digest,
    /// Sender.
    pub principal: PrincipalId,
    /// For whom.
    pub on_behalf_of: Option<PrincipalId>,
    /// Record time.
    pub time: Millis,
    /// What it says about a reaction.
    pub settlement: Option<Settlement>,
    /// What must follow it, in order, as far as the index keeps it (not `CancelEffect`: the record says it).
    pub reactions: Vec<IndexedReaction>,
    /// What its events named.
    pub names: Vec<String>,
}

/// A reaction without its content, which stays in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedReaction {
    /// Version of the event that caused it.
    pub version: u64,
    /// Its place among that event's reactions.
    pub ordinal: u32,
    /// What it asks of the index.
    pub kind: IndexedKind,
}

/// Kinds of reaction, as the index tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexedKind {
    /// Pending until its receiver settles it, and its sender has been told where it asked for that.
    Dispatch {
        /// What the sender wants to hear.
        awaited: Option<Awaited>,
    },
    /// Pending until its outcome is recorded.
    Effect,
    /// Sets or replaces a timer.
    WakeAt {
        /// Name within the stream.
        name: String,
        /// When, by record time.
        due: Millis,
    },
    /// Removes a timer.
    CancelWake {
        /// Name within the stream.
        name: String,
    },
}

/// A record that cannot be indexed whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// The header is unreadable: nobody knows whose record it is.
    #[error("header: {0}")]
    Header(RecordError),
    /// The header is sound and the rest is not: the stream must park.
    #[error("record of {}: {error}", entry.stream)]
    Body {
        /// The entry, without reactions.
        entry: Box<IndexEntry>,
        /// What is wrong.
        error: RecordError,
    },
}

impl IndexEntry {
    /// The entry of a record that was just made or decoded.
    pub fn new(offset: u64, place: Place, hash: Digest, header: &Header, reactions: &[StoredReaction]) -> Self {
        Self {
            offset,
            place,
            hash,
            stream: header.stream.clone(),
            first_version: header.first_version,
            events: header.events,
            command_id: header.command_id.clone(),
            digest: header.digest,
            principal: header.principal.clone(),
            on_behalf_of: header.on_behalf_of.clone(),
            time: header.time,
            settlement: header.settlement.clone(),
            reactions: reactions.iter().filter_map(IndexedReaction::of).collect(),
            names: header.names.clone(),
        }
    }

    /// Reads an entry from a record's bytes. The body is decoded (and the hash checked) only where the header
    /// announces reactions: a settlement stands in the header, under its checksum.
    pub fn read(offset: u64, place: Place, bytes: &[u8]) -> Result<Self, EntryError> {
        let header = record::decode_header(bytes).map_err(EntryError::Header)?;
        let hash = record::claimed_hash(bytes).map_err(EntryError::Header)?;
        if header.first_version == 0 {
            return Err(EntryError::Header(RecordError::Counts(header.stream.to_string())));
        }
        if header.reactions == 0 {
            return Ok(Self::new(offset, place, hash, &header, &[]));
        }
        match record::decode(bytes) {
            Ok(record) => Ok(Self::new(offset, place, hash, &record.header, &record.reactions)),
            Err(error) => Err(EntryError::Body {
                entry: Box::new(Self::new(offset, place, hash, &header, &[])),
                error,
            }),
        }
    }

    /// The stream's version after this record.
    pub fn last_version(&self) -> u64 {
        self.first_version + u64::from(self.events) - 1
    }
}

impl IndexedReaction {
    fn of(stored: &StoredReaction) -> Option<Self> {
        let kind = match &stored.reaction {
            Reaction::Dispatch(dispatch) => IndexedKind::Dispatch {
                awaited: dispatch.awaited.clone(),
            },
            Reaction::Perform(_) => IndexedKind::Effect,
            Reaction::WakeAt { name, due } => IndexedKind::WakeAt {
                name: name.clone(),
                due: *due,
            },
            Reaction::CancelWake { name } => IndexedKind::CancelWake { name: name.clone() },
            Reaction::CancelEffect { name: _ } => return None,
        };
        Some(Self {
            version: stored.version,
            ordinal: stored.ordinal,
            kind,
        })
    }

    /// Whether it waits for a settlement (timers wait for their time instead).
    pub(crate) fn pending_kind(&self) -> Option<super::PendingKind> {
        match &self.kind {
            IndexedKind::Dispatch { awaited: None } => Some(super::PendingKind::Dispatch),
            IndexedKind::Dispatch { awaited: Some(awaited) } if awaited.refusals_only => Some(super::PendingKind::HeededDispatch),
            IndexedKind::Dispatch { awaited: Some(_) } => Some(super::PendingKind::AwaitedDispatch),
            IndexedKind::Effect => Some(super::PendingKind::Effect),
            IndexedKind::WakeAt { .. } | IndexedKind::CancelWake { .. } => None,
        }
    }
}
