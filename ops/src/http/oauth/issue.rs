//! Answers with tokens: what they say follows from the session, and none outlives it.

use super::failure::no_grant;
use crate::http::{Failure, json};
use axum::response::Response;
use quipu_runtime::{
    kernel::principals::KnownSession,
    node::Node,
    tokens::{AccessClaims, IdClaims, scope_text},
};
use quipu_schemas::{
    context::Millis,
    envelope::Shown,
    ids::{EntityId, Home},
    limits::ID_TOKEN_MS,
    rights::Pattern,
};
use serde_json::{Value, json};

/// Scopes that say something of logging in.
pub(super) const OPENID: &str = "cap:openid.sign_in";
/// The scope `profile`: the name.
pub(super) const PROFILE: &str = "cap:openid.profile";
/// The scope `email`: an address.
pub(super) const EMAIL: &str = "cap:openid.email";

/// What a session is answered with.
pub(super) struct Issued<'a> {
    /// Whose it is.
    pub(super) home: &'a Home,
    /// The session.
    pub(super) session: &'a EntityId,
    /// The refresh token, where the client gets one.
    pub(super) refresh: Option<&'a Shown>,
    /// What the client sent along with its request, for the ID token; `None` where there is no ID token.
    pub(super) identity: Option<Option<String>>,
    /// The kind of token, where an answer has to name it (RFC 8693).
    pub(super) issued_type: Option<&'static str>,
}

/// Whether a scope asks for an ID token.
pub(super) fn is_openid(scope: &[Pattern]) -> bool {
    scope.iter().any(|pattern| pattern.to_string() == OPENID)
}

/// Answers with the tokens of a live session, for the client of this name.
pub(super) fn answer(node: &Node, client: &str, issued: &Issued<'_>) -> Result<Response, Failure> {
    let session = node.live_session(issued.home, issued.session)?.ok_or_else(no_grant)?;
    let now = node.now();
    let claims = claims(node, client, issued.home, &session, now)?;
    let mut answer = json!({
        "access_token": node.issue(&claims)?,
        "token_type": "Bearer",
        "expires_in": claims.exp.saturating_sub(claims.iat),
        "scope": scope_text(&session.patterns),
    });
    if let Some(refresh) = issued.refresh {
        answer["refresh_token"] = Value::from(refresh.as_str());
    }
    if let Some(issued_type) = issued.issued_type {
        answer["issued_token_type"] = issued_type.into();
    }
    if let Some(nonce) = issued.identity.as_ref().filter(|_| is_openid(&session.patterns)) {
        let identity = IdClaims {
            client_id: client.to_owned(),
            home: issued.home.clone(),
            sid: session.id.clone(),
            nonce: nonce.clone(),
            amr: session.amr.clone(),
            auth_time: session.auth_time / 1_000,
            iat: now / 1_000,
            exp: until(now, ID_TOKEN_MS, session.expires_at),
        };
        answer["id_token"] = node.issue_identity(&identity)?.into();
    }
    json(&answer)
}

/// When something that lives so long ends, in seconds: never after its session.
fn until(now: Millis, lifetime_ms: Millis, session: Millis) -> u64 {
    now.saturating_add(lifetime_ms).min(session) / 1_000
}

fn claims(node: &Node, client: &str, home: &Home, session: &KnownSession, now: Millis) -> Result<AccessClaims, Failure> {
    // Whoever acts for a person does it with the short tokens of agents.
    let acts = session.act.first().unwrap_or(home);
    let lifetime_ms = node.tokens().lifetime_ms(acts).min(node.tokens().lifetime_ms(home));
    let iat = now / 1_000;
    let exp = until(now, lifetime_ms, session.expires_at);
    Ok(AccessClaims {
        aud: session.audience.clone().unwrap_or_else(|| node.issuer().to_owned()),
        home: home.clone(),
        org: (!home.is_person()).then(|| home.org.clone()),
        sid: session.id.clone(),
        jti: node.tokens().new_id(now)?,
        scope: session.patterns.clone(),
        client_id: client.to_owned(),
        act: session.act.clone(),
        amr: session.amr.clone(),
        auth_time: Some(session.auth_time / 1_000),
        iat,
        exp,
    })
}
