//! What nothing unfinished needs leaves the state.

use super::*;

fn give(port: &str, payload: Value) -> RunCommand {
    RunCommand::Input(GiveInput {
        port: port.into(),
        payload: Json(payload),
    })
}

fn go(name: &str) -> RunCommand {
    RunCommand::Signal(SendSignal {
        name: name.into(),
        payload: Json(json!(1)),
    })
}

/// Two nodes that wait for their signals behind one input, and one more that looks at the whole of what the run was given.
fn definition(last: &str, outputs: bool) -> Value {
    let waits = |id: &str| json!({"id": id, "component": "wait_signal", "config": {"signal": id}});
    let mut edges = vec![
        json!({"from": "input.in", "to": "a.in"}),
        json!({"from": "input.in", "to": "b.in"}),
        json!({"from": "a.out", "to": "c.in"}),
        json!({"from": "b.out", "to": "d.in"}),
    ];
    if outputs {
        edges.push(json!({"from": "input.in", "to": "output.back"}));
    }
    json!({
        "name": "x", "inputs": {"in": {}}, "outputs": if outputs { json!({"back": {}}) } else { json!({}) },
        "nodes": [waits("a"), waits("b"), waits("c"), {"id": "d", "component": "map", "config": {"expression": last}}],
        "edges": edges,
    })
}

#[test]
fn an_input_leaves_with_the_last_node_that_reads_it() {
    let mut scene = scene();
    scene.ok(&ada(), creating(definition("input", false), json!({"in": "words"})));
    scene.ok(&ada(), go("a"));
    assert!(graph(&scene).inputs.contains_key("in"), "`b` may need it");
    scene.ok(&ada(), go("b"));
    assert!(graph(&scene).inputs.is_empty() && graph(&scene).taken["in"] == 1);
    scene.refused(&ada(), give("in", json!(2)), 409, "input_given");
    scene.ok(&ada(), go("c"));
    assert_eq!(scene.state.status(), Some(RunStatus::Completed));
}

#[test]
fn an_input_stays_while_a_node_may_name_the_run() {
    let mut scene = scene();
    scene.ok(&ada(), creating(definition("run.input['in']", false), json!({"in": "words"})));
    scene.ok(&ada(), go("a"));
    let events = scene.ok(&ada(), go("b"));
    let output = output_of(&events, "d");
    assert_eq!(open(&output["out"].0), json!("words"));
    assert!(graph(&scene).inputs.is_empty(), "`d` has run");
}

#[test]
fn an_input_that_is_an_output_stays_to_the_end() {
    let mut scene = scene();
    scene.ok(&ada(), creating(definition("input", true), json!({"in": "words"})));
    scene.ok(&ada(), go("a"));
    scene.ok(&ada(), go("b"));
    assert!(graph(&scene).inputs.contains_key("in"));
    assert_eq!(output(&scene.ok(&ada(), go("c")))["back"], json!("words"));
}

#[test]
fn an_input_of_a_failed_node_waits_for_its_retry() {
    let mut scene = scene();
    let config = json!({"url": "https://x.example/", "type": "t", "secret": "s"});
    scene.ok(
        &ada(),
        creating(single("webhook.call", config, "in", "out"), json!({"in": "words"})),
    );
    scene.ok(&platform(), settled("n#1", broke()));
    assert_eq!(scene.state.status(), Some(RunStatus::Failed));
    assert!(graph(&scene).inputs.contains_key("in"));
    let node = "n".to_owned();
    let events = scene.ok(&ada(), RunCommand::RetryNode(RetryNode { node }));
    assert_eq!(said(&events), ["node_retried n", "node_started n"]);
}

#[test]
fn values_of_a_series_leave_and_are_counted() {
    let mut scene = scene();
    let definition = json!({
        "name": "x", "inputs": {"many": {"many": true, "required": false}, "in": {}},
        "nodes": [{"id": "all", "component": "collect", "config": {"count": 2}}, {"id": "w", "component": "wait_signal", "config": {"signal": "w"}}],
        "edges": [{"from": "input.many", "to": "all.items"}, {"from": "input.in", "to": "w.in"}],
    });
    scene.ok(&ada(), creating(definition, json!({"in": 0})));
    scene.ok(&ada(), give("many", json!("one")));
    assert!(graph(&scene).held_bytes > 0);
    scene.ok(&ada(), give("many", json!("two")));
    let run = graph(&scene);
    assert!(run.series.is_empty() && run.held_bytes == 0 && run.taken["many"] == 2, "{run:?}");
    scene.refused(&ada(), give("many", json!("three")), 409, "input_closed");
}

#[test]
fn texts_leave_with_the_last_node_that_may_name_them() {
    let mut scene = scene();
    let mut definition = definition("texts.body", false);
    definition["nodes"][2]["config"] = json!({"signal": "c"});
    let RunCommand::Create(create) = creating(definition, json!({"in": 0})) else {
        unreachable!()
    };
    let texts = [("body".to_owned(), sealed(&"hello".to_owned()))].into();
    scene.ok(&ada(), RunCommand::Create(CreateRun { texts, ..create }));
    assert_eq!(graph(&scene).texts.len(), 1);
    scene.ok(&ada(), go("b"));
    assert!(graph(&scene).texts.is_empty());
    assert_eq!(scene.state.status(), Some(RunStatus::Running));
}

fn output_of(events: &[RunEvent], id: &str) -> BTreeMap<String, Json> {
    let found = events.iter().find_map(|event| match event {
        RunEvent::NodeCompleted { node, output } if node == id => Some(output.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{id} is not done: {events:?}"))
}
