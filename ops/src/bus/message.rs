//! A command as a message, and its answer as one.

use super::subject;
use crate::http::{
    App,
    command::Asked,
    problem::{self, bad_header, clip},
    request::{Correlation, Labels, fields},
};
use async_nats::HeaderMap;
use axum::http::{self, HeaderName, HeaderValue, header};
use bytes::Bytes;
use futures::FutureExt;
use quipu_runtime::api::CommandRequest;
use quipu_schemas::{
    envelope::Receipt,
    ids::{CommandId, OrgId, PrincipalId},
    limits::{BUS_COMMAND_MAX_BYTES, HEADERS_MAX_BYTES, REQUEST_TIMEOUT_MS},
    problem::Problem,
};
use std::{panic::AssertUnwindSafe, time::Duration};

/// The id of a command, where there is no `Idempotency-Key`.
const NATS_ID: HeaderName = HeaderName::from_static("nats-msg-id");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Who acts.
const ACTOR: &str = "Quipu-On-Behalf-Of";

/// A command that was read.
pub(super) struct Incoming {
    pub(super) request: CommandRequest,
    pub(super) command_id: CommandId,
    pub(super) correlation: String,
}

/// A message that is no command, with what is known of it all the same.
pub(super) struct Refused {
    pub(super) problem: Problem,
    pub(super) org: Option<OrgId>,
    pub(super) command_id: Option<CommandId>,
}

/// Reads a message of this family of subjects.
pub(super) fn read(app: &App, family: &str, subject: &str, headers: Option<&HeaderMap>, body: &[u8]) -> Result<Incoming, Box<Refused>> {
    let headers = http_headers(headers);
    let labels = Labels::read(&headers);
    let known = |problem: Problem| {
        Box::new(Refused {
            problem,
            org: subject::org_of(family, subject),
            command_id: one_id(&headers),
        })
    };
    request(app, family, subject, &headers, labels, body).map_err(known)
}

fn one_id(headers: &http::HeaderMap) -> Option<CommandId> {
    let mut values = headers.get_all(KEY).iter();
    let id = values.next()?.to_str().ok()?.to_owned();
    if values.next().is_some() {
        return None;
    }
    CommandId::parse(id).ok()
}

fn request(
    app: &App,
    family: &str,
    subject: &str,
    headers: &http::HeaderMap,
    labels: Result<Labels, Problem>,
    body: &[u8],
) -> Result<Incoming, Problem> {
    let target = subject::parse(family, subject)?;
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
    let labels = labels?;
    let Some(command_id) = labels.command_id.clone() else {
        return Err(bad_header(
            "Idempotency-Key",
            "a command over the bus has an id",
            "send Idempotency-Key or Nats-Msg-Id",
        ));
    };
    let Some(actor) = &labels.on_behalf_of else {
        return Err(bad_header(
            ACTOR,
            "a command over the bus names who acts",
            format!("send {ACTOR}: <principal>"),
        ));
    };
    // The platform acts over HTTP, by its token. Here it would be whoever may publish for the org.
    if *actor == PrincipalId::BOOTSTRAP || actor.as_str().starts_with('_') {
        let detail = format!("principal {} belongs to the platform", clip(actor.as_str()));
        return Err(Problem::new(403, "reserved_principal", detail)
            .field(ACTOR)
            .fix("name a principal of the org"));
    }
    if target.org.is_reserved() {
        return Err(Problem::new(403, "reserved_org", format!("org {} belongs to the platform", target.org)).field("org"));
    }
    let correlation = Correlation::of(headers)?;
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map_or(Some("application/json"), |value| value.to_str().ok());
    let asked = Asked {
        org: target.org,
        kind: app.kind(&format!("{}s", target.kind))?,
        id: target.id,
        command: &target.command,
        labels,
        correlation: correlation.clone(),
        fields: fields(content_type, body)?,
    };
    Ok(Incoming {
        request: asked.into_request()?,
        command_id,
        correlation: correlation.0,
    })
}

/// Headers of NATS as those of HTTP, so that one reader serves both. What cannot be one is left unreadable, not left out.
fn http_headers(headers: Option<&HeaderMap>) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        for value in values {
            let value = HeaderValue::from_str(value.as_str()).or_else(|_| HeaderValue::from_bytes(&[0xff]));
            if let Ok(value) = value {
                map.append(name.clone(), value);
            }
        }
    }
    if !map.contains_key(KEY) {
        let ids: Vec<HeaderValue> = map.get_all(NATS_ID).iter().cloned().collect();
        for id in ids {
            map.append(KEY, id);
        }
    }
    map
}

/// Has a command decided, within the time that a request has.
pub(super) async fn decide(app: &App, request: CommandRequest) -> Result<Receipt, Problem> {
    let work = AssertUnwindSafe(app.node.command(request)).catch_unwind();
    match tokio::time::timeout(Duration::from_millis(REQUEST_TIMEOUT_MS), work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panic)) => {
            tracing::error!("a command over the bus panicked");
            Err(problem::internal("the handler of this command crashed"))
        }
        Err(_elapsed) => Err(problem::timed_out()),
    }
}

/// A receipt or a problem as headers and body; a problem by the convention of NATS services, and with the command's id.
pub(super) fn answer(result: &Result<Receipt, Problem>, id: Option<&CommandId>, correlation: &str) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    if !correlation.is_empty() {
        headers.insert("X-Correlation-Id", correlation);
    }
    if let Some(id) = id {
        headers.insert("Quipu-Command-Id", id.as_str());
    }
    let body = match result {
        Ok(receipt) => {
            headers.insert("Content-Type", "application/json");
            serde_json::to_vec(receipt)
        }
        Err(problem) => {
            headers.insert("Content-Type", "application/problem+json");
            headers.insert("Nats-Service-Error-Code", problem.status.to_string());
            headers.insert("Nats-Service-Error", problem.code.as_str());
            headers.insert("x-should-retry", if problem.should_retry() { "true" } else { "false" });
            if let Some(seconds) = problem.retry_after.or_else(|| matches!(problem.status, 429 | 503).then_some(1)) {
                headers.insert("Retry-After", seconds.to_string());
            }
            let mut shown = serde_json::to_value(problem).unwrap_or_default();
            if let Some(id) = id {
                shown["command_id"] = id.as_str().into();
            }
            serde_json::to_vec(&shown)
        }
    };
    // Both are plain data, which always encodes.
    (headers, body.unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_nats_are_read_as_those_of_http() {
        let mut nats = HeaderMap::new();
        nats.insert("nats-msg-id", "c-1");
        nats.insert("IF-MATCH", "\"7\"");
        nats.insert("Quipu-On-Behalf-Of", "ada");
        nats.insert("X-Env", "\u{e9}t\u{e9}");
        let map = http_headers(Some(&nats));
        assert_eq!(map[&KEY], "c-1");
        assert_eq!(one_id(&map).unwrap().as_str(), "c-1");
        assert_eq!(Labels::read(&map).unwrap_err().field.as_deref(), Some("X-Env"));
        nats.insert("Idempotency-Key", "c-2");
        assert_eq!(one_id(&http_headers(Some(&nats))).unwrap().as_str(), "c-2");
        nats.append("Idempotency-Key", "c-3");
        assert!(one_id(&http_headers(Some(&nats))).is_none());
    }

    #[test]
    fn a_problem_tells_its_status_and_code_in_headers() {
        let id = CommandId::parse("c-1").unwrap();
        let (headers, body) = answer(&Err(problem::overloaded("calls", 3)), Some(&id), "co");
        let header = |name: &str| headers.get(name).map(|v| v.as_str().to_owned()).unwrap_or_default();
        assert_eq!(
            ["Nats-Service-Error-Code", "Nats-Service-Error", "Retry-After", "X-Correlation-Id"].map(header),
            ["503", "overloaded", "1", "co"]
        );
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["code"], &body["command_id"]), (&"overloaded".into(), &"c-1".into()));
    }
}
