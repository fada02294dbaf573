//! Keys as faces meet them: whose they are, and what they open by now.

use super::Node;
use crate::{
    accounts::KeyHash,
    holder::{Holder, Shown},
    kernel::{refusals::stopped, rights::KnownKey},
};
use quipu_rules::api_key::Tried;
use quipu_schemas::{
    ids::{CredentialId, EntityId, Home, Kind, OrgId, PrincipalId, StreamId},
    key_text::{KeyText, pepper},
    problem::Problem,
};
use std::{net::IpAddr, sync::Arc};

impl Node {
    /// Whose a key is and what it opens; `None` where it is wrong, unknown, ended or shown from elsewhere.
    pub async fn holder(&self, text: &str, from: Option<IpAddr>) -> Result<Option<Holder>, Problem> {
        let Ok(text) = KeyText::parse(text) else { return Ok(None) };
        let Some(tried) = self.tried(&text, false).await? else {
            return Ok(None);
        };
        let held = self.held_by(&text.org, &text.id, (tried, from), None)?;
        if held.is_some() {
            self.0.core.accounts.slow_keys.keep(&tried);
        }
        Ok(held)
    }

    /// What a text is compared by; `None` where there is no such key, or one that has ended where it must not have, or the other way round.
    /// Most keys are compared by the keyed hash alone. Where keys are kept by Argon2id each text that opens nothing costs one such hash,
    /// whatever is wrong with it: that of a key that has ended is made when that is asked for, which every face does for a refused text.
    pub(super) async fn tried(&self, text: &KeyText, has_ended: bool) -> Result<Option<Tried>, Problem> {
        let (core, now) = (&self.0.core, self.now());
        let key = self.api_key(&text.org, &text.id)?;
        let hash = text.hash(&pepper(&core.keys.digest_key()));
        let stream = StreamId::new(text.org.clone(), Kind::API_KEY, text.id.clone());
        let accounts = &core.accounts;
        let tried = match key {
            // It is asked about as what it is.
            Some(key) if key.has_ended(now) != has_ended => return Ok(None),
            None if has_ended => return Ok(None),
            Some(key) if key.takes_argon2id() => return accounts.slow_keys.of(&accounts.passwords, &stream, hash).await.map(Some),
            Some(key) => {
                let tried = Tried::from(&hash.0);
                if key.is_opened_by(tried, now) {
                    return Ok(Some(tried));
                }
                Some(tried)
            }
            None => None,
        };
        if self.0.config.key_hash == KeyHash::Argon2id {
            accounts.slow_keys.spend(&accounts.passwords, &stream, hash).await?;
        }
        Ok(tried)
    }

    /// Whose a key was that has ended, with its org and its name; `None` for any other text.
    pub async fn ended_holder(&self, text: &str) -> Result<Option<(OrgId, PrincipalId, CredentialId)>, Problem> {
        let Ok(text) = KeyText::parse(text) else { return Ok(None) };
        let Some(tried) = self.tried(&text, true).await? else {
            return Ok(None);
        };
        let key = self.api_key(&text.org, &text.id)?;
        let ended = key.filter(|key| key.has_ended_with(&tried, self.now()));
        Ok(ended.map(|key| (text.org.clone(), key.principal.clone(), key.credential.clone())))
    }

    /// The same key or session as it is by now; `None` where it has ended since, or may no longer speak for whom it spoke.
    pub async fn renewed(&self, holder: &Holder) -> Result<Option<Holder>, Problem> {
        let on_behalf_of = holder.on_behalf_of.as_ref().map(|(principal, _)| principal);
        let renewed = match (holder.credential.api_key(), holder.credential.session(), holder.shown) {
            (Some(id), _, Shown::Key { tried, from }) => self.held_by(&holder.org, id, (tried, from), on_behalf_of)?,
            (_, Some(id), Shown::Session { from }) => {
                let home = Home::of(&holder.org, &holder.principal);
                self.held_by_session(&home, id, &holder.org, from, on_behalf_of)?
            }
            _ => None,
        };
        Ok(renewed.filter(|renewed| renewed.principal == holder.principal && renewed.may_speak(self.now())))
    }

    /// The same on behalf of somebody else. The org need not know them: some kinds let agents take part without a membership.
    pub async fn acting_for(&self, holder: Holder, principal: PrincipalId) -> Result<Holder, Problem> {
        let theirs = self.rights_in(&holder.org, &principal)?;
        if let Some(problem) = self.why_stopped(&holder.org, &principal)? {
            return Err(problem);
        }
        Ok(Holder {
            on_behalf_of: Some((principal, theirs.rights.clone())),
            ..holder
        })
    }

    fn held_by(
        &self,
        org: &OrgId,
        id: &EntityId,
        (tried, from): (Tried, Option<IpAddr>),
        on_behalf_of: Option<&PrincipalId>,
    ) -> Result<Option<Holder>, Problem> {
        let key = self.api_key(org, id)?;
        let opens = |key: &Arc<KnownKey>| key.is_opened_by(tried, self.now()) && may_come_from(key, from);
        let Some(key) = key.filter(opens) else { return Ok(None) };
        // Whoever was stopped opens nothing, by whatever they show.
        for who in [Some(&key.principal), on_behalf_of].into_iter().flatten() {
            if self.why_stopped(org, who)?.is_some() {
                return Ok(None);
            }
        }
        let own = self.rights_in(org, &key.principal)?;
        let theirs = on_behalf_of.map(|principal| self.rights_in(org, principal)).transpose()?;
        Ok(Some(Holder {
            org: org.clone(),
            credential: key.credential.clone(),
            shown: Shown::Key { tried, from },
            principal: key.principal.clone(),
            is_known: own.is_known,
            rights: own.rights.clone(),
            scope: key.scope.clone(),
            wider: Vec::new(),
            actors: Vec::new(),
            on_behalf_of: on_behalf_of.cloned().zip(theirs.map(|theirs| theirs.rights.clone())),
            charter: self.charter().clone(),
        }))
    }
}

impl Node {
    /// Why nothing is taken from whom an org knows by this name, where nothing is.
    fn why_stopped(&self, org: &OrgId, who: &PrincipalId) -> Result<Option<Problem>, Problem> {
        Ok(self.principal(&Home::of(org, who))?.as_deref().and_then(stopped))
    }
}

/// Whether a key may be shown from there; one that is bound to networks may not where nobody knows from where it is.
fn may_come_from(key: &KnownKey, from: Option<IpAddr>) -> bool {
    let networks = key.networks();
    networks.is_empty() || from.is_some_and(|from| networks.iter().any(|network| network.contains(from)))
}
