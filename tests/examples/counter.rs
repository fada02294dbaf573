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
    let page = running.views.list(COUNTERS, &OrgId::from_static("acme"), Query::default()).await?;
    println!("row: {}", page.rows[0]);
    assert_eq!(page.rows[0]["value"], 2);
    running.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::{
        context::{Authority, NoKeys},
        digest::Digest,
        ids::CommandId,
    };
    use quipu_tests::caller::Caller;
    use std::cell::Cell;

    const HOUR_MS: u64 = 60 * 60 * 1000;

    fn fold(events: &[CounterEvent]) -> CounterState {
        events
            .iter()
            .fold(Counter::initial(), |state, event| Counter::evolve(state, event).expect("fits"))
    }

    /// Given these events, when this command comes at `now`: the decision.
    fn decide(given: &[CounterEvent], asked: AskedOf<Counter>, now: u64) -> Result<Decision<CounterEvent>, CounterRejection> {
        let context = Context {
            now,
            stream: &"acme/counter/visits".parse().expect("a stream"),
            command_id: &CommandId::parse("c-1").expect("an id"),
            command_digest: Digest::ZERO,
            principal: &PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            authority: &Authority::default(),
            version: given.len() as u64,
            seed: 1,
            opener: &NoKeys,
            minted: Cell::new(0),
            made: quipu_schemas::personal::Made::default(),
        };
        Counter::decide(&fold(given), &asked, &context)
    }

    fn json_of(decision: Result<Decision<CounterEvent>, CounterRejection>) -> Value {
        match decision {
            Ok(Decision::Accept(events)) => serde_json::to_value(events).expect("events are JSON"),
            Ok(Decision::Unchanged) => json!("unchanged"),
            Err(rejection) => json!(rejection.problem().code),
        }
    }

    #[test]
    fn it_counts_to_its_limit_and_no_further() {
        let created = CounterEvent::Created { limit: 3 };
        let two = CounterEvent::Added { by: 2, reset_at: 9 };
        let create = || Asked::Command(CounterCommand::Create(Create { limit: 3 }));
        let add = |by| Asked::Command(CounterCommand::Add(Add { by }));
        assert_eq!(
            json_of(decide(&[], create(), 5)),
            json!([{ "type": "example.counter.created.v1", "data": { "limit": 3 } }])
        );
        assert_eq!(json_of(decide(std::slice::from_ref(&created), create(), 5)), "counter_exists");
        assert_eq!(json_of(decide(&[], add(1), 5)), "unknown_counter");
        let given = [created, two];
        let added = json!([{ "type": "example.counter.added.v1", "data": { "by": 1, "reset_at": 5 + HOUR_MS } }]);
        assert_eq!(json_of(decide(&given, add(1), 5)), added);
        assert_eq!(json_of(decide(&given, add(0), 5)), "unchanged");
        assert_eq!(json_of(decide(&given, add(2), 5)), "over_limit");
        assert_eq!(json_of(decide(&given, add(u64::MAX), 5)), "over_limit");
    }

    #[test]
    fn a_timer_follows_each_change_and_resets_the_count_once() {
        let given = [CounterEvent::Created { limit: 3 }, CounterEvent::Added { by: 2, reset_at: 9 }];
        let reactions = Counter::react(&fold(&given), &given[1]);
        assert!(
            matches!(&reactions[..], [Reaction::WakeAt { name, due: 9 }] if name == "reset"),
            "{reactions:?}"
        );
        assert!(Counter::react(&fold(&given[..1]), &given[0]).is_empty());
        let reset = || Asked::Word(CounterWord::Reset(Reset {}));
        assert_eq!(
            json_of(decide(&given, reset(), 9)),
            json!([{ "type": "example.counter.reset.v1", "data": {} }])
        );
        let after = [&given[..], &[CounterEvent::Reset {}]].concat();
        assert_eq!(json_of(decide(&after, reset(), 9)), "unchanged");
    }

    #[test]
    fn an_event_that_does_not_fit_is_refused_rather_than_folded() {
        assert!(Counter::evolve(CounterState::Missing, &CounterEvent::Reset {}).is_err());
        assert!(Counter::evolve(fold(&[CounterEvent::Created { limit: 1 }]), &CounterEvent::Created { limit: 1 }).is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_runs_it_like_a_built_in_kind() {
        let config = Config::in_memory().expect("a configuration");
        let domain = Domain::from(Kinds::builtin().with::<Counter>()).view(&FAMILY);
        let running = serve::start_with(config, domain, |_| ()).await.expect("a node");
        let node = &running.node;
        node.command(request("org", None, "create", json!({ "name": "Acme" })))
            .await
            .expect("taken");
        node.command(request("counter", Some("visits"), "create", json!({ "limit": 3 })))
            .await
            .expect("taken");
        let add = || CommandRequest {
            command_id: Some(CommandId::parse("add-1").expect("an id")),
            ..request("counter", Some("visits"), "add", json!({ "by": 2 }))
        };
        let (first, again) = (node.command(add()).await.expect("taken"), node.command(add()).await.expect("taken"));
        assert_eq!(
            (first.version, first.duplicate, again.version, again.duplicate),
            (2, false, 2, true)
        );
        for (command, body, status, code) in [
            ("add", json!({ "by": 2 }), 409, "over_limit"),
            ("add", json!({ "by": "two" }), 422, "invalid_command"),
            ("reset", json!({}), 404, "unknown_command"),
        ] {
            let refusal = node
                .command(request("counter", Some("visits"), command, body))
                .await
                .expect_err("refused");
            assert_eq!((refusal.status, refusal.code.as_str()), (status, code), "{refusal}");
        }
        let stream: StreamId = "acme/counter/visits".parse().expect("a stream");
        let state = node.state(&stream, None, None).await.expect("an answer").expect("a state");
        assert_eq!(state.state.0["Counting"]["value"], 2);
        let before = node.state(&stream, Some(1), None).await.expect("an answer").expect("a state");
        assert_eq!(before.state.0["Counting"]["value"], 0);
        let history = node.history(&stream, 1, 10).await.expect("a history");
        assert!(
            matches!(history[1].record.reactions[0].reaction, Reaction::WakeAt { .. }),
            "the timer is stored with the event"
        );
        // Its rows, over HTTP: listed, filtered, one by its id, counted, and described.
        let caller = Caller::new(&running.url(), running.token.expose());
        let rows = caller.fresh("/v1/orgs/acme/counters").await.taken().body;
        assert_eq!(rows["items"][0]["value"], 2, "{rows}");
        let none = caller.get("/v1/orgs/acme/counters?at_least=3").await.taken().body;
        assert_eq!(none["items"], json!([]));
        let row = caller.get("/v1/orgs/acme/counters/visits").await.taken().body;
        assert_eq!((&row["id"], &row["limit"]), (&json!("visits"), &json!(3)), "{row}");
        let stats = caller.get("/v1/orgs/acme/stats").await.taken().body;
        assert_eq!(stats["counters"]["total"], 1, "{stats}");
        let document = caller.get("/docs/openapi.json").await.taken().body;
        let described = &document["components"]["schemas"]["CounterRow"]["properties"];
        assert_eq!(described["value"]["type"], "integer", "{described}");
        running.stop().await;
    }

    #[test]
    fn the_example_itself_runs() {
        main().expect("the example ends well");
    }

    #[test]
    fn the_document_holds_the_whole_program() {
        let document = include_str!("../../ops/docs/own-kind.md");
        let blocks = |language: &str| -> Vec<&str> {
            let begun = format!("```{language}\n");
            let rest = document.split(begun.as_str()).skip(1);
            rest.filter_map(|rest| rest.split("```").next()).collect()
        };
        // The blocks of the page, one after the other, are the program.
        let tidy = |text: &str| {
            text.lines()
                .filter(|line| !line.is_empty())
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        let own = include_str!("counter.rs");
        let program = own.split_once("\n#[cfg(test)]\n").expect("tests").0;
        let program: String = program
            .lines()
            .filter(|line| !line.starts_with("//!"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(tidy(&blocks("rust").concat()), tidy(&program));
        // Its manifest names what the program uses, as this workspace has it.
        let [manifest] = blocks("toml")[..] else { panic!("one manifest") };
        let workspace = include_str!("../../Cargo.toml");
        let dependencies = manifest.split_once("[dependencies]\n").expect("dependencies").1;
        for line in dependencies.lines() {
            let (name, what) = line.split_once(" = ").expect("name = version");
            assert!(program.contains(&name.replace('-', "_")), "{name} is not used");
            let ours = workspace
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name} = ")))
                .expect(name);
            let path = what.split_once("../quipu/").map(|(_, path)| path);
            let version = what.split('"').nth(1).expect("a version");
            let same = path.map_or_else(|| format!("\"{version}\""), |path| path.trim_end_matches(" }").to_owned());
            assert!(ours.contains(&same), "{name}: {ours}");
        }
    }
}
