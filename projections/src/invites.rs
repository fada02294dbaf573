//! Invites: who was asked to what, and what became of it. The address is in the state alone.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, name},
    table::{Table, count, index, int, text, text_or},
};
use quipu_kinds::invite::InviteEvent;

/// One row an invite.
pub static INVITES: Table = Table {
    name: "invites",
    key: &[text("id")],
    columns: &[
        text("role"),
        text_or("status", "'pending'"),
        text("invited_by"),
        text("member"),
        text("reason"),
        text("refused"),
        int("expires_at"),
        count("version"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[index("status"), index("invited_by"), index("member")],
};

static INVITES_READING: Reading = whole(
    "invites",
    &INVITES,
    &["id"],
    &[
        (
            "status",
            one_of!("status": "pending", "accepted", "joined", "refused", "revoked", "expired"),
        ),
        ("invited_by", Filter::Is("invited_by")),
        ("member", Filter::Is("member")),
    ],
);

impl View {
    /// Invites.
    pub const INVITES: View = View::of(&INVITES_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "invite",
    kind: Some("invite"),
    version: 1,
    tables: &[&INVITES],
    views: &[View::INVITES],
    parts: &[],
    counts: &[(View::INVITES, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: InviteEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    let org = at.org();
    out.put(
        &INVITES,
        org,
        [id()],
        [("version", at.version.into()), ("updated_at", at.time().into())],
    );
    match event {
        InviteEvent::Created {
            org: _,
            address: _,
            role,
            expires_at,
            by,
        } => out.put(
            &INVITES,
            org,
            [id()],
            [
                ("role", name(&role)),
                ("invited_by", (&by).into()),
                ("expires_at", expires_at.into()),
                ("created_at", at.time().into()),
            ],
        ),
        InviteEvent::Accepted { member } => out.put(&INVITES, org, [id()], [("status", "accepted".into()), ("member", (&member).into())]),
        InviteEvent::Answered { refused } => {
            let status = if refused.is_some() { "refused" } else { "joined" };
            out.put(&INVITES, org, [id()], [("status", status.into()), ("refused", refused.into())]);
        }
        InviteEvent::Revoked { reason } => out.put(&INVITES, org, [id()], [("status", "revoked".into()), ("reason", reason.into())]),
        InviteEvent::Expired {} => out.put(&INVITES, org, [id()], [("status", "expired".into())]),
    }
}
