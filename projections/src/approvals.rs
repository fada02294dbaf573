//! Approvals: what was asked for, and what became of it. The fields of the command are in the state alone.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value},
    table::{Table, count, index, int, text, text_or},
};
use quipu_kinds::approval::ApprovalEvent;

/// One row an approval.
pub static APPROVALS: Table = Table {
    name: "approvals",
    key: &[text("id")],
    columns: &[
        text("target_kind"),
        text("target_id"),
        text("command"),
        text("digest"),
        text_or("status", "'pending'"),
        int("needs"),
        count("agreed"),
        text("requested_by"),
        text("on_behalf_of"),
        text("credential"),
        text("reason"),
        text("decided_by"),
        text("decision_reason"),
        text("refused"),
        int("expires_at"),
        count("version"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[index("status"), index("requested_by")],
};

static APPROVALS_READING: Reading = whole(
    "approvals",
    &APPROVALS,
    &["id"],
    &[
        (
            "status",
            one_of!("status": "pending", "approved", "executed", "rejected", "withdrawn", "expired"),
        ),
        ("requested_by", Filter::Is("requested_by")),
        ("target_kind", Filter::Is("target_kind")),
        ("target_id", Filter::Is("target_id")),
    ],
);

impl View {
    /// Approvals.
    pub const APPROVALS: View = View::of(&APPROVALS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "approval",
    kind: Some("approval"),
    version: 1,
    tables: &[&APPROVALS],
    views: &[View::APPROVALS],
    parts: &[],
    counts: &[(View::APPROVALS, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: ApprovalEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    let org = at.org();
    out.put(
        &APPROVALS,
        org,
        [id()],
        [("version", at.version.into()), ("updated_at", at.time().into())],
    );
    match event {
        ApprovalEvent::Created {
            to,
            command,
            digest,
            needs,
            reason,
            expires_at,
            by,
            on_behalf_of,
            credential,
            owner: _,
        } => out.put(
            &APPROVALS,
            org,
            [id()],
            [
                ("target_kind", (&to.kind).into()),
                ("target_id", (&to.id).into()),
                (
                    "command",
                    command.0.as_object().and_then(|map| map.keys().next()).map(String::as_str).into(),
                ),
                ("digest", digest.to_string().into()),
                ("needs", u32::from(needs).into()),
                ("requested_by", (&by).into()),
                ("on_behalf_of", on_behalf_of.as_ref().into()),
                ("credential", credential.into()),
                ("reason", reason.into()),
                ("expires_at", expires_at.into()),
                ("created_at", at.time().into()),
            ],
        ),
        ApprovalEvent::Agreed { by } => {
            out.put_add(&APPROVALS, org, [id()], [("decided_by", (&by).into())], [("agreed", 1)]);
        }
        ApprovalEvent::Approved {} => out.put(&APPROVALS, org, [id()], [("status", "approved".into())]),
        ApprovalEvent::Executed { refused } => out.put(
            &APPROVALS,
            org,
            [id()],
            [("status", "executed".into()), ("refused", refused.into())],
        ),
        ApprovalEvent::Rejected { by, reason } => out.put(
            &APPROVALS,
            org,
            [id()],
            [
                ("status", "rejected".into()),
                ("decided_by", (&by).into()),
                ("decision_reason", reason.into()),
            ],
        ),
        ApprovalEvent::Withdrawn {} => out.put(&APPROVALS, org, [id()], [("status", "withdrawn".into())]),
        ApprovalEvent::Expired {} => out.put(&APPROVALS, org, [id()], [("status", "expired".into())]),
    }
}
