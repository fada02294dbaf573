//! The counter's rules, its node, and its page.

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
        credential: None,
        authority: &Authority::default(),
        version: given.len() as u64,
        seed: 1,
        opener: &NoKeys,
        minted: Cell::new(0),
        made: quipu_schemas::personal::Made::default(),
        recalled: &std::collections::BTreeMap::new(),
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
    let document = include_str!("../../../ops/docs/own-kind.md");
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
    let own = include_str!("main.rs");
    let program = own.split_once("\n#[cfg(test)]\n").expect("tests").0;
    let program: String = program
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(tidy(&blocks("rust").concat()), tidy(&program));
    // Its manifest names what the program uses, as this workspace has it.
    let [manifest] = blocks("toml")[..] else { panic!("one manifest") };
    let workspace = include_str!("../../../Cargo.toml");
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
