//! What principals hold beside their role.

use crate::{
    family::{Family, Tie},
    reading::{Filter, Reading, View, whole},
    scope::{Scope, events},
    statement::{Statements, Value},
    table::{Table, index, int, text},
};
use quipu_kinds::grant::GrantEvent;

/// One row a right that a principal was given on something.
pub static GRANTS: Table = Table {
    name: "grants",
    key: &[text("principal"), text("right"), text("on")],
    columns: &[int("until"), int("given_at"), text("given_by")],
    indexes: &[index("right")],
};

static GRANTS_READING: Reading = whole(
    "grants",
    &GRANTS,
    &["principal", "right", "on"],
    &[
        ("principal", Filter::Is("principal")),
        ("right", Filter::Is("right")),
        ("on", Filter::Is("on")),
    ],
);

impl View {
    /// What principals hold beside their role, those grants among them whose time is over.
    pub const GRANTS: View = View::of(&GRANTS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "grant",
    kind: Some("grant"),
    version: 1,
    tables: &[&GRANTS],
    views: &[View::GRANTS],
    parts: &[(View::GRANTS, Tie::Id("principal"))],
    counts: &[],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: GrantEvent, out: &mut Statements) {
    let principal = Value::from(&at.header.stream.id);
    match event {
        GrantEvent::Given { right, on, until } => {
            let by = at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal);
            out.put(
                &GRANTS,
                at.org(),
                [principal, right.to_string().into(), on.to_string().into()],
                [("until", until.into()), ("given_at", at.time().into()), ("given_by", by.into())],
            );
        }
        GrantEvent::Taken { right, on } => out.delete(
            &GRANTS,
            at.org(),
            [
                ("principal", principal),
                ("right", right.to_string().into()),
                ("on", on.to_string().into()),
            ],
        ),
    }
}
