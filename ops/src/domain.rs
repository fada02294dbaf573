//! What a node knows: kinds of entity, and the families of views that they bring.

use quipu_projections::{
    families::{Families, FamilyError},
    family::Family,
    reading::View,
};
use quipu_runtime::kinds::{KindError, Kinds};
use quipu_schemas::ids::{BadId, Kind};

/// The kinds of a node, and their families of views.
#[derive(Clone)]
pub struct Domain {
    kinds: Kinds,
    families: Families,
}

/// Why a node cannot know these kinds and views together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// A kind or a view takes a name that is not free.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// A family does not fit the others.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// A family reads a kind that the node does not know.
    #[error("family {0} reads kind `{1}`, which is not registered: add it with Kinds::with")]
    NoSuchKind(&'static str, String),
}

impl From<Kinds> for Domain {
    /// These kinds, with the views of the house.
    fn from(kinds: Kinds) -> Self {
        Self {
            kinds,
            families: Families::house(),
        }
    }
}

impl Domain {
    /// The kinds and views of the house.
    pub fn builtin() -> Self {
        Kinds::builtin().into()
    }

    /// Adds the family of views that a kind brings.
    ///
    /// # Panics
    /// Where [`Families::with`] refuses it: that is a mistake in the program.
    #[must_use]
    pub fn view(self, family: &'static Family) -> Self {
        self.try_view(family).unwrap_or_else(|e| panic!("{e}"))
    }

    /// As [`Domain::view`], with what speaks against it.
    pub fn try_view(self, family: &'static Family) -> Result<Self, FamilyError> {
        let families = self.families.with(family)?;
        Ok(Self { families, ..self })
    }

    /// The parts, where they fit each other.
    pub(crate) fn checked(self) -> Result<(Kinds, Families), DomainError> {
        for family in self.families.iter() {
            if let Some(kind) = family.kind {
                let known = Kind::parse(kind).map_err(|e: BadId| KindError::from(e))?;
                if self.kinds.get(&known).is_none() {
                    return Err(DomainError::NoSuchKind(family.name, kind.to_owned()));
                }
            }
            // In an org's paths a kind and a view of one name would hide each other, unless the view is the kind's own.
            let views = family.views.iter().map(|view| View::name(*view));
            self.kinds.beside(family.kind, views)?;
        }
        Ok((self.kinds, self.families))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_projections::{
        reading::{View, whole},
        table::{Table, int, text},
    };

    static PETS: Table = Table {
        name: "pets",
        key: &[text("id")],
        columns: &[int("age")],
        indexes: &[],
    };
    static READING: quipu_projections::reading::Reading = whole("pets", &PETS, &["id"], &[]);

    const fn family(name: &'static str, kind: Option<&'static str>, tables: &'static [&'static Table], views: &'static [View]) -> Family {
        Family {
            name,
            kind,
            version: 1,
            tables,
            views,
            parts: &[],
            counts: &[],
            reduce: |_, _, _| Ok(()),
        }
    }

    #[test]
    fn families_that_do_not_fit_are_refused_with_the_reason() {
        static OF_ALL: Family = family("pet", None, &[], &[]);
        static TAKEN: Family = family("run", Some("pet"), &[], &[]);
        static BAD_TABLES: [&Table; 1] = [&Table {
            name: "pets; drop",
            key: &[],
            columns: &[],
            indexes: &[],
        }];
        static BAD: Family = family("pet", Some("pet"), &BAD_TABLES, &[]);
        static OTHERS: Family = family("pet", Some("pet"), &[], &[View::of(&READING)]);
        for (family, told) in [
            (&OF_ALL, "names no kind"),
            (&TAKEN, "calls a family `run`: another family does"),
            (&BAD, "`pets; drop`, which is not valid"),
            (&OTHERS, "of a table that is not its own"),
        ] {
            let refused = Domain::builtin().try_view(family).err().map(|e| e.to_string());
            assert!(refused.as_ref().is_some_and(|text| text.contains(told)), "{refused:?}");
        }
    }

    #[test]
    fn a_family_of_an_unknown_kind_stops_the_start() {
        static PET: Family = family("pet", Some("pet"), &[&PETS], &[View::of(&READING)]);
        let refused = Domain::builtin().view(&PET).checked().err().map(|e| e.to_string());
        assert!(
            refused.as_ref().is_some_and(|text| text.contains("reads kind `pet`")),
            "{refused:?}"
        );
        assert!(Domain::builtin().checked().is_ok());
    }
}
