//! A kind of one's own: everything that the built-in kinds get (durability, idempotency, history, timers, the outbox)
//! for about sixty lines of rules. Run it with `cargo run -p quipu-runtime --example counter`.

use quipu_rules::decider::{Corrupt, Decider, Decision, Refusal};
use quipu_runtime::{
    api::CommandRequest,
    kinds::Kinds,
    node::{Node, NodeConfig},
};
use quipu_schemas::{
    context::Context,
    envelope::{DataClass, KernelCommand},
    ids::{EntityId, Kind, OrgId, PrincipalId, StreamId},
    problem::Problem,
    reaction::Reaction,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Counts up to a limit, and back to zero an hour after the last change.
struct Counter;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
enum CounterState {
    #[default]
    Missing,
    Counting {
        value: u64,
        limit: u64,
        reset_at: u64,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CounterCommand {
    /// Makes the counter.
    Create(Create),
    /// Counts.
    Add(Add),
    /// The hour is over (sent by the kernel).
    Reset(Reset),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    limit: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    by: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reset {}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum CounterEvent {
    #[serde(rename = "example.counter.created.v1")]
    Created { limit: u64 },
    #[serde(rename = "example.counter.added.v1")]
    Added { by: u64, reset_at: u64 },
    #[serde(rename = "example.counter.reset.v1")]
    Reset {},
}

#[derive(Debug)]
enum CounterRejection {
    Exists,
    Missing,
    OverLimit { limit: u64 },
}

impl Refusal for CounterRejection {
    fn problem(&self) -> Problem {
        match self {
            CounterRejection::Exists => Problem::new(409, "counter_exists", "the counter exists already"),
            CounterRejection::Missing => Problem::new(404, "unknown_counter", "there is no such counter").fix("create it first"),
            CounterRejection::OverLimit { limit } => {
                Problem::new(409, "over_limit", format!("the counter may not pass {limit}")).field("by").fix("add less")
            }
        }
    }
}

impl Decider for Counter {
    const KIND: &'static str = "counter";
    const RULES_VERSION: u32 = 1;
    type State = CounterState;
    type Command = CounterCommand;
    type Event = CounterEvent;
    type Rejection = CounterRejection;

    fn initial() -> CounterState {
        CounterState::Missing
    }

    fn decide(state: &CounterState, command: &CounterCommand, context: &Context<'_>) -> Result<Decision<CounterEvent>, CounterRejection> {
        const HOUR_MS: u64 = 60 * 60 * 1000;
        match (state, command) {
            (CounterState::Missing, CounterCommand::Create(create)) => Ok(Decision::one(CounterEvent::Created { limit: create.limit })),
            (CounterState::Counting { .. }, CounterCommand::Create(_)) => Err(CounterRejection::Exists),
            (CounterState::Missing, CounterCommand::Add(_) | CounterCommand::Reset(_)) => Err(CounterRejection::Missing),
            (CounterState::Counting { .. }, CounterCommand::Add(Add { by: 0 })) => Ok(Decision::Unchanged),
            (CounterState::Counting { value, limit, .. }, CounterCommand::Add(Add { by })) => match value.checked_add(*by) {
                Some(sum) if sum <= *limit => Ok(Decision::one(CounterEvent::Added { by: *by, reset_at: context.now + HOUR_MS })),
                _ => Err(CounterRejection::OverLimit { limit: *limit }),
            },
            (CounterState::Counting { value: 0, .. }, CounterCommand::Reset(_)) => Ok(Decision::Unchanged),
            (CounterState::Counting { .. }, CounterCommand::Reset(_)) => Ok(Decision::one(CounterEvent::Reset {})),
        }
    }

    fn evolve(state: CounterState, event: &CounterEvent) -> Result<CounterState, Corrupt> {
        match (state, event) {
            (CounterState::Missing, CounterEvent::Created { limit }) => Ok(CounterState::Counting { value: 0, limit: *limit, reset_at: 0 }),
            (CounterState::Counting { value, limit, .. }, CounterEvent::Added { by, reset_at }) => {
                Ok(CounterState::Counting { value: value + by, limit, reset_at: *reset_at })
            }
            (CounterState::Counting { limit, .. }, CounterEvent::Reset {}) => Ok(CounterState::Counting { value: 0, limit, reset_at: 0 }),
            (state, event) => Err(Corrupt(format!("{event:?} on {state:?}"))),
        }
    }

    fn react(state: &CounterState, event: &CounterEvent) -> Vec<Reaction> {
        match (state, event) {
            (CounterState::Counting { reset_at, .. }, CounterEvent::Added { .. }) => {
                vec![Reaction::WakeAt { name: "reset".into(), due: *reset_at }]
            }
            _ => Vec::new(),
        }
    }

    fn from_kernel(word: KernelCommand) -> Option<CounterCommand> {
        matches!(word, KernelCommand::TimerFired { .. }).then_some(CounterCommand::Reset(Reset {}))
    }

    fn is_public(command: &str) -> bool {
        command != "reset"
    }
}

fn request(kind: &'static str, id: Option<&str>, command: &str, body: Value) -> CommandRequest {
    CommandRequest {
        org: OrgId::from_static("acme"),
        kind: Kind::from_static(kind),
        id: id.map(|id| EntityId::parse(id).expect("a literal id")),
        command: command.into(),
        body,
        command_id: None,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::start(NodeConfig::default(), Kinds::builtin().with::<Counter>(), |_| ()).await?;
    node.command(request("org", None, "create", json!({ "name": "Acme" }))).await?;
    node.command(request("counter", Some("visits"), "create", json!({ "limit": 3 }))).await?;
    let receipt = node.command(request("counter", Some("visits"), "add", json!({ "by": 2 }))).await?;
    println!("added: version {} at {}", receipt.version, receipt.position);
    let refusal = node.command(request("counter", Some("visits"), "add", json!({ "by": 2 }))).await.unwrap_err();
    println!("refused: {refusal}");
    let stream: StreamId = "acme/counter/visits".parse()?;
    let state = node.state(&stream, None, None).await?.ok_or("no state")?;
    println!("state: {} (digest {})", state.state.to_text(), &state.digest[..12]);
    assert_eq!(state.state.0["Counting"]["value"], 2);
    assert_eq!(refusal.code, "over_limit");
    node.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
