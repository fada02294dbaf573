//! Keys as faces meet them: whose they are, and what they open by now.

use super::Node;
use crate::{
    holder::Holder,
    kernel::{refusals::no_access, rights::KnownKey},
};
use quipu_schemas::{
    context::Millis,
    ids::{OrgId, PrincipalId},
    problem::Problem,
};
use std::{net::IpAddr, sync::Arc};

impl Node {
    /// Now, by this node's clock.
    pub fn now(&self) -> Millis {
        self.0.core.now()
    }

    /// Whose a key is and what it opens; `None` where it is wrong, unknown, ended or shown from elsewhere.
    pub async fn holder(&self, text: &str, from: Option<IpAddr>) -> Result<Option<Holder>, Problem> {
        // No kind of this node is of keys yet.
        let _ = (text, from);
        Ok(None)
    }

    /// The same key as it is by now; `None` where it has ended since.
    pub async fn renewed(&self, holder: &Holder) -> Result<Option<Holder>, Problem> {
        let id = holder.credential.api_key();
        let key = id.map(|id| self.api_key(&holder.org, id)).transpose()?.flatten();
        let key = key.filter(|key| !key.has_ended(self.now()) && key.principal == holder.principal);
        let Some(key) = key else { return Ok(None) };
        let on_behalf_of = holder.on_behalf_of.as_ref().map(|(principal, _)| principal);
        self.held_by(&holder.org, &key, holder.from, on_behalf_of)
    }

    /// The same on behalf of somebody else.
    pub async fn acting_for(&self, holder: Holder, principal: PrincipalId) -> Result<Holder, Problem> {
        let theirs = self.rights_in(&holder.org, &principal)?;
        if !theirs.is_known {
            return Err(no_access());
        }
        Ok(Holder {
            on_behalf_of: Some((principal, theirs.rights.clone())),
            ..holder
        })
    }

    fn held_by(
        &self,
        org: &OrgId,
        key: &Arc<KnownKey>,
        from: Option<IpAddr>,
        on_behalf_of: Option<&PrincipalId>,
    ) -> Result<Option<Holder>, Problem> {
        let own = self.rights_in(org, &key.principal)?;
        let theirs = on_behalf_of.map(|principal| self.rights_in(org, principal)).transpose()?;
        let is_known = own.is_known && theirs.as_ref().is_none_or(|theirs| theirs.is_known);
        Ok(Some(Holder {
            org: org.clone(),
            credential: key.credential.clone(),
            from,
            principal: key.principal.clone(),
            is_known,
            rights: own.rights.clone(),
            scope: key.scope.clone(),
            on_behalf_of: on_behalf_of.cloned().zip(theirs.map(|theirs| theirs.rights.clone())),
            charter: self.charter().clone(),
        }))
    }
}
