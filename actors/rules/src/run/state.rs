//! State of a workflow run and its fold. Everything here survives binary snapshots.

use super::{Ended, Nodes};
use crate::{
    decider::Corrupt,
    definition::{Data, Pinned},
    shared::Shared,
    values::Values,
};
use quipu_kinds::run::{ApprovalAsked, NodeWork, RunEvent, RunPost, RunStatus};
use quipu_schemas::{
    context::Context,
    digest::Digest,
    ids::{CredentialId, PrincipalId, StreamId},
    json::Json,
    limits::ENTITY_VALUES_MAX_BYTES,
    personal::{BlobRef, Personal, value},
    record::Acting,
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
    /// Who created it: what it composes is sealed for them, and it acts in their name unless they named another.
    pub by: PrincipalId,
    /// Who sent the creating command, where that was somebody on behalf of `by`.
    pub principal: Option<PrincipalId>,
    /// The credential by which it was created: its scope cuts what it does.
    pub credential: Option<CredentialId>,
    /// In whose name it acts, where that is not its creator.
    pub acts_as: Option<PrincipalId>,
    /// The pinned definition.
    pub definition: Pinned,
    /// Its digest.
    pub digest: Digest,
    /// Where it stands.
    pub status: RunStatus,
    /// Inputs of one value.
    pub inputs: Shared<BTreeMap<String, Json>>,
    /// Inputs that are given again and again.
    pub series: Shared<BTreeMap<String, Vec<Shared<Json>>>>,
    /// Inputs whose values nothing unfinished needs: how many were given.
    pub taken: Shared<BTreeMap<String, u64>>,
    /// Nodes that ended, by what they might have looked into.
    pub ended: Shared<Ended>,
    /// Sealed texts.
    pub texts: Shared<BTreeMap<String, Personal<String>>>,
    /// Inputs that came while paused, in order.
    pub queue: Shared<Vec<Shared<QueuedInput>>>,
    /// Bytes of JSON in `series` and `queue`.
    pub held_bytes: u64,
    /// Signals that nobody has taken, in order.
    pub signals: Shared<Vec<Shared<Signal>>>,
    /// Nodes whose turn has come.
    pub nodes: Nodes,
    /// The node that failed the run.
    pub failed_node: Option<String>,
    /// Effects that nobody waits for any longer and whose end has not been recorded.
    pub stopping: Shared<BTreeSet<String>>,
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

impl Stage {
    /// Whether the node is done.
    pub fn is_over(&self) -> bool {
        match self {
            Stage::Completed(_) | Stage::Failed { .. } | Stage::Skipped => true,
            Stage::Waiting | Stage::Waits(_) | Stage::Stopped(_) => false,
        }
    }

    /// The values that it holds.
    pub fn values(&self) -> impl Iterator<Item = &Json> {
        let (outputs, subject) = match self {
            Stage::Completed(outputs) | Stage::Waits(Wait::Timer(outputs)) | Stage::Stopped(Wait::Timer(outputs)) => (Some(outputs), None),
            Stage::Waits(Wait::Approval(asked)) | Stage::Stopped(Wait::Approval(asked)) => (None, Some(&asked.subject)),
            Stage::Waiting | Stage::Waits(_) | Stage::Stopped(_) | Stage::Failed { .. } | Stage::Skipped => (None, None),
        };
        outputs.into_iter().flat_map(BTreeMap::values).chain(subject)
    }
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

/// Bytes that a value takes in the state.
pub(super) fn size(value: &Json) -> u64 {
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

/// In the creator's name, by whoever sent the command for them.
pub(super) fn acting_for(by: &PrincipalId, principal: Option<&PrincipalId>, credential: Option<&CredentialId>) -> Acting {
    Acting {
        principal: principal.unwrap_or(by).clone(),
        on_behalf_of: principal.map(|_| by.clone()),
        credential: credential.cloned(),
    }
}

/// What the first event of a workflow says.
pub(super) struct Begun<'e> {
    pub(super) stream: &'e StreamId,
    pub(super) by: &'e PrincipalId,
    pub(super) principal: Option<&'e PrincipalId>,
    pub(super) credential: Option<&'e CredentialId>,
    pub(super) acts_as: Option<&'e PrincipalId>,
    pub(super) definition: Pinned,
    pub(super) digest: Digest,
    pub(super) input: &'e BTreeMap<String, Json>,
    pub(super) texts: &'e BTreeMap<String, Personal<String>>,
}

impl GraphRun {
    pub(super) fn new(begun: Begun<'_>) -> Self {
        let mut run = Self {
            stream: begun.stream.clone(),
            by: begun.by.clone(),
            principal: begun.principal.cloned(),
            credential: begun.credential.cloned(),
            acts_as: begun.acts_as.cloned(),
            definition: begun.definition,
            digest: begun.digest,
            status: RunStatus::Pending,
            inputs: Shared::default(),
            series: Shared::default(),
            taken: Shared::default(),
            ended: Shared::default(),
            texts: begun.texts.clone().into(),
            queue: Shared::default(),
            held_bytes: 0,
            signals: Shared::default(),
            nodes: Nodes::default(),
            failed_node: None,
            stopping: Shared::default(),
        };
        for (port, value) in begun.input {
            match &value.0 {
                Value::Array(items) if run.is_series(port) => items.iter().for_each(|item| run.take_input(port, &Json(item.clone()))),
                _ => run.take_input(port, value),
            }
        }
        run
    }

    /// In whose name it acts. For a principal that its creator named, the creator speaks: nobody widens their rights by a name.
    pub(super) fn acting(&self) -> Acting {
        match &self.acts_as {
            Some(named) => Acting {
                principal: self.by.clone(),
                on_behalf_of: Some(named.clone()),
                credential: self.credential.clone(),
            },
            None => acting_for(&self.by, self.principal.as_ref(), self.credential.as_ref()),
        }
    }

    /// What the run does with values.
    pub(super) fn values<'a>(&self, context: &'a Context<'a>) -> Values<'a> {
        Values {
            context,
            owner: format!("{}/{}", self.stream.org, self.by),
            clear: self.definition.data == Data::None,
        }
    }

    /// Whether the run may refer to these values too. Values are counted once, however often they are handed on.
    pub(super) fn has_room<'v>(&self, more: impl Iterator<Item = &'v Json>) -> bool {
        let mut coming = BTreeMap::new();
        let count = |held: &mut BTreeMap<Digest, u64>, value: &Json| {
            BlobRef::each_in(&value.0, &mut |blob| {
                held.insert(blob.digest, blob.size);
            });
        };
        more.for_each(|value| count(&mut coming, value));
        if coming.is_empty() {
            return true;
        }
        let given = || {
            let series = self.series.values().flatten().map(|value| &**value);
            let queue = self.queue.iter().map(|queued| &queued.payload);
            let signals = self.signals.iter().map(|signal| &signal.payload);
            self.inputs.values().chain(series).chain(queue).chain(signals)
        };
        let most = ENTITY_VALUES_MAX_BYTES as u64;
        let texts = || self.texts.values().filter_map(Personal::blob);
        let named = given().map(|value| value::named_bytes(&value.0)).sum::<u64>() + texts().map(|blob| blob.size).sum::<u64>();
        if self.nodes.named_bytes() + named + coming.values().sum::<u64>() <= most {
            return true;
        }
        given().for_each(|value| count(&mut coming, value));
        coming.extend(texts().map(|blob| (blob.digest, blob.size)));
        for node in self.nodes.all().into_values() {
            node.stage.values().for_each(|value| count(&mut coming, value));
        }
        coming.values().sum::<u64>() <= most
    }

    /// Whether the input is given again and again.
    pub(super) fn is_series(&self, port: &str) -> bool {
        self.definition.inputs.get(port).is_some_and(|spec| spec.many)
    }

    /// What the first signal of this name carries, if nobody has taken it.
    pub(super) fn signal(&self, name: &str) -> Option<Json> {
        self.signals.iter().find(|s| s.name == name).map(|s| s.payload.clone())
    }

    fn take_input(&mut self, port: &str, payload: &Json) {
        if self.is_series(port) {
            self.held_bytes += size(payload);
            let series = self.series.change().entry(port.to_owned()).or_default();
            series.push(payload.clone().into());
        } else {
            self.inputs.change().insert(port.to_owned(), payload.clone());
        }
        self.forget_input(port);
    }

    /// Where a node stands now; `None` before its turn has come.
    fn now(&self, id: &str) -> Result<Option<&NodeRun>, Corrupt> {
        if self.definition.node(id).is_none() {
            return Err(Corrupt(format!("{} has no node `{id}`", self.stream)));
        }
        Ok(self.nodes.get(id))
    }

    /// Moves a node on.
    fn set(&mut self, id: &str, stage: Stage) -> Result<(), Corrupt> {
        let node = match self.now(id)? {
            Some(was) => NodeRun {
                attempts: was.attempts,
                name: was.name.clone(),
                timed: was.timed,
                stage,
            },
            None => NodeRun {
                attempts: 0,
                name: String::new(),
                timed: false,
                stage,
            },
        };
        self.nodes.put(id, node);
        Ok(())
    }

    fn started(&mut self, id: &str, attempts: u32, name: &str, work: &NodeWork) -> Result<(), Corrupt> {
        if self.now(id)?.is_some_and(|node| node.stage != Stage::Waiting) {
            return Err(Corrupt(format!("node `{id}` was started twice")));
        }
        let (wait, timed) = match work {
            NodeWork::Effect { .. } => (Wait::Effect, false),
            NodeWork::Timer { outputs, .. } => (Wait::Timer(outputs.clone()), false),
            NodeWork::Signal { name, expires_at } => (Wait::Signal(name.clone()), expires_at.is_some()),
            NodeWork::Approval(asked) => (Wait::Approval(asked.clone()), asked.expires_at.is_some()),
            NodeWork::Post { post, .. } => (Wait::Post(post.clone()), false),
        };
        let node = NodeRun {
            attempts,
            name: name.to_owned(),
            timed,
            stage: Stage::Waits(wait),
        };
        self.nodes.put(id, node);
        Ok(())
    }

    fn completed(&mut self, id: &str, output: &BTreeMap<String, Json>) -> Result<(), Corrupt> {
        let taken = match self.now(id)?.map(|node| &node.stage) {
            Some(Stage::Waits(Wait::Signal(name))) => self.signals.iter().position(|s| s.name == *name),
            None | Some(Stage::Waiting | Stage::Waits(_)) => None,
            Some(Stage::Stopped(_) | Stage::Completed(_) | Stage::Failed { .. } | Stage::Skipped) => {
                return Err(Corrupt(format!("node `{id}` was completed twice")));
            }
        };
        if let Some(at) = taken {
            self.signals.change().remove(at);
        }
        self.set(id, Stage::Completed(output.clone()))?;
        self.forget_unread(id);
        self.forget_behind(id);
        Ok(())
    }

    /// What nodes wait for has no taker any longer.
    fn stop(&mut self) -> Result<(), Corrupt> {
        let waiting: Vec<(String, String, Wait)> = self
            .nodes
            .all()
            .into_iter()
            .filter_map(|(id, node)| match &node.stage {
                // A message that was sent is not called back: what becomes of it is recorded all the same.
                Stage::Waits(Wait::Answer(_)) => None,
                Stage::Waits(wait) => Some((id.to_owned(), node.name.clone(), wait.clone())),
                _ => None,
            })
            .collect();
        for (id, name, wait) in waiting {
            if wait.is_effect() {
                self.stopping.change().insert(name);
            }
            self.set(&id, Stage::Stopped(wait))?;
        }
        self.queue = Shared::default();
        Ok(())
    }

    /// The node that failed runs once more, and whatever its failure stopped.
    fn retried(&mut self, id: &str) -> Result<(), Corrupt> {
        set_status(&mut self.status, RunStatus::Running)?;
        self.failed_node = None;
        self.set(id, Stage::Waiting)?;
        let nodes = self.nodes.all();
        let stopped = nodes.into_iter().filter(|(_, node)| matches!(node.stage, Stage::Stopped(_)));
        for id in stopped.map(|(id, _)| id.to_owned()).collect::<Vec<_>>() {
            self.set(&id, Stage::Waiting)?;
        }
        Ok(())
    }

    /// The message is on its way, and its node waits for what the conversation says.
    fn sent(&mut self, id: &str, post: &RunPost) -> Result<(), Corrupt> {
        let was = self.now(id)?;
        let (attempts, name) = match was {
            Some(node) if node.stage != Stage::Waiting => (node.attempts, node.name.clone()),
            // Nothing had to be sealed before.
            _ => {
                let attempts = was.map_or(0, |node| node.attempts) + 1;
                (attempts, format!("{id}#{attempts}"))
            }
        };
        let node = NodeRun {
            attempts,
            name,
            timed: false,
            stage: Stage::Waits(Wait::Answer(post.clone())),
        };
        self.nodes.put(id, node);
        Ok(())
    }

    /// The message of this name was refused after the run's end.
    fn unanswered(&mut self, name: &str) -> Result<(), Corrupt> {
        let Some((id, _)) = name.rsplit_once('#') else { return Ok(()) };
        let waits = match self.nodes.get(id) {
            Some(node) if node.name == name => match &node.stage {
                Stage::Waits(wait @ Wait::Answer(_)) => Some(wait.clone()),
                _ => None,
            },
            _ => None,
        };
        match waits {
            Some(wait) => self.set(id, Stage::Stopped(wait)),
            None => Ok(()),
        }
    }

    pub(super) fn apply(&mut self, event: &RunEvent) -> Result<(), Corrupt> {
        match event {
            RunEvent::Initialized {} => set_status(&mut self.status, RunStatus::Initializing)?,
            RunEvent::Started {} => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::NodeStarted {
                node, attempt, name, work, ..
            } => self.started(node, *attempt, name, work)?,
            RunEvent::NodeCompleted { node, output } => self.completed(node, output)?,
            RunEvent::NodeFailed { node, code, detail, .. } => {
                let (code, detail) = (code.clone(), detail.clone());
                self.set(node, Stage::Failed { code, detail })?;
                self.forget_behind(node);
            }
            RunEvent::NodeSkipped { node } => {
                self.set(node, Stage::Skipped)?;
                self.forget_behind(node);
            }
            RunEvent::InputGiven { port, payload } => self.take_input(port, payload),
            RunEvent::InputQueued { port, payload, .. } => {
                self.held_bytes += size(payload);
                let (port, payload) = (port.clone(), payload.clone());
                self.queue.change().push(QueuedInput { port, payload }.into());
            }
            RunEvent::InputDrained { count } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                if count > self.queue.len() {
                    return Err(Corrupt("more inputs were drained than wait".into()));
                }
                for input in self.queue.change().drain(..count).collect::<Vec<_>>() {
                    self.held_bytes -= size(&input.payload);
                    self.take_input(&input.port, &input.payload);
                }
            }
            RunEvent::SignalReceived { name, payload } => {
                let (name, payload) = (name.clone(), payload.clone());
                self.signals.change().push(Signal { name, payload }.into());
            }
            RunEvent::Paused { .. } => set_status(&mut self.status, RunStatus::Paused)?,
            RunEvent::Resumed { .. } => set_status(&mut self.status, RunStatus::Running)?,
            RunEvent::NodeRetried { node, .. } => self.retried(node)?,
            RunEvent::Completed { .. } => {
                set_status(&mut self.status, RunStatus::Completed)?;
                self.forget_all();
            }
            RunEvent::Failed { node, .. } => {
                set_status(&mut self.status, RunStatus::Failed)?;
                self.failed_node.clone_from(node);
                self.stop()?;
            }
            RunEvent::Cancelled { .. } => {
                set_status(&mut self.status, RunStatus::Cancelled)?;
                self.stop()?;
                self.forget_all();
            }
            RunEvent::EffectStopped { name, .. } => {
                self.stopping.change().remove(name);
                self.unanswered(name)?;
            }
            RunEvent::MessageSent { node, post, .. } => self.sent(node, post)?,
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
