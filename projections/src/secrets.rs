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
    let name = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    let by = || Value::from(at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal));
    out.put(
        &SECRETS,
        at.org(),
        [name()],
        [("version", at.version.into()), ("updated_at", now())],
    );
    match event {
        SecretEvent::Set {
            generation,
            value: _,
            hosts,
            shreds: _,
        } => {
            if generation == 1 {
                out.put(&SECRETS, at.org(), [name()], [("created_by", by()), ("created_at", now())]);
            }
            out.put(
                &SECRETS,
                at.org(),
                [name()],
                [
                    ("status", "active".into()),
                    ("retire_reason", Value::Null),
                    ("hosts", json(&hosts)),
                    ("generation", generation.into()),
                    ("old_until", Value::Null),
                    ("changed_by", by()),
                    ("changed_at", now()),
                ],
            );
        }
        SecretEvent::Connected {
            generation,
            connection,
            refresh_token: _,
            hosts,
            shreds: _,
        } => {
            if generation == 1 {
                out.put(&SECRETS, at.org(), [name()], [("created_by", by()), ("created_at", now())]);
            }
            out.put(
                &SECRETS,
                at.org(),
                [name()],
                [
                    ("status", "connected".into()),
                    ("retire_reason", Value::Null),
                    ("hosts", json(&hosts)),
                    ("generation", generation.into()),
                    ("old_until", Value::Null),
                    ("token_url", connection.token_url.into()),
                    ("client_id", connection.client_id.into()),
                    ("scopes", json(&connection.scopes)),
                    ("expires_at", Value::Null),
                    ("failures", 0u64.into()),
                    ("last_error", Value::Null),
                    ("changed_by", by()),
                    ("changed_at", now()),
                ],
            );
        }
        SecretEvent::RefreshBegun {} => {}
        SecretEvent::Refreshed { expires_at, .. } => out.put(
            &SECRETS,
            at.org(),
            [name()],
            [
                ("status", "connected".into()),
                ("expires_at", expires_at.into()),
                ("refreshed_at", now()),
                ("failures", 0u64.into()),
                ("last_error", Value::Null),
            ],
        ),
        SecretEvent::RefreshFailed { code, .. } => {
            out.put_add(&SECRETS, at.org(), [name()], [("last_error", code.into())], [("failures", 1)]);
        }
        SecretEvent::Broken { code, .. } => out.put_add(
            &SECRETS,
            at.org(),
            [name()],
            [("status", "broken".into()), ("last_error", code.into())],
            [("failures", 1)],
        ),
        SecretEvent::Rotated {
            generation,
            value: _,
            old_until,
            shreds: _,
        } => out.put(
            &SECRETS,
            at.org(),
            [name()],
            [
                ("generation", generation.into()),
                ("old_until", old_until.into()),
                ("changed_by", by()),
                ("changed_at", now()),
            ],
        ),
        SecretEvent::OldEnded { shreds: _ } => out.put(&SECRETS, at.org(), [name()], [("old_until", Value::Null)]),
        SecretEvent::Retired { reason, shreds: _ } => out.put(
            &SECRETS,
            at.org(),
            [name()],
            [
                ("status", "retired".into()),
                ("retire_reason", reason.into()),
                ("old_until", Value::Null),
            ],
        ),
        SecretEvent::Shredded { subject: _ } => out.put_add(&SECRETS, at.org(), [name()], [], [("shredded", 1)]),
    }
}
