//! What commands do to a workflow run.

use super::{
    Draft, GraphRun, NodeRun, RunRejection, Stage, Wait,
    advance::{advance, complete, component, fail, posted, taken},
    become_status, registry, turn,
};
use crate::{
    components::{NodeError, Outputs, PortType, is_port_name},
    definition::{Data, Definition, NodeSpec, Pinned},
    values::Values,
};
use quipu_kinds::run::{
    AnswerApproval, ApprovalAsked, CreateRun, GiveInput, RunDispatchSettled, RunEffectSettled, RunEvent, RunPost, RunStatus, SendSignal,
};
use quipu_schemas::{
    json::Json,
    limits::{
        ENTITY_VALUES_MAX_BYTES, RUN_INPUT_QUEUE_MAX, RUN_INPUT_QUEUE_MAX_BYTES, RUN_SIGNALS_MAX, RUN_VALUE_MAX_BYTES, VALUE_MAX_BYTES,
    },
    personal::{
        Personal,
        value::{self, Sealed},
    },
    reaction::Outcome,
    role::Role,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Done = Result<(), RunRejection>;

pub(super) fn create(create: &CreateRun, draft: &mut Draft<'_, '_>) -> Done {
    let definition = match (&create.definition, &create.definition_text) {
        (Some(json), None) => Definition::load(&json.0, registry())?,
        (None, Some(text)) => Definition::from_text(text, registry())?,
        (Some(_), Some(_)) | (None, None) => return Err(RunRejection::OneDefinition),
    };
    let definition = Pinned::of(definition);
    if let Some(name) = create.texts.keys().find(|name| !is_port_name(name)) {
        return Err(RunRejection::BadName(name.clone(), "texts"));
    }
    let context = draft.context;
    let owner = format!("{}/{}", context.stream.org, context.actor());
    let clear = definition.data == Data::None;
    let values = Values { context, owner, clear };
    let mut given = BTreeMap::new();
    for (name, value) in &create.input {
        given.insert(name.clone(), input(&definition, name, value, &values)?);
    }
    let texts: u64 = create.texts.values().filter_map(Personal::blob).map(|blob| blob.size).sum();
    let named: u64 = given.values().map(|value| value::named_bytes(&value.0)).sum();
    if texts + named > ENTITY_VALUES_MAX_BYTES as u64 {
        return Err(RunRejection::TooLarge("input".to_owned()));
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
        principal: draft.context.sender(),
        credential: draft.context.credential.cloned(),
        name: definition.name.clone(),
        digest: definition.digest(),
        definition: definition.canonical(),
        input: given,
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

/// How many values an input takes that is given again and again.
fn room(definition: &Pinned, input: &str) -> usize {
    definition.plan().rooms.get(input).copied().unwrap_or(0)
}

/// An input that comes with `create`, in stored form. One that is given again and again is an array of its values.
fn input(definition: &Pinned, name: &str, value: &Json, values: &Values<'_>) -> Result<Json, RunRejection> {
    let field = format!("input.{name}");
    let spec = definition
        .inputs
        .get(name)
        .ok_or_else(|| RunRejection::UnknownInput(name.to_owned()))?;
    if !spec.many {
        return accepted(name, &field, value, spec.port_type, values);
    }
    let not_an_array = || RunRejection::WrongType {
        name: name.to_owned(),
        field: field.clone(),
        wanted: "an array of its values".into(),
    };
    if values.type_of(&value.0).is_none_or(|name| name != "array") {
        return Err(not_an_array());
    }
    // The fold has no key: its values are sealed one by one.
    let (mut opened, mut whose) = (value.0.clone(), BTreeSet::new());
    if Sealed::of(&opened).is_some() {
        let open = values.context.open(&mut opened, &mut whose);
        open.map_err(|_| RunRejection::TooLarge(field.clone()))?;
    }
    let Value::Array(items) = opened else { return Err(not_an_array()) };
    if items.len() > room(definition, name) {
        return Err(RunRejection::InputClosed(name.to_owned()));
    }
    let item = |item| accepted(name, &field, &Json(item), spec.port_type, values).map(|value| value.0);
    let items: Value = items.into_iter().map(item).collect::<Result<_, _>>()?;
    if items.to_string().len() > RUN_VALUE_MAX_BYTES {
        return Err(RunRejection::TooLarge(field));
    }
    Ok(Json(items))
}

/// A value that came in, of the type that is asked for, in stored form.
fn accepted(name: &str, field: &str, value: &Json, port_type: PortType, values: &Values<'_>) -> Result<Json, RunRejection> {
    let fits = |told: &str| port_type == PortType::Any || port_type.as_str() == told;
    if !values.type_of(&value.0).is_none_or(fits) {
        let wanted = format!("of type {}", port_type.as_str());
        return Err(RunRejection::WrongType {
            name: name.to_owned(),
            field: field.to_owned(),
            wanted,
        });
    }
    let subject = format!("{}/{}", values.context.stream.org, values.context.actor());
    let too_large = |_| RunRejection::TooLarge(field.to_owned());
    let taken = values.take(&value.0, &subject).map_err(too_large)?;
    let fitting = values.fit(taken).map_err(|_| RunRejection::TooLarge(field.to_owned()))?;
    if value::size_of(&fitting) > VALUE_MAX_BYTES as u64 + 1 {
        return Err(RunRejection::TooLarge(field.to_owned()));
    }
    Ok(Json(fitting))
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
    let payload = accepted(port, "payload", &input.payload, spec.port_type, &run.values(draft.context))?;
    let queued = run.queue.iter().filter(|q| q.port == *port).count();
    if spec.many {
        let given = run.series.get(port).map_or(0, Vec::len);
        if given + queued >= room(&run.definition, port) {
            return Err(RunRejection::InputClosed(port.clone()));
        }
    } else if run.inputs.contains_key(port) || queued > 0 {
        return Err(RunRejection::InputGiven(port.clone()));
    }
    let size = payload.to_text().len() as u64;
    let paused = run.status == RunStatus::Paused;
    if (paused && run.queue.len() >= RUN_INPUT_QUEUE_MAX) || run.held_bytes + size > RUN_INPUT_QUEUE_MAX_BYTES as u64 {
        return Err(RunRejection::QueueFull {
            depth: run.queue.len() as u64,
        });
    }
    if !run.has_room([&payload].into_iter()) {
        return Err(RunRejection::ValuesFull);
    }
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
    let payload = accepted("payload", "payload", &signal.payload, PortType::Any, &run.values(draft.context))?;
    if run.signals.len() >= RUN_SIGNALS_MAX {
        return Err(RunRejection::QueueFull {
            depth: run.signals.len() as u64,
        });
    }
    if !run.has_room([&payload].into_iter()) {
        return Err(RunRejection::ValuesFull);
    }
    draft.emit(RunEvent::SignalReceived {
        name: signal.name.clone(),
        payload,
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

/// Time runs on while a run is paused: a delay ends then too, and whoever has not answered in time is late. What came
/// of either is recorded; what follows it waits for the end of the pause.
pub(super) fn timer_fired(run: &GraphRun, name: &str, draft: &mut Draft<'_, '_>) -> Done {
    if name == super::ADVANCE {
        draft.touch_all();
        return advance(draft);
    }
    let Some((node, wait)) = waiting(run, name) else { return Ok(()) };
    match wait {
        Wait::Timer(outputs) => complete(node, outputs.clone(), draft)?,
        // It came in time, in a pause in which an earlier release did not look at signals.
        Wait::Signal(signal) if run.signal(signal).is_some() => {
            let payload = run.signal(signal).unwrap_or_default();
            complete(node, [("out".to_owned(), payload)].into(), draft)?;
        }
        Wait::Signal(_) | Wait::Approval(_) => fail(node, NodeError::new("timeout", "nobody answered in time"), 0, draft)?,
        Wait::Effect | Wait::Post(_) | Wait::Answer(_) => return Ok(()),
    }
    advance(draft)
}

/// The node that waits under this name. Names are `node#attempt`.
fn waiting<'r>(run: &'r GraphRun, name: &str) -> Option<(&'r NodeSpec, &'r Wait)> {
    let (id, _) = name.rsplit_once('#')?;
    match run.nodes.get(id) {
        Some(NodeRun {
            stage: Stage::Waits(wait),
            name: own,
            ..
        }) if own == name => run.definition.node(id).map(|spec| (spec, wait)),
        _ => None,
    }
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
    if let Some((node, wait)) = waiting(run, &settled.name).filter(|(_, wait)| wait.is_effect()) {
        match settle(node, wait, &settled.outcome, &run.values(draft.context)) {
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
    let Some((node, _)) = failed.filter(|(_, state)| run.status == RunStatus::Failed && state.name == settled.name) else {
        return Ok(());
    };
    let Ok(result) = settle(node, &Wait::Effect, &settled.outcome, &run.values(draft.context)) else {
        return Ok(());
    };
    draft.emit(RunEvent::NodeRetried {
        node: node.id.clone(),
        by: draft.context.actor().clone(),
    })?;
    result.record(node, draft)?;
    advance(draft)
}

/// The conversation answered. In a run that is over the answer is noted; a message that was refused is sent again if the run
/// goes on.
pub(super) fn dispatch_settled(run: &GraphRun, settled: &RunDispatchSettled, draft: &mut Draft<'_, '_>) -> Done {
    let Some((node, Wait::Answer(post))) = waiting(run, &settled.name) else {
        return Ok(());
    };
    match turn::refusal(&settled.outcome) {
        None => taken(node, post, draft)?,
        Some(code) if run.status.is_over() => draft.emit(RunEvent::EffectStopped {
            name: settled.name.clone(),
            came_to: code,
            partial: None,
        })?,
        Some(code) => {
            let detail = format!("conversation {} refused the message: {code}", post.conversation);
            fail(node, NodeError::new(code, detail), 0, draft)?;
        }
    }
    advance(draft)
}

/// What a settled effect means for its node.
enum NodeEnd {
    Outputs(Outputs),
    Post(RunPost, Personal<String>),
}

fn settle(node: &NodeSpec, wait: &Wait, outcome: &Outcome, values: &Values<'_>) -> Result<NodeEnd, NodeError> {
    match (wait, outcome) {
        (Wait::Post(post), Outcome::Sealed { text }) => Ok(NodeEnd::Post(post.clone(), text.clone())),
        (_, Outcome::Responded { status, body, full_bytes }) => {
            // One that was performed before answers were sealed is sealed here.
            let outcome = Outcome::Responded {
                status: *status,
                body: Json(values.take(&body.0, &values.owner)?),
                full_bytes: *full_bytes,
            };
            component(node)?.settle(&node.config.0, &outcome).map(NodeEnd::Outputs)
        }
        _ => component(node)?.settle(&node.config.0, outcome).map(NodeEnd::Outputs),
    }
}

impl NodeEnd {
    fn record(self, node: &NodeSpec, draft: &mut Draft<'_, '_>) -> Done {
        match self {
            NodeEnd::Outputs(outputs) => complete(node, outputs, draft),
            NodeEnd::Post(post, body) => posted(node, post, body, draft),
        }
    }
}
