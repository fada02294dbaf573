//! The HTTP face: one grid of routes over every kind, problems everywhere, nothing decided here.
//!
//! A request passes [`guard`] (correlation, `Host`, `Origin`, token, bounds, deadline, panics) and then one handler.

pub(crate) mod accept;
pub mod admin;
pub mod answer;
pub mod backup;
pub mod cluster;
pub mod command;
pub mod docs;
pub mod feed;
pub mod filter;
pub mod guard;
pub mod health;
pub mod live;
pub mod params;
pub mod query;
pub mod request;
pub mod stream;

pub use crate::app::{Access, App, Stage};
pub use answer::{Answer, Failure};

use crate::problems as problem;
use answer::{json, json_bytes};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware,
    routing::{get, post},
};
use quipu_schemas::limits;

/// All routes, with everything around them.
pub fn router(app: App) -> Router {
    // One parameter name a place: `{kinds}` is a plural, of a kind or of a view.
    let entity = "/v1/orgs/{org}/{kinds}/{id}";
    Router::new()
        .route("/v1/orgs/{org}/events", get(feed::events))
        .route("/v1/orgs/{org}/stats", get(query::stats))
        .route("/v1/orgs/{org}/{kinds}", get(query::list).post(command::create))
        .route(entity, get(query::row).post(command::create_named))
        .route(&format!("{entity}/history"), get(stream::history).post(command::command))
        .route(&format!("{entity}/state"), get(stream::state).post(command::command))
        .route(&format!("{entity}/live"), get(live::listen).post(live::tell))
        .route(&format!("{entity}/{{part}}"), get(query::part).post(command::command))
        .route(&format!("{entity}/commands/{{command_id}}"), get(stream::receipt))
        .route(&format!("{entity}/{{part}}/{{key}}"), get(query::part_row))
        .route("/v1/ops/tree", get(admin::tree))
        .route("/v1/ops/cluster", get(cluster::cluster))
        .route(
            quipu_runtime::cluster::FORWARD_PATH,
            // Sealed, a body takes more room than it came in.
            post(cluster::forwarded).layer(DefaultBodyLimit::max(limits::FORWARD_MAX_BYTES)),
        )
        .route(quipu_runtime::cluster::VOLATILE_PATH, post(cluster::volatile))
        .route("/v1/ops/outbox", get(admin::outbox))
        .route("/v1/ops/outbox/{key}/retry", post(admin::retry))
        .route("/v1/ops/outbox/{key}/drop", post(admin::drop_effect))
        .route("/v1/ops/views", get(admin::views))
        .route("/v1/ops/views/rebuild", post(admin::rebuild))
        .route("/v1/ops/views/verify", post(admin::verify))
        .route("/v1/ops/unpark", post(admin::unpark))
        .route("/v1/ops/backup", get(backup::look).post(backup::begin))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(docs::router(app.clone()))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

async fn unknown_route(request: Request) -> Failure {
    Failure(problem::unknown_route(request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Failure {
    Failure(problem::method_not_allowed(request.method().as_str(), request.uri().path()))
}
