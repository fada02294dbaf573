//! Answers: JSON, receipts, problems, and what all of them carry. Some hold memory of the node's budget for reads until their
//! last byte is written.

use super::{App, problem};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use quipu_runtime::node::ReadPermit;
use quipu_schemas::{envelope::Receipt, position::Cursor, problem::Problem};

/// The header that carries how far the log or the views are.
pub const POSITION: HeaderName = HeaderName::from_static("quipu-position");

/// How to be let in; the guard says more of it.
pub(super) const BEARER: &str = "Bearer realm=\"quipu\"";

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
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(BEARER));
        }
        // RFC 9470: what a client asks the person for before it tries again.
        if let Some(seconds) = problem.context.max_age {
            let challenge = format!("{BEARER}, error=\"{}\", acr_values=\"mfa\", max_age=\"{seconds}\"", problem.code);
            if let Ok(challenge) = HeaderValue::try_from(challenge) {
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
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
        // For a surface that tells it in another form.
        response.extensions_mut().insert(problem);
        response
    }
}

/// The same, for a name within the grid that takes one method alone.
pub fn only(allow: &'static str, method: &str, path: &str) -> Response {
    let mut response = Failure(problem::method_not_allowed(method, path)).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// What a handler answers.
pub type Answer = Result<Response, Failure>;

/// A JSON answer from bytes.
pub(crate) fn json_bytes(bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    // Room for what the handlers and the guard add.
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.headers_mut() = headers;
    response
}

/// A JSON answer.
pub(crate) fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(json_bytes(bytes)),
        Err(e) => Err(problem::internal(format!("the answer cannot be encoded: {e}")).into()),
    }
}

/// The bytes of an answer, and what they hold: dropped by the connection when it has written them, or has closed.
struct HeldBytes {
    bytes: Vec<u8>,
    _permit: ReadPermit,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes of an answer that hold what reading them was given.
pub(super) fn held(bytes: Vec<u8>, permit: ReadPermit) -> Bytes {
    Bytes::from_owner(HeldBytes { bytes, _permit: permit })
}

/// A JSON answer that holds its own size from here on, of what reading it was given.
pub(super) fn json_held(value: &impl serde::Serialize, mut permit: ReadPermit) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.shrink_to_fit();
            permit.shrink_to(bytes.len());
            Ok(json_bytes(held(bytes, permit)))
        }
        Err(e) => Err(problem::internal(format!("the answer cannot be encoded: {e}")).into()),
    }
}

/// A receipt with `ETag`, `Quipu-Position` and, for a new entity, `Location`.
pub(super) fn receipt_answer(app: &App, receipt: &Receipt, status: StatusCode) -> Answer {
    let body = serde_json::to_vec(receipt).map_err(|e| problem::internal(format!("the receipt cannot be encoded: {e}")))?;
    let mut response = json_bytes(body);
    *response.status_mut() = status;
    // The durable end of the whole log, so that the same value serves as `min_position` and as a feed's `from`.
    let mut cursor = app.cursor();
    cursor.advance(receipt.position);
    position(&mut response, &cursor);
    version_tag(&mut response, receipt.version);
    if status == StatusCode::CREATED {
        let stream = &receipt.stream;
        if let Ok(value) = HeaderValue::from_str(&app.path(stream)) {
            response.headers_mut().insert(header::LOCATION, value);
        }
    }
    Ok(response)
}

/// Sets `Quipu-Position`.
pub(super) fn position(response: &mut Response, cursor: &Cursor) {
    if let Ok(value) = HeaderValue::from_str(&cursor.to_string()) {
        response.headers_mut().insert(POSITION, value);
    }
}

/// Sets `ETag`.
pub(super) fn version_tag(response: &mut Response, version: u64) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problems::overloaded;

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
