//! Commands of secrets, callbacks and invites: few names, so that what is rotated was set.
//!
//! They follow from their number and draw nothing: the other commands of a seed stay what they are.

use super::{Rng, request};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::Kind;
use serde_json::json;

/// The kinds whose commands these are.
pub(super) const KINDS: [Kind; 3] = [Kind::SECRET, Kind::CALLBACK, Kind::INVITE];

/// The command of this number, if it is one of them.
pub(super) fn of(n: u64) -> Option<CommandRequest> {
    let mut rng = Rng::new(n);
    match n % 60 {
        10 | 40 => Some(secret(n, &mut rng)),
        27 => Some(invite(n, &mut rng)),
        21 | 51 => Some(callback(n, &mut rng)),
        _ => None,
    }
}

fn secret(n: u64, rng: &mut Rng) -> CommandRequest {
    let name = format!("s{}", rng.below(2));
    let value = format!("value-{n}");
    let (command, body) = match rng.below(6) {
        5 => (
            "connect",
            json!({ "token_url": "http://receiver.test/token", "client_id": "quipu", "refresh_token": value }),
        ),
        0 | 1 => ("set", json!({ "value": value, "hosts": ["receiver.test:80"] })),
        2 | 3 => ("rotate", json!({ "value": value, "grace_hours": rng.below(2) })),
        _ => ("retire", json!({ "reason": "lost" })),
    };
    request(n, Kind::SECRET, &name, command, body, None)
}

/// Few at a time, so that what is accepted or taken back waits.
fn invite(n: u64, rng: &mut Rng) -> CommandRequest {
    let id = format!("inv{}", n / 360);
    let (command, body) = match rng.below(6) {
        0..=2 => ("create", json!({ "address": "bob@example.org", "role": "viewer", "days": 1 })),
        3 | 4 => ("accept", json!({ "member": "usr_0" })),
        _ => ("revoke", json!({ "reason": "moved" })),
    };
    request(n, Kind::INVITE, &id, command, body, None)
}

fn callback(n: u64, rng: &mut Rng) -> CommandRequest {
    // Few at a time, and new ones when those were retired.
    let id = format!("cb{}", n / 240);
    let secret = json!({ "value": format!("value-{n}") });
    let (command, body) = match rng.below(8) {
        0..=2 => (
            "create",
            json!({
                "name": "orders",
                "scheme": "standard_webhooks",
                "secret": secret,
                "principal": "ada",
                "target": { "kind": "conversation", "id": "c1", "command": "post" },
                "mapping": { "body": "=body.text" }
            }),
        ),
        3 | 4 => ("rotate_secret", json!({ "secret": secret, "grace_hours": rng.below(2) })),
        5 => ("pause", json!({ "reason": "busy" })),
        6 => ("resume", json!({})),
        _ => ("retire", json!({ "reason": "lost" })),
    };
    request(n, Kind::CALLBACK, &id, command, body, None)
}
