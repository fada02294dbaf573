//! How a workflow goes on: nodes in Kahn's order, each as soon as all that leads to it is settled.

use super::{Draft, GraphRun, RunRejection, RunState, Stage, Wait, registry};
use crate::{
    components::{Component, ERROR_PORT, NodeError, NodeInput, Outputs, Port, Step},
    definition::{NodeSpec, OnFailure, Pinned, PlannedNode, Source},
    expression::Budget,
    values::{TOO_LARGE_TO_LOOK_INTO, Values},
};
use quipu_kinds::run::{NodeWork, RunEvent, RunPost, RunStatus};
use quipu_schemas::{
    json::Json,
    limits::{ENTITY_VALUES_MAX_BYTES, RUN_VALUE_MAX_BYTES},
    personal::Personal,
};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap};

type Done = Result<(), RunRejection>;

pub(super) fn component(node: &NodeSpec) -> Result<&'static dyn Component, NodeError> {
    registry()
        .get(&node.component)
        .ok_or_else(|| NodeError::new("unknown_component", format!("component `{}` no longer exists", node.component)))
}

/// Sends a message; its node waits for what the conversation says.
pub(super) fn posted(node: &NodeSpec, post: RunPost, body: Personal<String>, draft: &mut Draft<'_, '_>) -> Done {
    draft.emit(RunEvent::MessageSent {
        node: node.id.clone(),
        post,
        body,
    })
}

/// The conversation took the message.
pub(super) fn taken(node: &NodeSpec, post: &RunPost, draft: &mut Draft<'_, '_>) -> Done {
    let out = json!({"conversation": post.conversation, "message_id": post.message_id});
    complete(node, [("out".to_owned(), Json(out))].into(), draft)
}

/// Checks what a node hands on, then says it.
pub(super) fn complete(node: &NodeSpec, output: Outputs, draft: &mut Draft<'_, '_>) -> Done {
    match handed_on(node, output, draft) {
        Ok(output) => draft.emit(RunEvent::NodeCompleted {
            node: node.id.clone(),
            output,
        }),
        Err(error) => fail(node, error, 0, draft),
    }
}

/// What a node hands on, in a form that fits its record.
fn handed_on(node: &NodeSpec, output: Outputs, draft: &Draft<'_, '_>) -> Result<Outputs, NodeError> {
    let RunState::Graph(run) = &draft.state else { return Ok(output) };
    let values = run.values(draft.context);
    let declared = |(port, value): &(&String, &Json)| node.ports.get(*port).is_some_and(|t| !values.accepts(*t, &value.0));
    if let Some((port, _)) = output.iter().find(declared) {
        let detail = format!("the value at the output `{port}` is not of the declared type");
        return Err(NodeError::new("type_mismatch", detail));
    }
    let output = fitting(output, &values)?;
    if !run.has_room(output.values()) {
        let detail = format!("the run would refer to more than {ENTITY_VALUES_MAX_BYTES} bytes of values");
        return Err(NodeError::new("values_full", detail));
    }
    Ok(output)
}

/// Outputs that fit a record together.
fn fitting(output: Outputs, values: &Values<'_>) -> Result<Outputs, NodeError> {
    let each = |output: Outputs, form: &dyn Fn(Value) -> Result<Value, NodeError>| {
        let formed = output.into_iter().map(|(port, value)| Ok((port, Json(form(value.0)?))));
        formed.collect::<Result<Outputs, NodeError>>()
    };
    let size = |output: &Outputs| output.values().map(|v| v.to_text().len()).sum::<usize>();
    let mut output = each(output, &|value| values.fit(value))?;
    // A value that goes to many ports stands there once each: its name is shorter.
    if size(&output) > RUN_VALUE_MAX_BYTES {
        output = each(output, &|value| values.moved_out(&value))?;
    }
    match size(&output) {
        size if size > RUN_VALUE_MAX_BYTES * 3 / 2 => {
            let detail = format!("the output takes {size} bytes of its record, at most {RUN_VALUE_MAX_BYTES} are allowed");
            Err(NodeError::new("value_too_large", detail))
        }
        _ => Ok(output),
    }
}

pub(super) fn fail(node: &NodeSpec, error: NodeError, attempts: u32, draft: &mut Draft<'_, '_>) -> Done {
    let detail: String = error.detail.chars().take(1_000).collect();
    draft.emit(RunEvent::NodeFailed {
        node: node.id.clone(),
        code: error.code.clone(),
        detail: detail.clone(),
        attempts,
    })?;
    match node.on_failure {
        OnFailure::Continue => Ok(()),
        OnFailure::Skip => draft.emit(RunEvent::NodeSkipped { node: node.id.clone() }),
        OnFailure::Abort | OnFailure::Retry => draft.emit(RunEvent::Failed {
            code: error.code,
            detail: format!("node `{}`: {detail}", node.id),
            node: Some(node.id.clone()),
        }),
    }
}

/// Goes on as far as there is nothing to wait for, looking at the nodes that were touched and at those behind them. In
/// Kahn's order what a node needs comes before it, so each is looked at once. While paused nothing new starts, but a
/// signal ends the wait for it: who answers in time is not late because the run stood still.
pub(super) fn advance(draft: &mut Draft<'_, '_>) -> Done {
    let RunState::Graph(run) = &draft.state else { return Ok(()) };
    // The definition never changes; sharing it lets the state change beside it.
    let definition = run.definition.clone();
    let plan = definition.plan();
    while let Some(rank) = draft.touched.pop_first() {
        let place = plan.order[rank];
        let node = &definition.nodes[place];
        let RunState::Graph(run) = &draft.state else { return Ok(()) };
        if !matches!(run.status, RunStatus::Running | RunStatus::Paused) {
            return Ok(());
        }
        let state = run.nodes.get(&node.id);
        if let Some(Stage::Waits(Wait::Signal(name))) = state.map(|n| &n.stage) {
            if let Some(payload) = run.signal(name) {
                complete(node, [("out".to_owned(), payload)].into(), draft)?;
            }
            continue;
        }
        if run.status == RunStatus::Paused || state.is_some_and(|n| n.stage != Stage::Waiting) {
            continue;
        }
        let Some(arrival) = arrive(run, node, &plan.nodes[place], &run.values(draft.context)) else {
            continue;
        };
        if !draft.step()? {
            return Ok(());
        }
        match arrival {
            Ok(Some(ports)) => {
                if !begin(node, ports, &plan.nodes[place].connected, draft)? {
                    // The values that it looks into are brought for a decision of its own.
                    return draft.defer();
                }
            }
            Ok(None) => draft.emit(RunEvent::NodeSkipped { node: node.id.clone() })?,
            Err(error) => fail(node, error, 0, draft)?,
        }
    }
    finish(&definition, draft)
}

/// How an edge's beginning stands.
enum Edge {
    Open,
    Dead,
    Live(Vec<Value>),
}

fn edge(run: &GraphRun, source: &Source, count: Option<u32>) -> Edge {
    match source {
        Source::Input(name) if run.is_series(name) => {
            let wanted = count.unwrap_or(0) as usize;
            match run.series.get(name) {
                Some(values) if values.len() >= wanted => Edge::Live(values[..wanted].iter().map(|v| v.0.clone()).collect()),
                _ => Edge::Open,
            }
        }
        Source::Input(name) => run.inputs.get(name).map_or(Edge::Open, |v| Edge::Live(vec![v.0.clone()])),
        Source::Node { node, port } => {
            let spec = &run.definition.nodes[*node];
            match run.nodes.get(&spec.id).map(|n| &n.stage) {
                None | Some(Stage::Waiting | Stage::Waits(_) | Stage::Stopped(_)) => Edge::Open,
                Some(Stage::Skipped) => Edge::Dead,
                Some(Stage::Completed(output)) => output.get(port).map_or(Edge::Dead, |v| Edge::Live(vec![v.0.clone()])),
                Some(Stage::Failed { code, detail }) if port == ERROR_PORT => {
                    Edge::Live(vec![json!({"node": spec.id, "code": code, "detail": detail})])
                }
                Some(Stage::Failed { .. }) => Edge::Dead,
            }
        }
    }
}

/// Whether an edge may still bring something; costs nothing to ask, however large the value is.
fn is_open(run: &GraphRun, source: &Source, count: Option<u32>) -> bool {
    match source {
        Source::Input(name) if run.is_series(name) => {
            let wanted = count.unwrap_or(0) as usize;
            run.series.get(name).is_none_or(|values| values.len() < wanted)
        }
        Source::Input(name) => !run.inputs.contains_key(name),
        Source::Node { node, .. } => {
            let id = &run.definition.nodes[*node].id;
            run.nodes.get(id).is_none_or(|node| !node.stage.is_over())
        }
    }
}

/// Values at a node's ports: `None` while some edge is open, `Some(Ok(None))` where nothing reaches it.
#[allow(clippy::type_complexity)]
fn arrive(
    run: &GraphRun,
    node: &NodeSpec,
    planned: &PlannedNode,
    values: &Values<'_>,
) -> Option<Result<Option<BTreeMap<String, Value>>, NodeError>> {
    let Some(own) = &planned.ports else {
        return Some(Err(component(node)
            .err()
            .unwrap_or_else(|| NodeError::new("unknown_component", "the component is not known"))));
    };
    let inbound = &planned.inbound;
    let open = |port: &Port| inbound.iter().any(|e| e.port == port.name && is_open(run, &e.source, port.count));
    if own.inputs.iter().any(open) {
        return None;
    }
    let mut ports: BTreeMap<String, Value> = BTreeMap::new();
    let mut starved = false;
    for port in &own.inputs {
        let mut live = Vec::new();
        for edge_in in inbound.iter().filter(|e| e.port == port.name) {
            match edge(run, &edge_in.source, port.count) {
                Edge::Open => return None,
                Edge::Dead => {}
                Edge::Live(values) => live.extend(values),
            }
        }
        starved |= port.required && live.is_empty();
        let narrow = node.ports.get(&port.name).copied().unwrap_or(port.port_type);
        let value = if port.many {
            if live.is_empty() {
                continue;
            }
            Value::Array(live)
        } else {
            let Some(first) = live.into_iter().next() else { continue };
            if !values.accepts(narrow, &first) {
                let detail = format!("the value at the input `{}` is not of type {}", port.name, narrow.as_str());
                return Some(Err(NodeError::new("type_mismatch", detail)));
            }
            first
        };
        ports.insert(port.name.clone(), value);
    }
    if starved || (!inbound.is_empty() && ports.is_empty()) {
        return Some(Ok(None));
    }
    Some(Ok(Some(ports)))
}

/// A node's turn has come. False: it looks into more than was brought for this decision, which has done something already.
fn begin(node: &NodeSpec, ports: BTreeMap<String, Value>, connected: &[String], draft: &mut Draft<'_, '_>) -> Result<bool, RunRejection> {
    let RunState::Graph(run) = &draft.state else { return Ok(true) };
    let attempt = run.nodes.get(&node.id).map_or(0, |n| n.attempts) + 1;
    let mut run_input: serde_json::Map<String, Value> = run.inputs.iter().map(|(k, v)| (k.clone(), v.0.clone())).collect();
    for (name, values) in run.series.iter() {
        run_input.insert(name.clone(), values.iter().map(|v| v.0.clone()).collect());
    }
    let texts = serde_json::to_value(&*run.texts).unwrap_or(Value::Null);
    let retry = node.effective_retry();
    let input = NodeInput {
        stream: &run.stream,
        node: &node.id,
        now: draft.context.now,
        retry: &retry,
        connected,
        ports,
        run_input: Value::Object(run_input),
        texts,
        values: &run.values(draft.context),
        looked: RefCell::default(),
        budget: RefCell::new(Budget::default()),
    };
    let step = component(node)
        .and_then(|c| c.start(&node.config.0, &input))
        .and_then(|step| closed(step, &input));
    let looked = !input.looked.borrow().is_empty();
    match step {
        Ok(Step::Done(outputs)) => complete(node, outputs, draft)?,
        Ok(Step::Post { post, body }) => posted(node, post, body, draft)?,
        Ok(Step::Wait(work)) => wait(node, attempt, work, draft)?,
        Err(error) if error.code == TOO_LARGE_TO_LOOK_INTO && !draft.events.is_empty() => return Ok(false),
        Err(error) if looked => fail(node, error.without_data(), 0, draft)?,
        Err(error) => fail(node, error, 0, draft)?,
    }
    Ok(true)
}

/// What a component made that it did not seal itself is sealed: only what it was given is handed on as it is.
fn closed(step: Step, input: &NodeInput<'_>) -> Result<Step, NodeError> {
    let Step::Done(outputs) = step else { return Ok(step) };
    let whose = input.looked.borrow().clone();
    let close = |(port, Json(value)): (String, Json)| {
        let is_given = input.ports.values().any(|given| *given == value);
        let value = if is_given { value } else { input.values.close(value, &whose)? };
        Ok((port, Json(value)))
    };
    outputs.into_iter().map(close).collect::<Result<_, NodeError>>().map(Step::Done)
}

fn wait(node: &NodeSpec, attempt: u32, work: NodeWork, draft: &mut Draft<'_, '_>) -> Done {
    let size = serde_json::to_string(&work).map_or(usize::MAX, |text| text.len());
    if size > RUN_VALUE_MAX_BYTES {
        let detail = format!("what the node sends has {size} bytes, at most {RUN_VALUE_MAX_BYTES} are allowed");
        return fail(node, NodeError::new("value_too_large", detail), 0, draft);
    }
    let signal = match &work {
        NodeWork::Signal { name, .. } => Some(name.clone()),
        _ => None,
    };
    draft.emit(RunEvent::NodeStarted {
        node: node.id.clone(),
        component: node.component.clone(),
        attempt,
        name: format!("{}#{attempt}", node.id),
        work,
    })?;
    // A signal may have come before.
    let RunState::Graph(run) = &draft.state else { return Ok(()) };
    let early = signal.and_then(|name| run.signal(&name));
    match early {
        Some(payload) => complete(node, [("out".to_owned(), payload)].into(), draft),
        None => Ok(()),
    }
}

/// Says that the run is complete, if every node is done.
fn finish(definition: &Pinned, draft: &mut Draft<'_, '_>) -> Done {
    let RunState::Graph(run) = &draft.state else { return Ok(()) };
    if run.status != RunStatus::Running || run.nodes.over() < definition.nodes.len() {
        return Ok(());
    }
    let mut output: BTreeMap<String, Json> = BTreeMap::new();
    for inbound in &definition.plan().outputs {
        let Edge::Live(values) = edge(run, &inbound.source, None) else {
            continue;
        };
        if let Some(value) = values.into_iter().next() {
            output.entry(inbound.port.clone()).or_insert(Json(value));
        }
    }
    let failed = |code: &str, detail: String| RunEvent::Failed {
        code: code.to_owned(),
        detail,
        node: None,
    };
    let values = run.values(draft.context);
    let wrong = output.iter().find(|(name, value)| {
        definition
            .outputs
            .get(*name)
            .is_some_and(|spec| !values.accepts(spec.port_type, &value.0))
    });
    if let Some((name, _)) = wrong {
        return draft.emit(failed("type_mismatch", format!("the output `{name}` is not of the declared type")));
    }
    match fitting(output, &values) {
        Ok(output) => draft.emit(RunEvent::Completed { output }),
        Err(error) => draft.emit(failed(&error.code, format!("the outputs: {}", error.detail))),
    }
}
