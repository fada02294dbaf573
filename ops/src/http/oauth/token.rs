//! `POST /oauth/token`: which grant, by which client.

use super::{
    client::{self, Client},
    device,
    failure::{refused, with_challenge},
    form::Posted,
    grants, own_key,
};
use crate::http::{App, Failure};
use axum::{extract::State, response::Response};
use quipu_kinds::application::GrantType;

/// The grant of RFC 8693.
pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The grants, by the names of the standards.
pub(super) const GRANTS: [(&str, GrantType); 5] = [
    ("authorization_code", GrantType::AuthorizationCode),
    ("refresh_token", GrantType::RefreshToken),
    ("client_credentials", GrantType::ClientCredentials),
    (EXCHANGE, GrantType::TokenExchange),
    (device::GRANT, GrantType::DeviceCode),
];

/// The grant of a name.
pub(super) fn grant_named(name: &str) -> Option<GrantType> {
    GRANTS.iter().find(|(known, _)| *known == name).map(|(_, grant)| *grant)
}

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
    if named == device::GRANT {
        return device::grant(app, posted).await;
    }
    if let Some((home, assertion)) = client::principal(posted)? {
        return own_key::grant(app, posted, (&home, &assertion)).await;
    }
    let grant = grant_named(named);
    // Who asks comes first: what a client may not is its own business.
    let client = Client::of(app, posted)?;
    let unsupported = || refused("unsupported_grant_type", "this node knows no such grant");
    let grant = grant.ok_or_else(unsupported)?;
    if !client.app.may(grant) {
        return Err(refused("unauthorized_client", "this client was not registered for the grant"));
    }
    match grant {
        GrantType::AuthorizationCode => grants::code(app, &client, &posted.fields).await,
        GrantType::RefreshToken => grants::refresh(app, &client, &posted.fields).await,
        GrantType::ClientCredentials => grants::client_credentials(app, &client, &posted.fields).await,
        GrantType::TokenExchange => grants::exchange(app, &client, &posted.fields).await,
        GrantType::DeviceCode => Err(unsupported()),
    }
}
