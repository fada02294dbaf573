//! Commands of services, what a node tells principals, and commands by their sessions: few principals, so that what ends had begun.

use super::{Peek, Rng, Workload, request};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::{CredentialId, EntityId, Home, Kind, OrgId, PrincipalId};
use serde_json::{Value, json};

/// The thumbprint of the one public key that anybody has.
const KEY_ID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

fn public_key() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
}

/// A command of a client. Services are called as people with rights of their own are: what stops one stops the other.
pub(super) fn next(workload: &Workload, n: u64, rng: &mut Rng) -> CommandRequest {
    let known = format!("p{}", rng.below(2));
    let is_made = |id: &str| {
        workload
            .created
            .iter()
            .any(|(kind, made)| *kind == Kind::PRINCIPAL && made.as_str() == id)
    };
    let (id, command, body) = match rng.below(12) {
        _ if !is_made(&known) => (known, "create", json!({ "name": "Clerk" })),
        0 => (known, "rename", json!({ "name": format!("Clerk {}", n % 3) })),
        1 => (known, "set_owner", json!({ "owner": format!("p{}", n % 4) })),
        2 => (known, "add_public_key", json!({ "key": public_key() })),
        3 => (known, "remove_public_key", json!({ "id": KEY_ID })),
        4 => (known, "end_sessions", json!({})),
        5 | 6 => (known, "suspend", json!({ "reason": "leaked" })),
        7 | 8 => (known, "resume", json!({})),
        _ if !is_made("p7") => ("p7".to_owned(), "create", json!({ "name": "Clerk" })),
        _ => ("p7".to_owned(), "retire", json!({})),
    };
    request(n, Kind::PRINCIPAL, &id, command, body, None)
}

/// What a node tells a principal, and whom.
pub(super) fn word(workload: &Workload, n: u64, rng: &mut Rng, peek: Peek) -> Option<(Home, Value)> {
    let is_person = (n / 6).is_multiple_of(2);
    let name = format!("{}{}", if is_person { "usr_" } else { "p" }, rng.below(2));
    let home = Home::of(&OrgId::from_static("acme"), &PrincipalId::parse(name).ok()?);
    let state = peek(&home.stream()).unwrap_or_default();
    let hash = |of: u64| format!("{of:064x}");
    if is_person && !workload.people.contains(&home) {
        let address = json!({ "id": format!("adr_{n}"), "address": format!("{n}@example.org") });
        return Some((home, json!({ "register": { "name": "Ada", "address": address } })));
    }
    let sessions = ["active", "suspended"].iter().find_map(|at| {
        let account = state.get(at)?;
        account.get("account").unwrap_or(account)["sessions"].as_array()
    });
    let one = sessions.and_then(|all| all.get(rng.below(all.len().max(1) as u64) as usize));
    let id = one.and_then(|session| session["start"]["id"].as_str());
    let said = match (rng.below(10), id) {
        (0..=2, Some(id)) => json!({ "end_session": { "id": id } }),
        (3, Some(id)) => {
            // The one that counts, or one that was followed.
            let held = one
                .and_then(|session| session["phase"]["live"]["refresh"]["hash"].as_str())
                .map(str::to_owned);
            let shown = held.filter(|_| rng.chance(70)).unwrap_or_else(|| hash(1));
            json!({ "refresh_session": { "id": id, "hash": shown, "new_hash": hash(n), "client": "web" } })
        }
        (4 | 5, _) if is_person => json!({ "suspend": { "reason": "leaked" } }),
        (6 | 7, _) if is_person => json!({ "resume": {} }),
        (8, _) if is_person => json!({ "make_operator": { "operator": n.is_multiple_of(3) } }),
        _ => {
            let scope = [json!([]), json!(["cap:run.*"]), json!(["cap:conversation.*"])][(n / 2 % 3) as usize].clone();
            let start = json!({ "id": format!("ses_{n}"), "client": "web", "auth_time": n, "scope": scope });
            let lifetime = 1_000 * (1 + rng.below(90));
            json!({ "start_session": { "session": start, "lifetime_ms": lifetime, "refresh": hash(1) } })
        }
    };
    Some((home, said))
}

/// The session that a word has begun.
pub(super) fn begun(said: &Value) -> Option<EntityId> {
    EntityId::parse(said["start_session"]["session"]["id"].as_str()?).ok()
}

/// The same command by a session that somebody has or had.
pub(super) fn with_session(workload: &Workload, nth: u64, made: CommandRequest) -> CommandRequest {
    // The newest: they may still be live.
    let newest = &workload.sessions[workload.sessions.len().saturating_sub(3)..];
    match newest.get(nth as usize % newest.len().max(1)) {
        Some((principal, session)) => CommandRequest {
            principal: principal.clone(),
            on_behalf_of: None,
            credential: Some(CredentialId::of_session(session.clone())),
            ..made
        },
        None => made,
    }
}

/// Whose sessions begin, are used and end again and again.
const ONE: &str = "p6";

/// A conversation by the newest session of one service, whatever became of that: what was known of it before must not count.
pub(super) fn by_one_session(workload: &Workload, n: u64) -> CommandRequest {
    let is_made = |of: &Kind| workload.created.iter().any(|(kind, id)| kind == of && id.as_str() == ONE);
    if !is_made(&Kind::PRINCIPAL) {
        return request(n, Kind::PRINCIPAL, ONE, "create", json!({ "name": "Clerk" }), None);
    }
    let newest = workload.sessions.iter().rfind(|(whose, _)| whose.as_str() == ONE);
    let Some((principal, session)) = newest else {
        let right = json!({ "right": "cap:conversation.*" });
        return request(n, Kind::GRANT, ONE, "give", right, None);
    };
    let made = request(n, Kind::CONVERSATION, &format!("c{n}"), "create", json!({ "type": "group" }), None);
    CommandRequest {
        principal: principal.clone(),
        credential: Some(CredentialId::of_session(session.clone())),
        ..made
    }
}

/// The beginning of such a session, and then its end.
pub(super) fn one_session(workload: &Workload, n: u64) -> Option<(Home, Value)> {
    let home = Home::of(&OrgId::from_static("acme"), &PrincipalId::from_static(ONE));
    let newest = workload.sessions.iter().rfind(|(whose, _)| *whose == home.id);
    let said = match newest {
        Some((_, id)) if n / 4 % 3 == 1 => json!({ "end_session": { "id": id } }),
        _ => {
            let start = json!({ "id": format!("ses_{n}"), "client": "web", "auth_time": n });
            let refresh = format!("{n:064x}");
            json!({ "start_session": { "session": start, "lifetime_ms": 90_000, "refresh": refresh } })
        }
    };
    let is_made = workload
        .created
        .iter()
        .any(|(kind, id)| *kind == Kind::PRINCIPAL && id.as_str() == ONE);
    is_made.then_some((home, said))
}
