//! What was refused: one row an entry. The audit shows them among what was done.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, falling},
    scope::{Scope, events},
    statement::Statements,
    table::{Table, index, int, text},
};
use quipu_kinds::denial::DenialEvent;

/// One row an entry.
pub static DENIALS: Table = Table {
    name: "denials",
    key: &[text("day"), int("number")],
    columns: &[
        text("principal"),
        text("on_behalf_of"),
        text("credential"),
        text("right"),
        text("kind"),
        text("code"),
        int("refusals"),
        int("first_at"),
        int("last_at"),
    ],
    indexes: &[index("principal, day, number")],
};

static DENIALS_READING: Reading = Reading {
    name: "denials",
    table: &DENIALS,
    only: None,
    order: falling(&["day", "number"]),
    in_stream: None,
    orders: &[],
    named_by: &["day", "number"],
    computed: &[],
    filters: &[
        ("principal", Filter::Is("principal")),
        ("right", Filter::Is("right")),
        ("day", Filter::Is("day")),
        ("from", Filter::From("first_at")),
        ("before", Filter::Before("first_at")),
    ],
};

impl View {
    /// What was refused, newest first.
    pub const DENIALS: View = View::of(&DENIALS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "denial",
    kind: Some("denial"),
    version: 1,
    tables: &[&DENIALS],
    views: &[View::DENIALS],
    parts: &[],
    counts: &[],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: DenialEvent, out: &mut Statements) {
    let DenialEvent::Noted { denial } = event;
    out.put(
        &DENIALS,
        at.org(),
        [(&at.header.stream.id).into(), at.version.into()],
        [
            ("principal", (&denial.principal).into()),
            ("on_behalf_of", denial.on_behalf_of.as_ref().into()),
            ("credential", denial.credential.into()),
            ("right", denial.right.into()),
            ("kind", denial.kind.into()),
            ("code", denial.code.into()),
            ("refusals", denial.count.into()),
            ("first_at", denial.first.into()),
            ("last_at", denial.last.into()),
        ],
    );
}
