//! The statements of a batch, fewer of them and in the order of their rows.
//!
//! A conversation's row changes with each of its messages, and a batch holds many: what is put to one row is put once. The
//! puts of a table then go in the order of its key, so that rows which stand together are written together.
//!
//! Every store gets the same rows as from the statements one after the other: a statement waits only where nothing in between
//! could tell. What changes, deletes or reads a row comes after the puts to it that came before.

use crate::{
    statement::{Columns, Statement, Value},
    table::Table,
};
use std::collections::BTreeMap;

/// Numbers to add.
type Added = Vec<(&'static str, i64)>;

/// Statements that were gathered, in an order in which they may run.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    done: Vec<Statement>,
    /// Puts that may still take others in, by table.
    open: BTreeMap<&'static str, Open>,
}

#[derive(Debug)]
struct Open {
    table: &'static Table,
    rows: BTreeMap<Vec<Value>, (Columns, Added)>,
}

impl Gathered {
    /// Takes in the next statements.
    pub(crate) fn extend(&mut self, statements: impl IntoIterator<Item = Statement>) {
        statements.into_iter().for_each(|statement| self.take(statement));
    }

    /// All that was taken in.
    pub(crate) fn into_inner(mut self) -> Vec<Statement> {
        for (_, open) in std::mem::take(&mut self.open) {
            for (key, (set, add)) in open.rows {
                let table = open.table;
                self.done.push(Statement::Put { table, key, set, add });
            }
        }
        self.done
    }

    fn take(&mut self, statement: Statement) {
        match statement {
            Statement::Put { table, key, set, add } => self.put(table, key, set, add),
            Statement::Change { table, matching, set, add } => {
                self.close_matching(table, &matching);
                self.close_read(set.iter().chain(&matching));
                self.done.push(Statement::Change { table, matching, set, add });
            }
            Statement::Delete { table, matching } => {
                self.close_matching(table, &matching);
                self.close_read(&matching);
                self.done.push(Statement::Delete { table, matching });
            }
        }
    }

    fn put(&mut self, table: &'static Table, key: Vec<Value>, set: Columns, add: Added) {
        if set.iter().any(|(_, value)| matches!(value, Value::Read(_))) {
            self.close_row(table, &key);
            self.close_read(&set);
            return self.done.push(Statement::Put { table, key, set, add });
        }
        let rows = &mut self
            .open
            .entry(table.name)
            .or_insert_with(|| Open {
                table,
                rows: BTreeMap::new(),
            })
            .rows;
        match rows.get_mut(&key) {
            None => {
                rows.insert(key, (set, add));
            }
            Some(row) => {
                if let Err((set, add)) = merge(row, set, add) {
                    let (set, add) = std::mem::replace(row, (set, add));
                    self.done.push(Statement::Put { table, key, set, add });
                }
            }
        }
    }

    /// Lets the puts to one row go.
    fn close_row(&mut self, table: &'static Table, key: &[Value]) {
        let row = self.open.get_mut(table.name).and_then(|open| open.rows.remove_entry(key));
        if let Some((key, (set, add))) = row {
            self.done.push(Statement::Put { table, key, set, add });
        }
    }

    /// Lets the puts to the rows go that a condition is about: one row, where it names a whole key.
    fn close_matching(&mut self, table: &'static Table, matching: &Columns) {
        let held = |name: &str| matching.iter().find(|(column, _)| *column == name).map(|(_, value)| value.clone());
        let key: Option<Vec<Value>> = table.key_columns().map(|column| held(column.name)).collect();
        match key {
            Some(key) => self.close_row(table, &key),
            None => {
                let rows = self.open.remove(table.name).map(|open| open.rows).unwrap_or_default();
                let puts = rows.into_iter().map(|(key, (set, add))| Statement::Put { table, key, set, add });
                self.done.extend(puts);
            }
        }
    }

    /// Lets the puts to rows go that are read by these values.
    fn close_read<'v>(&mut self, values: impl IntoIterator<Item = &'v (&'static str, Value)>) {
        for (_, value) in values {
            if let Value::Read(read) = value {
                self.close_row(read.table, &read.key);
            }
        }
    }
}

/// Takes a later put to the same row into an earlier one, where one of them names every column of the other: what is written
/// has only forms that reducers write, so that no store prepares more of them. Otherwise gives the later one back.
fn merge(row: &mut (Columns, Added), set: Columns, mut add: Added) -> Result<(), (Columns, Added)> {
    let (set_before, add_before) = row;
    let sets = |columns: &Columns, name: &str| columns.iter().any(|(column, _)| *column == name);
    let adds = |columns: &Added, name: &str| columns.iter().any(|(column, _)| *column == name);
    if set.iter().all(|(name, _)| sets(set_before, name)) && add.iter().all(|(name, _)| adds(add_before, name)) {
        for (name, value) in set {
            if let Some(slot) = set_before.iter_mut().find(|(column, _)| *column == name) {
                slot.1 = value;
            }
        }
        sum(add_before, &add);
        return Ok(());
    }
    if set_before.iter().all(|(name, _)| sets(&set, name)) && add_before.iter().all(|(name, _)| adds(&add, name)) {
        sum(&mut add, add_before);
        *row = (set, add);
        return Ok(());
    }
    Err((set, add))
}

/// Adds numbers to those of the same columns.
fn sum(to: &mut Added, more: &Added) {
    for (name, by) in more {
        if let Some(slot) = to.iter_mut().find(|(column, _)| column == name) {
            slot.1 += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation_rows::CONVERSATIONS,
        families::Families,
        messages::MESSAGES,
        sqlite::SqliteStore,
        statement::Statements,
        store::{Checkpoint, DigestOf, Digests, Of, Origin, ViewBatch, ViewStore},
    };
    use quipu_schemas::{ids::OrgId, position::LogId};

    const ORGS: [OrgId; 2] = [OrgId::from_static("acme"), OrgId::from_static("other")];

    /// The rows that statements leave.
    fn rows(statements: Vec<Statement>) -> Digests {
        let origin = Origin {
            log_id: LogId([1; 16]),
            generation: 1,
            partitions: 1,
            families: Families::house(),
        };
        let store = SqliteStore::in_memory(origin).unwrap();
        let at = Checkpoint::default();
        store
            .apply(&[ViewBatch {
                partition: 0,
                of: Of::Views,
                expected: at,
                next: at,
                statements,
            }])
            .unwrap();
        store.digests(DigestOf::Everything).unwrap()
    }

    fn gathered(statements: &[Statement]) -> Vec<Statement> {
        let mut out = Gathered::default();
        out.extend(statements.iter().cloned());
        out.into_inner()
    }

    /// One of the statements that reducers write, to one of few rows: what is counted, what reads, what matches in part.
    fn any(random: &mut impl FnMut(usize) -> usize) -> Vec<Statement> {
        let mut out = Statements::default();
        let org = &ORGS[random(2)];
        let id = || Value::from("c1");
        let (message, other, n) = (format!("m{}", random(4)), format!("m{}", random(4)), random(90) as u64);
        match random(9) {
            0 | 1 => out.put_add(&CONVERSATIONS, org, [id()], [("version", n.into())], [("message_count", 1)]),
            2 => out.put(&CONVERSATIONS, org, [id()], [("version", n.into()), ("phase", "resolved".into())]),
            3 => out.put_add(&CONVERSATIONS, org, [id()], [], [("message_count", 1), ("version", 1)]),
            4 => out.change(
                &CONVERSATIONS,
                org,
                [("id", id()), ("version", n.into())],
                [("turn", "t".into())],
                &[("message_count", 5)],
            ),
            5 => out.put_add(
                &MESSAGES,
                org,
                [id(), message.into()],
                [("thread", format!("t{n}").into())],
                [("edits", 1)],
            ),
            6 => {
                let thread = Statements::read(&MESSAGES, org, [id(), other.into()], "thread", Value::Null);
                out.put(&MESSAGES, org, [id(), message.into()], [("thread", thread)]);
            }
            7 => out.delete(&MESSAGES, org, [("conversation", id()), ("id", message.into())]),
            _ => {
                let count = Statements::read(&CONVERSATIONS, org, [id()], "message_count", Value::Null);
                out.change(&MESSAGES, org, [("conversation", id())], [("sequence", count)], &[("edits", 1)]);
            }
        }
        out.into_inner()
    }

    #[test]
    fn gathered_statements_leave_the_same_rows() {
        let mut seed = 7u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for round in 0..150 {
            let all: Vec<Statement> = (0..40).flat_map(|_| any(&mut random)).collect();
            assert_eq!(rows(gathered(&all)), rows(all.clone()), "round {round}: {all:#?}");
        }
    }

    #[test]
    fn a_row_is_put_once_and_rows_go_by_key() {
        let mut all = Vec::new();
        for n in 0..3u64 {
            for id in ["c2", "c1"] {
                let mut record = Statements::default();
                let set = [("version", Value::from(n)), ("last_message", format!("m{n}").into())];
                record.put_add(&CONVERSATIONS, &ORGS[0], [id.into()], set, [("message_count", 1)]);
                record.put(&MESSAGES, &ORGS[0], [id.into(), format!("m{n}").into()], [("sequence", n.into())]);
                all.extend(record.into_inner());
            }
        }
        let put: Vec<_> = gathered(&all)
            .into_iter()
            .map(|statement| match statement {
                Statement::Put { table, key, set, add } => (table.name, key[1].clone(), set.len(), add),
                other => panic!("{other:?}"),
            })
            .collect();
        let conversation = |id: &str| ("conversations", Value::from(id), 2, vec![("message_count", 3)]);
        assert_eq!(put[..2], [conversation("c1"), conversation("c2")]);
        let of: Vec<_> = put[2..].iter().map(|(table, id, ..)| (*table, id.clone())).collect();
        assert_eq!(of, ["c1", "c1", "c1", "c2", "c2", "c2"].map(|id| ("messages", Value::from(id))));
    }

    #[test]
    fn a_put_of_other_columns_stays_by_itself() {
        let put = |set: Columns, add: Added| Statement::Put {
            table: &CONVERSATIONS,
            key: vec!["acme".into(), "c1".into()],
            set,
            add,
        };
        let set = |names: &[&'static str]| names.iter().map(|name| (*name, Value::from(1u64))).collect::<Columns>();
        let all = [
            put(set(&["version"]), vec![]),
            put(set(&["version", "created_at"]), vec![("message_count", 1)]),
            put(set(&["created_at"]), vec![("message_count", 2)]),
            put(set(&["last_activity_at"]), vec![]),
        ];
        let expected = [put(set(&["version", "created_at"]), vec![("message_count", 3)]), all[3].clone()];
        assert_eq!(gathered(&all), expected);
    }
}
