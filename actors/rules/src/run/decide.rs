//! What each command and word does to a run that exists, a workflow's or a turn's.

use super::{Draft, GraphRun, RunRejection, TurnRun, become_status, graph, resumable, turn};
use crate::rights::CREDENTIAL_REVOKED;
use quipu_kinds::run::{RunCommand, RunEvent, RunStatus, RunWord};
use quipu_schemas::reaction::{Outcome, Settled};

type Done = Result<(), RunRejection>;

/// Whether a run ends because an effect has not left: the credential that caused it was revoked with all that it caused.
fn ends(status: RunStatus, outcome: &Outcome) -> bool {
    status.may_become(RunStatus::Cancelled) && matches!(outcome, Outcome::Failed { code, .. } if code == CREDENTIAL_REVOKED)
}

/// The same of what the run sent to another entity.
fn is_refused(status: RunStatus, settled: &Settled) -> bool {
    status.may_become(RunStatus::Cancelled) && matches!(settled, Settled::Refused { code } if code == CREDENTIAL_REVOKED)
}

/// Ends a run with the credential that it was begun by.
fn cut_off(name: &str, draft: &mut Draft<'_, '_>) -> Done {
    draft.cancel("the credential that began it was revoked with all that it caused")?;
    draft.emit(RunEvent::EffectStopped {
        name: name.to_owned(),
        came_to: CREDENTIAL_REVOKED.to_owned(),
        partial: None,
    })
}

pub(super) fn graph_command(run: &GraphRun, command: &RunCommand, draft: &mut Draft<'_, '_>) -> Done {
    match command {
        RunCommand::Create(_) => Err(RunRejection::AlreadyExists),
        RunCommand::Start(_) => {
            become_status(run.status, RunStatus::Initializing)?;
            graph::start(run, draft)
        }
        RunCommand::Input(input) => graph::give_input(run, input, draft),
        RunCommand::Signal(signal) => graph::signal(run, signal, draft),
        RunCommand::Approve(answer) => graph::answer(run, answer, true, draft),
        RunCommand::Reject(answer) => graph::answer(run, answer, false, draft),
        RunCommand::Pause(pause) => {
            become_status(run.status, RunStatus::Paused)?;
            draft.pause(&pause.reason)
        }
        RunCommand::Resume(_) => {
            resumable(run.status)?;
            graph::resume(run, draft)
        }
        RunCommand::Cancel(cancel) => {
            become_status(run.status, RunStatus::Cancelled)?;
            draft.cancel(&cancel.reason)
        }
        RunCommand::RetryNode(retry) => graph::retry_node(run, &retry.node, draft),
    }
}

pub(super) fn graph_word(run: &GraphRun, word: &RunWord, draft: &mut Draft<'_, '_>) -> Done {
    match word {
        RunWord::CreateTurn(_) => Err(RunRejection::AlreadyExists),
        RunWord::AgentReady(_) | RunWord::AgentUnavailable(_) => Err(RunRejection::NotATurn),
        RunWord::EffectSettled(settled) if ends(run.status, &settled.outcome) && graph::waits_for(run, &settled.name) => {
            cut_off(&settled.name, draft)
        }
        RunWord::DispatchSettled(settled) if is_refused(run.status, &settled.outcome) && graph::waits_for(run, &settled.name) => {
            cut_off(&settled.name, draft)
        }
        RunWord::EffectSettled(settled) => graph::effect_settled(run, settled, draft),
        RunWord::DispatchSettled(settled) => graph::dispatch_settled(run, settled, draft),
        RunWord::TimerFired(fired) => graph::timer_fired(run, &fired.name, draft),
    }
}

pub(super) fn turn_command(run: &TurnRun, command: &RunCommand, draft: &mut Draft<'_, '_>) -> Done {
    match command {
        RunCommand::Create(_) => Err(RunRejection::AlreadyExists),
        RunCommand::Start(_) => become_status(run.status, RunStatus::Initializing),
        RunCommand::Input(_) | RunCommand::Signal(_) | RunCommand::Approve(_) | RunCommand::Reject(_) | RunCommand::RetryNode(_) => {
            Err(RunRejection::NotAWorkflow)
        }
        RunCommand::Pause(pause) => {
            become_status(run.status, RunStatus::Paused)?;
            draft.pause(&pause.reason)
        }
        RunCommand::Resume(_) => {
            resumable(run.status)?;
            let by = draft.context.actor().clone();
            draft.emit(RunEvent::Resumed { by })?;
            turn::advance(draft)
        }
        RunCommand::Cancel(cancel) => {
            become_status(run.status, RunStatus::Cancelled)?;
            draft.cancel(&cancel.reason)
        }
    }
}

pub(super) fn turn_word(run: &TurnRun, word: &RunWord, draft: &mut Draft<'_, '_>) -> Done {
    match word {
        RunWord::CreateTurn(task) if *task == run.task => Ok(()),
        RunWord::CreateTurn(_) => Err(RunRejection::AlreadyExists),
        RunWord::AgentReady(ready) => turn::agent_ready(run, &ready.pin, draft),
        RunWord::AgentUnavailable(word) => turn::agent_unavailable(run, word, draft),
        RunWord::EffectSettled(settled) if ends(run.status, &settled.outcome) && run.in_flight().contains(&settled.name) => {
            cut_off(&settled.name, draft)
        }
        RunWord::EffectSettled(settled) => turn::effect_settled(run, settled, draft),
        RunWord::DispatchSettled(settled) => turn::dispatch_settled(run, settled, draft),
        RunWord::TimerFired(fired) => turn::timer_fired(&fired.name, draft),
    }
}
