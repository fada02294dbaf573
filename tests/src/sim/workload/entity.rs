//! Commands of the directory: few entities and fewer slugs, so that what is claimed is taken, refused, given up and claimed again.

use super::{Peek, Rng, Workload, request};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::{Kind, OrgId, StreamId};
use serde_json::{Value, json};

/// The kinds whose commands these are.
pub(super) const KINDS: [Kind; 5] = [Kind::ENTITY, Kind::ALIAS, Kind::PROJECT, Kind::APPROVAL, Kind::DENIAL];

const SLUGS: [&str; 3] = ["desk", "help", "bot"];

/// A command of one of them.
pub(super) fn next(workload: &Workload, n: u64, rng: &mut Rng, peek: Peek) -> CommandRequest {
    match rng.below(10) {
        0..3 => return project(n, rng),
        3..6 => return approval(workload, n, rng),
        6 => return denial(n),
        _ => {}
    }
    let drawn = if rng.chance(25) { None } else { workload.pick(rng, &Kind::ENTITY) };
    let alias = json!({ "form": "slug", "text": SLUGS[rng.below(3) as usize] });
    let Some(id) = drawn else {
        let body = json!({ "type": "assistant", "name": "Desk", "aliases": [alias] });
        return request(n, Kind::ENTITY, &format!("ent{n}"), "create", body, None);
    };
    if n.is_multiple_of(7) {
        let id = format!("slug_{}", SLUGS[rng.below(3) as usize]);
        return request(n, Kind::ALIAS, &id, "release", json!({ "reason": "moved" }), None);
    }
    let state = peek(&StreamId::new(OrgId::from_static("acme"), Kind::ENTITY, id.clone())).unwrap_or_default();
    let (command, body) = of_entity(n, rng, alias, &state);
    request(n, Kind::ENTITY, id.as_str(), command, body, None)
}

/// What a node notes of its refusals.
fn denial(n: u64) -> CommandRequest {
    let denial = json!({
        "principal": "p1", "right": "cap:run.read", "kind": "run", "code": "missing_right", "count": 1 + n, "first": n, "last": n
    });
    request(n, Kind::DENIAL, "d2026-11-30", "note", json!({ "denial": denial }), None)
}

/// Requests of the node's own token, to which an owner agrees, or does not.
fn approval(workload: &Workload, n: u64, rng: &mut Rng) -> CommandRequest {
    let known = if rng.chance(40) {
        None
    } else {
        workload.pick(rng, &Kind::APPROVAL)
    };
    let Some(id) = known else {
        let body = json!({ "kind": "org", "id": "acme", "command": "rename", "body": { "name": format!("Acme {n}") } });
        return request(n, Kind::APPROVAL, &format!("apr{n}"), "create", body, None);
    };
    let (command, actor) = match rng.below(4) {
        0 => ("withdraw", None),
        1 => ("reject", Some("ada")),
        _ => ("approve", Some("ada")),
    };
    request(n, Kind::APPROVAL, id.as_str(), command, json!({}), actor)
}

/// Few projects, which are archived now and then.
fn project(n: u64, rng: &mut Rng) -> CommandRequest {
    let application = json!({ "application": format!("app{}", rng.below(2)) });
    let (command, body) = match rng.below(8) {
        0 | 1 => ("create", json!({ "name": format!("Site {n}") })),
        2 => ("rename", json!({ "name": format!("Site {n}") })),
        3 | 4 => ("add_application", application),
        5 | 6 => ("remove_application", application),
        _ => ("archive", json!({ "reason": "done" })),
    };
    request(n, Kind::PROJECT, &format!("prj{}", n / 60 % 4), command, body, None)
}

fn of_entity(n: u64, rng: &mut Rng, alias: Value, state: &Value) -> (&'static str, Value) {
    let bound = state["known"]["bindings"].as_array().and_then(|all| all.first()).cloned();
    let node = json!({ "to": "node", "id": format!("n{}", rng.below(2)) });
    let held = state["known"]["aliases"].as_array().into_iter().flatten();
    let held = held
        .filter(|claimed| claimed["is_held"] == true)
        .map(|claimed| claimed["alias"].clone())
        .next();
    let status = ["active", "inactive", "suspended"][(n % 3) as usize];
    match rng.below(9) {
        8 => ("move", json!({ "project": format!("prj{}", rng.below(2)) })),
        0 => ("rename", json!({ "name": format!("Desk {n}") })),
        1 => ("set_status", json!({ "status": status })),
        2 | 3 => ("add_alias", json!({ "alias": alias })),
        4 | 5 if held.is_some() => ("remove_alias", json!({ "alias": held })),
        6 => ("sync", json!({ "type": "assistant", "name": "Desk", "bindings": [node] })),
        _ => match bound {
            Some(binding) if rng.chance(60) => ("unbind", json!({ "binding": binding })),
            _ => ("bind", json!({ "binding": node })),
        },
    }
}
