//! What clients find out by themselves: RFC 8414, OpenID Connect Discovery, RFC 9728, RFC 7517. All of it names the configured
//! address and nothing of the request.

use super::token::GRANTS;
use crate::http::{Answer, App, json, params::Params};
use axum::{
    extract::State,
    http::{HeaderValue, Uri, header},
    response::Response,
};
use serde_json::json;

/// How long others may keep it: much less than a key is published before its first use.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");

const CLIENT_METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
const CLIENT_ALGORITHMS: [&str; 2] = ["ES256", "EdDSA"];
/// What ID tokens and `userinfo` tell.
const CLAIMS: [&str; 12] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "amr",
    "nonce",
    "sid",
    "name",
    "email",
    "email_verified",
];
/// Scopes that are no rights in an org; rights of orgs are scopes as well, and stand in no list.
const SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

fn kept(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, KEPT);
    response
}

/// `GET /.well-known/openid-configuration` and `GET /.well-known/oauth-authorization-server`.
pub(super) async fn server(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let node = app.accounts();
    let issuer = node.issuer();
    let at = |path: &str| format!("{issuer}/oauth/{path}");
    let with_none: Vec<&str> = CLIENT_METHODS.iter().copied().chain(["none"]).collect();
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "device_authorization_endpoint": at("device_authorization"),
        "registration_endpoint": at("register"),
        "introspection_endpoint": at("introspect"),
        "revocation_endpoint": at("revoke"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": at("jwks"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": GRANTS.map(|(name, _)| name),
        "token_endpoint_auth_methods_supported": with_none,
        "token_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": CLIENT_METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": with_none,
        "revocation_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [node.tokens().algorithm().name()],
        "claims_supported": CLAIMS,
        "prompt_values_supported": ["none", "login", "consent"],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    });
    json(&document).map(kept)
}

/// `GET /.well-known/oauth-protected-resource`.
pub(super) async fn resource(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let issuer = app.accounts().issuer();
    let document = json!({
        "resource": issuer,
        "authorization_servers": [issuer],
        "jwks_uri": format!("{issuer}/oauth/jwks"),
        "bearer_methods_supported": ["header"],
        "resource_name": "Quipu",
    });
    json(&document).map(kept)
}

/// `GET /oauth/jwks`.
pub(super) async fn jwks(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    json(&app.accounts().jwks()?).map(kept)
}
