//! Projects of an org: what was granted on one that has ended holds nothing any more.

use super::{Authorities, Wanted, shelf::Shelf};
use quipu_rules::rights::Given;
use quipu_schemas::{
    ids::{EntityId, Kind, OrgId, StreamId},
    rights::Target,
};

impl Shelf {
    fn is_archived(&self, org: &OrgId, project: &EntityId, read: u64) -> Result<bool, Wanted> {
        Ok(self.entity(Kind::PROJECT, project, org, read)?.is_archived())
    }

    /// What of a principal's grants counts, and whether there is any grant at all.
    pub(super) fn counting(&self, id: &EntityId, org: &OrgId, read: u64) -> Result<(bool, Vec<Given>), Wanted> {
        let grant = self.packed(Kind::GRANT, id, org, read)?;
        let given = grant.given();
        let mut counting = Vec::with_capacity(given.len());
        for one in given {
            let has_ended = match &one.on {
                Target::Project(project) => self.is_archived(org, project, read)?,
                _ => false,
            };
            if !has_ended {
                counting.push(one.clone());
            }
        }
        Ok((!given.is_empty(), counting))
    }
}

impl Authorities {
    /// Whether a project of an org has ended; one that was never begun has not.
    pub fn is_archived(&mut self, org: &OrgId, project: &EntityId, read: u64) -> Result<bool, Wanted> {
        self.used(org);
        let missing = || Wanted(StreamId::of_org(org));
        let shelf = self.shelves.get(org).ok_or_else(missing)?;
        shelf.org(org, read)?;
        shelf.is_archived(org, project, read)
    }
}
