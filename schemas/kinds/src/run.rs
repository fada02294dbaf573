//! Words of a run: a workflow definition under way, or an agent's turn.
//!
//! Inputs, signals, outputs and answers of requests are values ([`personal::value`](quipu_schemas::personal::value)): JSON in whose
//! place a sealed value may stand. What clients send is sealed for them as it enters, what performers bring and nodes
//! compute before it is recorded. Definitions stand in the clear, and so do the values of a definition that says
//! `data: none`, as far as they are small.

use crate::conversation::{AgentPin, TurnTask};
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{CredentialId, EntityId, MessageId, PrincipalId, StreamId},
    json::Json,
    personal::{Personal, each_sealed_on_entry, sealed_on_entry},
    reaction::{Effect, LlmAnswer, Outcome, Retry, Settled, ToolCallRef},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The seven states of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Created, not started.
    Pending,
    /// Being made ready: the definition is checked again.
    Initializing,
    /// Under way.
    Running,
    /// Nothing new starts; what is under way comes to its end and is recorded; inputs queue.
    Paused,
    /// Every node is done.
    Completed,
    /// A node failed, and its policy was to give up.
    Failed,
    /// Somebody, or the runaway guard, cancelled it.
    Cancelled,
}

impl RunStatus {
    /// All of them, in order.
    pub const ALL: [RunStatus; 7] = [
        RunStatus::Pending,
        RunStatus::Initializing,
        RunStatus::Running,
        RunStatus::Paused,
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::Cancelled,
    ];

    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Pending => "pending",
            RunStatus::Initializing => "initializing",
            RunStatus::Running => "running",
            RunStatus::Paused => "paused",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }

    /// The one transition table. A failed run runs again only by `retry_node`; completed and cancelled are final.
    pub fn may_become(self, next: RunStatus) -> bool {
        use RunStatus::{Cancelled, Completed, Failed, Initializing, Paused, Pending, Running};
        match self {
            Pending => matches!(next, Initializing | Cancelled),
            Initializing => matches!(next, Running | Failed | Cancelled),
            Running => matches!(next, Paused | Completed | Failed | Cancelled),
            Paused => matches!(next, Running | Failed | Cancelled),
            Failed => matches!(next, Running),
            Completed | Cancelled => false,
        }
    }

    /// Whether the run has come to its end.
    pub fn is_over(self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled)
    }
}

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunCommand {
    /// Creates a workflow run, and starts it unless told otherwise.
    Create(CreateRun),
    /// Starts a pending run.
    Start(StartRun),
    /// Gives a value to an input of the definition; queued while paused.
    Input(GiveInput),
    /// Sends a signal; kept until a node waits for it.
    Signal(SendSignal),
    /// Approves what a node waits for.
    Approve(AnswerApproval),
    /// Refuses what a node waits for.
    Reject(AnswerApproval),
    /// Pauses the run: nothing new starts until it is resumed.
    Pause(PauseRun),
    /// Ends a pause: queued inputs are taken in order.
    Resume(ResumeRun),
    /// Cancels, aborting what is under way.
    Cancel(CancelRun),
    /// Runs the node that failed the run once more, and the run goes on.
    RetryNode(RetryNode),
}

/// What the kernel, a turn's conversation and its agent send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunWord {
    /// Creates the run of a won turn and starts it (sent by conversations).
    CreateTurn(TurnTask),
    /// The agent's configuration for the turn (sent by agents).
    AgentReady(AgentReady),
    /// The agent takes no turn (sent by agents).
    AgentUnavailable(AgentUnavailable),
    /// An effect came to its end (sent by the kernel).
    EffectSettled(RunEffectSettled),
    /// The receiver of a command of this run answered (sent by the kernel).
    DispatchSettled(RunDispatchSettled),
    /// A timer is due (sent by the kernel).
    TimerFired(RunTimerFired),
}

/// Creates a run. Exactly one of `definition` and `definition_text` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// The definition as a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Json>,
    /// The definition as YAML or JSON text, at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition_text: Option<String>,
    /// Values by input name, at most 8 MiB each (sealed).
    #[serde(default, deserialize_with = "each_sealed_on_entry")]
    pub input: BTreeMap<String, Json>,
    /// Personal texts by name (sealed); expressions hand them on as `texts.NAME` without seeing them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, Personal<String>>,
    /// Whether to start at once (true unless given).
    #[serde(default = "yes")]
    pub start: bool,
    /// The principal in whose name the run acts (its creator unless given). Somebody else's name takes
    /// `cap:principal.act_as`; what the run does is cut by the creator's own rights and credential all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act_as: Option<PrincipalId>,
}

fn yes() -> bool {
    true
}

/// Starts a pending run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {}

/// Gives an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveInput {
    /// Name of the definition's input.
    pub port: String,
    /// The value, at most 8 MiB of JSON (sealed).
    #[serde(deserialize_with = "sealed_on_entry")]
    pub payload: Json,
}

/// Sends a signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendSignal {
    /// The name of the signal.
    pub name: String,
    /// What it carries, at most 8 MiB of JSON (sealed).
    #[serde(default, deserialize_with = "sealed_on_entry")]
    pub payload: Json,
}

/// Approves or refuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerApproval {
    /// The node that asks.
    pub node: String,
    /// A comment, for people to read (sealed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Personal<String>>,
}

/// Pauses a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRun {
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Ends a pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRun {}

/// Cancels a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRun {
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Runs a failed node once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryNode {
    /// The node that failed.
    pub node: String,
}

/// The agent is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentReady {
    /// The agent's configuration, as the turn uses it.
    pub pin: AgentPin,
}

/// The agent takes no turn, or its guard stopped it in the middle of this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentUnavailable {
    /// The refusal's code; it stays the same from version to version.
    pub code: String,
    /// Why the agent takes no turn, in words.
    pub detail: String,
}

/// An effect's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunEffectSettled {
    /// `Perform::name`.
    pub name: String,
    /// What it came to.
    pub outcome: Outcome,
    /// How many attempts were made.
    pub attempts: u32,
    /// Whether it is a dead letter now.
    pub dead: bool,
}

/// A receiver's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDispatchSettled {
    /// `Awaited::name`.
    pub name: String,
    /// What the receiver answered.
    pub outcome: Settled,
}

/// A timer's fire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTimerFired {
    /// `WakeAt`'s name.
    pub name: String,
}

/// What a started node waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum NodeWork {
    /// An effect's outcome.
    Effect {
        /// The effect that is carried out.
        effect: Effect,
        /// How often and at what pace it is tried again.
        retry: Retry,
    },
    /// A durable timer.
    Timer {
        /// When it fires.
        due: Millis,
        /// Outputs at that time.
        outputs: BTreeMap<String, Json>,
    },
    /// A signal that a client sends.
    Signal {
        /// The name of the signal.
        name: String,
        /// When the node gives up waiting.
        expires_at: Option<Millis>,
    },
    /// An approval that somebody must give or refuse.
    Approval(ApprovalAsked),
    /// A text to be sealed, then posted.
    Post {
        /// The text's effect.
        seal: Effect,
        /// Where the message goes.
        post: RunPost,
    },
}

/// An approval that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalAsked {
    /// Who may answer; empty: admins of the org.
    pub approvers: Vec<PrincipalId>,
    /// Members of at least this role may answer too.
    pub role: Option<quipu_schemas::role::Role>,
    /// What is asked: a text, sealed where it was computed from sealed values.
    #[schemars(with = "String")]
    pub prompt: Json,
    /// When the node gives up waiting.
    pub expires_at: Option<Millis>,
    /// The value under approval, handed on either way.
    pub subject: Json,
    /// Whether a refusal leaves by the port `rejected`; otherwise it fails the node.
    pub rejected_port: bool,
}

/// A message that a run posts, without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunPost {
    /// The conversation that the message goes to.
    pub conversation: EntityId,
    /// The message's id, derived from run and node: posting twice is one message.
    pub message_id: MessageId,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
}

/// What happened to a run.
// Events are made once and written down; a box would only hide their size.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum RunEvent {
    /// The run exists, with its definition pinned.
    #[serde(rename = "quipu.run.created.v1")]
    Created {
        /// Its own stream.
        stream: StreamId,
        /// Who created the run.
        by: PrincipalId,
        /// Who sent the command, where that was somebody on behalf of `by`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<PrincipalId>,
        /// The credential by which it was created: its scope cuts what the run does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credential: Option<CredentialId>,
        /// In whose name the run acts, where that is not its creator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acts_as: Option<PrincipalId>,
        /// Name of the definition.
        name: String,
        /// SHA-256 of the definition's canonical JSON.
        digest: Digest,
        /// The definition, complete.
        definition: Json,
        /// Values by input name.
        input: BTreeMap<String, Json>,
        /// Personal texts by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        texts: BTreeMap<String, Personal<String>>,
        /// The turn that it executes, for `agent-turn`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnTask>,
    },
    /// It is being made ready.
    #[serde(rename = "quipu.run.initialized.v1")]
    Initialized {},
    /// The run has started.
    #[serde(rename = "quipu.run.started.v1")]
    Started {},
    /// A node waits for something. (Nodes that need not wait have no such event.)
    #[serde(rename = "quipu.run.node_started.v1")]
    NodeStarted {
        /// The node that waits.
        node: String,
        /// The component that the node is made of.
        component: String,
        /// How often it was started, from 1.
        attempt: u32,
        /// Name of its effect and of its timer.
        name: String,
        /// What it waits for.
        work: NodeWork,
    },
    /// A node is done.
    #[serde(rename = "quipu.run.node_completed.v1")]
    NodeCompleted {
        /// The node that is done.
        node: String,
        /// Values by output port; a port that is absent emitted nothing.
        output: BTreeMap<String, Json>,
    },
    /// A node failed.
    #[serde(rename = "quipu.run.node_failed.v1")]
    NodeFailed {
        /// The node that failed.
        node: String,
        /// The failure's code; it stays the same from version to version.
        code: String,
        /// What went wrong, in words.
        detail: String,
        /// Attempts of its effect (0: it had none).
        attempts: u32,
    },
    /// A node does not run: no input reached it, or it failed under `on_failure: skip`.
    #[serde(rename = "quipu.run.node_skipped.v1")]
    NodeSkipped {
        /// The node that does not run.
        node: String,
    },
    /// An input has a value.
    #[serde(rename = "quipu.run.input_given.v1")]
    InputGiven {
        /// The name of the input.
        port: String,
        /// The value that it has.
        payload: Json,
    },
    /// An input came while the run was paused.
    #[serde(rename = "quipu.run.input_queued.v1")]
    InputQueued {
        /// The name of the input.
        port: String,
        /// The value that waits.
        payload: Json,
        /// Inputs that wait, this one included.
        depth: u64,
    },
    /// The queued inputs were taken, in the order in which they came.
    #[serde(rename = "quipu.run.input_drained.v1")]
    InputDrained {
        /// How many inputs were taken.
        count: u64,
    },
    /// A signal came.
    #[serde(rename = "quipu.run.signal_received.v1")]
    SignalReceived {
        /// The name of the signal.
        name: String,
        /// What it carries.
        payload: Json,
    },
    /// Somebody approved.
    #[serde(rename = "quipu.run.approval_given.v1")]
    ApprovalGiven {
        /// The node that had asked.
        node: String,
        /// The principal who approved.
        by: PrincipalId,
        /// What they said to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Personal<String>>,
    },
    /// Somebody refused.
    #[serde(rename = "quipu.run.approval_refused.v1")]
    ApprovalRefused {
        /// The node that had asked.
        node: String,
        /// The principal who refused.
        by: PrincipalId,
        /// What they said to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Personal<String>>,
    },
    /// A node posts a message.
    #[serde(rename = "quipu.run.message_sent.v1")]
    MessageSent {
        /// The node that posts.
        node: String,
        /// Where the message goes.
        post: RunPost,
        /// The text of the message (sealed).
        body: Personal<String>,
    },
    /// The rest is decided in a record of its own: this one is full.
    #[serde(rename = "quipu.run.advance_deferred.v1")]
    AdvanceDeferred {
        /// When it goes on.
        due: Millis,
    },
    /// Somebody paused the run.
    #[serde(rename = "quipu.run.paused.v1")]
    Paused {
        /// Who paused it.
        by: PrincipalId,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// Somebody ended the pause.
    #[serde(rename = "quipu.run.resumed.v1")]
    Resumed {
        /// Who ended the pause.
        by: PrincipalId,
    },
    /// A failed run goes on: its node runs once more.
    #[serde(rename = "quipu.run.node_retried.v1")]
    NodeRetried {
        /// The node that runs once more.
        node: String,
        /// Who asked for it.
        by: PrincipalId,
    },
    /// Every node is done.
    #[serde(rename = "quipu.run.completed.v1")]
    Completed {
        /// Values by output name.
        output: BTreeMap<String, Json>,
    },
    /// The run gave up.
    #[serde(rename = "quipu.run.failed.v1")]
    Failed {
        /// The failure's code; it stays the same from version to version.
        code: String,
        /// What went wrong, in words.
        detail: String,
        /// The node that failed, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// The run was cancelled; what was under way is being aborted.
    #[serde(rename = "quipu.run.cancelled.v1")]
    Cancelled {
        /// Who cancelled it.
        by: PrincipalId,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// An effect that nobody waits for any longer came to its end.
    #[serde(rename = "quipu.run.effect_stopped.v1")]
    EffectStopped {
        /// The name of the effect.
        name: String,
        /// `cancelled`, or what it came to instead: `answered`, `responded`, `failed`, `lost`…
        came_to: String,
        /// Text that a model had sent before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<Personal<String>>,
    },
    /// Turn: the agent's configuration is pinned.
    #[serde(rename = "quipu.run.agent_pinned.v1")]
    AgentPinned {
        /// The agent's configuration, as the turn uses it.
        pin: AgentPin,
    },
    /// Turn: the model is asked.
    #[serde(rename = "quipu.run.model_asked.v1")]
    ModelAsked {
        /// Which model call of the turn, from 1.
        iteration: u32,
        /// Name of the effect.
        name: String,
    },
    /// Turn: the model answered.
    #[serde(rename = "quipu.run.model_answered.v1")]
    ModelAnswered {
        /// Which model call of the turn, from 1.
        iteration: u32,
        /// What the model answered.
        answer: LlmAnswer,
    },
    /// Turn: a tool is run.
    #[serde(rename = "quipu.run.tool_called.v1")]
    ToolCalled {
        /// Name of the effect.
        name: String,
        /// The tool call that is run.
        call: ToolCallRef,
    },
    /// Turn: a tool answered.
    #[serde(rename = "quipu.run.tool_returned.v1")]
    ToolReturned {
        /// Name of the effect.
        name: String,
        /// The `tool` message for the model.
        result: Personal<quipu_schemas::chat::ChatMessage>,
        /// Whether the tool succeeded.
        ok: bool,
    },
    /// Turn: the answer goes to the conversation.
    #[serde(rename = "quipu.run.reply_sent.v1")]
    ReplySent {
        /// Its id, derived from the run: a repeat is the same message. Its body is the model's last answer.
        message_id: MessageId,
    },
}
