//! Grants: what a client shows, and the session that it gets for it. Rights never grow on the way.

use super::{
    client::Client,
    failure::{grant_failed, no_grant, refused},
    form::Fields,
    issue::{self, Issued},
};
use crate::http::{App, Failure};
use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_kinds::{
    application::GrantType,
    principal::{PrincipalType, SessionParent},
};
use quipu_runtime::{
    accounts::NewSession,
    clients::covers,
    node::Node,
    tokens::{For, scope_of},
};
use quipu_schemas::{
    ids::Home,
    limits::{SESSION_OF_CLIENT_MS, TOKEN_ACTORS_MAX, TOKEN_AUDIENCE_MAX_CHARS},
    rights::Pattern,
};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Parts a code from what the client sent along with its request.
const PARTED: char = '~';

/// What a client may have of what it asks for: all of that, or a refusal. Without asking it gets what it was registered for.
pub(super) fn scope(client: &Client, asked: Option<&str>) -> Result<Vec<Pattern>, Failure> {
    let Some(asked) = asked else {
        return Ok(client.app.is.scopes.clone());
    };
    let scope = scope_of(asked).map_err(|e| refused("invalid_scope", e.to_string()))?;
    match scope.iter().find(|right| !client.app.may_ask_for(right)) {
        // An empty scope would be one that is not cut.
        _ if scope.is_empty() => Err(refused("invalid_scope", "the scope names nothing")),
        Some(beyond) => Err(refused("invalid_scope", format!("this client was not registered for {beyond}"))),
        None => Ok(scope),
    }
}

/// For whom the token is to be (RFC 8707); `None` for the node itself.
pub(super) fn audience(node: &Node, fields: &Fields) -> Result<Option<String>, Failure> {
    let Some(resource) = fields.get("resource") else { return Ok(None) };
    let is_address = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    let is_plain = resource.bytes().all(|b| b.is_ascii_graphic()) && !resource.contains('#');
    if !is_address(resource) || !is_plain || resource.len() > TOKEN_AUDIENCE_MAX_CHARS {
        return Err(refused("invalid_target", "the resource is not an address"));
    }
    Ok((resource != node.issuer()).then(|| resource.to_owned()))
}

/// The service that a client acts as.
fn service(node: &Node, client: &Client) -> Result<Home, Failure> {
    let none = || refused("unauthorized_client", "no active service is linked to this client");
    let id = client.app.service.clone().ok_or_else(none)?;
    let home = Home {
        org: client.id.org.clone(),
        id,
    };
    let known = node.principal(&home)?.ok_or_else(none)?;
    if known.kind == PrincipalType::Service && known.is_active() {
        Ok(home)
    } else {
        Err(none())
    }
}

/// By itself, as the service that is linked to it.
pub(super) async fn client_credentials(app: &App, client: &Client, fields: &Fields) -> Result<Response, Failure> {
    let node = app.accounts();
    let home = service(node, client)?;
    let session = NewSession {
        client: Some(client.id.to_string()),
        scope: scope(client, fields.get("scope"))?,
        audience: audience(node, fields)?,
        auth_time: node.now(),
        lifetime_ms: SESSION_OF_CLIENT_MS,
        ..NewSession::default()
    };
    let started = node.start_session(&home, session).await?;
    issue::answer(
        node,
        &client.id.to_string(),
        &Issued {
            home: &home,
            session: &started.id,
            refresh: None,
            identity: None,
            issued_type: None,
        },
    )
}

/// The code as the client gets it, with what it sent along: whoever has another's code cannot put their own beside it.
pub(super) fn code_with(node: &Node, code: &str, nonce: Option<&str>) -> String {
    let Some(nonce) = nonce else { return code.to_owned() };
    let bound = node.tokens().binding(&[b"nonce", code.as_bytes(), nonce.as_bytes()]);
    let (nonce, bound) = (URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(bound.0));
    format!("{code}{PARTED}{nonce}{PARTED}{bound}")
}

fn code_without<'a>(node: &Node, shown: &'a str) -> Option<(&'a str, Option<String>)> {
    let mut parts = shown.split(PARTED);
    let (code, nonce, bound) = (parts.next()?, parts.next(), parts.next());
    if parts.next().is_some() {
        return None;
    }
    let (Some(nonce), Some(bound)) = (nonce, bound) else {
        return nonce.is_none().then_some((code, None));
    };
    let nonce = String::from_utf8(URL_SAFE_NO_PAD.decode(nonce).ok()?).ok()?;
    (code_with(node, code, Some(&nonce)).rsplit(PARTED).next() == Some(bound)).then_some((code, Some(nonce)))
}

/// By a code that a person let it have, for the verifier that it kept.
pub(super) async fn code(app: &App, client: &Client, fields: &Fields) -> Result<Response, Failure> {
    let node = app.accounts();
    let (shown, redirect_uri, verifier) = (fields.need("code")?, fields.need("redirect_uri")?, fields.need("code_verifier")?);
    let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(is_unreserved) {
        return Err(refused("invalid_request", "code_verifier has 43 to 128 unreserved characters"));
    }
    let (code, nonce) = code_without(node, shown).ok_or_else(no_grant)?;
    let name = client.id.to_string();
    let redeemed = node.redeem_code(code, Some(&name), redirect_uri, verifier).await;
    let (home, started) = redeemed.map_err(grant_failed)?;
    // It may have been registered when the code was asked for, and taken away since.
    if !client.app.is.redirect_uris.iter().any(|uri| uri.permits(redirect_uri)) {
        node.end_session(&home, &started.id).await?;
        return Err(no_grant());
    }
    let refreshes = client.app.may(GrantType::RefreshToken);
    issue::answer(
        node,
        &client.id.to_string(),
        &Issued {
            home: &home,
            session: &started.id,
            refresh: started.refresh.as_ref().filter(|_| refreshes),
            identity: Some(nonce),
            issued_type: None,
        },
    )
}

/// By the refresh token that came with the last one.
pub(super) async fn refresh(app: &App, client: &Client, fields: &Fields) -> Result<Response, Failure> {
    let node = app.accounts();
    let shown = fields.need("refresh_token")?;
    // Whether it lives is asked where it is refreshed: one that its client may not have any more is named first.
    let known = node
        .session_of_refresh(shown)
        .map(|(home, id)| Ok::<_, Failure>((node.principal(&home)?, id)))
        .transpose()?;
    let session = known
        .as_ref()
        .and_then(|(principal, id)| principal.as_ref()?.session(id, node.now()));
    let held = session.map(|session| session.patterns.clone()).unwrap_or_default();
    if held.iter().any(|right| !client.app.may_ask_for(right)) {
        return Err(refused(
            "invalid_grant",
            "this client is registered for less than was granted; ask for the grant again",
        ));
    }
    // What a token is cut to is its session's: another scope takes another session.
    if let Some(asked) = fields.get("scope") {
        let asked = scope_of(asked).map_err(|e| refused("invalid_scope", e.to_string()))?;
        if asked != held {
            return Err(refused(
                "invalid_scope",
                "a refreshed token has the scope that was granted; leave it out",
            ));
        }
    }
    let name = client.id.to_string();
    let (home, started) = node.refresh(shown, Some(&name)).await.map_err(grant_failed)?;
    issue::answer(
        node,
        &client.id.to_string(),
        &Issued {
            home: &home,
            session: &started.id,
            refresh: started.refresh.as_ref(),
            identity: Some(None),
            issued_type: None,
        },
    )
}

/// By a token of somebody, to act for them as the service that is linked to it (RFC 8693). It opens no more than that token, no
/// more than the client was registered for, and ends with what it was made from.
pub(super) async fn exchange(app: &App, client: &Client, fields: &Fields) -> Result<Response, Failure> {
    let node = app.accounts();
    if fields.need("subject_token_type")? != ACCESS_TOKEN || fields.get("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(refused("invalid_request", "access tokens alone are exchanged, for access tokens"));
    }
    if fields.get("actor_token").is_some() || fields.get("audience").is_some() {
        return Err(refused(
            "invalid_request",
            "the client itself is the actor; name the audience by `resource`",
        ));
    }
    let actor = service(node, client)?;
    let shown = node.tokens().read(fields.need("subject_token")?, For::Node, node.now());
    let subject = shown.map_err(|_| no_grant())?;
    let session = node.live_session(&subject.home, &subject.sid)?.ok_or_else(no_grant)?;
    let is_within = |right: &Pattern| session.patterns.is_empty() || session.patterns.iter().any(|held| covers(held, right));
    let mut wanted = scope(client, fields.get("scope"))?;
    if fields.get("scope").is_none() {
        // What both hold: of the wider one, what the narrower one names.
        let registered = |right: &&Pattern| client.app.is.scopes.iter().any(|own| covers(own, right));
        wanted.retain(is_within);
        wanted.extend(session.patterns.iter().filter(registered).cloned());
        wanted.sort();
        wanted.dedup();
    }
    if wanted.is_empty() || !wanted.iter().all(is_within) {
        return Err(refused("invalid_scope", "the token that was shown does not hold this"));
    }
    let mut act = vec![actor];
    act.extend(session.act.iter().cloned());
    if act.len() > TOKEN_ACTORS_MAX {
        return Err(refused("invalid_request", "too many act for each other already"));
    }
    let now = node.now();
    let new = NewSession {
        client: Some(client.id.to_string()),
        scope: wanted,
        audience: audience(node, fields)?,
        amr: session.amr.clone(),
        auth_time: session.auth_time,
        act,
        parent: Some(SessionParent {
            home: subject.home.clone(),
            session: session.id.clone(),
        }),
        lifetime_ms: SESSION_OF_CLIENT_MS.min(session.expires_at.saturating_sub(now)).max(1),
        refresh: false,
        code: None,
    };
    let started = node.start_session(&subject.home, new).await.map_err(grant_failed)?;
    issue::answer(
        node,
        &client.id.to_string(),
        &Issued {
            home: &subject.home,
            session: &started.id,
            refresh: None,
            identity: None,
            issued_type: Some(ACCESS_TOKEN),
        },
    )
}
