//! Callbacks, without anything of their secrets.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json},
    table::{Table, count, index, int, json as json_column, text, text_or},
};
use quipu_kinds::callback::{CallbackEvent, CallbackScheme, CallbackSecret};

/// One row a callback.
pub static CALLBACKS: Table = Table {
    name: "callbacks",
    key: &[text("id")],
    columns: &[
        text("name"),
        text_or("status", "'open'"),
        text("reason"),
        text("scheme"),
        text("secret_name"),
        int("old_until"),
        text("principal"),
        text("target_kind"),
        text("target_id"),
        text("target_command"),
        json_column("mapping"),
        count("rotations"),
        count("shredded"),
        count("version"),
        text("created_by"),
        int("created_at"),
        int("rotated_at"),
        int("updated_at"),
    ],
    indexes: &[index("principal"), index("status")],
};

static CALLBACKS_READING: Reading = whole(
    "callbacks",
    &CALLBACKS,
    &["id"],
    &[
        ("principal", Filter::Is("principal")),
        ("status", one_of!("status": "open", "paused", "retired")),
    ],
);

impl View {
    /// Callbacks.
    pub const CALLBACKS: View = View::of(&CALLBACKS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "callback",
    kind: Some("callback"),
    version: 1,
    tables: &[&CALLBACKS],
    views: &[View::CALLBACKS],
    parts: &[],
    counts: &[(View::CALLBACKS, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

fn scheme_name(scheme: &CallbackScheme) -> &'static str {
    match scheme {
        CallbackScheme::StandardWebhooks => "standard_webhooks",
        CallbackScheme::Github => "github",
        CallbackScheme::Hmac(_) => "hmac",
    }
}

/// The org's secret that it names, where it has none of its own.
fn named(secret: &CallbackSecret) -> Value {
    match secret {
        CallbackSecret::Name(name) => name.into(),
        CallbackSecret::Value(_) => Value::Null,
    }
}

pub(crate) fn reduce(at: Scope<'_>, event: CallbackEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    out.put(
        &CALLBACKS,
        at.org(),
        [id()],
        [("version", at.version.into()), ("updated_at", now())],
    );
    let status = |status: &'static str, reason: Value| [("status", status.into()), ("reason", reason)];
    match event {
        CallbackEvent::Created {
            name,
            scheme,
            secret,
            principal,
            target,
            mapping,
            delivery_id: _,
        } => {
            let by = at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal);
            out.put(
                &CALLBACKS,
                at.org(),
                [id()],
                [
                    ("name", name.into()),
                    ("scheme", scheme_name(&scheme).into()),
                    ("secret_name", named(&secret)),
                    ("principal", (&principal).into()),
                    ("target_kind", target.kind.as_str().into()),
                    ("target_id", target.id.into()),
                    ("target_command", target.command.into()),
                    ("mapping", json(&mapping)),
                    ("created_by", by.into()),
                    ("created_at", now()),
                ],
            );
        }
        CallbackEvent::SecretRotated {
            generation: _,
            secret,
            old_until,
            shreds: _,
        } => out.put_add(
            &CALLBACKS,
            at.org(),
            [id()],
            [
                ("secret_name", named(&secret)),
                ("old_until", old_until.into()),
                ("rotated_at", now()),
            ],
            [("rotations", 1)],
        ),
        CallbackEvent::OldEnded { shreds: _ } => out.put(&CALLBACKS, at.org(), [id()], [("old_until", Value::Null)]),
        CallbackEvent::Paused { reason } => out.put(&CALLBACKS, at.org(), [id()], status("paused", reason.into())),
        CallbackEvent::Resumed {} => out.put(&CALLBACKS, at.org(), [id()], status("open", Value::Null)),
        CallbackEvent::Retired { reason, shreds: _ } => out.put(&CALLBACKS, at.org(), [id()], status("retired", reason.into())),
        CallbackEvent::Shredded { subject: _ } => out.put_add(&CALLBACKS, at.org(), [id()], [], [("shredded", 1)]),
    }
}
