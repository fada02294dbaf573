//! What each component does in a run.

use super::*;
use quipu_schemas::reaction::HeaderPart;

fn outcome_of(component: &str, config: Value, port: &str, out: &str, input: Value) -> Option<Value> {
    let mut scene = scene();
    let events = scene.ok(&ada(), creating(single(component, config, port, out), json!({"in": input})));
    output(&events).remove("out")
}

#[test]
fn each_pure_component_does_what_it_says() {
    assert_eq!(
        outcome_of("passthrough", json!({}), "in", "out", json!({"a": 1})),
        Some(json!({"a": 1}))
    );
    assert_eq!(
        outcome_of("map", json!({"expression": "input.a + 1"}), "in", "out", json!({"a": 1})),
        Some(json!(2))
    );
    assert_eq!(
        outcome_of(
            "map",
            json!({"expression": "run.input['in'].a + size(run.id)"}),
            "in",
            "out",
            json!({"a": 1})
        ),
        Some(json!(6))
    );
    assert_eq!(
        outcome_of("filter", json!({"condition": "input > 2"}), "in", "out", json!(3)),
        Some(json!(3))
    );
    assert_eq!(outcome_of("filter", json!({"condition": "input > 2"}), "in", "out", json!(1)), None);
    assert_eq!(
        outcome_of("filter", json!({"condition": "input > 2"}), "in", "dropped", json!(1)),
        Some(json!(1))
    );
    let cases = json!({"cases": [{"when": "input > 10", "port": "large"}, {"when": "input > 5", "port": "medium"}], "default": "small"});
    for (input, port) in [(11, "large"), (6, "medium"), (1, "small")] {
        assert_eq!(outcome_of("switch", cases.clone(), "in", port, json!(input)), Some(json!(input)));
    }
    assert_eq!(outcome_of("switch", cases, "in", "large", json!(6)), None);
    assert_eq!(
        outcome_of("parallel", json!({"branches": ["a", "b"]}), "in", "b", json!(1)),
        Some(json!(1))
    );
    assert_eq!(outcome_of("collect", json!({}), "items", "out", json!(1)), Some(json!([1])));
    assert_eq!(
        outcome_of("log", json!({"message": "'total ' + string(input)"}), "in", "line", json!(7)),
        Some(json!("total 7"))
    );
    assert_eq!(outcome_of("log", json!({}), "in", "out", json!(7)), Some(json!(7)));
}

#[test]
fn a_delay_is_a_durable_timer() {
    let mut scene = scene();
    let definition = single("delay", json!({"ms": "=input * 1000"}), "in", "out");
    assert_eq!(
        said(&scene.ok(&ada(), creating(definition.clone(), json!({"in": 60})))),
        ["created", "initialized", "started", "node_started n"]
    );
    assert_eq!(
        scene.reactions,
        [Reaction::WakeAt {
            name: "n#1".into(),
            due: scene.now + 60_000
        }]
    );
    scene.unchanged(&platform(), fired("n#0"));
    let events = scene.ok(&platform(), fired("n#1"));
    assert_eq!(output(&events)["out"], json!(60));
    scene.unchanged(&platform(), fired("n#1"));
    let mut bad = super::scene();
    assert_eq!(
        said(&bad.ok(&ada(), creating(definition, json!({"in": -1})))).last().unwrap(),
        "failed n"
    );
}

#[test]
fn signals_are_waited_for_kept_when_early_and_time_out() {
    let definition = single("wait_signal", json!({"signal": "go", "timeout_ms": 5000}), "in", "out");
    let signal = |name: &str, payload: Value| {
        RunCommand::Signal(SendSignal {
            name: name.into(),
            payload: Json(payload),
        })
    };
    let mut on_time = scene();
    on_time.ok(&ada(), creating(definition.clone(), json!({"in": 1})));
    assert_eq!(
        on_time.reactions,
        [Reaction::WakeAt {
            name: "n#1".into(),
            due: on_time.now + 5000
        }]
    );
    assert_eq!(said(&on_time.ok(&ada(), signal("other", json!(0)))), ["signal_received"]);
    assert_eq!(graph(&on_time).signals[0].name, "other", "it is kept for who waits for it");
    let events = on_time.ok(&ada(), signal("go", json!({"x": 1})));
    assert_eq!(said(&events), ["signal_received", "node_completed n", "completed"]);
    assert_eq!(output(&events)["out"], json!({"x": 1}));
    assert_eq!(on_time.reactions, [Reaction::CancelWake { name: "n#1".into() }]);
    assert!(graph(&on_time).signals.is_empty(), "a run that is over keeps nothing");

    let mut early = scene();
    let RunCommand::Create(mut create) = creating(definition.clone(), json!({"in": 1})) else {
        unreachable!()
    };
    create.start = false;
    early.ok(&ada(), RunCommand::Create(create));
    early.ok(&ada(), signal("go", json!(2)));
    assert_eq!(output(&early.ok(&ada(), RunCommand::Start(StartRun {})))["out"], json!(2));
    early.refused(&ada(), signal("go", json!(2)), 409, "run_not_under_way");

    let mut late = scene();
    late.ok(&ada(), creating(definition, json!({"in": 1})));
    late.refused(&ada(), signal("", json!(2)), 422, "bad_name");
    let events = late.ok(&platform(), fired("n#1"));
    assert!(matches!(&events[0], RunEvent::NodeFailed { code, .. } if code == "timeout"));
    assert_eq!(late.state.status(), Some(RunStatus::Failed));

    let mut full = scene();
    full.ok(
        &ada(),
        creating(single("wait_signal", json!({"signal": "go"}), "in", "out"), json!({"in": 1})),
    );
    for _ in 0..limits::RUN_SIGNALS_MAX {
        full.ok(&ada(), signal("noise", json!(0)));
    }
    full.refused(&ada(), signal("noise", json!(0)), 429, "queue_full");
}

#[test]
fn approvals_are_given_and_refused_by_approvers_only() {
    let run = |config: Value, port: &str| {
        let mut scene = scene();
        scene.ok(&ada(), creating(single("wait_approval", config, "in", port), json!({"in": 5})));
        scene
    };
    let admin = as_role("root", Some(Role::Admin));
    let mut default = run(json!({"prompt": "='pay ' + string(input) + '?'"}), "approved");
    default.refused(&ada(), RunCommand::Approve(approving("n")), 403, "not_an_approver");
    default.refused(&admin, RunCommand::Approve(approving("ghost")), 404, "unknown_node");
    let comment = Some(sealed(&"fine".to_owned()));
    let events = default.ok(&admin, RunCommand::Approve(AnswerApproval { node: "n".into(), comment }));
    assert_eq!(said(&events), ["approval_given n", "node_completed n", "completed"]);
    assert_eq!(output(&events)["out"], json!(5));
    default.refused(&admin, RunCommand::Approve(approving("n")), 409, "not_waiting");

    let mut named = run(json!({"approvers": ["zoe"]}), "rejected");
    named.refused(&admin, RunCommand::Reject(approving("n")), 403, "not_an_approver");
    let events = named.ok(&as_role("zoe", Some(Role::Viewer)), RunCommand::Reject(approving("n")));
    assert_eq!(said(&events), ["approval_refused n", "node_completed n", "completed"]);
    assert_eq!(output(&events)["out"], json!(5));

    let mut role = run(json!({"role": "member", "timeout_ms": 1000}), "approved");
    let events = role.ok(&ada(), RunCommand::Reject(approving("n")));
    assert_eq!(said(&events), ["approval_refused n", "node_failed n", "failed n"]);
    assert_eq!(role.reactions, [Reaction::CancelWake { name: "n#1".into() }]);
    let mut late = run(json!({"timeout_ms": 1000}), "approved");
    assert_eq!(said(&late.ok(&platform(), fired("n#1"))), ["node_failed n", "failed n"]);
}

#[test]
fn http_and_webhook_nodes_become_effects_with_recorded_answers() {
    let config = json!({"method": "POST", "url": "='https://x.example/' + input.id", "body": {"n": "=input.n", "k": "plain"},
        "headers": {"Authorization": "Bearer {{secret:API}}"}, "idempotency_header": "Idempotency-Key"});
    let mut http = scene();
    http.ok(
        &ada(),
        creating(single("http.request", config, "in", "out"), json!({"in": {"id": "a", "n": 2}})),
    );
    let [(name, Effect::Http(request), retry)] = &performed(&http)[..] else {
        panic!("{:?}", http.reactions)
    };
    assert_eq!(
        (name.as_str(), request.url.as_str(), retry),
        ("n#1", "https://x.example/", &Retry::default())
    );
    let url = request.sealed_url.as_ref().unwrap().open(&OneKey).unwrap();
    assert_eq!(url.value().as_deref(), Some("https://x.example/a"));
    let body = request.body.as_ref().unwrap();
    assert_eq!(open(&body.0), json!({"n": 2, "k": "plain"}));
    assert_ne!(body.0, open(&body.0), "what was computed is sealed");
    let bearer = [HeaderPart::Text("Bearer ".into()), HeaderPart::Secret("API".into())];
    assert_eq!(
        (&request.composed_headers["Authorization"][..], request.headers.len()),
        (&bearer[..], 0)
    );
    http.refused(&ada(), settled("n#1", responded(json!("ok"))), 403, "not_allowed");
    let events = http.ok(&platform(), settled("n#1", responded(json!("ok"))));
    assert_eq!(output(&events)["out"], json!({"status": 200, "body": "ok"}));
    http.unchanged(&platform(), settled("n#1", responded(json!("ok"))));

    let mut missing = scene();
    missing.ok(
        &ada(),
        creating(
            single("http.request", json!({"url": "https://x.example/"}), "in", "out"),
            json!({"in": 1}),
        ),
    );
    let events = missing.ok(
        &platform(),
        settled(
            "n#1",
            Outcome::Responded {
                status: 404,
                body: Json(Value::Null),
                full_bytes: None,
            },
        ),
    );
    assert!(matches!(&events[0], RunEvent::NodeFailed { code, .. } if code == "status_404"));

    let mut hook = scene();
    let config = json!({"url": "https://x.example/hook", "type": "order.paid", "secret": "orders"});
    hook.ok(
        &ada(),
        creating(single("webhook.call", config, "in", "out"), json!({"in": {"id": 7}})),
    );
    let [(_, Effect::Webhook(call), _)] = &performed(&hook)[..] else {
        panic!()
    };
    assert_eq!(
        (call.event_type.as_str(), call.secret.as_str(), open(&call.data.0)),
        ("order.paid", "orders", json!({"id": 7}))
    );
    hook.ok(&platform(), settled("n#1", responded(json!({}))));
    assert_eq!(hook.state.status(), Some(RunStatus::Completed));
}

/// A model's answer stays sealed through the run: a switch may look, nothing in the log is in the clear.
#[test]
fn sealed_answer_is_branched_on_and_posted_but_never_in_clear() {
    let definition = json!({
        "name": "triage", "inputs": {"in": {}},
        "nodes": [
            {"id": "ask", "component": "llm.invoke", "config": {"model": {"provider": "scripted", "model": "s"},
                "messages": [{"role": "system", "content": "Classify."}, {"role": "user", "content": "=texts.question"}]}},
            {"id": "route", "component": "switch", "config": {"cases": [{"when": "input.startsWith('YES')", "port": "yes"}], "default": "no"}},
            {"id": "send", "component": "message.send", "config": {"conversation": "cnv_1", "body": "=input"}}
        ],
        "edges": [{"from": "input.in", "to": "ask.in"}, {"from": "ask.text", "to": "route.in"}, {"from": "route.yes", "to": "send.in"}],
    });
    let mut scene = scene();
    let RunCommand::Create(mut create) = creating(definition, json!({"in": 1})) else {
        unreachable!()
    };
    create.texts = [("question".to_owned(), sealed(&"May I?".to_owned()))].into();
    scene.ok(&ada(), RunCommand::Create(create));
    let [(_, Effect::LlmInvoke(call), _)] = &performed(&scene)[..] else {
        panic!("{:?}", scene.reactions)
    };
    let prompt = serde_json::to_value(&call.prompt).unwrap();
    assert_eq!(prompt["messages"][0]["content"], json!("Classify."));
    assert!(prompt["messages"][1]["content"]["$sealed"].is_string(), "{prompt}");
    let reply = answer(Some("YES of course"), &[]);
    let events = scene.ok(&platform(), settled("ask#1", Outcome::Answered(reply.clone())));
    assert_eq!(said(&events), ["node_completed ask", "node_completed route", "message_sent send"]);
    assert!(!serde_json::to_string(&events).unwrap().contains("course"));
    let [(to, command)] = &scene.dispatched()[..] else { panic!() };
    assert_eq!(to, "acme/conversation/cnv_1");
    assert_eq!(command["post"]["body"], serde_json::to_value(reply.text).unwrap());
    assert!(command["post"]["message_id"].as_str().unwrap().starts_with("msg_"));
    // Nothing had to be sealed, so the message is the node's first attempt.
    let events = scene.ok(&platform(), told("send#1", Settled::Unchanged));
    assert_eq!(said(&events), ["node_completed send", "completed"]);
}

/// A run whose message is on its way.
fn sent(on_failure: &str) -> Stage1 {
    let mut definition = single("message.send", json!({"conversation": "cnv_1", "body": "hi"}), "in", "out");
    definition["nodes"][0]["on_failure"] = json!(on_failure);
    let mut scene = scene();
    scene.ok(&ada(), creating(definition, json!({"in": 1})));
    scene
}

#[test]
fn a_message_that_was_refused_fails_its_node() {
    let mut scene = sent("abort");
    let [Reaction::Dispatch(dispatch)] = &scene.reactions[..] else {
        panic!("{:?}", scene.reactions)
    };
    let awaited = dispatch.awaited.as_ref().expect("its answer is awaited");
    assert_eq!((awaited.name.as_str(), awaited.refusals_only), ("n#1", false));
    scene.unchanged(&platform(), told("n#0", Settled::Accepted));
    scene.unchanged(&platform(), settled("n#1", broke()));
    let events = scene.ok(&platform(), told("n#1", refused("conversation_not_found")));
    assert_eq!(said(&events), ["node_failed n", "failed n"]);
    assert!(matches!(&events[0], RunEvent::NodeFailed { code, .. } if code == "conversation_not_found"));
    scene.unchanged(&platform(), told("n#1", Settled::Accepted));

    let events = sent("continue").ok(&platform(), told("n#1", refused("archived")));
    assert_eq!(said(&events), ["node_failed n", "completed"]);
    let events = sent("skip").ok(&platform(), told("n#1", Settled::Dropped));
    assert_eq!(said(&events), ["node_failed n", "node_skipped n", "completed"]);
}

#[test]
fn a_message_is_posted_when_its_conversation_says_so() {
    for outcome in [Settled::Accepted, Settled::Unchanged] {
        let events = sent("abort").ok(&platform(), told("n#1", outcome));
        assert_eq!(said(&events), ["node_completed n", "completed"]);
        assert_eq!(output(&events)["out"]["conversation"], json!("cnv_1"));
    }
    // During a pause it is recorded; what follows waits.
    let mut paused = sent("abort");
    paused.ok(&ada(), pause());
    assert_eq!(said(&paused.ok(&platform(), told("n#1", Settled::Accepted))), ["node_completed n"]);
    assert_eq!(said(&paused.ok(&ada(), resume())), ["resumed", "completed"]);
}

#[test]
fn the_answer_to_a_message_of_a_cancelled_run_is_recorded() {
    let mut scene = sent("abort");
    scene.ok(&ada(), cancel());
    assert!(scene.reactions.is_empty(), "a message is not called back: {:?}", scene.reactions);
    let events = scene.ok(&platform(), told("n#1", Settled::Accepted));
    assert_eq!(said(&events), ["node_completed n"]);
    let mut scene = sent("abort");
    scene.ok(&ada(), cancel());
    let events = scene.ok(&platform(), told("n#1", refused("archived")));
    assert_eq!(said(&events), ["effect_stopped"]);
    scene.unchanged(&platform(), told("n#1", refused("archived")));
}

#[test]
fn a_retried_run_sends_again_what_was_refused_meanwhile() {
    let definition = json!({
        "name": "two", "inputs": {"in": {}},
        "nodes": [
            {"id": "bad", "component": "http.request", "config": {"url": "https://x.example/"}},
            {"id": "n", "component": "message.send", "config": {"conversation": "cnv_1", "body": "hi"}},
        ],
        "edges": [{"from": "input.in", "to": "bad.in"}, {"from": "input.in", "to": "n.in"}],
    });
    let mut scene = scene();
    scene.ok(&ada(), creating(definition, json!({"in": 1})));
    assert_eq!(
        said(&scene.ok(&platform(), settled("bad#1", broke()))),
        ["node_failed bad", "failed bad"]
    );
    scene.ok(&platform(), told("n#1", refused("archived")));
    let events = scene.ok(&ada(), RunCommand::RetryNode(RetryNode { node: "bad".into() }));
    assert_eq!(said(&events), ["node_retried bad", "node_started bad", "message_sent n"]);
}

#[test]
fn a_composed_message_is_sealed_as_it_is_posted() {
    let mut scene = scene();
    let config = json!({"conversation": "=input.cnv", "body": "='Order ' + string(input.id)", "reply_to": "m1"});
    let run = single("message.send", config, "in", "out");
    let events = scene.ok(&ada(), creating(run, json!({"in": {"cnv": "cnv_9", "id": 4}})));
    assert_eq!(said(&events).last().unwrap(), "message_sent n");
    let (to, command) = &scene.dispatched()[0];
    assert_eq!(to, "acme/conversation/cnv_9");
    assert_eq!(
        (open(&command["post"]["body"]), &command["post"]["reply_to"]),
        (json!("Order 4"), &json!("m1"))
    );
    assert!(!serde_json::to_string(&events).unwrap().contains("Order 4"));
}

/// A run whose message was being sealed when a release that seals it at once came.
#[test]
fn a_message_that_an_earlier_release_was_sealing_is_posted() {
    let mut scene = scene();
    let definition = single("message.send", json!({"conversation": "cnv_1", "body": "hi"}), "in", "out");
    let mut command = creating(definition, json!({"in": 1}));
    if let RunCommand::Create(create) = &mut command {
        create.start = false;
    }
    scene.ok(&ada(), command);
    let post = RunPost {
        conversation: quipu_schemas::ids::EntityId::from_static("cnv_1"),
        message_id: quipu_schemas::ids::MessageId::from_static("m1"),
        reply_to: None,
    };
    let work = NodeWork::Post {
        seal: Effect::Seal(quipu_schemas::reaction::SealText {
            subject: "acme/ada".into(),
            text: "hi".into(),
        }),
        post,
    };
    let started = RunEvent::NodeStarted {
        node: "n".into(),
        component: "message.send".into(),
        attempt: 1,
        name: "n#1".into(),
        work,
    };
    for event in [RunEvent::Initialized {}, RunEvent::Started {}, started] {
        scene.state = Run::evolve(scene.state.clone(), &event).unwrap();
    }
    let text = sealed(&"hi".to_owned());
    let events = scene.ok(&platform(), settled("n#1", Outcome::Sealed { text }));
    assert_eq!(said(&events), ["message_sent n"]);
}

#[test]
fn texts_that_come_to_nothing_fail_their_node() {
    let failed = |component: &str, config: Value, input: Value| {
        let port = if component == "llm.invoke" { "text" } else { "out" };
        let mut scene = scene();
        let events = scene.ok(&ada(), creating(single(component, config, "in", port), json!({"in": input})));
        events.iter().find_map(|event| match event {
            RunEvent::NodeFailed { code, .. } => Some(code.clone()),
            _ => None,
        })
    };
    let message = || json!({"conversation": "cnv_1", "body": "=input"});
    assert_eq!(failed("message.send", message(), json!("")).as_deref(), Some("empty_body"));
    assert_eq!(failed("message.send", message(), json!("x")), None);
    let llm = || json!({"model": {"provider": "scripted", "model": "s"}, "messages": [{"role": "user", "content": "=input"}]});
    for odd in [json!(1), json!({"a": 1}), json!(["x"])] {
        assert_eq!(failed("llm.invoke", llm(), odd.clone()).as_deref(), Some("type_error"), "{odd}");
        assert_eq!(
            failed("message.send", message(), odd.clone()).as_deref(),
            Some("type_error"),
            "{odd}"
        );
    }
}

#[test]
fn data_that_looks_like_a_secret_leaves_as_text() {
    let config = json!({"url": "https://x.example/", "headers": {"X-Request-Id": "=input", "Authorization": "Bearer {{secret:API}}"}});
    let mut run = scene();
    run.ok(
        &ada(),
        creating(single("http.request", config, "in", "out"), json!({"in": "{{secret:billing}}"})),
    );
    let [(_, Effect::Http(request), _)] = &performed(&run)[..] else {
        panic!("{:?}", run.reactions)
    };
    let [HeaderPart::Sealed(text)] = &request.composed_headers["X-Request-Id"][..] else {
        panic!("{:?}", request.composed_headers)
    };
    let text = text.open(&OneKey).unwrap().value();
    assert_eq!(text.as_deref(), Some("{{secret:billing}}"));
    assert!(request.headers.is_empty(), "an older node fills what stands here");
}

#[test]
fn redirects_that_end_a_request_fail_the_node_unless_asked_for() {
    for (config, status, fails) in [
        (json!({"url": "https://x.example/", "method": "POST"}), 302, true),
        (json!({"url": "https://x.example/"}), 300, true),
        (json!({"url": "https://x.example/"}), 304, false),
        (json!({"url": "https://x.example/"}), 299, false),
        (
            json!({"url": "https://x.example/", "method": "POST", "fail_on_status": false}),
            302,
            false,
        ),
    ] {
        let mut run = scene();
        run.ok(
            &ada(),
            creating(single("http.request", config.clone(), "in", "out"), json!({"in": 1})),
        );
        let answer = Outcome::Responded {
            status,
            body: Json(Value::Null),
            full_bytes: Some(99_999),
        };
        let events = run.ok(&platform(), settled("n#1", answer));
        match fails {
            true => assert!(
                matches!(&events[0], RunEvent::NodeFailed { code, .. } if *code == format!("status_{status}")),
                "{config}"
            ),
            false => assert_eq!(
                output(&events)["out"],
                json!({"status": status, "body": null, "truncated": true, "full_bytes": 99_999}),
                "{config}"
            ),
        }
    }
}
