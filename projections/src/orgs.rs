//! Orgs with their settings, workspaces and members.

use crate::{
    family::{Family, Tie},
    reading::{Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json, name},
    table::{Table, count, index, int, json as json_column, text, text_or},
};
use quipu_kinds::org::OrgEvent;

/// One row an org.
pub static ORGS: Table = Table {
    name: "orgs",
    key: &[],
    columns: &[
        text("name"),
        text("parent"),
        text_or("status", "'active'"),
        text("suspend_reason"),
        count("member_count"),
        count("version"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[],
};

/// One row a setting that is set.
pub static SETTINGS: Table = Table {
    name: "org_settings",
    key: &[text("name")],
    columns: &[json_column("value"), int("updated_at")],
    indexes: &[],
};

/// One row an org that names this one as its parent.
pub static WORKSPACES: Table = Table {
    name: "workspaces",
    key: &[text("workspace")],
    columns: &[int("created_at")],
    indexes: &[],
};

/// One row a member.
pub static MEMBERS: Table = Table {
    name: "members",
    key: &[text("principal")],
    columns: &[
        text("role"),
        json_column("name"),
        json_column("email"),
        int("added_at"),
        int("updated_at"),
    ],
    indexes: &[index("role")],
};

static ORGS_READING: Reading = whole("orgs", &ORGS, &["org"], &[]);

static ORG_SETTINGS_READING: Reading = whole("settings", &SETTINGS, &["name"], &[]);

static WORKSPACES_READING: Reading = whole("workspaces", &WORKSPACES, &["workspace"], &[]);

static MEMBERS_READING: Reading = whole(
    "members",
    &MEMBERS,
    &["principal"],
    &[("role", one_of!("role": "viewer", "member", "admin", "owner"))],
);

impl View {
    /// The org itself (one row).
    pub const ORGS: View = View::of(&ORGS_READING);
    /// An org's settings.
    pub const ORG_SETTINGS: View = View::of(&ORG_SETTINGS_READING);
    /// Orgs below this one.
    pub const WORKSPACES: View = View::of(&WORKSPACES_READING);
    /// Members of the org.
    pub const MEMBERS: View = View::of(&MEMBERS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "org",
    kind: Some("org"),
    version: 1,
    tables: &[&ORGS, &SETTINGS, &WORKSPACES, &MEMBERS],
    views: &[View::ORGS, View::ORG_SETTINGS, View::WORKSPACES, View::MEMBERS],
    parts: &[
        (View::MEMBERS, Tie::Org),
        (View::ORG_SETTINGS, Tie::Org),
        (View::WORKSPACES, Tie::Org),
    ],
    counts: &[(View::MEMBERS, &["role"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: OrgEvent, out: &mut Statements) {
    let org = at.org();
    out.put(&ORGS, org, [], [("version", at.version.into()), ("updated_at", at.time().into())]);
    match event {
        OrgEvent::Created { name, parent } => {
            if let Some(parent) = &parent {
                out.put(&WORKSPACES, parent, [org.into()], [("created_at", at.time().into())]);
            }
            out.put(
                &ORGS,
                org,
                [],
                [
                    ("name", name.into()),
                    ("parent", parent.as_ref().into()),
                    ("created_at", at.time().into()),
                ],
            );
        }
        OrgEvent::Renamed { name } => out.put(&ORGS, org, [], [("name", name.into())]),
        OrgEvent::MemberAdded {
            principal,
            role,
            name: person,
            email,
        } => {
            out.put(
                &MEMBERS,
                org,
                [(&principal).into()],
                [
                    ("role", name(&role)),
                    ("name", person.as_ref().map(json).into()),
                    ("email", email.as_ref().map(json).into()),
                    ("added_at", at.time().into()),
                    ("updated_at", at.time().into()),
                ],
            );
            out.put_add(&ORGS, org, [], [], [("member_count", 1)]);
        }
        OrgEvent::RoleSet { principal, role } => {
            out.put(
                &MEMBERS,
                org,
                [(&principal).into()],
                [("role", name(&role)), ("updated_at", at.time().into())],
            );
        }
        OrgEvent::MemberRemoved { principal } => {
            out.delete(&MEMBERS, org, [("principal", (&principal).into())]);
            out.put_add(&ORGS, org, [], [], [("member_count", -1)]);
        }
        OrgEvent::SettingsChanged { settings } => {
            for (setting, value) in settings {
                if value.0.is_null() {
                    out.delete(&SETTINGS, org, [("name", setting.into())]);
                } else {
                    out.put(
                        &SETTINGS,
                        org,
                        [setting.into()],
                        [("value", value.to_text().into()), ("updated_at", at.time().into())],
                    );
                }
            }
        }
        OrgEvent::Suspended { reason } => out.put(&ORGS, org, [], [("status", "suspended".into()), ("suspend_reason", reason.into())]),
        OrgEvent::Resumed {} => out.put(&ORGS, org, [], [("status", "active".into()), ("suspend_reason", Value::Null)]),
    }
}
