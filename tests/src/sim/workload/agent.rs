//! Commands of an agent.

use super::{Draw, Made, OfKind, Rng, one_of, request};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::Kind;
use serde_json::json;

pub(super) static AGENT: OfKind = OfKind {
    kind: Kind::AGENT,
    commands: &[
        ("add_directive", 4),
        ("activate_directive", 4),
        ("configure_guard", 2),
        ("configure_model", 2),
        ("grant_tool", 5),
        ("revoke_tool", 5),
        ("suspend", 2),
        ("resume", 4),
        ("retire", 1),
    ],
    body,
};

fn body(draw: &Draw<'_>, command: &str, rng: &mut Rng) -> Made {
    match command {
        "add_directive" => (
            json!({ "text": format!("be brief {}", rng.below(5)), "activate": rng.chance(50) }),
            None,
        ),
        "activate_directive" => {
            let known = one_of(draw.state, "directives", rng, &|_, _| true);
            (json!({ "digest": known.unwrap_or_else(|| "0".repeat(64)) }), None)
        }
        "configure_guard" => (json!({ "max_iterations": 1 + rng.below(9), "max_repeats": 3 }), None),
        "configure_model" => (
            json!({ "model": { "provider": "scripted", "model": format!("m{}", rng.below(3)) } }),
            None,
        ),
        "grant_tool" => {
            let tool = json!({ "name": format!("tool{}", rng.below(3)), "run": { "by": "http", "url": "http://receiver.test/tool" } });
            (json!({ "tool": tool }), None)
        }
        "revoke_tool" => (
            json!({ "name": one_of(draw.state, "tools", rng, &|_, _| true).unwrap_or_else(|| "tool0".into()) }),
            None,
        ),
        _ => (json!({}), None),
    }
}

pub(super) fn create(n: u64, rng: &mut Rng) -> CommandRequest {
    let body = json!({ "name": "Bot", "model": { "provider": "scripted", "model": "m" }, "directive": "be brief" });
    request(n, Kind::AGENT, &format!("bot{}", rng.below(3)), "create", body, None)
}
