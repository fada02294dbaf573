//! A config value that may hold expressions: strings that begin with `=`.

use super::{ConfigFlaw, NodeError, NodeInput, check_source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Variables of a node's expressions.
pub const NAMES: &[&str] = &["input", "inputs", "run", "texts"];

/// JSON whose strings that begin with `=` are expressions; `="=…"` writes a string that begins with `=`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Template(pub Value);

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

    /// The value for these inputs.
    pub fn render(&self, input: &NodeInput<'_>) -> Result<Value, NodeError> {
        walk_render(&self.0, input)
    }

    /// The value for these inputs, which must be a string.
    pub fn render_text(&self, field: &str, input: &NodeInput<'_>) -> Result<String, NodeError> {
        match self.render(input)? {
            Value::String(text) => Ok(text),
            _ => Err(NodeError::new("type_error", format!("`{field}` must come to a string"))),
        }
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
            Some(source) => input.evaluate(source)?,
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
