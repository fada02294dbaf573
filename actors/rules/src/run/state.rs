//! States of runs and their folds. Everything here survives binary snapshots.

use crate::{decider::Corrupt, definition::Definition};
use quipu_schemas::{
    chat::ChatMessage,
    conversation::TurnTask,
    digest::Digest,
    ids::{Kind, MessageId, PrincipalId, StreamId},
    json::Json,
    personal::Personal,
    reaction::{LlmAnswer, ToolCallRef},
    run::{ApprovalAsked, NodeWork, RunEvent, RunPost, RunStatus},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A workflow under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphRun {
    /// Its own stream.
    pub stream: StreamId,
    /// Who created it; what it composes is sealed for them.
    pub by: PrincipalId,
    /// The pinned definition.
    pub definition: Definition,
    /// Its digest.
    pub digest: Digest,
    /// Where it stands.
    pub status: RunStatus,
    /// Inputs of one value.
    pub inputs: BTreeMap<String, Json>,
    /// Inputs that are given again and again.
    pub series: BTreeMap<String, Vec<Json>>,
    /// Sealed texts.
    pub texts: BTreeMap<String, Personal<String>>,
    /// Inputs that came while paused, in order.
    pub queue: Vec<QueuedInput>,
    /// Bytes of JSON in `series` and `queue`.
    pub held_bytes: u64,
    /// Signals that nobody has taken, in order.
    pub signals: Vec<Signal>,
    /// Nodes whose turn has come.
    pub nodes: BTreeMap<String, NodeRun>,
    /// The node that failed the run.
    pub failed_node: Option<String>,
    /// Effects that nobody waits for any longer and whose end has not been recorded.
    pub stopping: BTreeSet<String>,
}

/// An input that waits for the end of a pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedInput {
    /// The input.
    pub port: String,
    /// Its value.
    pub payload: Json,
}

/// A signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// What it carries.
    pub payload: Json,
}

/// A node whose turn has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRun {
    /// How often it was started with something to wait for.
    pub attempts: u32,
    /// Name of its last effect and timer.
    pub name: String,
    /// Whether a timer limits its waiting.
    pub timed: bool,
    /// Where it stands.
    pub stage: Stage,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Stage {
    /// Its turn comes again.
    Waiting,
    /// It waits for something.
    Waits(Wait),
    /// The run ended while it waited.
    Stopped(Wait),
    /// Done.
    Completed(BTreeMap<String, Json>),
    /// Failed.
    Failed {
        /// Stable code.
        code: String,
        /// In words.
        detail: String,
    },
    /// Skipped.
    Skipped,
}

/// What a node waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Wait {
    /// An effect.
    Effect,
    /// A timer, and what the node hands on then.
    Timer(BTreeMap<String, Json>),
    /// A signal of this name.
    Signal(String),
    /// Somebody's approval.
    Approval(ApprovalAsked),
    /// A text that is being sealed, to be posted.
    Post(RunPost),
}

impl Wait {
    /// Whether it waits for an effect's outcome.
    pub fn is_effect(&self) -> bool {
        matches!(self, Wait::Effect | Wait::Post(_))
    }
}

fn size(value: &Json) -> u64 {
    value.to_text().len() as u64
}

fn set_status(status: &mut RunStatus, next: RunStatus) -> Result<(), Corrupt> {
    if !status.may_become(next) {
        return Err(Corrupt(format!(
            "a run that is {} cannot become {}",
            status.as_str(),
            next.as_str()
        )));
    }
    *status = next;
    Ok(())
}

impl GraphRun {
    pub(super) fn new(
        stream: &StreamId,
        by: &PrincipalId,
        definition: Definition,
        digest: Digest,
        input: &BTreeMap<String, Json>,
        texts: &BTreeMap<String, Personal<String>>,
    ) -> Self {
        let mut run = Self {
            stream: stream.clone(),
            by: by.clone(),
            definition,
            digest,
            status: RunStatus::Pending,
            inputs: BTreeMap::new(),
            series: BTreeMap::new(),
            texts: texts.clone(),
            queue: Vec::new(),
            held_bytes: 0,
            signals: Vec::new(),
            nodes: BTreeMap::new(),
            failed_node: None,
            stopping: BTreeSet::new(),
        };
        for (port, value) in input {
            match &value.0 {
                Value::Array(items) if run.is_series(port) => items.iter().for_each(|item| run.take_input(port, &Json(item.clone()))),
                _ => run.take_input(port, value),
            }
        }
        run
    }

    /// Whether the input is given again and again.
    pub(super) fn is_series(&self, port: &str) -> bool {
        self.definition.inputs.get(port).is_some_and(|spec| spec.many)
    }

    fn take_input(&mut self, port: &str, payload: &Json) {
        if self.is_series(port) {
            self.held_bytes += size(payload);
            self.series.entry(port.to_owned()).or_default().push(payload.clone());
        } else {
            self.inputs.insert(port.to_owned(), payload.clone());
        }
    }

    fn node(&mut self, id: &str) -> Result<&mut NodeRun, Corrupt> {
        if self.definition.node(id).is_none() {
            return Err(Corrupt(format!("{} has no node `{id}`", self.stream)));
        }
        Ok(self.nodes.entry(id.to_owned()).or_insert(NodeRun {
            attempts: 0,
            name: String::new(),
            timed: false,
            stage: Stage::Waiting,
        }))
    }

    /// What nodes wait for has no taker any longer.
    fn stop(&mut self) {
        for node in self.nodes.values_mut() {
            if let Stage::Waits(wait) = &node.stage {
                if wait.is_effect() {
                    self.stopping.insert(node.name.clone());
                }
                node.stage = Stage::Stopped(wait.clone());
            }
        }
        self.queue.clear();
    }

    pub(super) fn apply(&mut self, event: &RunEvent) -> Result<(), Corrupt> {
        match event {
            RunEvent::Initialized {} => set_status(&mut self.status, RunStatus::Initializing)?,
            RunEvent::Started {} => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::NodeStarted {
                node, attempt, name, work, ..
            } => {
                let run = self.node(node)?;
                if run.stage != Stage::Waiting {
                    return Err(Corrupt(format!("node `{node}` was started twice")));
                }
                run.attempts = *attempt;
                run.name.clone_from(name);
                let (wait, timed) = match work {
                    NodeWork::Effect { .. } => (Wait::Effect, false),
                    NodeWork::Timer { outputs, .. } => (Wait::Timer(outputs.clone()), false),
                    NodeWork::Signal { name, expires_at } => (Wait::Signal(name.clone()), expires_at.is_some()),
                    NodeWork::Approval(asked) => (Wait::Approval(asked.clone()), asked.expires_at.is_some()),
                    NodeWork::Post { post, .. } => (Wait::Post(post.clone()), false),
                };
                run.timed = timed;
                run.stage = Stage::Waits(wait);
            }
            RunEvent::NodeCompleted { node, output } => {
                let run = self.node(node)?;
                let was = std::mem::replace(&mut run.stage, Stage::Completed(output.clone()));
                match was {
                    Stage::Waits(Wait::Signal(name)) => {
                        if let Some(at) = self.signals.iter().position(|s| s.name == name) {
                            self.signals.remove(at);
                        }
                    }
                    Stage::Waiting | Stage::Waits(_) => {}
                    Stage::Stopped(_) | Stage::Completed(_) | Stage::Failed { .. } | Stage::Skipped => {
                        return Err(Corrupt(format!("node `{node}` was completed twice")));
                    }
                }
            }
            RunEvent::NodeFailed { node, code, detail, .. } => {
                self.node(node)?.stage = Stage::Failed {
                    code: code.clone(),
                    detail: detail.clone(),
                };
            }
            RunEvent::NodeSkipped { node } => self.node(node)?.stage = Stage::Skipped,
            RunEvent::InputGiven { port, payload } => self.take_input(port, payload),
            RunEvent::InputQueued { port, payload, .. } => {
                self.held_bytes += size(payload);
                self.queue.push(QueuedInput {
                    port: port.clone(),
                    payload: payload.clone(),
                });
            }
            RunEvent::InputDrained { count } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                if count > self.queue.len() {
                    return Err(Corrupt("more inputs were drained than wait".into()));
                }
                for input in self.queue.drain(..count).collect::<Vec<_>>() {
                    self.held_bytes -= size(&input.payload);
                    self.take_input(&input.port, &input.payload);
                }
            }
            RunEvent::SignalReceived { name, payload } => self.signals.push(Signal {
                name: name.clone(),
                payload: payload.clone(),
            }),
            RunEvent::Paused { .. } => set_status(&mut self.status, RunStatus::Paused)?,
            RunEvent::Resumed { .. } => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::NodeRetried { node, .. } => {
                set_status(&mut self.status, RunStatus::Running)?;
                self.failed_node = None;
                self.node(node)?.stage = Stage::Waiting;
                for run in self.nodes.values_mut().filter(|n| matches!(n.stage, Stage::Stopped(_))) {
                    run.stage = Stage::Waiting;
                }
            }
            RunEvent::Completed { .. } => set_status(&mut self.status, RunStatus::Completed)?,
            RunEvent::Failed { node, .. } => {
                set_status(&mut self.status, RunStatus::Failed)?;
                self.failed_node.clone_from(node);
                self.stop();
            }
            RunEvent::Cancelled { .. } => {
                set_status(&mut self.status, RunStatus::Cancelled)?;
                self.stop();
            }
            RunEvent::EffectStopped { name, .. } => {
                self.stopping.remove(name);
            }
            RunEvent::ApprovalGiven { .. }
            | RunEvent::ApprovalRefused { .. }
            | RunEvent::MessageSent { .. }
            | RunEvent::AdvanceDeferred { .. } => {}
            RunEvent::Created { .. }
            | RunEvent::AgentPinned { .. }
            | RunEvent::ModelAsked { .. }
            | RunEvent::ModelAnswered { .. }
            | RunEvent::ToolCalled { .. }
            | RunEvent::ToolReturned { .. }
            | RunEvent::ReplySent { .. } => return Err(Corrupt(format!("a workflow has no {event:?}"))),
        }
        Ok(())
    }
}

/// An agent's turn under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnRun {
    /// Its own stream.
    pub stream: StreamId,
    /// What it executes.
    pub task: TurnTask,
    /// Where it stands.
    pub status: RunStatus,
    /// The agent's configuration (an `AgentPin`), once it is ready.
    pub pin: Option<Json>,
    /// Model calls so far.
    pub iteration: u32,
    /// Model and tool messages of the turn, in order.
    pub transcript: Vec<Personal<ChatMessage>>,
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
}

impl TurnRun {
    pub(super) fn new(stream: &StreamId, task: &TurnTask) -> Self {
        Self {
            stream: stream.clone(),
            task: task.clone(),
            status: RunStatus::Pending,
            pin: None,
            iteration: 0,
            transcript: Vec::new(),
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
        let id = quipu_schemas::ids::EntityId::parse(self.task.agent.as_str()).expect("principals and entities share their grammar");
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
            TurnStage::Agent | TurnStage::Ready | TurnStage::Answered { .. } | TurnStage::Over => Vec::new(),
        }
    }

    fn answered(&mut self, answer: &LlmAnswer) {
        self.transcript.push(answer.message.clone());
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
        match event {
            RunEvent::Initialized {} => set_status(&mut self.status, RunStatus::Initializing)?,
            RunEvent::Started {} => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::Paused { .. } => set_status(&mut self.status, RunStatus::Paused)?,
            RunEvent::Resumed { .. } => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::AgentPinned { pin } => {
                self.pin = Some(Json(serde_json::to_value(pin).map_err(|e| Corrupt(e.to_string()))?));
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
                if results.len() == calls.len() {
                    // In the order of the calls, not of their answers.
                    self.transcript.extend(std::mem::take(results).into_values());
                    self.stage = TurnStage::Ready;
                }
            }
            // The text stays: the reaction posts it.
            RunEvent::ReplySent { .. } => {}
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
        if let TurnStage::Answered { text } = &self.stage {
            self.partial.clone_from(text);
        }
        self.stage = TurnStage::Over;
    }
}
