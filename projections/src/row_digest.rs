//! A digest over rows: the same for the same rows in the same order, whatever the store.

use crate::{
    query::quoted,
    statement::Value,
    store::DigestOf,
    table::{Table, Type},
};
use quipu_schemas::digest::Digest;
use sha2::Digest as _;

/// The columns that a table's digest covers, and those that order its rows, as SQL.
pub(crate) fn columns(table: &Table, of: DigestOf) -> (Vec<String>, Vec<String>) {
    let covered = table.all_columns().filter(|c| of == DigestOf::Everything || c.ty != Type::Place);
    let key = std::iter::once("org").chain(table.key.iter().map(|c| c.name));
    (covered.map(|c| quoted(c.name)).collect(), key.map(quoted).collect())
}

/// A digest under way.
#[derive(Default)]
pub(crate) struct RowDigest(sha2::Sha256);

impl RowDigest {
    /// One value, with its type and length, so that no two rows read alike.
    pub(crate) fn add(&mut self, value: &Value) {
        let (tag, bytes): (u8, &[u8]) = match value {
            Value::Null | Value::Read(_) => (0, &[]),
            Value::Int(n) => return self.0.update([&[1u8][..], &n.to_be_bytes()].concat()),
            Value::Text(text) => (2, text.as_bytes()),
            Value::Bytes(bytes) => (3, bytes),
        };
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
