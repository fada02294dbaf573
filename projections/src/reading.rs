//! How views are read: filters, orders, pages and what is computed; the readings themselves stand beside their tables.

use crate::table::Table;
use std::{cmp::Ordering, fmt};

/// A filter's meaning.
#[derive(Debug, Clone, Copy)]
pub enum Filter {
    /// The column equals the value.
    Is(&'static str),
    /// The column is at least the value (inclusive).
    From(&'static str),
    /// The column is below the value (exclusive).
    Before(&'static str),
    /// One of these values, with the SQL condition that it stands for.
    OneOf(&'static [(&'static str, &'static str)]),
}

/// An order of rows within an org.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Columns; together unique, never null.
    pub columns: &'static [&'static str],
    /// Whether the greatest come first.
    pub descending: bool,
}

/// How a view is read.
#[derive(Debug)]
pub struct Reading {
    /// Name in paths and cursors.
    pub name: &'static str,
    /// Table.
    pub table: &'static Table,
    /// Only rows for which this SQL holds.
    pub only: Option<&'static str>,
    /// The order of pages. Its columns never change once a row is there, so that a row that is there at the first page
    /// comes exactly once, however much the rows change meanwhile.
    pub order: Order,
    /// The order within one stream (filters `kind` and `id`), where the key has it: a stream's record time rises with its
    /// versions, so it is the same order, but for clocks.
    pub in_stream: Option<Order>,
    /// Other orders by name, for a look at the first rows: what they sort by changes, so a row that moves while pages
    /// are read may be missed or come twice.
    pub orders: &'static [(&'static str, Order)],
    /// Columns that name one row, for `get`; unique within the org.
    pub named_by: &'static [&'static str],
    /// Columns of a shown row that are made of stored ones.
    pub computed: &'static [Computed],
    /// Filters by name.
    pub filters: &'static [(&'static str, Filter)],
}

/// A column of a shown row that is made of stored ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Computed {
    /// `position` in the place of `partition` and `offset`, where both are set.
    Position,
    /// `key`, the name of the effect or dispatch: of `org`, `kind`, `id`, `version` and `ordinal`.
    Key,
    /// `stream`, the name of the stream: of `org`, `kind` and `id`.
    Stream,
    /// `unchanged`: whether `event_count` is 0.
    Unchanged,
    /// `left`: what is neither used nor held of `limit`.
    Left,
    /// `percent`: how much of `limit` is used or held, rounded down.
    Percent,
}

/// A view: the name of a reading. Each stands as a constant beside its reading.
#[derive(Clone, Copy)]
pub struct View(&'static Reading);

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
impl Eq for View {}
impl PartialOrd for View {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for View {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}
impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl View {
    /// The view that is read like this.
    pub const fn of(reading: &'static Reading) -> Self {
        Self(reading)
    }

    /// How it is read.
    pub const fn reading(self) -> &'static Reading {
        self.0
    }

    /// Whether its filter of this name takes any value that the column of the same name may hold.
    pub fn filters_by(self, name: &str) -> bool {
        let by = |(_, filter): &(&str, Filter)| matches!(filter, Filter::Is(column) if *column == name);
        self.reading().filters.iter().filter(|(filter, _)| *filter == name).any(by)
    }

    /// Name in paths and cursors.
    pub fn name(self) -> &'static str {
        self.reading().name
    }

    /// Columns that name one row, for `get`.
    pub fn named_by(self) -> &'static [&'static str] {
        self.reading().named_by
    }

    /// Names of the filters it allows.
    pub fn filters(self) -> impl Iterator<Item = &'static str> {
        self.reading().filters.iter().map(|(name, _)| *name)
    }

    /// Names of the orders that it can be listed in besides its own.
    pub fn orders(self) -> impl Iterator<Item = &'static str> {
        self.reading().orders.iter().map(|(name, _)| *name)
    }
}

/// A column that holds one of these names and nothing else: any other is a mistake, and told so.
macro_rules! one_of {
    ($column:literal: $($name:literal),+ $(,)?) => {
        $crate::reading::Filter::OneOf(&[$(($name, concat!($column, " = '", $name, "'"))),+])
    };
}
pub(crate) use one_of;

/// The least first.
pub const fn rising(columns: &'static [&'static str]) -> Order {
    Order {
        columns,
        descending: false,
    }
}

/// The greatest first.
pub const fn falling(columns: &'static [&'static str]) -> Order {
    Order { columns, descending: true }
}

/// A view of a whole table in the order of its key.
pub const fn whole(
    name: &'static str,
    table: &'static Table,
    named_by: &'static [&'static str],
    filters: &'static [(&'static str, Filter)],
) -> Reading {
    Reading {
        name,
        table,
        only: None,
        order: rising(named_by),
        in_stream: None,
        orders: &[],
        named_by,
        computed: &[],
        filters,
    }
}

/// The filter by the flag `active`.
pub(crate) const ACTIVE: Filter = Filter::OneOf(&[("true", "active = 1"), ("false", "active = 0")]);
