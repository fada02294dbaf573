//! What follows the events of a workflow.

use super::{GraphRun, Stage, Wait, turn};
use quipu_kinds::{
    conversation::{ContentType, ConversationCommand, PostMessage, Priority},
    run::{ApprovalAsked, NodeWork, RunEvent},
};
use quipu_schemas::reaction::{Perform, Reaction, Retry};

/// What follows, on the state after the event.
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
                        retry: Retry::default(),
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
        RunEvent::MessageSent { node, post, body } => {
            let name = run.nodes.get(node).map_or_else(|| node.clone(), |state| state.name.clone());
            let command = PostMessage {
                message_id: Some(post.message_id.clone()),
                body: body.clone(),
                content_type: ContentType::default(),
                reply_to: post.reply_to.clone(),
                priority: Priority::default(),
                mentions: Vec::new(),
                turn: None,
            };
            let to = turn::conversation_of(&run.stream, &post.conversation);
            let dispatch = turn::command_to(to, &ConversationCommand::Post(command));
            vec![Reaction::Dispatch(dispatch.awaiting(name))]
        }
        RunEvent::AdvanceDeferred { due } => vec![Reaction::WakeAt {
            name: super::ADVANCE.to_owned(),
            due: *due,
        }],
        RunEvent::Failed { .. } | RunEvent::Cancelled { .. } => run
            .nodes
            .all()
            .into_values()
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
