//! A step costs what it touches, however many nodes the definition has.

use super::super::nodes::LOOKED_AT;
use super::*;

fn looked_at() -> u64 {
    LOOKED_AT.with(std::cell::Cell::get)
}

fn definition(nodes: Vec<Value>, edges: &[(String, String)]) -> Value {
    let edges: Vec<_> = edges.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    json!({"name": "x", "inputs": {"in": {}}, "nodes": nodes, "edges": edges})
}

/// Signals in a row: each step ends one wait and begins the next.
fn chain(count: usize) -> Value {
    let nodes = (0..count).map(|n| json!({"id": format!("n{n}"), "component": "wait_signal", "config": {"signal": "go"}}));
    let source = |n: usize| if n == 0 { "input.in".to_owned() } else { format!("n{}.out", n - 1) };
    let edges: Vec<_> = (0..count).map(|n| (source(n), format!("n{n}.in"))).collect();
    definition(nodes.collect(), &edges)
}

/// All wait at once, each for a signal of its own.
fn fan(count: usize) -> Value {
    let nodes = (0..count).map(|n| json!({"id": format!("n{n}"), "component": "wait_signal", "config": {"signal": format!("go{n}")}}));
    let edges: Vec<_> = (0..count).map(|n| ("input.in".to_owned(), format!("n{n}.in"))).collect();
    definition(nodes.collect(), &edges)
}

/// Most nodes looked up by one decision of the run, creation left out.
fn dearest_step(definition: Value, count: usize, name: impl Fn(usize) -> String) -> u64 {
    let mut scene = scene();
    scene.ok(&ada(), creating(definition, json!({"in": 1})));
    dearest_step_of(scene, count, name)
}

fn dearest_step_of(mut scene: Stage1, count: usize, name: impl Fn(usize) -> String) -> u64 {
    // What is begun beyond one decision's steps begins in the next ones.
    while graph(&scene).nodes.all().is_empty()
        || scene
            .reactions
            .iter()
            .any(|r| matches!(r, Reaction::WakeAt { name, .. } if name == ADVANCE))
    {
        scene.ok(&platform(), fired(ADVANCE));
    }
    let dearest = (0..count).map(|n| {
        let command = RunCommand::Signal(SendSignal {
            name: name(n),
            payload: Json(json!(n)),
        });
        let before = looked_at();
        // Without the storage that other tests see after each step: it costs as much as the whole state.
        let Decision::Accept(events) = scene.decide(&ada(), command).unwrap() else {
            panic!("nothing was decided")
        };
        let step = looked_at() - before;
        scene.state = events
            .iter()
            .fold(scene.state.clone(), |state, event| Run::evolve(state, event).unwrap());
        step
    });
    let dearest = dearest.max().unwrap();
    assert_eq!(scene.state.status(), Some(RunStatus::Completed));
    dearest
}

#[test]
fn a_step_looks_at_the_nodes_it_touches_only() {
    for shape in [chain, fan] {
        let own = |n: usize| {
            if std::ptr::fn_addr_eq(shape as fn(usize) -> Value, fan as fn(usize) -> Value) {
                format!("go{n}")
            } else {
                "go".into()
            }
        };
        let (few, many) = (
            dearest_step(shape(10), 10, own),
            dearest_step(shape(limits::NODES_MAX), limits::NODES_MAX, own),
        );
        assert_eq!(
            few,
            many,
            "nodes looked at by the dearest step of 10 nodes and of {}",
            limits::NODES_MAX
        );
        assert!(many < 20, "{many}");
    }
}

/// Bytes of a snapshot.
fn size(scene: &Stage1) -> usize {
    let bytes = bincode::serde::encode_to_vec(&scene.state, bincode::config::standard());
    bytes.unwrap().len()
}

/// The largest definition ends within bounds: each record, the state, and what all steps look at together.
#[test]
fn definition_of_1000_nodes_runs_to_its_end() {
    const { assert!(limits::NODES_MAX == 1_000) };
    for (shape, own) in [(chain as fn(usize) -> Value, false), (fan, true)] {
        let definition = shape(limits::NODES_MAX);
        let stored = serde_json::from_value::<crate::definition::Definition>(definition.clone()).unwrap();
        // A node takes its id, its name and where it stands, and keeps what the run still needs.
        let most = stored.canonical().to_text().len() + 200 * limits::NODES_MAX;
        let mut scene = scene();
        let begun = looked_at();
        let mut events = scene.ok(&ada(), creating(definition, json!({"in": 1})));
        let (mut signals, mut largest) = (0, 0);
        loop {
            let bytes: usize = events.iter().map(|event| serde_json::to_string(event).unwrap().len()).sum();
            assert!(bytes < limits::RECORD_MAX_BYTES - 16 * 1024, "{bytes} bytes of events");
            if signals % 100 == 0 {
                largest = largest.max(size(&scene));
            }
            let command: AskedOf<Run> = match events.last() {
                Some(RunEvent::AdvanceDeferred { .. }) => fired(ADVANCE).into(),
                _ if scene.state.status() != Some(RunStatus::Running) => break,
                _ => {
                    let name = if own { format!("go{signals}") } else { "go".into() };
                    signals += 1;
                    let payload = Json(json!(signals));
                    RunCommand::Signal(SendSignal { name, payload }).into()
                }
            };
            let who = if matches!(command, Asked::Word(_)) { platform() } else { ada() };
            let Decision::Accept(decided) = scene.decide(&who, command).unwrap() else {
                panic!("nothing was decided")
            };
            events = decided;
            scene.state = events
                .iter()
                .fold(std::mem::replace(&mut scene.state, Run::initial()), |state, event| {
                    Run::evolve(state, event).unwrap()
                });
        }
        assert_eq!((scene.state.status(), signals), (Some(RunStatus::Completed), limits::NODES_MAX));
        assert!(largest < most, "{largest} bytes of state, {most} at most");
        let looked = looked_at() - begun;
        assert!(looked < 30 * limits::NODES_MAX as u64, "{looked} nodes looked at");
    }
}

/// A decision works on a copy of the state; the copy shares what it does not change.
#[test]
fn a_copy_of_a_state_shares_its_parts() {
    let mut scene = scene();
    scene.ok(&ada(), creating(chain(limits::NODES_MAX), json!({"in": "x".repeat(1000)})));
    let signal = || {
        RunCommand::Signal(SendSignal {
            name: "go".into(),
            payload: Json(json!(1)),
        })
    };
    // A large definition fills the first decision.
    scene.ok(&platform(), fired(ADVANCE));
    // The first signal lets the input go, which nothing else needs.
    scene.ok(&ada(), signal());
    let (before, after) = (graph(&scene).clone(), {
        scene.ok(&ada(), signal());
        graph(&scene)
    });
    assert!(std::ptr::eq(&*before.inputs, &*after.inputs));
    assert!(std::ptr::eq(&*before.texts, &*after.texts));
    assert!(std::ptr::eq(&before.definition.nodes, &after.definition.nodes));
    assert_eq!(before.nodes.over(), 1);
    assert_eq!(after.nodes.over(), 2);
}
