//! Executes statements on SQLite with prepared statements.

use crate::{
    error::ViewError,
    families::Families,
    family::Family,
    query::quoted,
    statement::{Columns, Statement, Value},
    store::{Checkpoint, Made, Of, ViewBatch},
    table::{Table, Type},
};
use rusqlite::{Connection, OptionalExtension, ToSql, types::ToSqlOutput, types::ValueRef};
use std::fmt::Write;

pub(crate) fn storage(error: rusqlite::Error) -> ViewError {
    ViewError::Storage(error.to_string())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(n) => ValueRef::Integer(*n),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Read(read) => {
                let text = format!("a read of {} was not resolved", read.table.name);
                return Err(rusqlite::Error::ToSqlConversionFailure(text.into()));
            }
        }))
    }
}

pub(crate) fn value_of(value: ValueRef<'_>) -> Result<Value, ViewError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(ViewError::Storage("a column holds a floating point number".into())),
    })
}

/// The DDL of all tables, the checkpoints and the origin.
pub(crate) fn schema(families: Families) -> String {
    let mut sql = String::from(
        "CREATE TABLE origin (one INTEGER PRIMARY KEY CHECK (one = 1), log_id BLOB NOT NULL, generation INTEGER NOT NULL, \
         partitions INTEGER NOT NULL, projector BLOB NOT NULL) STRICT;\n\
         CREATE TABLE checkpoints (partition INTEGER PRIMARY KEY, log_id BLOB NOT NULL, generation INTEGER NOT NULL, \
         projector BLOB NOT NULL, epoch INTEGER NOT NULL, next_offset INTEGER NOT NULL, behind INTEGER NOT NULL DEFAULT 0) STRICT;\n\
         CREATE TABLE families (name TEXT PRIMARY KEY, made_by BLOB NOT NULL, tables TEXT NOT NULL) STRICT;\n\
         CREATE TABLE late_families (family TEXT NOT NULL, partition INTEGER NOT NULL, epoch INTEGER NOT NULL, \
         next_offset INTEGER NOT NULL, PRIMARY KEY (family, partition)) STRICT;\n",
    );
    sql.push_str(&families.iter().map(tables_of).collect::<String>());
    sql
}

/// The DDL of a family's tables.
pub(crate) fn tables_of(family: &Family) -> String {
    let mut sql = String::new();
    for table in family.tables {
        let _ = write!(sql, "CREATE TABLE {} (\"org\" TEXT NOT NULL", table.name);
        for column in table.key.iter().chain(table.columns) {
            let ty = match column.ty {
                Type::Text | Type::Json => "TEXT",
                Type::Int | Type::Flag | Type::Place => "INTEGER",
                Type::Bytes => "BLOB",
            };
            let _ = write!(sql, ", {} {ty}", quoted(column.name));
            if let Some(default) = column.default {
                let _ = write!(sql, " NOT NULL DEFAULT {default}");
            } else if table.key.iter().any(|k| k.name == column.name) {
                sql.push_str(" NOT NULL");
            }
        }
        let key: Vec<_> = table.key_columns().map(|c| quoted(c.name)).collect();
        let lies = if table.lies_as_it_came() { "" } else { ", WITHOUT ROWID" };
        let _ = writeln!(sql, ", PRIMARY KEY ({})) STRICT{lies};", key.join(", "));
        for (n, index) in table.numbered_indexes() {
            let columns: Vec<_> = index.columns.split(", ").map(quoted).collect();
            let _ = write!(sql, "CREATE INDEX {0}_{n} ON {0} (\"org\", {1})", table.name, columns.join(", "));
            if let Some(only) = index.only {
                let _ = write!(sql, " WHERE {only}");
            }
            sql.push_str(";\n");
        }
    }
    sql
}

/// Moves a batch's checkpoint, or finds that it is elsewhere.
pub(crate) fn move_checkpoint(connection: &Connection, made: &Made, batch: &ViewBatch) -> Result<(), ViewError> {
    if !matches!(batch.of, Of::Views) {
        return move_late(connection, batch);
    }
    let Checkpoint { epoch, next_offset, .. } = batch.next;
    let mut update = connection
        .prepare_cached(
            "UPDATE checkpoints SET epoch = ?1, next_offset = ?2 WHERE partition = ?3 AND log_id = ?4 AND generation = ?5 \
             AND projector = ?6 AND epoch = ?7 AND next_offset = ?8 AND behind = ?9",
        )
        .map_err(storage)?;
    let moved = update
        .execute(rusqlite::params![
            epoch.cast_signed(),
            next_offset.cast_signed(),
            batch.partition,
            made.log_id.0,
            made.generation,
            made.projector.0,
            batch.expected.epoch.cast_signed(),
            batch.expected.next_offset.cast_signed(),
            batch.expected.behind,
        ])
        .map_err(storage)?;
    if moved == 1 {
        Ok(())
    } else {
        Err(ViewError::Conflict {
            partition: batch.partition,
            expected: batch.expected.next_offset,
        })
    }
}

/// Moves the checkpoint of a family that is behind, or lets it join the others.
fn move_late(connection: &Connection, batch: &ViewBatch) -> Result<(), ViewError> {
    let run = |sql: &str, params: &[&dyn ToSql]| connection.prepare_cached(sql).and_then(|mut s| s.execute(params)).map_err(storage);
    let (was, next) = (batch.expected, batch.next);
    let (was_epoch, was_next) = (was.epoch.cast_signed(), was.next_offset.cast_signed());
    let moved = match batch.of {
        Of::Views => 0,
        Of::Late(family) => run(
            "UPDATE late_families SET epoch = ?1, next_offset = ?2 WHERE family = ?3 AND partition = ?4 AND epoch = ?5 AND next_offset = ?6",
            &[
                &next.epoch.cast_signed(),
                &next.next_offset.cast_signed(),
                &family,
                &batch.partition,
                &was_epoch,
                &was_next,
            ],
        )?,
        Of::Joining(family, others) => {
            let left = run(
                "DELETE FROM late_families WHERE family = ?1 AND partition = ?2 AND epoch = ?3 AND next_offset = ?4",
                &[&family, &batch.partition, &was_epoch, &was_next],
            )?;
            let joined = run(
                "UPDATE checkpoints SET behind = behind - 1 WHERE partition = ?1 AND epoch = ?2 AND next_offset = ?3 AND behind = ?4",
                &[
                    &batch.partition,
                    &others.epoch.cast_signed(),
                    &others.next_offset.cast_signed(),
                    &others.behind,
                ],
            )?;
            left.min(joined)
        }
    };
    if moved == 1 {
        return Ok(());
    }
    Err(ViewError::Conflict {
        partition: batch.partition,
        expected: was.next_offset,
    })
}

/// Executes statements, reusing one buffer for their text.
pub(crate) struct Writer<'c> {
    connection: &'c Connection,
    sql: String,
}

impl<'c> Writer<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            sql: String::with_capacity(1024),
        }
    }

    pub(crate) fn execute(&mut self, statement: &Statement) -> Result<(), ViewError> {
        match statement {
            Statement::Put { table, key, set, add } => self.put(table, key, set, add),
            Statement::Change { table, matching, set, add } => self.change(table, matching, set, add),
            Statement::Delete { table, matching } => {
                self.sql.clear();
                let _ = write!(self.sql, "DELETE FROM {}", table.name);
                self.matching(matching, 1);
                self.run(table, matching.iter().map(|(_, v)| v), &[])
            }
        }
    }

    fn put(&mut self, table: &Table, key: &[Value], set: &Columns, add: &[(&'static str, i64)]) -> Result<(), ViewError> {
        self.sql.clear();
        self.text(&["INSERT INTO ", table.name, " (\"org\""]);
        for column in table.key {
            self.text(&[",\"", column.name, "\""]);
        }
        for name in set.iter().map(|(c, _)| *c).chain(add.iter().map(|(c, _)| *c)) {
            self.text(&[",\"", name, "\""]);
        }
        self.sql.push_str(") VALUES (?");
        for _ in 1..key.len() + set.len() + add.len() {
            self.sql.push_str(",?");
        }
        self.sql.push_str(") ON CONFLICT (\"org\"");
        for column in table.key {
            self.text(&[",\"", column.name, "\""]);
        }
        self.sql.push_str(") DO ");
        if set.is_empty() && add.is_empty() {
            self.sql.push_str("NOTHING");
        } else {
            let mut comma = "UPDATE SET ";
            for (name, _) in set {
                self.text(&[comma, "\"", name, "\"=excluded.\"", name, "\""]);
                comma = ",";
            }
            for (name, _) in add {
                self.text(&[comma, "\"", name, "\"=\"", name, "\"+excluded.\"", name, "\""]);
                comma = ",";
            }
        }
        self.run(table, key.iter().chain(set.iter().map(|(_, v)| v)), add)
    }

    fn change(&mut self, table: &Table, matching: &Columns, set: &Columns, add: &[(&'static str, i64)]) -> Result<(), ViewError> {
        self.sql.clear();
        self.text(&["UPDATE ", table.name, " SET "]);
        // Parameters are bound in this order: what is set, what is matched, what is added.
        let mut comma = "";
        for (name, _) in set {
            self.text(&[comma, "\"", name, "\"=?"]);
            comma = ",";
        }
        for (n, (name, _)) in add.iter().enumerate() {
            let _ = write!(self.sql, "{comma}\"{name}\"=\"{name}\"+?{}", set.len() + matching.len() + n + 1);
            comma = ",";
        }
        self.matching(matching, set.len() + 1);
        self.run(table, set.iter().chain(matching).map(|(_, v)| v), add)
    }

    fn matching(&mut self, matching: &Columns, first: usize) {
        for (n, (name, _)) in matching.iter().enumerate() {
            let word = if n == 0 { "WHERE" } else { "AND" };
            let _ = write!(self.sql, " {word} \"{name}\"=?{}", first + n);
        }
    }

    fn text(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.sql.push_str(part));
    }

    fn run<'v>(&mut self, table: &Table, values: impl Iterator<Item = &'v Value>, add: &[(&'static str, i64)]) -> Result<(), ViewError> {
        let named = |e: rusqlite::Error| ViewError::Storage(format!("{}: {e}", table.name));
        let mut prepared = self.connection.prepare_cached(&self.sql).map_err(named)?;
        let mut n = 0;
        for value in values {
            n += 1;
            match value {
                Value::Read(read) => prepared.raw_bind_parameter(n, self.read(read)?),
                value => prepared.raw_bind_parameter(n, value),
            }
            .map_err(named)?;
        }
        for (_, by) in add {
            n += 1;
            prepared.raw_bind_parameter(n, by).map_err(named)?;
        }
        prepared.raw_execute().map_err(named)?;
        Ok(())
    }

    fn read(&self, read: &crate::statement::Read) -> Result<Value, ViewError> {
        let mut sql = format!("SELECT {} FROM {}", quoted(read.column), read.table.name);
        for (n, name) in std::iter::once("org").chain(read.table.key.iter().map(|c| c.name)).enumerate() {
            let word = if n == 0 { "WHERE" } else { "AND" };
            let _ = write!(sql, " {word} {} = ?{}", quoted(name), n + 1);
        }
        let mut select = self.connection.prepare_cached(&sql).map_err(storage)?;
        let found = select
            .query_row(rusqlite::params_from_iter(&read.key), |row| Ok(value_of(row.get_ref(0)?)))
            .optional()
            .map_err(storage)?;
        Ok(match found.transpose()? {
            None | Some(Value::Null) => read.otherwise.clone(),
            Some(value) => value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conversation_rows::CONVERSATIONS, conversations, messages::MESSAGES};

    #[test]
    fn rows_lie_by_their_key_unless_it_lies_beside() {
        let sql = tables_of(&conversations::FAMILY);
        let table = |table: &Table| {
            let from = sql.find(&format!("CREATE TABLE {} ", table.name)).expect("its table");
            sql[from..].lines().next().expect("a line").to_owned()
        };
        assert!(table(&CONVERSATIONS).ends_with(" STRICT, WITHOUT ROWID;"), "{sql}");
        assert!(
            table(&MESSAGES).ends_with("PRIMARY KEY (\"org\", \"conversation\", \"id\")) STRICT;"),
            "{sql}"
        );
        let indexes = sql.matches("CREATE INDEX messages_").count();
        assert_eq!(indexes, MESSAGES.indexes.len() - 1, "the key needs none of these: {sql}");
        assert!(
            sql.contains("CREATE INDEX messages_0 ON messages (\"org\", \"conversation\", \"sequence\");"),
            "{sql}"
        );
    }
}
