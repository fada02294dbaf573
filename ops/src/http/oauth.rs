//! OAuth 2 and OpenID Connect, for clients and libraries that know nothing of this node: errors as RFC 6749 has them, forms as
//! bodies, and who asks shown by each request itself.
//!
//! Nothing of an org is read here but the client; what a token opens is decided where it is used.

mod assertion;
mod authorize;
mod client;
mod code;
mod device;
mod device_page;
mod failure;
mod form;
mod grants;
mod issue;
mod metadata;
mod own_key;
mod page;
mod register;
mod token;
mod told;

pub(crate) use device::GRANT as DEVICE_GRANT;

use super::{
    App,
    surface::{Authentication, Bound, Cors, Errors, Part, Routes, Surface, USUAL},
};
use crate::caller_rates::Counted;
use axum::routing::{get, post};
use quipu_schemas::limits;

const CORS: Cors = Cors {
    methods: "GET, POST",
    headers: "Authorization, Content-Type",
    exposed: "RateLimit, RateLimit-Limit, RateLimit-Policy, RateLimit-Remaining, RateLimit-Reset, Retry-After, WWW-Authenticate",
};

/// What all of it is like.
const PLAIN: Surface = Surface {
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

/// Where clients get tokens.
pub(super) static OAUTH: Surface = Surface {
    prefixes: &["/oauth/"],
    counted: Some(Counted::SignIn),
    ..PLAIN
};

/// What people see in their browsers: so are failures.
static PAGES: Surface = Surface {
    errors: Errors::Shaped {
        media_type: "text/html; charset=utf-8",
        body: page::failed,
    },
    counted: Some(Counted::SignIn),
    ..PLAIN
};

/// Where something is written for whoever asks.
static MADE: Surface = Surface {
    counted: Some(Counted::Registration),
    ..PLAIN
};

/// What services ask for all the time: whoever shows a right credential is not counted.
static ASKED_OFTEN: Surface = PLAIN;

/// Where clients learn what there is.
pub(super) static WELL_KNOWN: Surface = Surface {
    prefixes: &["/.well-known/"],
    authentication: Authentication::Open,
    cors: Some(CORS),
    ..USUAL
};

/// Its surfaces with their routes.
pub(super) fn parts() -> [Part; 5] {
    let pages: Routes<App> = Routes::new()
        .route("/oauth/authorize", get(authorize::ask).post(authorize::answer))
        .route("/oauth/device", get(device::ask).post(device::answer))
        .route("/oauth/code", get(code::page).post(code::answer));
    let routes = Routes::new()
        .route("/oauth/token", post(token::token))
        .route("/oauth/revoke", post(told::revoke));
    let made = Routes::new()
        .route("/oauth/device_authorization", post(device::authorization))
        .route("/oauth/register", post(register::register));
    let often = Routes::new()
        .route("/oauth/introspect", post(told::introspect))
        .route("/oauth/userinfo", get(told::userinfo).post(told::userinfo))
        .route("/oauth/jwks", get(metadata::jwks));
    let known = Routes::new()
        .route("/.well-known/openid-configuration", get(metadata::server))
        .route("/.well-known/oauth-authorization-server", get(metadata::server))
        .route("/.well-known/oauth-protected-resource", get(metadata::resource));
    [
        Part {
            surface: &PAGES,
            routes: pages,
        },
        Part { surface: &OAUTH, routes },
        Part {
            surface: &MADE,
            routes: made,
        },
        Part {
            surface: &ASKED_OFTEN,
            routes: often,
        },
        Part {
            surface: &WELL_KNOWN,
            routes: known,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::problem::Problem;

    #[test]
    fn failures_of_pages_are_pages_with_a_sentence() {
        let [pages, ..] = parts();
        assert_eq!(pages.routes.paths(), ["/oauth/authorize", "/oauth/device", "/oauth/code"]);
        let Errors::Shaped { media_type, body } = pages.surface.errors else {
            panic!("problems are for programs")
        };
        assert!(media_type.starts_with("text/html"));
        let problem = Problem::new(429, "rate_limited", "60 requests in 60 s are let through by <network>").retry_after(7);
        let page = String::from_utf8(body(&problem)).unwrap();
        assert!(page.contains("by &lt;network&gt;.</p>") && page.contains("in 7 s"), "{page}");
        assert!(pages.surface.counted.is_some());
    }
}
