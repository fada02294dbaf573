//! Online backup: the node copies its own log, for it alone knows what is durable at one moment.

use super::{Answer, App, json, params::Params, request::Fields};
use crate::{
    backups::{Job, options},
    caller::Operator,
};
use axum::{extract::State, http::StatusCode, http::Uri};
use quipu_events::backup;
use quipu_schemas::problem::Problem;
use serde_json::Value;
use std::path::PathBuf;

fn wanted(fields: &Value) -> Result<(PathBuf, bool), Problem> {
    let bad = |field: &str, detail: &str| {
        Err(Problem::new(422, "invalid_command", detail)
            .field(field)
            .fix(r#"send {"to": "/absolute/path", "with_keys": false}"#))
    };
    let unknown = fields
        .as_object()
        .and_then(|map| map.keys().find(|name| !["to", "with_keys"].contains(&name.as_str())));
    if let Some(unknown) = unknown {
        return bad(unknown, "a backup has no such field");
    }
    let Some(to) = fields
        .get("to")
        .and_then(Value::as_str)
        .map(PathBuf::from)
        .filter(|to| to.is_absolute())
    else {
        return bad("to", "`to` must be an absolute path on the node's machine");
    };
    match fields.get("with_keys") {
        None => Ok((to, false)),
        Some(Value::Bool(with_keys)) => Ok((to, *with_keys)),
        Some(_) => bad("with_keys", "`with_keys` is true or false"),
    }
}

/// `POST /v1/ops/backup` with `{"to": path, "with_keys": bool}`: begins a backup to an empty or new directory.
pub async fn begin(State(app): State<App>, operator: Operator, uri: Uri, Fields(fields): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let (to, with_keys) = wanted(&fields)?;
    let Some(log) = app.node(&operator).embedded() else {
        let (detail, fix) = if app.node(&operator).log().meta().backend == "memory" {
            ("this node keeps its log in memory", "run it with a data directory")
        } else {
            (
                "the log of this node is on a broker, and so are its backups",
                "back the broker's log up as ops/docs/runbook.md says, and keep keys/master.key",
            )
        };
        return Err(Problem::new(409, "nothing_on_disk", detail).fix(fix).into());
    };
    let started = Job {
        status: "running",
        to: to.clone(),
        ..Job::default()
    };
    {
        let mut job = app.backups(&operator).job();
        if job.status == "running" {
            return Err(
                Problem::new(409, "job_running", format!("a backup to {} is under way", job.to.display()))
                    .fix("wait for it: GET /v1/ops/backup")
                    .into(),
            );
        }
        *job = started.clone();
    }
    let (backups, kept) = (app.backups(&operator).clone(), app.node(&operator).blobs());
    tokio::task::spawn_blocking(move || {
        let result = backup::backup(&log, &to, &options(with_keys, kept), |bytes| backups.job().bytes = bytes);
        let mut job = backups.job();
        match result {
            Ok(manifest) => (job.status, job.manifest) = ("done", Some(manifest)),
            Err(e) => (job.status, job.detail) = ("failed", e.to_string()),
        }
    });
    let mut response = json(&started)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// `GET /v1/ops/backup`: the backup under way, or the last one since the node started.
pub async fn look(State(app): State<App>, operator: Operator, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let job = app.backups(&operator).job().clone();
    json(&job)
}
