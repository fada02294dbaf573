//! The directory: entities, their handles and what they are bound to.

use crate::{
    family::{Family, Tie},
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, name},
    table::{Table, count, index, int, text, text_or},
};
use quipu_kinds::{
    alias::AliasName,
    entity::{Binding, BoundTo, EntityEvent},
};

/// One row an entity.
pub static ENTITIES: Table = Table {
    name: "entities",
    key: &[text("id")],
    columns: &[
        text("name"),
        text("type"),
        text_or("status", "'active'"),
        text("project"),
        text("principal"),
        text("agent"),
        text("node"),
        text("secret_owner"),
        count("alias_count"),
        count("version"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[
        index("project"),
        index("principal"),
        index("agent"),
        index("node"),
        index("secret_owner"),
    ],
};

/// One row an alias that an entity has, claims or was refused.
pub static HANDLES: Table = Table {
    name: "handles",
    key: &[text("entity"), text("form"), text("text")],
    columns: &[text("status"), text("why"), text("alias"), int("claim"), int("updated_at")],
    indexes: &[index("alias")],
};

/// One row a binding.
pub static BINDINGS: Table = Table {
    name: "bindings",
    key: &[text("entity"), text("bound_to"), text("bound_id")],
    columns: &[int("since")],
    indexes: &[index("bound_to, bound_id")],
};

static ENTITIES_READING: Reading = whole(
    "entities",
    &ENTITIES,
    &["id"],
    &[
        ("type", one_of!("type": "user", "assistant", "service", "integration", "sandbox")),
        ("status", one_of!("status": "active", "inactive", "suspended")),
        ("project", Filter::Is("project")),
        ("principal", Filter::Is("principal")),
        ("agent", Filter::Is("agent")),
        ("node", Filter::Is("node")),
        ("secret_owner", Filter::Is("secret_owner")),
    ],
);

static HANDLES_READING: Reading = whole(
    "handles",
    &HANDLES,
    &["entity", "form", "text"],
    &[
        ("entity", Filter::Is("entity")),
        ("form", one_of!("form": "slug", "qualified", "legacy", "federated")),
        ("text", Filter::Is("text")),
        ("status", one_of!("status": "asked", "held", "refused")),
    ],
);

static BINDINGS_READING: Reading = whole(
    "bindings",
    &BINDINGS,
    &["entity", "bound_to", "bound_id"],
    &[
        ("entity", Filter::Is("entity")),
        (
            "bound_to",
            one_of!("bound_to": "principal", "participant", "agent", "node", "secret_owner"),
        ),
        ("bound_id", Filter::Is("bound_id")),
    ],
);

impl View {
    /// Entities of the directory.
    pub const ENTITIES: View = View::of(&ENTITIES_READING);
    /// Aliases as entities have them, claim them or were refused them.
    pub const HANDLES: View = View::of(&HANDLES_READING);
    /// What entities are bound to.
    pub const BINDINGS: View = View::of(&BINDINGS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "entity",
    kind: Some("entity"),
    version: 1,
    tables: &[&ENTITIES, &HANDLES, &BINDINGS],
    views: &[View::ENTITIES, View::HANDLES, View::BINDINGS],
    parts: &[(View::HANDLES, Tie::Id("entity")), (View::BINDINGS, Tie::Id("entity"))],
    counts: &[(View::ENTITIES, &["type", "status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

/// The column of an entity's row that shows a binding of which there is one at a time.
fn column(to: BoundTo) -> Option<&'static str> {
    match to {
        BoundTo::Principal => Some("principal"),
        BoundTo::Agent => Some("agent"),
        BoundTo::Node => Some("node"),
        BoundTo::SecretOwner => Some("secret_owner"),
        BoundTo::Participant => None,
    }
}

pub(crate) fn reduce(at: Scope<'_>, event: EntityEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    let org = at.org();
    out.put(&ENTITIES, org, [id()], [("version", at.version.into()), ("updated_at", now())]);
    match event {
        EntityEvent::Created { entity_type, name: called } => out.put(
            &ENTITIES,
            org,
            [id()],
            [("name", called.into()), ("type", name(&entity_type)), ("created_at", now())],
        ),
        EntityEvent::Renamed { name } => out.put(&ENTITIES, org, [id()], [("name", name.into())]),
        EntityEvent::StatusSet { status } => out.put(&ENTITIES, org, [id()], [("status", name(&status))]),
        EntityEvent::Moved { project } => out.put(&ENTITIES, org, [id()], [("project", project.as_ref().into())]),
        EntityEvent::AliasAsked { alias, claim, .. } => handle(at, &alias, ("asked", Value::Null), claim, out),
        EntityEvent::AliasHeld { alias, claim } => {
            handle(at, &alias, ("held", Value::Null), claim, out);
            out.put_add(&ENTITIES, org, [id()], [], [("alias_count", 1)]);
        }
        EntityEvent::AliasRefused { alias, claim, why } => handle(at, &alias, ("refused", why.into()), claim, out),
        EntityEvent::AliasRemoved { alias, .. } => {
            gone(at, &alias, out);
            out.put_add(&ENTITIES, org, [id()], [], [("alias_count", -1)]);
        }
        EntityEvent::AliasLost { alias, was_held, .. } => {
            gone(at, &alias, out);
            if was_held {
                out.put_add(&ENTITIES, org, [id()], [], [("alias_count", -1)]);
            }
        }
        EntityEvent::Bound {
            binding: Binding { to, id: bound },
        } => {
            if let Some(column) = column(to) {
                out.put(&ENTITIES, org, [id()], [(column, bound.as_str().into())]);
            }
            out.put(&BINDINGS, org, [id(), name(&to), bound.into()], [("since", now())]);
        }
        EntityEvent::Unbound {
            binding: Binding { to, id: bound },
        } => {
            if let Some(column) = column(to) {
                out.put(&ENTITIES, org, [id()], [(column, Value::Null)]);
            }
            out.delete(
                &BINDINGS,
                org,
                [("entity", id()), ("bound_to", name(&to)), ("bound_id", bound.into())],
            );
        }
    }
}

fn handle(at: Scope<'_>, alias: &AliasName, (status, why): (&'static str, Value), claim: u64, out: &mut Statements) {
    out.put(
        &HANDLES,
        at.org(),
        [(&at.header.stream.id).into(), alias.form.name().into(), alias.text.as_str().into()],
        [
            ("status", status.into()),
            ("why", why),
            ("alias", (&alias.id()).into()),
            ("claim", claim.into()),
            ("updated_at", at.time().into()),
        ],
    );
}

fn gone(at: Scope<'_>, alias: &AliasName, out: &mut Statements) {
    out.delete(
        &HANDLES,
        at.org(),
        [
            ("entity", (&at.header.stream.id).into()),
            ("form", alias.form.name().into()),
            ("text", alias.text.as_str().into()),
        ],
    );
}
