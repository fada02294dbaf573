//! Components that are decided at once.

use super::{
    ConfigFlaw, ERROR_PORT, Look, Nature, NodeError, NodeInput, Port, PortType, Ports, Registry, Step, TypedComponent, check_source,
    is_port_name, only, typed,
};
use quipu_schemas::json::Json;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub(super) fn register(registry: &mut Registry) {
    registry.register(typed::<Passthrough>());
    registry.register(typed::<Map>());
    registry.register(typed::<Filter>());
    registry.register(typed::<Switch>());
    registry.register(typed::<Parallel>());
    registry.register(typed::<Collect>());
    registry.register(typed::<Log>());
}

fn in_out() -> Ports {
    Ports {
        inputs: vec![Port::one("in", PortType::Any)],
        outputs: vec![Port::one("out", PortType::Any)],
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

struct Passthrough;
impl TypedComponent for Passthrough {
    type Config = Nothing;
    const NAME: &'static str = "passthrough";
    const ABOUT: &'static str = "Hands its input on; where several branches meet, the first that is live.";
    const NATURE: Nature = Nature::Pure;
    fn ports(_: &Nothing) -> Ports {
        in_out()
    }
    fn start(_: Nothing, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        Ok(Step::Done(only("out", input.value())))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MapConfig {
    /// The output, as an expression.
    expression: String,
}

struct Map;
impl TypedComponent for Map {
    type Config = MapConfig;
    const NAME: &'static str = "map";
    const ABOUT: &'static str = "Hands on what an expression makes of its input.";
    const NATURE: Nature = Nature::Pure;
    fn check(config: &MapConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        check_source("expression", &config.expression, &mut flaws);
        flaws
    }
    fn looks(config: &MapConfig) -> Vec<Look<'_>> {
        vec![Look {
            source: &config.expression,
            deep: false,
        }]
    }
    fn ports(_: &MapConfig) -> Ports {
        in_out()
    }
    fn start(config: MapConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        Ok(Step::Done(only("out", input.compute(&config.expression)?)))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilterConfig {
    /// Which inputs pass.
    condition: String,
}

struct Filter;
impl TypedComponent for Filter {
    type Config = FilterConfig;
    const NAME: &'static str = "filter";
    const ABOUT: &'static str = "Hands its input on at `out` where a condition holds, otherwise at `dropped`.";
    const NATURE: Nature = Nature::Pure;
    fn check(config: &FilterConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        check_source("condition", &config.condition, &mut flaws);
        flaws
    }
    fn looks(config: &FilterConfig) -> Vec<Look<'_>> {
        vec![Look {
            source: &config.condition,
            deep: true,
        }]
    }
    fn ports(_: &FilterConfig) -> Ports {
        Ports {
            inputs: vec![Port::one("in", PortType::Any)],
            outputs: vec![Port::one("out", PortType::Any), Port::one("dropped", PortType::Any)],
        }
    }
    fn start(config: FilterConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let port = if input.test(&config.condition)? { "out" } else { "dropped" };
        Ok(Step::Done(only(port, input.value())))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SwitchConfig {
    /// Tried in order; the first that holds names the port.
    cases: Vec<Case>,
    /// The port where none holds; without it nothing is handed on.
    #[serde(default)]
    default: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The condition: an expression.
    when: String,
    /// An output port.
    port: String,
}

struct Switch;
impl TypedComponent for Switch {
    type Config = SwitchConfig;
    const NAME: &'static str = "switch";
    const ABOUT: &'static str = "Hands its input on at the port of the first case whose condition holds.";
    const NATURE: Nature = Nature::Pure;
    fn check(config: &SwitchConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        if config.cases.is_empty() {
            flaws.push(ConfigFlaw::new("cases", "bad_config", "at least one case is needed"));
        }
        for (i, case) in config.cases.iter().enumerate() {
            check_source(&format!("cases[{i}].when"), &case.when, &mut flaws);
            check_port(&format!("cases[{i}].port"), &case.port, &mut flaws);
        }
        if let Some(port) = &config.default {
            check_port("default", port, &mut flaws);
        }
        flaws
    }
    fn looks(config: &SwitchConfig) -> Vec<Look<'_>> {
        config
            .cases
            .iter()
            .map(|case| Look {
                source: &case.when,
                deep: true,
            })
            .collect()
    }
    fn ports(config: &SwitchConfig) -> Ports {
        let mut outputs: Vec<Port> = Vec::new();
        for name in config.cases.iter().map(|c| &c.port).chain(&config.default) {
            if !outputs.iter().any(|p| p.name == *name) {
                outputs.push(Port::one(name.clone(), PortType::Any));
            }
        }
        Ports {
            inputs: vec![Port::one("in", PortType::Any)],
            outputs,
        }
    }
    fn start(config: SwitchConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        for case in &config.cases {
            if input.test(&case.when)? {
                return Ok(Step::Done(only(&case.port, input.value())));
            }
        }
        Ok(Step::Done(
            config.default.map(|port| only(&port, input.value())).unwrap_or_default(),
        ))
    }
}

fn check_port(field: &str, name: &str, flaws: &mut Vec<ConfigFlaw>) {
    if !is_port_name(name) || name == ERROR_PORT {
        flaws.push(ConfigFlaw::new(
            field,
            "bad_port",
            "a port's name is 1 to 64 of A-Z a-z 0-9 _ -, and not `error`",
        ));
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ParallelConfig {
    /// Output ports, each of which gets the input.
    branches: Vec<String>,
}

struct Parallel;
impl TypedComponent for Parallel {
    type Config = ParallelConfig;
    const NAME: &'static str = "parallel";
    const ABOUT: &'static str = "Hands its input on at every branch.";
    const NATURE: Nature = Nature::Pure;
    fn check(config: &ParallelConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        if config.branches.is_empty() || config.branches.len() > 64 {
            flaws.push(ConfigFlaw::new("branches", "bad_config", "1 to 64 branches are needed"));
        }
        for (i, name) in config.branches.iter().enumerate() {
            check_port(&format!("branches[{i}]"), name, &mut flaws);
            if config.branches[..i].contains(name) {
                flaws.push(ConfigFlaw::new(
                    format!("branches[{i}]"),
                    "duplicate_port",
                    format!("duplicate branch `{name}`"),
                ));
            }
        }
        flaws
    }
    fn ports(config: &ParallelConfig) -> Ports {
        Ports {
            inputs: vec![Port::one("in", PortType::Any)],
            outputs: config.branches.iter().map(|name| Port::one(name.clone(), PortType::Any)).collect(),
        }
    }
    fn start(config: ParallelConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        // Unconnected branches would only repeat the value in the log.
        let live = config.branches.into_iter().filter(|name| input.connected.contains(name));
        Ok(Step::Done(live.map(|name| (name, Json(input.value()))).collect()))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CollectConfig {
    /// How many values to gather from an input that is given again and again, 1 to 10,000.
    #[serde(default)]
    count: Option<u32>,
}

struct Collect;
impl TypedComponent for Collect {
    type Config = CollectConfig;
    const NAME: &'static str = "collect";
    const ABOUT: &'static str = "Waits for all branches at `items` and hands their values on as one array, in the order of the edges.";
    const NATURE: Nature = Nature::Pure;
    fn check(config: &CollectConfig) -> Vec<ConfigFlaw> {
        match config.count {
            Some(0 | 10_001..) => vec![ConfigFlaw::new("count", "bad_config", "1 to 10,000 values can be gathered")],
            _ => Vec::new(),
        }
    }
    fn ports(config: &CollectConfig) -> Ports {
        Ports {
            inputs: vec![Port {
                many: true,
                count: config.count,
                ..Port::one("items", PortType::Any)
            }],
            outputs: vec![Port::one("out", PortType::Array)],
        }
    }
    fn start(_: CollectConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        Ok(Step::Done(only(
            "out",
            input.ports.get("items").cloned().unwrap_or_else(|| Value::Array(Vec::new())),
        )))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LogConfig {
    /// What is logged, as an expression; the input itself unless given.
    #[serde(default)]
    message: Option<String>,
}

struct Log;
impl TypedComponent for Log {
    type Config = LogConfig;
    const NAME: &'static str = "log";
    const ABOUT: &'static str = "Records a line in the run's history (port `line`) and hands its input on.";
    const NATURE: Nature = Nature::Pure;
    fn check(config: &LogConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        if let Some(source) = &config.message {
            check_source("message", source, &mut flaws);
        }
        flaws
    }
    fn looks(config: &LogConfig) -> Vec<Look<'_>> {
        let source = config.message.iter();
        source.map(|source| Look { source, deep: false }).collect()
    }
    fn ports(_: &LogConfig) -> Ports {
        Ports {
            inputs: vec![Port::one("in", PortType::Any)],
            outputs: vec![Port::one("out", PortType::Any), Port::one("line", PortType::Any)],
        }
    }
    fn start(config: LogConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let line = match &config.message {
            Some(source) => input.compute(source)?,
            None => input.value(),
        };
        let mut outputs = only("line", line);
        if input.connected.iter().any(|port| port == "out") {
            outputs.insert("out".to_owned(), Json(input.value()));
        }
        Ok(Step::Done(outputs))
    }
}
