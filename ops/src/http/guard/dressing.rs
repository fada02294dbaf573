//! What every answer gets on its way out: its ids, and in a problem where, when and to which request it was said.

use crate::{asked::Correlation, catalogue, clock::rfc3339, redaction, request_id::RequestId};
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use quipu_schemas::{context::Millis, problem::Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACE: HeaderName = HeaderName::from_static("x-trace-id");

/// The ids of one request.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    pub(super) request: RequestId,
    pub(super) correlation: Correlation,
}

/// Names them in an answer.
pub(super) fn name(response: &mut Response, ids: &Ids) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&ids.request.0) {
        headers.insert(REQUEST_ID, value);
    }
    if let Ok(value) = HeaderValue::from_str(&ids.correlation.0) {
        headers.insert(CORRELATION, value.clone());
        headers.insert(TRACE, value);
    }
}

/// Completes a problem, if the answer is one.
pub(super) fn complete(response: &mut Response, path: &str, id: &RequestId, now: Millis) {
    let Some(problem) = response.extensions_mut().get_mut::<Problem>() else {
        return;
    };
    // Whatever another node said of a command that it was sent: this answer is this node's.
    problem.context.instance = Some(super::clip(path));
    problem.context.request_id = Some(id.0.clone());
    problem.context.time = Some(rfc3339(now));
    problem.context.docs = catalogue::docs(&problem.code);
    redaction::problem(problem);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    *response.body_mut() = Body::from(body);
    response.headers_mut().remove(header::CONTENT_LENGTH);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Failure;
    use axum::response::IntoResponse;

    #[tokio::test]
    async fn problem_says_where_when_and_to_which_request() {
        let mut response = Failure(Problem::new(404, "not_found", "gone").at_version(3)).into_response();
        complete(&mut response, "/v1/orgs/acme", &RequestId("req-1".into()), 1_700_000_000_123);
        let bytes = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
        let told: Problem = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(told.context.instance.as_deref(), Some("/v1/orgs/acme"));
        assert_eq!(told.context.request_id.as_deref(), Some("req-1"));
        assert_eq!(told.context.time.as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(told.context.docs.as_deref(), Some("/docs/problems/not_found"));
        assert_eq!((told.code.as_str(), told.current_version), ("not_found", Some(3)));
        assert_eq!(told.kind, "https://quipu.dev/problems/not_found");
    }

    #[test]
    fn other_answers_stay_as_they_are() {
        let mut response = "fine".into_response();
        complete(&mut response, "/x", &RequestId("r".into()), 1);
        assert!(response.headers().contains_key(header::CONTENT_TYPE));
    }
}
