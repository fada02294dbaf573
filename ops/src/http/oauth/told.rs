//! What is told of a token, and its end: RFC 7662, RFC 7009, and who somebody is by OpenID Connect.

use super::{
    client::Client,
    failure::{refused, with_challenge},
    form::Posted,
    issue,
};
use crate::http::{Answer, App, Failure, guard::rates::wrong_credential, json};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use quipu_runtime::{
    kernel::principals::KnownSession,
    node::Node,
    tokens::{AccessClaims, For, act_of, scope_text, subject_text},
};
use quipu_schemas::{
    client_secret::ClientId,
    ids::{EntityId, Home},
};
use serde_json::{Value, json};

/// `POST /oauth/introspect`: what a token opens, for a client that was shown it. Of another org's it learns nothing.
pub(super) async fn introspect(State(app): State<App>, posted: Result<Posted, Failure>) -> Response {
    let told = posted.and_then(|posted| {
        let told = what_it_is(&app, &posted);
        // Services ask all the time; whoever is wrong about who they are is guessing.
        match told {
            Err(failure) if failure.0.status == 401 => Err(wrong_credential(&app, posted.from).err().map_or(failure, Failure)),
            told => told,
        }
    });
    told.unwrap_or_else(with_challenge)
}

fn what_it_is(app: &App, posted: &Posted) -> Result<Response, Failure> {
    let client = Client::of(app, posted)?;
    if !client.is_confidential() {
        return Err(refused("unauthorized_client", "a client that shows nothing is told nothing"));
    }
    let node = app.accounts();
    let shown = posted.fields.need("token")?;
    let live = match node.tokens().read(shown, For::Anybody, node.now()) {
        Ok(claims) => node.live_session(&claims.home, &claims.sid)?.map(|session| (claims, session)),
        Err(_) => None,
    };
    let told = live.filter(|(claims, _)| concerns(&client.id, claims));
    json(&told.map_or_else(|| json!({ "active": false }), |(claims, session)| active(node, &claims, &session)))
}

/// Whether a token is of a client's own org: issued to one of its clients, for one of its principals, or for that org.
fn concerns(client: &ClientId, claims: &AccessClaims) -> bool {
    let issued_to: Option<ClientId> = claims.client_id.parse().ok();
    let orgs = [
        issued_to.map(|client| client.org),
        Some(claims.home.org.clone()),
        claims.org.clone(),
    ];
    orgs.iter().flatten().any(|org| *org == client.org)
}

fn active(node: &Node, claims: &AccessClaims, session: &KnownSession) -> Value {
    let mut told = json!({
        "active": true,
        "iss": node.issuer(),
        "sub": subject_text(&claims.home),
        "aud": claims.aud,
        "client_id": claims.client_id,
        "sid": claims.sid,
        "jti": claims.jti,
        "token_type": "Bearer",
        "iat": claims.iat,
        "exp": claims.exp,
        "scope": scope_text(&session.patterns),
    });
    if let Some(act) = act_of(&claims.act) {
        told["act"] = act;
    }
    told
}

/// `POST /oauth/revoke`: ends the session that a token belongs to, and with it every token of it. A token that is none has ended.
pub(super) async fn revoke(State(app): State<App>, posted: Result<Posted, Failure>) -> Response {
    let ended = match posted {
        Ok(posted) => end(&app, &posted).await,
        Err(failure) => Err(failure),
    };
    ended.unwrap_or_else(with_challenge)
}

async fn end(app: &App, posted: &Posted) -> Result<Response, Failure> {
    let client = Client::of(app, posted)?;
    let node = app.accounts();
    if let Some((home, session)) = session_of(node, posted.fields.need("token")?) {
        let known = node.principal(&home)?;
        let live = known.as_ref().and_then(|known| known.session(&session, node.now()));
        match live.map(|live| live.client.as_deref() == Some(client.id.to_string().as_str())) {
            Some(true) => node.end_session(&home, &session).await?,
            // Whoever asks must not believe that it has ended.
            Some(false) => return Err(refused("invalid_grant", "the token was not issued to this client")),
            None => {}
        }
    }
    let mut response = StatusCode::OK.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn session_of(node: &Node, token: &str) -> Option<(Home, EntityId)> {
    node.session_of_refresh(token).or_else(|| {
        let claims = node.tokens().read(token, For::Anybody, node.now()).ok()?;
        Some((claims.home.clone(), claims.sid.clone()))
    })
}

/// `GET` and `POST /oauth/userinfo`: who logged in, for whoever shows their access token. Name and address are told by the scopes that
/// people see on the page.
pub(super) async fn userinfo(State(app): State<App>, headers: HeaderMap) -> Answer {
    let node = app.accounts();
    let none = || refused("invalid_token", "the access token is missing, over, or not for this node");
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given
        .and_then(|given| given.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or_else(none)?;
    let claims = node.read_token(token.trim()).map_err(|_| none())?;
    let session = node.live_session(&claims.home, &claims.sid)?.ok_or_else(none)?;
    if !issue::is_openid(&session.patterns) {
        return Err(refused("insufficient_scope", "the token lacks the scope openid"));
    }
    let mut told = json!({ "sub": subject_text(&claims.home) });
    let lets = |right: &str| session.patterns.iter().any(|pattern| pattern.to_string() == right);
    let (profile, email) = (lets(issue::PROFILE), lets(issue::EMAIL));
    if claims.home.is_person() && (profile || email) {
        let known = node.identity(&claims.home)?;
        if let Some(name) = known.name.filter(|_| profile) {
            told["name"] = name.into();
        }
        if let Some(address) = known.address.filter(|_| email) {
            told["email"] = address.into();
            told["email_verified"] = known.is_verified.into();
        }
    }
    json(&told)
}
