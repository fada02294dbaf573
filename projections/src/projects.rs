//! Projects, and the applications that are of them.

use crate::{
    family::{Family, Tie},
    reading::{Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value},
    table::{Table, count, index, int, text, text_or},
};
use quipu_kinds::project::ProjectEvent;

/// One row a project.
pub static PROJECTS: Table = Table {
    name: "projects",
    key: &[text("id")],
    columns: &[
        text("name"),
        text_or("status", "'active'"),
        text("archive_reason"),
        count("application_count"),
        count("version"),
        int("created_at"),
        int("updated_at"),
    ],
    indexes: &[],
};

/// One row an application of a project.
pub static PROJECT_APPLICATIONS: Table = Table {
    name: "project_applications",
    key: &[text("project"), text("application")],
    columns: &[int("added_at")],
    indexes: &[index("application")],
};

static PROJECTS_READING: Reading = whole(
    "projects",
    &PROJECTS,
    &["id"],
    &[("status", one_of!("status": "active", "archived"))],
);

static PROJECT_APPLICATIONS_READING: Reading = whole(
    "project-applications",
    &PROJECT_APPLICATIONS,
    &["project", "application"],
    &[("project", Filter::Is("project")), ("application", Filter::Is("application"))],
);

impl View {
    /// Projects.
    pub const PROJECTS: View = View::of(&PROJECTS_READING);
    /// Which applications are of which project.
    pub const PROJECT_APPLICATIONS: View = View::of(&PROJECT_APPLICATIONS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "project",
    kind: Some("project"),
    version: 1,
    tables: &[&PROJECTS, &PROJECT_APPLICATIONS],
    views: &[View::PROJECTS, View::PROJECT_APPLICATIONS],
    parts: &[(View::PROJECT_APPLICATIONS, Tie::Id("project"))],
    counts: &[(View::PROJECTS, &["status"])],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: ProjectEvent, out: &mut Statements) {
    let id = || Value::from(&at.header.stream.id);
    let org = at.org();
    out.put(
        &PROJECTS,
        org,
        [id()],
        [("version", at.version.into()), ("updated_at", at.time().into())],
    );
    match event {
        ProjectEvent::Created { name } => out.put(&PROJECTS, org, [id()], [("name", name.into()), ("created_at", at.time().into())]),
        ProjectEvent::Renamed { name } => out.put(&PROJECTS, org, [id()], [("name", name.into())]),
        ProjectEvent::ApplicationAdded { application } => {
            out.put(
                &PROJECT_APPLICATIONS,
                org,
                [id(), (&application).into()],
                [("added_at", at.time().into())],
            );
            out.put_add(&PROJECTS, org, [id()], [], [("application_count", 1)]);
        }
        ProjectEvent::ApplicationRemoved { application } => {
            out.delete(
                &PROJECT_APPLICATIONS,
                org,
                [("project", id()), ("application", (&application).into())],
            );
            out.put_add(&PROJECTS, org, [id()], [], [("application_count", -1)]);
        }
        ProjectEvent::Archived { reason } => out.put(
            &PROJECTS,
            org,
            [id()],
            [("status", "archived".into()), ("archive_reason", reason.into())],
        ),
    }
}
