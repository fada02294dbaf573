//! Tables of the read models: plain data from which each store makes its own DDL and SQL.
//!
//! Every table's key begins with `org`; no table can be written or read without one.

/// How a column is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// Whole number; times are milliseconds since the Unix epoch.
    Int,
    /// JSON text, shown as JSON.
    Json,
    /// 0 or 1, shown as a boolean.
    Flag,
    /// Bytes, shown in hex.
    Bytes,
    /// Partition or record offset: a number that changes when a log is moved, so content digests leave it out.
    Place,
}

/// A column with its SQL default.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// SQL literal; `None`: null.
    pub default: Option<&'static str>,
}

/// A text column, null unless set.
pub const fn text(name: &'static str) -> Column {
    Column {
        name,
        ty: Type::Text,
        default: None,
    }
}
/// A text column with a default (an SQL literal).
pub const fn text_or(name: &'static str, default: &'static str) -> Column {
    Column {
        name,
        ty: Type::Text,
        default: Some(default),
    }
}
/// A number, null unless set.
pub const fn int(name: &'static str) -> Column {
    Column {
        name,
        ty: Type::Int,
        default: None,
    }
}
/// A number that counts from 0.
pub const fn count(name: &'static str) -> Column {
    Column {
        name,
        ty: Type::Int,
        default: Some("0"),
    }
}
/// JSON, null unless set.
pub const fn json(name: &'static str) -> Column {
    Column {
        name,
        ty: Type::Json,
        default: None,
    }
}
/// A boolean, false unless set.
pub const fn flag(name: &'static str) -> Column {
    Column {
        name,
        ty: Type::Flag,
        default: Some("0"),
    }
}
/// Bytes, null unless set.
pub const fn bytes(name: &'static str) -> Column {
    Column {
        name,
        ty: Type::Bytes,
        default: None,
    }
}
/// Partition or offset.
pub const fn place(name: &'static str) -> Column {
    Column {
        name,
        ty: Type::Place,
        default: None,
    }
}

/// The column that every key begins with.
pub const ORG: Column = text("org");

/// One table.
#[derive(Debug)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Key columns after `org`.
    pub key: &'static [Column],
    /// Other columns.
    pub columns: &'static [Column],
    /// Indexes: column lists after `org`, with an optional SQL condition.
    pub indexes: &'static [Index],
}

/// An index: columns after `org`, and the rows it holds.
#[derive(Debug)]
pub struct Index {
    /// Column list, in SQL.
    pub columns: &'static str,
    /// Only rows for which this holds.
    pub only: Option<&'static str>,
}

/// The key as an index beside the rows: with it among a table's indexes, rows lie in the order in which they came, where a store
/// has a choice. For wide rows that come in between others, which would be moved for each of them.
pub const KEY_BESIDE: Index = Index { columns: "", only: None };

/// An index over all rows.
pub const fn index(columns: &'static str) -> Index {
    Index { columns, only: None }
}
/// An index over some rows.
pub const fn index_only(columns: &'static str, only: &'static str) -> Index {
    Index { columns, only: Some(only) }
}

impl Table {
    /// Whether its rows lie in the order in which they came, not in that of their key.
    pub fn lies_as_it_came(&self) -> bool {
        self.indexes.iter().any(|index| index.columns.is_empty())
    }

    /// Its indexes besides that of the key, each with its number.
    pub fn numbered_indexes(&self) -> impl Iterator<Item = (usize, &Index)> {
        self.indexes.iter().filter(|index| !index.columns.is_empty()).enumerate()
    }

    /// The columns of its key, `org` first.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        std::iter::once(&ORG).chain(self.key)
    }

    /// All columns: `org`, the rest of the key, the others.
    pub fn all_columns(&self) -> impl Iterator<Item = &Column> {
        self.key_columns().chain(self.columns)
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.all_columns().find(|c| c.name == name)
    }
}
