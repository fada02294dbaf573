//! `quipu get`.

use super::{
    columns::{Column, fitting, is_prose, wrapped},
    connect::Connect,
    failure::Failure,
    terminal::{Terminal, Tone, cell, clean, short, table},
};
use crate::{client::segment, nearest, parts::view_named};
use clap::Args;
use quipu_projections::{families::Families, reading::View};
use quipu_schemas::ids::{Kind, OrgId};
use serde_json::{Map, Value};

const EXAMPLES: &str = "\
Examples:
  quipu get acme conversations
  quipu get acme conversation c-1
  quipu get acme conversation c-1 messages --limit 20
  quipu get acme runs --filter state=running
  quipu get acme run r-1 steps
  quipu get acme dead-letters
  quipu get acme runs --columns id,state,updated_at
  quipu get acme runs --wide                                   every column, nothing cut
  quipu get acme runs --all --output ndjson | jq .id           a row a line
  quipu get acme conversation c-1 --min-position p3.1042.0     wait until the views have seen that command\n";

/// Examples, and the parts of every kind.
fn after() -> String {
    let names = |parts: &mut dyn Iterator<Item = &'static str>| parts.collect::<Vec<_>>().join(", ");
    let own = Families::house()
        .iter()
        .filter(|family| !family.parts.is_empty())
        .filter_map(|family| {
            let mut parts = family.parts.iter().map(|(view, _)| view.name());
            Some(format!("{}: {}", family.kind?, names(&mut parts)))
        });
    let every = Families::house()
        .iter()
        .filter(|family| family.kind.is_none())
        .flat_map(|family| family.parts);
    let mut every = ["history", "state"].into_iter().chain(every.map(|(view, _)| view.name()));
    let parts = own
        .chain([format!("every kind: {}", names(&mut every))])
        .collect::<Vec<_>>()
        .join("; ");
    let text = format!("Kinds may be written in the singular or plural. Parts: {parts}.");
    format!("{EXAMPLES}\n{}", wrapped(&text, HELP_CHARS).join("\n"))
}

/// Widest line of the help.
const HELP_CHARS: usize = 118;

/// Query the views
#[derive(Debug, Args)]
#[command(after_help = after())]
pub(super) struct Get {
    /// The org
    org: OrgId,
    /// A kind (conversations) or another view (deliveries)
    #[arg(value_name = "KIND_OR_VIEW")]
    kind: Option<String>,
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
    /// Only these columns, in this order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// Every column, with nothing cut
    #[arg(long, conflicts_with = "columns")]
    wide: bool,
    /// Wait until the views have seen this position
    #[arg(long, value_name = "POSITION")]
    min_position: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Get {
    /// A list of a view, for commands that are another name for one.
    pub(super) fn of_view(
        org: OrgId,
        view: &str,
        filter: Vec<String>,
        (limit, all): (Option<usize>, bool),
        columns: Vec<String>,
        connect: Connect,
    ) -> Self {
        Self {
            org,
            kind: Some(view.to_owned()),
            id: None,
            part: None,
            filter,
            limit,
            after: None,
            all,
            columns,
            wide: false,
            min_position: None,
            connect,
        }
    }

    fn path(&self) -> Result<String, Failure> {
        let Some(kind) = &self.kind else { return Err(no_view(&self.org)) };
        let mut path = format!("/v1/orgs/{}/{}", self.org, segment(&in_path(kind)));
        let part = self.part.as_deref().map(part_in_path);
        for part in [&self.id, &part].into_iter().flatten() {
            path.push('/');
            path.push_str(&segment(part));
        }
        Ok(path)
    }

    fn query(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut query = Vec::new();
        for filter in &self.filter {
            let (name, value) = filter
                .split_once('=')
                .ok_or_else(|| Failure::Usage(format!("--filter needs NAME=VALUE, got `{filter}`")))?;
            // Participants have a `kind` of their own, which no kind of entity is called like.
            let value = match (name, super::kind::of_plural(value)) {
                ("kind", Some(kind)) => kind.to_string(),
                _ => value.to_owned(),
            };
            query.push((name.to_owned(), value));
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
        let path = self.path()?;
        let body = if self.all {
            serde_json::json!({ "items": client.all(&path, &query).await?, "next": null })
        } else {
            client.get(&path, &query).await?.body
        };
        let items = body.get("items").and_then(Value::as_array);
        if terminal.json {
            return match items.filter(|_| terminal.rows) {
                Some(items) => items.iter().try_for_each(|item| terminal.value(item)),
                None => terminal.value(&body),
            };
        }
        match (items, &body) {
            (Some(items), _) => {
                if self.part.as_deref().map(part_in_path).as_deref() == Some("messages") && self.columns.is_empty() && !self.wide {
                    messages(terminal, items)?;
                } else {
                    self.rows(terminal, items)?;
                }
                match body.get("next").and_then(Value::as_str) {
                    Some(next) => terminal.line(&terminal.paint(Tone::Faint, &format!("more: --after {next}"))),
                    None => Ok(()),
                }
            }
            (None, Value::Object(row)) => terminal.line(&row_table(row)),
            (None, other) => terminal.value(other),
        }
    }

    /// Shows rows with the columns that any of them fills, the most telling first, as many as fit.
    fn rows(&self, terminal: &Terminal, items: &[Value]) -> Result<(), Failure> {
        let objects: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
        let names = self.names(&objects)?;
        let text = |row: &Map<String, Value>, name: &str| clean(&cell(name, row.get(name).unwrap_or(&Value::Null)));
        let one_line = |row: &Map<String, Value>, name: &str| short(&text(row, name), usize::MAX);
        let widest = |name: &str| objects.iter().map(|row| one_line(row, name).chars().count()).max().unwrap_or(0);
        let columns = if self.wide || !self.columns.is_empty() {
            names.iter().map(|name| Column { name, width: usize::MAX }).collect()
        } else {
            fitting(&names, &widest, terminal.width())
        };
        let shown: Vec<Vec<String>> = objects
            .iter()
            .map(|row| {
                let cut = |column: &Column<'_>| {
                    let most = if is_prose(column.name) {
                        column.width.saturating_sub(1)
                    } else {
                        usize::MAX
                    };
                    let whole = one_line(row, column.name);
                    if whole.chars().count() <= column.width {
                        whole
                    } else {
                        short(&whole, most)
                    }
                };
                columns.iter().map(cut).collect()
            })
            .collect();
        let headers: Vec<&str> = columns.iter().map(|column| column.name).collect();
        terminal.table(&headers, &shown, "no rows")?;
        match names.len() - columns.len() {
            0 => Ok(()),
            hidden => terminal.note_faint(&format!("{hidden} more columns: --wide, or --columns {}", names.join(","))),
        }
    }

    /// The names of columns that can be shown, the most telling first; those that were asked for, where any were.
    fn names<'a>(&'a self, objects: &[&'a Map<String, Value>]) -> Result<Vec<&'a str>, Failure> {
        let about = self.id.as_deref();
        let mut known: Vec<&str> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for (name, value) in objects.iter().flat_map(|row| row.iter()) {
            if !known.contains(&name.as_str()) {
                known.push(name);
            }
            // Parts of an entity say in each row whose they are.
            let empty = value.is_null() || (about.is_some() && value.as_str() == about) || value.as_array().is_some_and(Vec::is_empty);
            let told = self.wide || (!empty && !LEFT_OUT.contains(&name.as_str()));
            if told && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        if self.columns.is_empty() {
            names.sort_by_key(|name| weight(name));
            return Ok(names);
        }
        match self
            .columns
            .iter()
            .find(|name| !known.is_empty() && !known.contains(&name.as_str()))
        {
            Some(name) => Err(Failure::Usage(format!(
                "no such column: `{name}`; {}",
                nearest::fix(name, "known", known.iter().copied())
            ))),
            None => Ok(self.columns.iter().map(String::as_str).collect()),
        }
    }
}

/// Widest line of a message, for reading.
const PROSE_CHARS: usize = 80;

/// Messages as people read them: when, who, and the whole text.
fn messages(terminal: &Terminal, items: &[Value]) -> Result<(), Failure> {
    if items.is_empty() {
        return terminal.line(&terminal.paint(Tone::Faint, "no messages"));
    }
    for item in items {
        let at = cell("posted_at", &item["posted_at"]);
        // The date is in the first ten letters, and the seconds' fraction says little.
        let at = at.get(..19).unwrap_or(&at).replace('T', " ");
        let sender = clean(item["sender"].as_str().unwrap_or_default());
        let body = match &item["body"] {
            Value::String(text) => clean(text),
            Value::Object(map) if map.contains_key("erased") => "(erased)".to_owned(),
            Value::Null if item["deleted"] == true => "(deleted)".to_owned(),
            Value::Null if item["notice"].is_object() => unanswered(&item["notice"]),
            other => other.to_string(),
        };
        let lines = wrapped(&body, PROSE_CHARS.min(terminal.width()).saturating_sub(INDENT.len()));
        let head = format!("{} {}:", terminal.paint(Tone::Faint, &at), terminal.paint(Tone::Strong, &sender));
        if lines.len() == 1 && lines[0].chars().count() + at.len() + sender.len() + 3 <= terminal.width() {
            terminal.line(&format!("{head} {}", lines[0]))?;
            continue;
        }
        terminal.line(&head)?;
        for line in lines {
            terminal.line(format!("{INDENT}{line}").trim_end())?;
        }
    }
    Ok(())
}

/// A turn that ended without an answer.
fn unanswered(notice: &Value) -> String {
    let told = |name: &str| clean(notice[name].as_str().unwrap_or_default());
    format!("(no answer: {}: {})", told("code"), told("detail"))
}

const INDENT: &str = "    ";

/// A kind or view as paths name it. Not every view is a plural (`activity`).
fn in_path(given: &str) -> String {
    let is_plural = super::kind::of_plural(given).is_some() || view_named(Families::house(), given).is_some();
    match Kind::parse(given) {
        // No word of the house ends in an `s` in the singular; somebody's own may, and is then given in the plural.
        Ok(kind) if !is_plural && !given.ends_with('s') => kind.plural().into_owned(),
        _ => given.to_owned(),
    }
}

/// A part as paths name it: the singular of one that is known only in the plural is taken for it.
fn part_in_path(given: &str) -> String {
    let known = |name: &str| {
        Families::house()
            .iter()
            .any(|family| family.parts.iter().any(|(view, _)| view.name() == name))
    };
    let plural = in_path(given);
    if !known(given) && known(&plural) {
        plural
    } else {
        given.to_owned()
    }
}

/// Nothing was asked for; perhaps the org was left out.
fn no_view(org: &OrgId) -> Failure {
    let views: Vec<&str> = Families::house().views().map(View::name).collect();
    let meant = nearest::nearest(&in_path(org.as_str()), views.iter().copied());
    Failure::Usage(match meant {
        Some(view) => format!("an org comes first: did you mean `quipu get ORG {view}`?"),
        None => format!("say what to get: `quipu get {org} KIND_OR_VIEW`, such as {}", views.join(", ")),
    })
}

/// Columns that say little in a list.
const LEFT_OUT: [&str; 6] = ["org", "position", "hash", "previous_hash", "reactions", "order_key"];
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
mod tests;
