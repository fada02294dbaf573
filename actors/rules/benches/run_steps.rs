//! Processor time of a step of a run, by the size of its definition: deciding a signal and folding what it says, as the
//! kernel does. `cargo bench -p quipu-rules --bench run_steps`; the test of the same promise counts nodes instead of
//! time (`actors/rules/src/run/tests/cost.rs`).

use quipu_kinds::run::{CreateRun, RunCommand, RunWord, SendSignal};
use quipu_rules::{
    decider::{Asked, AskedOf, Decider, Decision},
    run::{Run, RunState},
};
use quipu_schemas::{
    context::{Authority, Context, NoKeys},
    digest::Digest,
    ids::{CommandId, PrincipalId, StreamId},
    json::Json,
    role::Role,
};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Signals in a row (each step ends one wait and begins the next), or all at once.
fn definition(nodes: usize, row: bool) -> Value {
    let signal = |n: usize| if row { "go".to_owned() } else { format!("go{n}") };
    let node = |n: usize| json!({"id": format!("n{n}"), "component": "wait_signal", "config": {"signal": signal(n), "timeout_ms": 60_000}});
    let edge = |n: usize| {
        let from = if row && n > 0 {
            format!("n{}.out", n - 1)
        } else {
            "input.in".to_owned()
        };
        json!({"from": from, "to": format!("n{n}.in")})
    };
    let (listed, edges): (Vec<_>, Vec<_>) = (0..nodes).map(|n| (node(n), edge(n))).unzip();
    json!({"name": "steps", "inputs": {"in": {}}, "nodes": listed, "edges": edges})
}

fn apply(state: RunState, command: &AskedOf<Run>) -> RunState {
    let stream: StreamId = "acme/run/r1".parse().expect("a stream");
    let (principal, command_id) = (PrincipalId::parse("ada").expect("a principal"), CommandId::from_static("c-1"));
    let authority = Authority {
        role: Some(Role::Owner),
        platform: true,
        ..Authority::default()
    };
    let context = Context {
        now: 1_700_000_000_000,
        stream: &stream,
        command_id: &command_id,
        command_digest: Digest::ZERO,
        principal: &principal,
        on_behalf_of: None,
        credential: None,
        authority: &authority,
        version: 0,
        seed: 1,
        opener: &NoKeys,
        minted: Cell::new(0),
        made: quipu_schemas::personal::Made::default(),
        recalled: &std::collections::BTreeMap::new(),
    };
    let Decision::Accept(events) = Run::decide(&state, command, &context).expect("accepted") else {
        return state;
    };
    events.iter().fold(state, |state, event| {
        let state = Run::evolve(state, event).expect("folds");
        std::hint::black_box(Run::react(&state, event));
        state
    })
}

/// The median of all steps of some runs: what other processes take between two of them does not count.
fn step(nodes: usize, row: bool) -> Duration {
    let create = Asked::Command(RunCommand::Create(CreateRun {
        definition: Some(Json(definition(nodes, row))),
        definition_text: None,
        input: [("in".to_owned(), Json(json!(1)))].into(),
        texts: BTreeMap::new(),
        start: true,
        act_as: None,
    }));
    let advance = Asked::Word(RunWord::TimerFired(quipu_kinds::run::RunTimerFired { name: "advance".into() }));
    let run = || {
        let mut state = apply(RunState::Absent, &create);
        state = (0..nodes / 50).fold(state, |state, _| apply(state, &advance));
        let mut took = Vec::new();
        for n in 0..nodes {
            let name = if row { "go".to_owned() } else { format!("go{n}") };
            let payload = Json(json!({"n": n}));
            let begun = Instant::now();
            state = apply(state, &Asked::Command(RunCommand::Signal(SendSignal { name, payload })));
            took.push(begun.elapsed());
        }
        assert_eq!(state.status(), Some(quipu_kinds::run::RunStatus::Completed));
        took
    };
    let mut all: Vec<Duration> = (0..4_000 / nodes).flat_map(|_| run()).collect();
    all.sort();
    all[all.len() / 2]
}

fn main() {
    for (shape, row) in [("in a row", true), ("side by side", false)] {
        let (few, many) = (step(10, row), step(200, row));
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("{shape}: {few:?} a step with 10 nodes, {many:?} with 200: {ratio:.2} times");
    }
}
