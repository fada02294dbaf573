//! Words of an agent: configuration, status and runaway guard.

use quipu_schemas::{
    chat::ToolSpec,
    digest::Digest,
    envelope::DataClass,
    reaction::{ModelConfig, ToolCallRef},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentCommand {
    /// Registers the agent; its id is its principal.
    Create(CreateAgent),
    /// Stores an immutable directive version.
    AddDirective(AddDirective),
    /// Points at the directive version in force.
    ActivateDirective(ActivateDirective),
    /// Changes the model.
    ConfigureModel(ConfigureModel),
    /// Grants a tool (replacing one of the same name).
    GrantTool(GrantTool),
    /// Takes a tool away.
    RevokeTool(RevokeTool),
    /// Sets limits of the runaway guard.
    ConfigureGuard(ConfigureGuard),
    /// Stops the agent from taking turns.
    Suspend(SuspendAgent),
    /// Ends a suspension and clears the guard.
    Resume(ResumeAgent),
    /// Ends the agent for good.
    Retire(RetireAgent),
}

/// What runs send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentWord {
    /// Asks for the configuration to execute a won turn with.
    StartTurn(StartTurn),
    /// Reports the tool calls of a turn to the runaway guard.
    ReportCalls(ReportCalls),
}

/// Registers an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgent {
    /// Display name, 1 to 200 characters.
    pub name: String,
    /// The model that it asks.
    pub model: ModelConfig,
    /// First directive, made active at once; at most 32 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directive: Option<String>,
    /// The tools that it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// How sensitive its data is.
    #[serde(default)]
    pub data_class: DataClass,
}

/// Adds a directive version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDirective {
    /// Text, 1 byte to 32 KiB.
    pub text: String,
    /// Whether to make it active at once.
    #[serde(default)]
    pub activate: bool,
}

/// Activates a directive version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateDirective {
    /// SHA-256 of its text.
    pub digest: Digest,
}

/// Changes the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigureModel {
    /// The model to ask from here on.
    pub model: ModelConfig,
}

/// Grants a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantTool {
    /// The tool that the agent may call.
    pub tool: ToolSpec,
}

/// Revokes a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeTool {
    /// The name of the tool.
    pub name: String,
}

/// The runaway guard's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigureGuard {
    /// Most model calls of one turn, 1 to 1,000.
    pub max_iterations: u32,
    /// Equal tool calls among the last 20 that suspend the agent, 2 to 20.
    pub max_repeats: u32,
}

/// Suspends the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendAgent {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Ends a suspension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeAgent {}

/// Retires the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireAgent {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Starts a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTurn {
    /// The run that executes it; it gets `agent_ready` or `agent_unavailable`.
    pub run: quipu_schemas::ids::EntityId,
}

/// Reports tool calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportCalls {
    /// The run that made them.
    pub run: quipu_schemas::ids::EntityId,
    /// The calls, in order.
    pub calls: Vec<ToolCallRef>,
}

/// What happened to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum AgentEvent {
    /// The agent exists.
    #[serde(rename = "quipu.agent.created.v1")]
    Created {
        /// Its org (reactions address the org's runs by it).
        org: quipu_schemas::ids::OrgId,
        /// The agent's display name.
        name: String,
        /// The model that it asks.
        model: ModelConfig,
        /// How sensitive its data is.
        #[serde(default)]
        data_class: DataClass,
        /// Its id: its principal is called so. Agents of earlier releases have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<quipu_schemas::ids::EntityId>,
        /// Who made it, and answers for its principal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<quipu_schemas::ids::PrincipalId>,
    },
    /// A directive version is stored.
    #[serde(rename = "quipu.agent.directive_added.v1")]
    DirectiveAdded {
        /// SHA-256 of the text.
        digest: Digest,
        /// The text of the directive.
        text: String,
    },
    /// A directive version is in force.
    #[serde(rename = "quipu.agent.directive_activated.v1")]
    DirectiveActivated {
        /// The directive version in force.
        digest: Digest,
    },
    /// The model changed.
    #[serde(rename = "quipu.agent.model_configured.v1")]
    ModelConfigured {
        /// The model that is asked from here on.
        model: ModelConfig,
    },
    /// A tool is granted.
    #[serde(rename = "quipu.agent.tool_granted.v1")]
    ToolGranted {
        /// The tool that the agent may call.
        tool: ToolSpec,
    },
    /// A tool is taken away.
    #[serde(rename = "quipu.agent.tool_revoked.v1")]
    ToolRevoked {
        /// The name of the tool.
        name: String,
    },
    /// The guard has other limits.
    #[serde(rename = "quipu.agent.guard_configured.v1")]
    GuardConfigured {
        /// Most model calls of one turn.
        max_iterations: u32,
        /// Equal calls that suspend.
        max_repeats: u32,
    },
    /// A run got this configuration for its turn.
    #[serde(rename = "quipu.agent.turn_started.v1")]
    TurnStarted {
        /// The run that executes the turn.
        run: quipu_schemas::ids::EntityId,
        /// The agent's configuration, as the turn uses it.
        pin: crate::conversation::AgentPin,
    },
    /// A run was told that the agent takes no turn.
    #[serde(rename = "quipu.agent.turn_refused.v1")]
    TurnRefused {
        /// The org of the run (the agent may not exist).
        org: quipu_schemas::ids::OrgId,
        /// The run that asked.
        run: quipu_schemas::ids::EntityId,
        /// The refusal's code; it stays the same from version to version.
        code: String,
        /// Why the agent takes no turn, in words.
        detail: String,
    },
    /// Tool calls were counted.
    #[serde(rename = "quipu.agent.calls_reported.v1")]
    CallsReported {
        /// The run that made the calls.
        run: quipu_schemas::ids::EntityId,
        /// The calls, without their arguments.
        calls: Vec<ToolCallRef>,
    },
    /// The guard tripped; a suspension follows.
    #[serde(rename = "quipu.agent.loop_detected.v1")]
    LoopDetected {
        /// The run that repeated itself.
        run: quipu_schemas::ids::EntityId,
        /// The repeated tool.
        tool: String,
        /// How often the same call was made.
        repeats: u32,
    },
    /// No more turns.
    #[serde(rename = "quipu.agent.suspended.v1")]
    Suspended {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// The agent takes turns again.
    #[serde(rename = "quipu.agent.resumed.v1")]
    Resumed {},
    /// The agent takes no turn ever again.
    #[serde(rename = "quipu.agent.retired.v1")]
    Retired {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
}
