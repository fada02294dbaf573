//! The routes of other nodes.

use super::{
    cluster,
    surface::{INTERNAL, Part, Routes},
};
use axum::routing::post;

/// What nodes tell each other.
pub(super) fn part() -> Part {
    let routes = Routes::new()
        .route(quipu_runtime::cluster::FORWARD_PATH, post(cluster::forwarded))
        .route(quipu_runtime::cluster::KNOWN_PATH, post(cluster::known))
        .route(quipu_runtime::cluster::VOLATILE_PATH, post(cluster::volatile))
        .route(quipu_runtime::rates::RATES_PATH, post(cluster::rates));
    Part {
        surface: &INTERNAL,
        routes,
    }
}
