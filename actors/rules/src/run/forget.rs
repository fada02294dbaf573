//! What leaves the state of a run: values that nothing unfinished needs are in its history, and nowhere else.

use super::{GraphRun, NodeRun, Stage, state::size};
use crate::{
    definition::{OnFailure, Pinned, Source},
    shared::Shared,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes that ended, by what they might have looked into: each ends once, so that nobody counts those that are left.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// By input that leads to them.
    inputs: BTreeMap<String, u64>,
    /// Those that may name `run`.
    run: u64,
    /// Those that may name `texts`.
    texts: u64,
}

impl GraphRun {
    /// Whether a node may still need what leads to it: one that failed may be asked to run once more.
    fn is_open(&self, definition: &Pinned, place: usize) -> bool {
        let spec = &definition.nodes[place];
        match self.nodes.get(&spec.id).map(|node| &node.stage) {
            Some(Stage::Completed(_) | Stage::Skipped) => false,
            Some(Stage::Failed { .. }) => spec.on_failure != OnFailure::Continue,
            None | Some(Stage::Waiting | Stage::Waits(_) | Stage::Stopped(_)) => true,
        }
    }

    /// A node is done: what nobody else waits for leaves the state.
    pub(super) fn forget_behind(&mut self, id: &str) {
        let definition = self.definition.clone();
        let plan = definition.plan();
        let Some(place) = plan.places.get(id) else { return };
        let done = &plan.nodes[*place];
        let mut ports = BTreeSet::new();
        for inbound in &done.inbound {
            match &inbound.source {
                Source::Input(port) => drop(ports.insert(port)),
                Source::Node { node, port } => {
                    let readers = plan.nodes[*node].readers.get(port).map_or(&[][..], Vec::as_slice);
                    // The last is the likeliest to be open still.
                    let is_read = || readers.iter().rev().any(|reader| self.is_open(&definition, *reader));
                    if !plan.nodes[*node].to_outputs.contains(port) && !is_read() {
                        self.forget(&definition.nodes[*node].id, |name| name == port);
                    }
                }
            }
        }
        if self.is_open(&definition, *place) || (ports.is_empty() && !done.names_run && !done.names_texts) {
            return;
        }
        let ended = self.ended.change();
        ended.run += u64::from(done.names_run);
        ended.texts += u64::from(done.names_texts);
        for port in &ports {
            *ended.inputs.entry((*port).clone()).or_default() += 1;
        }
        if done.names_run {
            let given = self.inputs.keys().chain(self.series.keys());
            given.cloned().collect::<Vec<_>>().iter().for_each(|port| self.forget_input(port));
        } else {
            ports.into_iter().for_each(|port| self.forget_input(port));
        }
        if done.names_texts && self.ended.texts >= plan.name_texts as u64 {
            self.texts = Shared::default();
        }
    }

    /// Whether something unfinished may look into this input.
    fn needs_input(&self, port: &str) -> bool {
        let plan = self.definition.plan();
        let readers = plan.readers.get(port).map_or(0, BTreeSet::len) as u64;
        let ended = self.ended.inputs.get(port).copied().unwrap_or(0);
        plan.returned.contains(port) || ended < readers || self.ended.run < plan.name_run as u64
    }

    /// Lets an input go that nothing needs; that it was given, and how often, is remembered.
    pub(super) fn forget_input(&mut self, port: &str) {
        if (!self.inputs.contains_key(port) && !self.series.contains_key(port)) || self.needs_input(port) {
            return;
        }
        let mut count = 0;
        if self.inputs.contains_key(port) {
            self.inputs.change().remove(port);
            count = 1;
        }
        if self.series.contains_key(port) {
            let values = self.series.change().remove(port).unwrap_or_default();
            self.held_bytes -= values.iter().map(|value| size(value)).sum::<u64>();
            count = values.len() as u64;
        }
        *self.taken.change().entry(port.to_owned()).or_default() += count;
    }

    /// How many values of an input have come.
    pub(super) fn given(&self, port: &str) -> usize {
        let held = self.series.get(port).map_or(0, Vec::len) + usize::from(self.inputs.contains_key(port));
        held + self
            .taken
            .get(port)
            .map_or(0, |count| usize::try_from(*count).unwrap_or(usize::MAX))
    }

    fn forget(&mut self, id: &str, is_done_with: impl Fn(&str) -> bool) {
        let Some(NodeRun {
            attempts,
            name,
            timed,
            stage: Stage::Completed(output),
        }) = self.nodes.get(id)
        else {
            return;
        };
        if !output.keys().any(|port| is_done_with(port)) {
            return;
        }
        let kept = output.iter().filter(|(port, _)| !is_done_with(port));
        let node = NodeRun {
            attempts: *attempts,
            name: name.clone(),
            timed: *timed,
            stage: Stage::Completed(kept.map(|(port, value)| (port.clone(), value.clone())).collect()),
        };
        self.nodes.put(id, node);
    }

    /// What leads nowhere is in the history, and nowhere else.
    pub(super) fn forget_unread(&mut self, id: &str) {
        let definition = self.definition.clone();
        let plan = definition.plan();
        let Some(place) = plan.places.get(id) else { return };
        let connected = &plan.nodes[*place].connected;
        self.forget(id, |port| !connected.iter().any(|name| name == port));
    }

    /// The run is over and never goes on: its values are in its history.
    pub(super) fn forget_all(&mut self) {
        self.nodes.forget_outputs();
        self.inputs = Shared::default();
        self.series = Shared::default();
        self.texts = Shared::default();
        self.signals = Shared::default();
        self.held_bytes = 0;
    }
}
