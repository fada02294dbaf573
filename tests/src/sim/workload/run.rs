//! Commands of a workflow run.

use super::{Draw, Made, OfKind, Rng, request, text_at};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::Kind;
use serde_json::{Value, json};

pub(super) static RUN: OfKind = OfKind {
    kind: Kind::RUN,
    commands: &[
        ("start", 4),
        ("input", 6),
        ("signal", 8),
        ("approve", 8),
        ("reject", 3),
        ("pause", 5),
        ("resume", 8),
        ("retry_node", 5),
        ("cancel", 3),
    ],
    body,
};

fn branching() -> Value {
    json!({
        "name": "branching",
        "inputs": { "amount": { "type": "number" } },
        "nodes": [
            { "id": "big", "component": "switch", "config": { "cases": [{ "port": "yes", "when": "input > 50" }], "default": "no" } },
            { "id": "wait", "component": "delay", "config": { "ms": 500 } },
            { "id": "tell", "component": "webhook.call", "config": { "url": "http://receiver.test/hook", "type": "sim.told", "secret": "hook" } },
            { "id": "ask", "component": "http.request", "config": { "method": "POST", "url": "http://receiver.test/ask" }, "on_failure": "continue" },
            { "id": "say", "component": "message.send", "config": { "conversation": "c1", "body": "asked" }, "on_failure": "continue" }
        ],
        "edges": [
            { "from": "input.amount", "to": "big.in" },
            { "from": "big.yes", "to": "wait.in" },
            { "from": "wait.out", "to": "tell.in" },
            { "from": "big.no", "to": "ask.in" },
            { "from": "ask.out", "to": "say.in" }
        ]
    })
}

fn waiting() -> Value {
    json!({
        "name": "waiting",
        "inputs": { "amount": { "type": "number" }, "more": { "type": "number", "many": true } },
        "nodes": [
            { "id": "gather", "component": "collect", "config": { "count": 2 } },
            { "id": "go", "component": "wait_signal", "config": { "signal": "go" } },
            { "id": "sign", "component": "wait_approval", "config": { "prompt": "go on?" } },
            { "id": "get", "component": "http.request", "config": { "method": "GET", "url": "http://receiver.test/get" } },
            { "id": "say", "component": "message.send", "config": { "conversation": "c2", "body": "signed" } }
        ],
        "edges": [
            { "from": "input.more", "to": "gather.items" },
            { "from": "input.amount", "to": "go.in" },
            { "from": "go.out", "to": "sign.in" },
            { "from": "sign.approved", "to": "get.in" },
            { "from": "sign.approved", "to": "say.in" }
        ]
    })
}

fn body(draw: &Draw<'_>, command: &str, rng: &mut Rng) -> Made {
    let n = draw.n;
    match command {
        "input" => (
            json!({ "port": if rng.chance(80) { "more" } else { "amount" }, "payload": rng.below(100) }),
            None,
        ),
        // Every third is kept beside the log.
        "signal" if n.is_multiple_of(3) => (json!({ "name": "go", "payload": format!("{n} {}", "large ".repeat(500)) }), None),
        "signal" => (json!({ "name": "go", "payload": n }), None),
        "approve" | "reject" => (json!({ "node": "sign" }), Some("ada")),
        "retry_node" => (
            json!({ "node": text_at(draw.state, "failed_node").unwrap_or_else(|| "get".into()) }),
            None,
        ),

        _ => (json!({}), None),
    }
}

pub(super) fn create(n: u64, rng: &mut Rng) -> CommandRequest {
    let definition = if rng.chance(50) { branching() } else { waiting() };
    let body = json!({ "definition": definition, "input": { "amount": rng.below(100) }, "start": rng.chance(85) });
    // Ada takes part in conversations, the platform does not.
    let creator = rng.chance(50).then_some("ada");
    request(n, Kind::RUN, &format!("run{n}"), "create", body, creator)
}
