//! Workflow runs: nodes in Kahn's order, each as soon as all that leads to it is settled.

use super::{Draft, GraphRun, RunRejection, RunState, Stage, Wait, become_status, registry, turn};
use crate::{
    components::{Component, ERROR_PORT, NodeError, NodeInput, Outputs, PortType, Step, is_port_name},
    definition::{Definition, NodeSpec, OnFailure, Plan, Source},
    expression::Budget,
};
use quipu_schemas::{
    conversation::{ContentType, ConversationCommand, PostMessage, Priority},
    json::Json,
    limits::{RUN_INPUT_QUEUE_MAX, RUN_INPUT_QUEUE_MAX_BYTES, RUN_SIGNALS_MAX, RUN_VALUE_MAX_BYTES},
    org::Role,
    personal::Personal,
    reaction::{Outcome, Perform, Reaction},
    run::{AnswerApproval, ApprovalAsked, CreateRun, GiveInput, NodeWork, RunEffectSettled, RunEvent, RunPost, RunStatus, SendSignal},
};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap};

type Done = Result<(), RunRejection>;

pub(super) fn create(create: &CreateRun, draft: &mut Draft<'_, '_>) -> Done {
    let definition = match (&create.definition, &create.definition_text) {
        (Some(json), None) => Definition::load(&json.0, registry())?,
        (None, Some(text)) => Definition::from_text(text, registry())?,
        (Some(_), Some(_)) | (None, None) => return Err(RunRejection::OneDefinition),
    };
    if let Some(name) = create.texts.keys().find(|name| !is_port_name(name)) {
        return Err(RunRejection::BadName(name.clone(), "texts"));
    }
    for (name, value) in &create.input {
        let field = format!("input.{name}");
        let spec = definition
            .inputs
            .get(name)
            .ok_or_else(|| RunRejection::UnknownInput(name.clone()))?;
        let items = match &value.0 {
            Value::Array(items) if spec.many => items.as_slice(),
            _ if spec.many => {
                return Err(RunRejection::WrongType {
                    name: name.clone(),
                    field,
                    wanted: "an array of its values".into(),
                });
            }
            one => std::slice::from_ref(one),
        };
        for item in items {
            check_value(name, &field, item, spec.port_type)?;
        }
        if spec.many && items.len() > room(&definition, name) {
            return Err(RunRejection::InputClosed(name.clone()));
        }
    }
    if let Some((name, _)) = definition
        .inputs
        .iter()
        .find(|(name, spec)| spec.required && !spec.many && !create.input.contains_key(*name))
    {
        return Err(RunRejection::MissingInput(name.clone()));
    }
    draft.emit(RunEvent::Created {
        stream: draft.context.stream.clone(),
        by: draft.context.actor().clone(),
        name: definition.name.clone(),
        digest: definition.digest(),
        definition: definition.canonical(),
        input: create.input.clone(),
        texts: create.texts.clone(),
        turn: None,
    })?;
    if create.start {
        draft.emit(RunEvent::Initialized {})?;
        draft.emit(RunEvent::Started {})?;
        advance(draft)?;
    }
    Ok(())
}

/// The definition is checked again: components may have changed since it was pinned.
pub(super) fn start(run: &GraphRun, draft: &mut Draft<'_, '_>) -> Done {
    draft.emit(RunEvent::Initialized {})?;
    if let Err(error) = Definition::load(&run.definition.canonical().0, registry()) {
        let node = None;
        return draft.emit(RunEvent::Failed {
            code: "definition_refused".into(),
            detail: error.problem().detail,
            node,
        });
    }
    draft.emit(RunEvent::Started {})?;
    advance(draft)
}

/// Most values that an input which is given again and again takes: the largest count behind it.
fn room(definition: &Definition, input: &str) -> usize {
    let from = format!("input.{input}");
    let counts = definition.edges.iter().filter(|e| e.from == from).filter_map(|e| {
        let (node, port) = e.to.split_once('.')?;
        let node = definition.node(node)?;
        let ports = registry().get(&node.component)?.ports(&node.config.0);
        ports.inputs.into_iter().find(|p| p.name == port)?.count
    });
    counts.max().unwrap_or(0) as usize
}

fn check_value(name: &str, field: &str, value: &Value, port_type: PortType) -> Done {
    if !port_type.accepts(value) {
        let wanted = format!("of type {}", port_type.as_str());
        return Err(RunRejection::WrongType {
            name: name.to_owned(),
            field: field.to_owned(),
            wanted,
        });
    }
    if value.to_string().len() > RUN_VALUE_MAX_BYTES {
        return Err(RunRejection::TooLarge(field.to_owned()));
    }
    Ok(())
}

pub(super) fn give_input(run: &GraphRun, input: &GiveInput, draft: &mut Draft<'_, '_>) -> Done {
    if run.status.is_over() {
        return Err(RunRejection::NotUnderWay(run.status));
    }
    let port = &input.port;
    let spec = run
        .definition
        .inputs
        .get(port)
        .ok_or_else(|| RunRejection::UnknownInput(port.clone()))?;
    check_value(port, "payload", &input.payload.0, spec.port_type)?;
    let queued = run.queue.iter().filter(|q| q.port == *port).count();
    if spec.many {
        let given = run.series.get(port).map_or(0, Vec::len);
        if given + queued >= room(&run.definition, port) {
            return Err(RunRejection::InputClosed(port.clone()));
        }
    } else if run.inputs.contains_key(port) || queued > 0 {
        return Err(RunRejection::InputGiven(port.clone()));
    }
    let size = input.payload.to_text().len() as u64;
    let paused = run.status == RunStatus::Paused;
    if (paused && run.queue.len() >= RUN_INPUT_QUEUE_MAX) || run.held_bytes + size > RUN_INPUT_QUEUE_MAX_BYTES as u64 {
        return Err(RunRejection::QueueFull {
            depth: run.queue.len() as u64,
        });
    }
    let payload = input.payload.clone();
    if paused {
        return draft.emit(RunEvent::InputQueued {
            port: port.clone(),
            payload,
            depth: run.queue.len() as u64 + 1,
        });
    }
    draft.emit(RunEvent::InputGiven {
        port: port.clone(),
        payload,
    })?;
    advance(draft)
}

pub(super) fn resume(run: &GraphRun, draft: &mut Draft<'_, '_>) -> Done {
    draft.emit(RunEvent::Resumed {
        by: draft.context.actor().clone(),
    })?;
    if !run.queue.is_empty() {
        draft.emit(RunEvent::InputDrained {
            count: run.queue.len() as u64,
        })?;
    }
    advance(draft)
}

pub(super) fn signal(run: &GraphRun, signal: &SendSignal, draft: &mut Draft<'_, '_>) -> Done {
    if run.status.is_over() {
        return Err(RunRejection::NotUnderWay(run.status));
    }
    if signal.name.is_empty() || signal.name.len() > 64 {
        return Err(RunRejection::BadName(signal.name.chars().take(80).collect(), "name"));
    }
    check_value("payload", "payload", &signal.payload.0, PortType::Any)?;
    if run.signals.len() >= RUN_SIGNALS_MAX {
        return Err(RunRejection::QueueFull {
            depth: run.signals.len() as u64,
        });
    }
    draft.emit(RunEvent::SignalReceived {
        name: signal.name.clone(),
        payload: signal.payload.clone(),
    })?;
    advance(draft)
}

pub(super) fn answer(run: &GraphRun, answer: &AnswerApproval, approved: bool, draft: &mut Draft<'_, '_>) -> Done {
    let node = &answer.node;
    let spec = run.definition.node(node).ok_or_else(|| RunRejection::UnknownNode(node.clone()))?;
    let Some(Stage::Waits(Wait::Approval(asked))) = run.nodes.get(node).map(|n| &n.stage) else {
        return Err(RunRejection::NotWaiting(node.clone()));
    };
    if !may_answer(asked, draft) {
        return Err(RunRejection::NotAnApprover(node.clone()));
    }
    let (by, comment) = (draft.context.actor().clone(), answer.comment.clone());
    let node = node.clone();
    let output = |port: &str| [(port.to_owned(), asked.subject.clone())].into();
    if approved {
        draft.emit(RunEvent::ApprovalGiven {
            node: node.clone(),
            by,
            comment,
        })?;
        draft.emit(RunEvent::NodeCompleted {
            node,
            output: output("approved"),
        })?;
    } else {
        draft.emit(RunEvent::ApprovalRefused {
            node: node.clone(),
            by,
            comment,
        })?;
        if asked.rejected_port {
            draft.emit(RunEvent::NodeCompleted {
                node,
                output: output("rejected"),
            })?;
        } else {
            fail(spec, NodeError::new("rejected", "the approval was refused"), 0, draft)?;
        }
    }
    advance(draft)
}

fn may_answer(asked: &ApprovalAsked, draft: &Draft<'_, '_>) -> bool {
    let context = draft.context;
    if asked.approvers.is_empty() && asked.role.is_none() {
        return context.at_least(Role::Admin);
    }
    context.authority.platform || asked.approvers.contains(context.actor()) || asked.role.is_some_and(|role| context.at_least(role))
}

pub(super) fn retry_node(run: &GraphRun, node: &str, draft: &mut Draft<'_, '_>) -> Done {
    if run.definition.node(node).is_none() {
        return Err(RunRejection::UnknownNode(node.to_owned()));
    }
    become_status(run.status, RunStatus::Running)?;
    if run.failed_node.as_deref() != Some(node) {
        return Err(RunRejection::NotFailed(node.to_owned()));
    }
    draft.emit(RunEvent::NodeRetried {
        node: node.to_owned(),
        by: draft.context.actor().clone(),
    })?;
    advance(draft)
}

pub(super) fn timer_fired(run: &GraphRun, name: &str, draft: &mut Draft<'_, '_>) -> Done {
    if name == super::ADVANCE {
        return advance(draft);
    }
    let Some((node, wait)) = waiting(run, name) else { return Ok(()) };
    match wait {
        Wait::Timer(outputs) => complete(node, outputs.clone(), draft)?,
        Wait::Signal(_) | Wait::Approval(_) => fail(node, NodeError::new("timeout", "nobody answered in time"), 0, draft)?,
        Wait::Effect | Wait::Post(_) => return Ok(()),
    }
    advance(draft)
}

fn waiting<'r>(run: &'r GraphRun, name: &str) -> Option<(&'r NodeSpec, &'r Wait)> {
    run.nodes.iter().find_map(|(id, node)| match &node.stage {
        Stage::Waits(wait) if node.name == name => run.definition.node(id).map(|spec| (spec, wait)),
        _ => None,
    })
}

pub(super) fn effect_settled(run: &GraphRun, settled: &RunEffectSettled, draft: &mut Draft<'_, '_>) -> Done {
    if run.stopping.contains(&settled.name) {
        let (came_to, partial) = turn::came_to(&settled.outcome);
        return draft.emit(RunEvent::EffectStopped {
            name: settled.name.clone(),
            came_to: came_to.to_owned(),
            partial,
        });
    }
    if let Some((node, wait)) = waiting(run, &settled.name) {
        match settle(node, wait, &settled.outcome) {
            Ok(result) => result.record(node, draft)?,
            Err(error) => fail(node, error, settled.attempts, draft)?,
        }
        return advance(draft);
    }
    // A dead letter that failed the run was sent again from outside, and arrived: the run goes on.
    let failed = run
        .failed_node
        .as_ref()
        .and_then(|id| Some((run.definition.node(id)?, run.nodes.get(id)?)));
    if let (RunStatus::Failed, Some((node, state))) = (run.status, failed) {
        if state.name == settled.name {
            if let Ok(result) = settle(node, &Wait::Effect, &settled.outcome) {
                draft.emit(RunEvent::NodeRetried {
                    node: node.id.clone(),
                    by: draft.context.actor().clone(),
                })?;
                result.record(node, draft)?;
                return advance(draft);
            }
        }
    }
    Ok(())
}

/// What a settled effect means for its node.
enum Settled {
    Outputs(Outputs),
    Post(RunPost, Personal<String>),
}

fn settle(node: &NodeSpec, wait: &Wait, outcome: &Outcome) -> Result<Settled, NodeError> {
    match (wait, outcome) {
        (Wait::Post(post), Outcome::Sealed { text }) => Ok(Settled::Post(post.clone(), text.clone())),
        _ => component(node)?.settle(&node.config.0, outcome).map(Settled::Outputs),
    }
}

impl Settled {
    fn record(self, node: &NodeSpec, draft: &mut Draft<'_, '_>) -> Done {
        match self {
            Settled::Outputs(outputs) => complete(node, outputs, draft),
            Settled::Post(post, body) => posted(node, post, body, draft),
        }
    }
}

fn component(node: &NodeSpec) -> Result<&'static dyn Component, NodeError> {
    registry().get(&node.component).ok_or_else(|| {
        NodeError::new(
            "unknown_component",
            format!("there is no component `{}` any longer", node.component),
        )
    })
}

fn posted(node: &NodeSpec, post: RunPost, body: Personal<String>, draft: &mut Draft<'_, '_>) -> Done {
    let out = json!({"conversation": post.conversation, "message_id": post.message_id});
    draft.emit(RunEvent::MessageSent {
        node: node.id.clone(),
        post,
        body,
    })?;
    complete(node, [("out".to_owned(), Json(out))].into(), draft)
}

/// Checks what a node hands on, then says it.
fn complete(node: &NodeSpec, output: Outputs, draft: &mut Draft<'_, '_>) -> Done {
    let size: usize = output.values().map(|v| v.to_text().len()).sum();
    if size > RUN_VALUE_MAX_BYTES {
        let detail = format!("the node's output has {size} bytes, at most {RUN_VALUE_MAX_BYTES} are allowed");
        return fail(node, NodeError::new("value_too_large", detail), 0, draft);
    }
    if let Some((port, _)) = output
        .iter()
        .find(|(port, value)| node.ports.get(*port).is_some_and(|t| !t.accepts(&value.0)))
    {
        let detail = format!("the value at the output `{port}` is not of the declared type");
        return fail(node, NodeError::new("type_mismatch", detail), 0, draft);
    }
    draft.emit(RunEvent::NodeCompleted {
        node: node.id.clone(),
        output,
    })
}

fn fail(node: &NodeSpec, error: NodeError, attempts: u32, draft: &mut Draft<'_, '_>) -> Done {
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

/// Goes on as far as there is nothing to wait for. One pass suffices: Kahn's order puts what a node needs before it.
pub(super) fn advance(draft: &mut Draft<'_, '_>) -> Done {
    let RunState::Graph(run) = &draft.state else { return Ok(()) };
    // The definition never changes; a copy lets the state change beside it.
    let definition = run.definition.clone();
    let plan = definition.plan();
    for place in &plan.order {
        let node = &definition.nodes[*place];
        let RunState::Graph(run) = &draft.state else { return Ok(()) };
        if run.status != RunStatus::Running {
            return Ok(());
        }
        if let Some(Stage::Waits(Wait::Signal(name))) = run.nodes.get(&node.id).map(|n| &n.stage) {
            let Some(payload) = run.signals.iter().find(|s| s.name == *name).map(|s| s.payload.clone()) else {
                continue;
            };
            complete(node, [("out".to_owned(), payload)].into(), draft)?;
            continue;
        }
        if run.nodes.get(&node.id).is_some_and(|n| n.stage != Stage::Waiting) {
            continue;
        }
        let Some(arrival) = arrive(run, node, *place, &plan) else {
            continue;
        };
        if !draft.step()? {
            return Ok(());
        }
        match arrival {
            Ok(Some(ports)) => begin(node, ports, &plan.connected[*place], draft)?,
            Ok(None) => draft.emit(RunEvent::NodeSkipped { node: node.id.clone() })?,
            Err(error) => fail(node, error, 0, draft)?,
        }
    }
    finish(&definition, &plan, draft)
}

/// How an edge's beginning stands.
enum Edge {
    Open,
    Dead,
    Live(Vec<Value>),
}

fn edge(run: &GraphRun, source: Source<'_>, count: Option<u32>) -> Edge {
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
            let spec = &run.definition.nodes[node];
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

/// Values at a node's ports: `None` while some edge is open, `Some(Ok(None))` where nothing reaches it.
#[allow(clippy::type_complexity)]
fn arrive(run: &GraphRun, node: &NodeSpec, place: usize, plan: &Plan<'_>) -> Option<Result<Option<BTreeMap<String, Value>>, NodeError>> {
    let component = match component(node) {
        Ok(component) => component,
        Err(error) => return Some(Err(error)),
    };
    let mut ports: BTreeMap<String, Value> = BTreeMap::new();
    let inbound = &plan.inbound[place];
    let mut starved = false;
    for port in component.ports(&node.config.0).inputs {
        let mut live = Vec::new();
        for edge_in in inbound.iter().filter(|e| e.port == port.name) {
            match edge(run, edge_in.source, port.count) {
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
            if !narrow.accepts(&first) {
                let detail = format!("the value at the input `{}` is not of type {}", port.name, narrow.as_str());
                return Some(Err(NodeError::new("type_mismatch", detail)));
            }
            first
        };
        ports.insert(port.name, value);
    }
    if starved || (!inbound.is_empty() && ports.is_empty()) {
        return Some(Ok(None));
    }
    Some(Ok(Some(ports)))
}

/// A node's turn has come.
fn begin(node: &NodeSpec, ports: BTreeMap<String, Value>, connected: &[&str], draft: &mut Draft<'_, '_>) -> Done {
    let RunState::Graph(run) = &draft.state else { return Ok(()) };
    let attempt = run.nodes.get(&node.id).map_or(0, |n| n.attempts) + 1;
    let mut run_input: serde_json::Map<String, Value> = run.inputs.iter().map(|(k, v)| (k.clone(), v.0.clone())).collect();
    for (name, values) in &run.series {
        run_input.insert(name.clone(), values.iter().map(|v| v.0.clone()).collect());
    }
    let texts = serde_json::to_value(&run.texts).unwrap_or(Value::Null);
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
        opener: draft.context.opener,
        subject: format!("{}/{}", run.stream.org, run.by),
        budget: RefCell::new(Budget::default()),
    };
    let step = component(node).and_then(|c| c.start(&node.config.0, &input));
    match step {
        Ok(Step::Done(outputs)) => complete(node, outputs, draft),
        Ok(Step::Post { post, body }) => posted(node, post, body, draft),
        Ok(Step::Wait(work)) => wait(node, attempt, work, draft),
        Err(error) => fail(node, error, 0, draft),
    }
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
    let early = signal
        .and_then(|name| run.signals.iter().find(|s| s.name == name))
        .map(|s| s.payload.clone());
    match early {
        Some(payload) => complete(node, [("out".to_owned(), payload)].into(), draft),
        None => Ok(()),
    }
}

/// Says that the run is complete, if every node is done.
fn finish(definition: &Definition, plan: &Plan<'_>, draft: &mut Draft<'_, '_>) -> Done {
    let RunState::Graph(run) = &draft.state else { return Ok(()) };
    let over = |id: &str| {
        matches!(
            run.nodes.get(id).map(|n| &n.stage),
            Some(Stage::Completed(_) | Stage::Failed { .. } | Stage::Skipped)
        )
    };
    if run.status != RunStatus::Running || !definition.nodes.iter().all(|node| over(&node.id)) {
        return Ok(());
    }
    let mut output: BTreeMap<String, Json> = BTreeMap::new();
    for inbound in &plan.outputs {
        if let Edge::Live(values) = edge(run, inbound.source, None) {
            if let Some(value) = values.into_iter().next() {
                output.entry(inbound.port.to_owned()).or_insert(Json(value));
            }
        }
    }
    let failed = |code: &str, detail: String| RunEvent::Failed {
        code: code.to_owned(),
        detail,
        node: None,
    };
    let size: usize = output.values().map(|v| v.to_text().len()).sum();
    if size > RUN_VALUE_MAX_BYTES {
        return draft.emit(failed(
            "value_too_large",
            format!("the outputs have {size} bytes, at most {RUN_VALUE_MAX_BYTES} are allowed"),
        ));
    }
    let wrong = output
        .iter()
        .find(|(name, value)| definition.outputs.get(*name).is_some_and(|spec| !spec.port_type.accepts(&value.0)));
    if let Some((name, _)) = wrong {
        return draft.emit(failed("type_mismatch", format!("the output `{name}` is not of the declared type")));
    }
    draft.emit(RunEvent::Completed { output })
}

pub(super) fn react(run: &GraphRun, event: &RunEvent) -> Vec<Reaction> {
    match event {
        RunEvent::NodeStarted { name, work, .. } => {
            let name = name.clone();
            match work {
                NodeWork::Effect { effect, retry } => {
                    vec![Reaction::Perform(Perform {
                        name,
                        effect: effect.clone(),
                        retry: retry.clone(),
                    })]
                }
                NodeWork::Post { seal, .. } => {
                    vec![Reaction::Perform(Perform {
                        name,
                        effect: seal.clone(),
                        retry: quipu_schemas::reaction::Retry::default(),
                    })]
                }
                NodeWork::Timer { due, .. } => vec![Reaction::WakeAt { name, due: *due }],
                NodeWork::Signal { expires_at, .. } | NodeWork::Approval(ApprovalAsked { expires_at, .. }) => {
                    expires_at.map(|due| Reaction::WakeAt { name, due }).into_iter().collect()
                }
            }
        }
        RunEvent::NodeCompleted { node, .. } | RunEvent::NodeFailed { node, .. } => match run.nodes.get(node) {
            Some(state) if state.timed => vec![Reaction::CancelWake { name: state.name.clone() }],
            Some(_) | None => Vec::new(),
        },
        RunEvent::MessageSent { post, body, .. } => {
            let command = PostMessage {
                message_id: Some(post.message_id.clone()),
                body: body.clone(),
                content_type: ContentType::default(),
                reply_to: post.reply_to.clone(),
                priority: Priority::default(),
                mentions: Vec::new(),
                turn: None,
            };
            vec![turn::dispatch(
                turn::conversation_of(&run.stream, &post.conversation),
                &ConversationCommand::Post(command),
            )]
        }
        RunEvent::AdvanceDeferred { due } => vec![Reaction::WakeAt {
            name: super::ADVANCE.to_owned(),
            due: *due,
        }],
        RunEvent::Failed { .. } | RunEvent::Cancelled { .. } => run
            .nodes
            .values()
            .filter_map(|node| match &node.stage {
                Stage::Stopped(Wait::Effect | Wait::Post(_)) => Some(Reaction::CancelEffect { name: node.name.clone() }),
                Stage::Stopped(Wait::Timer(_)) => Some(Reaction::CancelWake { name: node.name.clone() }),
                Stage::Stopped(Wait::Signal(_) | Wait::Approval(_)) if node.timed => Some(Reaction::CancelWake { name: node.name.clone() }),
                _ => None,
            })
            .collect(),
        RunEvent::Created { .. }
        | RunEvent::Initialized {}
        | RunEvent::Started {}
        | RunEvent::NodeSkipped { .. }
        | RunEvent::InputGiven { .. }
        | RunEvent::InputQueued { .. }
        | RunEvent::InputDrained { .. }
        | RunEvent::SignalReceived { .. }
        | RunEvent::ApprovalGiven { .. }
        | RunEvent::ApprovalRefused { .. }
        | RunEvent::Paused { .. }
        | RunEvent::Resumed { .. }
        | RunEvent::NodeRetried { .. }
        | RunEvent::Completed { .. }
        | RunEvent::EffectStopped { .. }
        | RunEvent::AgentPinned { .. }
        | RunEvent::ModelAsked { .. }
        | RunEvent::ModelAnswered { .. }
        | RunEvent::ToolCalled { .. }
        | RunEvent::ToolReturned { .. }
        | RunEvent::ReplySent { .. } => Vec::new(),
    }
}
