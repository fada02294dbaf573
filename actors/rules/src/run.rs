//! Rules of a run: a workflow under way, or an agent's turn.
//!
//! A decision goes as far as it can: what needs no waiting is decided at once, and what must be waited for (effects,
//! timers, signals, people) leaves as an event from which the reaction follows. A decision that grows too large goes
//! on in one of its own. A step costs what it touches: the nodes behind what happened, not the size of the definition.
//!
//! **Pauses.** Nothing new starts. What is under way comes to its end and is recorded, and time runs on: a signal, an
//! approval, an outcome or a delay that comes during the pause ends the wait for it, and a deadline that passes without
//! an answer fails its node as ever. Effects go on being repeated. What follows all this waits for `resume`.

mod advance;
mod create;
mod decide;
mod draft;
mod follow;
mod forget;
mod graph;
mod needs;
mod nodes;
mod rejection;
mod state;
mod turn;
mod turn_state;

pub use forget::Ended;
pub use nodes::Nodes;
pub use rejection::RunRejection;
pub use state::{GraphRun, NodeRun, QueuedInput, Signal, Stage, Wait};
pub use turn_state::{TurnRun, TurnStage};

use crate::{
    components::Registry,
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    definition::Pinned,
};
use draft::Draft;
use quipu_kinds::run::{RunCommand, RunDispatchSettled, RunEffectSettled, RunEvent, RunStatus, RunTimerFired, RunWord};
use quipu_schemas::{
    context::Context, envelope::KernelCommand, ids::StreamId, personal::BlobRef, reaction::Reaction, record::Acting, role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use state::{Begun, acting_for};

/// The rules of runs.
#[derive(Debug)]
pub struct Run;

/// A run's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    /// It does not exist.
    Absent,
    /// A workflow.
    Graph(Box<GraphRun>),
    /// An agent's turn.
    Turn(Box<TurnRun>),
}

impl RunState {
    /// Where it stands; `None` where it does not exist.
    pub fn status(&self) -> Option<RunStatus> {
        match self {
            RunState::Absent => None,
            RunState::Graph(run) => Some(run.status),
            RunState::Turn(run) => Some(run.status),
        }
    }
}

/// Name of the timer by which a run goes on in another decision.
pub const ADVANCE: &str = "advance";

impl Decider for Run {
    const KIND: &'static str = "run";
    const RULES_VERSION: u32 = 4;
    const HEARS_ENTITIES: bool = true;
    const MAKES_VALUES: bool = true;
    type State = RunState;
    type Command = RunCommand;
    type Word = RunWord;
    type Event = RunEvent;
    type Rejection = RunRejection;

    fn initial() -> RunState {
        RunState::Absent
    }

    fn decide(state: &RunState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<RunEvent>, RunRejection> {
        authorize(state, asked, context)?;
        let mut draft = Draft::new(state.clone(), context);
        match (state, asked) {
            (RunState::Absent, Asked::Command(command)) => match command {
                RunCommand::Create(create) => create::create(create, &mut draft)?,
                _ => return Err(RunRejection::NoSuchRun),
            },
            (RunState::Absent, Asked::Word(word)) => match word {
                RunWord::CreateTurn(task) => turn::create(task, &mut draft)?,
                RunWord::EffectSettled(_) | RunWord::DispatchSettled(_) | RunWord::TimerFired(_) => {}
                RunWord::AgentReady(_) | RunWord::AgentUnavailable(_) => return Err(RunRejection::NoSuchRun),
            },
            (RunState::Graph(run), Asked::Command(command)) => decide::graph_command(run, command, &mut draft)?,
            (RunState::Graph(run), Asked::Word(word)) => decide::graph_word(run, word, &mut draft)?,
            (RunState::Turn(run), Asked::Command(command)) => decide::turn_command(run, command, &mut draft)?,
            (RunState::Turn(run), Asked::Word(word)) => decide::turn_word(run, word, &mut draft)?,
        }
        Ok(Decision::all(draft.events))
    }

    fn looks_into(state: &RunState) -> bool {
        matches!(state, RunState::Graph(run) if run.definition.plan().looks_into)
    }

    fn needs(state: &RunState, asked: &AskedOf<Self>) -> Vec<BlobRef> {
        match (state, asked) {
            (RunState::Absent, Asked::Command(RunCommand::Create(create))) => needs::of_create(create),
            (RunState::Absent | RunState::Turn(_), _) => Vec::new(),
            (RunState::Graph(run), asked) => needs::of(run, asked),
        }
    }

    fn evolve(state: RunState, event: &RunEvent) -> Result<RunState, Corrupt> {
        match (state, event) {
            (
                RunState::Absent,
                RunEvent::Created {
                    stream,
                    by,
                    principal,
                    credential,
                    acts_as,
                    definition,
                    digest,
                    input,
                    texts,
                    turn,
                    ..
                },
            ) => match turn {
                Some(task) => {
                    let creator = acting_for(by, principal.as_ref(), credential.as_ref());
                    Ok(RunState::Turn(Box::new(TurnRun::new(stream, creator, task))))
                }
                None => Ok(RunState::Graph(Box::new(GraphRun::new(Begun {
                    stream,
                    by,
                    principal: principal.as_ref(),
                    credential: credential.as_ref(),
                    acts_as: acts_as.as_ref(),
                    definition: Pinned::read(definition).map_err(|e| Corrupt(format!("definition of {stream}: {e}")))?,
                    digest: *digest,
                    input,
                    texts,
                })))),
            },
            (RunState::Absent, other) => Err(Corrupt(format!("a run cannot begin with {other:?}"))),
            (RunState::Graph(mut run), event) => {
                run.apply(event)?;
                Ok(RunState::Graph(run))
            }
            (RunState::Turn(mut run), event) => {
                run.apply(event)?;
                Ok(RunState::Turn(run))
            }
        }
    }

    fn react(state: &RunState, event: &RunEvent) -> Vec<Reaction> {
        match state {
            RunState::Absent => Vec::new(),
            RunState::Graph(run) => follow::react(run, event),
            RunState::Turn(run) => turn::react(run, event),
        }
    }

    /// A run acts in its creator's name, or in that of the principal whom they named, whoever's command moves it on: who
    /// approves or signals answers for the approval or signal, not for what the creator's definition does next.
    fn acts_as(state: &RunState) -> Option<Acting> {
        match state {
            RunState::Absent => None,
            RunState::Graph(run) => Some(run.acting()),
            RunState::Turn(run) => Some(acting_for(&run.by, run.principal.as_ref(), run.credential.as_ref())),
        }
    }

    fn names_actor(command: &str) -> Option<&'static str> {
        (command == "create").then_some("act_as")
    }

    fn right(command: &str) -> Right {
        match command {
            // A turn's own conversation and agent send these too, and an approval names whom it asks.
            "pause" | "resume" | "cancel" | "approve" | "reject" => Right::Rules,
            _ => Right::Role(Role::Member),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<RunWord> {
        match told {
            KernelCommand::EffectSettled {
                name,
                outcome,
                attempts,
                dead,
                ..
            } => Some(RunWord::EffectSettled(RunEffectSettled {
                name,
                outcome,
                attempts,
                dead,
            })),
            KernelCommand::DispatchSettled { name, outcome, .. } => Some(RunWord::DispatchSettled(RunDispatchSettled { name, outcome })),
            KernelCommand::TimerFired { name, .. } => Some(RunWord::TimerFired(RunTimerFired { name })),
            KernelCommand::EffectNote { .. } => None,
        }
    }
}

/// Members work with runs; a turn's own conversation and agent send its commands; the kernel sends the rest.
/// Approvals are checked against the node that asks.
fn authorize(state: &RunState, asked: &AskedOf<Run>, context: &Context<'_>) -> Result<(), RunRejection> {
    let sender = context.authority.dispatched_by.as_ref();
    let in_org = |stream: &StreamId| stream.org == context.stream.org;
    let allowed = match asked {
        Asked::Word(RunWord::EffectSettled(_) | RunWord::DispatchSettled(_) | RunWord::TimerFired(_)) => {
            context.authority.platform && sender.is_none()
        }
        Asked::Word(RunWord::CreateTurn(task)) => {
            context.authority.platform
                || sender.is_some_and(|s| in_org(s) && s.kind == quipu_schemas::ids::Kind::CONVERSATION && s.id == task.conversation)
        }
        Asked::Word(RunWord::AgentReady(_) | RunWord::AgentUnavailable(_)) => {
            context.authority.platform || matches!(state, RunState::Turn(run) if sender == Some(&run.agent()))
        }
        Asked::Command(RunCommand::Pause(_) | RunCommand::Resume(_)) => {
            context.may() || matches!(state, RunState::Turn(run) if sender == Some(&run.conversation()))
        }
        // The agent's runaway guard cancels, too.
        Asked::Command(RunCommand::Cancel(_)) => {
            let of_turn = |run: &TurnRun| sender == Some(&run.conversation()) || sender == Some(&run.agent());
            context.may() || matches!(state, RunState::Turn(run) if of_turn(run))
        }
        Asked::Command(RunCommand::Approve(_) | RunCommand::Reject(_)) => true,
        Asked::Command(
            RunCommand::Create(_) | RunCommand::Start(_) | RunCommand::Input(_) | RunCommand::Signal(_) | RunCommand::RetryNode(_),
        ) => context.may(),
    };
    if allowed { Ok(()) } else { Err(RunRejection::NotAllowed) }
}

fn become_status(from: RunStatus, to: RunStatus) -> Result<(), RunRejection> {
    if from.may_become(to) {
        Ok(())
    } else {
        Err(RunRejection::IllegalTransition { from, to })
    }
}

/// `resume` ends a pause and nothing else, though other ways lead to `running`.
fn resumable(from: RunStatus) -> Result<(), RunRejection> {
    if from == RunStatus::Paused {
        Ok(())
    } else {
        Err(RunRejection::IllegalTransition {
            from,
            to: RunStatus::Running,
        })
    }
}

fn registry() -> &'static Registry {
    Registry::builtin()
}

#[cfg(test)]
mod tests;
