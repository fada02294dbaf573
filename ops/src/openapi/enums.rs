//! Enums as generators of clients know them: `enum` in the place of a `oneOf` of constants.

use serde_json::{Map, Value};

/// Folds every `oneOf` of texts, in this schema and all below it; what each value means stays in the description, and in
/// `x-enum-descriptions` for programs.
pub(super) fn fold(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(fold),
        Value::Object(map) => {
            if let Some(values) = map.get("oneOf").and_then(texts) {
                become_enum(map, &values);
            }
            map.values_mut().for_each(fold);
        }
        _ => {}
    }
}

/// A value with what it means.
type Meant = (String, String);

/// The values, if all that the schema allows are texts.
fn texts(choices: &Value) -> Option<Vec<Meant>> {
    let mut all = Vec::new();
    for choice in choices.as_array()? {
        let meaning = choice.get("description").and_then(Value::as_str).unwrap_or_default();
        let values = match (choice.get("const"), choice.get("enum")) {
            (Some(value), None) => std::slice::from_ref(value),
            (None, Some(Value::Array(values))) => values,
            _ => return None,
        };
        for value in values {
            all.push((value.as_str()?.to_owned(), meaning.to_owned()));
        }
    }
    (!all.is_empty()).then_some(all)
}

fn become_enum(map: &mut Map<String, Value>, values: &[Meant]) {
    map.remove("oneOf");
    map.insert("type".into(), "string".into());
    map.insert("enum".into(), values.iter().map(|(value, _)| Value::from(value.as_str())).collect());
    if values.iter().all(|(_, meaning)| meaning.is_empty()) {
        return;
    }
    let mut description = map.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (place, (value, meaning)) in values.iter().enumerate() {
        description.push_str(if place == 0 && !description.is_empty() { "\n\n" } else { "\n" });
        description.push_str(&format!("- `{value}`: {meaning}"));
    }
    map.insert("description".into(), description.trim_start().into());
    map.insert(
        "x-enum-descriptions".into(),
        values.iter().map(|(_, meaning)| Value::from(meaning.as_str())).collect(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn constants_become_an_enum_that_keeps_what_they_mean() {
        let mut schema = json!({ "$defs": { "Role": { "description": "Role.", "oneOf": [
            { "const": "admin", "type": "string", "description": "Runs it." },
            { "const": "member", "type": "string", "description": "Takes part." },
        ] } } });
        fold(&mut schema);
        let role = json!({
            "description": "Role.\n\n- `admin`: Runs it.\n- `member`: Takes part.",
            "type": "string",
            "enum": ["admin", "member"],
            "x-enum-descriptions": ["Runs it.", "Takes part."],
        });
        assert_eq!(schema["$defs"]["Role"], role);
    }

    #[test]
    fn a_choice_of_other_schemas_stays_what_it_is() {
        for other in [json!([{ "const": 1 }, { "const": "a" }]), json!([{ "type": "object" }]), json!([])] {
            let mut schema = json!({ "oneOf": other });
            let before = schema.clone();
            fold(&mut schema);
            assert_eq!(schema, before);
        }
    }
}
