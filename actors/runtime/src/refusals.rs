//! How the shells of a node refuse: each problem is worded here, once. Those of the machines are in `kernel/refusals.rs`.

use crate::{api::Stopped, kernel::refusals::NOT_OPEN, kinds::Kinds};
use quipu_events::{index::IndexError, port::ReadError};
use quipu_schemas::{
    ids::{Kind, StreamId},
    problem::Problem,
};

/// It may be open in a moment, here or elsewhere; the command changed nothing.
pub(crate) fn not_open(partition: u16) -> Problem {
    Problem::new(503, NOT_OPEN, format!("partition {partition} is being opened or handed over")).retry_after(1)
}

pub(crate) fn index_problem(error: &IndexError) -> Problem {
    Problem::new(503, "index_unavailable", format!("the local index does not answer: {error}")).retry_after(5)
}

pub(crate) fn read_problem(error: &ReadError) -> Problem {
    Problem::new(503, "log_unreadable", format!("the log cannot be read here: {error}"))
        .fix("run `quipu verify`")
        .retry_after(30)
}

pub(crate) fn partition_stopped(stopped: &Stopped) -> Problem {
    let Stopped { partition, offset, detail } = stopped;
    Problem::new(
        503,
        "partition_stopped",
        format!("partition {partition} stops at offset {offset}: {detail}"),
    )
    .fix("run `quipu verify`, and restore the log from a backup; the feed gives what lies before")
    .retry_after(60)
}

pub(crate) fn stopping() -> Problem {
    Problem::new(503, "stopping", "the node is stopping").retry_after(5)
}

pub(crate) fn parked(stream: &StreamId, detail: &str) -> Problem {
    Problem::new(503, "stream_parked", format!("{stream} is parked: {detail}"))
        .fix("see `A parked stream` in ops/docs/runbook.md, then POST /v1/ops/unpark")
        .retry_after(60)
}

pub(crate) fn unknown_kind(kind: &Kind, kinds: &Kinds) -> Problem {
    let known: Vec<String> = kinds.commands().map(|(kind, _)| kinds.plural(kind).into_owned()).collect();
    Problem::new(404, "unknown_kind", format!("no such kind: {kind}"))
        .field("kind")
        .fix(format!("use one of {}", known.join(", ")))
}

pub(crate) fn unknown_command(kind: &Kind, command: &str, kinds: &Kinds) -> Problem {
    let known: &[String] = kinds.get(kind).map_or(&[], |handler| handler.commands());
    let shown: String = command.chars().take(64).collect();
    let is_word = kinds
        .get(kind)
        .is_some_and(|handler| handler.words().iter().any(|word| word == command));
    let detail = if is_word {
        format!("{shown} of a {kind} is sent by the node itself, never by clients")
    } else {
        format!("{kind} has no command {shown}")
    };
    Problem::new(404, "unknown_command", detail)
        .field("command")
        .fix(format!("use one of {}", known.join(", ")))
}
