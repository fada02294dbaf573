//! A config value that may hold expressions: strings that begin with `=`.

use super::{ConfigFlaw, Look, NodeError, NodeInput, check_source};
use quipu_schemas::personal::{Personal, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Variables of a node's expressions.
pub const NAMES: &[&str] = &["input", "inputs", "run", "texts"];

/// JSON whose strings that begin with `=` are expressions; `="=…"` writes a string that begins with `=`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Template(pub Value);

/// A text that was computed from values of these, sealed.
pub(super) fn sealed_text(text: String, whose: &BTreeSet<Subject>, input: &NodeInput<'_>) -> Result<Personal<String>, NodeError> {
    let subject = input.values.subject(whose)?;
    let sealed = input.values.context.seal(&Value::String(text), &subject)?;
    Personal::deserialize(sealed).map_err(|e| NodeError::new("sealed", e.to_string()))
}

impl Template {
    /// The expression's source, if the whole is one.
    pub fn source(&self) -> Option<&str> {
        self.0.as_str().and_then(|text| text.strip_prefix('='))
    }

    /// The text, if the whole is a string without expression.
    pub fn literal(&self) -> Option<&str> {
        self.0.as_str().filter(|text| !text.starts_with('='))
    }

    /// Refuses bad expressions.
    pub fn check(&self, field: &str, flaws: &mut Vec<ConfigFlaw>) {
        walk_check(&self.0, field, flaws);
    }

    /// The value for these inputs, to be handed on: what its expressions compute is sealed in it.
    pub fn render(&self, input: &NodeInput<'_>) -> Result<Value, NodeError> {
        walk_render(&self.0, input)
    }

    /// The value for these inputs in the clear, and whose values it was computed from. Only a whole string is an expression.
    pub fn render_open(&self, input: &NodeInput<'_>) -> Result<(Value, BTreeSet<Subject>), NodeError> {
        match self.source() {
            Some(source) => input.evaluate(source),
            None => Ok((self.0.clone(), BTreeSet::new())),
        }
    }

    /// The text for these inputs in the clear, and whose values it was computed from.
    pub fn render_text(&self, field: &str, input: &NodeInput<'_>) -> Result<(String, BTreeSet<Subject>), NodeError> {
        match self.render_open(input)? {
            (Value::String(text), whose) => Ok((text, whose)),
            _ => Err(NodeError::new("type_error", format!("`{field}` must come to a string"))),
        }
    }

    /// Its expressions; `deep`: what they come to is looked into.
    pub(super) fn looks<'c>(&'c self, deep: bool, looks: &mut Vec<Look<'c>>) {
        walk_looks(&self.0, deep, looks);
    }
}

fn walk_looks<'c>(value: &'c Value, deep: bool, looks: &mut Vec<Look<'c>>) {
    match value {
        Value::String(text) => looks.extend(text.strip_prefix('=').map(|source| Look { source, deep })),
        Value::Array(items) => items.iter().for_each(|item| walk_looks(item, deep, looks)),
        Value::Object(map) => map.values().for_each(|item| walk_looks(item, deep, looks)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn walk_check(value: &Value, field: &str, flaws: &mut Vec<ConfigFlaw>) {
    match value {
        Value::String(text) => {
            if let Some(source) = text.strip_prefix('=') {
                check_source(field, source, flaws);
            }
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, v)| walk_check(v, &format!("{field}[{i}]"), flaws)),
        Value::Object(map) => map.iter().for_each(|(k, v)| walk_check(v, &format!("{field}.{k}"), flaws)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn walk_render(value: &Value, input: &NodeInput<'_>) -> Result<Value, NodeError> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('=') {
            Some(source) => input.compute(source)?,
            None => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(|v| walk_render(v, input)).collect::<Result<_, _>>()?),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(k, v)| Ok((k.clone(), walk_render(v, input)?)))
                .collect::<Result<_, NodeError>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}
