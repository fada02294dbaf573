//! A statement as SQL with parameters. One shape of statement has one text, so that it is prepared once.

use super::values::Param;
use crate::{
    error::ViewError,
    query::quoted,
    statement::{Columns, Read, Statement, Value},
    table::{self, Table},
};
use std::fmt::Write;
use tokio_postgres::types::Type;

/// SQL with its parameters and their types.
pub(super) struct SqlStatement {
    pub(super) sql: String,
    pub(super) params: Vec<(Param, Type)>,
}

/// The org whose row a statement is about: every key and every condition begins with it.
pub(super) fn org_of(statement: &Statement) -> Result<&str, ViewError> {
    let first = match statement {
        Statement::Put { key, .. } => key.first(),
        Statement::Change { matching, .. } | Statement::Delete { matching, .. } => {
            matching.first().filter(|(name, _)| *name == "org").map(|(_, value)| value)
        }
    };
    match first {
        Some(Value::Text(org)) => Ok(org),
        _ => Err(ViewError::Storage("a statement names no org".into())),
    }
}

/// The SQL of a statement on the tables of `schema` (quoted).
pub(super) fn write(statement: &Statement, schema: &str) -> Result<SqlStatement, ViewError> {
    let mut text = Text {
        schema,
        sql: String::with_capacity(512),
        params: Vec::new(),
    };
    match statement {
        Statement::Put { table, key, set, add } => text.put(table, key, set, add)?,
        Statement::Change { table, matching, set, add } => text.change(table, matching, set, add)?,
        Statement::Delete { table, matching } => {
            let _ = write!(text.sql, "DELETE FROM {schema}.{}", table.name);
            text.matching(table, matching.iter().map(|(name, value)| (*name, value)))?;
        }
    }
    let Text { sql, params, .. } = text;
    Ok(SqlStatement { sql, params })
}

struct Text<'s> {
    schema: &'s str,
    sql: String,
    params: Vec<(Param, Type)>,
}

impl Text<'_> {
    fn put(&mut self, table: &Table, key: &[Value], set: &Columns, add: &[(&'static str, i64)]) -> Result<(), ViewError> {
        let key_names: Vec<_> = std::iter::once("org").chain(table.key.iter().map(|c| c.name)).collect();
        let names = key_names
            .iter()
            .copied()
            .chain(set.iter().map(|(c, _)| *c))
            .chain(add.iter().map(|(c, _)| *c));
        let _ = write!(
            self.sql,
            "INSERT INTO {}.{} AS t ({}) VALUES (",
            self.schema,
            table.name,
            names.map(quoted).collect::<Vec<_>>().join(",")
        );
        let mut comma = "";
        let values = key_names
            .iter()
            .copied()
            .zip(key)
            .chain(set.iter().map(|(name, value)| (*name, value)));
        for (name, value) in values {
            self.sql.push_str(comma);
            self.value(table, name, value)?;
            comma = ",";
        }
        for (name, by) in add {
            self.sql.push_str(comma);
            self.value(table, name, &Value::Int(*by))?;
        }
        let key_names: Vec<_> = key_names.into_iter().map(quoted).collect();
        let _ = write!(self.sql, ") ON CONFLICT ({}) DO ", key_names.join(","));
        let sets = set.iter().map(|(name, _)| format!("\"{name}\"=excluded.\"{name}\""));
        let adds = add.iter().map(|(name, _)| format!("\"{name}\"=t.\"{name}\"+excluded.\"{name}\""));
        let changes: Vec<_> = sets.chain(adds).collect();
        if changes.is_empty() {
            self.sql.push_str("NOTHING");
        } else {
            let _ = write!(self.sql, "UPDATE SET {}", changes.join(","));
        }
        Ok(())
    }

    fn change(&mut self, table: &Table, matching: &Columns, set: &Columns, add: &[(&'static str, i64)]) -> Result<(), ViewError> {
        let _ = write!(self.sql, "UPDATE {}.{} AS t SET ", self.schema, table.name);
        let mut comma = "";
        for (name, value) in set {
            let _ = write!(self.sql, "{comma}\"{name}\"=");
            self.value(table, name, value)?;
            comma = ",";
        }
        for (name, by) in add {
            let _ = write!(self.sql, "{comma}\"{name}\"=t.\"{name}\"+");
            self.value(table, name, &Value::Int(*by))?;
            comma = ",";
        }
        self.matching(table, matching.iter().map(|(name, value)| (*name, value)))
    }

    fn matching<'v>(&mut self, table: &Table, matching: impl Iterator<Item = (&'static str, &'v Value)>) -> Result<(), ViewError> {
        for (n, (name, value)) in matching.enumerate() {
            let word = if n == 0 { "WHERE" } else { "AND" };
            let _ = write!(self.sql, " {word} \"{name}\"=");
            self.value(table, name, value)?;
        }
        Ok(())
    }

    fn value(&mut self, table: &Table, name: &str, value: &Value) -> Result<(), ViewError> {
        let column = table.column(name);
        let column = column.ok_or_else(|| ViewError::Storage(format!("{} has no column {name}", table.name)))?;
        if let Value::Read(read) = value {
            return self.read(table, name, read);
        }
        let ty = match column.ty {
            table::Type::Text | table::Type::Json => Type::TEXT,
            table::Type::Int | table::Type::Flag | table::Type::Place => Type::INT8,
            table::Type::Bytes => Type::BYTEA,
        };
        self.params.push((value.clone().into(), ty));
        let _ = write!(self.sql, "${}", self.params.len());
        Ok(())
    }

    /// The other row is read where the statement runs, so no answer is waited for in between.
    fn read(&mut self, table: &Table, name: &str, read: &Read) -> Result<(), ViewError> {
        let _ = write!(
            self.sql,
            "COALESCE((SELECT r.{} FROM {}.{} AS r",
            quoted(read.column),
            self.schema,
            read.table.name
        );
        for (n, (part, value)) in std::iter::once("org")
            .chain(read.table.key.iter().map(|c| c.name))
            .zip(&read.key)
            .enumerate()
        {
            let word = if n == 0 { "WHERE" } else { "AND" };
            let _ = write!(self.sql, " {word} r.\"{part}\"=");
            self.value(read.table, part, value)?;
        }
        self.sql.push_str("),");
        self.value(table, name, &read.otherwise)?;
        self.sql.push(')');
        Ok(())
    }
}
