//! Aliases that somebody has or had.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value},
    table::{Table, count, index, int, text, text_or},
};
use quipu_kinds::alias::AliasEvent;

/// One row an alias.
pub static ALIASES: Table = Table {
    name: "aliases",
    key: &[text("id")],
    columns: &[
        text("form"),
        text("text"),
        text("entity"),
        text_or("status", "'held'"),
        text("release_reason"),
        count("version"),
        int("updated_at"),
    ],
    indexes: &[index("entity"), index("form, text")],
};

static ALIASES_READING: Reading = whole(
    "aliases",
    &ALIASES,
    &["id"],
    &[
        ("form", one_of!("form": "slug", "qualified", "legacy", "federated")),
        ("text", Filter::Is("text")),
        ("entity", Filter::Is("entity")),
        ("status", one_of!("status": "held", "free")),
    ],
);

impl View {
    /// Aliases that somebody has or had.
    pub const ALIASES: View = View::of(&ALIASES_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "alias",
    kind: Some("alias"),
    version: 1,
    tables: &[&ALIASES],
    views: &[View::ALIASES],
    parts: &[],
    counts: &[],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: AliasEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    out.put(
        &ALIASES,
        at.org(),
        [id()],
        [("version", at.version.into()), ("updated_at", at.time().into())],
    );
    match event {
        AliasEvent::Claimed { alias, entity, .. } => out.put(
            &ALIASES,
            at.org(),
            [id()],
            [
                ("form", alias.form.name().into()),
                ("text", alias.text.into()),
                ("entity", (&entity.id).into()),
                ("status", "held".into()),
                ("release_reason", Value::Null),
            ],
        ),
        AliasEvent::GivenUp {} => free(at, Value::Null, out),
        AliasEvent::Released { reason, .. } => free(at, reason.into(), out),
    }
}

fn free(at: Scope<'_>, why: Value, out: &mut Statements) {
    out.put(
        &ALIASES,
        at.org(),
        [(&at.header.stream.id).into()],
        [("status", "free".into()), ("entity", Value::Null), ("release_reason", why)],
    );
}
