//! Failures as RFC 6749 has them: `{"error": …, "error_description": …}`.

use crate::http::Failure;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use quipu_schemas::problem::Problem;
use serde_json::json;

/// Names of failures that a client may meet; whatever else is wrong is told by one of them.
const NAMES: [&str; 16] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "insufficient_scope",
    "access_denied",
    "authorization_pending",
    "slow_down",
    "expired_token",
    "invalid_redirect_uri",
    "invalid_client_metadata",
    "invalid_software_statement",
];

/// A refusal by its name.
pub(super) fn refused(name: &'static str, detail: impl Into<String>) -> Failure {
    let status = match name {
        "invalid_client" | "invalid_token" => 401,
        "insufficient_scope" => 403,
        _ => 400,
    };
    Failure(Problem::new(status, name, detail))
}

/// Whatever was wrong with a code, a refresh token or a token to be exchanged.
pub(super) fn no_grant() -> Failure {
    refused("invalid_grant", "what was shown opens nothing, or is not this client's")
}

/// What a client may have caused by what it showed is told alike; what the node lacks is not the client's.
pub(super) fn grant_failed(problem: Problem) -> Failure {
    match problem.status {
        400..=428 => no_grant(),
        _ => Failure(problem),
    }
}

/// The name of a failure.
pub(super) fn name(problem: &Problem) -> &str {
    match problem.status {
        _ if NAMES.contains(&problem.code.as_str()) => &problem.code,
        429 | 503 => "temporarily_unavailable",
        500.. => "server_error",
        _ => "invalid_request",
    }
}

/// The body of a failure.
pub(super) fn shape(problem: &Problem) -> Vec<u8> {
    // What may stand in a description by RFC 6749.
    let is_plain = |c: char| (' '..='~').contains(&c) && c != '"' && c != '\\';
    let description: String = problem.detail.chars().map(|c| if is_plain(c) { c } else { '\'' }).collect();
    json!({ "error": name(problem), "error_description": description })
        .to_string()
        .into_bytes()
}

/// A refusal of a client that tried Basic, which is told what to try.
pub(super) fn with_challenge(failure: Failure) -> Response {
    let is_client = failure.0.code == "invalid_client";
    let mut response = failure.into_response();
    if is_client {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"quipu\""));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_names_that_clients_know() {
        for (status, code, expected) in [
            (400, "invalid_grant", "invalid_grant"),
            (401, "invalid_client", "invalid_client"),
            (415, "unsupported_encoding", "invalid_request"),
            (404, "unknown_route", "invalid_request"),
            (429, "node_busy", "temporarily_unavailable"),
            (503, "authority_stale", "temporarily_unavailable"),
            (500, "internal", "server_error"),
        ] {
            assert_eq!(name(&Problem::new(status, code, "x")), expected, "{code}");
        }
        let body = shape(&Problem::new(400, "odd", "a \"quoted\" \\ line\nand \u{e9}"));
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error_description"], "a 'quoted' ' line'and '");
    }
}
