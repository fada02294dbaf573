//! Samples of stored events from their JSON Schemas: what a new event has, so that nobody writes one by hand.

use serde_json::{Map, Value, json};

/// A value that the schema allows, with every optional field in it. What the schema leaves open (which variant, which text) follows from
/// `draw`: another number, another value.
pub(crate) fn sample(schema: &Value, draw: usize) -> Value {
    of(schema, &schema["$defs"], draw)
}

fn of(schema: &Value, defs: &Value, draw: usize) -> Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return of(&defs[name], defs, draw);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for key in ["enum", "oneOf", "anyOf"] {
        let Some(all) = schema[key].as_array().filter(|all| !all.is_empty()) else {
            continue;
        };
        let one = &all[draw % all.len()];
        return if key == "enum" {
            one.clone()
        } else {
            with_own(schema, of(one, defs, draw), defs, draw)
        };
    }
    if let Some(all) = schema["allOf"].as_array() {
        let parts = all.iter().map(|one| of(one, defs, draw));
        return parts.fold(of_type(schema, defs, draw), joined);
    }
    of_type(schema, defs, draw)
}

/// Fields that stand beside the variants of an object.
fn with_own(schema: &Value, variant: Value, defs: &Value, draw: usize) -> Value {
    if schema["properties"].is_object() {
        joined(object(schema, defs, draw), variant)
    } else {
        variant
    }
}

fn joined(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut fields), Value::Object(more)) => {
            fields.extend(more);
            Value::Object(fields)
        }
        (_, other) => other,
    }
}

fn of_type(schema: &Value, defs: &Value, draw: usize) -> Value {
    let named = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    let least = || schema["minimum"].as_u64().unwrap_or(0).max(7);
    match named {
        Some("object") => object(schema, defs, draw),
        Some("array") => json!([of(&schema["items"], defs, draw)]),
        Some("string") if is_sealed(schema) => json!({ "$sealed": SEALED, "$subject": "acme/ada" }),
        Some("string") => text(schema, draw).into(),
        Some("integer") => schema["maximum"].as_u64().map_or_else(least, |most| least().min(most)).into(),
        Some("number") => json!(0.5),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        // Anything.
        _ => json!({ "field": "text" }),
    }
}

/// Every field, and one of a map.
fn object(schema: &Value, defs: &Value, draw: usize) -> Value {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let mut made: Map<String, Value> = fields.map(|(name, schema)| (name.clone(), of(schema, defs, draw))).collect();
    let more = &schema["additionalProperties"];
    if made.is_empty() && more.is_object() {
        made.insert("name".into(), of(more, defs, draw));
    }
    Value::Object(made)
}

/// A nonce and a tag, as long as they are.
const SEALED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXqqqqqqqqqqqqqqqqqqqqqg";

/// Whether the text is personal: its description says so, as its type is sealed in the log and a text in documents.
fn is_sealed(schema: &Value) -> bool {
    schema["description"].as_str().is_some_and(|told| told.contains("sealed"))
}

/// A text by its pattern: a digest, a stream, an id, or anything.
fn text(schema: &Value, draw: usize) -> String {
    match schema["pattern"].as_str() {
        Some(pattern) if pattern.contains("[0-9a-f]{64}") => "0b".repeat(32),
        Some(pattern) if pattern.matches('/').count() == 2 => "acme/run/r1".into(),
        Some(pattern) if pattern.contains("cap:") => "cap:run.start".into(),
        Some(pattern) if pattern.starts_with("^(org|") => "org".into(),
        Some(_) => ["id1", "1", "a.b", "calls"][draw % 4].into(),
        None => ["text", "https://example.com/hook", "1.0", "2026-01-01T00:00:00Z"][draw % 4].into(),
    }
}

#[test]
fn sample_has_every_field_and_the_drawn_variant() {
    let schema = json!({
        "type": "object",
        "properties": {
            "id": { "$ref": "#/$defs/Id" },
            "count": { "type": "integer", "minimum": 9 },
            "either": { "oneOf": [{ "const": "one" }, { "type": "object", "properties": { "two": { "type": "boolean" } } }] },
        },
        "required": ["id"],
        "$defs": { "Id": { "type": "string", "pattern": "^[a-z0-9]{1,64}$" } },
    });
    assert_eq!(sample(&schema, 0), json!({ "id": "id1", "count": 9, "either": "one" }));
    assert_eq!(sample(&schema, 1), json!({ "id": "1", "count": 9, "either": { "two": true } }));
}
