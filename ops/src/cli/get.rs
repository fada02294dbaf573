//! `quipu get`.

use super::{
    connect::Connect,
    failure::Failure,
    terminal::{Terminal, Tone, cell, clean, short, table},
};
use crate::{client::segment, http::query::view_named};
use clap::Args;
use quipu_schemas::ids::OrgId;
use serde_json::{Map, Value};

const AFTER: &str = "\
Examples:
  quipu get acme conversations
  quipu get acme conversation c-1
  quipu get acme conversation c-1 messages --limit 20
  quipu get acme runs --filter state=running
  quipu get acme run r-1 steps
  quipu get acme dead-letters
  quipu get acme conversation c-1 --min-position p3.1042.0     wait until the views have seen that command

Kinds may be written in the singular or plural. Parts: conversation: messages, participants, turns; run: steps;
agent: directives, tools; org: members, settings, workspaces; every kind: history, state, deliveries, dead-letters,
dispatches, timers, receipts, activity.";

/// Query the views
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Get {
    /// The org
    org: OrgId,
    /// A kind (conversations) or another view (deliveries)
    kind: String,
    /// One entity
    id: Option<String>,
    /// A part of it, such as messages
    part: Option<String>,
    /// Only rows where NAME is VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Rows of a page, at most 1000
    #[arg(long)]
    limit: Option<usize>,
    /// The page after that one (its `next`)
    #[arg(long)]
    after: Option<String>,
    /// Every page
    #[arg(long, conflicts_with_all = ["after", "limit"])]
    all: bool,
    /// Wait until the views have seen this position
    #[arg(long, value_name = "POSITION")]
    min_position: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Get {
    fn path(&self) -> String {
        let mut path = format!("/v1/orgs/{}/{}", self.org, segment(&in_path(&self.kind)));
        for part in [&self.id, &self.part].into_iter().flatten() {
            path.push('/');
            path.push_str(&segment(part));
        }
        path
    }

    fn query(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut query = Vec::new();
        for filter in &self.filter {
            let (name, value) = filter
                .split_once('=')
                .ok_or_else(|| Failure::Usage(format!("`{filter}` is no filter: write NAME=VALUE")))?;
            query.push((name.to_owned(), value.to_owned()));
        }
        let given = [
            ("limit", self.limit.map(|n| n.to_string())),
            ("after", self.after.clone()),
            ("min_position", self.min_position.clone()),
        ];
        query.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Ok(query)
    }

    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let query = self.query()?;
        let query: Vec<(&str, &str)> = query.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let client = self.connect.client()?;
        let path = self.path();
        let body = if self.all {
            serde_json::json!({ "items": client.all(&path, &query).await?, "next": null })
        } else {
            client.get(&path, &query).await?.body
        };
        if terminal.json {
            return terminal.value(&body);
        }
        match (body.get("items").and_then(Value::as_array), &body) {
            (Some(items), _) => {
                rows(terminal, items, self.id.as_deref())?;
                match body.get("next").and_then(Value::as_str) {
                    Some(next) => terminal.line(&terminal.paint(Tone::Faint, &format!("more: --after {next}"))),
                    None => Ok(()),
                }
            }
            (None, Value::Object(row)) => terminal.line(&row_table(row)),
            (None, other) => terminal.value(other),
        }
    }
}

/// A kind or view as paths name it. Not every view is a plural (`activity`).
fn in_path(given: &str) -> String {
    if given.ends_with('s') || view_named(given).is_some() {
        given.to_owned()
    } else {
        format!("{given}s")
    }
}

/// Columns that say little in a list.
const LEFT_OUT: [&str; 6] = ["org", "position", "hash", "previous_hash", "reactions", "order_key"];
const COLUMNS_MAX: usize = 8;
const CELL_CHARS: usize = 48;

/// Shows rows with the columns that any of them fills, the most telling first.
fn rows(terminal: &Terminal, items: &[Value], about: Option<&str>) -> Result<(), Failure> {
    let objects: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, value) in objects.iter().flat_map(|row| row.iter()) {
        // Parts of an entity say in each row whose they are.
        let empty = value.is_null() || (about.is_some() && value.as_str() == about) || value.as_array().is_some_and(Vec::is_empty);
        if !empty && !LEFT_OUT.contains(&name.as_str()) && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| weight(name));
    names.truncate(COLUMNS_MAX);
    let shown: Vec<Vec<String>> = objects
        .iter()
        .map(|row| {
            names
                .iter()
                .map(|name| short(&clean(&cell(name, row.get(*name).unwrap_or(&Value::Null))), CELL_CHARS))
                .collect()
        })
        .collect();
    terminal.table(&names, &shown, "no rows")
}

fn weight(name: &str) -> usize {
    const FIRST: [&str; 26] = [
        "key",
        "id",
        "principal",
        "name",
        "step",
        "turn",
        "sequence",
        "first_version",
        "sender",
        "role",
        "state",
        "status",
        "phase",
        "type",
        "title",
        "message_count",
        "kind",
        "component",
        "effect",
        "destination",
        "winner",
        "why",
        "body",
        "content",
        "attempts",
        "last_error",
    ];
    FIRST
        .iter()
        .position(|first| *first == name)
        .unwrap_or(if name.ends_with("_at") { 200 } else { 100 })
}

fn row_table(row: &Map<String, Value>) -> String {
    let rows: Vec<Vec<String>> = row
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| {
            let text = match value {
                Value::Object(_) | Value::Array(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
                _ => cell(name, value),
            };
            vec![name.clone(), clean(&text)]
        })
        .collect();
    table(&["field", "value"], &rows).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_projections::view::View;

    #[test]
    fn kinds_are_taken_in_singular_and_plural_and_views_by_their_names() {
        for view in View::ALL {
            assert_eq!(in_path(view.name()), view.name());
        }
        for (given, path) in [
            ("conversation", "conversations"),
            ("runs", "runs"),
            ("activity", "activity"),
            ("dead-letter", "dead-letters"),
            ("robot", "robots"),
        ] {
            assert_eq!(in_path(given), path);
        }
    }
}
