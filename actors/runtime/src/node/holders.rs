//! Keys as faces meet them: whose they are, and what they open by now.

use super::Node;
use crate::{
    holder::{Holder, Shown},
    kernel::rights::KnownKey,
};
use quipu_schemas::{
    ids::{EntityId, OrgId, PrincipalId},
    key_text::{KeyText, pepper},
    problem::Problem,
};
use std::{net::IpAddr, sync::Arc};

impl Node {
    /// Whose a key is and what it opens; `None` where it is wrong, unknown, ended or shown from elsewhere.
    pub async fn holder(&self, text: &str, from: Option<IpAddr>) -> Result<Option<Holder>, Problem> {
        let Ok(text) = KeyText::parse(text) else { return Ok(None) };
        let shown = Shown {
            hash: text.hash(&pepper(&self.0.core.keys.digest_key())),
            from,
        };
        self.held_by(&text.org, &text.id, shown, None)
    }

    /// The same key as it is by now; `None` where it has ended since, or may no longer speak for whom it spoke.
    pub async fn renewed(&self, holder: &Holder) -> Result<Option<Holder>, Problem> {
        let Some(id) = holder.credential.api_key() else { return Ok(None) };
        let on_behalf_of = holder.on_behalf_of.as_ref().map(|(principal, _)| principal);
        let renewed = self.held_by(&holder.org, id, holder.shown, on_behalf_of)?;
        Ok(renewed.filter(|renewed| renewed.principal == holder.principal && renewed.may_speak(self.now())))
    }

    /// The same on behalf of somebody else. The org need not know them: some kinds let agents take part without a membership.
    pub async fn acting_for(&self, holder: Holder, principal: PrincipalId) -> Result<Holder, Problem> {
        let theirs = self.rights_in(&holder.org, &principal)?;
        Ok(Holder {
            on_behalf_of: Some((principal, theirs.rights.clone())),
            ..holder
        })
    }

    fn held_by(&self, org: &OrgId, id: &EntityId, shown: Shown, on_behalf_of: Option<&PrincipalId>) -> Result<Option<Holder>, Problem> {
        let key = self.api_key(org, id)?;
        let opens = |key: &Arc<KnownKey>| key.is_opened_by(&shown.hash.0, self.now()) && may_come_from(key, shown.from);
        let Some(key) = key.filter(opens) else { return Ok(None) };
        let own = self.rights_in(org, &key.principal)?;
        let theirs = on_behalf_of.map(|principal| self.rights_in(org, principal)).transpose()?;
        Ok(Some(Holder {
            org: org.clone(),
            credential: key.credential.clone(),
            shown,
            principal: key.principal.clone(),
            is_known: own.is_known,
            rights: own.rights.clone(),
            scope: key.scope.clone(),
            on_behalf_of: on_behalf_of.cloned().zip(theirs.map(|theirs| theirs.rights.clone())),
            charter: self.charter().clone(),
        }))
    }
}

/// Whether a key may be shown from there; one that is bound to networks may not where nobody knows from where it is.
fn may_come_from(key: &KnownKey, from: Option<IpAddr>) -> bool {
    let networks = key.networks();
    networks.is_empty() || from.is_some_and(|from| networks.iter().any(|network| network.contains(from)))
}
