//! `quipu replay`.

use super::{
    connect::Connect,
    diff::{self, Change},
    failure::Failure,
    kind::singular,
    terminal::{Terminal, Tone, clean},
};
use crate::client::Client;
use clap::Args;
use quipu_schemas::ids::{EntityId, Kind, OrgId, StreamId};
use serde_json::{Value, json};

const AFTER: &str = "\
Examples:
  quipu replay acme conversation c-1                        the state now
  quipu replay acme conversation c-1 --version 7            after its 7th event
  quipu replay acme run r-1 --at 2026-01-31T12:00:00Z       as it was then
  quipu replay acme run r-1 --diff 4 9                      what changed between two versions
  quipu replay acme run r-1 --diff 2026-01-31T12:00:00Z 9   a point is a version, a time, or `now`

The digest is over the state's stored form: equal on every machine, and after erasure.";

/// Replay an entity from its log
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Replay {
    /// The org
    org: OrgId,
    /// Kind of the entity
    #[arg(value_parser = singular)]
    kind: Kind,
    /// Id of the entity
    id: EntityId,
    /// The state after this many events
    #[arg(long, conflicts_with = "at")]
    version: Option<u64>,
    /// The state at a time (RFC 3339, or milliseconds since 1970)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// What changed from point A to point B
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["version", "at"])]
    diff: Option<Vec<String>>,
    #[command(flatten)]
    connect: Connect,
}

async fn state(client: &Client, stream: &StreamId, query: &[(&str, &str)]) -> Result<Value, Failure> {
    let path = format!("{}/state", stream.path());
    Ok(client.get(&path, query).await?.body)
}

async fn point(client: &Client, stream: &StreamId, text: &str) -> Result<Value, Failure> {
    if text == "now" {
        return state(client, stream, &[]).await;
    }
    let name = if text.bytes().all(|b| b.is_ascii_digit()) {
        "version"
    } else {
        "at"
    };
    state(client, stream, &[(name, text)]).await
}

impl Replay {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let stream = StreamId::new(self.org, self.kind, self.id);
        if let Some([a, b]) = self.diff.as_deref() {
            let (from, to) = (point(&client, &stream, a).await?, point(&client, &stream, b).await?);
            return difference(terminal, &from, &to);
        }
        let version = self.version.map(|v| v.to_string());
        let query: Vec<(&str, &str)> = [("version", version.as_deref()), ("at", self.at.as_deref())]
            .into_iter()
            .filter_map(|(n, v)| Some((n, v?)))
            .collect();
        let found = state(&client, &stream, &query).await?;
        if terminal.json {
            return terminal.value(&found);
        }
        terminal.line(&heading(terminal, &found))?;
        terminal.line(&clean(&serde_json::to_string_pretty(&found["state"]).unwrap_or_default()))
    }
}

fn heading(terminal: &Terminal, found: &Value) -> String {
    let time = crate::clock::rfc3339(found["time"].as_u64().unwrap_or_default());
    let name = found["stream"].as_str().unwrap_or_default();
    let what = terminal.paint(Tone::Strong, &format!("{name} at version {}", found["version"]));
    format!(
        "{what}  {}",
        terminal.paint(
            Tone::Faint,
            &format!("{time}  sha256 {}", found["digest"].as_str().unwrap_or_default())
        )
    )
}

fn difference(terminal: &Terminal, from: &Value, to: &Value) -> Result<(), Failure> {
    let changes = diff::between(&from["state"], &to["state"]);
    if terminal.json {
        let point = |at: &Value| json!({ "version": at["version"], "time": at["time"], "digest": at["digest"] });
        return terminal.value(&json!({ "stream": to["stream"], "from": point(from), "to": point(to), "changes": changes }));
    }
    terminal.line(&format!("- {}", heading(terminal, from)))?;
    terminal.line(&format!("+ {}", heading(terminal, to)))?;
    if changes.is_empty() {
        return terminal.line(&terminal.paint(Tone::Faint, "nothing changed"));
    }
    for change in &changes {
        let (tone, text) = match change {
            Change::Added { path, to } => (Tone::Good, format!("+ {path}: {to}")),
            Change::Removed { path, from } => (Tone::Bad, format!("- {path}: {from}")),
            Change::Changed { path, from, to } => (Tone::Notice, format!("~ {path}: {from} → {to}")),
        };
        terminal.line(&terminal.paint(tone, &clean(&text)))?;
    }
    Ok(())
}
