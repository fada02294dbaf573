//! What a node knows of orgs: status and roles, folded record by record, in bounded memory.
//!
//! An org that was read once is kept up by its own records as they become durable, so that a change costs what the change
//! is, not what the org is. The least recently used are forgotten beyond the bounds; orgs that do not exist are not kept.

use super::entity::{Active, Entity};
use quipu_rules::org::{Org, OrgState};
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, PrincipalId},
    record::Record,
    role::Role,
};
use std::collections::BTreeMap;

/// What is known of one org, and of one principal in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrgView {
    /// Version of the org's stream; 0: there is no such org.
    pub version: u64,
    /// Whether it is suspended.
    pub suspended: bool,
    /// The principal's role, if they are a member.
    pub role: Option<Role>,
}

impl OrgView {
    /// What a folded org says of a principal.
    pub fn of(org: &Active<Org>, principal: Option<&PrincipalId>) -> Self {
        let state = org.typed_state();
        Self {
            version: org.version(),
            suspended: matches!(state, OrgState::Suspended { .. }),
            role: principal.and_then(|principal| state.role(principal)),
        }
    }
}

/// An answer to [`Orgs::look`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is known.
    Known(OrgView),
    /// Its partition was read further since: right if its stream still ends with this record.
    Unsure(Digest),
    /// It is not in memory.
    Missing,
}

struct Known {
    org: Active<Org>,
    used: u64,
    members: usize,
    /// How far its partition had been read when it was last compared with its stream's end.
    read: u64,
}

/// The orgs that one node knows.
pub struct Orgs {
    known: BTreeMap<OrgId, Known>,
    by_use: BTreeMap<u64, OrgId>,
    members: usize,
    uses: u64,
    orgs_max: usize,
    members_max: usize,
}

fn members(org: &Active<Org>) -> usize {
    match org.typed_state() {
        OrgState::Missing => 0,
        OrgState::Active(org) | OrgState::Suspended { org, .. } => org.members.len(),
    }
}

impl Orgs {
    /// Knows nothing yet, and never more than so many orgs and members.
    pub fn new(orgs_max: usize, members_max: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            by_use: BTreeMap::new(),
            members: 0,
            uses: 0,
            orgs_max,
            members_max,
        }
    }

    /// What is known of an org. `read` rises when its partition was read further by other means than [`Orgs::record`].
    pub fn look(&mut self, org: &OrgId, principal: Option<&PrincipalId>, read: u64) -> Lookup {
        let (uses, len) = (self.uses, self.known.len() as u64);
        let Some(known) = self.known.get_mut(org) else {
            return Lookup::Missing;
        };
        if known.read != read {
            return Lookup::Unsure(known.org.hash());
        }
        let view = OrgView::of(&known.org, principal);
        // Only what is not among the recently used moves: most looks change nothing.
        if known.used + len / 2 < uses {
            self.by_use.remove(&known.used);
            self.uses += 1;
            known.used = self.uses;
            self.by_use.insert(self.uses, org.clone());
        }
        Lookup::Known(view)
    }

    /// An unsure org was compared with its stream's end, and is right.
    pub fn confirm(&mut self, org: &OrgId, hash: Digest, read: u64) {
        if let Some(known) = self.known.get_mut(org).filter(|known| known.org.hash() == hash) {
            known.read = read;
        }
    }

    /// Keeps an org that was read from its stream; one that does not exist is not kept.
    pub fn insert(&mut self, org: Active<Org>, read: u64) {
        let id = org.stream().org.clone();
        self.take(&id);
        if org.version() == 0 {
            return;
        }
        let members = members(&org);
        while (self.known.len() >= self.orgs_max || self.members + members > self.members_max)
            && let Some(oldest) = self.by_use.first_key_value().map(|(_, org)| org.clone())
        {
            self.take(&oldest);
        }
        self.uses += 1;
        self.members += members;
        self.by_use.insert(self.uses, id.clone());
        self.known.insert(
            id,
            Known {
                org,
                used: self.uses,
                members,
                read,
            },
        );
    }

    /// Takes an org out.
    pub fn take(&mut self, org: &OrgId) -> Option<Active<Org>> {
        let known = self.known.remove(org)?;
        self.by_use.remove(&known.used);
        self.members -= known.members;
        Some(known.org)
    }

    /// A record of an org's own stream is durable. One that does not continue what is known makes it forgotten.
    pub fn record(&mut self, record: &Record) {
        let Some(known) = self.known.get_mut(&record.header.stream.org) else {
            return;
        };
        if known.org.hash() == record.hash {
            // It was read with the rest.
            return;
        }
        if known.org.fold(record).is_err() {
            self.take(&record.header.stream.org);
            return;
        }
        let now = members(&known.org);
        self.members = self.members + now - known.members;
        known.members = now;
    }

    /// Orgs in memory.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is in memory.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests;
