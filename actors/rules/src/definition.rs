//! Definitions of workflow runs: read from JSON or YAML, checked whole, pinned by digest.
//!
//! A definition is a directed graph without cycles. Edges lead from `node.port` to `node.port`; the reserved nodes
//! `input` and `output` stand for the definition's own inputs and outputs. Nodes run in Kahn's order, ties by their
//! place in the definition.

mod check;
mod pinned;
mod plan;
mod yaml;

pub use pinned::Pinned;
pub use plan::{Inbound, Plan, PlannedNode, Source};

use crate::components::{PortType, Registry};
use quipu_schemas::{
    digest::Digest,
    json::{self, Json},
    limits::{DEFINITION_MAX_BYTES, NAME_MAX_CHARS, RETRY_BACKOFF_MAX_MS},
    problem::{FieldError, Problem},
    reaction::Retry,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// Id that stands for the definition's inputs in edges.
pub const INPUT: &str = "input";
/// Id that stands for the definition's outputs in edges.
pub const OUTPUT: &str = "output";

/// A checked definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name, 1 to 200 characters.
    pub name: String,
    /// Version label, for people.
    #[serde(default)]
    pub version: String,
    /// What its values are.
    #[serde(default, skip_serializing_if = "Data::is_personal")]
    pub data: Data,
    /// The nodes of the graph.
    pub nodes: Vec<NodeSpec>,
    /// The edges between them.
    #[serde(default)]
    pub edges: Vec<EdgeSpec>,
    /// Inputs by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, InputSpec>,
    /// Outputs by name.
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputSpec>,
}

/// What the values of a definition's runs are: its inputs, signals, outputs, and what its nodes hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// They may hold personal data: each is sealed for those whose it is.
    #[default]
    Personal,
    /// They hold none: small ones stand in the log in the clear.
    None,
}

impl Data {
    fn is_personal(&self) -> bool {
        *self == Data::Personal
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its id, 1 to 64 of A-Z a-z 0-9 _ -.
    pub id: String,
    /// What it does.
    pub component: String,
    /// The component's configuration.
    #[serde(default = "empty")]
    pub config: Json,
    /// Narrower types of some of its ports, input or output.
    #[serde(default)]
    pub ports: BTreeMap<String, PortType>,
    /// What follows its failure.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How its effect is repeated; 3 attempts, exponential, unless `on_failure` says otherwise.
    #[serde(default)]
    pub retry: Option<Retry>,
}

fn empty() -> Json {
    Json(Value::Object(serde_json::Map::new()))
}

/// What follows a node's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The effect is repeated (3 attempts, exponential, unless `retry` says otherwise); then the run fails.
    #[default]
    Retry,
    /// The run fails at the first failure.
    Abort,
    /// The run goes on: the failure leaves by the port `error`, and nothing by the others.
    Continue,
    /// The run goes on as if no input had reached the node.
    Skip,
}

/// An edge: it carries a value from one port to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeSpec {
    /// `node.port`, or `input.name`.
    pub from: String,
    /// `node.port`, or `output.name`.
    pub to: String,
}

/// An input of the definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// The type of its values.
    #[serde(default, rename = "type")]
    pub port_type: PortType,
    /// Whether it must come with `create`; otherwise the nodes behind it wait for it.
    #[serde(default = "yes")]
    pub required: bool,
    /// Whether it is given again and again; its edges lead to ports that count (`collect` with `count`).
    #[serde(default)]
    pub many: bool,
}

fn yes() -> bool {
    true
}

/// An output of the definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// The type of its values.
    #[serde(default, rename = "type")]
    pub port_type: PortType,
}

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Path of the field, from `definition`.
    pub field: String,
    /// Stable code.
    pub code: String,
    /// In words, naming the node.
    pub detail: String,
}

/// A definition that was refused; never without a flaw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("definition refused: {}", .flaws.iter().map(|f| format!("{}: {}", f.field, f.detail)).collect::<Vec<_>>().join("; "))]
pub struct DefinitionError {
    /// All that is wrong, in the order of the definition.
    pub flaws: Vec<Flaw>,
}

/// Flaws that one answer lists.
const FLAWS_SHOWN: usize = 20;

impl DefinitionError {
    fn one(field: &str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            flaws: vec![Flaw {
                field: field.into(),
                code: code.into(),
                detail: detail.into(),
            }],
        }
    }

    /// `422` about the first flaw; the detail lists all.
    pub fn problem(&self) -> Problem {
        let Some(first) = self.flaws.first() else {
            return Problem::new(422, "bad_definition", "the definition is refused");
        };
        let mut detail = first.detail.clone();
        for flaw in self.flaws.iter().skip(1).take(FLAWS_SHOWN - 1) {
            detail.push_str(&format!("; {}: {} ({})", flaw.field, flaw.detail, flaw.code));
        }
        if self.flaws.len() > FLAWS_SHOWN {
            detail.push_str(&format!("; and {} more", self.flaws.len() - FLAWS_SHOWN));
        }
        Problem::new(422, &first.code, detail)
            .field(first.field.clone())
            .fix("correct the definition and send it again")
            .errors(
                self.flaws
                    .iter()
                    .filter(|_| self.flaws.len() > 1)
                    .take(FLAWS_SHOWN)
                    .map(|flaw| FieldError {
                        field: flaw.field.clone(),
                        code: flaw.code.clone(),
                        detail: flaw.detail.clone(),
                    }),
            )
    }
}

impl Definition {
    /// Reads YAML or JSON text of at most `DEFINITION_MAX_BYTES`; aliases, depth and size are bounded.
    pub fn from_text(text: &str, registry: &Registry) -> Result<Self, DefinitionError> {
        if text.len() > DEFINITION_MAX_BYTES {
            return Err(too_large(text.len()));
        }
        let value = yaml::read(text).map_err(|detail| DefinitionError::one("definition_text", "bad_yaml", detail))?;
        Self::load(&value, registry)
    }

    /// Checks a JSON object and makes a definition of it.
    pub fn load(value: &Value, registry: &Registry) -> Result<Self, DefinitionError> {
        json::check(value).map_err(|detail| DefinitionError::one("definition", "bad_definition", detail))?;
        let size = value.to_string().len();
        if size > DEFINITION_MAX_BYTES {
            return Err(too_large(size));
        }
        // `retry.attempts` or `ms` is a whole number in whichever way it is written.
        let mut value = value.clone();
        json::write_whole_numbers_as_ints(&mut value);
        let definition = read(&value)?;
        let flaws = check::flaws(&definition, registry);
        if flaws.is_empty() {
            Ok(definition)
        } else {
            Err(DefinitionError { flaws })
        }
    }

    /// Canonical JSON: every field present, keys sorted.
    pub fn canonical(&self) -> Json {
        Json(serde_json::to_value(self).unwrap_or(Value::Null))
    }

    /// SHA-256 over the canonical JSON.
    pub fn digest(&self) -> Digest {
        Digest::of(&[self.canonical().to_text().as_bytes()])
    }
}

impl NodeSpec {
    /// How its effect is repeated.
    pub fn effective_retry(&self) -> Retry {
        match (&self.retry, self.on_failure) {
            (Some(retry), _) => retry.clone(),
            (None, OnFailure::Retry) => Retry::default(),
            (None, OnFailure::Abort | OnFailure::Continue | OnFailure::Skip) => Retry {
                attempts: 1,
                ..Retry::default()
            },
        }
    }
}

fn too_large(size: usize) -> DefinitionError {
    DefinitionError::one(
        "definition",
        "too_large",
        format!("the definition has {size} bytes, at most {DEFINITION_MAX_BYTES} are allowed"),
    )
}

fn is_good_retry(retry: &Retry) -> bool {
    (1..=100).contains(&retry.attempts) && retry.initial_ms <= retry.max_ms && retry.max_ms <= 60 * RETRY_BACKOFF_MAX_MS
}

/// Reads part by part, so that a wrong field is named with its place.
fn read(value: &Value) -> Result<Definition, DefinitionError> {
    let Value::Object(map) = value else {
        return Err(DefinitionError::one("definition", "bad_definition", "an object is needed"));
    };
    let mut flaws = Vec::new();
    for key in map.keys() {
        if !["name", "version", "data", "nodes", "edges", "inputs", "outputs"].contains(&key.as_str()) {
            flaws.push(Flaw {
                field: format!("definition.{key}"),
                code: "unknown_field".into(),
                detail: format!("`{key}` is not known"),
            });
        }
    }
    fn part<T: DeserializeOwned>(field: String, value: &Value, named: &str, flaws: &mut Vec<Flaw>) -> Option<T> {
        T::deserialize(value)
            .map_err(|e| {
                flaws.push(Flaw {
                    field,
                    code: "bad_definition".into(),
                    detail: format!("{named}{e}"),
                })
            })
            .ok()
    }
    let text = |key: &str, flaws: &mut Vec<Flaw>| match map.get(key) {
        Some(Value::String(text)) if text.chars().count() <= NAME_MAX_CHARS => text.clone(),
        Some(Value::Number(number)) if key == "version" => number.to_string(),
        None if key == "version" => String::new(),
        _ => {
            let detail = format!("`{key}` is a text of at most {NAME_MAX_CHARS} characters");
            flaws.push(Flaw {
                field: format!("definition.{key}"),
                code: "bad_definition".into(),
                detail,
            });
            String::new()
        }
    };
    let name = text("name", &mut flaws);
    let version = text("version", &mut flaws);
    let data = match map.get("data") {
        Some(data) => part::<Data>("definition.data".into(), data, "", &mut flaws).unwrap_or_default(),
        None => Data::default(),
    };
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    match map.get("nodes") {
        Some(Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                let named = item
                    .get("id")
                    .and_then(Value::as_str)
                    .map(|id| format!("node `{id}`: "))
                    .unwrap_or_default();
                nodes.extend(part::<NodeSpec>(format!("definition.nodes[{i}]"), item, &named, &mut flaws));
            }
        }
        _ => flaws.push(Flaw {
            field: "definition.nodes".into(),
            code: "bad_definition".into(),
            detail: "an array of nodes is needed".into(),
        }),
    }
    match map.get("edges") {
        Some(Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                edges.extend(part::<EdgeSpec>(format!("definition.edges[{i}]"), item, "", &mut flaws));
            }
        }
        None => {}
        Some(_) => flaws.push(Flaw {
            field: "definition.edges".into(),
            code: "bad_definition".into(),
            detail: "an array is needed".into(),
        }),
    }
    let mut inputs = BTreeMap::new();
    let mut outputs = BTreeMap::new();
    match map.get("inputs") {
        Some(Value::Object(specs)) => {
            for (name, spec) in specs {
                inputs.extend(part::<InputSpec>(format!("definition.inputs.{name}"), spec, "", &mut flaws).map(|s| (name.clone(), s)));
            }
        }
        None => {}
        Some(_) => flaws.push(Flaw {
            field: "definition.inputs".into(),
            code: "bad_definition".into(),
            detail: "an object is needed".into(),
        }),
    }
    match map.get("outputs") {
        Some(Value::Object(specs)) => {
            for (name, spec) in specs {
                outputs.extend(part::<OutputSpec>(format!("definition.outputs.{name}"), spec, "", &mut flaws).map(|s| (name.clone(), s)));
            }
        }
        None => {}
        Some(_) => flaws.push(Flaw {
            field: "definition.outputs".into(),
            code: "bad_definition".into(),
            detail: "an object is needed".into(),
        }),
    }
    if !flaws.is_empty() {
        return Err(DefinitionError { flaws });
    }
    for (at, node) in nodes.iter().enumerate() {
        if node.retry.as_ref().is_some_and(|retry| !is_good_retry(retry)) {
            let detail = format!(
                "node `{}`: 1 to 100 attempts, initial_ms at most max_ms, max_ms at most an hour",
                node.id
            );
            flaws.push(Flaw {
                field: format!("definition.nodes[{at}].retry"),
                code: "bad_retry".into(),
                detail,
            });
        }
    }
    if flaws.is_empty() {
        Ok(Definition {
            name,
            version,
            data,
            nodes,
            edges,
            inputs,
            outputs,
        })
    } else {
        Err(DefinitionError { flaws })
    }
}

#[cfg(test)]
mod tests;
