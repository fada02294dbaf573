//! Applications, without anything of their secrets.

use crate::{
    family::Family,
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json},
    table::{Table, count, index, int, json as json_column, text, text_or},
};
use quipu_kinds::application::{ApplicationEvent, DescribeApplication};

/// One row an application.
pub static APPLICATIONS: Table = Table {
    name: "applications",
    key: &[text("id")],
    columns: &[
        text("name"),
        text_or("status", "'active'"),
        text("stop_reason"),
        json_column("grants"),
        text("authentication"),
        json_column("redirect_uris"),
        json_column("scopes"),
        text("service"),
        count("secrets"),
        int("old_secret_until"),
        count("version"),
        text("created_by"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[index("status"), index("service")],
};

static APPLICATIONS_READING: Reading = whole(
    "applications",
    &APPLICATIONS,
    &["id"],
    &[
        ("service", Filter::Is("service")),
        ("status", one_of!("status": "active", "suspended", "retired")),
    ],
);

impl View {
    /// Applications.
    pub const APPLICATIONS: View = View::of(&APPLICATIONS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "application",
    kind: Some("application"),
    version: 1,
    tables: &[&APPLICATIONS],
    views: &[View::APPLICATIONS],
    parts: &[],
    counts: &[(View::APPLICATIONS, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

fn described(said: &DescribeApplication) -> [(&'static str, Value); 5] {
    let authentication = serde_json::to_value(said.authentication).ok();
    [
        ("name", said.name.clone().into()),
        ("grants", json(&said.grants)),
        (
            "authentication",
            authentication
                .as_ref()
                .and_then(|text| text.as_str())
                .unwrap_or_default()
                .to_owned()
                .into(),
        ),
        ("redirect_uris", json(&said.redirect_uris)),
        ("scopes", json(&said.scopes)),
    ]
}

pub(crate) fn reduce(at: Scope<'_>, event: ApplicationEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    let stopped = |status: &'static str, reason: String| [("status", status.into()), ("stop_reason", reason.into())];
    out.put(
        &APPLICATIONS,
        at.org(),
        [id()],
        [("version", at.version.into()), ("updated_at", now())],
    );
    match event {
        ApplicationEvent::Created(said) => {
            let by = at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal);
            out.put(&APPLICATIONS, at.org(), [id()], described(&said));
            out.put(&APPLICATIONS, at.org(), [id()], [("created_by", by.into()), ("created_at", now())]);
        }
        ApplicationEvent::Updated(said) => out.put(&APPLICATIONS, at.org(), [id()], described(&said)),
        ApplicationEvent::ServiceLinked { service } => out.put(&APPLICATIONS, at.org(), [id()], [("service", (&service).into())]),
        ApplicationEvent::ServiceUnlinked {} => out.put(&APPLICATIONS, at.org(), [id()], [("service", Value::Null)]),
        ApplicationEvent::SecretRotated { hash: _, old_until } => out.put_add(
            &APPLICATIONS,
            at.org(),
            [id()],
            [("old_secret_until", old_until.into())],
            [("secrets", 1)],
        ),
        ApplicationEvent::Suspended { reason } => out.put(&APPLICATIONS, at.org(), [id()], stopped("suspended", reason)),
        ApplicationEvent::Resumed {} => out.put(&APPLICATIONS, at.org(), [id()], [("status", "active".into())]),
        ApplicationEvent::Retired { reason } => out.put(&APPLICATIONS, at.org(), [id()], stopped("retired", reason)),
    }
}
