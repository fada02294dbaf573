//! How tokens are signed, and whose they are.

use super::{ConfigError, wrong};
use crate::app::Registration;
use quipu_runtime::{
    accounts::KeyHash,
    tokens::{Algorithm, TokensConfig},
};
use quipu_schemas::limits;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    pub(super) signing: String,
    pub(super) signing_series: u32,
    pub(super) access_minutes: u64,
    pub(super) registration: String,
    pub(super) key_hash: String,
    pub(super) node_token: String,
}
impl Default for Auth {
    fn default() -> Self {
        Self {
            signing: "es256".into(),
            signing_series: 1,
            access_minutes: limits::TOKEN_OF_PERSON_MS / 60_000,
            registration: "invite".into(),
            key_hash: "hmac".into(),
            node_token: "file".into(),
        }
    }
}

/// Clients find everything by this address and compare it letter by letter, so that it has one form.
pub(super) fn tokens(public_url: &str, auth: &Auth) -> Result<TokensConfig, ConfigError> {
    let issuer = public_url.trim_end_matches('/');
    let rest = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"));
    let is_origin =
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#', '@', ' ']) && rest == rest.to_ascii_lowercase());
    if !issuer.is_empty() && !is_origin {
        let detail =
            format!("not the address of a server: `{public_url}`; use https://host[:port] in lower case, as clients reach this node");
        return Err(wrong("public_url", detail));
    }
    let algorithm = match auth.signing.as_str() {
        "es256" => Algorithm::Es256,
        "eddsa" => Algorithm::EdDsa,
        other => {
            return Err(wrong(
                "auth.signing",
                format!("not a way of signing: `{other}`; use es256 or eddsa"),
            ));
        }
    };
    let most = limits::TOKEN_LIFETIME_MAX_MS / 60_000;
    if !(1..=most).contains(&auth.access_minutes) {
        return Err(wrong("auth.access_minutes", format!("use 1 to {most}")));
    }
    Ok(TokensConfig {
        issuer: issuer.to_owned(),
        algorithm,
        series: auth.signing_series,
        person_ms: auth.access_minutes * 60_000,
    })
}

/// Who gets an account.
pub(super) fn registration(auth: &Auth) -> Result<Registration, ConfigError> {
    match auth.registration.as_str() {
        "closed" => Ok(Registration::Closed),
        "invite" => Ok(Registration::Invite),
        "open" => Ok(Registration::Open),
        other => Err(wrong(
            "auth.registration",
            format!("not a way of registering: `{other}`; use closed, invite or open"),
        )),
    }
}

/// What is kept of new API keys.
pub(super) fn key_hash(auth: &Auth) -> Result<KeyHash, ConfigError> {
    match auth.key_hash.as_str() {
        "hmac" => Ok(KeyHash::Hmac),
        "argon2id" => Ok(KeyHash::Argon2id),
        other => Err(wrong(
            "auth.key_hash",
            format!("not a way of keeping keys: `{other}`; use hmac or argon2id"),
        )),
    }
}

/// Whether the node's own token opens anything.
pub(super) fn node_token(auth: &Auth) -> Result<bool, ConfigError> {
    match auth.node_token.as_str() {
        "file" => Ok(true),
        "off" => Ok(false),
        other => Err(wrong(
            "auth.node_token",
            format!("not a way to have the node's own token: `{other}`; use file or off"),
        )),
    }
}
