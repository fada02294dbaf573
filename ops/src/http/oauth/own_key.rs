//! An agent or a service logs in as itself: what it signs by a key of its principal opens a session (RFC 6749, 4.4, by RFC 7523).

use super::{
    assertion,
    client::unknown,
    failure::refused,
    form::Posted,
    grants::audience,
    issue::{self, Issued},
};
use crate::http::{App, Failure};
use axum::response::Response;
use quipu_kinds::principal::PrincipalType;
use quipu_runtime::{
    accounts::{NewSession, method_of_key},
    tokens::scope_of,
};
use quipu_schemas::{ids::Home, limits::SESSION_OF_CLIENT_MS};

/// How whoever signs has proved who they are, in the words of RFC 8176.
const METHOD: &str = "pop";

/// Answers with a token of the principal that an assertion says it is of. Whether there is such a one, whether it was stopped, and which keys it
/// has, shows in no answer.
pub(super) async fn grant(app: &App, posted: &Posted, (home, shown): (&Home, &str)) -> Result<Response, Failure> {
    let node = app.accounts();
    let (fields, name) = (&posted.fields, home.to_string());
    let known = node.principal(home)?;
    // People log in by what people have.
    let known = known.filter(|known| known.is_active() && known.kind != PrincipalType::Person);
    let known = known.ok_or_else(unknown)?;
    let is_named = fields.get("client_id").is_none_or(|client| client == name);
    let signed = is_named
        .then(|| assertion::signed_by(app, known.public_keys.values(), &name, shown))
        .flatten();
    let key = signed.ok_or_else(unknown)?.thumbprint();
    if fields.need("grant_type")? != "client_credentials" {
        return Err(refused(
            "unauthorized_client",
            "a principal that signs by its own key asks for client_credentials",
        ));
    }
    // Without a scope the token would open all that the principal may.
    let asked = fields.get("scope").unwrap_or_default();
    let scope = scope_of(asked).map_err(|e| refused("invalid_scope", e.to_string()))?;
    if scope.is_empty() {
        return Err(refused("invalid_scope", "name what the token is for: scope=cap:run.*"));
    }
    let session = NewSession {
        client: Some(name.clone()),
        scope,
        audience: audience(node, fields)?,
        amr: vec![METHOD.into(), method_of_key(&key)],
        auth_time: node.now(),
        lifetime_ms: SESSION_OF_CLIENT_MS,
        ..NewSession::default()
    };
    let started = node.start_session(home, session).await?;
    issue::answer(
        node,
        &name,
        &Issued {
            home,
            session: &started.id,
            refresh: None,
            identity: None,
            issued_type: None,
        },
    )
}
