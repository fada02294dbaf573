//! Requests of any shape.

use proptest::prelude::*;
use quipu_runtime::kinds::Kinds;
use serde_json::Value;

/// Any JSON, with what breaks parsers more often than chance would have it.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no infinity", |f| f.is_finite())
            .prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "=",
            "=1+",
            "= input",
            "a b",
            "\u{0}",
            "x/y@1.0",
            "../..",
            "{{secret:x}}",
            "9e999",
            "\u{202e}",
            "ada",
            "desk",
            "scripted"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Field names, mostly real ones.
pub(super) fn field() -> impl Strategy<Value = String> {
    let real = vec![
        "body",
        "message_id",
        "type",
        "participants",
        "principal",
        "kind",
        "role",
        "name",
        "model",
        "provider",
        "definition",
        "definition_text",
        "input",
        "nodes",
        "edges",
        "id",
        "component",
        "config",
        "from",
        "to",
        "settings",
        "turn",
        "confidence",
        "reason",
        "tool",
        "run",
        "by",
        "url",
        "texts",
        "start",
        "payload",
        "port",
        "node",
        "subject",
        "sealed",
        "$sealed",
        "owner",
        "parent",
        "digest",
        "text",
        "stream",
    ];
    prop_oneof![4 => prop::sample::select(real).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<String>,
}

pub(super) fn segment() -> impl Strategy<Value = String> {
    let known = vec![
        "acme",
        "orgs",
        "conversations",
        "agents",
        "runs",
        "desk",
        "post",
        "create",
        "history",
        "state",
        "live",
        "messages",
        "commands",
        "events",
        "members",
        "ops",
        "outbox",
        "views",
        "retry",
        "drop",
        "verify",
        "input",
        "claim",
        "unpark",
        "%2e%2e",
        "%00",
        "..",
        "_platform",
        "dead-letters",
        "rename",
        "change_settings",
        "p0.0.0",
    ];
    prop_oneof![5 => prop::sample::select(known).prop_map(str::to_owned), 1 => "[ -~]{0,16}".prop_map(|s| encode(&s)), 1 => "\\PC{0,6}".prop_map(|s| encode(&s))]
}

/// Percent-encodes what a request line cannot hold, and leaves the rest as hostile as it is.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~%".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// Paths that no route was made for, and paths that lead to a handler whose input is hostile.
pub(super) fn place() -> impl Strategy<Value = (&'static str, String)> {
    let commands: Vec<(String, String, String)> = Kinds::builtin()
        .info()
        .into_iter()
        .flat_map(|kind| {
            kind.commands
                .into_iter()
                .map(move |c| (kind.kind.clone(), kind.plural.clone(), c.name))
        })
        // One lucky draw would have all that follows refused for the same reason.
        .filter(|(kind, _, command)| (kind.as_str(), command.as_str()) != ("org", "suspend"))
        .collect();
    let id = || prop::sample::select(vec!["acme", "desk", "scout", "new-1", "new-2", "r"]);
    let parts = vec![
        "history",
        "state",
        "messages",
        "participants",
        "turns",
        "members",
        "deliveries",
        "receipts",
        "activity",
        "timers",
        "commands/c-1",
        "messages/m-1",
    ];
    let kinds = prop::sample::select(vec!["orgs", "conversations", "agents", "runs"]);
    let anywhere = (
        prop::sample::select(vec!["GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
        prop::collection::vec(segment(), 0..6),
    )
        .prop_map(|(method, segments)| (method, segments.join("/")));
    prop_oneof![
        4 => (prop::sample::select(commands), id()).prop_map(|((_, plural, command), id)| match command.as_str() {
            "create" => ("POST", format!("{plural}/{id}")),
            _ => ("POST", format!("{plural}/{id}/{command}")),
        }),
        2 => (kinds, id(), prop::sample::select(parts)).prop_map(|(kind, id, part)| ("GET", format!("{kind}/{id}/{part}"))),
        1 => Just(("GET", "events".to_owned())),
        2 => anywhere,
    ]
}

pub(super) fn request() -> impl Strategy<Value = Request> {
    let names = vec![
        "limit",
        "after",
        "from",
        "kind",
        "id",
        "type",
        "version",
        "at",
        "min_position",
        "status",
        "org",
        "x",
    ];
    let value = prop_oneof![
        "[ -~]{0,12}",
        "[0-9]{1,22}",
        Just("p0.0.0".to_owned()),
        Just("1.0".to_owned()),
        "[A-Za-z0-9_-]{0,80}"
    ];
    let query = prop::collection::vec((prop::sample::select(names), value), 0..3);
    let header = (
        prop::sample::select(vec![
            "idempotency-key",
            "if-match",
            "if-none-match",
            "quipu-on-behalf-of",
            "x-env",
            "x-data-class",
            "traceparent",
            "x-correlation-id",
            "accept",
            "last-event-id",
        ]),
        prop_oneof![
            "[!-~]{0,20}",
            Just("\"1\"".to_owned()),
            Just("*".to_owned()),
            Just("text/event-stream".to_owned()),
            Just("ada".to_owned())
        ],
    );
    let headers = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(header, 1..3)];
    let object = prop::collection::btree_map(field(), any_json(), 0..6).prop_map(|map| Value::Object(map.into_iter().collect()));
    let body = prop_oneof![6 => object.prop_map(|v| Some(v.to_string())), 2 => any_json().prop_map(|v| Some(v.to_string())), 1 => "\\PC{0,40}".prop_map(Some), 1 => Just(None)];
    (place(), query, headers, body).prop_map(|((method, at), query, headers, body)| {
        let mut query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        // Feeds that follow and live channels have no end to wait for.
        if at.contains("events") {
            query.push("follow=false".to_owned());
        }
        let at = if method == "POST" { at } else { at.replace("live", "dead") };
        let query = if method == "POST" || query.is_empty() {
            String::new()
        } else {
            format!("?{}", query.join("&"))
        };
        Request {
            method,
            path: format!("/v1/orgs/acme/{at}{query}"),
            headers,
            body,
        }
    })
}
