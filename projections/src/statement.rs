//! What a reducer says and a store executes: three statements, no SQL.

use crate::table::Table;
use quipu_schemas::ids::OrgId;
use serde::Serialize;
use std::cmp::Ordering;

/// A value to store. Values of one column are ordered as stores order them: text by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number (of a flag: 0 or 1).
    Int(i64),
    /// Text or JSON text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// What another row of the same stream holds when the statement runs.
    Read(Box<Read>),
}

/// Reads one column of one row, earlier statements included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// Table.
    pub table: &'static Table,
    /// Its key, `org` first.
    pub key: Vec<Value>,
    /// Column.
    pub column: &'static str,
    /// Where there is no such row, or it holds null.
    pub otherwise: Value,
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Table {}
impl PartialOrd for Table {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Table {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

/// A JSON value; what cannot be written as JSON is null.
pub fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_string(value).map_or(Value::Null, Value::Text)
}

/// The stored name of a unit variant (`snake_case` text).
pub fn name<T: Serialize>(value: &T) -> Value {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => Value::Text(text),
        _ => Value::Null,
    }
}

macro_rules! from_int {
    ($($from:ty),*) => { $(impl From<$from> for Value {
        fn from(n: $from) -> Self { Value::Int(i64::try_from(n).unwrap_or(i64::MAX)) }
    })* };
}
from_int!(u64, u32, u16, i64, usize);

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Int(i64::from(flag))
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}
macro_rules! from_id {
    ($($id:ident),*) => { $(impl From<&quipu_schemas::ids::$id> for Value {
        fn from(id: &quipu_schemas::ids::$id) -> Self { Value::Text(id.as_str().to_owned()) }
    })* };
}
from_id!(OrgId, EntityId, PrincipalId, MessageId, Kind, CommandId);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// Columns with values.
pub type Columns = Vec<(&'static str, Value)>;

/// A change of the views.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// Inserts the row or changes these columns of it; columns not named keep what they hold (or get their default).
    Put {
        /// Table.
        table: &'static Table,
        /// Key, `org` first.
        key: Vec<Value>,
        /// Columns to set.
        set: Columns,
        /// Numbers to add to.
        add: Vec<(&'static str, i64)>,
    },
    /// Changes the rows that match; none is no error.
    Change {
        /// Table.
        table: &'static Table,
        /// Columns that must equal these, `org` first.
        matching: Columns,
        /// Columns to set.
        set: Columns,
        /// Numbers to add to.
        add: Vec<(&'static str, i64)>,
    },
    /// Deletes the rows that match; none is no error.
    Delete {
        /// Table.
        table: &'static Table,
        /// Columns that must equal these, `org` first.
        matching: Columns,
    },
}

/// The statements of one record, in order; puts to the same row are merged.
#[derive(Debug, Default)]
pub struct Statements(Vec<Statement>);

/// `org` before the rest.
fn key_of<const N: usize>(org: &OrgId, rest: [Value; N]) -> Vec<Value> {
    std::iter::once(Value::from(org)).chain(rest).collect()
}
fn matching_of<const N: usize>(org: &OrgId, rest: [(&'static str, Value); N]) -> Columns {
    std::iter::once(("org", Value::from(org))).chain(rest).collect()
}

impl Statements {
    /// Inserts or changes a row; `key` holds what follows `org`.
    pub fn put<const K: usize, const S: usize>(
        &mut self,
        table: &'static Table,
        org: &OrgId,
        key: [Value; K],
        set: [(&'static str, Value); S],
    ) {
        self.put_add(table, org, key, set, []);
    }

    /// As [`Statements::put`], and adds to numbers.
    pub fn put_add<const K: usize, const S: usize, const A: usize>(
        &mut self,
        table: &'static Table,
        org: &OrgId,
        key: [Value; K],
        set: [(&'static str, Value); S],
        add: [(&'static str, i64); A],
    ) {
        debug_assert_eq!(K, table.key.len(), "{}", table.name);
        let key = key_of(org, key);
        for earlier in self.0.iter_mut().rev() {
            match earlier {
                Statement::Put {
                    table: t,
                    key: k,
                    set: s,
                    add: a,
                } if *t == table && *k == key => {
                    for (column, value) in set {
                        match s.iter_mut().find(|(c, _)| *c == column) {
                            Some(slot) => slot.1 = value,
                            None => s.push((column, value)),
                        }
                    }
                    for (column, by) in add {
                        match a.iter_mut().find(|(c, _)| *c == column) {
                            Some(slot) => slot.1 += by,
                            None => a.push((column, by)),
                        }
                    }
                    return;
                }
                // A row may have changed or gone meanwhile: what comes next stays after it.
                Statement::Change { table: t, .. } | Statement::Delete { table: t, .. } if *t == table => break,
                Statement::Put { .. } | Statement::Change { .. } | Statement::Delete { .. } => {}
            }
        }
        self.0.push(Statement::Put {
            table,
            key,
            set: set.into(),
            add: add.into(),
        });
    }

    /// Changes rows that match; `matching` holds what follows `org`.
    pub fn change<const M: usize, const S: usize>(
        &mut self,
        table: &'static Table,
        org: &OrgId,
        matching: [(&'static str, Value); M],
        set: [(&'static str, Value); S],
        add: &[(&'static str, i64)],
    ) {
        self.0.push(Statement::Change {
            table,
            matching: matching_of(org, matching),
            set: set.into(),
            add: add.to_vec(),
        });
    }

    /// Deletes rows that match; `matching` holds what follows `org`.
    pub fn delete<const M: usize>(&mut self, table: &'static Table, org: &OrgId, matching: [(&'static str, Value); M]) {
        self.0.push(Statement::Delete {
            table,
            matching: matching_of(org, matching),
        });
    }

    /// A value read from another row when the statement runs; `key` holds what follows `org`.
    pub fn read<const K: usize>(table: &'static Table, org: &OrgId, key: [Value; K], column: &'static str, otherwise: Value) -> Value {
        Value::Read(Box::new(Read {
            table,
            key: key_of(org, key),
            column,
            otherwise,
        }))
    }

    /// The statements.
    pub fn into_inner(self) -> Vec<Statement> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orgs::{MEMBERS, ORGS};

    #[test]
    fn puts_to_one_row_merge_unless_a_delete_lies_between() {
        let org = OrgId::from_static("acme");
        let mut all = Statements::default();
        all.put(&ORGS, &org, [], [("name", "a".into())]);
        all.put_add(
            &ORGS,
            &org,
            [],
            [("name", "b".into()), ("version", 2u64.into())],
            [("member_count", 1)],
        );
        all.put_add(&ORGS, &org, [], [], [("member_count", 1)]);
        all.put(&MEMBERS, &org, ["ada".into()], [("role", "owner".into())]);
        all.delete(&MEMBERS, &org, [("principal", "ada".into())]);
        all.put(&MEMBERS, &org, ["ada".into()], [("role", "viewer".into())]);
        let all = all.into_inner();
        assert_eq!(all.len(), 4);
        let Statement::Put { set, add, .. } = &all[0] else {
            panic!("{all:?}")
        };
        assert_eq!(set, &vec![("name", Value::from("b")), ("version", Value::Int(2))]);
        assert_eq!(add, &vec![("member_count", 2)]);
    }
}
