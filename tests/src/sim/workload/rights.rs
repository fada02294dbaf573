//! Commands of grants, roles, keys and applications: few principals and names, so that what is taken was given.

use super::{Peek, Rng, Workload, principals::with_session, request, text_at};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::{CredentialId, Kind, PrincipalId, StreamId};
use serde_json::{Value, json};

/// The kinds whose commands these are.
pub(super) const KINDS: [Kind; 4] = [Kind::GRANT, Kind::ROLE, Kind::API_KEY, Kind::APPLICATION];

/// A command of one of them.
pub(super) fn next(workload: &Workload, n: u64, rng: &mut Rng) -> CommandRequest {
    let person = format!("p{}", rng.below(3));
    let (kind, id, command, body) = match rng.below(4) {
        _ if n % 60 == 11 => key(workload, n, rng, &person),
        _ if n % 60 == 35 => application(workload, n, rng),
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
    // Not drawn either: the others of a seed stay what they are.
    if n % 120 == 47 {
        let command = if n / 120 % 5 == 4 { "take" } else { "give" };
        let right = json!({ "right": "cap:principal.act_as" });
        return request(n, Kind::GRANT, "ada", command, right, None);
    }
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
    // One of somebody who may nearly everything, for runs alone.
    if n % 60 == 11 {
        let body = json!({ "name": "runs", "principal": "ada", "scopes": ["cap:run.*"] });
        return (Kind::API_KEY, format!("key{n}"), "create", body);
    }
    let known = if rng.chance(40) { None } else { workload.pick(rng, &Kind::API_KEY) };
    let Some(id) = known else {
        let scopes = [json!([]), json!(["cap:run.*"]), json!(["cap:conversation.*", "role:clerk"])][(n / 12 % 3) as usize].clone();
        // Half of them are of somebody who may nearly everything, so that scopes are what cuts.
        let principal = if (n / 36).is_multiple_of(2) { "ada" } else { person };
        let body = json!({ "name": "laptop", "principal": principal, "expires_in_days": 1 + rng.below(2), "scopes": scopes });
        return (Kind::API_KEY, format!("key{n}"), "create", body);
    };
    let (command, body) = if rng.chance(60) {
        ("rotate", json!({ "grace_hours": rng.below(3) }))
    } else {
        ("revoke", json!({ "reason": "lost", "cascade": n.is_multiple_of(2) }))
    };
    (Kind::API_KEY, id.to_string(), command, body)
}

fn application(workload: &Workload, n: u64, rng: &mut Rng) -> (Kind, String, &'static str, Value) {
    let described = |name: &str| {
        json!({
            "name": name,
            "grants": ["authorization_code", "client_credentials"],
            "authentication": "client_secret_basic",
            "redirect_uris": ["https://app.example/cb"],
            "scopes": ["cap:run.*"],
        })
    };
    let known = if rng.chance(30) {
        None
    } else {
        workload.pick(rng, &Kind::APPLICATION)
    };
    let Some(id) = known else {
        return (Kind::APPLICATION, format!("app{n}"), "create", described("App"));
    };
    let (command, body) = match rng.below(8) {
        0 => ("update", described(["App", "Other"][rng.below(2) as usize])),
        1 => ("link_service", json!({ "service": format!("svc_{}", rng.below(2)) })),
        2 => ("unlink_service", json!({})),
        3 | 4 => ("rotate_secret", json!({ "grace_hours": rng.below(3) })),
        5 => ("suspend", json!({ "reason": "odd" })),
        6 => ("resume", json!({})),
        _ => ("retire", json!({ "reason": "over" })),
    };
    (Kind::APPLICATION, id.to_string(), command, body)
}

/// Now and then a command by the key of somebody, valid or not, instead of by the node's token. Not drawn: the other commands of a
/// seed stay what they are.
pub(super) fn by_key(workload: &Workload, n: u64, made: CommandRequest, peek: Peek) -> CommandRequest {
    let takes_part = made.kind == Kind::RUN || made.kind == Kind::CONVERSATION;
    match n % 12 {
        0 | 4 | 8 if takes_part => with_key(workload, n / 4, made, peek),
        2 if takes_part => with_session(workload, n / 12, made),
        _ => made,
    }
}

/// A run by somebody's key: what it sends later is cut by the key.
pub(super) fn run_by_key(workload: &Workload, n: u64, peek: Peek) -> CommandRequest {
    let mut body = saying();
    if n / 15 % 2 == 1 {
        body["act_as"] = json!(super::NAMED);
    }
    let run = request(n, Kind::RUN, &format!("run{n}"), "create", body, None);
    with_key(workload, n, run, peek)
}

/// A run by the first key, again and again, and the end of that key in between: what was known of it before must not count.
pub(super) fn by_first_key(workload: &Workload, n: u64, peek: Peek) -> Option<CommandRequest> {
    let (_, first) = workload.created.iter().find(|(kind, _)| *kind == Kind::API_KEY)?;
    match n % 180 {
        19 | 79 | 139 => {
            let run = request(n, Kind::RUN, &format!("run{n}"), "create", saying(), None);
            Some(with_key(workload, 0, run, peek))
        }
        119 => {
            let reason = json!({ "reason": "lost" });
            Some(request(n, Kind::API_KEY, first.as_str(), "revoke", reason, None))
        }
        _ => None,
    }
}

fn with_key(workload: &Workload, nth: u64, made: CommandRequest, peek: Peek) -> CommandRequest {
    let keys: Vec<_> = workload.created.iter().filter(|(kind, _)| *kind == Kind::API_KEY).collect();
    let Some((_, id)) = keys.get(nth as usize % keys.len().max(1)) else {
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

/// A run that says something in a conversation as soon as it can.
fn saying() -> Value {
    let say = json!({ "id": "say", "component": "message.send", "config": { "conversation": "c1", "body": "by key" } });
    let definition = json!({
        "name": "saying",
        "inputs": { "amount": { "type": "number" } },
        "nodes": [say],
        "edges": [{ "from": "input.amount", "to": "say.in" }]
    });
    json!({ "definition": definition, "input": { "amount": 1 }, "start": true })
}
