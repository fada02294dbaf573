//! Agents and services of an org, without anything of what they show to prove who they are. People are in no view.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value},
    table::{Table, count, index, int, text, text_or},
};
use quipu_kinds::principal::{PrincipalEvent, PrincipalType};

/// One row a principal.
pub static PRINCIPALS: Table = Table {
    name: "principals",
    key: &[text("id")],
    columns: &[
        text("type"),
        text("name"),
        text("owner"),
        text_or("status", "'active'"),
        text("status_reason"),
        count("public_keys"),
        count("sessions"),
        int("last_session_at"),
        count("version"),
        text("created_by"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[index("type"), index("status"), index("owner")],
};

static PRINCIPALS_READING: Reading = whole(
    "principals",
    &PRINCIPALS,
    &["id", "name"],
    &[
        ("type", one_of!("type": "agent", "service")),
        ("owner", Filter::Is("owner")),
        ("status", one_of!("status": "active", "suspended", "retired")),
    ],
);

impl View {
    /// Agents and services, as principals.
    pub const PRINCIPALS: View = View::of(&PRINCIPALS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "principal",
    kind: Some("principal"),
    version: 1,
    tables: &[&PRINCIPALS],
    views: &[View::PRINCIPALS],
    parts: &[],
    counts: &[(View::PRINCIPALS, &["status", "type"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: PrincipalEvent, out: &mut Statements) {
    let stream = &at.header.stream;
    // The accounts of people are read by nobody but themselves.
    if stream.org.is_reserved() {
        return;
    }
    let id = || Value::from(&stream.id);
    let now = || Value::from(at.time());
    out.put(
        &PRINCIPALS,
        at.org(),
        [id()],
        [("version", at.version.into()), ("updated_at", now())],
    );
    let mut add = |column, by| out.put_add(&PRINCIPALS, at.org(), [id()], [], [(column, by)]);
    match event {
        PrincipalEvent::Created { kind, name, owner } => {
            let by = at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal);
            out.put(
                &PRINCIPALS,
                at.org(),
                [id()],
                [
                    ("type", type_of(kind).into()),
                    ("name", name.into()),
                    ("owner", (&owner).into()),
                    ("created_by", by.into()),
                    ("created_at", now()),
                ],
            );
        }
        PrincipalEvent::Renamed { name } => out.put(&PRINCIPALS, at.org(), [id()], [("name", name.into())]),
        PrincipalEvent::OwnerSet { owner } => out.put(&PRINCIPALS, at.org(), [id()], [("owner", (&owner).into())]),
        PrincipalEvent::PublicKeyAdded { .. } => add("public_keys", 1),
        PrincipalEvent::PublicKeyRemoved { .. } => add("public_keys", -1),
        PrincipalEvent::SessionStarted { .. } => {
            add("sessions", 1);
            out.put(&PRINCIPALS, at.org(), [id()], [("last_session_at", now())]);
        }
        PrincipalEvent::SessionsEnded { ids, why: _ } => add("sessions", -i64::try_from(ids.len()).unwrap_or(i64::MAX)),
        PrincipalEvent::Suspended { reason } => status(&at, "suspended", Value::Text(reason), out),
        PrincipalEvent::Resumed {} => status(&at, "active", Value::Null, out),
        PrincipalEvent::Retired { reason } => {
            status(&at, "retired", Value::Text(reason), out);
            let none = [("public_keys", Value::Int(0)), ("sessions", Value::Int(0))];
            out.put(&PRINCIPALS, at.org(), [id()], none);
        }
        PrincipalEvent::SessionRedeemed { .. }
        | PrincipalEvent::SessionRefreshed { .. }
        | PrincipalEvent::Registered { .. }
        | PrincipalEvent::Named { .. }
        | PrincipalEvent::PasswordSet { .. }
        | PrincipalEvent::AddressAdded { .. }
        | PrincipalEvent::AddressVerified { .. }
        | PrincipalEvent::AddressRemoved { .. }
        | PrincipalEvent::TotpEnrolled { .. }
        | PrincipalEvent::TotpConfirmed { .. }
        | PrincipalEvent::TotpRemoved {}
        | PrincipalEvent::TotpUsed { .. }
        | PrincipalEvent::RecoveryCodeUsed { .. }
        | PrincipalEvent::CodeAsked { .. }
        | PrincipalEvent::CodeUsed { .. }
        | PrincipalEvent::OperatorSet { .. }
        | PrincipalEvent::DeviceAsked { .. }
        | PrincipalEvent::DeviceAnswered { .. }
        | PrincipalEvent::DeviceTaken {} => {}
    }
}

fn type_of(kind: PrincipalType) -> &'static str {
    match kind {
        PrincipalType::Person => "person",
        PrincipalType::Agent => "agent",
        PrincipalType::Service => "service",
    }
}

fn status(at: &Scope<'_>, status: &str, reason: Value, out: &mut Statements) {
    let id = Value::from(&at.header.stream.id);
    out.put(&PRINCIPALS, at.org(), [id], [("status", status.into()), ("status_reason", reason)]);
}
