//! Queries of a view: filters, pages, and the SQL that reads them. Every query is within one org.

use crate::{
    error::ViewError,
    statement::Value,
    table::{Column, Type},
    view::{Filter, Reading, View},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_schemas::{
    ids::OrgId,
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

/// A column name as SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// The rows that a page holds; one row more than asked for tells that there is another page.
pub fn list(view: View, org: &OrgId, query: &Query) -> Result<(Select, usize), ViewError> {
    let reading = view.reading();
    let limit = query.limit.unwrap_or(PAGE_DEFAULT_ROWS);
    if limit == 0 || limit > PAGE_MAX_ROWS {
        return Err(ViewError::BadPage(format!("limit {limit} is not within 1 to {PAGE_MAX_ROWS}")));
    }
    let mut select = Select::begin(reading, org);
    for (name, value) in &query.filter {
        apply_filter(reading, name, value, &mut select)?;
    }
    let quoted_order: Vec<_> = reading.order.iter().map(|c| quoted(c)).collect();
    if let Some(after) = &query.after {
        let values = read_after(reading, after)?;
        let first = select.params.len() + 1;
        let places: Vec<_> = (first..first + values.len()).map(|n| format!("?{n}")).collect();
        let op = if reading.descending { '<' } else { '>' };
        let _ = write!(select.sql, " AND ({}) {op} ({})", quoted_order.join(", "), places.join(", "));
        select.params.extend(values);
    }
    let direction = if reading.descending { " DESC" } else { "" };
    let order: Vec<_> = quoted_order.iter().map(|c| format!("{c}{direction}")).collect();
    let _ = write!(select.sql, " ORDER BY {} LIMIT {}", order.join(", "), limit + 1);
    Ok((select, limit))
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

fn apply_filter(reading: &Reading, name: &str, value: &str, select: &mut Select) -> Result<(), ViewError> {
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
    select.and(column_name, op, value);
    Ok(())
}

fn write_after(reading: &Reading, row: &[Value]) -> String {
    let mut parts = vec![Json::from(reading.name)];
    for name in reading.order {
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

fn read_after(reading: &Reading, text: &str) -> Result<Vec<Value>, ViewError> {
    let bad = || ViewError::BadPage(format!("the page cursor is not one that view {} gave", reading.name));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    let parts: Vec<Json> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let (view, values) = parts.split_first().ok_or_else(bad)?;
    if view.as_str() != Some(reading.name) || values.len() != reading.order.len() {
        return Err(bad());
    }
    let read = |(name, value): (&&str, &Json)| match (column(reading, name).ty, value) {
        (Type::Text, Json::String(text)) => Ok(Value::from(text.as_str())),
        (Type::Int | Type::Flag | Type::Place, Json::Number(n)) => n.as_i64().map(Value::Int).ok_or_else(bad),
        _ => Err(bad()),
    };
    reading.order.iter().zip(values).map(read).collect()
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
pub(crate) fn page(view: View, mut rows: Vec<Vec<Value>>, limit: usize, cursor: Cursor) -> Result<Page, ViewError> {
    let count = within(&rows, limit);
    let more = rows.len() > count;
    rows.truncate(count);
    let next = if more {
        rows.last().map(|row| write_after(view.reading(), row))
    } else {
        None
    };
    let rows = rows.into_iter().map(|row| show(view, row)).collect::<Result<_, _>>()?;
    Ok(Page { rows, next, cursor })
}

/// A row as people and programs meet it.
pub(crate) fn show(view: View, row: Vec<Value>) -> Result<Json, ViewError> {
    let table = view.reading().table;
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
    let number = |out: &Map<String, Json>, name: &str| out.get(name).and_then(Json::as_u64);
    if let (Some(partition), Some(offset)) = (number(&out, "partition"), number(&out, "offset")) {
        let partition = u16::try_from(partition).unwrap_or(u16::MAX);
        out.remove("partition");
        out.remove("offset");
        out.insert(
            "position".into(),
            Json::from(
                Position {
                    partition,
                    offset,
                    index: 0,
                }
                .to_string(),
            ),
        );
    }
    let stream = match (out.get("kind"), out.get("id")) {
        (Some(Json::String(kind)), Some(Json::String(id))) if table.key.iter().any(|c| c.name == "kind") => {
            Some(format!("{}/{kind}/{id}", out.get("org").and_then(Json::as_str).unwrap_or_default()))
        }
        _ => None,
    };
    if let Some(stream) = stream {
        if table.key.iter().any(|c| c.name == "ordinal") {
            let key = format!(
                "{stream}@{}.{}",
                number(&out, "version").unwrap_or(0),
                number(&out, "ordinal").unwrap_or(0)
            );
            out.insert("key".into(), Json::from(key));
        }
        out.insert("stream".into(), Json::from(stream));
    }
    if let Some(events) = number(&out, "event_count") {
        out.insert("unchanged".into(), Json::from(events == 0));
    }
    Ok(Json::Object(out))
}
