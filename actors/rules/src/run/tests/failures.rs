//! What follows a failure, and cancelling.

use super::*;

fn failing(on_failure: &str, retry: Option<Value>) -> Value {
    let mut node = json!({"id": "call", "component": "http.request", "config": {"url": "https://x.example/"}, "on_failure": on_failure});
    if let Some(retry) = retry {
        node["retry"] = retry;
    }
    json!({
        "name": "failing", "inputs": {"in": {}}, "outputs": {"good": {}, "bad": {}},
        "nodes": [node, {"id": "after", "component": "passthrough"}, {"id": "rescue", "component": "map", "config": {"expression": "input.code"}},
            {"id": "beside", "component": "wait_signal", "config": {"signal": "go", "timeout_ms": 9000}}],
        "edges": [{"from": "input.in", "to": "call.in"}, {"from": "call.out", "to": "after.in"}, {"from": "call.error", "to": "rescue.in"},
            {"from": "after.out", "to": "output.good"}, {"from": "rescue.out", "to": "output.bad"}],
    })
}

fn started(on_failure: &str, retry: Option<Value>) -> Stage1 {
    let mut scene = scene();
    scene.ok(&ada(), creating(failing(on_failure, retry), json!({"in": 1})));
    scene
}

fn attempts(scene: &Stage1) -> u32 {
    performed(scene)[0].2.attempts
}

#[test]
fn retry_defaults_to_three_attempts_and_nodes_override_it() {
    assert_eq!(performed(&started("retry", None))[0].2, Retry::default());
    assert_eq!(attempts(&started("retry", Some(json!({"attempts": 7})))), 7);
    for other in ["abort", "continue", "skip"] {
        assert_eq!(attempts(&started(other, None)), 1);
        assert_eq!(attempts(&started(other, Some(json!({"attempts": 2, "backoff": "linear"})))), 2);
    }
}

#[test]
fn abort_and_exhausted_retries_fail_the_run_and_stop_the_rest() {
    for policy in ["abort", "retry"] {
        let mut scene = started(policy, None);
        let events = scene.ok(&platform(), settled("call#1", broke()));
        assert_eq!(said(&events), ["node_failed call", "failed call"]);
        assert!(matches!(&events[0], RunEvent::NodeFailed { code, attempts: 3, .. } if code == "connect"));
        assert_eq!(scene.reactions, [Reaction::CancelWake { name: "beside#1".into() }]);
        assert_eq!(scene.state.status(), Some(RunStatus::Failed));
    }
}

#[test]
fn continue_hands_the_failure_on_at_error() {
    let mut scene = started("continue", None);
    let events = scene.ok(&platform(), settled("call#1", broke()));
    assert_eq!(said(&events), ["node_failed call", "node_skipped after", "node_completed rescue"]);
    let events = scene.ok(
        &ada(),
        RunCommand::Signal(SendSignal {
            name: "go".into(),
            payload: Json(json!(1)),
        }),
    );
    assert_eq!(output(&events), [("bad".to_owned(), json!("connect"))].into());
}

#[test]
fn skip_counts_as_if_nothing_had_reached_the_node() {
    let mut scene = started("skip", None);
    let events = scene.ok(&platform(), settled("call#1", Outcome::Lost { detail: None }));
    assert_eq!(
        said(&events),
        ["node_failed call", "node_skipped call", "node_skipped after", "node_skipped rescue"]
    );
    assert_eq!(scene.state.status(), Some(RunStatus::Running));
}

#[test]
fn a_person_retries_the_node_that_failed_the_run() {
    let mut scene = started("abort", None);
    scene.refused(
        &ada(),
        RunCommand::RetryNode(RetryNode { node: "ghost".into() }),
        404,
        "unknown_node",
    );
    scene.refused(
        &ada(),
        RunCommand::RetryNode(RetryNode { node: "call".into() }),
        409,
        "illegal_transition",
    );
    scene.ok(&platform(), settled("call#1", broke()));
    scene.refused(&ada(), RunCommand::RetryNode(RetryNode { node: "after".into() }), 409, "not_failed");
    let events = scene.ok(&ada(), RunCommand::RetryNode(RetryNode { node: "call".into() }));
    assert_eq!(said(&events), ["node_retried call", "node_started call", "node_started beside"]);
    assert_eq!(performed(&scene)[0].0, "call#2");
    scene.unchanged(&platform(), settled("call#1", responded(json!("stale"))));
    scene.ok(
        &ada(),
        RunCommand::Signal(SendSignal {
            name: "go".into(),
            payload: Json(json!(1)),
        }),
    );
    assert_eq!(
        output(&scene.ok(&platform(), settled("call#2", responded(json!(1)))))["good"],
        json!({"status": 200, "body": 1})
    );
}

#[test]
fn retried_dead_letter_that_arrives_lets_the_run_continue() {
    let mut scene = started("retry", None);
    scene.ok(&platform(), settled("call#1", broke()));
    scene.unchanged(&platform(), settled("call#1", broke()));
    let events = scene.ok(&platform(), settled("call#1", responded(json!("late"))));
    assert_eq!(
        said(&events),
        [
            "node_retried call",
            "node_completed call",
            "node_completed after",
            "node_skipped rescue",
            "node_started beside"
        ]
    );
}

#[test]
fn a_failed_expression_is_an_ordinary_recorded_outcome() {
    let mut scene = scene();
    let bomb = "[1,2,3,4,5,6,7,8].map(a, input + input + input + input + input + input + input + input)";
    let events = scene.ok(
        &ada(),
        creating(
            single("map", json!({"expression": bomb}), "in", "out"),
            json!({"in": "x".repeat(20_000)}),
        ),
    );
    assert!(
        matches!(&events[3], RunEvent::NodeFailed { code, .. } if code == "out_of_memory"),
        "{events:?}"
    );
    let mut narrow = single("map", json!({"expression": "input"}), "in", "out");
    narrow["nodes"][0]["ports"] = json!({"out": "string"});
    let events = super::scene().ok(&ada(), creating(narrow.clone(), json!({"in": 1})));
    assert!(matches!(&events[3], RunEvent::NodeFailed { code, .. } if code == "type_mismatch"));
    narrow["nodes"][0]["ports"] = json!({"in": "string"});
    let events = super::scene().ok(&ada(), creating(narrow, json!({"in": 1})));
    assert!(matches!(&events[3], RunEvent::NodeFailed { code, .. } if code == "type_mismatch"));
    let big = single("map", json!({"expression": "input + input"}), "in", "out");
    let events = super::scene().ok(&ada(), creating(big, json!({"in": "x".repeat(30_000)})));
    assert!(matches!(&events[3], RunEvent::NodeCompleted { output, .. } if output["out"].0["$size"] == json!(60_001)));
}

#[test]
fn cancelling_aborts_what_is_under_way_and_records_its_end() {
    let mut scene = started("abort", None);
    let events = scene.ok(&ada(), cancel());
    assert_eq!(said(&events), ["cancelled"]);
    assert_eq!(
        scene.reactions,
        [
            Reaction::CancelWake { name: "beside#1".into() },
            Reaction::CancelEffect { name: "call#1".into() }
        ]
    );
    let events = scene.ok(&platform(), settled("call#1", Outcome::Cancelled { partial: None }));
    assert!(matches!(&events[..], [RunEvent::EffectStopped { came_to, .. }] if came_to == "cancelled"));
    scene.unchanged(&platform(), settled("call#1", Outcome::Cancelled { partial: None }));
    scene.unchanged(&platform(), fired("beside#1"));
    scene.unchanged(&platform(), fired(ADVANCE));
}
