//! What the columns of shown rows hold: for documents, generated clients and suggestions.

use crate::{
    reading::{Computed, Filter, View},
    table::{Column, Type},
};

/// What a column holds where it is not null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Any text.
    Text,
    /// One of these names.
    OneOf(&'static [(&'static str, &'static str)]),
    /// A whole number.
    Int,
    /// A boolean.
    Flag,
    /// Any JSON.
    Json,
    /// A list of texts.
    Texts,
    /// A text of a person: shown as an object that says so where it was erased.
    Personal,
    /// A value whose type has this name among the schemas of commands.
    Named(&'static str),
}

/// One column of a shown row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// Whether it may be null.
    pub is_nullable: bool,
}

/// Columns of JSON, by table and name, of which more is known. The others hold any JSON.
const JSON: &[(&str, &str, Holds)] = &[
    ("agents", "model", Holds::Named("ModelConfig")),
    ("agent_tools", "tool", Holds::Named("ToolSpec")),
    ("conversations", "title", Holds::Personal),
    ("members", "name", Holds::Personal),
    ("members", "email", Holds::Personal),
    ("messages", "body", Holds::Personal),
    ("messages", "mentions", Holds::Texts),
    ("run_steps", "comment", Holds::Personal),
    ("turns", "eligible", Holds::Texts),
];

/// Whether the choices are exactly the values of a column, and not conditions of another sort.
fn are_values(column: &str, choices: &[(&str, &str)]) -> bool {
    choices
        .iter()
        .all(|(name, condition)| condition.starts_with(&format!("{column} = '{name}'")))
}

impl View {
    /// The columns of a shown row, in their order: stored ones, then those that are made of them.
    pub fn columns(self) -> Vec<Shown> {
        let reading = self.reading();
        let has = |computed| reading.computed.contains(&computed);
        let stored = reading
            .table
            .all_columns()
            // `position` stands in their place.
            .filter(|column| !(has(Computed::Position) && column.ty == Type::Place))
            .map(|column| Shown {
                name: column.name,
                holds: self.holds(column),
                is_nullable: column.default.is_none()
                    && column.name != "org"
                    && !reading.table.key.iter().any(|key| key.name == column.name),
            });
        let computed = reading.computed.iter().map(|computed| {
            let (name, holds) = match computed {
                Computed::Position => ("position", Holds::Text),
                Computed::Key => ("key", Holds::Text),
                Computed::Stream => ("stream", Holds::Text),
                Computed::Unchanged => ("unchanged", Holds::Flag),
                Computed::Left => ("left", Holds::Int),
                Computed::Percent => ("percent", Holds::Int),
            };
            Shown {
                name,
                holds,
                is_nullable: false,
            }
        });
        stored.chain(computed).collect()
    }

    fn holds(self, column: &Column) -> Holds {
        match column.ty {
            Type::Text => match self.filter(column.name) {
                Some(Filter::OneOf(choices)) if are_values(column.name, choices) => Holds::OneOf(choices),
                _ => Holds::Text,
            },
            Type::Int | Type::Place => Holds::Int,
            Type::Flag => Holds::Flag,
            Type::Bytes => Holds::Text,
            Type::Json => JSON
                .iter()
                .find(|(table, name, _)| (*table, *name) == (self.reading().table.name, column.name))
                .map_or(Holds::Json, |(.., holds)| *holds),
        }
    }

    fn filter(self, name: &str) -> Option<Filter> {
        self.reading()
            .filters
            .iter()
            .find(|(filter, _)| *filter == name)
            .map(|(_, filter)| *filter)
    }

    /// What a filter of this view takes.
    pub fn filter_takes(self, name: &str) -> Option<Holds> {
        Some(match self.filter(name)? {
            Filter::Is(column) | Filter::From(column) | Filter::Before(column) => self.holds(self.reading().table.column(column)?),
            Filter::OneOf([("true", _), ("false", _)]) => Holds::Flag,
            Filter::OneOf(choices) => Holds::OneOf(choices),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::Families;

    #[test]
    fn columns_of_json_that_are_described_exist() {
        for (table, name, _) in JSON {
            let found = Families::house().tables().find(|t| t.name == *table).and_then(|t| t.column(name));
            assert!(found.is_some_and(|column| column.ty == Type::Json), "{table}.{name}");
        }
    }

    #[test]
    fn states_are_enumerated_and_places_are_one_position() {
        let column = |view: View, name: &str| view.columns().into_iter().find(|column| column.name == name);
        let state = column(View::RUNS, "state").unwrap();
        assert!(matches!(state.holds, Holds::OneOf(choices) if choices.len() == 7) && !state.is_nullable);
        assert!(column(View::RUNS, "name").unwrap().is_nullable);
        assert_eq!(column(View::PARKED_STREAMS, "position").unwrap().holds, Holds::Text);
        assert!(column(View::PARKED_STREAMS, "offset").is_none());
        assert_eq!(View::MESSAGES.filter_takes("deleted"), Some(Holds::Flag));
        assert_eq!(View::MESSAGES.filter_takes("before_sequence"), Some(Holds::Int));
        assert_eq!(View::MESSAGES.filter_takes("nothing"), None);
    }

    #[test]
    fn every_filter_takes_something() {
        for view in Families::house().views() {
            for name in view.filters() {
                assert!(view.filter_takes(name).is_some(), "{view:?} {name}");
            }
        }
    }
}
