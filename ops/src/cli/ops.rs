//! `quipu ops`.

use super::{
    connect::Connect,
    failure::Failure,
    kind::of_stream,
    terminal::{Terminal, Tone, clean},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const AFTER: &str = "\
Examples:
  quipu ops tree
  quipu ops health
  quipu ops health --ready                           for a probe: does not fail for a part that is late or parked
  quipu ops unpark acme/run/r-1";

/// See and operate a node
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Ops {
    /// The supervision tree
    #[command(after_help = AFTER)]
    Tree(Connect1),
    /// Health of every part; exit code 1 if any part is degraded or failing
    #[command(after_help = AFTER)]
    Health(Health),
    /// Resume a parked stream
    #[command(after_help = AFTER)]
    Unpark(Unpark),
}

#[derive(Debug, Args)]
pub(super) struct Connect1 {
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Fail only if the node cannot take commands: for probes that restart a failing process
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Unpark {
    /// The stream, org/kind/id
    stream: String,
    #[command(flatten)]
    connect: Connect,
}

impl Ops {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Ops::Tree(Connect1 { connect }) => {
                let tree = connect.client()?.get("/v1/ops/tree", &[]).await?.body;
                if terminal.json {
                    return terminal.value(&tree);
                }
                branch(terminal, &tree, "", "")
            }
            Ops::Health(Health { ready, connect }) => {
                // A probe needs no token: a container has none where the node's own is off.
                let client = connect.client().or_else(|_| connect.open())?;
                let (_, health) = client.probe("/health").await?;
                show_health(terminal, &health, ready)
            }
            Ops::Unpark(Unpark { stream, connect }) => {
                let stream = of_stream(&stream);
                let answer = connect.client()?.post("/v1/ops/unpark", &json!({ "stream": stream })).await?;
                if terminal.json {
                    return terminal.value(&answer);
                }
                let views = if answer["views_fit"] == Value::Bool(true) {
                    ""
                } else {
                    "; its records still do not fit the views"
                };
                terminal.line(&format!("{} is resumed{views}", terminal.paint(Tone::Strong, &clean(&stream))))
            }
        }
    }
}

/// One node of the tree and all below it.
fn branch(terminal: &Terminal, node: &Value, lead: &str, stem: &str) -> Result<(), Failure> {
    let text = |name: &str| clean(node.get(name).and_then(Value::as_str).unwrap_or_default());
    let status = text("status");
    let tone = if status == "running" { Tone::Good } else { Tone::Bad };
    let restarts = node["restarts"]
        .as_u64()
        .filter(|n| *n > 0)
        .map(|n| format!("  {n} restarts"))
        .unwrap_or_default();
    let role = terminal.paint(Tone::Faint, &text("role"));
    terminal.line(&format!(
        "{lead}{} {role} {}{}",
        text("name"),
        terminal.paint(tone, &status),
        terminal.paint(Tone::Notice, &restarts)
    ))?;
    let children = node["children"].as_array().map_or(&[][..], Vec::as_slice);
    for (n, child) in children.iter().enumerate() {
        let (corner, below) = if n + 1 == children.len() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        branch(terminal, child, &format!("{stem}{corner}"), &format!("{stem}{below}"))?;
    }
    Ok(())
}

fn show_health(terminal: &Terminal, health: &Value, ready: bool) -> Result<(), Failure> {
    let status = health["status"].as_str().unwrap_or("failing");
    if terminal.json {
        terminal.value(health)?;
    } else {
        let rows: Vec<Vec<String>> = health["parts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|part| {
                let state = match (part["ok"].as_bool(), part["critical"].as_bool()) {
                    (Some(true), _) => "ok",
                    (_, Some(true)) => "failing",
                    _ => "degraded",
                };
                let text = |name: &str| clean(part[name].as_str().unwrap_or_default());
                vec![text("name"), state.to_owned(), text("detail")]
            })
            .collect();
        terminal.table(&["part", "state", "detail"], &rows, "no parts")?;
        terminal.line(&terminal.paint(if status == "ok" { Tone::Good } else { Tone::Bad }, status))?;
    }
    // What is degraded fails too, only not what commands need: whoever asks for health must not take it for well.
    let is_well = status == "ok" || ready && status == "degraded";
    if is_well { Ok(()) } else { Err(Failure::Shown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_well_only_when_everything_is() {
        let terminal = Terminal {
            json: true,
            rows: false,
            colour: false,
            watched: false,
        };
        let code = |health, ready| show_health(&terminal, &health, ready).map_or_else(|failure| failure.code(), |()| 0);
        for (status, well, ready) in [("ok", 0, 0), ("degraded", 1, 0), ("failing", 1, 1)] {
            let health = || json!({ "status": status, "parts": [] });
            assert_eq!((code(health(), false), code(health(), true)), (well, ready), "{status}");
        }
        assert_eq!((code(json!({}), false), code(json!({}), true)), (1, 1));
    }
}
