//! State of a workflow run and its fold. Everything here survives binary snapshots.

use crate::{decider::Corrupt, definition::Definition};
use quipu_schemas::{
    digest::Digest,
    ids::{PrincipalId, StreamId},
    json::Json,
    personal::Personal,
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
    /// What the conversation says to the message.
    Answer(RunPost),
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

pub(super) fn set_status(status: &mut RunStatus, next: RunStatus) -> Result<(), Corrupt> {
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
            // A message that was sent is not called back: what becomes of it is recorded all the same.
            if let Stage::Waits(wait) = &node.stage
                && !matches!(wait, Wait::Answer(_))
            {
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
                let unanswered = |node: &&mut NodeRun| node.name == *name && matches!(node.stage, Stage::Waits(Wait::Answer(_)));
                if let Some(node) = self.nodes.values_mut().find(unanswered)
                    && let Stage::Waits(wait) = &node.stage
                {
                    node.stage = Stage::Stopped(wait.clone());
                }
            }
            RunEvent::MessageSent { node, post, .. } => {
                let id = node;
                let node = self.node(id)?;
                if node.stage == Stage::Waiting {
                    // Nothing had to be sealed before.
                    node.attempts += 1;
                    node.name = format!("{id}#{}", node.attempts);
                    node.timed = false;
                }
                node.stage = Stage::Waits(Wait::Answer(post.clone()));
            }
            RunEvent::ApprovalGiven { .. } | RunEvent::ApprovalRefused { .. } | RunEvent::AdvanceDeferred { .. } => {}
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
