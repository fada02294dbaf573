//! One error → HTTP map, at the edge.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use quipu_schemas::{
    ids::{BadId, OrgId},
    limits,
    problem::Problem,
};

/// A problem on its way out: `application/problem+json` with `x-should-retry`, and `Retry-After` where it helps.
#[derive(Debug, Clone)]
pub struct Failure(pub Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// The media type of problems.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(
            "x-should-retry",
            HeaderValue::from_static(if problem.should_retry() { "true" } else { "false" }),
        );
        if let Some(seconds) = problem.retry_after.or_else(|| problem.is_unavailable().then_some(1)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(version) = problem.current_version
            && let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\""))
        {
            headers.insert(header::ETAG, tag);
        }
        if problem.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"quipu\""));
        }
        if problem.code == "unsupported_encoding" {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        // The rest of a request that was given up is nobody's next one.
        if problem.status == 408 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // Outcomes of commands and reads behind a token belong to nobody's cache.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The path, a header or a parameter holds text outside the grammar of ids.
pub fn bad_id(field: &str, error: &BadId) -> Problem {
    Problem::new(400, "bad_id", error.to_string())
        .field(field)
        .fix("use an id within the grammar")
}

/// No such route.
pub fn unknown_route(path: &str) -> Problem {
    Problem::new(404, "unknown_route", format!("nothing is at {}", clip(path)))
        .fix("known: /v1/orgs/{org}/{kinds}[/{id}[/{part}]], /v1/orgs/{org}/events, /v1/ops, /health, /metrics, /docs/openapi.json")
}

/// The route takes other methods.
pub fn method_not_allowed(method: &str, path: &str) -> Problem {
    Problem::new(
        405,
        "method_not_allowed",
        format!("{} is not taken at {}", clip(method), clip(path)),
    )
    .fix("see the Allow header")
}

/// The same, for a name within the grid that takes one method alone.
pub fn only(allow: &'static str, method: &str, path: &str) -> Response {
    let mut response = Failure(method_not_allowed(method, path)).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// No such kind or view, with the ones there are.
pub fn unknown_kind(text: &str, known: &str) -> Problem {
    Problem::new(404, "unknown_kind", format!("there is no `{}` in an org", clip(text)))
        .field("kind")
        .fix(format!("known: {known}"))
}

/// No such org.
pub fn unknown_org(org: &OrgId) -> Problem {
    Problem::new(404, "unknown_org", format!("there is no org {org}"))
        .field("org")
        .fix(format!("create it with POST /v1/orgs/{org}/orgs"))
}

/// No such command of a kind, with the ones there are.
pub fn unknown_command(kind: &str, command: &str, known: &str) -> Problem {
    Problem::new(404, "unknown_command", format!("{kind} has no command `{}`", clip(command)))
        .field("command")
        .fix(format!("known: {known}"))
}

/// No such part of an entity, with the ones there are.
pub fn unknown_part(kind: &str, part: &str, known: &str) -> Problem {
    Problem::new(404, "unknown_part", format!("{kind} has no part `{}`", clip(part)))
        .field("part")
        .fix(format!("known: {known}"))
}

/// No such entity, row or receipt.
pub fn not_found(what: impl std::fmt::Display) -> Problem {
    Problem::new(404, "not_found", format!("there is no {what}"))
        .fix("check the id; after a write, pass min_position so that the view has caught up")
}

/// The body is over its limit.
pub fn body_too_large() -> Problem {
    Problem::new(
        413,
        "body_too_large",
        format!("the body is over the limit of {} bytes (BODY_MAX_BYTES)", limits::BODY_MAX_BYTES),
    )
    .fix(format!("send at most {} bytes", limits::BODY_MAX_BYTES))
}

/// The body did not arrive in time: its sender's fault, unlike [`timed_out`].
pub fn body_too_slow() -> Problem {
    Problem::new(
        408,
        "body_too_slow",
        format!("the body did not arrive within {} ms (BODY_READ_MS)", limits::BODY_READ_MS),
    )
    .fix("send the whole body at once")
}

/// A header, by name, that does not read.
pub fn bad_header(name: &str, detail: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem::new(400, "bad_header", detail).field(name).fix(fix)
}

/// A query parameter that does not read.
pub fn bad_parameter(name: &str, detail: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem::new(400, "bad_parameter", detail).field(name).fix(fix)
}

/// Too much at once.
pub fn overloaded(what: &str, limit: usize) -> Problem {
    Problem::new(503, "overloaded", format!("{what} are at their limit of {limit}"))
        .fix("try again later")
        .retry_after(1)
}

/// The node is going down.
pub fn stopping() -> Problem {
    Problem::new(503, "stopping", "the node is stopping")
        .fix("try again when it is back")
        .retry_after(5)
}

/// The request took too long; a command of it may still come true.
pub fn timed_out() -> Problem {
    Problem::new(
        503,
        "request_timeout",
        format!("no answer within {} ms (REQUEST_TIMEOUT_MS)", limits::REQUEST_TIMEOUT_MS),
    )
    .fix("repeat it; give a command the same Idempotency-Key")
    .retry_after(1)
}

/// A mistake of ours.
pub fn internal(detail: impl Into<String>) -> Problem {
    Problem::new(500, "internal", detail).fix("report it with the correlation id")
}

/// Keeps foreign text in answers short.
pub fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_what_a_client_needs_to_decide() {
        let response = Failure(overloaded("requests", 3)).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["x-should-retry"], "true");
        assert_eq!(response.headers()["retry-after"], "1");
        let response = Failure(Problem::new(412, "version_conflict", "x").at_version(7)).into_response();
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert_eq!(response.headers()["etag"], "\"7\"");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
