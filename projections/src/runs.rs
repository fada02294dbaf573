//! Runs with the timeline of their steps.

use crate::{
    reduce::Scope,
    statement::Statements,
    table::{Table, count, index, int, json as json_column, text, text_or},
    view::{Filter, Reading},
};

/// One row a run.
pub static RUNS: Table = Table {
    name: "runs",
    key: &[text("id")],
    columns: &[text_or("state", "'created'"), count("version"), int("created_at"), int("updated_at")],
    indexes: &[index("state, id")],
};

/// One row an execution of a node.
pub static RUN_STEPS: Table = Table { name: "run_steps", key: &[text("run"), text("node")], columns: &[json_column("output")], indexes: &[] };

pub(crate) const RUNS_READING: Reading = Reading {
    name: "runs",
    table: &RUNS,
    only: None,
    order: &["id"],
    descending: false,
    named_by: &["id"],
    filters: &[("state", Filter::Is("state"))],
};
pub(crate) const STEPS_READING: Reading = Reading {
    name: "steps",
    table: &RUN_STEPS,
    only: None,
    order: &["run", "node"],
    descending: false,
    named_by: &["run", "node"],
    filters: &[("run", Filter::Is("run"))],
};

pub(crate) fn reduce(_: Scope<'_>, _: serde_json::Value, _: &mut Statements) {}
