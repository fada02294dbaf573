//! Queries of a view: filters, pages, and the SQL that reads them. Every query is within one org.

use crate::{
    error::ViewError,
    reading::{Computed, Filter, Order, Reading, View},
    statement::Value,
    table::{Column, Type},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_schemas::{
    ids::{OrgId, PrincipalId},
    limits::{PAGE_DEFAULT_ROWS, PAGE_MAX_BYTES, PAGE_MAX_ROWS},
    position::{Cursor, Position},
};
use serde_json::{Map, Value as Json};
use std::{collections::BTreeMap, fmt::Write};

/// Which rows, and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Filters by name; a view refuses those that it does not have.
    pub filter: BTreeMap<String, String>,
    /// Only rows of which one of these columns of text holds one of these values: what may be read of them. All where it is `None`.
    pub only: Option<Vec<(&'static str, Vec<String>)>>,
    /// Name of one of the view's other orders; its own unless given.
    pub order: Option<String>,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Most rows, 1 to `PAGE_MAX_ROWS`; `PAGE_DEFAULT_ROWS` unless given.
    pub limit: Option<usize>,
}

impl Query {
    /// A query with one more filter.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.filter.insert(name.to_owned(), value.into());
        self
    }
    /// Of these rows alone.
    pub fn only(mut self, held: Vec<(&'static str, Vec<String>)>) -> Self {
        self.only = Some(held);
        self
    }
    /// In this order instead of the view's own.
    pub fn order(mut self, name: Option<String>) -> Self {
        self.order = name;
        self
    }
    /// At most this many rows.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }
    /// The page after that cursor.
    pub fn after(mut self, cursor: Option<String>) -> Self {
        self.after = cursor;
        self
    }
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Rows as JSON objects; personal fields in their sealed form.
    pub rows: Vec<Json>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// What the views had seen at the moment of reading.
    pub cursor: Cursor,
}

/// One row, if there is such.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The row as a JSON object; personal fields in their sealed form.
    pub row: Option<Json>,
    /// What the views had seen at the moment of reading.
    pub cursor: Cursor,
}

/// How many rows of a view there are, by what some of its columns hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// What the columns hold, in the order asked for, and how many rows hold it; in no order of their own.
    pub groups: Vec<(Vec<Json>, u64)>,
    /// What the views had seen at the moment of reading.
    pub cursor: Cursor,
}

impl Counted {
    /// All rows.
    pub fn total(&self) -> u64 {
        self.groups.iter().map(|(_, rows)| rows).sum()
    }

    /// Rows by what the column at this place holds, as text.
    pub fn by(&self, place: usize) -> BTreeMap<String, u64> {
        let mut by = BTreeMap::new();
        for (held, rows) in &self.groups {
            let text = held
                .get(place)
                .map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            *by.entry(text).or_default() += rows;
        }
        by
    }
}

/// SQL with parameters `?1`, `?2`…; selects [`crate::table::Table::all_columns`] in order.
#[derive(Debug, PartialEq)]
pub struct Select {
    /// The text.
    pub sql: String,
    /// The parameters.
    pub params: Vec<Value>,
}

impl Select {
    fn begin(reading: &Reading, org: &OrgId) -> Self {
        let columns: Vec<_> = reading.table.all_columns().map(|c| quoted(c.name)).collect();
        let mut sql = format!("SELECT {} FROM {} WHERE \"org\" = ?1", columns.join(", "), reading.table.name);
        if let Some(only) = reading.only {
            let _ = write!(sql, " AND {only}");
        }
        Self {
            sql,
            params: vec![org.into()],
        }
    }

    /// Rows of which one of the columns holds one of its values; without any, there are no rows.
    fn one_of(&mut self, reading: &Reading, only: &[(&'static str, Vec<String>)]) {
        let mut either = Vec::new();
        for (name, values) in only.iter().filter(|(_, values)| !values.is_empty()) {
            let first = self.params.len() + 1;
            self.params.extend(values.iter().map(|value| Value::from(value.as_str())));
            let places: Vec<_> = (first..=self.params.len()).map(|n| format!("?{n}")).collect();
            either.push(format!("{} IN ({})", quoted(column(reading, name).name), places.join(", ")));
        }
        let condition = if either.is_empty() {
            "1 = 0".to_owned()
        } else {
            either.join(" OR ")
        };
        let _ = write!(self.sql, " AND ({condition})");
    }

    fn and(&mut self, column: &str, op: &str, value: Value) {
        self.params.push(value);
        let _ = write!(self.sql, " AND {} {op} ?{}", quoted(column), self.params.len());
    }
}

/// Counts an org's rows of a view by these columns, which must be of text, numbers or flags.
pub fn count(view: View, org: &OrgId, by: &[&'static str]) -> Select {
    let reading = view.reading();
    let columns: Vec<_> = by.iter().map(|name| quoted(column(reading, name).name)).collect();
    let mut select = Select::begin(reading, org);
    let from = select.sql.find(" FROM ").unwrap_or_default();
    let listed: Vec<&str> = columns.iter().map(String::as_str).chain(["count(*)"]).collect();
    select.sql.replace_range(..from, &format!("SELECT {}", listed.join(", ")));
    if !columns.is_empty() {
        let _ = write!(select.sql, " GROUP BY {}", columns.join(", "));
    }
    select
}

/// What [`count`] found.
pub fn counted(rows: Vec<Vec<Value>>, cursor: Cursor) -> Result<Counted, ViewError> {
    let odd = || ViewError::Storage("a count is none".into());
    let group = |mut row: Vec<Value>| {
        let Some(Value::Int(rows)) = row.pop() else { return Err(odd()) };
        let held = row.into_iter().map(|value| match value {
            Value::Null => Ok(Json::Null),
            Value::Int(n) => Ok(Json::from(n)),
            Value::Text(text) => Ok(Json::from(text)),
            Value::Bytes(_) | Value::Read(_) => Err(odd()),
        });
        Ok((held.collect::<Result<_, _>>()?, rows.cast_unsigned()))
    };
    let groups: Vec<(Vec<Json>, u64)> = rows.into_iter().map(group).collect::<Result<_, _>>()?;
    Ok(Counted { groups, cursor })
}

/// Orgs of which somebody is a member, in their order, at most this many.
pub fn orgs_of(principal: &PrincipalId, most: usize) -> Select {
    Select {
        sql: format!("SELECT \"org\" FROM members WHERE \"principal\" = ?1 ORDER BY \"org\" LIMIT {most}"),
        params: vec![Value::Text(principal.to_string())],
    }
}

/// The orgs that [`orgs_of`] found.
pub fn orgs_found(rows: Vec<Vec<Value>>) -> Result<Vec<OrgId>, ViewError> {
    let odd = || ViewError::Storage("an org has a name that is none".into());
    let org = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Text(text)) => OrgId::parse(text).map_err(|_| odd()),
        _ => Err(odd()),
    };
    rows.into_iter().map(org).collect()
}

/// A column name as SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// The order that a query asks for, with the name under which its cursors go.
fn order_of(reading: &Reading, query: &Query) -> Result<(Order, String), ViewError> {
    let Some(wanted) = &query.order else {
        let one_stream = ["kind", "id"].iter().all(|name| query.filter.contains_key(*name));
        return Ok(match reading.in_stream.filter(|_| one_stream) {
            Some(order) => (order, format!("{}/stream", reading.name)),
            None => (reading.order, reading.name.to_owned()),
        });
    };
    let found = reading.orders.iter().find(|(name, _)| name == wanted);
    match found {
        Some((name, order)) => Ok((*order, format!("{}:{name}", reading.name))),
        None => Err(ViewError::BadFilter {
            view: reading.name,
            name: "order".into(),
            takes: reading.orders.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            value: wanted.chars().take(80).collect(),
        }),
    }
}

/// How a page is cut off, and where the next one begins.
#[derive(Debug)]
pub struct Paging {
    limit: usize,
    order: Order,
    cursors: String,
}

/// The rows that a page holds; one row more than asked for tells that there is another page.
///
/// Columns that a filter fixes are left out of the order and out of the comparison with the cursor, and so is a bound
/// that the cursor has passed: beside `conversation = ?`, SQLite would use neither `(conversation, sequence) > (?, ?)` nor
/// the second of two bounds for its seek, and walk from the first row to the page.
pub fn list(view: View, org: &OrgId, query: &Query) -> Result<(Select, Paging), ViewError> {
    let reading = view.reading();
    let limit = query.limit.unwrap_or(PAGE_DEFAULT_ROWS);
    if limit == 0 || limit > PAGE_MAX_ROWS {
        return Err(ViewError::BadPage(format!("limit {limit} is not within 1 to {PAGE_MAX_ROWS}")));
    }
    let (order, cursors) = order_of(reading, query)?;
    let fixed: Vec<&str> = reading
        .filters
        .iter()
        .filter(|(name, _)| query.filter.contains_key(*name))
        .filter_map(|(_, filter)| match filter {
            Filter::Is(column) => Some(*column),
            Filter::From(_) | Filter::Before(_) | Filter::OneOf(_) => None,
        })
        .collect();
    let is_free = |column: &str| !fixed.contains(&column);
    let after: Option<Vec<(&str, Value)>> = match &query.after {
        Some(after) => {
            let values = order.columns.iter().copied().zip(read_after(reading, &order, &cursors, after)?);
            Some(values.filter(|(column, _)| is_free(column)).collect())
        }
        None => None,
    };
    let mut select = Select::begin(reading, org);
    let passed = after.as_ref().and_then(|values| values.first());
    for (name, value) in &query.filter {
        apply_filter(reading, name, value, &order, passed, &mut select)?;
    }
    if let Some(only) = &query.only {
        select.one_of(reading, only);
    }
    if let Some(values) = after {
        let first = select.params.len() + 1;
        let places: Vec<_> = (first..first + values.len()).map(|n| format!("?{n}")).collect();
        let op = if order.descending { '<' } else { '>' };
        let columns: Vec<_> = values.iter().map(|(column, _)| quoted(column)).collect();
        let _ = match columns.as_slice() {
            // Filters name one row, which was on the page before.
            [] => write!(select.sql, " AND 1 = 0"),
            [column] => write!(select.sql, " AND {column} {op} {}", places[0]),
            columns => write!(select.sql, " AND ({}) {op} ({})", columns.join(", "), places.join(", ")),
        };
        select.params.extend(values.into_iter().map(|(_, value)| value));
    }
    let direction = if order.descending { " DESC" } else { "" };
    let by = order.columns.iter().filter(|column| is_free(column));
    let by: Vec<_> = by.map(|column| format!("{}{direction}", quoted(column))).collect();
    if !by.is_empty() {
        let _ = write!(select.sql, " ORDER BY {}", by.join(", "));
    }
    let _ = write!(select.sql, " LIMIT {}", limit + 1);
    let paging = Paging { limit, order, cursors };
    Ok((select, paging))
}

/// One row by its name.
pub fn get(view: View, org: &OrgId, key: &[&str]) -> Result<Option<Select>, ViewError> {
    let reading = view.reading();
    if key.len() != reading.named_by.len() {
        return Err(ViewError::BadKey {
            view: reading.name,
            names: reading.named_by.join(", "),
            given: key.len(),
        });
    }
    let mut select = Select::begin(reading, org);
    for (name, part) in reading.named_by.iter().zip(key) {
        // A number that does not parse names no row.
        let Some(value) = value_of(column(reading, name), part) else {
            return Ok(None);
        };
        select.and(name, "=", value);
    }
    select.sql.push_str(" LIMIT 1");
    Ok(Some(select))
}

fn column(reading: &Reading, name: &str) -> &'static Column {
    reading
        .table
        .column(name)
        .unwrap_or_else(|| panic!("view {} names a column `{name}` that its table has not", reading.name))
}

fn value_of(column: &Column, text: &str) -> Option<Value> {
    match column.ty {
        Type::Text => Some(Value::from(text)),
        Type::Int | Type::Flag | Type::Place => text.parse::<i64>().ok().map(Value::Int),
        Type::Json | Type::Bytes => None,
    }
}

fn apply_filter(
    reading: &Reading,
    name: &str,
    value: &str,
    order: &Order,
    passed: Option<&(&str, Value)>,
    select: &mut Select,
) -> Result<(), ViewError> {
    let short = |text: &str| text.chars().take(80).collect::<String>();
    let Some((_, filter)) = reading.filters.iter().find(|(n, _)| *n == name) else {
        let names: Vec<_> = reading.filters.iter().map(|(n, _)| *n).collect();
        let allowed = if names.is_empty() { "none".into() } else { names.join(", ") };
        return Err(ViewError::UnknownFilter {
            view: reading.name,
            name: short(name),
            allowed,
        });
    };
    let bad = |takes: String| ViewError::BadFilter {
        view: reading.name,
        name: name.to_owned(),
        takes,
        value: short(value),
    };
    let (column_name, op) = match filter {
        Filter::OneOf(choices) => {
            let Some((_, condition)) = choices.iter().find(|(choice, _)| *choice == value) else {
                let names: Vec<_> = choices.iter().map(|(c, _)| *c).collect();
                return Err(bad(names.join(", ")));
            };
            let _ = write!(select.sql, " AND {condition}");
            return Ok(());
        }
        Filter::Is(column) => (column, "="),
        Filter::From(column) => (column, ">="),
        Filter::Before(column) => (column, "<"),
    };
    let value = value_of(column(reading, column_name), value).ok_or_else(|| bad("a whole number".into()))?;
    // The cursor's own bound is the narrower one.
    let is_passed = passed.is_some_and(|(column, at)| match (filter, at, &value) {
        (Filter::From(bound), Value::Int(at), Value::Int(from)) => bound == column && !order.descending && at >= from,
        (Filter::Before(bound), Value::Int(at), Value::Int(before)) => bound == column && order.descending && at < before,
        _ => false,
    });
    if !is_passed {
        select.and(column_name, op, value);
    }
    Ok(())
}

fn write_after(reading: &Reading, order: &Order, cursors: &str, row: &[Value]) -> String {
    let mut parts = vec![Json::from(cursors)];
    for name in order.columns {
        let at = reading
            .table
            .all_columns()
            .position(|c| c.name == *name)
            .expect("order columns are the table's");
        parts.push(match &row[at] {
            Value::Int(n) => Json::from(*n),
            Value::Text(text) => Json::from(text.as_str()),
            Value::Null | Value::Bytes(_) | Value::Read(_) => Json::Null,
        });
    }
    URL_SAFE_NO_PAD.encode(Json::Array(parts).to_string())
}

fn read_after(reading: &Reading, order: &Order, cursors: &str, text: &str) -> Result<Vec<Value>, ViewError> {
    let bad = || ViewError::BadPage(format!("the page cursor is not one that view {} gave", reading.name));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    let parts: Vec<Json> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let (view, values) = parts.split_first().ok_or_else(bad)?;
    if view.as_str() != Some(cursors) || values.len() != order.columns.len() {
        return Err(bad());
    }
    let read = |(name, value): (&&str, &Json)| match (column(reading, name).ty, value) {
        (Type::Text, Json::String(text)) => Ok(Value::from(text.as_str())),
        (Type::Int | Type::Flag | Type::Place, Json::Number(n)) => n.as_i64().map(Value::Int).ok_or_else(bad),
        _ => Err(bad()),
    };
    order.columns.iter().zip(values).map(read).collect()
}

/// Bytes that a row takes.
pub(crate) fn row_bytes(row: &[Value]) -> usize {
    let bytes = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Int(_) | Value::Read(_) => 8,
    };
    row.iter().map(bytes).sum()
}

/// How many rows a page holds: as many as were asked for, or as take `PAGE_MAX_BYTES` together, and one at least.
fn within(rows: &[Vec<Value>], limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |(at, row): &(usize, &Vec<Value>)| {
        bytes += row_bytes(row);
        *at == 0 || bytes <= PAGE_MAX_BYTES
    };
    rows.iter().take(limit).enumerate().take_while(fits).count()
}

/// Cuts surplus rows off and says where the next page begins.
pub(crate) fn page(view: View, paging: &Paging, mut rows: Vec<Vec<Value>>, cursor: Cursor) -> Result<Page, ViewError> {
    let count = within(&rows, paging.limit);
    let more = rows.len() > count;
    rows.truncate(count);
    let next = if more {
        rows.last()
            .map(|row| write_after(view.reading(), &paging.order, &paging.cursors, row))
    } else {
        None
    };
    let rows = rows.into_iter().map(|row| show(view, row)).collect::<Result<_, _>>()?;
    Ok(Page { rows, next, cursor })
}

/// A row as people and programs meet it.
pub(crate) fn show(view: View, row: Vec<Value>) -> Result<Json, ViewError> {
    let reading = view.reading();
    let table = reading.table;
    let mut out = Map::new();
    for (column, value) in table.all_columns().zip(row) {
        let shown = match (column.ty, value) {
            (_, Value::Null) => Json::Null,
            (Type::Flag, Value::Int(n)) => Json::from(n != 0),
            (Type::Json, Value::Text(text)) => {
                serde_json::from_str(&text).map_err(|e| ViewError::Storage(format!("{}.{} is not JSON: {e}", table.name, column.name)))?
            }
            (_, Value::Int(n)) => Json::from(n),
            (_, Value::Text(text)) => Json::from(text),
            (_, Value::Bytes(bytes)) => Json::from(hex::encode(bytes)),
            (_, Value::Read(_)) => return Err(ViewError::Storage(format!("{}.{} holds no value", table.name, column.name))),
        };
        out.insert(column.name.to_owned(), shown);
    }
    for computed in reading.computed {
        compute(*computed, &mut out);
    }
    Ok(Json::Object(out))
}

/// Adds a column that is made of stored ones, where those are set.
fn compute(computed: Computed, out: &mut Map<String, Json>) {
    let number = |name: &str| out.get(name).and_then(Json::as_u64);
    let text = |name: &str| out.get(name).and_then(Json::as_str);
    let stream = || Some(format!("{}/{}/{}", text("org").unwrap_or_default(), text("kind")?, text("id")?));
    match computed {
        Computed::Position => {
            let (Some(partition), Some(offset)) = (number("partition"), number("offset")) else {
                return;
            };
            let position = Position {
                partition: u16::try_from(partition).unwrap_or(u16::MAX),
                offset,
                index: 0,
            };
            out.remove("partition");
            out.remove("offset");
            out.insert("position".into(), Json::from(position.to_string()));
        }
        Computed::Key => {
            let Some(stream) = stream() else { return };
            let key = format!("{stream}@{}.{}", number("version").unwrap_or(0), number("ordinal").unwrap_or(0));
            out.insert("key".into(), Json::from(key));
        }
        Computed::Stream => {
            if let Some(stream) = stream() {
                out.insert("stream".into(), Json::from(stream));
            }
        }
        Computed::Unchanged => {
            if let Some(events) = number("event_count") {
                out.insert("unchanged".into(), Json::from(events == 0));
            }
        }
        Computed::Left | Computed::Percent => {
            let limit = number("limit").unwrap_or(0);
            let taken = number("used").unwrap_or(0).saturating_add(number("held").unwrap_or(0));
            let (name, value) = match (computed, taken.saturating_mul(100).checked_div(limit)) {
                (Computed::Left, _) => ("left", limit.saturating_sub(taken)),
                (_, Some(percent)) => ("percent", percent),
                // Nothing may be used, so all of it is.
                (_, None) => ("percent", 100),
            };
            out.insert(name.into(), Json::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite_write::schema;
    use rusqlite::Connection;

    const ACME: OrgId = OrgId::from_static("acme");

    /// How SQLite reads a page in the middle of a view.
    fn plan(view: View, filters: &[(&str, &str)], order: Option<&str>) -> Vec<String> {
        let query = filters
            .iter()
            .fold(Query::default(), |query, (name, value)| query.with(name, *value));
        let query = query.order(order.map(str::to_owned));
        let (order, cursors) = order_of(view.reading(), &query).unwrap();
        let at = order.columns.iter().map(|name| match column(view.reading(), name).ty {
            Type::Text => Json::from("m"),
            _ => Json::from(50_000),
        });
        let after = [Json::from(cursors)].into_iter().chain(at).collect::<Json>();
        let query = query.after(Some(URL_SAFE_NO_PAD.encode(after.to_string())));
        let (select, _) = list(view, &ACME, &query).unwrap();
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&schema(crate::families::Families::house())).unwrap();
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", select.sql)).unwrap();
        let rows = explain
            .query_map(rusqlite::params_from_iter(&select.params), |row| row.get(3))
            .unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// A page is found by one seek to where the page before ended, and read in the order of an index.
    #[test]
    fn later_pages_begin_with_a_seek_to_their_first_row() {
        let stream: &[(&str, &str)] = &[("kind", "run"), ("id", "r1")];
        type Case<'a> = (View, &'a [(&'a str, &'a str)], Option<&'a str>, &'a str);
        let cases: &[Case<'_>] = &[
            (View::MESSAGES, &[("conversation", "c1")], None, "conversation=? AND sequence>?"),
            (
                View::MESSAGES,
                &[("conversation", "c1"), ("from_sequence", "1")],
                None,
                "conversation=? AND sequence>?",
            ),
            (View::MESSAGES, &[], None, "org=? AND (conversation,sequence)>(?,?)"),
            (
                View::TURNS,
                &[("conversation", "c1")],
                None,
                "conversation=? AND (sequence,turn)>(?,?)",
            ),
            (
                View::PARTICIPANTS,
                &[("conversation", "c1")],
                None,
                "conversation=? AND principal>?",
            ),
            (View::RUN_STEPS, &[("run", "r1")], None, "run=? AND (ordinal,step)>(?,?)"),
            (
                View::RUN_STEPS,
                &[("run", "r1")],
                Some("timeline"),
                "run=? AND (sequence,step)>(?,?)",
            ),
            (View::DIRECTIVES, &[("agent", "a1")], None, "agent=? AND digest>?"),
            (View::AGENT_TOOLS, &[("agent", "a1")], None, "agent=? AND name>?"),
            (View::CONVERSATIONS, &[], None, "org=? AND (created_at,id)<(?,?)"),
            (View::CONVERSATIONS, &[], Some("recent"), "org=? AND (last_activity_at,id)<(?,?)"),
            (
                View::CONVERSATIONS,
                &[("phase", "handoff_pending")],
                None,
                "phase=? AND (created_at,id)<(?,?)",
            ),
            (View::RUNS, &[], None, "org=? AND (created_at,id)<(?,?)"),
            (View::RUNS, &[("created_before", "90000")], None, "org=? AND (created_at,id)<(?,?)"),
            (View::RUNS, &[("state", "running")], None, "state=? AND (created_at,id)<(?,?)"),
            (View::DELIVERIES, &[], None, "org=? AND (created_at,kind"),
            (View::DELIVERIES, stream, None, "id=? AND (version,ordinal)<(?,?)"),
            (View::DEAD_LETTERS, &[], None, "status=? AND (created_at,kind"),
            (View::DEAD_LETTERS, &[], Some("recent"), "org=? AND (settled_at,kind"),
            (View::DISPATCHES, stream, None, "id=? AND (version,ordinal)>(?,?)"),
            (View::TIMERS, stream, None, "id=? AND name>?"),
            (View::RECEIPTS, stream, None, "id=? AND offset>?"),
            (View::ACTIVITY, stream, None, "id=? AND offset<?"),
        ];
        let mut wrong = Vec::new();
        for (view, filters, order, expected) in cases {
            let plan = plan(*view, filters, *order);
            let sought = matches!(plan.as_slice(), [one] if one.starts_with("SEARCH") && one.contains(expected));
            if !sought {
                wrong.push(format!("{} {filters:?} {order:?}: {plan:?}, expected {expected}", view.name()));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_bound_that_the_cursor_has_passed_is_left_out() {
        let reading = View::MESSAGES.reading();
        let sql = |from: &str| {
            let after = URL_SAFE_NO_PAD.encode(serde_json::json!([reading.name, "c1", 10]).to_string());
            let query = Query::default()
                .with("conversation", "c1")
                .with("from_sequence", from)
                .after(Some(after));
            list(View::MESSAGES, &ACME, &query).unwrap().0.sql
        };
        assert!(!sql("10").contains(">="), "{}", sql("10"));
        assert!(sql("11").contains("\"sequence\" >= ?"), "a narrower one stays: {}", sql("11"));
    }
}
