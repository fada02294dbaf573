//! The one list of families: tables, views, parts, counts and reducers of the whole house come from it. A view is a constant
//! in the file of its table, named in its family; a new family is one more line here.

use crate::{
    activity, agents, conversations, deliveries,
    error::ViewError,
    family::{Family, Tie},
    orgs, parked,
    reading::View,
    runs,
    scope::At,
    statement::{Statement, Statements},
    table::Table,
};
use quipu_schemas::{codec::EventError, digest::Digest, record::Record};

/// Every family. The order is that of tables and views, and of statements of one record.
pub static FAMILIES: [&Family; 7] = [
    &orgs::FAMILY,
    &agents::FAMILY,
    &conversations::FAMILY,
    &runs::FAMILY,
    &deliveries::FAMILY,
    &activity::FAMILY,
    &parked::FAMILY,
];

/// Every table.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    FAMILIES.iter().flat_map(|family| family.tables.iter().copied())
}

/// Every view.
pub fn views() -> impl Iterator<Item = View> {
    FAMILIES.iter().flat_map(|family| family.views.iter().copied())
}

/// The parts of a kind's entities with what ties them to it, its own before those that every kind has.
pub fn parts(kind: &str) -> impl Iterator<Item = (View, Tie)> {
    FAMILIES
        .iter()
        .filter(move |family| family.is_of(kind))
        .flat_map(|family| family.parts.iter().copied())
}

/// What is counted in an org: a view, and the columns by which.
pub fn counts() -> impl Iterator<Item = (View, &'static [&'static str])> {
    FAMILIES.iter().flat_map(|family| family.counts.iter().copied())
}

/// The statements of one record: pure, without effects by type, the same on every machine and in every rebuild.
///
/// Statements of records of different streams commute, so views are equal whatever the interleaving of streams. An
/// event that does not decode is an error: the projector parks its stream. A user's own kinds have no view of their own;
/// their commands, effects and timers are shown all the same.
pub fn reduce(record: &Record, at: At) -> Result<Vec<Statement>, EventError> {
    let mut out = Statements::default();
    for family in FAMILIES.iter().filter(|family| family.is_of(record.header.stream.kind.as_str())) {
        (family.reduce)(record, at, &mut out)?;
    }
    Ok(out.into_inner())
}

/// Raised when what all reducers share gives other statements for the same record.
pub const REDUCERS_VERSION: u32 = 1;

/// What views are made by: a hash over the versions of the reducers and every table. A store made by another version is
/// rebuilt beside it.
pub fn projector_version() -> Digest {
    let tables: Vec<_> = tables().collect();
    // First versions add nothing, so that stores made before families had versions are still what they were.
    let raised: Vec<_> = FAMILIES
        .iter()
        .filter(|family| family.version > 1)
        .map(|family| (family.name, family.version))
        .collect();
    let raised = if raised.is_empty() { String::new() } else { format!("{raised:?}") };
    Digest::of(&[&REDUCERS_VERSION.to_be_bytes(), format!("{tables:?}{raised}").as_bytes()])
}

impl View {
    /// A view by its name.
    pub fn parse(name: &str) -> Result<Self, ViewError> {
        views().find(|view| view.name() == name).ok_or_else(|| {
            let names: Vec<_> = views().map(View::name).collect();
            ViewError::UnknownView(name.chars().take(80).collect(), names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_of_tables_views_and_families_are_unique() {
        let tables: Vec<_> = tables().map(|table| table.name).collect();
        let views: Vec<_> = views().map(View::name).collect();
        let families: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        for names in [tables, views, families] {
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn families_speak_of_their_own_tables_and_views() {
        for family in FAMILIES {
            for view in family.views {
                assert!(family.tables.contains(&view.reading().table), "{view:?}");
            }
            for view in family
                .parts
                .iter()
                .map(|(view, _)| view)
                .chain(family.counts.iter().map(|(view, _)| view))
            {
                assert!(family.views.contains(view), "{view:?} of {}", family.name);
            }
            for (view, by) in family.counts {
                assert!(
                    by.iter().all(|column| view.reading().table.column(column).is_some()),
                    "{view:?} by {by:?}"
                );
            }
            for (view, tie) in family.parts {
                let tied: &[&str] = match tie {
                    Tie::Org => &[],
                    Tie::Id(column) => &[column],
                    Tie::Stream => &["kind", "id"],
                };
                assert!(tied.iter().all(|name| view.filters_by(name)), "{view:?} by {tied:?}");
            }
        }
    }

    /// Golden: another digest has every store rebuilt.
    #[test]
    fn tables_are_those_that_stores_were_made_of() {
        const MADE_OF: &[&Table] = &[
            &orgs::ORGS,
            &orgs::SETTINGS,
            &orgs::WORKSPACES,
            &orgs::MEMBERS,
            &agents::AGENTS,
            &agents::DIRECTIVES,
            &agents::TOOLS,
            &crate::conversation_rows::CONVERSATIONS,
            &crate::conversation_rows::PARTICIPANTS,
            &crate::messages::MESSAGES,
            &crate::turns::TURNS,
            &runs::RUNS,
            &runs::RUN_STEPS,
            &deliveries::DELIVERIES,
            &deliveries::DISPATCHES,
            &crate::timers::TIMERS,
            &activity::COMMANDS,
            &parked::PARKED,
        ];
        // Notices of failed turns stand among the messages since version 2.
        const RAISED: &[(&str, u32)] = &[("conversation", 2)];
        assert_eq!(
            projector_version(),
            Digest::of(&[&REDUCERS_VERSION.to_be_bytes(), format!("{MADE_OF:?}{RAISED:?}").as_bytes()])
        );
    }
}
