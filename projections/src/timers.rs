//! Durable timers: the last wake of each name in a stream.

use crate::{
    reading::{Computed, Filter, Reading, View, whole},
    statement::{Statements, Value},
    table::{Table, index, index_only, int, text},
};
use quipu_schemas::{context::Millis, record::Header};

/// One row a name; `status` is `set`, `fired` or `cancelled`; `version` and `ordinal` say which reaction set it.
pub static TIMERS: Table = Table {
    name: "timers",
    key: &[text("kind"), text("id"), text("name")],
    columns: &[
        int("version"),
        int("ordinal"),
        text("status"),
        int("due"),
        int("set_at"),
        int("ended_at"),
    ],
    indexes: &[index("kind, id, version"), index_only("due", "status = 'set'")],
};

static TIMERS_READING: Reading = Reading {
    computed: &[Computed::Stream],
    ..whole(
        "timers",
        &TIMERS,
        &["kind", "id", "name"],
        &[
            (
                "status",
                Filter::OneOf(&[
                    ("set", "status = 'set'"),
                    ("fired", "status = 'fired'"),
                    ("cancelled", "status = 'cancelled'"),
                ]),
            ),
            ("kind", Filter::Is("kind")),
            ("id", Filter::Is("id")),
            ("due_before", Filter::Before("due")),
        ],
    )
};

impl View {
    /// Timers.
    pub const TIMERS: View = View::of(&TIMERS_READING);
}

/// A wake replaces the one of its name.
pub(crate) fn set(header: &Header, version: u64, ordinal: u32, name: &str, due: Millis, out: &mut Statements) {
    let stream = &header.stream;
    out.put(
        &TIMERS,
        &stream.org,
        [(&stream.kind).into(), (&stream.id).into(), name.into()],
        [
            ("version", version.into()),
            ("ordinal", ordinal.into()),
            ("status", "set".into()),
            ("due", due.into()),
            ("set_at", header.time.into()),
            ("ended_at", Value::Null),
        ],
    );
}

/// A wake is forgotten, if it was set.
pub(crate) fn cancel(header: &Header, name: &str, out: &mut Statements) {
    let stream = &header.stream;
    out.change(
        &TIMERS,
        &stream.org,
        [
            ("kind", (&stream.kind).into()),
            ("id", (&stream.id).into()),
            ("name", name.into()),
            ("status", "set".into()),
        ],
        [("status", "cancelled".into()), ("ended_at", header.time.into())],
        &[],
    );
}

/// The wake that this reaction set has fired, unless it was replaced or cancelled before.
pub(crate) fn fired(header: &Header, version: u64, ordinal: u32, out: &mut Statements) {
    let stream = &header.stream;
    out.change(
        &TIMERS,
        &stream.org,
        [
            ("kind", (&stream.kind).into()),
            ("id", (&stream.id).into()),
            ("version", version.into()),
            ("ordinal", ordinal.into()),
            ("status", "set".into()),
        ],
        [("status", "fired".into()), ("ended_at", header.time.into())],
        &[],
    );
}
