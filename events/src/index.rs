//! The local index: one for all backends, derived from the log, thrown away whenever it is in doubt.
//!
//! Entries come in where a frame is durable ([`Index::note_durable`]) and are visible to every lookup at once:
//! they stand in a tail in memory until [`Index::flush`] moves them into SQLite. Lookups ask the tail first and
//! SQLite after; they run beside a flush. SQLite does not sync: the index survives the death of the process, is
//! discarded after an unclean boot of the machine, and is caught up behind the log at start
//! ([`Index::catch_up`]).
//!
//! What a rebuild from zero gives is what the live index held ([`Index::content_digest`]), in whichever order
//! partitions are read. Snapshots and parked streams are kept here too, outside of that promise.

mod catch_up;
mod content;
mod depth;
mod entry;
mod lookup;
mod mark;
mod named;
mod pages;
mod pending;
mod rows;
mod settlement;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod timers;
mod write;

use crate::port::{LogMeta, ReadError};
use parking_lot::{MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use quipu_schemas::{context::Millis, ids::StreamId, limits::INDEX_TAIL_RECORDS, position::Position};
pub use rows::{Counts, FirstReceipt, Parked, Pending, PendingCursor, PendingKind, RecordPlace, StreamHead, Wake};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

pub use catch_up::{CaughtUp, Each, Progress, Unreadable};
pub use depth::Depth;
pub use entry::{EntryError, IndexEntry, IndexedKind, IndexedReaction};
pub use lookup::command_mark;
pub use mark::boot_id;
pub use pages::{PageBefore, PageFrom, RecordKey};
pub use settlement::{Attempts, FailedAttempt, FinalState};
pub use timers::WakePlace;

/// Raised when tables or their meaning change: an index of another format is discarded and rebuilt.
pub(crate) const FORMAT: u32 = 1;
/// Entries that leave the tail under one lock.
const FORGET_AT_ONCE: usize = 128;
/// The latest time that SQLite can hold.
pub(crate) const LATEST: Millis = i64::MAX as u64;

/// Why an index operation failed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite refused.
    #[error("index: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A file of the index could not be read or written.
    #[error("index file {path}: {detail}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// The index contradicts itself; delete its directory, it is rebuilt from the log.
    #[error("index is damaged: {0}; it may be deleted, and is then rebuilt from the log")]
    Damaged(String),
    /// Entries do not continue the partition: something was never noted.
    #[error("index of partition {partition} expects offset {expected}, got {got}")]
    Gap {
        /// Partition.
        partition: u16,
        /// The offset that comes next.
        expected: u64,
        /// The offset that was given.
        got: u64,
    },
    /// It was closed: it takes nothing more in.
    #[error("index is closed")]
    Closed,
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What became of the index that was found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It goes on where it was.
    Kept,
    /// There was none.
    None,
    /// It was thrown away; catching up starts at zero.
    Discarded(String),
}

/// The index of one log. All methods take `&self` and may be called from any thread.
pub struct Index {
    meta: LogMeta,
    dir: Option<PathBuf>,
    boot: Option<String>,
    found: Found,
    store: store::Store,
    tail: RwLock<tail::Tail>,
    closed: AtomicBool,
}

impl Index {
    /// Opens `dir/index.db` for a log, discarding what is there if it belongs to another log, generation or
    /// format, or if the machine (boot `boot`, see [`boot_id`]) stopped before it was closed. Constant time.
    pub fn open(dir: &Path, meta: &LogMeta, boot: Option<String>) -> Result<Self, IndexError> {
        std::fs::create_dir_all(dir).map_err(mark::io(dir))?;
        let now = mark::Mark::of(meta, boot.clone(), false);
        let exists = store::files(dir)[0].exists();
        let mut found = match mark::Mark::read(dir) {
            None if exists => Found::Discarded("its mark is missing or unreadable".into()),
            None => Found::None,
            Some(_) if !exists => Found::None,
            Some(mark) => mark.distrust(&now).map_or(Found::Kept, Found::Discarded),
        };
        if found != Found::Kept {
            store::discard(dir)?;
        }
        // Durable before the first write to the file: a clean mark must never stand beside unsynced changes.
        now.write(dir)?;
        let opened = store::Store::open(dir).and_then(|store| Ok((store.indexed(meta.partitions)?, store)));
        let (indexed, store) = match opened {
            Ok(opened) => opened,
            Err(error) if found == Found::Kept => {
                found = Found::Discarded(error.to_string());
                store::discard(dir)?;
                let store = store::Store::open(dir)?;
                (store.indexed(meta.partitions)?, store)
            }
            Err(error) => return Err(error),
        };
        Ok(Self::with(meta, Some(dir.to_owned()), boot, found, store, &indexed))
    }

    /// An index that lives in memory only.
    pub fn in_memory(meta: &LogMeta) -> Result<Self, IndexError> {
        let store = store::Store::in_memory()?;
        let indexed = store.indexed(meta.partitions)?;
        Ok(Self::with(meta, None, None, Found::None, store, &indexed))
    }

    fn with(
        meta: &LogMeta,
        dir: Option<PathBuf>,
        boot: Option<String>,
        found: Found,
        store: store::Store,
        indexed: &[(u64, [u8; 32])],
    ) -> Self {
        let next: Vec<u64> = indexed.iter().map(|(next, _)| *next).collect();
        Self {
            meta: meta.clone(),
            dir,
            boot,
            found,
            store,
            tail: RwLock::new(tail::Tail::new(&next)),
            closed: AtomicBool::new(false),
        }
    }

    /// The first damage that a lookup or a flush met since the index was opened: what is asked of the damaged rows is refused,
    /// all else is served, and the next open makes the index anew from the log.
    pub fn damage(&self) -> Option<&str> {
        self.store.damage()
    }

    /// What became of the index that was on disk.
    pub fn found(&self) -> &Found {
        &self.found
    }

    fn writer(&self) -> Result<MutexGuard<'_, Connection>, IndexError> {
        let writer = self.store.writer();
        // Asked under the lock: a clean mark must never stand beside unsynced changes.
        if self.closed.load(Ordering::Acquire) {
            Err(IndexError::Closed)
        } else {
            Ok(writer)
        }
    }

    fn tail(&self) -> RwLockReadGuard<'_, tail::Tail> {
        self.tail.read()
    }

    fn tail_mut(&self) -> RwLockWriteGuard<'_, tail::Tail> {
        self.tail.write()
    }

    /// Takes in the records of a durable frame, in offset order; they are visible to lookups on return. Entries
    /// below the next offset were noted before and are passed over. Memory only: cheap.
    pub fn note_durable(&self, partition: u16, entries: Vec<IndexEntry>) -> Result<(), IndexError> {
        let mut tail = self.tail_mut();
        for entry in entries {
            let next = tail.partitions.get(usize::from(partition)).map(|tail| tail.next);
            let expected = next.ok_or_else(|| IndexError::Damaged(format!("the log has no partition {partition}")))?;
            if entry.offset > expected {
                return Err(IndexError::Gap {
                    partition,
                    expected,
                    got: entry.offset,
                });
            }
            if entry.offset == expected {
                tail.push(partition, entry);
            }
        }
        Ok(())
    }

    /// Moves about `max` of the oldest entries into SQLite, in one transaction; returns how many. Runs beside
    /// lookups and [`Index::note_durable`]. On an error the entries stay in the tail.
    ///
    /// Due when [`Index::tail_len`] passes `INDEX_TAIL_RECORDS` or `INDEX_FLUSH_MS` have gone by; more often costs
    /// more in all.
    pub fn flush(&self, max: usize) -> Result<usize, IndexError> {
        let mut writer = self.writer()?;
        let flush = self.tail().oldest(max);
        let count = flush.iter().map(|(_, entries)| entries.len()).sum();
        if count == 0 {
            return Ok(0);
        }
        let mut write = || {
            let tx = writer.transaction()?;
            write::apply(&tx, &flush)?;
            tx.commit()
        };
        write().map_err(|e| self.store.met(e))?;
        // Only now: a lookup that misses the tail must find the rows. In steps, since whoever notes a durable record waits.
        for (partition, entries) in &flush {
            for step in entries.chunks(FORGET_AT_ONCE) {
                self.tail_mut().forget(*partition, step);
            }
        }
        Ok(count)
    }

    /// Flushes until the tail is empty.
    pub fn flush_all(&self) -> Result<(), IndexError> {
        while self.flush(INDEX_TAIL_RECORDS)? > 0 {}
        Ok(())
    }

    /// Entries that are not in SQLite yet.
    pub fn tail_len(&self) -> usize {
        self.tail().len
    }

    /// The next offset of a partition that the index has not seen.
    pub fn next_offset(&self, partition: u16) -> u64 {
        self.tail().partitions.get(usize::from(partition)).map_or(0, |tail| tail.next)
    }

    /// Flushes, syncs and marks the index as sound, so that it outlives a reboot of the machine. Dropping an
    /// index without this is what a killed process does: the same boot keeps it, another discards it. Lookups
    /// still work afterwards; whatever would write is refused with [`IndexError::Closed`].
    pub fn close(&self) -> Result<(), IndexError> {
        self.flush_all()?;
        let writer = self.writer()?;
        self.closed.store(true, Ordering::Release);
        self.store.settle(&writer)?;
        let Some(dir) = &self.dir else { return Ok(()) };
        // A damaged one lost its mark when that was seen; the next open makes it anew.
        if self.damage().is_some() {
            return Ok(());
        }
        mark::sync_dir(dir)?;
        mark::Mark::of(&self.meta, self.boot.clone(), true).write(dir)
    }

    fn position(&self, stream: &StreamId, offset: u64) -> Position {
        Position {
            partition: stream.partition(self.meta.partitions),
            offset,
            index: 0,
        }
    }
}
