//! Why an agent refuses.

use crate::decider::Refusal;
use quipu_schemas::{
    digest::Digest,
    ids::EntityId,
    limits::{DIRECTIVE_MAX_BYTES, DIRECTIVES_MAX, NAME_MAX_CHARS, REASON_MAX_CHARS, TOOLS_MAX},
    problem::Problem,
};

/// Why an agent refuses.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentRejection {
    /// Already created.
    Exists(EntityId),
    /// The id is kept for people.
    ReservedId(EntityId),
    /// Not created.
    NotFound(EntityId),
    /// Retired for good.
    Retired(EntityId),
    /// Only admins of the org configure agents.
    AdminNeeded,
    /// Sent on behalf of a run by something else.
    NotTheRun(EntityId),
    /// The name is out of bounds.
    BadName,
    /// The reason is too long.
    BadReason,
    /// The directive is empty or too large.
    BadDirective {
        /// The field.
        field: &'static str,
        /// Its bytes.
        bytes: usize,
    },
    /// Too many directive versions.
    TooManyDirectives,
    /// No such directive version.
    UnknownDirective(Digest),
    /// The model's provider, name or parameter is out of bounds.
    BadModel {
        /// The field within `model`.
        field: &'static str,
        /// What is right.
        fix: &'static str,
    },
    /// A tool's name is outside its grammar.
    BadToolName(String),
    /// A tool's arguments are not a JSON Schema.
    BadToolParameters(String),
    /// A tool's method is not one of HTTP.
    BadToolMethod(String),
    /// A tool's URL is not absolute `http` or `https`.
    BadToolUrl(String),
    /// Two tools of one name.
    DuplicateTool(String),
    /// Too many tools.
    TooManyTools,
    /// No such tool.
    UnknownTool(String),
    /// A limit of the guard is out of bounds.
    BadGuard {
        /// The limit.
        field: &'static str,
        /// What is right.
        fix: &'static str,
    },
}

impl Refusal for AgentRejection {
    fn problem(&self) -> Problem {
        match self {
            AgentRejection::ReservedId(id) => reserved(id),
            AgentRejection::Exists(id) => Problem::new(409, "agent_exists", format!("agent {id} exists")).fix("choose another id"),
            AgentRejection::NotFound(id) => {
                Problem::new(404, "agent_not_found", format!("agent {id} does not exist")).fix("create it first")
            }
            AgentRejection::Retired(id) => {
                Problem::new(409, "agent_retired", format!("agent {id} is retired for good")).fix("create another agent")
            }
            AgentRejection::AdminNeeded => admin_needed(),
            AgentRejection::NotTheRun(run) => {
                Problem::new(403, "not_the_run", format!("only run {run} itself may say this")).fix("let the run send it")
            }
            AgentRejection::BadName => Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
                .field("name")
                .fix("use at most so many characters, some of them visible, and no line breaks or direction overrides"),
            AgentRejection::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            AgentRejection::BadDirective { field, bytes } => Problem::new(
                422,
                "bad_directive",
                format!("a directive of {bytes} bytes; 1 to {DIRECTIVE_MAX_BYTES} are allowed"),
            )
            .field(*field)
            .fix("shorten it, or split it into tools"),
            AgentRejection::TooManyDirectives => Problem::new(
                409,
                "too_many_directives",
                format!("an agent has at most {DIRECTIVES_MAX} directive versions"),
            )
            .fix("create another agent"),
            AgentRejection::UnknownDirective(digest) => Problem::new(404, "directive_not_found", format!("no directive version {digest}"))
                .field("digest")
                .fix("add its text first"),
            AgentRejection::BadModel { field, fix } => Problem::new(422, "bad_model", format!("model.{field} is out of bounds"))
                .field(format!("model.{field}"))
                .fix(*fix),
            AgentRejection::BadToolName(name) => Problem::new(422, "bad_tool_name", format!("`{name}` is not a tool's name"))
                .field("tool.name")
                .fix("use [A-Za-z0-9_-]{1,64}"),
            AgentRejection::BadToolParameters(name) => Problem::new(
                422,
                "bad_tool_parameters",
                format!("the parameters of {name} are not a JSON Schema"),
            )
            .field("tool.parameters")
            .fix("give an object, or nothing"),
            AgentRejection::BadToolMethod(name) => Problem::new(422, "bad_tool_method", format!("the method of {name} is not known"))
                .field("tool.run.method")
                .fix("use GET, POST, PUT, PATCH or DELETE"),
            AgentRejection::BadToolUrl(name) => Problem::new(422, "bad_tool_url", format!("the URL of {name} is not absolute"))
                .field("tool.run.url")
                .fix("begin with http:// or https:// and a host"),
            AgentRejection::DuplicateTool(name) => Problem::new(422, "duplicate_tool", format!("duplicate {name}"))
                .field("tools")
                .fix("name each tool once"),
            AgentRejection::TooManyTools => {
                Problem::new(409, "too_many_tools", format!("an agent has at most {TOOLS_MAX} tools")).fix("revoke one first")
            }
            AgentRejection::UnknownTool(name) => Problem::new(404, "tool_not_found", format!("{name} is not granted"))
                .field("name")
                .fix("see the agent's tools"),
            AgentRejection::BadGuard { field, fix } => Problem::new(422, "bad_guard", format!("{field} is out of bounds"))
                .field(*field)
                .fix(*fix),
        }
    }
}

fn reserved(id: &EntityId) -> Problem {
    Problem::new(422, "reserved_id", format!("ids like {id} are kept for people"))
        .field("id")
        .fix("choose one that does not begin with `usr_`")
}

fn admin_needed() -> Problem {
    Problem::new(403, "role_needed", "configuring an agent takes admin of the org").fix("ask an admin of the org")
}
