//! What operators see and do: the supervision tree, the outbox, views, parked streams.

use super::{
    Answer, App,
    answer::receipt_answer,
    json,
    params::Params,
    problem::bad_parameter,
    request::{At, Fields},
};
use crate::{
    asked::Labels,
    caller::Operator,
    told::{Outbox, PartitionLag, Unparked, ViewsSeen},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use quipu_schemas::{
    ids::{OrgId, PrincipalId, StreamId},
    problem::Problem,
    reaction::ReactionKey,
};

/// `GET /v1/ops/tree`.
pub async fn tree(State(app): State<App>, operator: Operator, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    json(&app.node(&operator).tree())
}

/// `GET /v1/ops/outbox[?org=][&status=]`.
pub async fn outbox(State(app): State<App>, operator: Operator, uri: Uri) -> Answer {
    const STATUSES: &[&str] = &["pending", "processing", "delivered", "failed", "dead"];
    let params = Params::parse(&uri, &["org", "status"])?;
    let org: Option<OrgId> = params.get("org")?;
    let status = params.text("status");
    if let Some(unknown) = status.filter(|status| !STATUSES.contains(status)) {
        let detail = format!("unknown status `{}`", super::problem::clip(unknown));
        return Err(bad_parameter("status", detail, format!("use one of {}", STATUSES.join(", "))).into());
    }
    let mut rows = app.node(&operator).outbox(org.as_ref()).await;
    rows.retain(|row| status.is_none_or(|status| row.status == status));
    json(&Outbox { items: rows })
}

fn key(text: &str) -> Result<ReactionKey, Problem> {
    text.parse().map_err(|e: String| {
        Problem::new(400, "bad_id", e)
            .field("key")
            .fix("percent-encode the key as one path segment")
    })
}

fn actor(operator: &Operator, headers: &HeaderMap) -> Result<PrincipalId, Problem> {
    match Labels::read(headers)?.on_behalf_of {
        Some(named) => Ok(named),
        None => operator.caller().principal().cloned(),
    }
}

/// `POST /v1/ops/outbox/{key}/retry`: tries a dead effect again.
pub async fn retry(State(app): State<App>, operator: Operator, At(text): At<String>, uri: Uri, headers: HeaderMap) -> Answer {
    Params::parse(&uri, &[])?;
    let receipt = app.node(&operator).outbox_retry(&key(&text)?, &actor(&operator, &headers)?).await?;
    receipt_answer(&app, &receipt, StatusCode::ACCEPTED)
}

/// `POST /v1/ops/outbox/{key}/drop`: gives a dead effect up.
pub async fn drop_effect(State(app): State<App>, operator: Operator, At(text): At<String>, uri: Uri, headers: HeaderMap) -> Answer {
    Params::parse(&uri, &[])?;
    let receipt = app.node(&operator).outbox_drop(&key(&text)?, &actor(&operator, &headers)?).await?;
    receipt_answer(&app, &receipt, StatusCode::ACCEPTED)
}

/// `GET /v1/ops/views`: lag by partition, where a damaged one stops, and the job under way.
pub async fn views(State(app): State<App>, operator: Operator, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let end = app.node(&operator).cursor();
    let seen = app.views(&operator).cursor();
    let stopped = app.node(&operator).stopped();
    let stopped = |partition: usize| stopped.iter().find(|stopped| usize::from(stopped.partition) == partition);
    let partitions: Vec<_> = app
        .views(&operator)
        .lag(&end)
        .into_iter()
        .enumerate()
        .map(|(partition, lag)| PartitionLag {
            partition,
            seen: seen.next.get(partition).copied(),
            end: end.next[partition],
            lag,
            stopped: stopped(partition).cloned(),
        })
        .collect();
    let lag: u64 = app.views(&operator).lag(&end).iter().sum();
    let health = app.views(&operator).health(&end);
    json(&ViewsSeen {
        ok: health.ok,
        detail: health.detail,
        lag,
        position: seen.to_string(),
        partitions,
        job: app.views(&operator).job(),
    })
}

/// `POST /v1/ops/views/rebuild`.
pub async fn rebuild(State(app): State<App>, operator: Operator, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    accepted(&app.views(&operator).rebuild()?)
}

/// `POST /v1/ops/views/verify`.
pub async fn verify(State(app): State<App>, operator: Operator, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    accepted(&app.views(&operator).verify()?)
}

fn accepted(body: &impl serde::Serialize) -> Answer {
    let mut response = json(body)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// `POST /v1/ops/unpark` with `{"stream": "org/kind/id"}`: takes a parked stream up again, in the node and in the views.
pub async fn unpark(State(app): State<App>, operator: Operator, uri: Uri, Fields(fields): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let only = fields.as_object().is_some_and(|map| map.len() == 1);
    let text = fields.get("stream").and_then(|v| v.as_str()).filter(|_| only);
    let stream: StreamId = text
        .ok_or_else(|| "the body names no stream, or more than that".to_owned())
        .and_then(|text| text.parse().map_err(|e: quipu_schemas::ids::BadId| e.to_string()))
        .map_err(|detail| {
            Problem::new(422, "invalid_command", detail)
                .field("stream")
                .fix(r#"send {"stream": "org/kind/id"}"#)
        })?;
    match app.node(&operator).unpark(&stream).await {
        // The views park streams on their own account.
        Err(problem) if problem.code == "not_parked" && app.views(&operator).is_parked(&stream).await? => {}
        unparked => unparked?,
    }
    let fits = app.views(&operator).unpark(&stream).await?;
    accepted(&Unparked { stream, views_fit: fits })
}
