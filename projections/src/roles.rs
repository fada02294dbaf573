//! An org's own roles.

use crate::{
    family::Family,
    reading::{Reading, View, whole},
    scope::{Scope, events},
    statement::{Statements, json},
    table::{Table, int, json as json_column, text},
};
use quipu_kinds::role::RoleEvent;

/// One row a role of an org's own.
pub static ROLES: Table = Table {
    name: "roles",
    key: &[text("name")],
    columns: &[json_column("holds"), int("updated_at")],
    indexes: &[],
};

static ROLES_READING: Reading = whole("roles", &ROLES, &["name"], &[]);

impl View {
    /// An org's own roles. Those that every org has are not among them.
    pub const ROLES: View = View::of(&ROLES_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "role",
    kind: Some("role"),
    version: 1,
    tables: &[&ROLES],
    views: &[View::ROLES],
    parts: &[],
    counts: &[],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: RoleEvent, out: &mut Statements) {
    match event {
        RoleEvent::Set { name, holds } => out.put(
            &ROLES,
            at.org(),
            [name.into()],
            [("holds", json(&holds)), ("updated_at", at.time().into())],
        ),
        RoleEvent::Removed { name } => out.delete(&ROLES, at.org(), [("name", name.into())]),
    }
}
