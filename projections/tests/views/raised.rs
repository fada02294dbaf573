//! Families whose version is raised, and rows that are told from those that are made again.

use quipu_projections::{
    error::ViewError,
    families::Families,
    family::Family,
    orgs::ORGS,
    query::Query,
    reading::View,
    runs::RUNS,
    statement::Statement,
    store::{Of, ViewBatch, ViewStore},
    table::Table,
    views::Views,
};
use quipu_schemas::ids::OrgId;

const ACME: OrgId = OrgId::from_static("acme");

/// The house's families, this one of another version.
pub(crate) fn raised(name: &str) -> Families {
    let raise = |family: &'static Family| {
        let version = family.version + u32::from(family.name == name);
        let raised: &'static Family = Box::leak(Box::new(Family { version, ..*family }));
        raised
    };
    let all: Vec<&'static Family> = Families::house().iter().map(raise).collect();
    Families::of(Box::leak(all.into_boxed_slice()))
}

/// Writes into all rows what no record says, so that rows that are made again are told from rows that were kept.
pub(crate) fn meddle(store: &dyn ViewStore) {
    let at = store.checkpoints().unwrap()[0];
    let change = |table: &'static Table| Statement::Change {
        table,
        matching: vec![("org", "acme".into())],
        set: vec![("name", "meddled".into())],
        add: vec![],
    };
    let batch = ViewBatch {
        partition: 0,
        of: Of::Views,
        expected: at,
        next: at,
        statements: vec![change(&ORGS), change(&RUNS)],
    };
    store.apply(&[batch]).unwrap();
}

/// What two of the views tell now: names of orgs and of runs, or the refusal.
pub(crate) fn names(views: &Views) -> [Result<Vec<String>, ViewError>; 2] {
    [View::ORGS, View::RUNS].map(|view| {
        let page = views.list(view, &ACME, &Query::default())?;
        Ok(page
            .rows
            .iter()
            .map(|row| row["name"].as_str().unwrap_or_default().to_owned())
            .collect())
    })
}
