//! Scenes of workflow runs; turns have their own.

mod acting;
mod bounds;
mod cost;
mod failures;
mod forget;
mod nodes;
mod pauses;
mod turns;

use super::*;
use crate::scene::{As, OneKey, Scene, as_role, platform, sealed, sent_by};
use quipu_kinds::run::*;
use quipu_schemas::{
    ids::{CredentialId, PrincipalId},
    json::Json,
    limits,
    reaction::{Effect, Outcome, Retry, Settled},
    role::Role,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) type Stage1 = Scene<Run>;

pub(super) fn scene() -> Stage1 {
    let mut scene = Scene::new("acme/run/run_1");
    scene.opener = Box::new(OneKey);
    scene
}

pub(super) fn ada() -> As {
    as_role("ada", Some(Role::Member))
}

pub(super) fn creating(definition: Value, input: Value) -> RunCommand {
    RunCommand::Create(CreateRun {
        definition: Some(Json(definition)),
        definition_text: None,
        input: serde_json::from_value(input).unwrap(),
        texts: BTreeMap::new(),
        start: true,
        act_as: None,
    })
}

pub(super) fn settled(name: &str, outcome: Outcome) -> RunWord {
    RunWord::EffectSettled(RunEffectSettled {
        name: name.into(),
        outcome,
        attempts: 3,
        dead: false,
    })
}

/// The receiver of a command answers.
pub(super) fn told(name: &str, outcome: Settled) -> RunWord {
    RunWord::DispatchSettled(RunDispatchSettled {
        name: name.into(),
        outcome,
    })
}

pub(super) fn refused(code: &str) -> Settled {
    Settled::Refused { code: code.into() }
}

pub(super) fn responded(body: Value) -> Outcome {
    Outcome::Responded {
        status: 200,
        body: Json(body),
        full_bytes: None,
    }
}

pub(super) fn broke() -> Outcome {
    Outcome::Failed {
        code: "connect".into(),
        detail: "refused".into(),
    }
}

pub(super) fn fired(name: &str) -> RunWord {
    RunWord::TimerFired(RunTimerFired { name: name.into() })
}

pub(super) fn pause() -> RunCommand {
    RunCommand::Pause(PauseRun { reason: "wait".into() })
}

pub(super) fn resume() -> RunCommand {
    RunCommand::Resume(ResumeRun {})
}

pub(super) fn cancel() -> RunCommand {
    RunCommand::Cancel(CancelRun { reason: "enough".into() })
}

pub(super) fn approving(node: &str) -> AnswerApproval {
    AnswerApproval {
        node: node.into(),
        comment: None,
    }
}

/// Stored names without prefix, with the node where there is one.
pub(super) fn said(events: &[RunEvent]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let value = serde_json::to_value(event).unwrap();
            let name = value["type"]
                .as_str()
                .unwrap()
                .trim_start_matches("quipu.run.")
                .trim_end_matches(".v1")
                .to_owned();
            match value["data"]["node"].as_str() {
                Some(node) => format!("{name} {node}"),
                None => name,
            }
        })
        .collect()
}

pub(super) fn graph(scene: &Stage1) -> &GraphRun {
    match &scene.state {
        RunState::Graph(run) => run,
        _ => panic!("no workflow"),
    }
}

/// A value in the clear, but for what is kept beside the log.
pub(super) fn open(value: &Value) -> Value {
    let mut value = value.clone();
    quipu_schemas::personal::show_all(&mut value, &OneKey).unwrap();
    value
}

pub(super) fn output(events: &[RunEvent]) -> BTreeMap<String, Value> {
    events
        .iter()
        .find_map(|e| match e {
            RunEvent::Completed { output } => Some(output.iter().map(|(k, v)| (k.clone(), open(&v.0))).collect()),
            _ => None,
        })
        .unwrap_or_else(|| panic!("not completed: {:?}", said(events)))
}

/// One node between the input `in` and the output `out`.
pub(super) fn single(component: &str, config: Value, port: &str, out: &str) -> Value {
    json!({
        "name": "single", "inputs": {"in": {}}, "outputs": {"out": {}},
        "nodes": [{"id": "n", "component": component, "config": config}],
        "edges": [{"from": "input.in", "to": format!("n.{port}")}, {"from": format!("n.{out}"), "to": "output.out"}],
    })
}

pub(super) fn performed(scene: &Stage1) -> Vec<(String, Effect, Retry)> {
    scene
        .reactions
        .iter()
        .filter_map(|r| match r {
            Reaction::Perform(p) => Some((p.name.clone(), p.effect.clone(), p.retry.clone())),
            _ => None,
        })
        .collect()
}

pub(super) fn answer(text: Option<&str>, calls: &[&str]) -> quipu_schemas::reaction::LlmAnswer {
    use quipu_schemas::{
        chat::{ChatMessage, ChatRole},
        digest::Digest,
        reaction::{LlmAnswer, ToolCallRef},
    };
    let message = ChatMessage {
        role: ChatRole::Assistant,
        content: text.map(str::to_owned),
        tool_calls: None,
        tool_call_id: None,
        name: None,
    };
    LlmAnswer {
        message: sealed(&message),
        text: text.map(|t| sealed(&t.to_owned())),
        tool_calls: calls
            .iter()
            .enumerate()
            .map(|(i, name)| ToolCallRef {
                id: format!("call_{i}"),
                name: (*name).into(),
                fingerprint: Digest::of(&[name.as_bytes()]),
            })
            .collect(),
        finish_reason: if calls.is_empty() { "stop".into() } else { "tool_calls".into() },
        model: "scripted".into(),
        prompt_tokens: 3,
        completion_tokens: 4,
        attempt: 1,
    }
}

fn order() -> Value {
    json!({
        "name": "order", "version": "1",
        "inputs": {"order": {"type": "object"}}, "outputs": {"done": {"type": "array"}},
        "nodes": [
            {"id": "size", "component": "switch", "config": {"cases": [{"when": "input.total > 100", "port": "large"}], "default": "small"}},
            {"id": "small", "component": "log", "config": {"message": "'small'"}},
            {"id": "cool", "component": "delay", "config": {"ms": 1000}},
            {"id": "both", "component": "parallel", "config": {"branches": ["tell", "ask"]}},
            {"id": "tell", "component": "webhook.call", "config": {"url": "https://x.example/", "type": "order", "secret": "orders"}},
            {"id": "ask", "component": "wait_approval", "config": {"role": "member"}},
            {"id": "join", "component": "collect"}
        ],
        "edges": [
            {"from": "input.order", "to": "size.in"},
            {"from": "size.small", "to": "small.in"},
            {"from": "size.large", "to": "cool.in"},
            {"from": "cool.out", "to": "both.in"},
            {"from": "both.tell", "to": "tell.in"},
            {"from": "both.ask", "to": "ask.in"},
            {"from": "tell.out", "to": "join.items"},
            {"from": "ask.approved", "to": "join.items"},
            {"from": "small.out", "to": "join.items"},
            {"from": "join.out", "to": "output.done"}
        ]
    })
}

#[test]
fn a_run_branches_waits_calls_a_webhook_and_asks_a_person() {
    let mut scene = scene();
    let events = scene.ok(&ada(), creating(order(), json!({"order": {"total": 120}})));
    assert_eq!(
        said(&events),
        [
            "created",
            "initialized",
            "started",
            "node_completed size",
            "node_skipped small",
            "node_started cool"
        ]
    );
    let events = scene.ok(&platform(), fired("cool#1"));
    assert_eq!(
        said(&events),
        [
            "node_completed cool",
            "node_completed both",
            "node_started tell",
            "node_started ask"
        ]
    );
    assert_eq!(
        said(&scene.ok(&ada(), RunCommand::Approve(approving("ask")))),
        ["approval_given ask", "node_completed ask"]
    );
    let events = scene.ok(&platform(), settled("tell#1", responded(json!("thanks"))));
    assert_eq!(said(&events), ["node_completed tell", "node_completed join", "completed"]);
    assert_eq!(output(&events)["done"], json!([{"status": 200, "body": "thanks"}, {"total": 120}]));

    let mut small = super::tests::scene();
    let events = small.ok(&ada(), creating(order(), json!({"order": {"total": 1}})));
    assert_eq!(output(&events)["done"], json!([{"total": 1}]));
    let skipped = ["cool", "both", "tell", "ask"].map(|n| format!("node_skipped {n}"));
    assert!(skipped.iter().all(|s| said(&events).contains(s)), "{:?}", said(&events));
}

#[test]
fn creating_refuses_bad_definitions_and_inputs() {
    let mut scene = scene();
    let viewer = as_role("vic", Some(Role::Viewer));
    scene.refused(&viewer, creating(order(), json!({})), 403, "not_allowed");
    scene.refused(&ada(), RunCommand::Start(StartRun {}), 404, "run_not_found");
    scene.refused(&ada(), creating(order(), json!({})), 422, "missing_input");
    scene.refused(&ada(), creating(order(), json!({"order": 1})), 422, "wrong_type");
    scene.refused(&ada(), creating(order(), json!({"order": {}, "more": 1})), 422, "unknown_input");
    scene.refused(
        &ada(),
        creating(order(), json!({"order": {"x": "y".repeat(limits::VALUE_MAX_BYTES)}})),
        422,
        "too_large",
    );
    let mut cyclic = order();
    cyclic["edges"]
        .as_array_mut()
        .unwrap()
        .push(json!({"from": "join.out", "to": "cool.in"}));
    scene.refused(&ada(), creating(cyclic, json!({"order": {}})), 422, "cycle");
    let RunCommand::Create(mut create) = creating(order(), json!({"order": {}})) else {
        unreachable!()
    };
    create.definition_text = Some("name: x".into());
    scene.refused(&ada(), RunCommand::Create(create.clone()), 422, "bad_definition");
    create.definition_text = None;
    create.texts = [("a b".to_owned(), sealed(&String::new()))].into();
    scene.refused(&ada(), RunCommand::Create(create), 422, "bad_name");
    scene.ok(&ada(), creating(order(), json!({"order": {"total": 120}})));
    scene.refused(&ada(), creating(order(), json!({"order": {}})), 409, "already_exists");
}

#[test]
fn the_digest_is_pinned_and_yaml_is_taken() {
    let text = "name: y\nnodes: [{id: a, component: wait_signal, config: {signal: go}}]\n";
    let command = RunCommand::Create(CreateRun {
        definition: None,
        definition_text: Some(text.into()),
        input: BTreeMap::new(),
        texts: BTreeMap::new(),
        start: false,
        act_as: None,
    });
    let mut scene = scene();
    let events = scene.ok(&ada(), command);
    let [RunEvent::Created { digest, definition, .. }] = &events[..] else {
        panic!()
    };
    assert_eq!(
        *digest,
        crate::definition::Definition::load(&definition.0, registry()).unwrap().digest()
    );
    assert_eq!(scene.state.status(), Some(RunStatus::Pending));
    assert_eq!(
        said(&scene.ok(&ada(), RunCommand::Start(StartRun {}))),
        ["initialized", "started", "node_started a"]
    );
}

#[test]
fn the_transition_table_is_the_one_in_the_design() {
    use RunStatus::*;
    let legal = [
        (Pending, Initializing),
        (Pending, Cancelled),
        (Initializing, Running),
        (Initializing, Failed),
        (Initializing, Cancelled),
        (Running, Paused),
        (Running, Completed),
        (Running, Failed),
        (Running, Cancelled),
        (Paused, Running),
        (Paused, Failed),
        (Paused, Cancelled),
        (Failed, Running),
    ];
    for from in RunStatus::ALL {
        for to in RunStatus::ALL {
            assert_eq!(from.may_become(to), legal.contains(&(from, to)), "{from:?} to {to:?}");
        }
    }
}

/// A run in each state that a decision can leave it in (`initializing` is passed inside one).
fn in_status(status: RunStatus) -> Stage1 {
    let mut scene = scene();
    let RunCommand::Create(mut create) = creating(
        single("http.request", json!({"url": "https://x.example/"}), "in", "out"),
        json!({"in": 1}),
    ) else {
        unreachable!()
    };
    create.start = status != RunStatus::Pending;
    scene.ok(&ada(), RunCommand::Create(create));
    match status {
        RunStatus::Pending | RunStatus::Running | RunStatus::Initializing => {}
        RunStatus::Paused => drop(scene.ok(&ada(), pause())),
        RunStatus::Completed => drop(scene.ok(&platform(), settled("n#1", responded(json!(1))))),
        RunStatus::Failed => drop(scene.ok(&platform(), settled("n#1", broke()))),
        RunStatus::Cancelled => drop(scene.ok(&ada(), cancel())),
    }
    assert_eq!(scene.state.status(), Some(status));
    scene
}

#[test]
fn a_run_ends_with_the_credential_that_began_it() {
    let revoked = || Outcome::Failed {
        code: "credential_revoked".into(),
        detail: String::new(),
    };
    for status in [RunStatus::Running, RunStatus::Paused] {
        let mut scene = in_status(status);
        let events = scene.ok(&platform(), settled("n#1", revoked()));
        let [RunEvent::Cancelled { .. }, RunEvent::EffectStopped { came_to, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(came_to, "credential_revoked");
        assert_eq!(scene.state.status(), Some(RunStatus::Cancelled));
    }
    let mut over = in_status(RunStatus::Failed);
    over.ok(&platform(), settled("n#1", revoked()));
    assert_eq!(over.state.status(), Some(RunStatus::Failed), "what is over stays as it is");
}

#[test]
fn every_command_that_moves_a_run_obeys_the_table() {
    use RunStatus::*;
    for status in [Pending, Running, Paused, Completed, Failed, Cancelled] {
        let moves = [
            (RunCommand::Start(StartRun {}), matches!(status, Pending)),
            (pause(), matches!(status, Running)),
            (resume(), matches!(status, Paused)),
            (cancel(), matches!(status, Pending | Running | Paused)),
            (RunCommand::RetryNode(RetryNode { node: "n".into() }), matches!(status, Failed)),
        ];
        for (command, legal) in moves {
            let mut scene = in_status(status);
            if legal {
                scene.ok(&ada(), command);
                continue;
            }
            match scene.decide(&ada(), command.clone()) {
                Ok(_) => panic!("{status:?} took {command:?}"),
                Err(problem) => assert!(problem.status == 409, "{status:?} {command:?}: {problem}"),
            }
        }
    }
    let mut long = in_status(Running);
    long.refused(
        &ada(),
        RunCommand::Pause(PauseRun { reason: "x".repeat(501) }),
        422,
        "reason_too_long",
    );
}

fn gathering(count: u32) -> Value {
    json!({
        "name": "gather", "inputs": {"item": {"many": true, "required": false}, "go": {"required": false}}, "outputs": {"all": {}},
        "nodes": [{"id": "gather", "component": "collect", "config": {"count": count}}, {"id": "late", "component": "passthrough"}],
        "edges": [{"from": "input.item", "to": "gather.items"}, {"from": "input.go", "to": "late.in"}, {"from": "gather.out", "to": "output.all"}],
    })
}

fn giving(port: &str, payload: Value) -> RunCommand {
    RunCommand::Input(GiveInput {
        port: port.into(),
        payload: Json(payload),
    })
}

#[test]
fn inputs_queue_while_paused_and_are_drained_in_order() {
    let mut scene = scene();
    scene.ok(&ada(), creating(gathering(4), json!({"item": [0]})));
    scene.refused(&ada(), giving("ghost", json!(1)), 422, "unknown_input");
    assert_eq!(said(&scene.ok(&ada(), giving("item", json!(1)))), ["input_given"]);
    scene.ok(&ada(), pause());
    let events = scene.ok(&ada(), giving("item", json!(2)));
    assert!(matches!(&events[..], [RunEvent::InputQueued { depth: 1, .. }]));
    scene.ok(&ada(), giving("go", json!("now")));
    scene.refused(&ada(), giving("go", json!("again")), 409, "input_given");
    scene.ok(&ada(), giving("item", json!(3)));
    scene.refused(&ada(), giving("item", json!(4)), 409, "input_closed");
    let events = scene.ok(&ada(), resume());
    assert_eq!(
        said(&events),
        [
            "resumed",
            "input_drained",
            "node_completed gather",
            "node_completed late",
            "completed"
        ]
    );
    assert_eq!(output(&events)["all"], json!([0, 1, 2, 3]));
    scene.refused(&ada(), giving("item", json!(4)), 409, "run_not_under_way");
}

#[test]
fn the_queue_of_a_paused_run_has_a_bound_and_says_its_depth() {
    let mut scene = scene();
    scene.ok(&ada(), creating(gathering(10_000), json!({})));
    scene.ok(&ada(), pause());
    let RunState::Graph(run) = &mut scene.state else { unreachable!() };
    for i in 0..limits::RUN_INPUT_QUEUE_MAX - 1 {
        run.apply(&RunEvent::InputQueued {
            port: "item".into(),
            payload: Json(json!(i)),
            depth: 0,
        })
        .unwrap();
    }
    scene.ok(&ada(), giving("item", json!("last")));
    let problem = scene.decide(&ada(), giving("item", json!("more"))).unwrap_err();
    assert_eq!(
        (problem.status, problem.code.as_str(), problem.queue_depth),
        (429, "queue_full", Some(limits::RUN_INPUT_QUEUE_MAX as u64))
    );
    assert!(problem.retry_after.is_some());
    scene.ok(&ada(), resume());
    assert_eq!(graph(&scene).series["item"].len(), limits::RUN_INPUT_QUEUE_MAX);
}

#[test]
fn paused_run_records_running_work_and_starts_nothing() {
    let mut scene = scene();
    scene.ok(&ada(), creating(order(), json!({"order": {"total": 120}})));
    scene.ok(&ada(), pause());
    assert!(scene.reactions.is_empty());
    assert_eq!(said(&scene.ok(&platform(), fired("cool#1"))), ["node_completed cool"]);
    let events = scene.ok(&ada(), resume());
    assert_eq!(
        said(&events),
        ["resumed", "node_completed both", "node_started tell", "node_started ask"]
    );
}

#[test]
fn a_large_run_goes_on_in_decisions_of_its_own() {
    let count = 150;
    let nodes: Vec<Value> = (0..count)
        .map(|i| json!({"id": format!("n{i}"), "component": "map", "config": {"expression": "input + 1"}}))
        .collect();
    let mut edges: Vec<Value> = (1..count)
        .map(|i| json!({"from": format!("n{}.out", i - 1), "to": format!("n{i}.in")}))
        .collect();
    edges.push(json!({"from": "input.in", "to": "n0.in"}));
    edges.push(json!({"from": format!("n{}.out", count - 1), "to": "output.out"}));
    let mut scene = scene();
    let definition = json!({"name": "chain", "inputs": {"in": {}}, "outputs": {"out": {}}, "nodes": nodes, "edges": edges});
    let mut events = scene.ok(&ada(), creating(definition, json!({"in": 0})));
    let mut decisions = 1;
    let steps = said(&events).iter().filter(|said| said.starts_with("node_completed")).count();
    assert_eq!(steps, limits::RUN_DECISION_MAX_STEPS);
    while scene.state.status() == Some(RunStatus::Running) {
        assert!(
            matches!(events.last(), Some(RunEvent::AdvanceDeferred { .. })),
            "{:?}",
            said(&events)
        );
        assert!(scene.reactions.contains(&Reaction::WakeAt {
            name: ADVANCE.into(),
            due: scene.now
        }));
        let size: usize = events.iter().map(|e| serde_json::to_string(e).unwrap().len()).sum();
        assert!(size < limits::RECORD_MAX_BYTES, "{size}");
        events = scene.ok(&platform(), fired(ADVANCE));
        decisions += 1;
    }
    assert!(decisions >= 2);
    assert_eq!(output(&events)["out"], json!(count));
}

#[test]
fn the_kernels_words_become_commands() {
    use quipu_schemas::{envelope::KernelCommand, reaction::ReactionKey};
    let key: ReactionKey = "acme/run/run_1@3.0".parse().unwrap();
    let word = KernelCommand::TimerFired {
        key: key.clone(),
        name: "t".into(),
        due: 0,
    };
    assert_eq!(Run::from_kernel(word), Some(fired("t")));
    let outcome = responded(json!(1));
    let word = KernelCommand::EffectSettled {
        key: key.clone(),
        name: "n#1".into(),
        outcome: outcome.clone(),
        attempts: 3,
        dead: false,
    };
    assert_eq!(Run::from_kernel(word), Some(settled("n#1", outcome)));
    let note = quipu_schemas::reaction::Settled::Started { attempt: 1 };
    assert_eq!(Run::from_kernel(KernelCommand::EffectNote { key, note }), None);
    scene().unchanged(&platform(), fired("t"));
}

#[test]
fn events_that_do_not_fit_are_corrupt() {
    let mut scene = scene();
    assert!(Run::evolve(RunState::Absent, &RunEvent::Started {}).is_err());
    let created = scene.ok(&ada(), creating(order(), json!({"order": {"total": 120}})));
    for event in [
        created[0].clone(),
        RunEvent::Started {},
        RunEvent::NodeSkipped { node: "ghost".into() },
        RunEvent::NodeCompleted {
            node: "size".into(),
            output: BTreeMap::new(),
        },
        RunEvent::InputDrained { count: 1 },
        RunEvent::ReplySent {
            message_id: "m".parse().unwrap(),
        },
    ] {
        assert!(Run::evolve(scene.state.clone(), &event).is_err(), "{event:?}");
    }
}
