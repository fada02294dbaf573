//! Runs with the timeline of their steps: nodes of a workflow, model and tool calls of an agent's turn.

use crate::{
    family::{Family, Tie},
    reading::{Filter, Reading, View, falling, one_of, rising},
    scope::{Scope, events},
    statement::{Statements, Value, json},
    table::{Table, count, index, index_only, int, json as json_column, text, text_or},
};
use quipu_kinds::run::{NodeWork, RunEvent as Event, RunStatus};
use serde_json::Value as Json;

/// One row a run; `state` is a [`RunStatus`].
pub static RUNS: Table = Table {
    name: "runs",
    key: &[text("id")],
    columns: &[
        text_or("state", "'pending'"),
        text("name"),
        text("digest"),
        json_column("input"),
        json_column("output"),
        text("created_by"),
        text("parent"),
        text("turn"),
        text("message"),
        text("agent"),
        text("failed_node"),
        text("code"),
        text("detail"),
        text("paused_by"),
        text("reason"),
        count("queued_inputs"),
        count("steps_ended"),
        count("version"),
        count("created_at"),
        int("started_at"),
        int("ended_at"),
        int("updated_at"),
    ],
    indexes: &[
        index("created_at, id"),
        index("state, created_at, id"),
        index_only("parent, created_at, id", "parent IS NOT NULL"),
    ],
};

/// One row a node, model call or tool call. `ordinal` is its place in the definition, or among the calls of a turn, and
/// never changes; `sequence` is the version at which it last moved on; `status` is `pending`, `waiting`, `completed`, `failed`,
/// `skipped` or `stopped`.
pub static RUN_STEPS: Table = Table {
    name: "run_steps",
    key: &[text("run"), text("step")],
    columns: &[
        count("ordinal"),
        count("sequence"),
        text("component"),
        text_or("status", "'pending'"),
        text("waits_for"),
        count("attempts"),
        text("effect"),
        json_column("output"),
        text("answer"),
        text("answered_by"),
        json_column("comment"),
        text("message"),
        text("code"),
        text("detail"),
        int("expires_at"),
        int("started_at"),
        int("ended_at"),
    ],
    indexes: &[index("run, ordinal, step"), index("run, sequence, step")],
};

static RUNS_READING: Reading = Reading {
    name: "runs",
    table: &RUNS,
    only: None,
    order: falling(&["created_at", "id"]),
    in_stream: None,
    orders: &[],
    named_by: &["id"],
    computed: &[],
    filters: &[
        (
            "state",
            one_of!("state": "pending", "initializing", "running", "paused", "completed", "failed", "cancelled"),
        ),
        ("name", Filter::Is("name")),
        ("parent", Filter::Is("parent")),
        ("turn", Filter::Is("turn")),
        ("agent", Filter::Is("agent")),
        ("created_from", Filter::From("created_at")),
        ("created_before", Filter::Before("created_at")),
    ],
};

static STEPS_READING: Reading = Reading {
    name: "steps",
    table: &RUN_STEPS,
    only: None,
    order: rising(&["run", "ordinal", "step"]),
    in_stream: None,
    orders: &[("timeline", rising(&["run", "sequence", "step"]))],
    named_by: &["run", "step"],
    computed: &[],
    filters: &[
        ("run", Filter::Is("run")),
        (
            "status",
            one_of!("status": "pending", "waiting", "completed", "failed", "skipped", "stopped"),
        ),
        ("component", Filter::Is("component")),
    ],
};

impl View {
    /// Runs.
    pub const RUNS: View = View::of(&RUNS_READING);
    /// The timeline of runs.
    pub const RUN_STEPS: View = View::of(&STEPS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "run",
    kind: Some("run"),
    version: 1,
    tables: &[&RUNS, &RUN_STEPS],
    views: &[View::RUNS, View::RUN_STEPS],
    parts: &[(View::RUN_STEPS, Tie::Id("run"))],
    counts: &[(View::RUNS, &["state"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: Event, out: &mut Statements) {
    let org = at.org();
    let id = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    let state = |state: RunStatus| ("state", Value::from(state.as_str()));
    out.put(&RUNS, org, [id()], [("version", at.version.into()), ("updated_at", now())]);
    match event {
        Event::Created {
            by,
            name,
            digest,
            definition,
            input,
            turn,
            ..
        } => {
            for (place, (node, component)) in nodes(&definition.0).enumerate() {
                let set = [
                    ("component", component.into()),
                    ("ordinal", place.into()),
                    ("sequence", at.version.into()),
                ];
                out.put(&RUN_STEPS, org, [id(), node.into()], set);
            }
            out.put(
                &RUNS,
                org,
                [id()],
                [
                    ("name", name.into()),
                    ("digest", digest.to_string().into()),
                    ("input", json(&input)),
                    ("created_by", (&by).into()),
                    ("created_at", now()),
                    state(RunStatus::Pending),
                ],
            );
            if let Some(task) = turn {
                let set = [
                    ("parent", format!("{org}/conversation/{}", task.conversation).into()),
                    ("turn", task.turn.into()),
                    ("message", (&task.message_id).into()),
                    ("agent", (&task.agent).into()),
                ];
                out.put(&RUNS, org, [id()], set);
            }
        }
        Event::Initialized {} => out.put(&RUNS, org, [id()], [state(RunStatus::Initializing)]),
        Event::Started {} => out.put(&RUNS, org, [id()], [state(RunStatus::Running), ("started_at", now())]),
        Event::NodeStarted {
            node,
            component,
            attempt,
            name,
            work,
        } => {
            let (waits_for, expires_at) = waits(&work);
            let set = [
                ("sequence", at.version.into()),
                ("component", component.into()),
                ("status", "waiting".into()),
                ("waits_for", waits_for.into()),
                ("expires_at", expires_at.into()),
                ("attempts", attempt.into()),
                ("effect", name.into()),
                ("code", Value::Null),
                ("detail", Value::Null),
                ("started_at", now()),
                ("ended_at", Value::Null),
            ];
            out.put(&RUN_STEPS, org, [id(), node.into()], set);
        }
        Event::NodeCompleted { node, output } => {
            ended(at, &node, "completed", out);
            out.put(&RUN_STEPS, org, [id(), node.into()], [("output", json(&output))]);
        }
        Event::NodeFailed {
            node,
            code,
            detail,
            attempts,
        } => {
            ended(at, &node, "failed", out);
            out.put(
                &RUN_STEPS,
                org,
                [id(), node.as_str().into()],
                [("code", code.into()), ("detail", detail.into())],
            );
            if attempts > 0 {
                out.put(&RUN_STEPS, org, [id(), node.into()], [("attempts", attempts.into())]);
            }
        }
        Event::NodeSkipped { node } => ended(at, &node, "skipped", out),
        Event::InputGiven { .. } | Event::SignalReceived { .. } | Event::AdvanceDeferred { .. } => {}
        Event::InputQueued { depth, .. } => out.put(&RUNS, org, [id()], [("queued_inputs", depth.into())]),
        Event::InputDrained { count: _ } => out.put(&RUNS, org, [id()], [("queued_inputs", 0u64.into())]),
        Event::ApprovalGiven { node, by, comment } => {
            let set = [
                ("answer", "approved".into()),
                ("answered_by", (&by).into()),
                ("comment", comment.as_ref().map(json).into()),
            ];
            out.put(&RUN_STEPS, org, [id(), node.into()], set);
        }
        Event::ApprovalRefused { node, by, comment } => {
            let set = [
                ("answer", "rejected".into()),
                ("answered_by", (&by).into()),
                ("comment", comment.as_ref().map(json).into()),
            ];
            out.put(&RUN_STEPS, org, [id(), node.into()], set);
        }
        Event::MessageSent { node, post, body: _ } => {
            out.put(&RUN_STEPS, org, [id(), node.into()], [("message", (&post.message_id).into())]);
        }
        Event::Paused { by, reason } => {
            out.put(
                &RUNS,
                org,
                [id()],
                [state(RunStatus::Paused), ("paused_by", (&by).into()), ("reason", reason.into())],
            );
        }
        Event::Resumed { by: _ } => {
            out.put(
                &RUNS,
                org,
                [id()],
                [state(RunStatus::Running), ("paused_by", Value::Null), ("reason", Value::Null)],
            );
        }
        Event::NodeRetried { node, by: _ } => {
            out.put(
                &RUN_STEPS,
                org,
                [id(), node.into()],
                [("status", "pending".into()), ("ended_at", Value::Null)],
            );
            let cleared = ["failed_node", "code", "detail", "ended_at"].map(|column| (column, Value::Null));
            out.put(&RUNS, org, [id()], cleared);
            out.put(&RUNS, org, [id()], [state(RunStatus::Running)]);
        }
        Event::Completed { output } => {
            out.put(
                &RUNS,
                org,
                [id()],
                [state(RunStatus::Completed), ("output", json(&output)), ("ended_at", now())],
            );
            replied(at, "completed", out);
        }
        Event::Failed { code, detail, node } => {
            let set = [
                state(RunStatus::Failed),
                ("code", code.into()),
                ("detail", detail.into()),
                ("failed_node", node.into()),
                ("ended_at", now()),
            ];
            out.put(&RUNS, org, [id()], set);
            replied(at, "failed", out);
        }
        Event::Cancelled { by: _, reason } => {
            out.put(
                &RUNS,
                org,
                [id()],
                [state(RunStatus::Cancelled), ("reason", reason.into()), ("ended_at", now())],
            );
        }
        Event::EffectStopped { name, came_to, partial: _ } => {
            let set = [
                ("status", "stopped".into()),
                ("code", came_to.into()),
                ("waits_for", Value::Null),
                ("ended_at", now()),
            ];
            out.change(
                &RUN_STEPS,
                org,
                [("run", id()), ("effect", name.into()), ("status", "waiting".into())],
                set,
                &[],
            );
        }
        Event::AgentPinned { pin } => {
            let set = [
                ("status", "completed".into()),
                ("component", "agent.pin".into()),
                ("output", json(&pin)),
                ("ended_at", now()),
            ];
            out.put(&RUN_STEPS, org, [id(), "agent".into()], set);
            out.put(
                &RUN_STEPS,
                org,
                [id(), "agent".into()],
                [
                    ("ordinal", at.version.into()),
                    ("sequence", at.version.into()),
                    ("started_at", now()),
                ],
            );
        }
        Event::ModelAsked { iteration, name } => called(at, &model_step(iteration), "llm.invoke", name, out),
        Event::ModelAnswered { iteration, answer } => {
            let step = model_step(iteration);
            ended(at, &step, "completed", out);
            out.put(
                &RUN_STEPS,
                org,
                [id(), step.into()],
                [("attempts", answer.attempt.into()), ("output", json(&answer))],
            );
        }
        Event::ToolCalled { name, call } => called(at, &name, &format!("tool:{}", call.name), name.clone(), out),
        Event::ToolReturned { name, result, ok } => {
            ended(at, &name, if ok { "completed" } else { "failed" }, out);
            out.put(&RUN_STEPS, org, [id(), name.into()], [("output", json(&result))]);
        }
        Event::ReplySent { message_id } => {
            let set = [
                ("status", "waiting".into()),
                ("component", "message.send".into()),
                ("message", (&message_id).into()),
            ];
            out.put(&RUN_STEPS, org, [id(), "reply".into()], set);
            let set = [
                ("ordinal", at.version.into()),
                ("sequence", at.version.into()),
                ("started_at", now()),
            ];
            out.put(&RUN_STEPS, org, [id(), "reply".into()], set);
        }
    }
}

/// The reply of a turn that waited for what its conversation says; in a workflow nothing waits at its end but effects.
fn replied(at: Scope<'_>, status: &'static str, out: &mut Statements) {
    let reply = [
        ("run", Value::from(&at.header.stream.id)),
        ("step", "reply".into()),
        ("component", "message.send".into()),
        ("status", "waiting".into()),
    ];
    out.change(
        &RUN_STEPS,
        at.org(),
        reply,
        [("status", status.into()), ("ended_at", at.time().into())],
        &[],
    );
}

fn model_step(iteration: u32) -> String {
    format!("model-{iteration}")
}

/// A turn's model or tool is asked.
fn called(at: Scope<'_>, step: &str, component: &str, effect: String, out: &mut Statements) {
    let set = [
        ("ordinal", at.version.into()),
        ("sequence", at.version.into()),
        ("component", component.into()),
        ("status", "waiting".into()),
        ("waits_for", "effect".into()),
        ("attempts", 1u64.into()),
        ("effect", effect.into()),
        ("started_at", at.time().into()),
    ];
    out.put(&RUN_STEPS, at.org(), [(&at.header.stream.id).into(), step.into()], set);
}

/// A step ended; one that never waited started at the same moment.
fn ended(at: Scope<'_>, step: &str, status: &'static str, out: &mut Statements) {
    let (org, run) = (at.org(), || Value::from(&at.header.stream.id));
    out.put_add(&RUNS, org, [run()], [], [("steps_ended", 1)]);
    out.change(
        &RUN_STEPS,
        org,
        [("run", run()), ("step", step.into()), ("status", "pending".into())],
        [("sequence", at.version.into()), ("started_at", at.time().into())],
        &[],
    );
    out.put(
        &RUN_STEPS,
        org,
        [run(), step.into()],
        [
            ("status", status.into()),
            ("waits_for", Value::Null),
            ("ended_at", at.time().into()),
        ],
    );
}

fn waits(work: &NodeWork) -> (&'static str, Option<u64>) {
    match work {
        NodeWork::Effect { .. } => ("effect", None),
        NodeWork::Timer { due, .. } => ("timer", Some(*due)),
        NodeWork::Signal { expires_at, .. } => ("signal", *expires_at),
        NodeWork::Approval(asked) => ("approval", asked.expires_at),
        NodeWork::Post { .. } => ("post", None),
    }
}

/// Nodes of a definition with their components, in its order.
fn nodes(definition: &Json) -> impl Iterator<Item = (&str, &str)> {
    let listed = definition.get("nodes").and_then(Json::as_array).into_iter().flatten();
    listed.filter_map(|node| Some((node.get("id")?.as_str()?, node.get("component")?.as_str()?)))
}
