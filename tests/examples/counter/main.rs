//! A kind of one's own with a view: everything that the built-in kinds get (durability, idempotency, history, timers, the outbox)
//! for about ninety lines. Run it with `cargo run -p quipu-tests --example counter`; `cargo test` runs the tests
//! at its end. `ops/docs/own-kind.md` walks through it.

use quipu::{config::Config, domain::Domain, serve};
use quipu_projections::{
    family::Family,
    progress::Wanted,
    query::Query,
    reading::{Filter, Reading, View, whole},
    scope::{Scope, events},
    statement::Statements,
    table::{Table, count, int, text},
};
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decider, Decision, Refusal};
use quipu_runtime::{api::CommandRequest, kinds::Kinds};
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
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CounterWord {
    /// The hour is over.
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
            CounterRejection::Missing => Problem::new(404, "unknown_counter", "no such counter").fix("create it first"),
            CounterRejection::OverLimit { limit } => Problem::new(409, "over_limit", format!("the counter may not pass {limit}"))
                .field("by")
                .fix("add less"),
        }
    }
}

impl Decider for Counter {
    const KIND: &'static str = "counter";
    const RULES_VERSION: u32 = 1;
    type State = CounterState;
    type Command = CounterCommand;
    type Word = CounterWord;
    type Event = CounterEvent;
    type Rejection = CounterRejection;

    fn initial() -> CounterState {
        CounterState::Missing
    }

    fn decide(state: &CounterState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<CounterEvent>, CounterRejection> {
        const HOUR_MS: u64 = 60 * 60 * 1000;
        let (value, limit) = match (state, asked) {
            (CounterState::Missing, Asked::Command(CounterCommand::Create(create))) => {
                return Ok(Decision::one(CounterEvent::Created { limit: create.limit }));
            }
            (CounterState::Missing, _) => return Err(CounterRejection::Missing),
            (CounterState::Counting { value, limit, .. }, _) => (*value, *limit),
        };
        match asked {
            Asked::Command(CounterCommand::Create(_)) => Err(CounterRejection::Exists),
            Asked::Command(CounterCommand::Add(Add { by: 0 })) => Ok(Decision::Unchanged),
            Asked::Command(CounterCommand::Add(Add { by })) => match value.checked_add(*by) {
                Some(sum) if sum <= limit => Ok(Decision::one(CounterEvent::Added {
                    by: *by,
                    reset_at: context.now + HOUR_MS,
                })),
                _ => Err(CounterRejection::OverLimit { limit }),
            },
            Asked::Word(CounterWord::Reset(_)) if value == 0 => Ok(Decision::Unchanged),
            Asked::Word(CounterWord::Reset(_)) => Ok(Decision::one(CounterEvent::Reset {})),
        }
    }

    fn evolve(state: CounterState, event: &CounterEvent) -> Result<CounterState, Corrupt> {
        match (state, event) {
            (CounterState::Missing, CounterEvent::Created { limit }) => Ok(CounterState::Counting {
                value: 0,
                limit: *limit,
                reset_at: 0,
            }),
            (CounterState::Counting { value, limit, .. }, CounterEvent::Added { by, reset_at }) => Ok(CounterState::Counting {
                value: value + by,
                limit,
                reset_at: *reset_at,
            }),
            (CounterState::Counting { limit, .. }, CounterEvent::Reset {}) => Ok(CounterState::Counting {
                value: 0,
                limit,
                reset_at: 0,
            }),
            (state, event) => Err(Corrupt(format!("{event:?} on {state:?}"))),
        }
    }

    fn react(state: &CounterState, event: &CounterEvent) -> Vec<Reaction> {
        match (state, event) {
            (CounterState::Counting { reset_at, .. }, CounterEvent::Added { .. }) => {
                vec![Reaction::WakeAt {
                    name: "reset".into(),
                    due: *reset_at,
                }]
            }
            _ => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<CounterWord> {
        matches!(told, KernelCommand::TimerFired { .. }).then_some(CounterWord::Reset(Reset {}))
    }
}

/// One row a counter.
static TABLE: Table = Table {
    name: "counters",
    key: &[text("id")],
    columns: &[count("value"), int("limit"), int("updated_at")],
    indexes: &[],
};

static READING: Reading = whole("counters", &TABLE, &["id"], &[("at_least", Filter::From("value"))]);
const COUNTERS: View = View::of(&READING);

static FAMILY: Family = Family {
    name: "counter",
    kind: Some("counter"),
    version: 1,
    tables: &[&TABLE],
    views: &[COUNTERS],
    parts: &[],
    counts: &[(COUNTERS, &[])],
    reduce: |record, _, out| events(record, out, reduce),
};

fn reduce(at: Scope<'_>, event: CounterEvent, out: &mut Statements) {
    let id = || (&at.header.stream.id).into();
    let now = ("updated_at", at.time().into());
    match event {
        CounterEvent::Created { limit } => out.put(&TABLE, at.org(), [id()], [("limit", limit.into()), now]),
        CounterEvent::Added { by, .. } => {
            let by = i64::try_from(by).unwrap_or(i64::MAX);
            out.put_add(&TABLE, at.org(), [id()], [now], [("value", by)]);
        }
        CounterEvent::Reset {} => out.put(&TABLE, at.org(), [id()], [("value", 0u64.into()), now]),
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
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let domain = Domain::from(Kinds::builtin().with::<Counter>()).view(&FAMILY);
    let running = serve::start_with(Config::in_memory()?, domain, |_| ()).await?;
    println!("listening on {}", running.url());
    let node = &running.node;
    node.command(request("org", None, "create", json!({ "name": "Acme" }))).await?;
    node.command(request("counter", Some("visits"), "create", json!({ "limit": 3 })))
        .await?;
    let receipt = node.command(request("counter", Some("visits"), "add", json!({ "by": 2 }))).await?;
    println!("added: version {} at {}", receipt.version, receipt.position);
    let refusal = node
        .command(request("counter", Some("visits"), "add", json!({ "by": 2 })))
        .await
        .unwrap_err();
    println!("refused: {refusal}");
    let stream: StreamId = "acme/counter/visits".parse()?;
    let state = node.state(&stream, None, None).await?.ok_or("no state")?;
    println!("state: {} (digest {})", state.state.to_text(), &state.digest[..12]);
    assert_eq!(state.state.0["Counting"]["value"], 2);
    assert_eq!(refusal.code, "over_limit");
    // The view follows the log: it is asked once it has seen the command.
    running.views.wait_for(&Wanted::Position(receipt.position)).await?;
    let acme = running.in_org(OrgId::from_static("acme"))?;
    let page = running.views.list(COUNTERS, &acme, Query::default()).await?;
    println!("row: {}", page.rows[0]);
    assert_eq!(page.rows[0]["value"], 2);
    running.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests;
