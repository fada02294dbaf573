//! The built-in `agent-turn`: configuration from the agent, model and tools in turn, then the reply.

use super::{Draft, RunRejection, RunState, TurnRun, TurnStage};
use quipu_kinds::{
    agent::{AgentWord, ReportCalls, StartTurn},
    conversation::{
        AgentPin, ContentType, ConversationCommand, ConversationWord, FinishTurn, PostMessage, Priority, TurnOutcome, TurnTask,
    },
    run::{AgentUnavailable, RunDispatchSettled, RunEffectSettled, RunEvent, RunStatus},
};
use quipu_schemas::{
    chat::ChatMessage,
    digest::Digest,
    ids::{EntityId, StreamId},
    json::Json,
    limits::ENTITY_VALUES_MAX_BYTES,
    personal::Personal,
    reaction::{Dispatch, Effect, LlmInvoke, Outcome, Perform, Prompt, Reaction, Retry, Settled, StreamAt, StreamTo, ToolInvoke},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Name of the built-in definition.
pub(super) const NAME: &str = "agent-turn";

/// The built-in definition, pinned by digest like any other. Its loop of model and tools has a cycle,
/// so it is described here and executed by these rules.
fn definition() -> Json {
    Json(json!({
        "name": NAME,
        "version": "1",
        "builtin": true,
        "steps": ["agent", "llm.invoke", "tools", "message.send"],
    }))
}

pub(super) fn create(task: &TurnTask, draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    let definition = definition();
    draft.emit(RunEvent::Created {
        stream: draft.context.stream.clone(),
        by: draft.context.actor().clone(),
        principal: draft.context.sender(),
        acts_as: None,
        credential: draft.context.credential.cloned(),
        name: NAME.to_owned(),
        digest: Digest::of(&[definition.to_text().as_bytes()]),
        definition,
        input: BTreeMap::new(),
        texts: BTreeMap::new(),
        turn: Some(task.clone()),
    })?;
    draft.emit(RunEvent::Initialized {})?;
    draft.emit(RunEvent::Started {})
}

pub(super) fn agent_ready(run: &TurnRun, pin: &AgentPin, draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    if run.status.is_over() || run.stage != TurnStage::Agent {
        return Ok(());
    }
    draft.emit(RunEvent::AgentPinned { pin: pin.clone() })?;
    advance(draft)
}

pub(super) fn agent_unavailable(run: &TurnRun, word: &AgentUnavailable, draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    if run.status.is_over() {
        Ok(())
    } else {
        fail(draft, &word.code, &word.detail)
    }
}

fn fail(draft: &mut Draft<'_, '_>, code: &str, detail: &str) -> Result<(), RunRejection> {
    draft.emit(RunEvent::Failed {
        code: code.to_owned(),
        detail: detail.to_owned(),
        node: None,
    })
}

/// Goes on as far as there is nothing to wait for. While paused nothing new starts.
pub(super) fn advance(draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    loop {
        let RunState::Turn(run) = &draft.state else { return Ok(()) };
        if run.status != RunStatus::Running {
            return Ok(());
        }
        match &run.stage {
            TurnStage::Agent | TurnStage::Asked { .. } | TurnStage::Replied { .. } | TurnStage::Over => return Ok(()),
            TurnStage::Ready => {
                let Some(pin) = pin(run) else {
                    return fail(draft, "bad_pin", "the agent's configuration cannot be read");
                };
                if run.iteration >= pin.max_iterations {
                    let detail = format!("the model was asked {} times without coming to an answer", run.iteration);
                    return fail(draft, "iteration_limit", &detail);
                }
                if run.said_bytes > ENTITY_VALUES_MAX_BYTES as u64 {
                    let detail = format!("model and tools have said more than {ENTITY_VALUES_MAX_BYTES} bytes in this turn");
                    return fail(draft, "transcript_too_large", &detail);
                }
                let iteration = run.iteration + 1;
                draft.emit(RunEvent::ModelAsked {
                    iteration,
                    name: format!("model#{iteration}"),
                })?;
            }
            TurnStage::Calling { calls, sent, .. } => {
                let Some(call) = calls.get(*sent as usize).cloned() else {
                    return Ok(());
                };
                let name = run.tool_name(*sent);
                if !draft.step()? {
                    return Ok(());
                }
                draft.emit(RunEvent::ToolCalled { name, call })?;
            }
            TurnStage::Answered { text: None } => {
                return fail(draft, "empty_answer", "the model answered with neither text nor tool calls");
            }
            TurnStage::Answered { text: Some(_) } => {
                let message_id = run.message_id();
                return draft.emit(RunEvent::ReplySent { message_id });
            }
        }
    }
}

/// Names of the commands whose answers a turn waits for.
const START: &str = "agent";
const REPLY: &str = "reply";

/// Why a command came to nothing; `None`: its receiver took it.
pub(super) fn refusal(outcome: &Settled) -> Option<String> {
    match outcome {
        Settled::Refused { code } => Some(code.clone()),
        Settled::Dropped => Some("dropped".to_owned()),
        _ => None,
    }
}

/// The conversation answered to the reply, or the agent refused to be asked.
pub(super) fn dispatch_settled(run: &TurnRun, settled: &RunDispatchSettled, draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    let waits = match &run.stage {
        TurnStage::Agent => settled.name == START,
        TurnStage::Replied { .. } => settled.name == REPLY,
        TurnStage::Ready | TurnStage::Asked { .. } | TurnStage::Calling { .. } | TurnStage::Answered { .. } | TurnStage::Over => false,
    };
    match refusal(&settled.outcome) {
        _ if !waits => Ok(()),
        Some(code) => fail(draft, &code, &format!("what the turn sent was refused: {code}")),
        None if settled.name == REPLY => {
            // Nothing is left that a pause could hold.
            if run.status == RunStatus::Paused {
                draft.emit(RunEvent::Resumed {
                    by: draft.context.actor().clone(),
                })?;
            }
            draft.emit(RunEvent::Completed {
                output: [("message_id".to_owned(), Json(json!(run.message_id())))].into(),
            })
        }
        None => Ok(()),
    }
}

pub(super) fn timer_fired(name: &str, draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    if name == super::ADVANCE { advance(draft) } else { Ok(()) }
}

pub(super) fn effect_settled(run: &TurnRun, settled: &RunEffectSettled, draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    if run.stopping.contains(&settled.name) {
        let (came_to, partial) = came_to(&settled.outcome);
        return draft.emit(RunEvent::EffectStopped {
            name: settled.name.clone(),
            came_to: came_to.to_owned(),
            partial,
        });
    }
    if !run.in_flight().contains(&settled.name) {
        return Ok(());
    }
    let model = matches!(run.stage, TurnStage::Asked { .. });
    match &settled.outcome {
        Outcome::Answered(answer) if model => {
            draft.emit(RunEvent::ModelAnswered {
                iteration: run.iteration,
                answer: answer.clone(),
            })?;
            advance(draft)
        }
        Outcome::ToolResult { result, ok } if !model => {
            draft.emit(RunEvent::ToolReturned {
                name: settled.name.clone(),
                result: result.clone(),
                ok: *ok,
            })?;
            advance(draft)
        }
        Outcome::Failed { code, detail } if model => fail(draft, code, detail),
        Outcome::Failed { code, detail } => fail(draft, "tool_failed", &format!("{code}: {detail}")),
        Outcome::Lost { detail } => fail(draft, "lost", &Outcome::lost_detail(detail.as_deref())),
        Outcome::Cancelled { .. } => fail(draft, "cancelled", "the effect was cancelled from outside of the turn"),
        Outcome::Answered(_)
        | Outcome::ToolResult { .. }
        | Outcome::Responded { .. }
        | Outcome::Sealed { .. }
        | Outcome::Shredded { .. }
        | Outcome::Refreshed { .. }
        | Outcome::Mailed { .. } => fail(draft, "unexpected_outcome", "the effect came to an outcome of another kind"),
    }
}

/// What an effect came to, in one word, and the text that had been sent.
pub(super) fn came_to(outcome: &Outcome) -> (&'static str, Option<Personal<String>>) {
    match outcome {
        Outcome::Cancelled { partial } => ("cancelled", partial.clone()),
        Outcome::Answered(answer) => ("answered", answer.text.clone()),
        Outcome::Responded { .. } | Outcome::ToolResult { .. } => ("responded", None),
        Outcome::Sealed { .. } => ("sealed", None),
        Outcome::Shredded { .. } => ("shredded", None),
        Outcome::Refreshed { .. } => ("refreshed", None),
        Outcome::Mailed { .. } => ("mailed", None),
        Outcome::Failed { .. } => ("failed", None),
        Outcome::Lost { .. } => ("lost", None),
    }
}

fn pin(run: &TurnRun) -> Option<AgentPin> {
    run.pin.as_ref().and_then(|pin| AgentPin::deserialize(&pin.0).ok())
}

pub(super) fn react(run: &TurnRun, event: &RunEvent) -> Vec<Reaction> {
    match event {
        RunEvent::Started {} => {
            let start = StartTurn {
                run: run.stream.id.clone(),
            };
            let dispatch = command_to(run.agent(), &AgentWord::StartTurn(start));
            vec![Reaction::Dispatch(dispatch.heeding_refusal(START))]
        }
        RunEvent::ModelAsked { name, .. } => ask(run, name).into_iter().collect(),
        RunEvent::ModelAnswered { answer, .. } if !answer.tool_calls.is_empty() => {
            let report = ReportCalls {
                run: run.stream.id.clone(),
                calls: answer.tool_calls.clone(),
            };
            vec![dispatch(run.agent(), &AgentWord::ReportCalls(report))]
        }
        RunEvent::ToolCalled { name, call } => {
            let TurnStage::Calling { message, .. } = &run.stage else {
                return Vec::new();
            };
            vec![tool(run, name, &call.name, &call.id, message)]
        }
        RunEvent::ReplySent { message_id } => {
            let TurnStage::Replied { text: body } = &run.stage else {
                return Vec::new();
            };
            let post = PostMessage {
                message_id: Some(message_id.clone()),
                body: body.clone(),
                content_type: ContentType::default(),
                reply_to: Some(run.task.message_id.clone()),
                priority: Priority::default(),
                mentions: Vec::new(),
                turn: Some(run.task.turn.clone()),
            };
            let dispatch = command_to(run.conversation(), &ConversationCommand::Post(post));
            vec![Reaction::Dispatch(dispatch.awaiting(REPLY))]
        }
        RunEvent::Failed { code, detail, .. } => {
            let mut reactions = stop(run);
            reactions.push(finish(
                run,
                TurnOutcome::Failed {
                    code: code.clone(),
                    detail: detail.clone(),
                },
            ));
            reactions
        }
        RunEvent::Cancelled { .. } if run.stopping.is_empty() => vec![finish(
            run,
            TurnOutcome::Interrupted {
                partial: run.partial.clone(),
            },
        )],
        RunEvent::Cancelled { .. } => stop(run),
        RunEvent::EffectStopped { .. } if run.status == RunStatus::Cancelled && run.stopping.is_empty() => {
            vec![finish(
                run,
                TurnOutcome::Interrupted {
                    partial: run.partial.clone(),
                },
            )]
        }
        RunEvent::AdvanceDeferred { due } => vec![Reaction::WakeAt {
            name: super::ADVANCE.to_owned(),
            due: *due,
        }],
        RunEvent::Created { .. }
        | RunEvent::Initialized {}
        | RunEvent::ModelAnswered { .. }
        | RunEvent::EffectStopped { .. }
        | RunEvent::Paused { .. }
        | RunEvent::Resumed { .. }
        | RunEvent::Completed { .. }
        | RunEvent::AgentPinned { .. }
        | RunEvent::ToolReturned { .. }
        | RunEvent::NodeStarted { .. }
        | RunEvent::NodeCompleted { .. }
        | RunEvent::NodeFailed { .. }
        | RunEvent::NodeSkipped { .. }
        | RunEvent::InputGiven { .. }
        | RunEvent::InputQueued { .. }
        | RunEvent::InputDrained { .. }
        | RunEvent::SignalReceived { .. }
        | RunEvent::ApprovalGiven { .. }
        | RunEvent::ApprovalRefused { .. }
        | RunEvent::MessageSent { .. }
        | RunEvent::NodeRetried { .. } => Vec::new(),
    }
}

fn ask(run: &TurnRun, name: &str) -> Option<Reaction> {
    let pin = pin(run)?;
    let call = LlmInvoke {
        model: pin.model,
        prompt: Prompt::Conversation {
            conversation: run.conversation(),
            at_version: run.task.at_version,
            agent: run.agent(),
            directive: pin.directive,
            transcript: Vec::new(),
            turn: Some(StreamAt {
                stream: run.stream.clone(),
                version: run.version,
            }),
        },
        tools: pin.tools,
        stream_to: Some(StreamTo {
            conversation: run.conversation(),
            turn: run.task.turn.clone(),
            agent: run.task.agent.clone(),
        }),
    };
    Some(Reaction::Perform(Perform {
        name: name.to_owned(),
        effect: Effect::LlmInvoke(call),
        retry: Retry::default(),
    }))
}

fn tool(run: &TurnRun, name: &str, tool: &str, call_id: &str, message: &Personal<ChatMessage>) -> Reaction {
    let spec = pin(run).and_then(|pin| pin.tools.into_iter().find(|spec| spec.name == tool));
    let invoke = ToolInvoke {
        name: tool.to_owned(),
        spec,
        call_id: call_id.to_owned(),
        message: message.clone(),
    };
    Reaction::Perform(Perform {
        name: name.to_owned(),
        effect: Effect::Tool(invoke),
        retry: Retry::default(),
    })
}

fn stop(run: &TurnRun) -> Vec<Reaction> {
    run.stopping
        .iter()
        .map(|name| Reaction::CancelEffect { name: name.clone() })
        .collect()
}

fn finish(run: &TurnRun, outcome: TurnOutcome) -> Reaction {
    dispatch(
        run.conversation(),
        &ConversationWord::FinishTurn(FinishTurn {
            turn: run.task.turn.clone(),
            outcome,
        }),
    )
}

fn dispatch<C: Serialize>(to: StreamId, command: &C) -> Reaction {
    Reaction::Dispatch(command_to(to, command))
}

/// A command to another entity. Commands of this crate's kinds always have a JSON form.
pub(super) fn command_to<C: Serialize>(to: StreamId, command: &C) -> Dispatch {
    Dispatch::new(to, Json(serde_json::to_value(command).expect("commands serialize")))
}

/// The stream of a conversation in a run's org.
pub(super) fn conversation_of(run: &StreamId, id: &EntityId) -> StreamId {
    StreamId::new(run.org.clone(), quipu_schemas::ids::Kind::CONVERSATION, id.clone())
}
