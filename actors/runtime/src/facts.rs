//! Looks up what the machines ask for before a command is decided: orgs and rights, marks, receipts, settlements.

use crate::{
    authority::Confirmed,
    core::Core,
    kernel::{
        admission::OrgPartition,
        entity::{Active, Entity},
        orgs::OrgView,
        rights::{ActorRights, KnownKey},
    },
    off_worker::off_worker,
    refusals::index_problem,
    shadow,
};
use quipu_events::index::FirstReceipt;
use quipu_rules::org::Org;
use quipu_schemas::{
    digest::Digest,
    ids::{CommandId, EntityId, OrgId, PrincipalId, StreamId},
    problem::Problem,
    reaction::{ReactionKey, Settled},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

impl Core {
    /// The partition of an org, as this node sees it.
    pub(crate) fn org_partition(&self, org: &OrgId) -> OrgPartition {
        let partition = StreamId::of_org(org).partition(self.meta.partitions);
        OrgPartition {
            is_fresh: self.is_fresh(partition),
            is_elsewhere: self.is_elsewhere(partition),
        }
    }

    /// What is known of an org and of a principal in it. Reads the log where it has to, away from the tasks of this thread;
    /// where `is_read_first`, its partition to the end before.
    pub(crate) fn org(&self, org: &OrgId, principal: Option<&PrincipalId>, is_read_first: bool) -> Result<OrgView, Problem> {
        let stream = StreamId::of_org(org);
        let partition = stream.partition(self.meta.partitions);
        if is_read_first {
            off_worker(|| shadow::follow(self, partition));
        }
        match self.authority.look(org, principal, self.authority.read(partition)) {
            Some(view) => Ok(view),
            None => off_worker(|| self.load_org(&stream, principal)),
        }
    }

    fn load_org(&self, stream: &StreamId, principal: Option<&PrincipalId>) -> Result<OrgView, Problem> {
        let head = || -> Result<Option<Digest>, Problem> {
            let head = self.index.stream_head(stream).map_err(|e| index_problem(&e))?;
            Ok(head.map(|head| head.hash))
        };
        let partition = stream.partition(self.meta.partitions);
        // The head is read before and after: a record that became durable in between would be missed.
        loop {
            let read = self.authority.read(partition);
            let before = head()?;
            let org = match self.authority.confirm(&stream.org, principal, before, read) {
                Confirmed::Known(view) => return Ok(view),
                Confirmed::Taken(Some(known)) => self.extended(known, before)?,
                Confirmed::Taken(None) => self.recover_as::<Org>(stream)?,
            };
            let view = OrgView::of(&org, principal);
            if self.authority.keep(org, read, || Ok::<_, Problem>(before == head()?))? {
                return Ok(view);
            }
        }
    }

    /// Brings a known org to the end of its stream: by what was added, where that continues it.
    fn extended(&self, mut known: Active<Org>, end: Option<Digest>) -> Result<Active<Org>, Problem> {
        let stream = known.stream().clone();
        for record in self.records(&stream, known.version() + 1)? {
            if record.previous == known.hash() && known.fold(&record).is_err() {
                break;
            }
        }
        if known.is_lost() || Some(known.hash()) != end {
            return self.recover_as::<Org>(&stream);
        }
        Ok(known)
    }

    /// What a principal may in an org.
    pub(crate) fn rights(&self, org: &OrgId, principal: &PrincipalId, is_read_first: bool) -> Result<Arc<ActorRights>, Problem> {
        let view = self.org(org, Some(principal), is_read_first)?;
        Ok(Arc::new(ActorRights::of(view, &[], &self.charter.roles([]), &self.charter)))
    }

    /// A key of an org; `None` where there is no such key.
    pub(crate) fn api_key(&self, _org: &OrgId, _id: &EntityId) -> Result<Option<Arc<KnownKey>>, Problem> {
        // There is no kind that keys are of: none is known, so what names one is refused.
        Ok(None)
    }

    pub(crate) fn is_suspended(&self, org: &OrgId) -> bool {
        self.org(org, None, false).is_ok_and(|org| org.suspended)
    }

    /// Whether the relay holds back what is not under way yet: of a suspended org, or because the node leaves.
    pub(crate) fn holds_back(&self, org: &OrgId) -> bool {
        self.leaving.load(Ordering::Acquire) || self.is_suspended(org)
    }

    /// The receipt of a command id, if a record of it is durable.
    pub(crate) fn first_receipt(&self, stream: &StreamId, id: &CommandId) -> Result<Option<FirstReceipt>, Problem> {
        self.index.command(stream, id).map_err(|e| index_problem(&e))
    }

    /// The marks of a stream's durable commands; `None` where they are more than that.
    pub(crate) fn command_marks(&self, stream: &StreamId, most: usize) -> Result<Option<BTreeSet<u64>>, Problem> {
        self.index.command_marks(stream, most).map_err(|e| index_problem(&e))
    }

    /// What became of a reaction, if it is settled.
    pub(crate) fn settled(&self, key: &ReactionKey) -> Result<Option<Settled>, Problem> {
        let settled = self.index.settled(key).map_err(|e| index_problem(&e))?;
        Ok(settled.map(|settled| settled.outcome))
    }
}
