//! How large, how many, how long: both sides of each bound, and what the end of a run takes back.

use super::*;

/// A value is as large as it is, however often it is handed on.
#[test]
fn values_are_taken_up_to_their_bound() {
    let definition = || single("passthrough", json!({}), "in", "out");
    let most = "x".repeat(limits::VALUE_MAX_BYTES - 2);
    let mut whole = scene();
    let value = whole.sealed(&json!(most), "acme/ada");
    let events = whole.ok(&ada(), creating(definition(), json!({"in": value})));
    assert_eq!(said(&events).last().unwrap(), "completed");
    let too_large = json!({"in": "x".repeat(limits::VALUE_MAX_BYTES + 1)});
    scene().refused(&ada(), creating(definition(), too_large), 422, "too_large");
}

#[test]
fn what_a_node_sends_names_its_values() {
    let config = json!({"url": "https://x.example/", "type": "t", "secret": "s"});
    let mut scene = scene();
    let value = scene.sealed(&json!("x".repeat(1_000_000)), "acme/ada");
    let events = scene.ok(&ada(), creating(single("webhook.call", config, "in", "out"), json!({"in": value})));
    let work = events.iter().find_map(|event| match event {
        RunEvent::NodeStarted { work, .. } => Some(serde_json::to_string(work).unwrap().len()),
        _ => None,
    });
    assert!(work.unwrap() < 1_000, "{work:?}");
}

/// The values of one org's run: sealed, by name, gathered, looked into.
#[test]
fn sixty_four_branches_of_any_size_are_gathered_by_name() {
    for size in [1_000, 1_000_000] {
        let ids: Vec<String> = (0..64).map(|n| format!("b{n}")).collect();
        let node = |id: &String| json!({"id": id, "component": "passthrough"});
        let mut nodes: Vec<Value> = ids.iter().map(node).collect();
        nodes.push(json!({"id": "all", "component": "collect"}));
        nodes.push(json!({"id": "count", "component": "map", "config": {"expression": "size(input)"}}));
        let mut edges: Vec<Value> = ids.iter().map(|id| json!({"from": "input.in", "to": format!("{id}.in")})).collect();
        edges.extend(ids.iter().map(|id| json!({"from": format!("{id}.out"), "to": "all.items"})));
        edges.push(json!({"from": "all.out", "to": "output.all"}));
        edges.push(json!({"from": "all.out", "to": "count.in"}));
        edges.push(json!({"from": "count.out", "to": "output.count"}));
        let definition = json!({"name": "wide", "inputs": {"in": {}}, "outputs": {"all": {}, "count": {}}, "nodes": nodes, "edges": edges});
        let mut scene = scene();
        let value = scene.sealed(&json!("x".repeat(size)), "acme/ada");
        let mut events = scene.ok(&ada(), creating(definition, json!({"in": value})));
        while said(&events).last().unwrap() == "advance_deferred" {
            events.extend(scene.ok(&platform(), fired("advance")));
        }
        let RunEvent::Completed { output } = events.last().unwrap() else {
            panic!("{:?}", said(&events))
        };
        let Value::Array(all) = &output["all"].0 else { panic!() };
        assert_eq!((all.len(), open(&output["count"].0)), (64, json!(64)));
        assert_eq!(scene.opened(&all[63]), json!("x".repeat(size)));
        assert!(
            output["all"].to_text().len() <= limits::RUN_VALUE_MAX_BYTES,
            "{}",
            output["all"].to_text().len()
        );
    }
}

/// What a run looks into, computes and hands out is ciphertext in its events.
#[test]
fn computed_values_are_sealed_for_those_whose_values_they_saw() {
    let definition = |data: &str| {
        json!({"name": "mix", "data": data, "inputs": {"a": {}, "b": {"required": false}}, "outputs": {"out": {}, "own": {}},
            "nodes": [{"id": "both", "component": "map", "config": {"expression": "inputs.in + run.input.b"}},
                {"id": "wait", "component": "collect"}, {"id": "own", "component": "map", "config": {"expression": "'constant'"}}],
            "edges": [{"from": "input.a", "to": "both.in"}, {"from": "input.b", "to": "wait.items"}, {"from": "wait.out", "to": "own.in"},
                {"from": "own.out", "to": "output.own"}, {"from": "both.out", "to": "output.out"}]})
    };
    let mut joined = scene();
    let mut definition_of_two = definition("personal");
    definition_of_two["nodes"][0]["config"]["expression"] = json!("string(inputs.items[0]) + run.input.a");
    definition_of_two["nodes"][0]["component"] = json!("map");
    definition_of_two["edges"] = json!([{"from": "input.b", "to": "wait.items"}, {"from": "wait.out", "to": "both.in"},
        {"from": "both.out", "to": "output.out"}, {"from": "input.a", "to": "own.in"}, {"from": "own.out", "to": "output.own"}]);
    definition_of_two["nodes"][0]["config"]["expression"] = json!("input[0] + run.input.a");
    let a = joined.sealed(&json!("from ada"), "acme/ada");
    joined.ok(&ada(), creating(definition_of_two.clone(), json!({"a": a})));
    let b = joined.sealed(&json!("bob's and "), "acme/bob");
    let input = RunCommand::Input(GiveInput {
        port: "b".into(),
        payload: b,
    });
    let events = joined.ok(&as_role("bob", Some(Role::Member)), input);
    assert_eq!(output(&events)["out"], json!("bob's and from ada"));
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains("bob's and") && !text.contains("from ada"), "{text}");
    assert!(text.contains(r#""$subject":"acme/ada,acme/bob""#), "{text}");

    let mut clear = scene();
    definition_of_two["data"] = json!("none");
    clear.ok(&ada(), creating(definition_of_two, json!({"a": "clear"})));
    let input = RunCommand::Input(GiveInput {
        port: "b".into(),
        payload: Json(json!("and ")),
    });
    let RunEvent::Completed { output } = clear.ok(&ada(), input).pop().unwrap() else {
        panic!()
    };
    assert_eq!(output["out"].0, json!("and clear"), "it says that it holds no personal data");
}

#[test]
fn a_node_that_looks_into_too_much_fails_with_a_code_of_its_own() {
    let large = json!("x".repeat(700_000));
    let run = |expression: &str| {
        let definition = json!({"name": "look", "inputs": {"a": {}, "b": {}}, "outputs": {"out": {}},
            "nodes": [{"id": "one", "component": "map", "config": {"expression": "run.input.a.size()"}},
                {"id": "n", "component": "map", "config": {"expression": expression}}],
            "edges": [{"from": "input.a", "to": "one.in"}, {"from": "one.out", "to": "n.in"}, {"from": "n.out", "to": "output.out"}]});
        let mut scene = scene();
        let (a, b) = (scene.sealed(&large, "acme/ada"), scene.sealed(&large, "acme/ada"));
        let mut events = scene.ok(&ada(), creating(definition, json!({"a": a, "b": b})));
        while said(&events).last().unwrap() == "advance_deferred" {
            events.extend(scene.ok(&platform(), fired("advance")));
        }
        events
    };
    // What the decision before did not bring is brought for one of its own.
    let events = run("size(run.input.b)");
    assert_eq!(output(&events)["out"], json!(700_000));
    assert!(said(&events).contains(&"advance_deferred".to_owned()));
    let events = run("size(run.input.b) + size(run.input.a)");
    let code = events.iter().find_map(|event| match event {
        RunEvent::NodeFailed { code, .. } => Some(code.as_str()),
        _ => None,
    });
    assert_eq!(code, Some("values_too_large_to_look_into"));
}

/// Whoever was erased: what is handed on goes on, and who must look fails.
#[test]
fn a_node_that_looks_into_an_erased_value_fails() {
    struct WithoutBob;
    impl quipu_schemas::personal::Opener for WithoutBob {
        fn opening_key(&self, subject: &str) -> Result<Option<quipu_schemas::personal::DataKey>, quipu_schemas::personal::SealError> {
            let one = quipu_schemas::personal::Opener::opening_key(&OneKey, subject);
            if subject.contains("bob") { Ok(None) } else { one }
        }
    }
    let run = |component: &str, config: Value| {
        let mut scene = scene();
        let value = scene.sealed(&json!({"name": "bob"}), "acme/bob");
        scene.opener = Box::new(WithoutBob);
        scene.ok(&ada(), creating(single(component, config, "in", "out"), json!({"in": value})))
    };
    let events = run("map", json!({"expression": "input.name + '!'"}));
    assert!(
        matches!(&events[3], RunEvent::NodeFailed { code, .. } if code == "value_erased"),
        "{events:?}"
    );
    let Some(RunEvent::Completed { output }) = run("passthrough", json!({})).pop() else {
        panic!("not completed")
    };
    assert_eq!(output["out"].0["$subject"], json!("acme/bob"));
}

/// A hundred answers of 30 KB are a hundred names, and what nobody needs any more is none.
#[test]
fn large_answers_leave_a_small_state() {
    let ids: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let node = |id: &String| json!({"id": id, "component": "http.request", "config": {"url": "https://x.example/"}});
    let mut edges: Vec<Value> = ids.iter().map(|id| json!({"from": "input.in", "to": format!("{id}.in")})).collect();
    edges.extend(ids.iter().map(|id| json!({"from": format!("{id}.out"), "to": "all.items"})));
    let mut nodes: Vec<Value> = ids.iter().map(node).collect();
    nodes.push(json!({"id": "all", "component": "collect"}));
    nodes.push(json!({"id": "hold", "component": "wait_signal", "config": {"signal": "go"}}));
    edges.push(json!({"from": "all.out", "to": "hold.in"}));
    let definition = json!({"name": "many", "inputs": {"in": {}}, "nodes": nodes, "edges": edges});
    let mut scene = scene();
    scene.ok(&ada(), creating(definition, json!({"in": 1})));
    let size = |scene: &Stage1| {
        bincode::serde::encode_to_vec(&scene.state, bincode::config::standard())
            .unwrap()
            .len()
    };
    let before = size(&scene);
    for id in &ids {
        let Json(body) = scene.sealed(&json!("y".repeat(30_000)), "acme/ada");
        let name = format!("{id}#1");
        if !graph(&scene).nodes.all().contains_key(id.as_str()) {
            scene.ok(&platform(), fired("advance"));
        }
        scene.ok(&platform(), settled(&name, responded(body)));
    }
    let after = size(&scene);
    assert!(after < 200_000 && after > before, "{before} before, {after} after");
    scene.ok(
        &ada(),
        RunCommand::Signal(SendSignal {
            name: "go".into(),
            payload: Json::default(),
        }),
    );
    assert_eq!(scene.state.status(), Some(RunStatus::Completed));
    assert!(graph(&scene).nodes.all().into_values().all(|node| node.stage.values().count() == 0));
}

#[test]
fn repeated_inputs_are_given_with_create_up_to_the_count() {
    let mut most = scene();
    most.ok(&ada(), creating(gathering(2), json!({"item": [0, 1]})));
    assert_eq!(graph(&most).given("item"), 2);
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
    let held = |scene: &Stage1| graph(scene).held_bytes;
    let mut scene = scene();
    scene.ok(&ada(), creating(gathering(1_000), json!({"item": []})));
    scene.ok(&ada(), pause());
    scene.ok(&ada(), giving("item", json!("x".repeat(100))));
    let one = held(&scene);
    scene.ok(&ada(), resume());
    assert_eq!(held(&scene), one, "drained from the queue into the series: counted once");
    let mut given = 0;
    while held(&scene) + 2_900 <= limits::RUN_INPUT_QUEUE_MAX_BYTES as u64 {
        scene.ok(&ada(), giving("item", json!("x".repeat(2_000))));
        given += 1;
    }
    assert!(given > 300, "{given}");
    let refused = (0..10).find_map(|_| scene.send(&ada(), giving("item", json!("x".repeat(2_000)))).err());
    assert_eq!(refused.unwrap().code, "queue_full");
}

/// The name of a text that is kept beside the log.
fn named(n: u8, size: usize) -> Value {
    json!({"$blob": quipu_schemas::digest::Digest([n; 32]), "$size": size, "$subject": "acme/ada", "$type": "string"})
}

fn signalling(payload: Value) -> RunCommand {
    RunCommand::Signal(SendSignal {
        name: "go".into(),
        payload: Json(payload),
    })
}

/// Eight mebibytes a value, 64 of all that a run refers to at a time, wherever they come in; what is refused changes nothing.
#[test]
fn a_run_refers_to_so_many_bytes_of_values() {
    let (each, most) = (limits::VALUE_MAX_BYTES, limits::ENTITY_VALUES_MAX_BYTES / limits::VALUE_MAX_BYTES);
    let mut full = scene();
    full.ok(&ada(), creating(gathering(50), json!({"item": []})));
    for n in 0..most {
        full.ok(&ada(), giving("item", named(n as u8, each)));
    }
    let before = full.state.clone();
    full.refused(&ada(), giving("item", named(99, 10)), 429, "values_full");
    full.refused(&ada(), signalling(named(99, 10)), 429, "values_full");
    assert_eq!(full.state, before);
    full.ok(&ada(), giving("item", named(0, each)));
    full.ok(&ada(), signalling(named(1, each)));

    let mut larger = scene();
    larger.ok(&ada(), creating(gathering(50), json!({"item": []})));
    for command in [giving("item", named(1, each + 2)), signalling(named(1, each + 2))] {
        larger.refused(&ada(), command, 422, "too_large");
    }
    scene().refused(
        &ada(),
        creating(single("passthrough", json!({}), "in", "out"), json!({"in": named(1, each + 2)})),
        422,
        "too_large",
    );

    // With `create`, and what a node hands on.
    let definition = || {
        let mut wide = single("http.request", json!({"url": "https://x.example/"}), "in", "out");
        for n in 0..=most {
            wide["inputs"][format!("x{n}")] = json!({"required": false});
            wide["nodes"]
                .as_array_mut()
                .unwrap()
                .push(json!({"id": format!("p{n}"), "component": "wait_signal", "config": {"signal": "never"}}));
            let edge = json!({"from": format!("input.x{n}"), "to": format!("p{n}.in")});
            wide["edges"].as_array_mut().unwrap().push(edge);
        }
        wide
    };
    let inputs = |count: usize| {
        let given = (0..count).map(|n| (format!("x{n}"), named(n as u8, each)));
        Value::Object(given.chain([("in".to_owned(), json!(1))]).collect())
    };
    scene().refused(&ada(), creating(definition(), inputs(most + 1)), 422, "too_large");
    let mut waiting = scene();
    waiting.ok(&ada(), creating(definition(), inputs(most)));
    let events = waiting.ok(&platform(), settled("n#1", responded(named(99, 10))));
    assert!(
        matches!(&events[0], RunEvent::NodeFailed { code, .. } if code == "values_full"),
        "{:?}",
        said(&events)
    );
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
            // It was sent when its turn came.
            json!(null),
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
        let effect = component == "http.request";
        assert_eq!(graph(&scene).stopping.len(), usize::from(effect), "{component}");
        if !effect && component != "message.send" {
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
