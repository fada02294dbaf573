//! The HTTP face: one grid of routes over every kind, problems everywhere, nothing decided here.
//!
//! A request passes the [`guard`] of its [`surface`] (correlation, `Host`, `Origin`, token, bounds, deadline, panics) and then one
//! handler.

pub(crate) mod accept;
pub mod admin;
mod allow;
pub mod answer;
mod auth;
pub mod backup;
pub mod blobs;
pub mod callbacks;
mod catalogue;
pub mod cluster;
pub mod command;
pub mod docs;
pub mod feed;
pub mod filter;
mod grid;
pub mod guard;
pub mod health;
mod internal;
pub mod live;
mod oauth;
mod ops;
pub mod params;
pub mod query;
pub mod request;
pub mod resolve;
pub mod stream;
pub mod surface;

pub use crate::app::{Access, App, Stage};
pub use answer::{Answer, Failure};
pub(crate) use oauth::DEVICE_GRANT;

use crate::problems as problem;
use answer::{json, json_bytes};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware,
    response::{IntoResponse, Response},
};
use guard::Gate;
use std::sync::Arc;
use surface::{Part, Surface};

/// All surfaces.
pub fn router(app: App) -> Router {
    let parts = parts(&app);
    join(app, parts)
}

fn parts(app: &App) -> Vec<Part> {
    let mut parts = vec![grid::part(), callbacks::part(), internal::part(), docs::part(app.clone())];
    parts.extend(ops::parts());
    parts.extend(oauth::parts());
    parts.extend(auth::parts());
    parts
}

/// Surfaces side by side, each behind its guard.
pub(crate) fn join(app: App, parts: Vec<Part>) -> Router {
    let surfaces: Arc<[&'static Surface]> = parts.iter().map(|part| part.surface).collect();
    let elsewhere = middleware::from_fn_with_state((app.clone(), surfaces), guard::guard_elsewhere);
    let mut all = Router::new().fallback(unknown_route).layer(elsewhere);
    for Part { surface, routes } in parts {
        let gate = Gate { app: app.clone(), surface };
        let routes = routes
            .into_router()
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(surface.body_max()))
            .layer(middleware::from_fn_with_state(gate, guard::guard));
        all = all.merge(routes);
    }
    all.with_state(app)
}

async fn unknown_route(request: Request) -> Failure {
    Failure(problem::unknown_route(request.uri().path()))
}

async fn method_not_allowed(State(app): State<App>, request: Request) -> Response {
    let (method, path) = (request.method().as_str(), request.uri().path());
    match allow::methods(&app, path) {
        Some(allowed) => answer::only(allowed, method, path),
        // The router adds the methods that it knows.
        None => Failure(problem::method_not_allowed(method, path)).into_response(),
    }
}
