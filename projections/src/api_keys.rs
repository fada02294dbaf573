//! API keys, without anything of their secrets.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json},
    table::{Table, count, index, int, json as json_column, text, text_or},
};
use quipu_kinds::api_key::ApiKeyEvent;

/// One row a key.
pub static API_KEYS: Table = Table {
    name: "api_keys",
    key: &[text("id")],
    columns: &[
        text("name"),
        text("principal"),
        text_or("status", "'active'"),
        text("revoke_reason"),
        json_column("scopes"),
        json_column("networks"),
        int("lifetime_days"),
        int("expires_at"),
        int("old_until"),
        count("rotations"),
        count("version"),
        text("created_by"),
        int("created_at"),
        int("rotated_at"),
        int("updated_at"),
    ],
    indexes: &[index("principal"), index("status")],
};

static API_KEYS_READING: Reading = whole(
    "api-keys",
    &API_KEYS,
    &["id"],
    &[
        ("principal", Filter::Is("principal")),
        // A key whose time is over shows so once its timer has fired; what it opens ends with its time.
        ("status", one_of!("status": "active", "revoked", "expired")),
        ("expires_before", Filter::Before("expires_at")),
    ],
);

impl View {
    /// API keys.
    pub const API_KEYS: View = View::of(&API_KEYS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "api-key",
    kind: Some("api-key"),
    version: 1,
    tables: &[&API_KEYS],
    views: &[View::API_KEYS],
    parts: &[],
    counts: &[(View::API_KEYS, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: ApiKeyEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    out.put(&API_KEYS, at.org(), [id()], [("version", at.version.into()), ("updated_at", now())]);
    match event {
        ApiKeyEvent::Created {
            name,
            principal,
            scopes,
            networks,
            lifetime_days,
            expires_at,
            hash: _,
            argon2id: _,
            made_by: _,
        } => {
            let by = at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal);
            out.put(
                &API_KEYS,
                at.org(),
                [id()],
                [
                    ("name", name.into()),
                    ("principal", (&principal).into()),
                    ("scopes", json(&scopes)),
                    ("networks", json(&networks)),
                    ("lifetime_days", lifetime_days.into()),
                    ("expires_at", expires_at.into()),
                    ("created_by", by.into()),
                    ("created_at", now()),
                ],
            );
        }
        ApiKeyEvent::Rotated {
            hash: _,
            argon2id: _,
            old_until,
            expires_at,
            made_by: _,
        } => out.put_add(
            &API_KEYS,
            at.org(),
            [id()],
            [
                ("expires_at", expires_at.into()),
                ("old_until", old_until.into()),
                ("rotated_at", now()),
            ],
            [("rotations", 1)],
        ),
        ApiKeyEvent::Revoked { reason, cascade: _ } => out.put(
            &API_KEYS,
            at.org(),
            [id()],
            [("status", "revoked".into()), ("revoke_reason", reason.into())],
        ),
        ApiKeyEvent::Expired {} => out.put(&API_KEYS, at.org(), [id()], [("status", "expired".into())]),
    }
}
