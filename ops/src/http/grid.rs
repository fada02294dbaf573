//! The routes of an org: commands in, queries, history, events.

use super::{
    blobs, command, feed, live, query, resolve, stream,
    surface::{GRID, Part, Routes},
};
use axum::routing::{get, put};

/// The grid.
pub(super) fn part() -> Part {
    // One parameter name a place: `{kinds}` is a plural, of a kind or of a view.
    let entity = "/v1/orgs/{org}/{kinds}/{id}";
    let routes = Routes::new()
        .route("/v1/orgs/{org}/events", get(feed::events))
        .route("/v1/orgs/{org}/stats", get(query::stats))
        .route("/v1/orgs/{org}/resolve", get(resolve::resolve))
        .route("/v1/orgs/{org}/blobs", put(blobs::put))
        .route("/v1/orgs/{org}/blobs/{digest}", get(blobs::get))
        .route("/v1/orgs/{org}/{kinds}", get(query::list).post(command::create))
        .route(entity, get(query::row).post(command::create_named))
        .route(&format!("{entity}/history"), get(stream::history).post(command::command))
        .route(&format!("{entity}/state"), get(stream::state).post(command::command))
        .route(&format!("{entity}/live"), get(live::listen).post(live::tell))
        .route(&format!("{entity}/{{part}}"), get(query::part).post(command::command))
        .route(&format!("{entity}/commands/{{command_id}}"), get(stream::receipt))
        .route(&format!("{entity}/{{part}}/{{key}}"), get(query::part_row));
    Part { surface: &GRID, routes }
}
