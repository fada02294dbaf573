//! Commands of grants, roles and keys: few principals and names, so that what is taken was given.

use super::{Peek, Rng, Workload, request, text_at};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::{CredentialId, Kind, PrincipalId, StreamId};
use serde_json::{Value, json};

/// The kinds whose commands these are.
pub(super) const KINDS: [Kind; 3] = [Kind::GRANT, Kind::ROLE, Kind::API_KEY];

/// A command of one of them.
pub(super) fn next(workload: &Workload, n: u64, rng: &mut Rng) -> CommandRequest {
    let person = format!("p{}", rng.below(3));
    let (kind, id, command, body) = match rng.below(4) {
        0 => {
            let (command, body) = grant(rng);
            (Kind::GRANT, person, command, body)
        }
        1 => {
            let (command, body) = role(rng);
            (Kind::ROLE, "all".to_owned(), command, body)
        }
        _ => key(workload, n, rng, &person),
    };
    request(n, kind, &id, command, body, None)
}

fn grant(rng: &mut Rng) -> (&'static str, Value) {
    let right = ["cap:conversation.*", "role:clerk"][rng.below(2) as usize];
    if rng.chance(60) {
        ("give", json!({ "right": right }))
    } else {
        ("take", json!({ "right": right }))
    }
}

fn role(rng: &mut Rng) -> (&'static str, Value) {
    let name = ["clerk", "lead"][rng.below(2) as usize];
    let holds = [json!(["cap:run.start"]), json!(["cap:run.*", "role:viewer"])][rng.below(2) as usize].clone();
    if rng.chance(60) {
        ("set", json!({ "name": name, "holds": holds }))
    } else {
        ("remove", json!({ "name": name }))
    }
}

fn key(workload: &Workload, n: u64, rng: &mut Rng, person: &str) -> (Kind, String, &'static str, Value) {
    let known = if rng.chance(40) { None } else { workload.pick(rng, &Kind::API_KEY) };
    let Some(id) = known else {
        let scopes = [json!([]), json!(["cap:run.*"]), json!(["cap:conversation.*", "role:clerk"])][(n % 3) as usize].clone();
        let body = json!({ "name": "laptop", "principal": person, "expires_in_days": 1 + rng.below(2), "scopes": scopes });
        return (Kind::API_KEY, format!("key{n}"), "create", body);
    };
    let (command, body) = if rng.chance(60) {
        ("rotate", json!({ "grace_hours": rng.below(3) }))
    } else {
        ("revoke", json!({ "reason": "lost" }))
    };
    (Kind::API_KEY, id.to_string(), command, body)
}

/// Now and then a command by the key of somebody, valid or not, instead of by the node's token. Not drawn: the other commands of a
/// seed stay what they are.
pub(super) fn by_key(workload: &Workload, n: u64, made: CommandRequest, peek: Peek) -> CommandRequest {
    let takes_part = made.kind == Kind::RUN || made.kind == Kind::CONVERSATION;
    if !takes_part || !n.is_multiple_of(4) {
        return made;
    }
    let keys: Vec<_> = workload.created.iter().filter(|(kind, _)| *kind == Kind::API_KEY).collect();
    let Some((_, id)) = keys.get((n / 4) as usize % keys.len().max(1)) else {
        return made;
    };
    let state = peek(&StreamId::new(made.org.clone(), Kind::API_KEY, id.clone()));
    let principal = state.and_then(|state| PrincipalId::parse(text_at(&state, "principal")?).ok());
    match principal {
        Some(principal) => CommandRequest {
            principal,
            on_behalf_of: None,
            credential: Some(CredentialId::of_api_key(id.clone())),
            ..made
        },
        None => made,
    }
}
