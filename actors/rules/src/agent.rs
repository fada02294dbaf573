//! Rules of an agent: its configuration, its status, and the guard that stops it when it runs away.

mod checks;
mod rejection;

pub use rejection::AgentRejection;

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    text,
};
use checks::{check_directive, check_model, check_reason, check_tool};
use quipu_kinds::{
    agent::{AgentCommand, AgentEvent, AgentWord, ConfigureGuard, CreateAgent, ReportCalls, StartTurn},
    conversation::AgentPin,
};
use quipu_schemas::{
    chat::ToolSpec,
    context::Context,
    digest::Digest,
    envelope::DataClass,
    ids::{EntityId, Kind, OrgId, StreamId},
    json::Json,
    limits::{DIRECTIVES_MAX, RUNAWAY_REPEATS, RUNAWAY_WINDOW_CALLS, TOOLS_MAX, TURN_ITERATIONS_LIMIT, TURN_MAX_ITERATIONS},
    reaction::{Dispatch, ModelConfig, Reaction, ToolCallRef},
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The kind `agent`.
pub struct Agent;

/// State of an agent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Not created (a run may have asked for it and been refused).
    #[default]
    Missing,
    /// Takes turns.
    Active(Configuration),
    /// Takes no turns until resumed; may be configured.
    Suspended {
        /// The agent's configuration.
        agent: Configuration,
        /// Why.
        reason: String,
    },
    /// Gone for good.
    Retired {
        /// Its last name.
        name: String,
        /// Its org.
        org: OrgId,
        /// Why.
        reason: String,
    },
}

/// What an agent is set up with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Configuration {
    /// Its org.
    pub org: OrgId,
    /// Display name.
    pub name: String,
    /// Label.
    pub data_class: DataClass,
    /// Model.
    #[serde(with = "quipu_schemas::json::text_in_binary")]
    #[schemars(with = "ModelConfig")]
    pub model: ModelConfig,
    /// Directive versions, by the SHA-256 of their text (the texts stay in the log).
    pub directives: BTreeSet<Digest>,
    /// The directive in force.
    pub directive: Option<Digest>,
    /// Granted tools, by name.
    #[serde(with = "quipu_schemas::json::text_in_binary")]
    #[schemars(with = "BTreeMap<String, ToolSpec>")]
    pub tools: BTreeMap<String, ToolSpec>,
    /// The runaway guard.
    pub guard: Guard,
}

/// The runaway guard: limits, and the fingerprints of the last calls, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Guard {
    /// Most model calls of one turn.
    pub max_iterations: u32,
    /// Equal calls in the window that suspend.
    pub max_repeats: u32,
    /// The window.
    pub recent: VecDeque<Digest>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_iterations: TURN_MAX_ITERATIONS,
            max_repeats: RUNAWAY_REPEATS as u32,
            recent: VecDeque::new(),
        }
    }
}

impl Guard {
    fn count(&mut self, fingerprint: Digest) -> u32 {
        self.recent.push_back(fingerprint);
        if self.recent.len() > RUNAWAY_WINDOW_CALLS {
            self.recent.pop_front();
        }
        self.recent.iter().filter(|seen| **seen == fingerprint).count() as u32
    }
}

impl Decider for Agent {
    const KIND: &'static str = "agent";
    // 2: an agent whose guard nobody set asks its model up to 200 times a turn.
    const RULES_VERSION: u32 = 2;
    const HEARS_ENTITIES: bool = true;
    type State = AgentState;
    type Command = AgentCommand;
    type Word = AgentWord;
    type Event = AgentEvent;
    type Rejection = AgentRejection;

    fn initial() -> AgentState {
        AgentState::Missing
    }

    fn decide(state: &AgentState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<AgentEvent>, AgentRejection> {
        let id = &context.stream.id;
        // Runs ask and report for themselves; everything else configures and takes an admin.
        let command = match asked {
            Asked::Word(word) => return heed(state, word, context),
            Asked::Command(command) if context.may() => command,
            Asked::Command(_) => return Err(AgentRejection::AdminNeeded),
        };
        match state {
            AgentState::Missing => match command {
                AgentCommand::Create(create) => decide_create(create, context),
                AgentCommand::AddDirective(_)
                | AgentCommand::ActivateDirective(_)
                | AgentCommand::ConfigureModel(_)
                | AgentCommand::GrantTool(_)
                | AgentCommand::RevokeTool(_)
                | AgentCommand::ConfigureGuard(_)
                | AgentCommand::Suspend(_)
                | AgentCommand::Resume(_)
                | AgentCommand::Retire(_) => Err(AgentRejection::NotFound(id.clone())),
            },
            AgentState::Active(agent) => decide_existing(agent, false, command, context),
            AgentState::Suspended { agent, .. } => decide_existing(agent, true, command, context),
            AgentState::Retired { .. } => match command {
                AgentCommand::Retire(_) => Ok(Decision::Unchanged),
                AgentCommand::Create(_) => Err(AgentRejection::Exists(id.clone())),
                AgentCommand::AddDirective(_)
                | AgentCommand::ActivateDirective(_)
                | AgentCommand::ConfigureModel(_)
                | AgentCommand::GrantTool(_)
                | AgentCommand::RevokeTool(_)
                | AgentCommand::ConfigureGuard(_)
                | AgentCommand::Suspend(_)
                | AgentCommand::Resume(_) => Err(AgentRejection::Retired(id.clone())),
            },
        }
    }

    fn right(_: &str) -> Right {
        Right::Role(Role::Admin)
    }

    fn evolve(state: AgentState, event: &AgentEvent) -> Result<AgentState, Corrupt> {
        let corrupt = |what: &str| Err(Corrupt(format!("{what}: {event:?}")));
        match state {
            AgentState::Missing => match event {
                AgentEvent::Created {
                    org,
                    name,
                    model,
                    data_class,
                    id: _,
                    owner: _,
                } => Ok(AgentState::Active(Configuration {
                    org: org.clone(),
                    name: name.clone(),
                    data_class: *data_class,
                    model: model.clone(),
                    directives: BTreeSet::new(),
                    directive: None,
                    tools: BTreeMap::new(),
                    guard: Guard::default(),
                })),
                AgentEvent::TurnRefused { .. } => Ok(AgentState::Missing),
                AgentEvent::DirectiveAdded { .. }
                | AgentEvent::DirectiveActivated { .. }
                | AgentEvent::ModelConfigured { .. }
                | AgentEvent::ToolGranted { .. }
                | AgentEvent::ToolRevoked { .. }
                | AgentEvent::GuardConfigured { .. }
                | AgentEvent::TurnStarted { .. }
                | AgentEvent::CallsReported { .. }
                | AgentEvent::LoopDetected { .. }
                | AgentEvent::Suspended { .. }
                | AgentEvent::Resumed {}
                | AgentEvent::Retired { .. } => corrupt("the agent does not exist"),
            },
            AgentState::Active(agent) => match event {
                AgentEvent::Suspended { reason } => Ok(AgentState::Suspended {
                    agent,
                    reason: reason.clone(),
                }),
                AgentEvent::TurnStarted { .. } => Ok(AgentState::Active(agent)),
                AgentEvent::Resumed {} => corrupt("the agent is not suspended"),
                AgentEvent::TurnRefused { .. } => corrupt("an active agent takes turns"),
                AgentEvent::Retired { reason } => Ok(AgentState::Retired {
                    name: agent.name,
                    org: agent.org,
                    reason: reason.clone(),
                }),
                AgentEvent::Created { .. }
                | AgentEvent::DirectiveAdded { .. }
                | AgentEvent::DirectiveActivated { .. }
                | AgentEvent::ModelConfigured { .. }
                | AgentEvent::ToolGranted { .. }
                | AgentEvent::ToolRevoked { .. }
                | AgentEvent::GuardConfigured { .. }
                | AgentEvent::CallsReported { .. }
                | AgentEvent::LoopDetected { .. } => configure(agent, event).map(AgentState::Active),
            },
            AgentState::Suspended { mut agent, reason } => match event {
                AgentEvent::Resumed {} => {
                    agent.guard.recent.clear();
                    Ok(AgentState::Active(agent))
                }
                AgentEvent::TurnRefused { .. } => Ok(AgentState::Suspended { agent, reason }),
                AgentEvent::TurnStarted { .. } | AgentEvent::Suspended { .. } => corrupt("the agent is suspended"),
                AgentEvent::Retired { reason } => Ok(AgentState::Retired {
                    name: agent.name,
                    org: agent.org,
                    reason: reason.clone(),
                }),
                AgentEvent::Created { .. }
                | AgentEvent::DirectiveAdded { .. }
                | AgentEvent::DirectiveActivated { .. }
                | AgentEvent::ModelConfigured { .. }
                | AgentEvent::ToolGranted { .. }
                | AgentEvent::ToolRevoked { .. }
                | AgentEvent::GuardConfigured { .. }
                | AgentEvent::CallsReported { .. }
                | AgentEvent::LoopDetected { .. } => configure(agent, event).map(|agent| AgentState::Suspended { agent, reason }),
            },
            AgentState::Retired { .. } => match event {
                AgentEvent::TurnRefused { .. } => Ok(state),
                AgentEvent::Created { .. }
                | AgentEvent::DirectiveAdded { .. }
                | AgentEvent::DirectiveActivated { .. }
                | AgentEvent::ModelConfigured { .. }
                | AgentEvent::ToolGranted { .. }
                | AgentEvent::ToolRevoked { .. }
                | AgentEvent::GuardConfigured { .. }
                | AgentEvent::TurnStarted { .. }
                | AgentEvent::CallsReported { .. }
                | AgentEvent::LoopDetected { .. }
                | AgentEvent::Suspended { .. }
                | AgentEvent::Resumed {}
                | AgentEvent::Retired { .. } => corrupt("the agent is retired"),
            },
        }
    }

    fn react(state: &AgentState, event: &AgentEvent) -> Vec<Reaction> {
        let org = match state {
            AgentState::Missing => None,
            AgentState::Active(agent) | AgentState::Suspended { agent, .. } => Some(&agent.org),
            AgentState::Retired { org, .. } => Some(org),
        };
        let tell = |org: Option<&OrgId>, run: &EntityId, command: serde_json::Value| {
            org.map(|org| {
                let to = StreamId::new(org.clone(), Kind::RUN, run.clone());
                Reaction::Dispatch(Dispatch::new(to, Json(command)))
            })
            .into_iter()
            .collect()
        };
        match event {
            AgentEvent::TurnStarted { run, pin } => tell(org, run, json!({ "agent_ready": { "pin": pin } })),
            AgentEvent::TurnRefused { org, run, code, detail } => {
                tell(Some(org), run, json!({ "agent_unavailable": { "code": code, "detail": detail } }))
            }
            AgentEvent::LoopDetected { run, tool, repeats } => tell(
                org,
                run,
                json!({ "cancel": { "reason": format!("loop detected: {tool} was called {repeats} times with the same arguments") } }),
            ),
            AgentEvent::Created {
                org,
                name,
                id: Some(id),
                owner: Some(owner),
                ..
            } => {
                let to = StreamId::new(org.clone(), Kind::PRINCIPAL, id.clone());
                let create = json!({ "create_agent": { "name": name, "owner": owner } });
                vec![Reaction::Dispatch(Dispatch::new(to, Json(create)))]
            }
            AgentEvent::Created { .. }
            | AgentEvent::DirectiveAdded { .. }
            | AgentEvent::DirectiveActivated { .. }
            | AgentEvent::ModelConfigured { .. }
            | AgentEvent::ToolGranted { .. }
            | AgentEvent::ToolRevoked { .. }
            | AgentEvent::GuardConfigured { .. }
            | AgentEvent::CallsReported { .. }
            | AgentEvent::Suspended { .. }
            | AgentEvent::Resumed {}
            | AgentEvent::Retired { .. } => Vec::new(),
        }
    }
}

/// Decides what the run of a turn sends.
fn heed(state: &AgentState, word: &AgentWord, context: &Context<'_>) -> Result<Decision<AgentEvent>, AgentRejection> {
    let id = &context.stream.id;
    let (AgentWord::StartTurn(StartTurn { run }) | AgentWord::ReportCalls(ReportCalls { run, .. })) = word;
    require_run(run, context)?;
    Ok(match word {
        AgentWord::StartTurn(start) => match state {
            AgentState::Missing => refuse_turn(start, context, "agent_not_found", format!("agent {id} does not exist")),
            AgentState::Retired { .. } => refuse_turn(start, context, "agent_retired", format!("agent {id} is retired")),
            AgentState::Suspended { reason, .. } => {
                refuse_turn(start, context, "agent_suspended", format!("agent {id} is suspended: {reason}"))
            }
            AgentState::Active(agent) => Decision::one(AgentEvent::TurnStarted {
                run: start.run.clone(),
                pin: pin(agent, context.version),
            }),
        },
        AgentWord::ReportCalls(report) => match state {
            AgentState::Missing => return Err(AgentRejection::NotFound(id.clone())),
            // Calls of turns that outlive the agent have nobody left to suspend.
            AgentState::Retired { .. } => Decision::Unchanged,
            AgentState::Active(agent) => decide_report(agent, false, report),
            AgentState::Suspended { agent, .. } => decide_report(agent, true, report),
        },
    })
}

fn require_run(run: &EntityId, context: &Context<'_>) -> Result<(), AgentRejection> {
    match &context.authority.dispatched_by {
        Some(sender) if sender.kind == Kind::RUN && sender.id == *run && sender.org == context.stream.org => Ok(()),
        None if context.authority.platform => Ok(()),
        Some(_) | None => Err(AgentRejection::NotTheRun(run.clone())),
    }
}

fn refuse_turn(start: &StartTurn, context: &Context<'_>, code: &str, detail: String) -> Decision<AgentEvent> {
    Decision::one(AgentEvent::TurnRefused {
        org: context.stream.org.clone(),
        run: start.run.clone(),
        code: code.into(),
        detail,
    })
}

fn decide_create(create: &CreateAgent, context: &Context<'_>) -> Result<Decision<AgentEvent>, AgentRejection> {
    if context.stream.id.is_person() {
        return Err(AgentRejection::ReservedId(context.stream.id.clone()));
    }
    if !text::is_display_name(&create.name) {
        return Err(AgentRejection::BadName);
    }
    check_model(&create.model)?;
    if create.tools.len() > TOOLS_MAX {
        return Err(AgentRejection::TooManyTools);
    }
    let mut names = BTreeSet::new();
    for tool in &create.tools {
        check_tool(tool)?;
        if !names.insert(&tool.name) {
            return Err(AgentRejection::DuplicateTool(tool.name.clone()));
        }
    }
    let mut events = vec![AgentEvent::Created {
        org: context.stream.org.clone(),
        name: create.name.clone(),
        model: create.model.clone(),
        data_class: create.data_class,
        id: Some(context.stream.id.clone()),
        owner: Some(context.actor().clone()),
    }];
    if let Some(text) = &create.directive {
        let digest = check_directive("directive", text)?;
        events.push(AgentEvent::DirectiveAdded {
            digest,
            text: text.clone(),
        });
        events.push(AgentEvent::DirectiveActivated { digest });
    }
    events.extend(create.tools.iter().map(|tool| AgentEvent::ToolGranted { tool: tool.clone() }));
    Ok(Decision::Accept(events))
}

fn decide_existing(
    agent: &Configuration,
    suspended: bool,
    command: &AgentCommand,
    context: &Context<'_>,
) -> Result<Decision<AgentEvent>, AgentRejection> {
    let id = &context.stream.id;
    Ok(match command {
        AgentCommand::Create(_) => return Err(AgentRejection::Exists(id.clone())),
        AgentCommand::AddDirective(add) => {
            let digest = check_directive("text", &add.text)?;
            let mut events = Vec::new();
            if !agent.directives.contains(&digest) {
                if agent.directives.len() >= DIRECTIVES_MAX {
                    return Err(AgentRejection::TooManyDirectives);
                }
                events.push(AgentEvent::DirectiveAdded {
                    digest,
                    text: add.text.clone(),
                });
            }
            if add.activate && agent.directive != Some(digest) {
                events.push(AgentEvent::DirectiveActivated { digest });
            }
            Decision::all(events)
        }
        AgentCommand::ActivateDirective(activate) => {
            if !agent.directives.contains(&activate.digest) {
                return Err(AgentRejection::UnknownDirective(activate.digest));
            }
            changed(
                agent.directive != Some(activate.digest),
                AgentEvent::DirectiveActivated { digest: activate.digest },
            )
        }
        AgentCommand::ConfigureModel(configure) => {
            check_model(&configure.model)?;
            changed(
                agent.model != configure.model,
                AgentEvent::ModelConfigured {
                    model: configure.model.clone(),
                },
            )
        }
        AgentCommand::GrantTool(grant) => {
            check_tool(&grant.tool)?;
            let held = agent.tools.get(&grant.tool.name);
            if held.is_none() && agent.tools.len() >= TOOLS_MAX {
                return Err(AgentRejection::TooManyTools);
            }
            changed(held != Some(&grant.tool), AgentEvent::ToolGranted { tool: grant.tool.clone() })
        }
        AgentCommand::RevokeTool(revoke) => {
            if !agent.tools.contains_key(&revoke.name) {
                return Err(AgentRejection::UnknownTool(revoke.name.chars().take(80).collect()));
            }
            Decision::one(AgentEvent::ToolRevoked { name: revoke.name.clone() })
        }
        AgentCommand::ConfigureGuard(ConfigureGuard {
            max_iterations,
            max_repeats,
        }) => {
            if !(1..=TURN_ITERATIONS_LIMIT).contains(max_iterations) {
                return Err(AgentRejection::BadGuard {
                    field: "max_iterations",
                    fix: "use 1 to 1000",
                });
            }
            if !(2..=RUNAWAY_WINDOW_CALLS as u32).contains(max_repeats) {
                return Err(AgentRejection::BadGuard {
                    field: "max_repeats",
                    fix: "use 2 to 20",
                });
            }
            changed(
                (agent.guard.max_iterations, agent.guard.max_repeats) != (*max_iterations, *max_repeats),
                AgentEvent::GuardConfigured {
                    max_iterations: *max_iterations,
                    max_repeats: *max_repeats,
                },
            )
        }
        AgentCommand::Suspend(suspend) => {
            check_reason(&suspend.reason)?;
            changed(
                !suspended,
                AgentEvent::Suspended {
                    reason: suspend.reason.clone(),
                },
            )
        }
        AgentCommand::Resume(_) => changed(suspended, AgentEvent::Resumed {}),
        AgentCommand::Retire(retire) => {
            check_reason(&retire.reason)?;
            Decision::one(AgentEvent::Retired {
                reason: retire.reason.clone(),
            })
        }
    })
}

fn changed(differs: bool, event: AgentEvent) -> Decision<AgentEvent> {
    if differs { Decision::one(event) } else { Decision::Unchanged }
}

fn pin(agent: &Configuration, version: u64) -> AgentPin {
    AgentPin {
        version,
        model: agent.model.clone(),
        directive: agent.directive,
        tools: agent.tools.values().cloned().collect(),
        max_iterations: agent.guard.max_iterations,
    }
}

fn decide_report(agent: &Configuration, suspended: bool, report: &ReportCalls) -> Decision<AgentEvent> {
    if report.calls.is_empty() {
        return Decision::Unchanged;
    }
    let mut guard = agent.guard.clone();
    let worst = report
        .calls
        .iter()
        .map(|ToolCallRef { name, fingerprint, .. }| (guard.count(*fingerprint), name))
        .filter(|(repeats, _)| *repeats >= guard_limit(agent))
        .max_by_key(|(repeats, _)| *repeats);
    let mut events = vec![AgentEvent::CallsReported {
        run: report.run.clone(),
        calls: report.calls.clone(),
    }];
    if let Some((repeats, tool)) = worst {
        events.push(AgentEvent::LoopDetected {
            run: report.run.clone(),
            tool: tool.clone(),
            repeats,
        });
        // Another turn of an agent that is suspended already is stopped all the same.
        if !suspended {
            events.push(AgentEvent::Suspended {
                reason: format!("loop detected: {tool} repeated {repeats} times"),
            });
        }
    }
    Decision::Accept(events)
}

fn guard_limit(agent: &Configuration) -> u32 {
    agent.guard.max_repeats
}

fn configure(mut agent: Configuration, event: &AgentEvent) -> Result<Configuration, Corrupt> {
    let corrupt = |what: &str| Err(Corrupt(format!("{what}: {event:?}")));
    match event {
        AgentEvent::DirectiveAdded { digest, .. } => {
            if !agent.directives.insert(*digest) {
                return corrupt("directive versions are added once");
            }
        }
        AgentEvent::DirectiveActivated { digest } => {
            if !agent.directives.contains(digest) {
                return corrupt("unknown directive version");
            }
            agent.directive = Some(*digest);
        }
        AgentEvent::ModelConfigured { model } => agent.model = model.clone(),
        AgentEvent::ToolGranted { tool } => {
            agent.tools.insert(tool.name.clone(), tool.clone());
        }
        AgentEvent::ToolRevoked { name } => {
            if agent.tools.remove(name).is_none() {
                return corrupt("the tool is not granted");
            }
        }
        AgentEvent::GuardConfigured {
            max_iterations,
            max_repeats,
        } => {
            agent.guard.max_iterations = *max_iterations;
            agent.guard.max_repeats = *max_repeats;
        }
        AgentEvent::CallsReported { calls, .. } => {
            for call in calls {
                agent.guard.count(call.fingerprint);
            }
        }
        AgentEvent::LoopDetected { .. } => {}
        AgentEvent::Created { .. }
        | AgentEvent::TurnStarted { .. }
        | AgentEvent::TurnRefused { .. }
        | AgentEvent::Suspended { .. }
        | AgentEvent::Resumed {}
        | AgentEvent::Retired { .. } => return corrupt("the agent exists"),
    }
    Ok(agent)
}

#[cfg(test)]
mod tests;
