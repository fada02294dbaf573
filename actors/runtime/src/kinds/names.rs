//! Names of commands, as their schemas tell them.

use schemars::JsonSchema;
use serde_json::Value;
use std::collections::BTreeSet;

/// Names of the variants of an externally tagged enum.
pub(super) fn names_of<T: JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T);
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    variants
        .filter_map(|variant| variant.get("properties")?.as_object()?.keys().next())
        .cloned()
        .collect()
}

/// Names of the variants that hold what may be written and never read.
pub(super) fn bringing_secrets<T: JsonSchema>() -> Vec<String> {
    fn brings(schema: &Value, definitions: &Value, seen: &mut BTreeSet<String>) -> bool {
        match schema {
            Value::Object(map) if map.get("writeOnly") == Some(&Value::Bool(true)) => true,
            Value::Object(map) => map.iter().any(|(key, value)| {
                let referred = value
                    .as_str()
                    .filter(|_| key == "$ref")
                    .and_then(|path| path.strip_prefix("#/$defs/"));
                match referred {
                    Some(name) => seen.insert(name.to_owned()) && brings(&definitions[name], definitions, seen),
                    None => brings(value, definitions, seen),
                }
            }),
            Value::Array(items) => items.iter().any(|item| brings(item, definitions, seen)),
            _ => false,
        }
    }
    let schema = schemars::schema_for!(T).to_value();
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    variants
        .filter(|variant| brings(variant, &schema["$defs"], &mut BTreeSet::new()))
        .filter_map(|variant| variant["properties"].as_object()?.keys().next())
        .cloned()
        .collect()
}

/// Name, schema and summary.
pub(super) type Variant = (String, Value, String);

/// The variants of an enum's schema, each with the definitions that it may refer to.
pub(super) fn variants(root: &Value, name: &dyn Fn(&Value) -> Option<Variant>) -> Vec<Variant> {
    let definitions = root.get("$defs").cloned();
    root.get("oneOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(name)
        .map(|(name, mut schema, summary)| {
            if let (Some(definitions), Some(object)) = (&definitions, schema.as_object_mut()) {
                object.insert("$defs".into(), definitions.clone());
            }
            (name, schema, summary)
        })
        .collect()
}
