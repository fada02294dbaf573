//! What a kind, or everything that is seen of every kind, brings to the read models.

use crate::{reading::View, scope::At, statement::Statements, table::Table};
use quipu_schemas::{codec::EventError, digest::Digest, record::Record};

/// Filters that tie a part to its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The part belongs to the org, whose id the entity's is.
    Org,
    /// The column of this name holds the entity's id.
    Id(&'static str),
    /// Columns `kind` and `id` name the entity.
    Stream,
}

/// Tables with the reducer that fills them and the views that show them.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// The kind whose records are reduced, and whose entities have the parts; `None`: every kind.
    pub kind: Option<&'static str>,
    /// Raised when the reducer gives other statements for the same record.
    pub version: u32,
    /// Tables. No other family writes to them.
    pub tables: &'static [&'static Table],
    /// Views of them.
    pub views: &'static [View],
    /// The views that are parts of an entity.
    pub parts: &'static [(View, Tie)],
    /// What is counted in an org: a view, and the columns by which.
    pub counts: &'static [(View, &'static [&'static str])],
    /// From a record to statements.
    pub reduce: fn(&Record, At, &mut Statements) -> Result<(), EventError>,
}

impl Family {
    /// What its rows are made by: a hash over its version and its tables.
    pub fn made_by(&self) -> Digest {
        Digest::of(&[format!("{} {} {:?}", self.name, self.version, self.tables).as_bytes()])
    }

    /// Whether records of this kind are reduced, and its entities have the parts.
    pub fn is_of(&self, kind: &str) -> bool {
        self.kind.is_none_or(|of| of == kind)
    }
}
