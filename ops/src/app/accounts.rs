//! Accounts, as the guard and the routes of `/v1/auth` and `/v1/me` meet them.

use super::App;
use crate::{caller::Own, problems};
use quipu_runtime::{
    accounts::StartedSession,
    holder::Holder,
    kernel::principals::KnownPrincipal,
    node::Account,
    tokens::{AccessClaims, TokenRefused},
};
use quipu_schemas::{
    context::Millis,
    ids::{Home, OrgId},
    limits::ACCOUNT_ORGS_MAX,
    problem::Problem,
    role::Role,
};
use std::{net::IpAddr, sync::Arc};

/// By whom sessions are begun that somebody begins by their password.
pub const CLIENT: &str = "quipu";

/// A session with what opens it.
pub struct Opened {
    /// Whose it is.
    pub home: Home,
    /// The session.
    pub session: StartedSession,
    /// The access token.
    pub token: String,
    /// When that ends.
    pub token_ends_at: Millis,
}

impl App {
    /// What an access token says; `401 unauthenticated` whatever is wrong with it.
    pub(crate) fn read_token(&self, token: &str) -> Result<Arc<AccessClaims>, Problem> {
        self.node.read_token(token).map_err(|refused| match refused {
            TokenRefused::NoKeys => {
                Problem::new(503, "no_signing_key", "the keys that sign tokens are not to be had right now").retry_after(1)
            }
            _ => problems::unauthenticated(true),
        })
    }

    /// Whose it is by now; `401 unauthenticated` where its session has ended.
    pub(crate) fn account(&self, claims: &AccessClaims) -> Result<Account, Problem> {
        self.node.account(claims)?.ok_or_else(|| problems::unauthenticated(true))
    }

    /// A principal; `None` where nobody is there.
    pub(crate) fn principal(&self, home: &Home) -> Result<Option<Arc<KnownPrincipal>>, Problem> {
        self.node.principal(home)
    }

    /// What a session opens in an org; `None` where it may not be used there.
    pub(crate) async fn session_holder(&self, account: &Account, org: &OrgId, from: Option<IpAddr>) -> Result<Option<Holder>, Problem> {
        self.node.session_holder(&account.home, &account.session.id, org, from).await
    }

    /// Signs an access token for a session that is live.
    pub(crate) async fn open(&self, home: Home, session: StartedSession) -> Result<Opened, Problem> {
        let now = self.now();
        let known = self.node.principal(&home)?;
        let live = known.as_deref().and_then(|known| known.session(&session.id, now));
        let live = live.ok_or_else(|| problems::unauthenticated(true))?;
        let ends_at = now.saturating_add(self.node.tokens().lifetime_ms(&home)).min(live.expires_at);
        let claims = AccessClaims {
            aud: self.node.issuer().to_owned(),
            home: home.clone(),
            org: (!home.is_person()).then(|| home.org.clone()),
            sid: live.id.clone(),
            jti: mint()?,
            scope: live.patterns.clone(),
            client_id: live.client.clone().unwrap_or_else(|| CLIENT.to_owned()),
            act: live.act.clone(),
            amr: live.amr.clone(),
            auth_time: Some(live.auth_time / 1_000),
            iat: now / 1_000,
            exp: ends_at / 1_000,
        };
        let node = self.node.clone();
        // The first token of a key waits for the disk.
        let signed = tokio::task::spawn_blocking(move || node.issue(&claims)).await;
        let token = signed.map_err(|e| problems::internal(format!("the token was not signed: {e}")))??;
        Ok(Opened {
            home,
            session,
            token,
            token_ends_at: ends_at / 1_000 * 1_000,
        })
    }

    /// The orgs of which somebody is a member, with their roles as commands are decided by; `None` where the views cannot tell.
    pub(crate) async fn orgs_of(&self, own: &Own) -> Result<Option<Vec<(OrgId, Role)>>, Problem> {
        let home = &own.account().home;
        let found = if home.is_person() {
            match self.views.orgs_of(&home.id, ACCOUNT_ORGS_MAX).await {
                Ok(found) => found,
                // Who asks is told who they are, whatever the views do.
                Err(problem) if problem.status == 503 => None,
                Err(problem) => return Err(problem),
            }
        } else {
            Some(vec![home.org.clone()])
        };
        let Some(found) = found else { return Ok(None) };
        let mut orgs = Vec::new();
        for org in found {
            if let Some(role) = self.node.role_in(&org, home)? {
                orgs.push((org, role));
            }
        }
        Ok(Some(orgs))
    }
}

fn mint() -> Result<String, Problem> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| problems::internal(format!("no randomness: {e}")))?;
    Ok(hex::encode(bytes))
}
