//! What each sort of route can answer: every status that can occur, and no other.

use super::rows::{page_name, row_name};
use quipu_projections::reading::View;
use serde_json::{Map, Value, json};

/// The sort of a route's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// 201 with a receipt.
    Created,
    /// 202 with a receipt.
    Decided,
    /// 200 with a receipt.
    Receipt,
    /// A page of a view's rows.
    Page(View),
    /// One row of a view.
    Row(View),
    /// Counts of an org.
    Stats,
    /// A state.
    State,
    /// A page of records.
    History,
    /// Whom an address means.
    Resolved,
    /// The feed.
    Feed,
    /// The volatile channel.
    Live,
    /// 202 from the volatile channel.
    Told,
    /// 202 for operators, with this schema.
    Started(&'static str),
    /// 200 for operators, with this schema.
    Json(&'static str),
    /// Health: 200 or 503.
    Health,
    /// Whether the process lives: 200, or 503 with its health.
    Alive,
    /// The metrics page.
    Metrics,
    /// Documents without a token, of this media type.
    Open(&'static str),
}

const REPLAYED: &str = "Idempotent-Replayed";

/// Problems by status, with what they mean here.
const PROBLEMS: &[(u16, &str)] = &[
    (400, "Malformed: JSON, an id, a header or a parameter; `field` names it."),
    (401, "No token, or none that counts here."),
    (
        402,
        "A limit has no room for what is to be reserved; the detail says what is left, and when its window ends.",
    ),
    (
        403,
        "Host or origin not allowed; or the caller is nobody in this org, or lacks a right (`no_access`, `missing_right`).",
    ),
    (404, "Unknown org, entity, part, view, kind or command."),
    (405, "The method is not allowed on this path; `Allow` names those that are."),
    (408, "The body did not arrive in time; the connection is closed."),
    (
        409,
        "The command contradicts the present state, or its id was used with another body.",
    ),
    (410, "The cursor is of another log or generation."),
    (412, "The expected version is not the current one, which the problem names."),
    (413, "The body is over its limit, which the problem names."),
    (414, "Path and query are over their limit."),
    (415, "The body is not application/json, or has a Content-Encoding."),
    (422, "A field has the wrong type or value, or is unknown; `field` names it."),
    (
        429,
        "A rate or a queue is used up; `code` says which (`rate_limited` names the rate), `Retry-After` when to try again.",
    ),
    (431, "The headers are over their limit."),
    (500, "A mistake of the node's."),
    (
        503,
        "Overloaded, stopping, parked, behind, or of unknown outcome; `code` says which, `Retry-After` when to try again.",
    ),
    (507, "The disk is full; nothing was stored."),
];

/// On every route.
const ALWAYS: &[u16] = &[400, 403, 405, 414, 429, 431, 500, 503];
const COMMAND: &[u16] = &[401, 402, 404, 408, 409, 412, 413, 415, 422, 507];

fn problems(reply: Reply) -> Vec<u16> {
    let more: &[u16] = match reply {
        Reply::Created | Reply::Decided => COMMAND,
        Reply::Page(_) | Reply::Row(_) | Reply::Stats => &[401, 404, 410],
        Reply::Receipt | Reply::State | Reply::History | Reply::Live | Reply::Resolved => &[401, 404],
        Reply::Told => &[401, 404, 408, 413, 415, 422],
        Reply::Feed => &[401, 404, 410],
        Reply::Started(_) => &[401, 404, 408, 409, 413, 415, 422],
        Reply::Json(_) | Reply::Metrics => &[401],
        Reply::Health | Reply::Alive | Reply::Open(_) => &[],
    };
    ALWAYS.iter().chain(more).copied().collect()
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn success(description: &str, media: &str, schema: Value, headers: &[&str]) -> Value {
    let mut response = json!({ "description": description, "content": { media: { "schema": schema } } });
    let headers: Map<String, Value> = headers
        .iter()
        .map(|name| {
            let description = match *name {
                "ETag" => "The version, quoted.",
                "Location" => "The new entity.",
                REPLAYED => "`true` where the command was decided before, under the same key.",
                _ => "How far the log (commands) or the views (queries) are: an opaque cursor.",
            };
            (
                (*name).to_owned(),
                json!({ "description": description, "schema": { "type": "string" } }),
            )
        })
        .collect();
    if !headers.is_empty() {
        response["headers"] = headers.into();
    }
    response
}

/// The responses of an operation.
pub(super) fn responses(reply: Reply) -> Value {
    let json_media = "application/json";
    let (status, answer) = match reply {
        Reply::Created => (
            201,
            success(
                "Decided and durable.",
                json_media,
                reference("Receipt"),
                &["Quipu-Position", "ETag", "Location", REPLAYED],
            ),
        ),
        Reply::Decided => (
            202,
            success(
                "Decided and durable; effects that follow are carried out later.",
                json_media,
                reference("Receipt"),
                &["Quipu-Position", "ETag", REPLAYED],
            ),
        ),
        Reply::Receipt => (
            200,
            success("The first receipt.", json_media, reference("Receipt"), &["Quipu-Position", "ETag"]),
        ),
        Reply::Page(view) => (
            200,
            success("A page of rows.", json_media, reference(&page_name(view)), &["Quipu-Position"]),
        ),
        Reply::Row(view) => (
            200,
            success(
                "The row, as its view has it.",
                json_media,
                reference(&row_name(view)),
                &["Quipu-Position", "ETag"],
            ),
        ),
        Reply::Stats => (200, success("Counts by view.", json_media, reference("Stats"), &["Quipu-Position"])),
        Reply::Resolved => (200, success("The entity.", json_media, reference("Resolved"), &[])),
        Reply::State => (
            200,
            success(
                "The state, and the version that it is of.",
                json_media,
                reference("StateAt"),
                &["Quipu-Position", "ETag"],
            ),
        ),
        Reply::History => (
            200,
            success(
                "A page of the stream's records.",
                json_media,
                reference("HistoryPage"),
                &["Quipu-Position"],
            ),
        ),
        Reply::Feed => {
            let mut answer = success(
                "Events, without end unless follow=false.",
                "application/x-ndjson",
                reference("CloudEvent"),
                &["Quipu-Position"],
            );
            answer["content"]["text/event-stream"] = json!({ "schema": { "type": "string" } });
            (200, answer)
        }
        Reply::Live => (
            200,
            success("Events, without end.", "text/event-stream", json!({ "type": "string" }), &[]),
        ),
        Reply::Told => (
            202,
            success(
                "Sent to those who listen, of whom there may be none.",
                json_media,
                json!({ "type": "object", "required": ["listeners"], "properties": { "listeners": { "type": "integer" } } }),
                &[],
            ),
        ),
        Reply::Started(schema) => (202, success("It has begun.", json_media, reference(schema), &[])),
        Reply::Json(schema) => (200, success("As this node sees it.", json_media, reference(schema), &[])),
        Reply::Health => (200, success("Able to take commands.", json_media, reference("Health"), &[])),
        Reply::Alive => (200, success("The process works.", json_media, reference("Alive"), &[])),
        Reply::Metrics => (
            200,
            success(
                "The metrics, in the text format of Prometheus.",
                "text/plain",
                json!({ "type": "string" }),
                &[],
            ),
        ),
        Reply::Open(media) => {
            let schema = if media == json_media {
                json!({ "type": "object" })
            } else {
                json!({ "type": "string" })
            };
            (200, success("The document that was asked for.", media, schema, &[]))
        }
    };
    let mut all = Map::from_iter([(status.to_string(), answer)]);
    for status in problems(reply) {
        all.insert(
            status.to_string(),
            json!({ "$ref": format!("#/components/responses/Problem{status}") }),
        );
    }
    if matches!(reply, Reply::Health | Reply::Alive) {
        all.insert("503".into(), health_503());
    }
    all.into()
}

/// Not able to take commands: the same parts in words, or a problem where the node is overloaded.
fn health_503() -> Value {
    let mut answer = success("Not able to take commands.", "application/json", reference("Health"), &[]);
    answer["content"]["application/problem+json"] = json!({ "schema": reference("Problem") });
    answer
}

/// The problem of each status.
pub(super) fn components() -> Value {
    let one = |(status, description): &(u16, &str)| {
        let mut headers = json!({ "x-should-retry": { "description": "Whether the same request can succeed later.", "schema": { "type": "string", "enum": ["true", "false"] } } });
        let extra = match status {
            401 => Some("WWW-Authenticate"),
            405 => Some("Allow"),
            412 => Some("ETag"),
            429 | 503 => Some("Retry-After"),
            _ => None,
        };
        if let Some(name) = extra {
            headers[name] = json!({ "schema": { "type": "string" } });
        }
        let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
        (
            format!("Problem{status}"),
            json!({ "description": description, "headers": headers, "content": content }),
        )
    };
    Value::Object(PROBLEMS.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_that_a_route_names_is_described() {
        for reply in [
            Reply::Created,
            Reply::Decided,
            Reply::Page(View::RUNS),
            Reply::Told,
            Reply::Feed,
            Reply::Started("ViewsJob"),
            Reply::Health,
            Reply::Alive,
            Reply::Open("text/plain"),
        ] {
            for status in problems(reply) {
                assert!(PROBLEMS.iter().any(|(known, _)| *known == status), "{status}");
            }
        }
    }
}
