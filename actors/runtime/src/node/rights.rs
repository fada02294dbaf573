//! Who may what, for faces: the same answers that the kernel decides by.

use super::Node;
use crate::kernel::{
    refusals::authority_stale,
    rights::{ActorRights, KnownKey},
};
use quipu_rules::rights::Charter;
use quipu_schemas::{
    ids::{EntityId, OrgId, PrincipalId},
    problem::Problem,
};
use std::sync::Arc;

impl Node {
    /// What commands and reads take.
    pub fn charter(&self) -> &Arc<Charter> {
        &self.0.core.charter
    }

    /// What a principal may in an org, and how the org stands; where there is no such org its version is 0. Costs no I/O once it
    /// is known. An error where what this node knows is too old to decide by.
    pub fn rights_in(&self, org: &OrgId, principal: &PrincipalId) -> Result<Arc<ActorRights>, Problem> {
        self.fresh(org)?;
        self.0.core.rights(org, principal, false)
    }

    /// A key of an org, valid or not; `None` where there is none of this id.
    pub fn api_key(&self, org: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, Problem> {
        self.fresh(org)?;
        self.0.core.api_key(org, id)
    }

    /// The key of this id, if this is its secret and it is valid now. Why it is not is nobody's business: `None` whatever it was.
    pub fn verify_key(&self, org: &OrgId, id: &EntityId, _secret: &[u8; 32]) -> Result<Option<Arc<KnownKey>>, Problem> {
        self.fresh(org)?;
        let key = self.0.core.api_key(org, id)?;
        Ok(key.filter(|key| !key.has_ended(self.0.core.now())))
    }

    fn fresh(&self, org: &OrgId) -> Result<(), Problem> {
        if self.0.core.org_partition(org).is_fresh {
            Ok(())
        } else {
            Err(authority_stale(org))
        }
    }
}
