//! Who may what, for faces: the same answers that the kernel decides by.

use super::Node;
use crate::kernel::{
    principals::KnownSession,
    refusals::authority_stale,
    rights::{ActorRights, KnownKey},
};
use quipu_rules::{application::ApplicationState, rights::Charter};
use quipu_schemas::{
    client_secret::{ClientId, ClientSecret},
    context::Millis,
    digest::Digest,
    ids::{EntityId, Home, OrgId, PrincipalId},
    key_text::KeyText,
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

    /// A client of an org, whether or not it gets anything; `None` where there is none of this id.
    pub fn application(&self, client: &ClientId) -> Result<Option<ApplicationState>, Problem> {
        self.fresh(&client.org)?;
        self.0.core.application(&client.org, &client.id)
    }

    /// What a client's secret is compared by.
    pub fn client_secret_hash(&self, secret: &ClientSecret) -> Digest {
        secret.hash(&self.0.core.keys.digest_key())
    }

    /// Whether the client that began a session may still have it. Other names are those of programs that no org knows.
    pub(super) fn client_lets(&self, home: &Home, session: &KnownSession) -> Result<bool, Problem> {
        let Some(client) = session.org_client() else {
            return Ok(true);
        };
        let state = self.application(&client)?;
        Ok(state.is_some_and(|state| session.is_permitted_by(home, &client, &state)))
    }

    /// The key with this text, if it is valid now. Why it is not is nobody's business: `None` whatever it was.
    pub async fn verify_key(&self, shown: &KeyText) -> Result<Option<Arc<KnownKey>>, Problem> {
        self.fresh(&shown.org)?;
        let Some(tried) = self.tried(shown, false).await? else {
            return Ok(None);
        };
        let core = &self.0.core;
        let key = core.api_key(&shown.org, &shown.id)?;
        Ok(key.filter(|key| key.is_opened_by(tried, core.now())))
    }

    /// Now, by the node's clock.
    pub fn now(&self) -> Millis {
        self.0.core.now()
    }

    fn fresh(&self, org: &OrgId) -> Result<(), Problem> {
        if self.0.core.org_partition(org).is_fresh {
            Ok(())
        } else {
            Err(authority_stale(org))
        }
    }
}

#[cfg(test)]
mod tests;
