//! A decision being made: each event is folded as soon as it is said, so that the next one is decided on the state
//! that readers will see.

use super::{Run, RunRejection, RunState};
use crate::{decider::Decider, text::is_reason};
use quipu_schemas::{
    context::Context,
    limits::{RUN_DECISION_MAX_BYTES, RUN_DECISION_MAX_STEPS},
    run::RunEvent,
};

/// Events so far, and the state after them.
pub(super) struct Draft<'a, 'c> {
    pub(super) state: RunState,
    pub(super) events: Vec<RunEvent>,
    pub(super) context: &'a Context<'c>,
    bytes: usize,
    steps: usize,
}

impl<'a, 'c> Draft<'a, 'c> {
    pub(super) fn new(state: RunState, context: &'a Context<'c>) -> Self {
        Self {
            state,
            events: Vec::new(),
            context,
            bytes: 0,
            steps: 0,
        }
    }

    /// Says an event.
    pub(super) fn emit(&mut self, event: RunEvent) -> Result<(), RunRejection> {
        let state = std::mem::replace(&mut self.state, RunState::Absent);
        self.state = Run::evolve(state, &event).map_err(|corrupt| RunRejection::Inconsistent(corrupt.0))?;
        // What follows from an event stands in the same record.
        let follows = Run::react(&self.state, &event);
        self.bytes += serde_json::to_string(&(&event, &follows)).map_or(0, |text| text.len());
        self.events.push(event);
        Ok(())
    }

    /// Whether one more step fits; otherwise the run goes on in a decision of its own, which is said here, once.
    pub(super) fn step(&mut self) -> Result<bool, RunRejection> {
        if self.bytes < RUN_DECISION_MAX_BYTES && self.steps < RUN_DECISION_MAX_STEPS {
            self.steps += 1;
            return Ok(true);
        }
        if !matches!(self.events.last(), Some(RunEvent::AdvanceDeferred { .. })) {
            self.emit(RunEvent::AdvanceDeferred { due: self.context.now })?;
        }
        Ok(false)
    }

    pub(super) fn pause(&mut self, reason: &str) -> Result<(), RunRejection> {
        let reason = checked(reason)?;
        self.emit(RunEvent::Paused {
            by: self.context.actor().clone(),
            reason,
        })
    }

    pub(super) fn cancel(&mut self, reason: &str) -> Result<(), RunRejection> {
        let reason = checked(reason)?;
        self.emit(RunEvent::Cancelled {
            by: self.context.actor().clone(),
            reason,
        })
    }
}

fn checked(reason: &str) -> Result<String, RunRejection> {
    if is_reason(reason) {
        Ok(reason.to_owned())
    } else {
        Err(RunRejection::ReasonTooLong)
    }
}
