//! Clients of an org, as faces ask for them.

use super::{Authorities, Wanted};
use quipu_rules::application::ApplicationState;
use quipu_schemas::ids::{EntityId, Kind, OrgId, StreamId};

impl Authorities {
    /// A client of an org. One that does not exist is not kept: it is wanted each time.
    pub fn application(&mut self, org: &OrgId, id: &EntityId, read: u64) -> Result<ApplicationState, Wanted> {
        self.used(org);
        let missing = || Wanted(StreamId::of_org(org));
        let shelf = self.shelves.get(org).ok_or_else(missing)?;
        shelf.org(org, read)?;
        let stream = || Wanted(StreamId::new(org.clone(), Kind::APPLICATION, id.clone()));
        let folded = shelf.entity(Kind::APPLICATION, id, org, read)?;
        folded.application().cloned().ok_or_else(stream)
    }
}
