//! What a pause holds back, what it records, and which time runs on.

use super::*;

fn signal(name: &str, payload: Value) -> RunCommand {
    RunCommand::Signal(SendSignal {
        name: name.into(),
        payload: Json(payload),
    })
}

fn waiting(config: Value) -> Stage1 {
    let mut scene = scene();
    scene.ok(&ada(), creating(single("wait_signal", config, "in", "out"), json!({"in": 0})));
    scene
}

#[test]
fn a_signal_during_a_pause_ends_the_wait() {
    let mut scene = waiting(json!({"signal": "paid", "timeout_ms": 2000}));
    scene.ok(&ada(), pause());
    scene.ok(&ada(), signal("other", json!(7)));
    assert_eq!(
        said(&scene.ok(&ada(), signal("paid", json!(1)))),
        ["signal_received", "node_completed n"]
    );
    assert_eq!(
        scene.reactions,
        [Reaction::CancelWake { name: "n#1".into() }],
        "its timeout is over"
    );
    assert_eq!(scene.state.status(), Some(RunStatus::Paused));
    assert_eq!(graph(&scene).signals.len(), 1, "only the one that was waited for is taken");
    scene.unchanged(&platform(), fired("n#1"));
    let events = scene.ok(&ada(), resume());
    assert_eq!(said(&events), ["resumed", "completed"]);
    assert_eq!(output(&events)["out"], json!(1));
}

#[test]
fn a_second_signal_during_a_pause_is_kept() {
    let mut scene = waiting(json!({"signal": "paid", "timeout_ms": 2000}));
    scene.ok(&ada(), pause());
    scene.ok(&ada(), signal("paid", json!(1)));
    assert_eq!(said(&scene.ok(&ada(), signal("paid", json!(2)))), ["signal_received"]);
    assert_eq!(open(&graph(&scene).signals[0].payload.0), json!(2));
}

/// A state of an earlier release, which looked at signals only after the pause.
#[test]
fn a_signal_that_lay_there_counts_when_its_timeout_fires() {
    let mut scene = waiting(json!({"signal": "paid", "timeout_ms": 2000}));
    scene.ok(&ada(), pause());
    let came = RunEvent::SignalReceived {
        name: "paid".into(),
        payload: Json(json!(1)),
    };
    scene.state = Run::evolve(scene.state.clone(), &came).unwrap();
    assert_eq!(said(&scene.ok(&platform(), fired("n#1"))), ["node_completed n"]);
    assert_eq!(output(&scene.ok(&ada(), resume()))["out"], json!(1));
}

#[test]
fn a_deadline_without_an_answer_passes_during_a_pause() {
    let mut signals = waiting(json!({"signal": "paid", "timeout_ms": 2000}));
    let mut approvals = scene();
    let asking = single("wait_approval", json!({"timeout_ms": 2000}), "in", "approved");
    approvals.ok(&ada(), creating(asking, json!({"in": 0})));
    for scene in [&mut signals, &mut approvals] {
        scene.ok(&ada(), pause());
        assert_eq!(said(&scene.ok(&platform(), fired("n#1"))), ["node_failed n", "failed n"]);
    }
}

#[test]
fn a_delay_ends_during_a_pause_and_its_effect_comes_after() {
    let mut scene = scene();
    let definition = json!({
        "name": "x", "inputs": {"in": {}}, "outputs": {"out": {}},
        "nodes": [{"id": "d", "component": "delay", "config": {"ms": 1500.0}}, {"id": "p", "component": "passthrough"}],
        "edges": [{"from": "input.in", "to": "d.in"}, {"from": "d.out", "to": "p.in"}, {"from": "p.out", "to": "output.out"}],
    });
    scene.ok(&ada(), creating(definition, json!({"in": 7.0})));
    let due = scene.now + 1500;
    assert_eq!(scene.reactions, [Reaction::WakeAt { name: "d#1".into(), due }]);
    scene.ok(&ada(), pause());
    assert_eq!(said(&scene.ok(&platform(), fired("d#1"))), ["node_completed d"]);
    assert_eq!(said(&scene.ok(&ada(), resume())), ["resumed", "node_completed p", "completed"]);
}

#[test]
fn a_failed_effect_during_a_pause_follows_its_policy() {
    for (policy, expected) in [
        ("abort", vec!["node_failed n", "failed n"]),
        ("continue", vec!["node_failed n"]),
        ("skip", vec!["node_failed n", "node_skipped n"]),
    ] {
        let mut scene = scene();
        let mut definition = single(
            "webhook.call",
            json!({"url": "https://x.example/", "type": "t", "secret": "s"}),
            "in",
            "out",
        );
        definition["nodes"][0]["on_failure"] = json!(policy);
        scene.ok(&ada(), creating(definition, json!({"in": 0})));
        scene.ok(&ada(), pause());
        assert_eq!(said(&scene.ok(&platform(), settled("n#1", broke()))), expected, "{policy}");
    }
}
