//! Sessions: how a node begins them, goes on with them and ends them, and what they open in an org.

use super::{Node, accounts::word};
use crate::{
    accounts::{NewSession, StartedSession, refused_grant},
    holder::{Holder, Shown as ShownBy},
    ingress,
    kernel::{
        principals::{KnownPrincipal, KnownSession},
        refusals::stopped,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_kinds::principal::{Code, EndSession, PrincipalType, RedeemSession, RefreshSession, SessionStart, StartSession};
use quipu_rules::{principal::keys_of, rights::Rights};
use quipu_schemas::{
    context::uuid_v7,
    digest::Digest,
    envelope::Shown,
    ids::{CredentialId, EntityId, Home, OrgId, PrincipalId, type_id},
    limits::{SESSION_ACTORS_MAX, SESSION_REUSE_MS},
    problem::Problem,
    session_text::{Purpose, SessionText},
};
use serde_json::json;
use std::{net::IpAddr, sync::Arc};

impl Node {
    /// A principal; `None` where nobody is there. Costs no I/O once it is known. An error where what this node knows is too old to
    /// decide by.
    pub fn principal(&self, home: &Home) -> Result<Option<Arc<KnownPrincipal>>, Problem> {
        self.0.core.principal(home, None)
    }

    /// Begins a session of a principal, whoever they are: that they have proved it is up to the caller. A client that begins one
    /// like another that lives long enough still gets that, and nothing is written.
    pub async fn start_session(&self, home: &Home, new: NewSession) -> Result<StartedSession, Problem> {
        let known = self.acting(home)?;
        // A person logs in again each time; what is made from their session for others is found again.
        let is_like_others = known.kind != PrincipalType::Person || new.parent.is_some();
        let reuse = is_like_others && new.client.is_some() && !new.refresh && new.code.is_none();
        if let Some(session) = reuse.then(|| self.like(&known, &new)).flatten() {
            return Ok(begun(session));
        }
        let (now, keys) = (self.now(), self.0.core.keys.digest_key());
        let id = EntityId::parse(type_id("ses", uuid_v7(now, ingress::entropy()?, 0))).expect("a TypeID is an id");
        let secret = |purpose| -> Result<SessionText, Problem> {
            Ok(SessionText::new(
                purpose,
                home.clone(),
                id.clone(),
                ingress::entropy()?.to_be_bytes(),
                &keys,
            ))
        };
        // A session that waits gets its refresh token with its code.
        let refresh = (new.refresh && new.code.is_none()).then(|| secret(Purpose::Refresh)).transpose()?;
        let code = new.code.as_ref().map(|_| secret(Purpose::Code)).transpose()?;
        let lifetime_ms = new.lifetime_ms;
        let start = StartSession {
            session: SessionStart {
                id: id.clone(),
                client: new.client.clone(),
                amr: new.amr.clone(),
                auth_time: new.auth_time,
                scope: new.scope.clone(),
                audience: new.audience.clone(),
                act: new.act.clone(),
                parent: new.parent.clone(),
            },
            lifetime_ms,
            refresh: refresh.as_ref().map(|text| text.hash(&keys)),
            code: new.code.as_ref().zip(code.as_ref()).map(|(of, text)| Code {
                hash: text.hash(&keys),
                challenge: of.challenge.clone(),
                redirect_uri: of.redirect_uri.clone(),
            }),
            waits_ms: None,
            reuse,
        };
        let receipt = self.tell(home, word("start_session", &start)?, None).await?;
        let known = self.0.core.principal_at(home, receipt.version)?.ok_or_else(refused_grant)?;
        if receipt.unchanged {
            return self.like(&known, &new).map(begun).ok_or_else(refused_grant);
        }
        let expires_at = known.session(&id, now).map(|session| session.expires_at);
        Ok(StartedSession {
            expires_at: expires_at.unwrap_or_else(|| now.saturating_add(lifetime_ms)),
            refresh: refresh.map(|text| Shown::new(text.to_text())),
            code: code.map(|text| Shown::new(text.to_text())),
            id,
        })
    }

    /// Opens a session by its code, once: for this client, this redirect URI and this verifier (RFC 7636, S256). It gets a refresh
    /// token. A code that is shown twice, or by somebody else, ends its session.
    pub async fn redeem_code(
        &self,
        code: &str,
        client: Option<&str>,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<(Home, StartedSession), Problem> {
        let keys = self.0.core.keys.digest_key();
        let code = SessionText::parse(Purpose::Code, code).ok().filter(|code| code.is_authentic(&keys));
        let code = code.ok_or_else(refused_grant)?;
        let refresh = self.next_refresh(&code)?;
        let redeem = RedeemSession {
            id: code.session.clone(),
            code: code.hash(&keys),
            client: client.map(str::to_owned),
            redirect_uri: redirect_uri.to_owned(),
            challenge: URL_SAFE_NO_PAD.encode(Digest::of(&[verifier.as_bytes()]).0),
            refresh: Some(refresh.hash(&keys)),
        };
        self.go_on(code, word("redeem_session", &redeem)?, refresh).await
    }

    /// Goes on with a session by its refresh token, which another one follows. One that was followed already ends the session.
    pub async fn refresh(&self, token: &str, client: Option<&str>) -> Result<(Home, StartedSession), Problem> {
        let keys = self.0.core.keys.digest_key();
        let token = SessionText::parse(Purpose::Refresh, token)
            .ok()
            .filter(|token| token.is_authentic(&keys));
        let token = token.ok_or_else(refused_grant)?;
        // Whoever it was made from may have ended it.
        self.lineage(&token.home, &token.session)?.ok_or_else(refused_grant)?;
        let next = self.next_refresh(&token)?;
        let refresh = RefreshSession {
            id: token.session.clone(),
            hash: token.hash(&keys),
            new_hash: next.hash(&keys),
            client: client.map(str::to_owned),
        };
        self.go_on(token, word("refresh_session", &refresh)?, next).await
    }

    fn next_refresh(&self, shown: &SessionText) -> Result<SessionText, Problem> {
        let random = ingress::entropy()?.to_be_bytes();
        let keys = self.0.core.keys.digest_key();
        let (home, session) = (shown.home.clone(), shown.session.clone());
        Ok(SessionText::new(Purpose::Refresh, home, session, random, &keys))
    }

    async fn go_on(&self, shown: SessionText, said: serde_json::Value, refresh: SessionText) -> Result<(Home, StartedSession), Problem> {
        let credential = CredentialId::of_session(shown.session.clone());
        let receipt = self.tell(&shown.home, said, Some(credential)).await?;
        let known = self.0.core.principal_at(&shown.home, receipt.version)?.ok_or_else(refused_grant)?;
        // It may have ended by what was shown.
        let session = known.session(&shown.session, self.now()).ok_or_else(refused_grant)?;
        let started = StartedSession {
            refresh: Some(Shown::new(refresh.to_text())),
            ..begun(session)
        };
        Ok((shown.home, started))
    }

    /// Ends a session. Ending one that has ended, or that never existed, succeeds.
    pub async fn end_session(&self, home: &Home, session: &EntityId) -> Result<(), Problem> {
        let end = EndSession { id: session.clone() };
        self.tell(home, word("end_session", &end)?, None).await.map(|_| ())
    }

    /// Ends every session of a principal.
    pub async fn end_sessions(&self, home: &Home) -> Result<(), Problem> {
        self.tell(home, json!({ "end_sessions": {} }), None).await.map(|_| ())
    }

    /// A principal who acts; an error that says why it does not.
    pub(super) fn acting(&self, home: &Home) -> Result<Arc<KnownPrincipal>, Problem> {
        let nobody = || Problem::new(404, "principal_not_found", format!("principal {home} does not exist")).fix("make it first");
        let known = self.principal(home)?.ok_or_else(nobody)?;
        match stopped(&known) {
            Some(problem) => Err(problem),
            None => Ok(known),
        }
    }

    fn like<'a>(&self, known: &'a KnownPrincipal, new: &NewSession) -> Option<&'a KnownSession> {
        known.sessions(self.now().saturating_add(SESSION_REUSE_MS)).find(|session| {
            !session.is_refreshed
                && session.client == new.client
                && session.patterns == new.scope
                && session.audience == new.audience
                && session.act == new.act
                && keys_of(&session.amr).eq(keys_of(&new.amr))
                && session.parent == new.parent
        })
    }

    /// A session with all that it was made from, the nearest first; `None` where one of them has ended, its client may not have it any
    /// more, or somebody who acts by it was stopped. Nothing opens by a session but what asks here.
    pub(super) fn lineage(&self, home: &Home, session: &EntityId) -> Result<Option<Vec<KnownSession>>, Problem> {
        let (mut found, mut next) = (Vec::new(), Some((home.clone(), session.clone())));
        while let Some((home, id)) = next {
            let known = self.0.core.principal(&home, Some(&id))?;
            let session = known.as_ref().and_then(|known| known.session(&id, self.now()));
            let Some(session) = session.filter(|_| found.len() <= SESSION_ACTORS_MAX) else {
                return Ok(None);
            };
            if !self.client_lets(&home, session)? {
                return Ok(None);
            }
            for actor in &session.act {
                if self.principal(actor)?.as_deref().and_then(stopped).is_some() {
                    return Ok(None);
                }
            }
            next = session.parent.as_ref().map(|parent| (parent.home.clone(), parent.session.clone()));
            found.push(session.clone());
        }
        Ok(Some(found))
    }

    /// What a live session opens in an org; `None` where it has ended, or may not be used there.
    pub async fn session_holder(
        &self,
        home: &Home,
        session: &EntityId,
        org: &OrgId,
        from: Option<IpAddr>,
    ) -> Result<Option<Holder>, Problem> {
        self.held_by_session(home, session, org, from, None)
    }

    pub(super) fn held_by_session(
        &self,
        home: &Home,
        session: &EntityId,
        org: &OrgId,
        from: Option<IpAddr>,
        on_behalf_of: Option<&PrincipalId>,
    ) -> Result<Option<Holder>, Problem> {
        let Some(lineage) = self.lineage(home, session)?.filter(|_| home.acts_in(org)) else {
            return Ok(None);
        };
        let (mut scopes, mut actors) = (Vec::new(), Vec::<Rights>::new());
        for session in lineage {
            for actor in &session.act {
                if !actor.acts_in(org) {
                    return Ok(None);
                }
                actors.push(self.rights_in(org, &actor.id)?.rights.clone());
            }
            scopes.push(session.scope);
        }
        let own = self.rights_in(org, &home.id)?;
        let theirs = on_behalf_of.map(|principal| self.rights_in(org, principal)).transpose()?;
        let mut scopes = scopes.into_iter();
        Ok(Some(Holder {
            org: org.clone(),
            credential: CredentialId::of_session(session.clone()),
            shown: ShownBy::Session { from },
            principal: home.id.clone(),
            is_known: own.is_known,
            rights: own.rights.clone(),
            scope: scopes.next().unwrap_or(Rights::All),
            wider: scopes.collect(),
            actors,
            on_behalf_of: on_behalf_of.cloned().zip(theirs.map(|theirs| theirs.rights.clone())),
            charter: self.charter().clone(),
        }))
    }
}

fn begun(session: &KnownSession) -> StartedSession {
    StartedSession {
        id: session.id.clone(),
        expires_at: session.expires_at,
        refresh: None,
        code: None,
    }
}
