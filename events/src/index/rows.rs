//! What the index holds and gives.

use crate::port::Place;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::Durability,
    ids::{PrincipalId, StreamId},
    position::Position,
    reaction::ReactionKey,
};

/// The first decision of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstReceipt {
    /// Keyed digest of its body.
    pub digest: Digest,
    /// Sender.
    pub principal: PrincipalId,
    /// For whom.
    pub on_behalf_of: Option<PrincipalId>,
    /// The stream's version after its record.
    pub version: u64,
    /// Its record (index 0).
    pub position: Position,
    /// What its acknowledgement promised.
    pub durability: Durability,
    /// Whether its record has no events.
    pub unchanged: bool,
}

/// Where a record of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// Offset within the stream's partition.
    pub offset: u64,
    /// Version of its first event (of the stream's next one, where it has none).
    pub first_version: u64,
    /// The stream's version after it.
    pub last_version: u64,
    /// Where its bytes are.
    pub place: Place,
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHead {
    /// Version of the last event.
    pub version: u64,
    /// Hash of the last record.
    pub hash: Digest,
    /// Record time of the last record.
    pub time: Millis,
    /// Number of records.
    pub records: u64,
    /// The last record (index 0).
    pub position: Position,
}

/// A reaction that the relay carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PendingKind {
    /// A command for another entity.
    Dispatch = 0,
    /// An act on the world.
    Effect = 1,
    /// A command for another entity whose sender is told the answer.
    AwaitedDispatch = 2,
    /// A command for another entity whose sender is told if it comes to nothing.
    HeededDispatch = 3,
}

impl PendingKind {
    pub(crate) fn from_column(column: u8) -> Self {
        match column {
            0 => Self::Dispatch,
            2 => Self::AwaitedDispatch,
            3 => Self::HeededDispatch,
            _ => Self::Effect,
        }
    }
}

impl Pending {
    /// The cursor that goes on after this one.
    pub fn cursor(&self) -> PendingCursor {
        PendingCursor {
            offset: self.position.offset,
            version: self.key.version,
            ordinal: self.key.ordinal,
        }
    }
}

/// A stored reaction without a final settlement (or a dead one, where dead ones are asked for).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its key.
    pub key: ReactionKey,
    /// Dispatch or effect.
    pub kind: PendingKind,
    /// The record that holds it (index 0).
    pub position: Position,
    /// Where that record's bytes are.
    pub place: Place,
}

/// A place in the order of pending reactions of one partition; pass the last one seen to go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PendingCursor {
    /// Offset of the record.
    pub offset: u64,
    /// Version of the reaction's event.
    pub version: u64,
    /// The reaction's ordinal.
    pub ordinal: u32,
}

/// A timer that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// The `WakeAt` that set it.
    pub key: ReactionKey,
    /// Its name within the stream.
    pub name: String,
    /// When, by record time.
    pub due: Millis,
    /// The record that set it (index 0).
    pub position: Position,
}

/// A stream that takes no commands because a record of it does not fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The stream.
    pub stream: StreamId,
    /// The record (index 0).
    pub position: Position,
    /// Why.
    pub detail: String,
}

/// Sizes, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records indexed, tail included.
    pub records: u64,
    /// Streams in SQLite.
    pub streams: u64,
    /// Pending reactions in SQLite.
    pub pending: u64,
    /// Dead letters in SQLite.
    pub dead: u64,
    /// Timers in SQLite.
    pub wakes: u64,
    /// Parked streams.
    pub parked: u64,
    /// Entries that are not in SQLite yet.
    pub tail: u64,
}
