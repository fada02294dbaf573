//! Which values a decision looks into: those that the expressions of the nodes which may go on mention.
//!
//! What turns out to be missing is not lost: its node is then deferred to a decision of its own, for which everything that it
//! looks into comes first.

use super::{ADVANCE, GraphRun, Run, Stage};
use crate::{
    decider::{Asked, AskedOf},
    definition::Source,
    expression::{Depth, Mention},
};
use quipu_kinds::run::{CreateRun, RunCommand, RunWord};
use quipu_schemas::{
    json::Json,
    personal::{BlobRef, Personal},
    reaction::Outcome,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Of a run that is to be created: its inputs. Nobody knows yet who looks into them.
pub(super) fn of_create(create: &CreateRun) -> Vec<BlobRef> {
    let mut found = Vec::new();
    for value in create.input.values() {
        BlobRef::each_in(&value.0, &mut |blob| found.push(blob));
    }
    found.extend(create.texts.values().filter_map(Personal::blob));
    found
}

/// Of a run under way.
pub(super) fn of(run: &GraphRun, asked: &AskedOf<Run>) -> Vec<BlobRef> {
    let plan = run.definition.plan();
    if !plan.looks_into {
        return Vec::new();
    }
    let node_of = |name: &str| name.rsplit_once('#').map(|(node, _)| node.to_owned());
    // The node that goes on, if one does, and what it hands on then.
    let (moved, coming): (Vec<String>, Option<Value>) = match asked {
        Asked::Word(RunWord::EffectSettled(settled)) => (node_of(&settled.name).into_iter().collect(), brought_by(&settled.outcome)),
        Asked::Word(RunWord::DispatchSettled(settled)) => (node_of(&settled.name).into_iter().collect(), None),
        Asked::Word(RunWord::TimerFired(fired)) if fired.name != ADVANCE => (node_of(&fired.name).into_iter().collect(), None),
        Asked::Command(RunCommand::Approve(answer) | RunCommand::Reject(answer)) => (vec![answer.node.clone()], None),
        Asked::Command(RunCommand::Signal(signal)) => {
            let listening = run.nodes.listening(&signal.name).map(str::to_owned).collect();
            (listening, Some(signal.payload.0.clone()))
        }
        Asked::Command(RunCommand::Input(input)) => {
            let mut found = Finding::new(run, &[], Some((Some(&input.port), &input.payload.0)));
            plan.readers
                .get(&input.port)
                .into_iter()
                .flatten()
                .for_each(|rank| found.look(plan.order[*rank]));
            return found.found;
        }
        Asked::Command(RunCommand::Start(_) | RunCommand::Resume(_) | RunCommand::RetryNode(_)) | Asked::Word(RunWord::TimerFired(_)) => {
            let mut found = Finding::new(run, &[], None);
            plan.order.iter().for_each(|place| found.look(*place));
            return found.found;
        }
        Asked::Command(RunCommand::Create(_) | RunCommand::Pause(_) | RunCommand::Cancel(_))
        | Asked::Word(RunWord::CreateTurn(_) | RunWord::AgentReady(_) | RunWord::AgentUnavailable(_)) => return Vec::new(),
    };
    let coming = coming.as_ref().map(|value| (None, value));
    let mut found = Finding::new(run, &moved, coming);
    for place in moved.iter().filter_map(|id| plan.places.get(id)) {
        plan.nodes[*place].followers.iter().for_each(|rank| found.look(plan.order[*rank]));
    }
    found.found
}

/// What a settled effect hands on.
fn brought_by(outcome: &Outcome) -> Option<Value> {
    match outcome {
        Outcome::Answered(answer) => serde_json::to_value(&answer.text)
            .ok()
            .map(|text| serde_json::json!({ "text": text })),
        Outcome::Responded { body, .. } => Some(serde_json::json!({ "body": body })),
        Outcome::Sealed { .. }
        | Outcome::Shredded { .. }
        | Outcome::Refreshed { .. }
        | Outcome::Mailed { .. }
        | Outcome::ToolResult { .. }
        | Outcome::Failed { .. }
        | Outcome::Cancelled { .. }
        | Outcome::Lost { .. } => None,
    }
}

struct Finding<'a> {
    run: &'a GraphRun,
    /// Nodes that hand something on in this decision.
    moved: BTreeSet<&'a str>,
    /// What comes with the command: to an input, or from those nodes.
    coming: Option<(Option<&'a str>, &'a Value)>,
    found: Vec<BlobRef>,
}

impl<'a> Finding<'a> {
    fn new(run: &'a GraphRun, moved: &'a [String], coming: Option<(Option<&'a str>, &'a Value)>) -> Self {
        Self {
            run,
            moved: moved.iter().map(String::as_str).collect(),
            coming,
            found: Vec::new(),
        }
    }

    /// Takes what a node looks into, if it may go on in this decision.
    fn look(&mut self, place: usize) {
        let planned = &self.run.definition.plan().nodes[place];
        let stage = self.run.nodes.get(&self.run.definition.nodes[place].id).map(|node| &node.stage);
        if planned.mentions.is_empty() || !matches!(stage, None | Some(Stage::Waiting)) {
            return;
        }
        let is_ready = |source: &Source| match source {
            Source::Input(_) => true,
            Source::Node { node, .. } => {
                let id = self.run.definition.nodes[*node].id.as_str();
                self.moved.contains(id) || self.run.nodes.get(id).is_some_and(|node| node.stage.is_over())
            }
        };
        if planned.inbound.iter().all(|inbound| is_ready(&inbound.source)) {
            planned.mentions.iter().for_each(|mention| self.mention(place, mention));
        }
    }

    fn mention(&mut self, place: usize, mention: &Mention) {
        let fields: Vec<&str> = mention.path.iter().map(String::as_str).collect();
        match fields[..] {
            ["input", ref rest @ ..] => self.port(place, "in", rest, mention.depth),
            ["inputs", port, ref rest @ ..] => self.port(place, port, rest, mention.depth),
            ["inputs"] if mention.depth == Depth::Deep => {
                let inbound = &self.run.definition.plan().nodes[place].inbound;
                let ports: BTreeSet<&str> = inbound.iter().map(|inbound| inbound.port.as_str()).collect();
                ports.into_iter().for_each(|port| self.port(place, port, &[], mention.depth));
            }
            ["texts", ref rest @ ..] => {
                let run = self.run;
                let named = run
                    .texts
                    .iter()
                    .filter(|(name, _)| rest.first().is_none_or(|wanted| wanted == name));
                if rest.is_empty() && mention.depth == Depth::Deep || rest.len() == 1 && mention.depth != Depth::Handed {
                    self.found.extend(named.filter_map(|(_, text)| text.blob()));
                }
            }
            ["run", "input", name, ref rest @ ..] => self.input(name, rest, mention.depth),
            ["run"] | ["run", "input"] if mention.depth == Depth::Deep => {
                let names: Vec<&'a str> = self.run.inputs.keys().chain(self.run.series.keys()).map(String::as_str).collect();
                names.into_iter().for_each(|name| self.input(name, &[], mention.depth));
            }
            _ => {}
        }
    }

    fn port(&mut self, place: usize, port: &str, fields: &[&str], depth: Depth) {
        let run = self.run;
        for inbound in run.definition.plan().nodes[place]
            .inbound
            .iter()
            .filter(|inbound| inbound.port == port)
        {
            match &inbound.source {
                Source::Input(name) => self.input(name, fields, depth),
                Source::Node { node, port } => {
                    let id = run.definition.nodes[*node].id.as_str();
                    match run.nodes.get(id).map(|node| &node.stage) {
                        Some(Stage::Completed(output)) => {
                            if let Some(Json(value)) = output.get(port) {
                                self.along(value, fields, depth);
                            }
                        }
                        Some(stage) if self.moved.contains(id) => {
                            // A delay or an approval hands on what it holds, a signal and an effect what has come.
                            stage.values().for_each(|Json(value)| self.along(value, fields, depth));
                            self.coming(None, fields, depth);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn input(&mut self, name: &str, fields: &[&str], depth: Depth) {
        let run = self.run;
        let series = run.series.get(name).into_iter().flatten().map(|value| &**value);
        series
            .chain(run.inputs.get(name))
            .for_each(|Json(value)| self.along(value, fields, depth));
        self.coming(Some(name), fields, depth);
    }

    fn coming(&mut self, input: Option<&str>, fields: &[&str], depth: Depth) {
        let Some((to, value)) = self.coming else { return };
        if to != input {
            return;
        }
        // An answer's text leaves by a port of its own.
        match (input, fields, value.get("text")) {
            (None, _, Some(text)) if value.as_object().is_some_and(|map| map.len() == 1) => self.along(text, fields, depth),
            _ => self.along(value, fields, depth),
        }
    }

    /// What is sealed on the way to a part, and in it as far as it is looked into.
    fn along(&mut self, value: &Value, fields: &[&str], depth: Depth) {
        if let Some(blob) = BlobRef::of(value) {
            if !fields.is_empty() || depth != Depth::Handed {
                self.found.push(blob);
            }
            return;
        }
        match (fields.split_first(), value) {
            (Some((field, rest)), Value::Object(map)) => {
                if let Some(item) = map.get(*field) {
                    self.along(item, rest, depth);
                }
            }
            (None, Value::Object(_) | Value::Array(_)) if depth == Depth::Deep => {
                BlobRef::each_in(value, &mut |blob| self.found.push(blob));
            }
            _ => {}
        }
    }
}
