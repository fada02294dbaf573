//! How large, how many, how long: both sides of each bound, and what the end of a run takes back.

use super::*;

/// Values are bounded as JSON text, wherever they come in or go out.
#[test]
fn values_are_taken_up_to_their_bound() {
    let most = "x".repeat(limits::RUN_VALUE_MAX_BYTES - 2);
    let more = format!("{most}x");
    let definition = || single("passthrough", json!({}), "in", "out");
    let mut whole = scene();
    assert_eq!(
        said(&whole.ok(&ada(), creating(definition(), json!({"in": most})))).last().unwrap(),
        "completed"
    );
    scene().refused(&ada(), creating(definition(), json!({"in": more})), 422, "too_large");

    // What a node makes: its outputs together.
    let doubled = |halves: usize| {
        let config = json!({"expression": "[input, input]"});
        let mut scene = scene();
        let events = scene.ok(
            &ada(),
            creating(single("map", config, "in", "out"), json!({"in": "x".repeat(halves)})),
        );
        said(&events).last().unwrap().clone()
    };
    let half = (limits::RUN_VALUE_MAX_BYTES - "[\"\",\"\"]".len()) / 2;
    assert_eq!(
        "[\"\",\"\"]".len() + 2 * half,
        limits::RUN_VALUE_MAX_BYTES - 1,
        "an odd number of bytes"
    );
    assert_eq!((doubled(half).as_str(), doubled(half + 1).as_str()), ("completed", "failed n"));

    // What a run hands out: its outputs together, although each was small enough.
    let two = |bytes: usize| {
        let definition = json!({
            "name": "two", "inputs": {"in": {}}, "outputs": {"a": {}, "b": {}}, "nodes": [{"id": "n", "component": "passthrough"}],
            "edges": [{"from": "input.in", "to": "n.in"}, {"from": "n.out", "to": "output.a"}, {"from": "n.out", "to": "output.b"}],
        });
        let mut scene = scene();
        said(&scene.ok(&ada(), creating(definition, json!({"in": "x".repeat(bytes - 2)}))))
            .last()
            .unwrap()
            .clone()
    };
    let half = limits::RUN_VALUE_MAX_BYTES / 2;
    assert_eq!((two(half).as_str(), two(half + 1).as_str()), ("completed", "failed"));
}

#[test]
fn what_a_node_sends_is_bounded() {
    let sent = |bytes: usize| {
        let config = json!({"url": "https://x.example/", "type": "t", "secret": "s"});
        let mut scene = scene();
        let events = scene.ok(
            &ada(),
            creating(single("webhook.call", config, "in", "out"), json!({"in": "x".repeat(bytes)})),
        );
        let work = events.iter().find_map(|event| match event {
            RunEvent::NodeStarted { work, .. } => Some(serde_json::to_string(work).unwrap().len()),
            _ => None,
        });
        (work, said(&events).last().unwrap().clone())
    };
    let around = sent(0).0.unwrap();
    let most = limits::RUN_VALUE_MAX_BYTES - around;
    assert_eq!(sent(most), (Some(limits::RUN_VALUE_MAX_BYTES), "node_started n".to_owned()));
    assert_eq!(sent(most + 1), (None, "failed n".to_owned()));
}

#[test]
fn inputs_that_come_again_and_again_are_given_with_create_up_to_the_count() {
    let mut most = scene();
    most.ok(&ada(), creating(gathering(2), json!({"item": [0, 1]})));
    assert_eq!(graph(&most).series["item"].len(), 2);
    most.refused(&ada(), giving("item", json!(2)), 409, "input_closed");
    scene().refused(&ada(), creating(gathering(2), json!({"item": [0, 1, 2]})), 409, "input_closed");
    scene().refused(&ada(), creating(gathering(2), json!({"item": 0})), 422, "wrong_type");
    // An array is one value where one value is taken.
    let mut one = scene();
    let events = one.ok(
        &ada(),
        creating(single("passthrough", json!({}), "in", "out"), json!({"in": [1, 2]})),
    );
    assert_eq!(output(&events)["out"], json!([1, 2]));
    let mut typed = single("passthrough", json!({}), "in", "out");
    typed["inputs"]["in"]["type"] = json!("array");
    assert_eq!(
        output(&scene().ok(&ada(), creating(typed, json!({"in": [1, 2]}))))["out"],
        json!([1, 2])
    );
    // Given and queued values count together.
    let mut paused = scene();
    paused.ok(&ada(), creating(gathering(3), json!({"item": [0]})));
    paused.ok(&ada(), pause());
    paused.ok(&ada(), giving("item", json!(1)));
    paused.ok(&ada(), giving("item", json!(2)));
    paused.refused(&ada(), giving("item", json!(3)), 409, "input_closed");
}

/// Values of an input that comes again and again are held until the run ends, and no more than the bound in all.
#[test]
fn a_run_holds_so_many_bytes_of_inputs() {
    let big = 16 * 1024;
    let held = |scene: &Stage1| graph(scene).held_bytes;
    let value = |bytes: u64| giving("item", json!("x".repeat(bytes as usize - 2)));
    let mut scene = scene();
    scene.ok(&ada(), creating(gathering(1_000), json!({"item": []})));
    scene.ok(&ada(), pause());
    scene.ok(&ada(), value(100));
    assert_eq!(held(&scene), 100);
    scene.ok(&ada(), resume());
    assert_eq!(held(&scene), 100, "drained from the queue into the series: counted once");
    while held(&scene) + 2 * big <= limits::RUN_INPUT_QUEUE_MAX_BYTES as u64 {
        scene.ok(&ada(), value(big));
    }
    let left = limits::RUN_INPUT_QUEUE_MAX_BYTES as u64 - held(&scene);
    scene.ok(&ada(), value(left - big));
    scene.refused(&ada(), value(big + 1), 429, "queue_full");
    scene.ok(&ada(), value(big));
    assert_eq!(held(&scene), limits::RUN_INPUT_QUEUE_MAX_BYTES as u64);
    scene.refused(&ada(), giving("item", json!(0)), 429, "queue_full");
}

#[test]
fn a_signals_name_has_a_bound() {
    let signal = |name: usize| {
        RunCommand::Signal(SendSignal {
            name: "s".repeat(name),
            payload: Json(json!(1)),
        })
    };
    let mut scene = in_status(RunStatus::Running);
    scene.ok(&ada(), signal(64));
    scene.refused(&ada(), signal(65), 422, "bad_name");
}

/// What was waited for when a run ends: each kind is taken back in its own way.
#[test]
fn the_end_of_a_run_takes_back_what_it_waits_for() {
    for (component, config, taken_back) in [
        ("delay", json!({"ms": 5_000}), json!({"cancel_wake": {"name": "n#1"}})),
        (
            "wait_signal",
            json!({"signal": "go", "timeout_ms": 5_000}),
            json!({"cancel_wake": {"name": "n#1"}}),
        ),
        ("wait_signal", json!({"signal": "go"}), json!(null)),
        (
            "wait_approval",
            json!({"timeout_ms": 5_000}),
            json!({"cancel_wake": {"name": "n#1"}}),
        ),
        ("wait_approval", json!({}), json!(null)),
        (
            "http.request",
            json!({"url": "https://x.example/"}),
            json!({"cancel_effect": {"name": "n#1"}}),
        ),
        (
            "message.send",
            json!({"conversation": "cnv_1", "body": "hi"}),
            json!({"cancel_effect": {"name": "n#1"}}),
        ),
    ] {
        let out = if component == "wait_approval" { "approved" } else { "out" };
        let mut scene = scene();
        scene.ok(&ada(), creating(single(component, config.clone(), "in", out), json!({"in": 1})));
        scene.ok(&ada(), cancel());
        let found: Vec<Value> = scene.reactions.iter().map(|r| serde_json::to_value(r).unwrap()).collect();
        let expected: Vec<Value> = Some(taken_back).into_iter().filter(|it| !it.is_null()).collect();
        assert_eq!(found, expected, "{component} {config}");
        // Only an effect still comes to an end of its own, which is recorded once.
        let effect = matches!(component, "http.request" | "message.send");
        assert_eq!(graph(&scene).stopping.len(), usize::from(effect), "{component}");
        if !effect {
            scene.unchanged(&platform(), settled("n#1", broke()));
        }
    }
}

#[test]
fn an_outcome_of_another_attempt_does_not_wake_a_failed_run() {
    let mut scene = scene();
    let config = json!({"url": "https://x.example/"});
    scene.ok(&ada(), creating(single("http.request", config, "in", "out"), json!({"in": 1})));
    scene.ok(&platform(), settled("n#1", broke()));
    assert_eq!(scene.state.status(), Some(RunStatus::Failed));
    scene.unchanged(&platform(), settled("n#0", responded(json!("ok"))));
    let events = scene.ok(&platform(), settled("n#1", responded(json!("ok"))));
    assert_eq!(said(&events).last().unwrap(), "completed");
    scene.unchanged(&platform(), settled("n#1", responded(json!("ok"))));
}
