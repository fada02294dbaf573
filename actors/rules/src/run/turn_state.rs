//! State of an agent's turn and its fold. Everything here survives binary snapshots.

use super::state::set_status;
use crate::{decider::Corrupt, shared::Shared};
use quipu_kinds::{
    conversation::TurnTask,
    run::{RunEvent, RunStatus},
};
use quipu_schemas::{
    chat::ChatMessage,
    digest::Digest,
    ids::{CredentialId, EntityId, Kind, MessageId, PrincipalId, StreamId},
    json::Json,
    personal::Personal,
    reaction::{LlmAnswer, ToolCallRef},
    record::Acting,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An agent's turn under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnRun {
    /// Its own stream.
    pub stream: StreamId,
    /// Who created it, which is who wrote the message: it acts in their name.
    pub by: PrincipalId,
    /// Who sent the creating command, where that was somebody on behalf of `by`.
    pub principal: Option<PrincipalId>,
    /// The credential by which it was created: its scope cuts what it does.
    pub credential: Option<CredentialId>,
    /// What it executes.
    pub task: TurnTask,
    /// Where it stands.
    pub status: RunStatus,
    /// The agent's configuration (an `AgentPin`), once it is ready.
    pub pin: Option<Shared<Json>>,
    /// Model calls so far.
    pub iteration: u32,
    /// Events so far, which is the stream's version: a prompt names the turn's history by it.
    pub version: u64,
    /// Bytes that model and tools said in the turn. What they said stands in the stream.
    pub said_bytes: u64,
    /// What it waits for.
    pub stage: TurnStage,
    /// Effects that nobody waits for any longer and whose end has not been recorded.
    pub stopping: BTreeSet<String>,
    /// Text that had been sent when the turn was interrupted.
    pub partial: Option<Personal<String>>,
}

/// What a turn waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TurnStage {
    /// The agent's configuration.
    Agent,
    /// Nothing: the model is asked next.
    Ready,
    /// The model's answer.
    Asked {
        /// Name of the effect.
        name: String,
    },
    /// Tools.
    Calling {
        /// The message that holds the calls.
        message: Personal<ChatMessage>,
        /// The calls, in order.
        calls: Vec<ToolCallRef>,
        /// How many were sent.
        sent: u32,
        /// Results by the call's place.
        results: BTreeMap<u32, Personal<ChatMessage>>,
    },
    /// Nothing: the answer is there and goes out next.
    Answered {
        /// Its text; `None`: the model said nothing.
        text: Option<Personal<String>>,
    },
    /// The end.
    Over,
    /// What the conversation says to the answer.
    Replied {
        /// The answer's text.
        text: Personal<String>,
    },
}

impl TurnRun {
    pub(super) fn new(stream: &StreamId, creator: Acting, task: &TurnTask) -> Self {
        let (by, principal) = match creator.on_behalf_of {
            Some(by) => (by, Some(creator.principal)),
            None => (creator.principal, None),
        };
        Self {
            stream: stream.clone(),
            by,
            principal,
            credential: creator.credential,
            task: task.clone(),
            status: RunStatus::Pending,
            pin: None,
            iteration: 0,
            version: 1,
            said_bytes: 0,
            stage: TurnStage::Agent,
            stopping: BTreeSet::new(),
            partial: None,
        }
    }

    /// The conversation's stream.
    pub fn conversation(&self) -> StreamId {
        StreamId::new(self.stream.org.clone(), Kind::CONVERSATION, self.task.conversation.clone())
    }

    /// The agent's stream: its id is its principal.
    pub fn agent(&self) -> StreamId {
        let id = EntityId::parse(self.task.agent.as_str()).expect("principals and entities share their grammar");
        StreamId::new(self.stream.org.clone(), Kind::AGENT, id)
    }

    /// Id of the answering message: the same for ever, so that answering twice is one message.
    pub fn message_id(&self) -> MessageId {
        let run = self.stream.id.as_str();
        MessageId::parse(format!("msg_{run}")).unwrap_or_else(|_| {
            let hash = Digest::of(&[run.as_bytes()]).to_string();
            MessageId::parse(format!("msg_{}", &hash[..40])).expect("hex is within the grammar")
        })
    }

    /// Name of a tool call's effect.
    pub(super) fn tool_name(&self, place: u32) -> String {
        format!("tool#{}.{place}", self.iteration)
    }

    /// Effects under way.
    pub(super) fn in_flight(&self) -> Vec<String> {
        match &self.stage {
            TurnStage::Asked { name } => vec![name.clone()],
            TurnStage::Calling { sent, results, .. } => {
                (0..*sent).filter(|p| !results.contains_key(p)).map(|p| self.tool_name(p)).collect()
            }
            TurnStage::Agent | TurnStage::Ready | TurnStage::Answered { .. } | TurnStage::Replied { .. } | TurnStage::Over => Vec::new(),
        }
    }

    fn answered(&mut self, answer: &LlmAnswer) {
        self.said_bytes += answer.said_bytes() as u64;
        self.stage = if answer.tool_calls.is_empty() {
            TurnStage::Answered { text: answer.text.clone() }
        } else {
            TurnStage::Calling {
                message: answer.message.clone(),
                calls: answer.tool_calls.clone(),
                sent: 0,
                results: BTreeMap::new(),
            }
        };
    }

    pub(super) fn apply(&mut self, event: &RunEvent) -> Result<(), Corrupt> {
        let odd = || Corrupt(format!("a turn has no {event:?} here"));
        self.version += 1;
        match event {
            RunEvent::Initialized {} => set_status(&mut self.status, RunStatus::Initializing)?,
            RunEvent::Started {} => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::Paused { .. } => set_status(&mut self.status, RunStatus::Paused)?,
            RunEvent::Resumed { .. } => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::AgentPinned { pin } => {
                self.pin = Some(Json(serde_json::to_value(pin).map_err(|e| Corrupt(e.to_string()))?).into());
                self.stage = TurnStage::Ready;
            }
            RunEvent::ModelAsked { iteration, name } => {
                self.iteration = *iteration;
                self.stage = TurnStage::Asked { name: name.clone() };
            }
            RunEvent::ModelAnswered { answer, .. } => self.answered(answer),
            RunEvent::ToolCalled { .. } => match &mut self.stage {
                TurnStage::Calling { calls, sent, .. } if (*sent as usize) < calls.len() => *sent += 1,
                _ => return Err(odd()),
            },
            RunEvent::ToolReturned { name, result, .. } => {
                let prefix = format!("tool#{}.", self.iteration);
                let place = name.strip_prefix(&prefix).and_then(|p| p.parse::<u32>().ok()).ok_or_else(odd)?;
                let TurnStage::Calling { calls, results, .. } = &mut self.stage else {
                    return Err(odd());
                };
                results.insert(place, result.clone());
                self.said_bytes += result.plain_len() as u64;
                if results.len() == calls.len() {
                    self.stage = TurnStage::Ready;
                }
            }
            RunEvent::ReplySent { .. } => match std::mem::replace(&mut self.stage, TurnStage::Over) {
                TurnStage::Answered { text: Some(text) } => self.stage = TurnStage::Replied { text },
                _ => return Err(odd()),
            },
            RunEvent::Completed { .. } => {
                set_status(&mut self.status, RunStatus::Completed)?;
                self.stage = TurnStage::Over;
            }
            RunEvent::Failed { .. } => {
                set_status(&mut self.status, RunStatus::Failed)?;
                self.end();
            }
            RunEvent::Cancelled { .. } => {
                set_status(&mut self.status, RunStatus::Cancelled)?;
                self.end();
            }
            RunEvent::EffectStopped { name, partial, .. } => {
                self.stopping.remove(name);
                if partial.is_some() {
                    self.partial.clone_from(partial);
                }
            }
            RunEvent::AdvanceDeferred { .. } => {}
            RunEvent::Created { .. }
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
            | RunEvent::NodeRetried { .. } => return Err(odd()),
        }
        Ok(())
    }

    fn end(&mut self) {
        self.stopping.extend(self.in_flight());
        match &self.stage {
            TurnStage::Answered { text } => self.partial.clone_from(text),
            TurnStage::Replied { text } => self.partial = Some(text.clone()),
            TurnStage::Agent | TurnStage::Ready | TurnStage::Asked { .. } | TurnStage::Calling { .. } | TurnStage::Over => {}
        }
        self.stage = TurnStage::Over;
    }
}
