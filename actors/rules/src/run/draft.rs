//! A decision being made: each event is folded as soon as it is said, so that the next one is decided on the state
//! that readers will see. The state is a copy that shares its parts with the entity's own; only what a decision
//! changes is copied.

use super::{Run, RunRejection, RunState};
use crate::{decider::Decider, text::is_reason};
use quipu_kinds::run::RunEvent;
use quipu_schemas::{
    context::Context,
    limits::{RUN_DECISION_MAX_BYTES, RUN_DECISION_MAX_STEPS},
};
use serde::Serialize;
use std::{collections::BTreeSet, io::Write};

/// Events so far, and the state after them.
pub(super) struct Draft<'a, 'c> {
    pub(super) state: RunState,
    pub(super) events: Vec<RunEvent>,
    pub(super) context: &'a Context<'c>,
    /// Ranks of the nodes that may go on because of what was said.
    pub(super) touched: BTreeSet<usize>,
    bytes: usize,
    steps: usize,
}

impl<'a, 'c> Draft<'a, 'c> {
    pub(super) fn new(state: RunState, context: &'a Context<'c>) -> Self {
        Self {
            state,
            events: Vec::new(),
            context,
            touched: BTreeSet::new(),
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
        self.bytes += json_len(&(&event, &follows));
        self.touch(&event);
        self.events.push(event);
        Ok(())
    }

    /// Remembers who may go on after an event: what it does not lead to stands as it stood.
    fn touch(&mut self, event: &RunEvent) {
        let RunState::Graph(run) = &self.state else { return };
        let plan = run.definition.plan();
        let planned = |id: &str| plan.places.get(id).map(|place| &plan.nodes[*place]);
        match event {
            RunEvent::NodeCompleted { node, .. } | RunEvent::NodeFailed { node, .. } | RunEvent::NodeSkipped { node } => {
                self.touched.extend(planned(node).iter().flat_map(|node| &node.followers));
            }
            RunEvent::InputGiven { port, .. } => self.touched.extend(plan.readers.get(port).into_iter().flatten()),
            RunEvent::SignalReceived { name, .. } => {
                let ranks = run.nodes.listening(name).filter_map(|id| planned(id)?.rank);
                self.touched.extend(ranks);
            }
            RunEvent::Started {} | RunEvent::Resumed { .. } | RunEvent::NodeRetried { .. } => self.touch_all(),
            RunEvent::Created { .. }
            | RunEvent::Initialized {}
            | RunEvent::NodeStarted { .. }
            | RunEvent::InputQueued { .. }
            | RunEvent::InputDrained { .. }
            | RunEvent::ApprovalGiven { .. }
            | RunEvent::ApprovalRefused { .. }
            | RunEvent::MessageSent { .. }
            | RunEvent::Paused { .. }
            | RunEvent::Completed { .. }
            | RunEvent::Failed { .. }
            | RunEvent::Cancelled { .. }
            | RunEvent::AdvanceDeferred { .. }
            | RunEvent::EffectStopped { .. }
            | RunEvent::AgentPinned { .. }
            | RunEvent::ModelAsked { .. }
            | RunEvent::ModelAnswered { .. }
            | RunEvent::ToolCalled { .. }
            | RunEvent::ToolReturned { .. }
            | RunEvent::ReplySent { .. } => {}
        }
    }

    /// Looks at every node: another decision may have left some that can go on.
    pub(super) fn touch_all(&mut self) {
        if let RunState::Graph(run) = &self.state {
            self.touched.extend(0..run.definition.plan().order.len());
        }
    }

    /// Whether one more step fits; otherwise the run goes on in a decision of its own, which is said here, once.
    pub(super) fn step(&mut self) -> Result<bool, RunRejection> {
        if self.bytes < RUN_DECISION_MAX_BYTES && self.steps < RUN_DECISION_MAX_STEPS {
            self.steps += 1;
            return Ok(true);
        }
        self.defer()?;
        Ok(false)
    }

    /// Says, once, that the run goes on in a decision of its own.
    pub(super) fn defer(&mut self) -> Result<(), RunRejection> {
        if !matches!(self.events.last(), Some(RunEvent::AdvanceDeferred { .. })) {
            self.emit(RunEvent::AdvanceDeferred { due: self.context.now })?;
        }
        Ok(())
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

/// Bytes of a value's JSON.
fn json_len(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => 0,
    }
}

fn checked(reason: &str) -> Result<String, RunRejection> {
    if is_reason(reason) {
        Ok(reason.to_owned())
    } else {
        Err(RunRejection::ReasonTooLong)
    }
}
