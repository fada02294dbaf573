//! What nodes say of values: the type at a port, and why a node failed.

use crate::expression::ExpressionError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Type of a value at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortType {
    /// Anything.
    #[default]
    Any,
    /// A string.
    String,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// An object.
    Object,
    /// An array.
    Array,
}

impl PortType {
    /// Whether a value is of this type.
    pub fn accepts(self, value: &Value) -> bool {
        match self {
            PortType::Any => true,
            PortType::String => value.is_string(),
            PortType::Number => value.is_number(),
            PortType::Boolean => value.is_boolean(),
            PortType::Object => value.is_object(),
            PortType::Array => value.is_array(),
        }
    }

    /// Whether an edge from a port of this type to one of type `to` may carry a value.
    pub fn fits(self, to: PortType) -> bool {
        self == to || self == PortType::Any || to == PortType::Any
    }

    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            PortType::Any => "any",
            PortType::String => "string",
            PortType::Number => "number",
            PortType::Boolean => "boolean",
            PortType::Object => "object",
            PortType::Array => "array",
        }
    }
}

/// Why a node failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeError {
    /// Stable code.
    pub code: String,
    /// In words.
    pub detail: String,
}

impl NodeError {
    /// A failure.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
        }
    }

    /// Without what it quotes: the failure stands in the log in the clear, and its node looked into sealed values.
    pub fn without_data(self) -> Self {
        let quoted = |(place, part): (usize, &str)| if place % 2 == 1 { "…".to_owned() } else { part.to_owned() };
        let detail: Vec<String> = self.detail.split('`').enumerate().map(quoted).collect();
        let detail = detail.join("`");
        Self { detail, ..self }
    }
}

impl From<ExpressionError> for NodeError {
    fn from(error: ExpressionError) -> Self {
        Self::new(error.code.as_str(), error.detail)
    }
}
