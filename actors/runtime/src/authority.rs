//! The in-memory view of the authority streams: org status and roles, read just before each decision.

use crate::{
    core::{Core, index_problem, lock},
    kernel::{
        entity::{Active, Entity},
        orgs::{Lookup, OrgView, Orgs},
    },
    off_worker::off_worker,
};
use quipu_rules::org::Org;
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, PrincipalId, StreamId},
    limits::{AUTHORITY_MEMBERS_MAX, AUTHORITY_ORGS_MAX},
    problem::Problem,
    record::Record,
};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

/// Filled on first use and kept up by the org's durable records: never stale on the node that owns it.
pub(crate) struct AuthorityView {
    orgs: Mutex<Orgs>,
    /// Rises when a partition was read further than this node itself has written it.
    read: Vec<AtomicU64>,
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
        lock(&self.orgs).record(record);
    }

    /// A partition was read further: what is known of its orgs is compared before it is used again.
    pub(crate) fn read_further(&self, partition: u16) {
        self.read[usize::from(partition)].fetch_add(1, Ordering::AcqRel);
    }

    /// What is known of an org and of a principal in it. Reads the log where it has to, away from the tasks of this thread.
    pub(crate) fn org(&self, core: &Core, org: &OrgId, principal: Option<&PrincipalId>) -> Result<OrgView, Problem> {
        let stream = StreamId::of_org(org);
        let read = &self.read[usize::from(stream.partition(core.meta.partitions))];
        let found = lock(&self.orgs).look(org, principal, read.load(Ordering::Acquire));
        match found {
            Lookup::Known(view) => Ok(view),
            Lookup::Unsure(_) | Lookup::Missing => off_worker(|| self.load(core, &stream, principal, read)),
        }
    }

    fn load(&self, core: &Core, stream: &StreamId, principal: Option<&PrincipalId>, read: &AtomicU64) -> Result<OrgView, Problem> {
        let head = || -> Result<Option<Digest>, Problem> {
            let head = core.index.stream_head(stream).map_err(|e| index_problem(&e))?;
            Ok(head.map(|head| head.hash))
        };
        // The head is read before and after: a record that became durable in between would be missed.
        loop {
            let seen = read.load(Ordering::Acquire);
            let before = head()?;
            let known = {
                let mut orgs = lock(&self.orgs);
                if let Some(end) = before {
                    orgs.confirm(&stream.org, end, seen);
                }
                if let Lookup::Known(view) = orgs.look(&stream.org, principal, seen) {
                    return Ok(view);
                }
                orgs.take(&stream.org)
            };
            let org = match known {
                Some(known) => extended(core, known, before)?,
                None => core.recover_as::<Org>(stream)?,
            };
            let mut orgs = lock(&self.orgs);
            if before == head()? {
                let view = OrgView::of(&org, principal);
                orgs.insert(org, seen);
                return Ok(view);
            }
        }
    }
}

/// Brings a known org to the end of its stream: by what was added, where that continues it.
fn extended(core: &Core, mut known: Active<Org>, end: Option<Digest>) -> Result<Active<Org>, Problem> {
    let stream = known.stream().clone();
    for record in core.records(&stream, known.version() + 1)? {
        if record.previous == known.hash() && known.fold(&record).is_err() {
            break;
        }
    }
    if known.is_lost() || Some(known.hash()) != end {
        return core.recover_as::<Org>(&stream);
    }
    Ok(known)
}
