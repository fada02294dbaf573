//! The routes of operators, and of what watches the node.

use super::{
    admin, backup, cluster, health,
    surface::{HEALTH, METRICS, OPS, Part, Routes},
};
use axum::routing::{get, post};

/// Operators, health and metrics: each lets others in.
pub(super) fn parts() -> [Part; 3] {
    let ops = Routes::new()
        .route("/v1/ops/tree", get(admin::tree))
        .route("/v1/ops/cluster", get(cluster::cluster))
        .route("/v1/ops/outbox", get(admin::outbox))
        .route("/v1/ops/outbox/{key}/retry", post(admin::retry))
        .route("/v1/ops/outbox/{key}/drop", post(admin::drop_effect))
        .route("/v1/ops/views", get(admin::views))
        .route("/v1/ops/views/rebuild", post(admin::rebuild))
        .route("/v1/ops/views/verify", post(admin::verify))
        .route("/v1/ops/unpark", post(admin::unpark))
        .route("/v1/ops/backup", get(backup::look).post(backup::begin));
    let health = Routes::new()
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready));
    let metrics = Routes::new().route("/metrics", get(health::metrics));
    [(&OPS, ops), (&HEALTH, health), (&METRICS, metrics)].map(|(surface, routes)| Part { surface, routes })
}
