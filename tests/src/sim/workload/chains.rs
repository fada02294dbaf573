//! Commands that are taken only behind others, one after the other: rare where each is drawn by itself.

use super::{Peek, Workload, request};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::{EntityId, Kind, OrgId, StreamId};
use serde_json::{Value, json};

/// The one entity, and the one project, that they are about.
const ONE: &str = "chained";

/// The next one of a chain.
pub(super) fn next(workload: &Workload, n: u64, peek: Peek) -> CommandRequest {
    match n / 4 % 3 {
        0 => approval(workload, n, peek),
        1 => binding(workload, n, peek),
        _ => application(workload, n),
    }
}

fn state(kind: Kind, id: &EntityId, peek: Peek) -> Value {
    peek(&StreamId::new(OrgId::from_static("acme"), kind, id.clone())).unwrap_or_default()
}

/// A run that waits for an approval gets it.
fn approval(workload: &Workload, n: u64, peek: Peek) -> CommandRequest {
    let mut runs = workload.created.iter().filter(|(kind, _)| *kind == Kind::RUN);
    match runs.find(|(_, run)| is_asking(&state(Kind::RUN, run, peek))) {
        Some((_, run)) => request(n, Kind::RUN, run.as_str(), "approve", json!({ "node": "sign" }), Some("ada")),
        None => {
            let definition = json!({
                "name": "signing",
                "inputs": { "amount": { "type": "number" } },
                "nodes": [{ "id": "sign", "component": "wait_approval", "config": { "prompt": "go on?" } }],
                "edges": [{ "from": "input.amount", "to": "sign.in" }]
            });
            let body = json!({ "definition": definition, "input": { "amount": 1 }, "start": true });
            request(n, Kind::RUN, &format!("run{n}"), "create", body, None)
        }
    }
}

/// Whether a run waits for somebody's approval.
pub(super) fn is_asking(run: &Value) -> bool {
    run.to_string().contains("\"Approval\":{")
}

fn is_made(workload: &Workload, kind: &Kind) -> bool {
    workload.created.iter().any(|(of, id)| of == kind && id.as_str() == ONE)
}

/// What was bound is unbound.
fn binding(workload: &Workload, n: u64, peek: Peek) -> CommandRequest {
    if !is_made(workload, &Kind::ENTITY) {
        return request(n, Kind::ENTITY, ONE, "create", json!({ "type": "assistant", "name": "Desk" }), None);
    }
    let state = state(Kind::ENTITY, &EntityId::from_static(ONE), peek);
    let bound = state["known"]["bindings"].as_array().and_then(|all| all.first());
    let (command, binding) = match bound {
        Some(binding) => ("unbind", binding.clone()),
        None => ("bind", json!({ "to": "node", "id": "n0" })),
    };
    request(n, Kind::ENTITY, ONE, command, json!({ "binding": binding }), None)
}

/// What was added to a project is taken out of it.
fn application(workload: &Workload, n: u64) -> CommandRequest {
    if !is_made(workload, &Kind::PROJECT) {
        return request(n, Kind::PROJECT, ONE, "create", json!({ "name": "Site" }), None);
    }
    let command = if (n / 12).is_multiple_of(2) {
        "add_application"
    } else {
        "remove_application"
    };
    request(n, Kind::PROJECT, ONE, command, json!({ "application": "app0" }), None)
}
