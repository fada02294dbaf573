//! What a node knows of a partition.

use crate::{
    kernel::writer::Writer,
    mailbox::{PartitionMsg, RelayMsg},
};
use parking_lot::Mutex;
use ractor::ActorRef;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Partition {
    pub(crate) writer: Mutex<Writer>,
    pub(crate) relay: Mutex<Option<ActorRef<RelayMsg>>>,
    /// The actor that holds its ownership, and under which its entities live.
    pub(crate) supervisor: Mutex<Option<ActorRef<PartitionMsg>>>,
    pub(crate) restarts: AtomicU64,
    /// Until when an answer that appends nothing may be given, by `Core::monotonic`; 0: not at all.
    pub(crate) refuses_until: AtomicU64,
    /// An append of unknown outcome and its first offset, to be looked up behind the next claim.
    pub(crate) unknown: Mutex<Option<([u8; 16], u64)>>,
    /// Held by whoever reads the partition on into the index.
    pub(crate) reading: Mutex<()>,
    /// When this node last asked for the end and then had it, by `Core::monotonic`; of a partition that it does not own.
    pub(crate) followed: AtomicU64,
    /// Since when a frame is on its way to the log, by `Core::monotonic`; 0: none is.
    appending_since: AtomicU64,
}

impl Partition {
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            writer: Mutex::new(writer),
            relay: Mutex::new(None),
            supervisor: Mutex::new(None),
            restarts: AtomicU64::new(0),
            refuses_until: AtomicU64::new(0),
            unknown: Mutex::new(None),
            reading: Mutex::new(()),
            followed: AtomicU64::new(0),
            appending_since: AtomicU64::new(0),
        }
    }

    /// Notes that a frame is on its way to the log since then, or that none is.
    pub(crate) fn appending_since(&self, since: Option<u64>) {
        self.appending_since.store(since.unwrap_or(0), Ordering::Release);
    }

    /// How long the frame in flight has been on its way, in milliseconds.
    pub(crate) fn appending_for(&self, now: u64) -> u64 {
        match self.appending_since.load(Ordering::Acquire) {
            0 => 0,
            since => now.saturating_sub(since),
        }
    }

    /// Notes an append of unknown outcome and its first offset.
    pub(crate) fn lost_sight_of(&self, batch: [u8; 16], first_offset: u64) {
        *self.unknown.lock() = Some((batch, first_offset));
    }
}
