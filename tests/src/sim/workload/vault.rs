//! Commands of secrets: few names, so that what is rotated was set.

use super::{Rng, request};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::Kind;
use serde_json::json;

/// The kinds whose commands these are.
pub(super) const KINDS: [Kind; 1] = [Kind::SECRET];

/// A command of one of them.
pub(super) fn next(n: u64, rng: &mut Rng) -> CommandRequest {
    secret(n, rng)
}

fn secret(n: u64, rng: &mut Rng) -> CommandRequest {
    let name = format!("s{}", rng.below(2));
    let value = format!("value-{n}");
    let (command, body) = match rng.below(5) {
        0 | 1 => ("set", json!({ "value": value, "hosts": ["receiver.test:80"] })),
        2 | 3 => ("rotate", json!({ "value": value, "grace_hours": rng.below(2) })),
        _ => ("retire", json!({ "reason": "lost" })),
    };
    request(n, Kind::SECRET, &name, command, body, None)
}
