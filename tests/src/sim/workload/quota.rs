//! Commands of an org's quota: small limits, so that reservations are refused as often as they are made.

use super::{Peek, Rng, one_of, request};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::{EntityId, Kind, OrgId, StreamId};
use serde_json::{Value, json};

/// The next one.
pub(super) fn next(n: u64, rng: &mut Rng, peek: Peek) -> CommandRequest {
    let all = StreamId::new(OrgId::from_static("acme"), Kind::QUOTA, EntityId::from_static("all"));
    let state = peek(&all).unwrap_or_default();
    let drawn = rng.below(100);
    let (command, body) = match drawn {
        _ if state["limit_count"].as_u64().unwrap_or(0) == 0 => ("set_limit", limit(rng, true)),
        0..=9 => ("set_limit", limit(rng, true)),
        10..=13 => ("remove_limit", limit(rng, false)),
        14..=19 if state["rates"]["org"].is_null() => ("set_rate", json!({ "by": "org", "requests": 1 + rng.below(100) })),
        14..=19 => ("remove_rate", json!({ "by": "org" })),
        20..=69 => {
            // Now and then a key that was there before.
            let key = if rng.chance(85) { n } else { rng.below(n) };
            ("reserve", reservation(key, rng))
        }
        _ => {
            let open = one_of(&state, "open", rng, &|_, _| true);
            let ended = || one_of(&state, "ended", rng, &|_, _| true);
            let key = open.or_else(ended).unwrap_or_else(|| "r0".into());
            if drawn < 80 {
                ("release", json!({ "key": key }))
            } else {
                ("settle", json!({ "key": key, "used": [{ "unit": "calls", "amount": drawn % 5 }] }))
            }
        }
    };
    request(n, Kind::QUOTA, "all", command, body, None)
}

fn limit(rng: &mut Rng, is_set: bool) -> Value {
    let level = ["org", "agent/bot0"][rng.below(2) as usize];
    let window = ["total", "hour"][rng.below(2) as usize];
    let mut body = json!({ "level": level, "unit": "calls", "window": window });
    if is_set {
        body["limit"] = json!(3 + rng.below(6));
    }
    body
}

fn reservation(key: u64, rng: &mut Rng) -> Value {
    let levels = [json!([]), json!(["agent/bot0"])][rng.below(2) as usize].clone();
    let hold = json!({ "levels": levels, "unit": "calls", "amount": 1 + rng.below(4) });
    json!({ "key": format!("r{key}"), "ttl_seconds": 5 + rng.below(55), "holds": [hold] })
}
