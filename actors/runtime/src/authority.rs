//! What this node knows of orgs, in memory: read just before each decision (`facts.rs`), and kept up by what becomes durable.

use crate::kernel::{
    entity::Active,
    orgs::{Lookup, OrgView, Orgs},
};
use parking_lot::Mutex;
use quipu_rules::org::Org;
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, PrincipalId},
    limits::{AUTHORITY_MEMBERS_MAX, AUTHORITY_ORGS_MAX},
    record::Record,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Filled on first use and kept up by the org's durable records: never stale on the node that owns it.
pub(crate) struct AuthorityView {
    orgs: Mutex<Orgs>,
    /// Rises when a partition was read further than this node itself has written it.
    read: Vec<AtomicU64>,
}

/// An answer to [`AuthorityView::confirm`].
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub(crate) enum Confirmed {
    /// It is known.
    Known(OrgView),
    /// This is to be brought to its stream's end, or, where nothing is known, read from it.
    Taken(Option<Active<Org>>),
}

impl AuthorityView {
    pub(crate) fn new(partitions: u16) -> Self {
        Self {
            orgs: Mutex::new(Orgs::new(AUTHORITY_ORGS_MAX, AUTHORITY_MEMBERS_MAX)),
            read: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A record of an org's stream is durable, and in the index.
    pub(crate) fn record(&self, record: &Record) {
        self.orgs.lock().record(record);
    }

    /// A partition was read further: what is known of its orgs is compared before it is used again.
    pub(crate) fn read_further(&self, partition: u16) {
        self.read[usize::from(partition)].fetch_add(1, Ordering::AcqRel);
    }

    /// How far a partition was read, to be told with what is found there.
    pub(crate) fn read(&self, partition: u16) -> u64 {
        self.read[usize::from(partition)].load(Ordering::Acquire)
    }

    /// What is known of an org and of a principal in it, if it needs no reading.
    pub(crate) fn look(&self, org: &OrgId, principal: Option<&PrincipalId>, read: u64) -> Option<OrgView> {
        match self.orgs.lock().look(org, principal, read) {
            Lookup::Known(view) => Some(view),
            Lookup::Unsure(_) | Lookup::Missing => None,
        }
    }

    /// What is known of an org whose stream ends with this record; where that is not enough it is taken out.
    pub(crate) fn confirm(&self, org: &OrgId, principal: Option<&PrincipalId>, end: Option<Digest>, read: u64) -> Confirmed {
        let mut orgs = self.orgs.lock();
        if let Some(end) = end {
            orgs.confirm(org, end, read);
        }
        match orgs.look(org, principal, read) {
            Lookup::Known(view) => Confirmed::Known(view),
            Lookup::Unsure(_) | Lookup::Missing => Confirmed::Taken(orgs.take(org)),
        }
    }

    /// Keeps an org that was read, if its stream still ends where it was read to; whether it does. Under the lock that
    /// [`AuthorityView::record`] takes, so that no record falls in between.
    pub(crate) fn keep<E>(&self, org: Active<Org>, read: u64, is_whole: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        let mut orgs = self.orgs.lock();
        let is_whole = is_whole()?;
        if is_whole {
            orgs.insert(org, read);
        }
        Ok(is_whole)
    }
}
