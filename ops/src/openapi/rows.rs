//! Rows of views: a schema for each, for its pages, and a parameter for each of its filters.

use super::{
    pascal, query_parameter,
    schemas::{Components, page},
};
use quipu_projections::{
    columns::{Holds, Shown},
    families::Families,
    reading::{Filter, View},
};
use serde_json::{Map, Value, json};

/// `dead-letters` → `DeadLetter`.
fn one(view: View) -> String {
    let name = pascal(view.name());
    let cut = |ending: &str, instead: &str| Some(format!("{}{instead}", name.strip_suffix(ending)?));
    cut("ies", "y")
        .or_else(|| cut("ches", "ch"))
        .or_else(|| cut("s", ""))
        .unwrap_or(name)
}

/// Name of the schema of a row.
pub(super) fn row_name(view: View) -> String {
    format!("{}Row", one(view))
}

/// Name of the schema of a page.
pub(super) fn page_name(view: View) -> String {
    format!("{}Page", one(view))
}

/// Name of the parameter of a filter.
pub(super) fn filter_name(view: View, filter: &str) -> String {
    format!("{}.{filter}", view.name())
}

fn enum_name(view: View, column: &str) -> String {
    format!("{}{}", one(view), pascal(column))
}

const PERSONAL: &str = "PersonalText";

fn schema_of(view: View, column: &str, holds: Holds) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    match holds {
        Holds::Text => json!({ "type": "string" }),
        Holds::OneOf(_) => reference(&enum_name(view, column)),
        Holds::Int => json!({ "type": "integer" }),
        Holds::Flag => json!({ "type": "boolean" }),
        Holds::Json => json!({}),
        Holds::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Holds::Personal => reference(PERSONAL),
        Holds::Named(name) => reference(name),
    }
}

fn is_time(name: &str) -> bool {
    name.ends_with("_at") || matches!(name, "time" | "due")
}

fn column(view: View, column: &Shown) -> Value {
    let mut schema = schema_of(view, column.name, column.holds);
    if column.holds == Holds::Int && is_time(column.name) {
        schema["description"] = "Milliseconds since 1970.".into();
    }
    if !column.is_nullable || column.holds == Holds::Json {
        return schema;
    }
    match schema.get("type").cloned() {
        Some(Value::String(name)) => schema["type"] = json!([name, "null"]),
        _ => schema = json!({ "anyOf": [schema, { "type": "null" }] }),
    }
    schema
}

/// Adds the schemas of every view.
pub(super) fn add(families: Families, components: &mut Components) {
    let personal = json!({
        "description": "A person's text.",
        "anyOf": [
            { "type": "string" },
            { "type": "object", "title": "WithheldText", "description": "Not shown as text, with the reason: `{\"erased\": true}` where it was erased, `{\"redacted\": true}` where the caller does not hold cap:personal.read." },
        ],
    });
    components.add(PERSONAL, personal);
    for view in families.views() {
        let columns = view.columns();
        for shown in &columns {
            if let Holds::OneOf(choices) = shown.holds {
                components.add(&enum_name(view, shown.name), values(choices));
            }
        }
        for filter in view.filters() {
            if let Some(Holds::OneOf(choices)) = view.filter_takes(filter) {
                components.add(&enum_name(view, filter), values(choices));
            }
        }
        let properties: Map<String, Value> = columns.iter().map(|shown| (shown.name.to_owned(), column(view, shown))).collect();
        let row = json!({
            "type": "object",
            "description": format!("A row of the view `{}`.", view.name()),
            "required": columns.iter().map(|shown| shown.name).collect::<Vec<_>>(),
            "properties": properties,
        });
        components.add(&row_name(view), row);
        components.add(&page_name(view), page(&format!("#/components/schemas/{}", row_name(view))));
    }
}

fn values(choices: &[(&str, &str)]) -> Value {
    json!({ "type": "string", "enum": choices.iter().map(|(name, _)| *name).collect::<Vec<_>>() })
}

/// Parameters of the filters of every view, by their names.
pub(super) fn filters(families: Families) -> impl Iterator<Item = (String, Value)> {
    families.views().flat_map(|view| {
        view.reading().filters.iter().filter_map(move |(name, filter)| {
            let takes = view.filter_takes(name)?;
            let what = match filter {
                Filter::Is(column) => format!("Only rows whose `{column}` is this."),
                Filter::From(column) => format!("Only rows whose `{column}` is at least this."),
                Filter::Before(column) => format!("Only rows whose `{column}` is less than this."),
                Filter::OneOf(_) => format!("Only rows with this `{name}`."),
            };
            let parameter = query_parameter(name, schema_of(view, name, takes), &what);
            Some((filter_name(view, name), parameter))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_named_in_the_singular_and_apart() {
        let names: Vec<_> = Families::house().views().map(row_name).collect();
        for name in [
            "DeadLetterRow",
            "DeliveryRow",
            "DispatchRow",
            "MessageRow",
            "ActivityRow",
            "ParkedStreamRow",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn a_column_that_may_be_null_says_so() {
        let of = |view: View, name: &str| {
            let columns = view.columns();
            column(view, columns.iter().find(|shown| shown.name == name).unwrap())
        };
        assert_eq!(of(View::RUNS, "name"), json!({ "type": ["string", "null"] }));
        assert_eq!(of(View::RUNS, "state"), json!({ "$ref": "#/components/schemas/RunState" }));
        assert_eq!(
            of(View::MESSAGES, "body"),
            json!({ "anyOf": [{ "$ref": "#/components/schemas/PersonalText" }, { "type": "null" }] })
        );
    }
}
