//! The kinds of entity that a node knows: the built-in ones, and a user's own `Decider`s.

use crate::{
    api::{CommandInfo, EventInfo, KindInfo},
    kernel::entity::{Active, Base, Entity, ParkedError, ShapeCell},
};
use names::{bringing_secrets, names_of, variants};
use quipu_rules::{
    decider::{Decider, Right},
    rights::Charter,
};
use quipu_schemas::{
    codec::{self, EventError},
    context::Keys,
    digest::Digest,
    ids::{BadId, Kind, StreamId},
    json::Json,
    kind::{is_plural, is_prefix, is_reserved},
    personal,
    problem::Problem,
    record::{Record, StoredEvent},
    rights::Capability,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData, sync::Arc};

/// One kind, with its types erased: what shells and simulation call.
pub trait KindHandler: Send + Sync {
    /// The kind for documents, made anew from its types: schemas take megabytes, and few ask for them.
    fn info(&self) -> KindInfo;
    /// Names of the commands that clients may send.
    fn commands(&self) -> &[String];
    /// Names of what only the kernel and other entities send.
    fn words(&self) -> &[String];
    /// Plural in paths and in the `source` of events.
    fn plural(&self) -> &str;
    /// Prefix of minted ids.
    fn prefix(&self) -> &str;
    /// See [`Decider::data_subject`].
    fn data_subject(&self, command: &str, raw: &Value) -> Option<String>;
    /// See [`Decider::right`].
    fn right(&self, command: &str) -> Right;
    /// See [`Decider::mints`].
    fn mints(&self, command: &str) -> Option<&'static str>;
    /// See [`Decider::names_actor`].
    fn names_actor(&self, command: &str) -> Option<&'static str>;
    /// See [`Decider::names_rights`].
    fn names_rights(&self, command: &str) -> &'static [&'static str];
    /// Whether a command brings a secret: its schema says so.
    fn takes_secret(&self, command: &str) -> bool;
    /// See [`Decider::carries`].
    fn carries(&self, command: &str) -> bool;
    /// Parses a client's command, sealing personal fields, into its stored form. Large ones are kept, durably, on return;
    /// that may block.
    fn parse(&self, command: &str, body: Value, subject: &str, keys: Arc<dyn Keys>) -> Result<Json, Problem>;
    /// Decodes a stored event, of any version, and encodes it again in the newest.
    fn recode(&self, event: &StoredEvent) -> Result<StoredEvent, EventError>;
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
    plural: Cow<'static, str>,
    prefix: String,
    shape: ShapeCell,
    commands: Vec<String>,
    words: Vec<String>,
    /// Names of the commands that bring secrets.
    secret: Vec<String>,
    of: PhantomData<fn() -> D>,
}

/// Why a kind cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// The name is outside its grammar.
    #[error(transparent)]
    BadName(#[from] BadId),
    /// The plural is outside its grammar.
    #[error("plural `{0}` is not valid: use 1 to 33 of a-z 0-9 -, starting with a letter")]
    BadPlural(String),
    /// The prefix is outside its grammar.
    #[error("id prefix `{0}` is not valid: use 1 to 8 of a-z 0-9 -, starting with a letter")]
    BadPrefix(String),
    /// The word is reserved.
    #[error("kind {0} cannot be called `{1}`: the word is reserved; give it another name or plural")]
    Reserved(Kind, String),
    /// Another kind is called so.
    #[error("kind {0} cannot be called `{1}`: kind {2} is; give it another name or plural")]
    Taken(Kind, String, Kind),
    /// A word is called as a command is.
    #[error("kind {0} calls both a command and a word `{1}`: give one of them another name")]
    Both(Kind, String),
    /// A view is called so.
    #[error("kind {0} cannot be called `{1}`: a view is; give it another name or plural")]
    View(Kind, String),
}

/// The registry of kinds.
#[derive(Clone, Default)]
pub struct Kinds {
    handlers: BTreeMap<Kind, Arc<dyn KindHandler>>,
}

impl quipu_rules::Register for Kinds {
    fn kind<D: Decider>(self) -> Self {
        self.with::<D>()
    }
}

impl Kinds {
    /// The kinds of the house.
    pub fn builtin() -> Self {
        quipu_rules::house(Self::default())
    }

    /// Adds a kind.
    ///
    /// # Panics
    /// Where [`Kinds::try_with`] refuses it: that is a mistake in the program.
    pub fn with<D: Decider>(self) -> Self {
        self.try_with::<D>().unwrap_or_else(|e| panic!("Decider::KIND: {e}"))
    }

    /// Adds a kind. Its name and its plural must be free, because paths and command lines take either: not another kind's,
    /// and neither reserved nor kept for a kind of the house.
    pub fn try_with<D: Decider>(mut self) -> Result<Self, KindError> {
        let kind = Kind::parse(D::KIND)?;
        let plural = plural_of::<D>(&kind);
        let prefix = D::PREFIX.unwrap_or_else(|| kind.prefix()).to_owned();
        if !is_plural(&plural) {
            return Err(KindError::BadPlural(plural.into_owned()));
        }
        if !is_prefix(&prefix) {
            return Err(KindError::BadPrefix(prefix));
        }
        // The usual plural is taken in paths as well.
        for word in [kind.as_str(), &plural, &kind.plural()] {
            if kind.spec().is_none() && is_reserved(word) {
                return Err(KindError::Reserved(kind.clone(), word.to_owned()));
            }
            if let Some(other) = self.named(word) {
                return Err(KindError::Taken(kind.clone(), word.to_owned(), other.clone()));
            }
        }
        let (commands, words) = (names_of::<D::Command>(), names_of::<D::Word>());
        if let Some(both) = words.iter().find(|word| commands.contains(word)) {
            return Err(KindError::Both(kind, both.clone()));
        }
        let handler = Handler::<D> {
            plural,
            prefix,
            shape: ShapeCell::default(),
            secret: bringing_secrets::<D::Command>(),
            commands,
            words,
            of: PhantomData,
        };
        self.handlers.insert(kind, Arc::new(handler));
        Ok(self)
    }

    /// The kind that a word names, in the singular or the plural.
    pub fn named(&self, word: &str) -> Option<&Kind> {
        let is_called =
            |(kind, handler): &(&Kind, &Arc<dyn KindHandler>)| word == kind.as_str() || word == handler.plural() || word == kind.plural();
        self.handlers.iter().find(is_called).map(|(kind, _)| kind)
    }

    /// Refuses a kind that is called like one of these views; `of` is the kind that they show, which may be called so.
    pub fn beside<'a>(&self, of: Option<&str>, views: impl IntoIterator<Item = &'a str>) -> Result<(), KindError> {
        for view in views {
            if let Some(kind) = self.named(view).filter(|kind| Some(kind.as_str()) != of) {
                return Err(KindError::View(kind.clone(), view.to_owned()));
            }
        }
        Ok(())
    }

    /// The plural of a kind, its own where it brings one.
    pub fn plural(&self, kind: &Kind) -> Cow<'_, str> {
        self.handlers
            .get(kind)
            .map_or_else(|| kind.plural(), |handler| Cow::Borrowed(handler.plural()))
    }

    /// The rules of a kind.
    pub fn get(&self, kind: &Kind) -> Option<&Arc<dyn KindHandler>> {
        self.handlers.get(kind)
    }

    /// The kinds, for documents.
    pub fn info(&self) -> Vec<KindInfo> {
        self.handlers.values().map(|h| h.info()).collect()
    }

    /// What the commands of these kinds take, and what can be read: the kinds, and `reads`.
    pub fn charter(&self, reads: impl IntoIterator<Item = Capability>) -> Charter {
        let commands = self.handlers.iter().flat_map(|(kind, handler)| {
            let of_kind = handler.commands().iter();
            of_kind.map(|command| (kind.clone(), command.clone(), handler.right(command)))
        });
        let named = self.handlers.iter().flat_map(|(kind, handler)| {
            let fields = |command: &String| Some((kind.clone(), command.clone(), handler.names_actor(command)?));
            handler.commands().iter().filter_map(fields).collect::<Vec<_>>()
        });
        let places = self.handlers.iter().flat_map(|(kind, handler)| {
            let of_kind = handler.commands().iter();
            of_kind.map(|command| (kind.clone(), command.clone(), handler.names_rights(command)))
        });
        Charter::new(commands, reads).naming(named).naming_rights(places)
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

    fn words(&self) -> &[String] {
        &self.words
    }

    fn plural(&self) -> &str {
        &self.plural
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn data_subject(&self, command: &str, raw: &Value) -> Option<String> {
        D::data_subject(command, raw)
    }

    fn right(&self, command: &str) -> Right {
        D::right(command)
    }

    fn mints(&self, command: &str) -> Option<&'static str> {
        D::mints(command)
    }

    fn names_actor(&self, command: &str) -> Option<&'static str> {
        D::names_actor(command)
    }

    fn names_rights(&self, command: &str) -> &'static [&'static str] {
        D::names_rights(command)
    }

    fn takes_secret(&self, command: &str) -> bool {
        self.secret.iter().any(|name| name == command)
    }

    fn carries(&self, command: &str) -> bool {
        D::carries(command)
    }

    fn parse(&self, command: &str, body: Value, subject: &str, keys: Arc<dyn Keys>) -> Result<Json, Problem> {
        serde_json::to_value(&parsed::<D>(command, body, subject, keys)?)
            .map(Json)
            .map_err(|e| Problem::new(500, "command_unstorable", format!("{command} cannot be stored: {e}")))
    }

    fn recode(&self, event: &StoredEvent) -> Result<StoredEvent, EventError> {
        codec::encode_event(&codec::decode_event::<D::Event>(event)?)
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

/// The plural that a kind brings, or its usual one.
fn plural_of<D: Decider>(kind: &Kind) -> Cow<'static, str> {
    D::PLURAL.map_or_else(|| kind.plural(), Cow::Borrowed)
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
        plural: plural_of::<D>(&Kind::from_static(D::KIND)).into_owned(),
        commands: commands
            .into_iter()
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
mod names;
#[cfg(test)]
mod tests;
