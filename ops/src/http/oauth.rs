//! OAuth 2 and OpenID Connect, for clients and libraries that know nothing of this node: errors as RFC 6749 has them, forms as
//! bodies, and who asks shown by each request itself.
//!
//! Nothing of an org is read here but the client; what a token opens is decided where it is used.

mod authorize;
mod client;
mod failure;
mod form;
mod grants;
mod issue;
mod metadata;
mod page;
mod token;
mod told;

use super::{
    App,
    surface::{Authentication, Bound, Cors, Errors, Part, Routes, Surface, USUAL},
};
use axum::routing::{get, post};
use quipu_schemas::limits;

const CORS: Cors = Cors {
    methods: "GET, POST",
    headers: "Authorization, Content-Type",
    exposed: "Retry-After, WWW-Authenticate",
};

/// Where clients get tokens.
pub(super) static OAUTH: Surface = Surface {
    prefixes: &["/oauth/"],
    errors: Errors::Shaped {
        media_type: "application/json",
        body: failure::shape,
    },
    authentication: Authentication::Open,
    body: Bound {
        most: limits::FORM_MAX_BYTES as u64,
        name: "FORM_MAX_BYTES",
    },
    cors: Some(CORS),
    ..USUAL
};

/// Where clients learn what there is.
pub(super) static WELL_KNOWN: Surface = Surface {
    prefixes: &["/.well-known/"],
    authentication: Authentication::Open,
    cors: Some(CORS),
    ..USUAL
};

/// Its surfaces with their routes.
pub(super) fn parts() -> [Part; 2] {
    let routes: Routes<App> = Routes::new()
        .route("/oauth/authorize", get(authorize::ask).post(authorize::answer))
        .route("/oauth/token", post(token::token))
        .route("/oauth/introspect", post(told::introspect))
        .route("/oauth/revoke", post(told::revoke))
        .route("/oauth/userinfo", get(told::userinfo).post(told::userinfo))
        .route("/oauth/jwks", get(metadata::jwks));
    let known = Routes::new()
        .route("/.well-known/openid-configuration", get(metadata::server))
        .route("/.well-known/oauth-authorization-server", get(metadata::server))
        .route("/.well-known/oauth-protected-resource", get(metadata::resource));
    [
        Part { surface: &OAUTH, routes },
        Part {
            surface: &WELL_KNOWN,
            routes: known,
        },
    ]
}
