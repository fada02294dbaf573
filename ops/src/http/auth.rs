//! `/v1/auth` and `/v1/me`: an account, its sessions, and what a person changes of their own.

mod codes;
mod given;
mod invites;
mod me;
mod own;
mod password;
mod sign_in;

use super::{
    App,
    guard::COOKIE,
    surface::{ACCOUNT, Part, REGISTER, Routes, SECRETS, SIGN_IN},
};
use axum::{
    http::{HeaderValue, header},
    response::Response,
    routing::{delete, get, post},
};

/// Its surfaces with their routes.
pub(super) fn parts() -> [Part; 4] {
    let sign_in = Routes::new()
        .route("/v1/auth/login", post(sign_in::login))
        .route("/v1/auth/refresh", post(sign_in::refresh))
        .route("/v1/auth/password/forgot", post(codes::forgot))
        .route("/v1/auth/password/reset", post(codes::reset))
        .route("/v1/auth/address/verify", post(codes::verify))
        .route("/v1/auth/invite/accept", post(invites::accept));
    let register = Routes::new().route("/v1/auth/register", post(sign_in::register));
    let secrets = Routes::new()
        .route("/v1/auth/logout", post(sign_in::logout))
        .route("/v1/auth/password/change", post(password::change))
        .route("/v1/auth/password/set", post(password::set))
        .route("/v1/auth/name", post(own::name))
        .route("/v1/auth/address/add", post(own::add))
        .route("/v1/auth/address/remove", post(own::remove))
        .route("/v1/auth/address/send", post(codes::send))
        .route("/v1/auth/link", post(codes::link))
        .route("/v1/auth/totp", post(password::enrol))
        .route("/v1/auth/totp/confirm", post(password::confirm));
    let account: Routes<App> = Routes::new()
        .route("/v1/me", get(me::me))
        .route("/v1/me/sessions", get(me::sessions).delete(me::end_all))
        .route("/v1/me/sessions/{id}", delete(me::end));
    [
        Part {
            surface: &SIGN_IN,
            routes: sign_in,
        },
        Part {
            surface: &REGISTER,
            routes: register,
        },
        Part {
            surface: &SECRETS,
            routes: secrets,
        },
        Part {
            surface: &ACCOUNT,
            routes: account,
        },
    ]
}

/// Gives the browser a session for so many seconds, or takes it away.
fn set_cookie(response: &mut Response, token: &str, seconds: u64) {
    let text = format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax");
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}
