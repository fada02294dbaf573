//! Health and metrics.

use super::{Answer, App, Stage, json, params::Params};
use crate::{
    clock::rfc3339,
    tls::renewal::ends_soon,
    told::{Alive, Health},
};
use axum::{
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use quipu_runtime::api::HealthPart;

async fn examine(app: &App) -> Health {
    let mut parts = app.health();
    let stage = *app.stage.borrow();
    if stage != Stage::Serving {
        parts.push(HealthPart {
            count: None,
            name: "node".into(),
            ok: false,
            critical: true,
            detail: if stage == Stage::Leaving { "leaving" } else { "stopping" }.into(),
        });
    }
    if let Some(certificates) = &app.access.certificates
        && ends_soon(certificates.ends(), app.now())
    {
        parts.push(HealthPart {
            count: None,
            name: "certificate".into(),
            ok: false,
            critical: false,
            detail: format!("it ends at {}: renew it", rfc3339(certificates.ends())),
        });
    }
    let failing = parts.iter().any(|part| !part.ok && part.critical);
    let status = if failing {
        "failing"
    } else if parts.iter().any(|part| !part.ok) {
        "degraded"
    } else {
        "ok"
    };
    Health { status, parts }
}

/// `GET /health`: every part in words. 503 where the node cannot take commands.
pub async fn health(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    answer(&examine(&app).await)
}

/// `GET /health/ready`: whether to send commands here.
pub async fn ready(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let mut health = examine(&app).await;
    // Lag degrades queries and /health; commands are still taken.
    health.parts.retain(|part| part.critical);
    if health.status == "degraded" {
        health.status = "ok";
    }
    answer(&health)
}

fn answer(health: &Health) -> Answer {
    let mut response = json(health)?;
    if health.status == "failing" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// `GET /health/live`: the process answers, and nothing in it has ended that only a restart brings back.
pub async fn live(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let ended = app.tasks().ended();
    let parts = ended.map(|detail| HealthPart {
        count: None,
        name: "tasks".into(),
        ok: false,
        critical: true,
        detail,
    });
    match parts {
        None => json(&Alive { status: "ok" }),
        Some(part) => answer(&Health {
            status: "failing",
            parts: vec![part],
        }),
    }
}

/// `GET /metrics`: the Prometheus page.
pub async fn metrics(State(app): State<App>, uri: Uri) -> Result<Response, super::Failure> {
    Params::parse(&uri, &[])?;
    let page = app.metrics_page().await;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response())
}
