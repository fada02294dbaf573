//! The kinds of entity that a node knows: the built-in ones, and a user's own `Decider`s.

use crate::{
    api::{CommandInfo, EventInfo, KindInfo},
    kernel::entity::{Active, Base, Entity, ParkedError, ShapeCell},
};
use quipu_rules::decider::Decider;
use quipu_schemas::{
    context::Keys,
    digest::Digest,
    ids::{Kind, StreamId},
    json::Json,
    personal,
    problem::Problem,
    record::Record,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

/// One kind, with its types erased: what shells and simulation call.
pub trait KindHandler: Send + Sync {
    /// The kind for documents, made anew from its types: schemas take megabytes, and few ask for them.
    fn info(&self) -> KindInfo;
    /// Names of the commands that clients may send.
    fn commands(&self) -> &[String];
    /// Whether clients may send this command.
    fn is_public(&self, command: &str) -> bool;
    /// See [`Decider::data_subject`].
    fn data_subject(&self, command: &str, raw: &Value) -> Option<String>;
    /// Parses a client's command, sealing personal fields, into its stored form. Large ones are kept, durably, on return;
    /// that may block.
    fn parse(&self, command: &str, body: Value, subject: &str, keys: Arc<dyn Keys>) -> Result<Json, Problem>;
    /// Digest of the state's schema.
    fn shape(&self) -> Digest;
    /// See [`Decider::RULES_VERSION`].
    fn rules_version(&self) -> u32;
    /// Folds an entity from a snapshot, or from nothing, and the records after it.
    fn recover(
        &self,
        stream: &StreamId,
        base: Option<&Base>,
        records: &mut dyn Iterator<Item = Record>,
    ) -> Result<Box<dyn Entity>, ParkedError>;
}

struct Handler<D: Decider> {
    shape: ShapeCell,
    commands: Vec<String>,
    of: PhantomData<fn() -> D>,
}

/// The registry of kinds.
#[derive(Clone, Default)]
pub struct Kinds {
    handlers: BTreeMap<Kind, Arc<dyn KindHandler>>,
}

impl Kinds {
    /// `org`, `agent`, `conversation` and `run`.
    pub fn builtin() -> Self {
        Self::default()
            .with::<quipu_rules::org::Org>()
            .with::<quipu_rules::agent::Agent>()
            .with::<quipu_rules::conversation::Conversation>()
            .with::<quipu_rules::run::Run>()
    }

    /// Adds a kind; a later one of the same name replaces it.
    ///
    /// # Panics
    /// If `D::KIND` is outside the grammar: that is a mistake in the program.
    pub fn with<D: Decider>(mut self) -> Self {
        let kind = Kind::parse(D::KIND).expect("Decider::KIND must be a valid kind");
        self.handlers.insert(
            kind,
            Arc::new(Handler::<D> {
                shape: ShapeCell::default(),
                commands: command_names::<D>(),
                of: PhantomData,
            }),
        );
        self
    }

    /// The rules of a kind.
    pub fn get(&self, kind: &Kind) -> Option<&Arc<dyn KindHandler>> {
        self.handlers.get(kind)
    }

    /// The kinds, for documents.
    pub fn info(&self) -> Vec<KindInfo> {
        self.handlers.values().map(|h| h.info()).collect()
    }

    /// The kinds with the names of the commands that clients may send.
    pub fn commands(&self) -> impl Iterator<Item = (&Kind, &[String])> {
        self.handlers.iter().map(|(kind, handler)| (kind, handler.commands()))
    }
}

impl<D: Decider> KindHandler for Handler<D> {
    fn info(&self) -> KindInfo {
        describe::<D>()
    }

    fn commands(&self) -> &[String] {
        &self.commands
    }

    fn is_public(&self, command: &str) -> bool {
        self.commands.iter().any(|name| name == command)
    }

    fn data_subject(&self, command: &str, raw: &Value) -> Option<String> {
        D::data_subject(command, raw)
    }

    fn parse(&self, command: &str, body: Value, subject: &str, keys: Arc<dyn Keys>) -> Result<Json, Problem> {
        serde_json::to_value(&parsed::<D>(command, body, subject, keys)?)
            .map(Json)
            .map_err(|e| Problem::new(500, "command_unstorable", format!("{command} cannot be stored: {e}")))
    }

    fn shape(&self) -> Digest {
        self.shape.get::<D>()
    }

    fn rules_version(&self) -> u32 {
        D::RULES_VERSION
    }

    fn recover(
        &self,
        stream: &StreamId,
        base: Option<&Base>,
        records: &mut dyn Iterator<Item = Record>,
    ) -> Result<Box<dyn Entity>, ParkedError> {
        Ok(Box::new(Active::<D>::recovered(stream, base, records)?))
    }
}

/// Parses a client's command, sealing what is personal.
fn parsed<D: Decider>(command: &str, body: Value, subject: &str, keys: Arc<dyn Keys>) -> Result<D::Command, Problem> {
    let wrapped = Value::Object(Map::from_iter([(command.to_owned(), body)]));
    let (parsed, failed) = personal::sealing(subject, keys, || {
        // Following the path costs as much as parsing, so it is found in a second pass, where there is an error to place.
        D::Command::deserialize(&wrapped).or_else(|_| serde_path_to_error::deserialize::<_, D::Command>(&wrapped))
    });
    if let Some(failed) = failed {
        return Err(failed.problem());
    }
    match parsed {
        Ok(typed) => Ok(typed),
        Err(error) => {
            let path = error.path().to_string();
            let field = path
                .strip_prefix(command)
                .map_or(path.as_str(), |rest| rest.trim_start_matches('.'))
                .to_owned();
            let detail = error.into_inner().to_string();
            let mut problem = Problem::new(422, "invalid_command", format!("{}.{command}: {detail}", D::KIND))
                .fix("compare the body with the schema in /docs/openapi.json");
            if let Some(named) = named_field(&detail) {
                let whole = if field.is_empty() || field == "." {
                    named
                } else if field == named || field.ends_with(&format!(".{named}")) {
                    // An unknown field is in the path already, a missing one is not.
                    field
                } else {
                    format!("{field}.{named}")
                };
                problem = problem.field(whole);
            } else if !field.is_empty() && field != "." {
                problem = problem.field(field);
            }
            Err(problem)
        }
    }
}

/// serde names missing and unknown fields only in its message.
fn named_field(detail: &str) -> Option<String> {
    let rest = detail
        .strip_prefix("missing field `")
        .or_else(|| detail.strip_prefix("unknown field `"))?;
    Some(rest.split('`').next()?.to_owned())
}

fn command_names<D: Decider>() -> Vec<String> {
    let schema = schemars::schema_for!(D::Command);
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    variants
        .filter_map(|variant| variant.get("properties")?.as_object()?.keys().next())
        .filter(|name| D::is_public(name))
        .cloned()
        .collect()
}

fn describe<D: Decider>() -> KindInfo {
    let commands = variants(&schemars::schema_for!(D::Command).to_value(), &|variant| {
        let (name, schema) = variant.get("properties")?.as_object()?.iter().next()?;
        Some((
            name.clone(),
            schema.clone(),
            variant.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        ))
    });
    let events = variants(&schemars::schema_for!(D::Event).to_value(), &|variant| {
        let properties = variant.get("properties")?;
        let name = properties.get("type")?.get("const")?.as_str()?.to_owned();
        let data = properties.get("data").cloned().unwrap_or_else(|| json!({ "type": "object" }));
        Some((name, data, String::new()))
    });
    KindInfo {
        kind: D::KIND.to_owned(),
        commands: commands
            .into_iter()
            .filter(|(name, ..)| D::is_public(name))
            .map(|(name, schema, summary)| CommandInfo {
                name,
                schema,
                summary: summary.lines().next().unwrap_or_default().to_owned(),
            })
            .collect(),
        events: events.into_iter().map(|(name, schema, _)| EventInfo { name, schema }).collect(),
    }
}

/// Name, schema, description.
type Variant = (String, Value, String);

/// The variants of an enum's schema, each with the definitions that it may refer to.
fn variants(root: &Value, name: &dyn Fn(&Value) -> Option<Variant>) -> Vec<Variant> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_commands_are_those_of_the_documents() {
        let kinds = Kinds::builtin();
        for (info, (kind, names)) in kinds.info().iter().zip(kinds.commands()) {
            assert_eq!(info.kind, kind.as_str());
            assert!(!names.is_empty());
            assert_eq!(info.commands.iter().map(|c| c.name.clone()).collect::<Vec<_>>(), names);
        }
    }
}
