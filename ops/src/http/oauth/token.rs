//! `POST /oauth/token`: which grant, by which client.

use super::{
    client::Client,
    failure::{refused, with_challenge},
    form::Posted,
    grants,
};
use crate::http::{App, Failure};
use axum::{extract::State, response::Response};
use quipu_kinds::application::GrantType;

/// The grant of RFC 8693.
pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Answers with tokens.
pub(super) async fn token(State(app): State<App>, posted: Result<Posted, Failure>) -> Response {
    let answered = match posted {
        Ok(posted) => grant(&app, &posted).await,
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(with_challenge)
}

async fn grant(app: &App, posted: &Posted) -> Result<Response, Failure> {
    let named = posted.fields.need("grant_type")?;
    let (grant, known) = match named {
        "authorization_code" => (GrantType::AuthorizationCode, true),
        "refresh_token" => (GrantType::RefreshToken, true),
        "client_credentials" => (GrantType::ClientCredentials, true),
        EXCHANGE => (GrantType::TokenExchange, true),
        _ => (GrantType::DeviceCode, false),
    };
    // Who asks comes first: what a client may not is its own business.
    let client = Client::of(app, posted)?;
    if !known {
        return Err(refused("unsupported_grant_type", "this node knows no such grant"));
    }
    if !client.app.may(grant) {
        return Err(refused("unauthorized_client", "this client was not registered for the grant"));
    }
    match grant {
        GrantType::AuthorizationCode => grants::code(app, &client, &posted.fields).await,
        GrantType::RefreshToken => grants::refresh(app, &client, &posted.fields).await,
        GrantType::ClientCredentials => grants::client_credentials(app, &client, &posted.fields).await,
        GrantType::TokenExchange => grants::exchange(app, &client, &posted.fields).await,
        GrantType::DeviceCode => Err(refused("unsupported_grant_type", "this node knows no such grant")),
    }
}
