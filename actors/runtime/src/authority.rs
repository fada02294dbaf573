//! What this node knows of whoever may what, in memory: read just before each decision (`facts.rs`), and kept up by what becomes
//! durable and by what is followed.

use crate::kernel::authorities::{Authorities, Wanted, folded::Folded};
use parking_lot::Mutex;
use quipu_rules::rights::Charter;
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, StreamId},
    limits::{AUTHORITY_ORGS_MAX, AUTHORITY_PARTS_MAX, PRINCIPALS_KNOWN_MAX, PRINCIPALS_UNKNOWN_MAX},
    record::Record,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What is known of the orgs of one partition. All that decides about rights in an org lies in one.
struct Part {
    known: Mutex<Authorities>,
    /// Rises when the partition was read further and what was found there may not all have come here.
    read: AtomicU64,
}

/// Filled on first use and kept up by durable records: never stale on the node that owns them.
pub(crate) struct AuthorityView(Vec<Part>);

/// An answer to [`AuthorityView::keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is known now.
    Here,
    /// It does not exist, and is not remembered as that.
    Nowhere,
    /// Its stream has grown meanwhile.
    Grown,
}

impl AuthorityView {
    pub(crate) fn new(partitions: u16, charter: &Arc<Charter>) -> Self {
        let share = |most: usize| most.div_ceil(usize::from(partitions.max(1)));
        // All people lie in one.
        let of_people = StreamId::of_org(&OrgId::PLATFORM).partition(partitions);
        let principals = |partition| {
            if partition == of_people {
                PRINCIPALS_KNOWN_MAX
            } else {
                share(PRINCIPALS_KNOWN_MAX)
            }
        };
        let part = |partition| Part {
            known: Mutex::new(
                Authorities::new(charter.clone(), share(AUTHORITY_ORGS_MAX), share(AUTHORITY_PARTS_MAX))
                    .with_principals(principals(partition), share(PRINCIPALS_UNKNOWN_MAX)),
            ),
            read: AtomicU64::new(0),
        };
        Self((0..partitions).map(part).collect())
    }

    fn part(&self, partition: u16) -> &Part {
        &self.0[usize::from(partition)]
    }

    /// A record of an entity by which rights are decided is durable, and in the index.
    pub(crate) fn record(&self, partition: u16, record: &Record) {
        self.part(partition).known.lock().record(record);
    }

    /// A record of such an entity cannot be read: what is known of it counts no longer.
    pub(crate) fn forget(&self, partition: u16, stream: &StreamId) {
        self.part(partition).known.lock().take(stream);
    }

    /// A partition was read further and not to its end: what is known there is compared before it is used again.
    pub(crate) fn read_further(&self, partition: u16) {
        self.part(partition).read.fetch_add(1, Ordering::AcqRel);
    }

    /// How far a partition was read, to be told with what is found there.
    pub(crate) fn read(&self, partition: u16) -> u64 {
        self.part(partition).read.load(Ordering::Acquire)
    }

    /// Asks what is known; where that is not enough, it says what has to be brought.
    pub(crate) fn ask<T>(&self, partition: u16, ask: impl FnOnce(&mut Authorities, u64) -> Result<T, Wanted>) -> Result<T, Wanted> {
        let part = self.part(partition);
        let read = part.read.load(Ordering::Acquire);
        ask(&mut part.known.lock(), read)
    }

    /// Whether what is known of a stream is right, where the stream ends with this record; otherwise what is known is taken out,
    /// to be brought to the stream's end.
    pub(crate) fn confirm(&self, partition: u16, stream: &StreamId, end: Digest, read: u64) -> Result<(), Option<Folded>> {
        let mut known = self.part(partition).known.lock();
        if known.confirm(stream, end, read) {
            Ok(())
        } else {
            Err(known.take(stream))
        }
    }

    /// Keeps an entity that was read, if its stream still ends where it was read to. Under the lock that
    /// [`AuthorityView::record`] takes, so that no record falls in between.
    pub(crate) fn keep<E>(&self, partition: u16, entity: Folded, read: u64, is_whole: impl FnOnce() -> Result<bool, E>) -> Result<Kept, E> {
        let mut known = self.part(partition).known.lock();
        if !is_whole()? {
            return Ok(Kept::Grown);
        }
        Ok(if known.insert(entity, read) { Kept::Here } else { Kept::Nowhere })
    }
}
