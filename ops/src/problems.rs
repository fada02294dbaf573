//! What every face refuses alike, as problems.

use crate::nearest;
use quipu_schemas::{
    ids::{BadId, OrgId},
    limits,
    problem::Problem,
};

/// The path, a header or a parameter holds text outside the grammar of ids.
pub fn bad_id(field: &str, error: &BadId) -> Problem {
    Problem::new(400, "bad_id", error.to_string())
        .field(field)
        .fix("use an id within the grammar")
}

/// No such route.
pub fn unknown_route(path: &str) -> Problem {
    Problem::new(404, "unknown_route", format!("no such path: {}", clip(path)))
        .fix("known: /v1/orgs/{org}/{kinds}[/{id}[/{part}]], /v1/orgs/{org}/events, /v1/ops, /health, /metrics, /docs/openapi.json")
}

/// The route takes other methods.
pub fn method_not_allowed(method: &str, path: &str) -> Problem {
    Problem::new(
        405,
        "method_not_allowed",
        format!("{} is not allowed on {}", clip(method), clip(path)),
    )
    .fix("see the Allow header")
}

/// No such kind or view, with the ones there are.
pub fn unknown_kind(text: &str, known: &str) -> Problem {
    Problem::new(404, "unknown_kind", format!("there is no `{}` in an org", clip(text)))
        .field("kind")
        .fix(nearest::fix(text, "known", known.split(", ")))
}

/// No such org.
pub fn unknown_org(org: &OrgId) -> Problem {
    Problem::new(404, "unknown_org", format!("no such org: {org}"))
        .field("org")
        .fix(format!("create it with POST /v1/orgs/{org}/orgs"))
}

/// Nothing was shown, or what opens nothing: a token of another node, a key that is wrong, unknown, ended or shown from
/// elsewhere, or an access token that is wrong or whose session has ended.
pub fn unauthenticated(is_given: bool) -> Problem {
    let detail = if is_given {
        "what was shown is not this node's token, and no key or session that counts"
    } else {
        "no bearer token is given"
    };
    Problem::new(401, "unauthenticated", detail).field("Authorization").fix(
        "send Authorization: Bearer <token>: an access token (POST /v1/auth/login), a key of an org, or the node's own token, which is in the file `token` in its data directory",
    )
}

/// No such command of a kind, with the ones there are.
pub fn unknown_command(kind: &str, command: &str, known: &str) -> Problem {
    Problem::new(404, "unknown_command", format!("{kind} has no command `{}`", clip(command)))
        .field("command")
        .fix(nearest::fix(command, "known", known.split(", ")))
}

/// No such part of an entity, with the ones there are.
pub fn unknown_part(kind: &str, part: &str, known: &str) -> Problem {
    Problem::new(404, "unknown_part", format!("{kind} has no part `{}`", clip(part)))
        .field("part")
        .fix(nearest::fix(part, "known", known.split(", ")))
}

/// No such entity, row or receipt.
pub fn not_found(what: impl std::fmt::Display) -> Problem {
    Problem::new(404, "not_found", format!("there is no {what}"))
        .fix("check the id; after a write, pass min_position so that the view has caught up")
}

/// The body is over its limit.
pub fn body_too_large(most: u64, limit: &str) -> Problem {
    Problem::new(
        413,
        "body_too_large",
        format!("the body is over the limit of {most} bytes ({limit})"),
    )
    .fix(format!("send at most {most} bytes"))
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
pub fn timed_out(ms: u64, limit: &str) -> Problem {
    Problem::new(503, "request_timeout", format!("no answer within {ms} ms ({limit})"))
        .fix("repeat it; give a command the same Idempotency-Key")
        .retry_after(1)
}

/// Plain HTTP, where the node speaks TLS.
pub fn tls_required() -> Problem {
    Problem::new(400, "tls_required", "this address speaks TLS, and the request came in the clear").fix("use https")
}

/// A mistake of ours.
pub fn internal(detail: impl Into<String>) -> Problem {
    Problem::new(500, "internal", detail).fix("report it with the correlation id")
}

/// Keeps foreign text in answers short.
pub fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}
