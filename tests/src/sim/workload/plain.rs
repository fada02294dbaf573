//! Commands of kinds that bring none: their bodies follow from the JSON Schemas of what clients may send.
//!
//! Enough for a kind that refuses little. One whose commands need a state, or one another, gets a file of its own here.

use super::{KINDS, Rng, Workload, entity, request, rights, vault};
use quipu_runtime::{
    api::{CommandRequest, KindInfo},
    kinds::Kinds,
};
use quipu_schemas::ids::Kind;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Kinds without a file of their own.
static PLAIN: LazyLock<Vec<KindInfo>> = LazyLock::new(|| {
    let mut kinds = Kinds::builtin().info();
    let others = [
        &rights::KINDS[..],
        &vault::KINDS[..],
        &entity::KINDS,
        &[Kind::QUOTA, Kind::PRINCIPAL],
    ]
    .concat();
    let has_own = |name: &str| KINDS.iter().any(|of| of.kind.as_str() == name) || others.iter().any(|kind| kind.as_str() == name);
    kinds.retain(|info| !has_own(&info.kind));
    kinds
});

/// Whether there are any.
pub(super) fn are_any() -> bool {
    !PLAIN.is_empty()
}

/// A command of one of them.
pub(super) fn next(workload: &Workload, n: u64, rng: &mut Rng) -> Option<CommandRequest> {
    let of = one(&PLAIN, rng)?;
    let kind = Kind::parse(of.kind.as_str()).ok()?;
    let known = if rng.chance(40) { None } else { workload.pick(rng, &kind) };
    let (id, command) = match known {
        None => (format!("{kind}{n}"), of.commands.iter().find(|command| command.name == "create")?),
        Some(id) => (id.to_string(), one(&of.commands, rng)?),
    };
    let body = body(&command.schema, &command.schema["$defs"], rng);
    Some(request(n, kind, &id, &command.name, body, None))
}

fn one<'a, T>(items: &'a [T], rng: &mut Rng) -> Option<&'a T> {
    (!items.is_empty()).then(|| &items[rng.below(items.len() as u64) as usize])
}

/// A value that the schema allows, as far as the schema says it.
fn body(schema: &Value, defs: &Value, rng: &mut Rng) -> Value {
    let referred = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
    if let Some(name) = referred {
        return body(&defs[name], defs, rng);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for key in ["enum", "oneOf", "anyOf"] {
        if let Some(found) = schema[key].as_array().and_then(|all| one(all, rng)) {
            return if key == "enum" { found.clone() } else { body(found, defs, rng) };
        }
    }
    let of_type = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match of_type {
        Some("object") => object(schema, defs, rng),
        Some("array") => json!([body(&schema["items"], defs, rng)]),
        Some("string") => json!(text(schema["pattern"].as_str(), rng)),
        Some("integer" | "number") => json!(1 + rng.below(5_000)),
        Some("boolean") => json!(rng.chance(50)),
        _ => Value::Null,
    }
}

/// A text, by its pattern: a digest, an id, or anything.
fn text(pattern: Option<&str>, rng: &mut Rng) -> String {
    match pattern {
        Some(pattern) if pattern.contains("0-9a-f]") => "0".repeat(64),
        Some(_) => format!("p{}", rng.below(6)),
        None => ["ada", "bob", "http://receiver.test/hook"][rng.below(3) as usize].into(),
    }
}

/// What is required, and some of the rest.
fn object(schema: &Value, defs: &Value, rng: &mut Rng) -> Value {
    let required = |name: &str| {
        schema["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|one| one == name))
    };
    let mut made = Map::new();
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        if required(name) || rng.chance(50) {
            made.insert(name.clone(), body(of, defs, rng));
        }
    }
    Value::Object(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_events::keyring::Keyring;
    use std::sync::Arc;

    /// A body that ingress refused would be the simulation's own mistake.
    #[test]
    fn bodies_from_schemas_are_parsed_by_their_kinds() {
        let (kinds, keys, mut rng) = (Kinds::builtin(), Arc::new(Keyring::ephemeral(7)), Rng::new(7));
        for info in kinds
            .info()
            .into_iter()
            .filter(|info| ["agent", "org"].contains(&info.kind.as_str()))
        {
            let handler = kinds.get(&Kind::parse(info.kind.as_str()).unwrap()).unwrap();
            for command in info.commands {
                let made = body(&command.schema, &command.schema["$defs"], &mut rng);
                let parsed = handler.parse(&command.name, made.clone(), "acme/ada", keys.clone());
                assert!(parsed.is_ok(), "{}.{}: {made} {parsed:?}", info.kind, command.name);
            }
        }
    }
}
