//! The log port: what every backend promises, in numbered sentences; the contract suite has a test for each.
//!
//! 1. A partition is a sequence of frames. Record offsets are contiguous from 0, given by the owner before the
//!    append and stored inside the frame; empty (claim) frames take no offset.
//! 2. [`Log::claim`] raises the partition's epoch by appending an empty claim frame naming the owner; every later
//!    append under a lower epoch is refused with [`AppendError::Fenced`] and stores nothing.
//! 3. An append whose first offset, previous frame hash or epoch does not continue the partition is refused with
//!    [`AppendError::Conflict`] and stores nothing.
//! 4. A frame is stored whole or not at all, and [`Log::append`] reports success only when it is durable to the
//!    class that [`LogMeta::durability`] names.
//! 5. Appends to one partition complete in the order in which they were submitted; the caller keeps one in flight.
//! 6. [`AppendError::Unknown`] means that the frame may or may not be stored; reading tells
//!    (by batch id), and the backend refuses further appends to the partition until it is claimed again.
//! 7. [`Log::read`] returns whole frames in order, from the one that holds the given offset, and never skips: at
//!    damage it returns the frames before it, and the next read at that place fails with [`ReadError::Damaged`].
//!    A claim frame is returned together with the frame of records that follows it, and not before there is one.
//! 8. What was read once is read again, byte for byte, for as long as the log lives.
//! 9. [`Log::read_at`] returns the record at a [`Place`] that an append or a read gave, checked against its CRC and hash.
//! 10. [`Log::head`] is the next offset and the last frame hash of what is durable.

use quipu_schemas::{
    digest::Digest,
    envelope::Durability,
    position::LogId,
    record::{EncodedRecord, RecordError},
};
use std::sync::Arc;

/// What a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMeta {
    /// Its identity.
    pub log_id: LogId,
    /// Raised by each restore from a backup.
    pub generation: u32,
    /// Number of partitions, fixed when the log is made.
    pub partitions: u16,
    /// What an acknowledged append promises.
    pub durability: Durability,
    /// `embedded`, `memory`…
    pub backend: &'static str,
}

/// Where a record is inside its backend; opaque, kept by the index, valid for the life of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Place {
    /// Segment, stream sequence, broker offset…
    pub unit: u64,
    /// Byte or record index within the unit.
    pub at: u32,
    /// Bytes of the record.
    pub len: u32,
}

/// The durable end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Current epoch.
    pub epoch: u64,
    /// Next record offset.
    pub next_offset: u64,
    /// Hash of the last frame ([`Digest::ZERO`] before the first).
    pub frame_hash: Digest,
}

/// A frame to append.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Partition.
    pub partition: u16,
    /// The owner's epoch.
    pub epoch: u64,
    /// Tells this append from every other, for reading back an unknown outcome.
    pub batch_id: [u8; 16],
    /// Offset of the first record.
    pub first_offset: u64,
    /// Hash of the partition's previous frame.
    pub previous: Digest,
    /// One record or more, at most `FRAME_MAX_RECORDS` and `FRAME_MAX_BYTES`.
    pub records: Vec<Arc<EncodedRecord>>,
}

/// A durable append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The frame's hash.
    pub frame_hash: Digest,
    /// Where each record is.
    pub places: Vec<Place>,
}

/// A frame as read.
#[derive(Debug, Clone)]
pub struct FrameRead {
    /// Generation it was written in.
    pub generation: u32,
    /// Partition.
    pub partition: u16,
    /// Epoch of its owner.
    pub epoch: u64,
    /// Batch id.
    pub batch_id: [u8; 16],
    /// Offset of the first record.
    pub first_offset: u64,
    /// Hash of the previous frame.
    pub previous: Digest,
    /// Its hash.
    pub hash: Digest,
    /// Owner's address, in a claim frame.
    pub owner: Option<String>,
    /// Record bytes, in offset order, with their places. Record hashes are not checked here.
    pub records: Vec<(Place, Vec<u8>)>,
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another owner has a higher epoch; nothing was stored.
    #[error("partition {partition} has a newer owner (epoch {epoch})")]
    Fenced {
        /// Partition.
        partition: u16,
        /// Its epoch.
        epoch: u64,
    },
    /// The frame does not continue the partition; nothing was stored.
    #[error("frame does not continue partition {partition}: expected offset {expected}")]
    Conflict {
        /// Partition.
        partition: u16,
        /// The offset that would continue it.
        expected: u64,
    },
    /// The disk is full; nothing was stored.
    #[error("no space left for the log")]
    Full,
    /// The frame breaks a limit; nothing was stored.
    #[error("frame refused: {0}")]
    Invalid(String),
    /// The frame may or may not be stored.
    #[error("append outcome unknown: {0}")]
    Unknown(String),
    /// An earlier failure poisoned the writer; nothing was stored.
    #[error("log writer is poisoned by an earlier failure: {0}")]
    Poisoned(String),
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The partition is damaged here.
    #[error("partition {partition} is damaged at offset {offset} ({at}): {detail}")]
    Damaged {
        /// Partition.
        partition: u16,
        /// Record offset where reading stops.
        offset: u64,
        /// File and byte, or the broker's place.
        at: String,
        /// What is wrong.
        detail: String,
    },
    /// A record at a place is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The storage failed.
    #[error("log storage: {0}")]
    Io(String),
}

/// Called once when an append is settled; must not block.
pub type AppendDone = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// Hears which partition may have grown; must not block.
pub type Moved = Box<dyn Fn(u16) + Send + Sync>;

/// A log: see the module's documentation for what it promises.
pub trait Log: Send + Sync {
    /// What it is.
    fn meta(&self) -> LogMeta;
    /// Becomes the partition's owner under a new epoch. Blocks until durable.
    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError>;
    /// Appends a frame; `done` runs when it is durable or refused, on any thread.
    fn append(&self, batch: Batch, done: AppendDone);
    /// Frames from the one holding `from_offset` on, about `max_bytes` of them but at least one if there is any.
    /// Empty: caught up with the durable end.
    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError>;
    /// The records at these places, in that order.
    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError>;
    /// The durable end of a partition.
    fn head(&self, partition: u16) -> Result<Head, ReadError>;
    /// Damage of a partition that a read has met. Cheap: a log whose end is another machine's to tell says what it knows, and asks
    /// nobody.
    fn damage(&self, partition: u16) -> Option<ReadError> {
        self.head(partition)
            .err()
            .filter(|error| matches!(error, ReadError::Damaged { .. }))
    }
    /// Tells, from now on, of partitions that may have grown by another process's appends. A hint: some are told in vain, and
    /// some not at all, so whoever follows also looks now and then.
    fn follow(&self, _moved: Moved) {}
    /// What keeps the log from taking appends at the moment, for people; `None` if nothing is known to. Cheap.
    fn trouble(&self) -> Option<String> {
        None
    }
}
