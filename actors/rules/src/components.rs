//! Components: what the nodes of a workflow run do. The registry is open: whoever builds a kind of run of their own
//! adds theirs to [`Registry::builtin`].
//!
//! A component is pure. One that must wait or act says so with a [`NodeWork`], which is recorded; what comes back is
//! given to [`Component::settle`]. Strings in a config that begin with `=` are expressions over `input` (the value at
//! port `in`), `inputs` (all ports), `run` (`id`, `org`, `input`) and `texts`. Values are sealed: those that an expression
//! looks into are opened for it, the others are handed on by name.

mod effects;
mod flow;
mod headers;
mod template;
mod waiting;

pub use crate::ports::{NodeError, PortType};
pub use template::{NAMES, Template};

use crate::{
    expression::{Budget, Depth, Expression, ExpressionCode, ExpressionError, Mention, Variables},
    values::Values,
};
use quipu_kinds::run::NodeWork;
use quipu_schemas::{
    context::Millis,
    ids::StreamId,
    json::Json,
    personal::{Opened, SealError, Subject, value::Sealed},
    reaction::{Outcome, Retry},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    sync::OnceLock,
};

/// A port of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type.
    pub port_type: PortType,
    /// Input: whether it must be connected, and whether the node is skipped when nothing reaches it.
    pub required: bool,
    /// Input: takes the values of all its edges, as an array; otherwise the first that is live.
    pub many: bool,
    /// Input: takes this many values of inputs that are given again and again, then closes.
    pub count: Option<u32>,
}

impl Port {
    /// A port of one value.
    pub fn one(name: impl Into<String>, port_type: PortType) -> Self {
        Self {
            name: name.into(),
            port_type,
            required: true,
            many: false,
            count: None,
        }
    }

    /// An input that may stay unconnected.
    pub fn optional(name: impl Into<String>, port_type: PortType) -> Self {
        Self {
            required: false,
            ..Self::one(name, port_type)
        }
    }
}

/// A node's ports, given its config.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports {
    /// Inputs.
    pub inputs: Vec<Port>,
    /// Outputs; every node also has `error`, which is live where it failed under `on_failure: continue`.
    pub outputs: Vec<Port>,
}

/// The port by which a failure leaves.
pub const ERROR_PORT: &str = "error";

/// Whether a component waits or acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nature {
    /// Decided at once.
    Pure,
    /// Waits for time, a signal or a person.
    Waits,
    /// Acts on the world through the outbox.
    Effectful,
}

/// What is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFlaw {
    /// Path within the config, empty for the whole.
    pub field: String,
    /// Stable code.
    pub code: String,
    /// In words.
    pub detail: String,
}

impl ConfigFlaw {
    /// A flaw of a field.
    pub fn new(field: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            code: code.to_owned(),
            detail: detail.into(),
        }
    }

    fn expression(field: impl Into<String>, error: &ExpressionError) -> Self {
        Self::new(field, "bad_expression", error.to_string())
    }
}

/// Values by output port.
pub type Outputs = BTreeMap<String, Json>;

/// What a node does when its turn comes.
// Made and used up at once.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It is done.
    Done(Outputs),
    /// It waits.
    Wait(NodeWork),
    /// It posts a sealed text, and is done.
    Post {
        /// Where to.
        post: quipu_kinds::run::RunPost,
        /// The text.
        body: quipu_schemas::personal::Personal<String>,
    },
}

/// What a node may look at.
pub struct NodeInput<'a> {
    /// The run's own stream.
    pub stream: &'a StreamId,
    /// The node.
    pub node: &'a str,
    /// Record time.
    pub now: Millis,
    /// How often its effect is repeated.
    pub retry: &'a Retry,
    /// Output ports of the node that have an edge.
    pub connected: &'a [String],
    /// Values by input port; a port that nothing reached is absent.
    pub ports: BTreeMap<String, Value>,
    /// The run's inputs so far.
    pub run_input: Value,
    /// Sealed texts by name.
    pub texts: Value,
    /// Opens sealed values and seals what the node makes.
    pub values: &'a Values<'a>,
    /// Whose sealed values the node looked into.
    pub looked: RefCell<BTreeSet<Subject>>,
    /// What all expressions of the node together may still spend.
    pub budget: RefCell<Budget>,
}

impl NodeInput<'_> {
    /// The value at the port `in`, null if nothing reached it.
    pub fn value(&self) -> Value {
        self.ports.get("in").cloned().unwrap_or(Value::Null)
    }

    /// What expressions see.
    pub fn variables(&self) -> Variables {
        [
            ("input".to_owned(), self.value()),
            ("inputs".to_owned(), Value::Object(self.ports.clone().into_iter().collect())),
            (
                "run".to_owned(),
                json!({"id": self.stream.id, "org": self.stream.org, "input": self.run_input}),
            ),
            ("texts".to_owned(), self.texts.clone()),
        ]
        .into()
    }

    /// What an expression comes to, to be handed on: sealed, but for parts that it hands on as they are.
    pub fn compute(&self, source: &str) -> Result<Value, NodeError> {
        let expression = Expression::parse(source)?;
        let (value, whose) = self.look(&expression, false)?;
        // A part that nobody opened is what it was.
        if whose.is_empty() && expression.is_path() {
            return Ok(value);
        }
        self.values.close(value, &whose)
    }

    /// What an expression comes to, in the clear, and whose values it was computed from.
    pub fn evaluate(&self, source: &str) -> Result<(Value, BTreeSet<Subject>), NodeError> {
        self.look(&Expression::parse(source)?, true)
    }

    /// Evaluates a condition: only which branch is taken gets into the log.
    pub fn test(&self, source: &str) -> Result<bool, NodeError> {
        let (value, _) = self.evaluate(source)?;
        value.as_bool().ok_or_else(|| {
            let detail = "a condition must be true or false".to_owned();
            ExpressionError::new(ExpressionCode::TypeError, detail).into()
        })
    }

    /// Evaluates, with those sealed values open that the expression looks into.
    fn look(&self, expression: &Expression, deep: bool) -> Result<(Value, BTreeSet<Subject>), NodeError> {
        let (mut variables, mut whose) = (self.variables(), BTreeSet::new());
        for Mention { path, depth } in mentions(expression, deep) {
            let Some((name, fields)) = path.split_first() else { continue };
            if let Some(variable) = variables.get_mut(name) {
                self.open_along(variable, fields, depth, &mut whose)?;
            }
        }
        let value = expression.evaluate_within(&variables, &mut self.budget.borrow_mut())?;
        Ok((value, whose))
    }

    fn open_along(&self, value: &mut Value, fields: &[String], depth: Depth, whose: &mut BTreeSet<Subject>) -> Result<(), NodeError> {
        if let Some(sealed) = Sealed::of(value) {
            if fields.is_empty() && depth == Depth::Handed {
                return Ok(());
            }
            let opened = self.open(&sealed)?;
            whose.insert(sealed.subject().to_owned());
            // Nothing sealed is inside of what was sealed.
            *value = opened;
            return Ok(());
        }
        match (fields.split_first(), value) {
            (Some((field, rest)), Value::Object(map)) => match map.get_mut(field) {
                Some(item) => self.open_along(item, rest, depth, whose),
                None => Ok(()),
            },
            (None, Value::Object(map)) if depth == Depth::Deep => {
                map.values_mut().try_for_each(|item| self.open_along(item, &[], depth, whose))
            }
            (None, Value::Array(items)) if depth == Depth::Deep => {
                items.iter_mut().try_for_each(|item| self.open_along(item, &[], depth, whose))
            }
            _ => Ok(()),
        }
    }

    fn open(&self, sealed: &Sealed<'_>) -> Result<Value, NodeError> {
        self.looked.borrow_mut().insert(sealed.subject().to_owned());
        let mut budget = self.budget.borrow_mut();
        budget.steps = budget.steps.checked_sub(sealed.size() / 64).ok_or_else(|| {
            let detail = "the node looks into more than its expressions may spend";
            ExpressionError::new(ExpressionCode::OutOfSteps, detail)
        })?;
        match self.values.context.open_one(sealed)? {
            Opened::Value(opened) => Ok(opened),
            Opened::Erased => Err(SealError::Erased(sealed.subject().to_owned()).into()),
        }
    }
}

/// What an expression looks into; `deep`: its result is looked into as well.
fn mentions(expression: &Expression, deep: bool) -> Vec<Mention> {
    let mut mentions = expression.mentions();
    for mention in mentions.iter_mut().filter(|mention| deep && mention.depth == Depth::Handed) {
        mention.depth = Depth::Deep;
    }
    mentions
}

/// An expression of a config.
pub(crate) struct Look<'c> {
    source: &'c str,
    /// Whether its result is looked into; otherwise it is handed on.
    deep: bool,
}

/// A component. Pure: equal inputs give equal steps.
pub trait Component: Send + Sync {
    /// Name in definitions.
    fn name(&self) -> &'static str;
    /// One sentence for people.
    fn about(&self) -> &'static str;
    /// Whether it waits or acts.
    fn nature(&self) -> Nature;
    /// JSON Schema of its config.
    fn config_schema(&self) -> Value;
    /// What its expressions look into, for a good config: sealed values among it are brought before the run decides.
    fn mentions(&self, _config: &Value) -> Vec<Mention> {
        Vec::new()
    }
    /// Refuses a config; empty: it is good.
    fn check(&self, config: &Value) -> Vec<ConfigFlaw>;
    /// Ports, for a good config.
    fn ports(&self, config: &Value) -> Ports;
    /// The node's turn has come.
    fn start(&self, config: &Value, input: &NodeInput<'_>) -> Result<Step, NodeError>;
    /// What its effect came to.
    fn settle(&self, config: &Value, outcome: &Outcome) -> Result<Outputs, NodeError>;
}

/// Components by name.
#[derive(Default)]
pub struct Registry {
    components: BTreeMap<&'static str, Box<dyn Component>>,
}

impl Registry {
    /// The built-in components.
    pub fn builtin() -> &'static Registry {
        static BUILTIN: OnceLock<Registry> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let mut registry = Registry::default();
            flow::register(&mut registry);
            waiting::register(&mut registry);
            effects::register(&mut registry);
            registry
        })
    }

    /// Adds a component, replacing one of the same name.
    pub fn register(&mut self, component: Box<dyn Component>) {
        self.components.insert(component.name(), component);
    }

    /// The component of that name.
    pub fn get(&self, name: &str) -> Option<&dyn Component> {
        self.components.get(name).map(|c| &**c)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        self.components.keys().copied().collect()
    }

    /// All components as people and tools list them: name, about, nature, config schema, ports of an empty config
    /// where it has any.
    pub fn catalogue(&self) -> Vec<Value> {
        self.components
            .values()
            .map(|c| json!({"name": c.name(), "about": c.about(), "nature": c.nature(), "config": c.config_schema()}))
            .collect()
    }
}

/// A component with a typed config; [`Typed`] makes it a [`Component`].
trait TypedComponent: Send + Sync + 'static {
    type Config: DeserializeOwned + JsonSchema;
    const NAME: &'static str;
    const ABOUT: &'static str;
    const NATURE: Nature;
    fn looks(_config: &Self::Config) -> Vec<Look<'_>> {
        Vec::new()
    }
    fn check(_config: &Self::Config) -> Vec<ConfigFlaw> {
        Vec::new()
    }
    fn ports(config: &Self::Config) -> Ports;
    fn start(config: Self::Config, input: &NodeInput<'_>) -> Result<Step, NodeError>;
    fn settle(_config: Self::Config, outcome: &Outcome) -> Result<Outputs, NodeError> {
        Err(unexpected(outcome))
    }
}

struct Typed<T>(PhantomData<fn() -> T>);

fn typed<T: TypedComponent>() -> Box<dyn Component> {
    Box::new(Typed::<T>(PhantomData))
}

fn read<C: DeserializeOwned>(config: &Value) -> Result<C, ConfigFlaw> {
    C::deserialize(config).map_err(|e| ConfigFlaw::new("", "bad_config", e.to_string()))
}

impl<T: TypedComponent> Component for Typed<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }
    fn about(&self) -> &'static str {
        T::ABOUT
    }
    fn nature(&self) -> Nature {
        T::NATURE
    }
    fn mentions(&self, config: &Value) -> Vec<Mention> {
        let Ok(config) = read::<T::Config>(config) else {
            return Vec::new();
        };
        let of = |look: &Look<'_>| Some(mentions(&Expression::parse(look.source).ok()?, look.deep));
        T::looks(&config).iter().filter_map(of).flatten().collect()
    }
    fn config_schema(&self) -> Value {
        schemars::schema_for!(T::Config).to_value()
    }
    fn check(&self, config: &Value) -> Vec<ConfigFlaw> {
        match read::<T::Config>(config) {
            Ok(config) => T::check(&config),
            Err(flaw) => vec![flaw],
        }
    }
    fn ports(&self, config: &Value) -> Ports {
        read::<T::Config>(config).map(|c| T::ports(&c)).unwrap_or_default()
    }
    fn start(&self, config: &Value, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        T::start(read(config).map_err(|e| NodeError::new(e.code, e.detail))?, input)
    }
    fn settle(&self, config: &Value, outcome: &Outcome) -> Result<Outputs, NodeError> {
        T::settle(read(config).map_err(|e| NodeError::new(e.code, e.detail))?, outcome)
    }
}

/// The failure that an outcome is, where it is none that the component waits for.
fn unexpected(outcome: &Outcome) -> NodeError {
    match outcome {
        Outcome::Failed { code, detail } => NodeError::new(code.clone(), detail.clone()),
        Outcome::Lost { detail } => NodeError::new("lost", Outcome::lost_detail(detail.as_deref())),
        Outcome::Cancelled { .. } => NodeError::new("cancelled", "it was cancelled"),
        Outcome::Answered(_)
        | Outcome::Responded { .. }
        | Outcome::ToolResult { .. }
        | Outcome::Sealed { .. }
        | Outcome::Shredded { .. }
        | Outcome::Refreshed { .. }
        | Outcome::Mailed { .. } => NodeError::new("unexpected_outcome", "the effect came to an outcome of another kind"),
    }
}

/// Outputs of one port.
fn only(port: &str, value: Value) -> Outputs {
    [(port.to_owned(), Json(value))].into()
}

/// Whether a name may be a port's.
pub(crate) fn is_port_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn check_source(field: &str, source: &str, flaws: &mut Vec<ConfigFlaw>) {
    if let Err(error) = Expression::parse(source).and_then(|e| e.check_names(NAMES)) {
        flaws.push(ConfigFlaw::expression(field, &error));
    }
}

#[cfg(test)]
mod tests;
