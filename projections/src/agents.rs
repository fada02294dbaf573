//! Agents with their directives and tools.

use crate::{
    family::{Family, Tie},
    reading::{ACTIVE, Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json, name},
    table::{Table, count, flag, index, int, json as json_column, text, text_or},
};
use quipu_kinds::agent::AgentEvent;

/// One row an agent.
pub static AGENTS: Table = Table {
    name: "agents",
    key: &[text("id")],
    columns: &[
        text("name"),
        text_or("status", "'active'"),
        text("status_reason"),
        json_column("model"),
        text("directive"),
        text("data_class"),
        int("max_iterations"),
        int("max_repeats"),
        count("turns_started"),
        count("turns_refused"),
        count("calls_reported"),
        count("loops_detected"),
        count("version"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[index("status")],
};

/// One row a directive version of an agent.
pub static DIRECTIVES: Table = Table {
    name: "directives",
    key: &[text("agent"), text("digest")],
    columns: &[text("text"), flag("active"), int("added_at"), int("activated_at")],
    indexes: &[],
};

/// One row a granted tool of an agent.
pub static TOOLS: Table = Table {
    name: "agent_tools",
    key: &[text("agent"), text("name")],
    columns: &[json_column("tool"), int("granted_at")],
    indexes: &[],
};

static AGENTS_READING: Reading = whole(
    "agents",
    &AGENTS,
    &["id"],
    &[("status", one_of!("status": "active", "suspended", "retired"))],
);

static DIRECTIVES_READING: Reading = whole(
    "directives",
    &DIRECTIVES,
    &["agent", "digest"],
    &[("agent", Filter::Is("agent")), ("active", ACTIVE)],
);

static AGENT_TOOLS_READING: Reading = whole("tools", &TOOLS, &["agent", "name"], &[("agent", Filter::Is("agent"))]);

impl View {
    /// Agents.
    pub const AGENTS: View = View::of(&AGENTS_READING);
    /// Directive versions of agents.
    pub const DIRECTIVES: View = View::of(&DIRECTIVES_READING);
    /// Tools granted to agents.
    pub const AGENT_TOOLS: View = View::of(&AGENT_TOOLS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "agent",
    kind: Some("agent"),
    version: 1,
    tables: &[&AGENTS, &DIRECTIVES, &TOOLS],
    views: &[View::AGENTS, View::DIRECTIVES, View::AGENT_TOOLS],
    parts: &[(View::DIRECTIVES, Tie::Id("agent")), (View::AGENT_TOOLS, Tie::Id("agent"))],
    counts: &[(View::AGENTS, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: AgentEvent, out: &mut Statements) {
    let org = at.org();
    let id = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    out.put(&AGENTS, org, [id()], [("version", at.version.into()), ("updated_at", now())]);
    match event {
        AgentEvent::Created {
            org: _,
            name: called,
            model,
            data_class,
            id: _,
            owner: _,
        } => {
            let set = [
                ("name", called.into()),
                ("model", json(&model)),
                ("data_class", name(&data_class)),
                ("created_at", now()),
            ];
            out.put(&AGENTS, org, [id()], set);
        }
        AgentEvent::DirectiveAdded { digest, text } => {
            out.put(
                &DIRECTIVES,
                org,
                [id(), digest.to_string().into()],
                [("text", text.into()), ("added_at", now())],
            );
        }
        AgentEvent::DirectiveActivated { digest } => {
            let digest = digest.to_string();
            out.change(
                &DIRECTIVES,
                org,
                [("agent", id()), ("active", true.into())],
                [("active", false.into())],
                &[],
            );
            out.put(
                &DIRECTIVES,
                org,
                [id(), digest.as_str().into()],
                [("active", true.into()), ("activated_at", now())],
            );
            out.put(&AGENTS, org, [id()], [("directive", digest.into())]);
        }
        AgentEvent::ModelConfigured { model } => out.put(&AGENTS, org, [id()], [("model", json(&model))]),
        AgentEvent::ToolGranted { tool } => {
            out.put(
                &TOOLS,
                org,
                [id(), tool.name.as_str().into()],
                [("tool", json(&tool)), ("granted_at", now())],
            );
        }
        AgentEvent::ToolRevoked { name } => out.delete(&TOOLS, org, [("agent", id()), ("name", name.into())]),
        AgentEvent::GuardConfigured {
            max_iterations,
            max_repeats,
        } => {
            out.put(
                &AGENTS,
                org,
                [id()],
                [("max_iterations", max_iterations.into()), ("max_repeats", max_repeats.into())],
            );
        }
        AgentEvent::TurnStarted { .. } => out.put_add(&AGENTS, org, [id()], [], [("turns_started", 1)]),
        AgentEvent::TurnRefused { .. } => out.put_add(&AGENTS, org, [id()], [], [("turns_refused", 1)]),
        AgentEvent::CallsReported { calls, .. } => {
            out.put_add(
                &AGENTS,
                org,
                [id()],
                [],
                [("calls_reported", i64::try_from(calls.len()).unwrap_or(i64::MAX))],
            );
        }
        AgentEvent::LoopDetected { .. } => out.put_add(&AGENTS, org, [id()], [], [("loops_detected", 1)]),
        AgentEvent::Suspended { reason } => {
            out.put(
                &AGENTS,
                org,
                [id()],
                [("status", "suspended".into()), ("status_reason", reason.into())],
            );
        }
        AgentEvent::Resumed {} => out.put(&AGENTS, org, [id()], [("status", "active".into()), ("status_reason", Value::Null)]),
        AgentEvent::Retired { reason } => {
            out.put(
                &AGENTS,
                org,
                [id()],
                [("status", "retired".into()), ("status_reason", reason.into())],
            );
        }
    }
}
