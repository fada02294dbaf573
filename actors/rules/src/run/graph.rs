//! What commands do to a workflow run.

use super::{
    Draft, GraphRun, NodeRun, RunRejection, Stage, Wait,
    advance::{advance, complete, component, fail, posted, taken},
    become_status,
    create::{accepted, room},
    registry, turn,
};
use crate::{
    components::{NodeError, Outputs, PortType},
    definition::{Definition, NodeSpec},
    values::Values,
};
use quipu_kinds::run::{
    AnswerApproval, ApprovalAsked, GiveInput, RunDispatchSettled, RunEffectSettled, RunEvent, RunPost, RunStatus, SendSignal,
};
use quipu_schemas::{
    json::Json,
    limits::{RUN_INPUT_QUEUE_MAX, RUN_INPUT_QUEUE_MAX_BYTES, RUN_SIGNALS_MAX},
    personal::Personal,
    reaction::Outcome,
    role::Role,
};

type Done = Result<(), RunRejection>;

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
        if run.given(port) + queued >= room(&run.definition, port) {
            return Err(RunRejection::InputClosed(port.clone()));
        }
    } else if run.given(port) > 0 || queued > 0 {
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

/// Whether a node waits under this name.
pub(super) fn waits_for(run: &GraphRun, name: &str) -> bool {
    waiting(run, name).is_some()
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
