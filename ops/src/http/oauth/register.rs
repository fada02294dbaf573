//! `POST /oauth/register`: a client is made by the program that it is for (RFC 7591), for whoever has been given a key of the org that
//! may make applications. Nobody else registers anything.
//!
//! What is asked for becomes the application's own `create` command, decided as any other: there is no second set of checks to escape.

use super::{
    failure::refused,
    token::{GRANTS, grant_named},
};
use crate::{
    asked::Correlation,
    http::{
        App, Failure, json,
        request::{CameFrom, Fields},
    },
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use quipu_kinds::application::{ClientAuthentication, DescribeApplication, GrantType};
use quipu_runtime::{
    api::CommandRequest,
    holder::Holder,
    tokens::{scope_of, scope_text},
};
use quipu_schemas::{
    client_secret::ClientId,
    envelope::{DataClass, Receipt},
    ids::{EntityId, Kind},
    jwk::PublicJwk,
    problem::Problem,
    redirect::RedirectUri,
    rights::Capability,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};

const CREATE: Capability = Capability::named("application.create");
const ROTATE: Capability = Capability::named("application.rotate_secret");
/// What a client gets that names no scope: it finds out who somebody is.
const DEFAULT_SCOPE: &str = "openid";

/// Answers with the client.
pub(super) async fn register(
    State(app): State<App>,
    CameFrom(from): CameFrom,
    headers: HeaderMap,
    Extension(correlation): Extension<Correlation>,
    fields: Result<Fields, Failure>,
) -> Response {
    let made = match fields {
        Ok(Fields(metadata)) => make(&app, from, &headers, correlation, &metadata).await,
        Err(failure) => Err(failure),
    };
    made.unwrap_or_else(IntoResponse::into_response)
}

async fn make(
    app: &App,
    from: Option<IpAddr>,
    headers: &HeaderMap,
    correlation: Correlation,
    metadata: &Value,
) -> Result<Response, Failure> {
    let holder = holder(app, from, headers).await?;
    // Before anything of what was sent is looked at: whoever may not make one is told nothing else.
    may(app, &holder, &CREATE)?;
    let wanted = described(metadata)?;
    let shows_secret = matches!(
        wanted.authentication,
        ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost
    );
    if shows_secret {
        may(app, &holder, &ROTATE)?;
    }
    let body = serde_json::to_value(&wanted).map_err(|e| Problem::new(500, "internal", e.to_string()))?;
    let made = send(app, &holder, &correlation, None, ("create", body)).await?;
    let id = made.stream.id.clone();
    let secret = match shows_secret {
        true => {
            send(app, &holder, &correlation, Some(id.clone()), ("rotate_secret", json!({})))
                .await?
                .shown
        }
        false => None,
    };
    let client = ClientId {
        org: holder.org().clone(),
        id,
    };
    let mut told = told(&wanted, &client);
    told["client_id_issued_at"] = (app.now() / 1_000).into();
    if let Some(secret) = secret {
        told["client_secret"] = secret.as_str().into();
        told["client_secret_expires_at"] = 0.into();
    }
    let mut response = json(&told)?;
    *response.status_mut() = StatusCode::CREATED;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Whose key was shown. It is the initial access token of RFC 7591.
async fn holder(app: &App, from: Option<IpAddr>, headers: &HeaderMap) -> Result<Holder, Failure> {
    let none = || refused("invalid_token", "a key of the org that may make applications is to be shown");
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = given
        .and_then(|given| given.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, key) = shown.ok_or_else(none)?;
    match app.key_holder(key.trim(), from).await {
        Ok(holder) if holder.is_known() => Ok(holder),
        Err(problem) if problem.is_unavailable() => Err(problem.into()),
        Ok(_) => Err(none()),
        Err(problem) => {
            if let Some(asker) = app.ended_asker(key.trim()).await {
                app.note_refused(&asker, "/oauth/register", &problem);
            }
            Err(none())
        }
    }
}

fn may(app: &App, holder: &Holder, right: &Capability) -> Result<(), Failure> {
    let lacking = |problem: Problem| match problem.is_unavailable() {
        true => Failure(problem),
        false => refused("insufficient_scope", format!("the key that was shown lacks the right {right}")),
    };
    holder.ask(right, None, app.now()).map_err(lacking)
}

async fn send(
    app: &App,
    holder: &Holder,
    correlation: &Correlation,
    id: Option<EntityId>,
    (command, body): (&str, Value),
) -> Result<Receipt, Failure> {
    let request = CommandRequest {
        org: holder.org().clone(),
        kind: Kind::APPLICATION,
        id,
        command: command.to_owned(),
        body,
        command_id: None,
        principal: holder.principal().clone(),
        on_behalf_of: None,
        credential: Some(holder.credential().clone()),
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: Some(correlation.0.clone()),
        traceparent: None,
    };
    app.command(request).await.map_err(not_made)
}

/// A refusal of the application's rules, as clients know it.
fn not_made(problem: Problem) -> Failure {
    match (problem.status, problem.code.as_str()) {
        (422, "bad_redirect_uris") => refused("invalid_redirect_uri", problem.detail),
        (422, _) => refused("invalid_client_metadata", problem.detail),
        (401, _) => refused("invalid_token", problem.detail),
        (403, _) => refused("insufficient_scope", problem.detail),
        _ => Failure(problem),
    }
}

fn bad(detail: impl Into<String>) -> Failure {
    refused("invalid_client_metadata", detail)
}

/// A text of the metadata.
fn text<'a>(metadata: &'a Value, name: &'static str) -> Result<Option<&'a str>, Failure> {
    match &metadata[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(bad(format!("{name} is a text"))),
    }
}

/// A list of texts.
fn texts<'a>(metadata: &'a Value, name: &'static str) -> Result<Option<Vec<&'a str>>, Failure> {
    let list = || bad(format!("{name} is a list of texts"));
    match &metadata[name] {
        Value::Null => Ok(None),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().ok_or_else(list))
            .collect::<Result<_, _>>()
            .map(Some),
        _ => Err(list()),
    }
}

/// What an application is to be. What the metadata says beyond it is left unread, as the standard has it, unless it would change
/// whom the client's keys and words are believed to be from.
fn described(metadata: &Value) -> Result<DescribeApplication, Failure> {
    if !metadata.is_object() {
        return Err(bad("the metadata is a JSON object"));
    }
    if !metadata["software_statement"].is_null() {
        return Err(refused("invalid_software_statement", "software statements are not taken"));
    }
    if !metadata["jwks_uri"].is_null() {
        return Err(bad("keys are given by `jwks`, not by an address"));
    }
    let grants = texts(metadata, "grant_types")?.unwrap_or_else(|| vec!["authorization_code"]);
    let known = |name: &&str| grant_named(name).ok_or_else(|| bad(format!("not a grant: {name}")));
    let grants: BTreeSet<GrantType> = grants.iter().map(known).collect::<Result<_, _>>()?;
    let answers = texts(metadata, "response_types")?;
    if answers.iter().flatten().any(|name| *name != "code") {
        return Err(bad("response_types knows `code` alone"));
    }
    let authentication = match text(metadata, "token_endpoint_auth_method")?.unwrap_or("client_secret_basic") {
        "none" => ClientAuthentication::None,
        "client_secret_basic" => ClientAuthentication::ClientSecretBasic,
        "client_secret_post" => ClientAuthentication::ClientSecretPost,
        "private_key_jwt" => ClientAuthentication::PrivateKeyJwt,
        other => return Err(bad(format!("not a way to authenticate: {other}"))),
    };
    let address = |text: &&str| {
        text.parse::<RedirectUri>()
            .map_err(|e| refused("invalid_redirect_uri", e.to_string()))
    };
    let redirects = texts(metadata, "redirect_uris")?.unwrap_or_default();
    let redirect_uris = redirects.iter().map(address).collect::<Result<_, _>>()?;
    let scope = scope_of(text(metadata, "scope")?.unwrap_or(DEFAULT_SCOPE)).map_err(|e| bad(e.to_string()))?;
    let keys = match &metadata["jwks"] {
        Value::Null => Vec::new(),
        jwks => keys(jwks)?,
    };
    Ok(DescribeApplication {
        name: text(metadata, "client_name")?.unwrap_or("Client").to_owned(),
        grants,
        authentication,
        redirect_uris,
        scopes: scope.into_iter().collect(),
        keys,
    })
}

/// Public keys. What else a JWK says of itself (`kid`, `use`, `alg`) changes nothing; its private half would.
fn keys(jwks: &Value) -> Result<Vec<PublicJwk>, Failure> {
    let list = jwks["keys"].as_array().ok_or_else(|| bad("jwks is an object with a list `keys`"))?;
    let key = |jwk: &Value| {
        let mut own = jwk.as_object().cloned().unwrap_or_default();
        for name in ["kid", "use", "alg", "key_ops"] {
            own.remove(name);
        }
        serde_json::from_value(own.into()).map_err(|_| bad("a key is the public half of P-256 or Ed25519"))
    };
    list.iter().map(key).collect()
}

/// What was registered, in the words of RFC 7591.
fn told(wanted: &DescribeApplication, client: &ClientId) -> Value {
    let grants: Vec<&str> = GRANTS
        .iter()
        .filter(|(_, grant)| wanted.grants.contains(grant))
        .map(|(name, _)| *name)
        .collect();
    let scopes: Vec<_> = wanted.scopes.iter().cloned().collect();
    let mut told = json!({
        "client_id": client.to_string(),
        "client_name": wanted.name,
        "grant_types": grants,
        "response_types": if wanted.grants.contains(&GrantType::AuthorizationCode) { vec!["code"] } else { vec![] },
        "token_endpoint_auth_method": wanted.authentication.named(),
        "redirect_uris": wanted.redirect_uris,
        "scope": scope_text(&scopes),
    });
    if !wanted.keys.is_empty() {
        told["jwks"] = json!({ "keys": wanted.keys });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(metadata: Value) -> String {
        described(&metadata).map_or_else(|failure| failure.0.code, |_| String::new())
    }

    #[test]
    fn metadata_is_what_the_standard_says_or_refused_by_its_names() {
        let plain = described(&json!({ "redirect_uris": ["https://app.example/cb"], "logo_uri": "https://x.example/l.png" })).unwrap();
        assert_eq!(plain.authentication, ClientAuthentication::ClientSecretBasic);
        assert_eq!(plain.grants.iter().copied().collect::<Vec<_>>(), [GrantType::AuthorizationCode]);
        let client: ClientId = "acme.app_1".parse().unwrap();
        let told = told(&plain, &client);
        assert_eq!((&told["scope"], &told["response_types"]), (&json!("openid"), &json!(["code"])));
        for (metadata, expected) in [
            (json!([]), "invalid_client_metadata"),
            (json!({ "redirect_uris": ["http://app.example/cb"] }), "invalid_redirect_uri"),
            (json!({ "redirect_uris": ["https://*.example/cb"] }), "invalid_redirect_uri"),
            (json!({ "redirect_uris": "https://app.example/cb" }), "invalid_client_metadata"),
            (json!({ "redirect_uris": ["javascript:alert(1)"] }), "invalid_redirect_uri"),
            (json!({ "grant_types": ["implicit"] }), "invalid_client_metadata"),
            (json!({ "grant_types": ["password"] }), "invalid_client_metadata"),
            (json!({ "response_types": ["token"] }), "invalid_client_metadata"),
            (
                json!({ "token_endpoint_auth_method": "client_secret_jwt" }),
                "invalid_client_metadata",
            ),
            (json!({ "scope": "everything" }), "invalid_client_metadata"),
            (json!({ "jwks_uri": "https://app.example/jwks" }), "invalid_client_metadata"),
            (json!({ "jwks": {} }), "invalid_client_metadata"),
            (json!({ "jwks": { "keys": [{ "kty": "RSA" }] } }), "invalid_client_metadata"),
            (json!({ "software_statement": "eyJ" }), "invalid_software_statement"),
        ] {
            assert_eq!(code(metadata.clone()), expected, "{metadata}");
        }
    }
}
