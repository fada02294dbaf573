//! A command as a message, and its answer as one.

use super::{pace::Pace, subject::Target};
use crate::{
    app::App,
    asked::{Asked, Correlation, Labels, fields},
    caller::{Caller, InOrg},
    catalogue,
    problems::{self, bad_header, clip},
    redaction,
    request_id::RequestId,
};
use axum::http::{self, HeaderName, HeaderValue, header};
use bytes::Bytes;
use futures::FutureExt;
use quipu_runtime::api::CommandRequest;
use quipu_schemas::{
    envelope::Receipt,
    ids::{CommandId, OrgId},
    limits::{BUS_COMMAND_MAX_BYTES, HEADERS_MAX_BYTES, REQUEST_TIMEOUT_MS},
    problem::Problem,
};
use std::{panic::AssertUnwindSafe, time::Duration};

/// The id of a command.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Who acts.
const ACTOR: &str = "Quipu-On-Behalf-Of";

/// A command that was read.
pub(super) struct Incoming {
    pub(super) request: CommandRequest,
    pub(super) command_id: CommandId,
    pub(super) correlation: String,
}

/// A message that cannot be read as a command, with what is known of it.
pub(super) struct Refused {
    pub(super) problem: Problem,
    pub(super) org: Option<OrgId>,
    pub(super) command_id: Option<CommandId>,
}

/// A message as its bus tells of it.
pub(super) struct Arrived<'a> {
    /// Whose org answers belong to, however the rest of it reads.
    pub(super) org: Option<OrgId>,
    /// What it asks for and of whom.
    pub(super) target: Result<Target, Problem>,
    /// Its headers as those of HTTP.
    pub(super) headers: http::HeaderMap,
    /// The body that HTTP would have.
    pub(super) body: &'a [u8],
}

/// Reads a message.
pub(super) fn read(app: &App, arrived: Arrived<'_>) -> Result<Incoming, Box<Refused>> {
    let Arrived {
        org,
        target,
        headers,
        body,
    } = arrived;
    let command_id = one_id(&headers);
    request(app, target, &headers, body).map_err(|problem| Box::new(Refused { problem, org, command_id }))
}

pub(super) fn one_id(headers: &http::HeaderMap) -> Option<CommandId> {
    let mut values = headers.get_all(KEY).iter();
    let id = values.next()?.to_str().ok()?.to_owned();
    if values.next().is_some() {
        return None;
    }
    CommandId::parse(id).ok()
}

fn request(app: &App, target: Result<Target, Problem>, headers: &http::HeaderMap, body: &[u8]) -> Result<Incoming, Problem> {
    let target = target?;
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > HEADERS_MAX_BYTES {
        let detail = format!("headers take {size} bytes; {HEADERS_MAX_BYTES} is the most (HEADERS_MAX_BYTES)");
        return Err(Problem::new(431, "headers_too_large", detail).fix("send fewer headers"));
    }
    if body.len() > BUS_COMMAND_MAX_BYTES {
        let detail = format!(
            "the body takes {} bytes; {BUS_COMMAND_MAX_BYTES} is the most (BUS_COMMAND_MAX_BYTES)",
            body.len()
        );
        return Err(Problem::new(413, "body_too_large", detail).fix(format!("send at most {BUS_COMMAND_MAX_BYTES} bytes")));
    }
    let labels = Labels::read(headers)?;
    let Some(command_id) = labels.command_id.clone() else {
        return Err(bad_header(
            "Idempotency-Key",
            "a command over the bus has an id",
            "send Idempotency-Key: <the command's id>",
        ));
    };
    let service = app.access.bus_principal.as_ref();
    if labels.on_behalf_of.is_none() && service.is_none() {
        return Err(bad_header(
            ACTOR,
            "a command over the bus names who acts",
            format!("send {ACTOR}: <principal>"),
        ));
    }
    // The platform acts over HTTP, by its token. Here it would be whoever may publish for the org.
    if let Some(actor) = labels.on_behalf_of.as_ref().filter(|actor| actor.is_platform()) {
        let detail = format!("principal {} belongs to the platform", clip(actor.as_str()));
        return Err(Problem::new(403, "reserved_principal", detail)
            .field(ACTOR)
            .fix("name a principal of the org"));
    }
    if target.org.is_reserved() {
        return Err(Problem::new(403, "reserved_org", format!("org {} belongs to the platform", target.org)).field("org"));
    }
    let correlation = Correlation::of(headers, &RequestId::of(headers, app.now()));
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map_or(Some("application/json"), |value| value.to_str().ok());
    let asked = Asked {
        by: &InOrg::admit(&Caller::over_bus(service.cloned()), target.org)?,
        kind: app.kind(&target.kind.plural())?,
        id: target.id,
        command: &target.command,
        labels,
        correlation: correlation.clone(),
        fields: fields(content_type, body)?,
    };
    let request = asked.into_request()?;
    // What a bus carries is kept, and read by others.
    if app.carries_secret(&request.kind, &request.command) {
        return Err(Problem::new(
            403,
            "secret_unseen",
            "this command brings a secret or makes one, and a bus keeps commands and answers",
        )
        .fix("send it over HTTP or from the terminal"));
    }
    Ok(Incoming {
        request,
        command_id,
        correlation: correlation.0,
    })
}

/// Headers of a bus as those of HTTP, so that one reader serves all. What cannot be one is left unreadable, not left out.
pub(super) fn http_headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    for (name, value) in pairs {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        if let Ok(value) = HeaderValue::from_bytes(value).or_else(|_| HeaderValue::from_bytes(&[0xff])) {
            map.append(name, value);
        }
    }
    map
}

/// Has a command decided, within the time that a request has.
pub(super) async fn decide(app: &App, request: CommandRequest) -> Result<Receipt, Problem> {
    let work = AssertUnwindSafe(app.command(request)).catch_unwind();
    match tokio::time::timeout(Duration::from_millis(REQUEST_TIMEOUT_MS), work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panic)) => {
            tracing::error!("a command over the bus panicked");
            Err(problems::internal("the handler of this command crashed"))
        }
        Err(_elapsed) => Err(problems::timed_out(REQUEST_TIMEOUT_MS, "REQUEST_TIMEOUT_MS")),
    }
}

/// Has a command decided, again and again where it is refused for now.
pub(super) async fn decide_finally(app: &App, incoming: Incoming) -> Result<Receipt, Problem> {
    let mut pace = Pace::new();
    loop {
        match decide(app, incoming.request.clone()).await {
            Err(problem) if problem.passes_by_itself() => {
                tracing::debug!(command = %incoming.command_id, %problem, "trying a queued command again");
                pace.wait(problem.retry_after).await;
            }
            answer => return answer,
        }
    }
}

/// An answer, of which each bus makes headers and a body.
pub(super) struct Answer {
    /// The status that HTTP would have.
    pub(super) status: u16,
    /// The code of a problem.
    pub(super) code: Option<String>,
    /// Headers that mean the same on every bus.
    pub(super) headers: Vec<(&'static str, String)>,
    /// A receipt, or a problem with the command's id.
    pub(super) body: Bytes,
}

/// A receipt or a problem as an answer.
pub(super) fn answer(result: &Result<Receipt, Problem>, id: Option<&CommandId>, correlation: &str) -> Answer {
    let mut headers = Vec::new();
    if !correlation.is_empty() {
        headers.push(("X-Correlation-Id", correlation.to_owned()));
    }
    if let Some(id) = id {
        headers.push(("Quipu-Command-Id", id.as_str().to_owned()));
    }
    let (status, code, body) = match result {
        Ok(receipt) => {
            headers.push(("Content-Type", "application/json".into()));
            (200, None, serde_json::to_vec(receipt))
        }
        Err(problem) => {
            headers.push(("Content-Type", "application/problem+json".into()));
            headers.push(("x-should-retry", problem.should_retry().to_string()));
            if let Some(seconds) = problem.retry_after.or_else(|| problem.is_unavailable().then_some(1)) {
                headers.push(("Retry-After", seconds.to_string()));
            }
            let mut told = problem.clone();
            told.context.docs = catalogue::docs(&told.code);
            // A message has no id of its own beside what correlates it.
            told.context.request_id = Some(correlation).filter(|id| !id.is_empty()).map(str::to_owned);
            redaction::problem(&mut told);
            let mut shown = serde_json::to_value(&told).unwrap_or_default();
            if let Some(id) = id {
                shown["command_id"] = id.as_str().into();
            }
            (problem.status, Some(problem.code.to_string()), serde_json::to_vec(&shown))
        }
    };
    Answer {
        status,
        code,
        headers,
        // Both are plain data, which always encodes.
        body: body.unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod service_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_names_its_message_and_repeats_no_secret() {
        let refused = Problem::new(
            404,
            "unknown_kind",
            "there is no `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMSJ9.c2ln` in an org",
        );
        let told = answer(&Err(refused), None, "corr-1");
        let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(
            (&body["request_id"], &body["docs"]),
            (&"corr-1".into(), &"/docs/problems/unknown_kind".into())
        );
        assert_eq!(body["detail"], format!("there is no `{}` in an org", redaction::MARK));
    }

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        let passing = |status, code| Problem::new(status, code, "").passes_by_itself();
        for (status, code) in [
            (503, "outcome_unknown"),
            (503, "owner_unreachable"),
            (429, "node_busy"),
            (507, "disk_full"),
        ] {
            assert!(passing(status, code), "{code}");
        }
        for (status, code) in [
            (503, "stream_parked"),
            (503, "partition_stopped"),
            (500, "command_crashed"),
            (409, "x"),
            (412, "x"),
            (403, "x"),
        ] {
            assert!(!passing(status, code), "{code}");
        }
    }
}
