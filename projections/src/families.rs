//! Families together: tables, views, parts, counts and reducers of the whole house come from them, and those of own kinds join
//! them. A view is a constant in the file of its table, named in its family.

use crate::{
    FAMILIES,
    error::ViewError,
    family::{Family, Tie},
    reading::View,
    scope::At,
    statement::{Statement, Statements},
    table::Table,
};
use quipu_schemas::{codec::EventError, digest::Digest, record::Record};
use std::collections::BTreeSet;

/// The families of a node: those of the house, and what own kinds bring. The list lives as long as the process.
#[derive(Clone, Copy)]
pub struct Families(&'static [&'static Family]);

/// Why a family cannot join the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FamilyError {
    /// It names no kind.
    #[error("family {0} names no kind: only families of the house see the records of every kind")]
    NoKind(&'static str),
    /// Another family has this name, table or view.
    #[error("family {0} calls a {1} `{2}`: another family does; give it another name")]
    Taken(&'static str, &'static str, &'static str),
    /// The name is outside its grammar, or a store keeps it for itself.
    #[error("family {0} calls a {1} `{2}`, which is not valid: use 1 to 48 of {3}, starting with a letter, and none of {4}")]
    BadName(&'static str, &'static str, &'static str, &'static str, String),
    /// A view shows a table of another family.
    #[error("family {0} has a view `{1}` of a table that is not its own")]
    OtherTable(&'static str, &'static str),
}

/// Families that the others hang on.
const BASES: [&str; 2] = ["activity", "parked"];

/// Tables that stores keep for themselves.
const KEPT: [&str; 6] = ["origin", "checkpoints", "families", "late_families", "org_schemas", "stores"];

impl Families {
    /// These families.
    pub const fn of(list: &'static [&'static Family]) -> Self {
        Self(list)
    }

    /// Those of the house.
    pub const fn house() -> Self {
        Self(FAMILIES)
    }

    /// With one more, which a kind of one's own brings. Registering is for the start of a program: the list is never freed.
    pub fn with(self, family: &'static Family) -> Result<Self, FamilyError> {
        if family.kind.is_none() {
            return Err(FamilyError::NoKind(family.name));
        }
        if self.0.iter().any(|other| other.name == family.name) {
            return Err(FamilyError::Taken(family.name, "family", family.name));
        }
        for table in family.tables {
            let columns = table.key.iter().chain(table.columns).map(|column| column.name);
            for (what, name) in std::iter::once(("table", table.name)).chain(columns.map(|name| ("column", name))) {
                if !is_name(name, '_') || (what == "table" && KEPT.contains(&name)) {
                    return Err(FamilyError::BadName(family.name, what, name, "a-z 0-9 _", KEPT.join(", ")));
                }
            }
            if self.tables().any(|other| other.name == table.name) {
                return Err(FamilyError::Taken(family.name, "table", table.name));
            }
        }
        for view in family.views {
            if !family.tables.contains(&view.reading().table) {
                return Err(FamilyError::OtherTable(family.name, view.name()));
            }
            if !is_name(view.name(), '-') {
                return Err(FamilyError::BadName(
                    family.name,
                    "view",
                    view.name(),
                    "a-z 0-9 -",
                    String::from("_"),
                ));
            }
            if self.views().any(|other| other == *view) {
                return Err(FamilyError::Taken(family.name, "view", view.name()));
            }
        }
        let mut all = self.0.to_vec();
        all.push(family);
        Ok(Self(Box::leak(all.into_boxed_slice())))
    }

    /// Each.
    pub fn iter(self) -> impl Iterator<Item = &'static Family> {
        self.0.iter().copied()
    }

    /// Every table.
    pub fn tables(self) -> impl Iterator<Item = &'static Table> {
        self.iter().flat_map(|family| family.tables.iter().copied())
    }

    /// Every view.
    pub fn views(self) -> impl Iterator<Item = View> {
        self.iter().flat_map(|family| family.views.iter().copied())
    }

    /// The parts of a kind's entities with what ties them to it, its own before those that every kind has.
    pub fn parts(self, kind: &str) -> impl Iterator<Item = (View, Tie)> {
        let mut own: Vec<_> = self.iter().filter(|family| family.is_of(kind)).collect();
        own.sort_by_key(|family| family.kind.is_none());
        own.into_iter().flat_map(|family| family.parts.iter().copied())
    }

    /// What is counted in an org: a view, and the columns by which.
    pub fn counts(self) -> impl Iterator<Item = (View, &'static [&'static str])> {
        self.iter().flat_map(|family| family.counts.iter().copied())
    }

    /// A view by its name.
    pub fn view(self, name: &str) -> Result<View, ViewError> {
        self.views().find(|view| view.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.views().map(View::name).collect();
            ViewError::UnknownView(name.chars().take(80).collect(), names.join(", "))
        })
    }

    /// The statements of one record: pure, without effects by type, the same on every machine and in every rebuild.
    ///
    /// Statements of records of different streams commute, so views are equal whatever the interleaving of streams. An
    /// event that does not decode is an error: the projector parks its stream. A kind without a family has no view of its own;
    /// its commands, effects and timers are shown all the same.
    pub fn reduce(self, record: &Record, at: At) -> Result<Vec<Statement>, EventError> {
        self.reduce_but(record, at, &BTreeSet::new())
    }

    /// The statements of one record, as [`Families::reduce`], but those of some families.
    pub fn reduce_but(self, record: &Record, at: At, but: &BTreeSet<&'static str>) -> Result<Vec<Statement>, EventError> {
        let mut out = Statements::default();
        let kind = record.header.stream.kind.as_str();
        for family in self.iter().filter(|family| family.is_of(kind) && !but.contains(family.name)) {
            (family.reduce)(record, at, &mut out)?;
        }
        Ok(out.into_inner())
    }

    /// The family of a view.
    pub fn of_view(self, view: View) -> Option<&'static Family> {
        self.iter().find(|family| family.views.contains(&view))
    }

    /// What all families of a store hang on: how records are followed, and the families in which chains end and streams park.
    /// Where this changes, everything is rebuilt.
    pub fn base(self) -> Digest {
        let bases: Vec<_> = self
            .iter()
            .filter(|family| BASES.contains(&family.name))
            .map(Family::made_by)
            .collect();
        let bases: Vec<&[u8]> = bases.iter().map(|digest| &digest.0[..]).collect();
        Digest::of(&[&[b"base" as &[u8], &REDUCERS_VERSION.to_be_bytes()], &bases[..]].concat())
    }

    /// What views are made by: a hash over the versions of the reducers and every table. Where releases share a database, each
    /// keeps a store of its own version.
    pub fn version(self) -> Digest {
        let tables: Vec<_> = self.tables().collect();
        // First versions add nothing, so that stores made before families had versions are still what they were.
        let raised: Vec<_> = self
            .iter()
            .filter(|family| family.version > 1)
            .map(|family| (family.name, family.version))
            .collect();
        let raised = if raised.is_empty() { String::new() } else { format!("{raised:?}") };
        Digest::of(&[&REDUCERS_VERSION.to_be_bytes(), format!("{tables:?}{raised}").as_bytes()])
    }
}

impl std::fmt::Debug for Families {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|family| family.name)).finish()
    }
}

/// A name that goes into SQL or a path.
fn is_name(name: &str, joint: char) -> bool {
    name.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}

/// Raised when what all reducers share gives other statements for the same record.
pub const REDUCERS_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{activity, agents, deliveries, orgs, parked, runs};

    #[test]
    fn names_of_tables_views_and_families_are_unique() {
        let house = Families::house();
        let tables: Vec<_> = house.tables().map(|table| table.name).collect();
        let views: Vec<_> = house.views().map(View::name).collect();
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

    /// Golden: another digest has every store rebuilt. Families that came later stand behind these and begin alone.
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
        // Notices of failed turns stand among the messages since version 2; credentials and refusals among the records.
        const RAISED: &[(&str, u32)] = &[("conversation", 2), ("activity", 2)];
        const MADE_OF_FAMILIES: usize = 7;
        assert_eq!(
            Families::of(&FAMILIES[..MADE_OF_FAMILIES]).version(),
            Digest::of(&[&REDUCERS_VERSION.to_be_bytes(), format!("{MADE_OF:?}{RAISED:?}").as_bytes()])
        );
    }
}
