//! Secrets, without anything of their values.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json},
    table::{Table, count, index, int, json as json_column, text, text_or},
};
use quipu_kinds::secret::SecretEvent;

/// One row a secret.
pub static SECRETS: Table = Table {
    name: "secrets",
    key: &[text("name")],
    columns: &[
        text_or("status", "'active'"),
        text("retire_reason"),
        json_column("hosts"),
        count("generation"),
        int("old_until"),
        text("token_url"),
        text("client_id"),
        json_column("scopes"),
        int("expires_at"),
        int("refreshed_at"),
        count("failures"),
        text("last_error"),
        count("shredded"),
        count("version"),
        text("created_by"),
        int("created_at"),
        text("changed_by"),
        int("changed_at"),
        int("updated_at"),
    ],
    indexes: &[index("status")],
};

static SECRETS_READING: Reading = whole(
    "secrets",
    &SECRETS,
    &["name"],
    &[
        ("status", one_of!("status": "active", "connected", "broken", "retired")),
        ("changed_before", Filter::Before("changed_at")),
    ],
);

impl View {
    /// Secrets.
    pub const SECRETS: View = View::of(&SECRETS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "secret",
    kind: Some("secret"),
    version: 1,
    tables: &[&SECRETS],
    views: &[View::SECRETS],
    parts: &[],
    counts: &[(View::SECRETS, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: SecretEvent, out: &mut Statements) {
    put(&at, [("version", at.version.into()), ("updated_at", at.time().into())], out);
    match event {
        SecretEvent::Set { generation, hosts, .. } => {
            begun(&at, "active", generation, json(&hosts), out);
            let none = ["token_url", "client_id", "scopes"].map(|column| (column, Value::Null));
            put(&at, none, out);
        }
        SecretEvent::Connected {
            generation,
            connection,
            hosts,
            ..
        } => {
            begun(&at, "connected", generation, json(&hosts), out);
            let to = [
                ("token_url", connection.token_url.into()),
                ("client_id", connection.client_id.into()),
                ("scopes", json(&connection.scopes)),
            ];
            put(&at, to, out);
        }
        SecretEvent::Rotated { generation, old_until, .. } => {
            changed(&at, out);
            put(&at, [("generation", generation.into()), ("old_until", old_until.into())], out);
        }
        SecretEvent::OldEnded { .. } => put(&at, [("old_until", Value::Null)], out),
        SecretEvent::Retired { reason, .. } => {
            let ended = [
                ("status", "retired".into()),
                ("retire_reason", reason.into()),
                ("old_until", Value::Null),
            ];
            put(&at, ended, out);
        }
        SecretEvent::Shredded { .. } => add(&at, [], "shredded", out),
        SecretEvent::RefreshBegun {} => {}
        SecretEvent::Refreshed { expires_at, .. } => {
            let given = [
                ("status", "connected".into()),
                ("expires_at", expires_at.into()),
                ("refreshed_at", at.time().into()),
                ("failures", 0u64.into()),
                ("last_error", Value::Null),
            ];
            put(&at, given, out);
        }
        SecretEvent::RefreshFailed { code, .. } => add(&at, [("last_error", code.into())], "failures", out),
        SecretEvent::Broken { code, .. } => {
            let over = [("status", "broken".into()), ("last_error", code.into())];
            add(&at, over, "failures", out);
        }
    }
}

/// A value or a connection in the place of whatever was there before.
fn begun(at: &Scope<'_>, status: &'static str, generation: u64, hosts: Value, out: &mut Statements) {
    if generation == 1 {
        put(at, [("created_by", by(at)), ("created_at", at.time().into())], out);
    }
    changed(at, out);
    let fresh = [
        ("status", status.into()),
        ("retire_reason", Value::Null),
        ("hosts", hosts),
        ("generation", generation.into()),
        ("old_until", Value::Null),
        ("expires_at", Value::Null),
        ("failures", 0u64.into()),
        ("last_error", Value::Null),
    ];
    put(at, fresh, out);
}

fn changed(at: &Scope<'_>, out: &mut Statements) {
    put(at, [("changed_by", by(at)), ("changed_at", at.time().into())], out);
}

fn by(at: &Scope<'_>) -> Value {
    at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal).into()
}

fn put<const S: usize>(at: &Scope<'_>, set: [(&'static str, Value); S], out: &mut Statements) {
    out.put(&SECRETS, at.org(), [(&at.header.stream.id).into()], set);
}

fn add<const S: usize>(at: &Scope<'_>, set: [(&'static str, Value); S], counter: &'static str, out: &mut Statements) {
    out.put_add(&SECRETS, at.org(), [(&at.header.stream.id).into()], set, [(counter, 1)]);
}
