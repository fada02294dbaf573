//! Commands of an org.

use super::{Draw, Made, OfKind, Rng, one_of};
use quipu_schemas::ids::Kind;
use serde_json::json;

pub(super) static ORG: OfKind = OfKind {
    kind: Kind::ORG,
    commands: &[
        ("rename", 4),
        ("add_member", 4),
        ("remove_member", 3),
        ("set_role", 3),
        ("change_settings", 4),
        ("suspend", 1),
    ],
    body,
};

fn body(draw: &Draw<'_>, command: &str, rng: &mut Rng) -> Made {
    let n = draw.n;
    match command {
        "rename" => (json!({ "name": format!("Acme {n}") }), None),
        "add_member" => (json!({ "principal": draw.person, "role": "member", "name": "Somebody" }), None),
        "remove_member" => (
            json!({ "principal": one_of(draw.state, "members", rng, &|who, _| who != "ada").unwrap_or_else(|| draw.person.clone()) }),
            None,
        ),
        "set_role" => {
            let who = one_of(draw.state, "members", rng, &|who, _| who != "ada").unwrap_or_else(|| draw.person.clone());
            (
                json!({ "principal": who, "role": if rng.chance(50) { "admin" } else { "member" } }),
                None,
            )
        }
        "change_settings" => (json!({ "settings": { "tone": n } }), None),
        _ => (json!({}), None),
    }
}
