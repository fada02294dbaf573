//! `quipu views`.

use super::{
    connect::Connect,
    failure::Failure,
    terminal::{Terminal, Tone, clean},
};
use crate::client::{Client, jobs::finish_views_job};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::time::Duration;

const AFTER: &str = "\
Examples:
  quipu views lag           exit code 1 if the views do not follow, or a partition is damaged
  quipu views verify        rebuild in memory from the log and compare; exit code 1 if they differ
  quipu views rebuild       rebuild them beside the current ones, then switch";

/// Rebuild, verify or watch the views
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Views {
    /// How far the views are behind the log
    #[command(after_help = AFTER)]
    Lag(At),
    /// Compare the views with a rebuild from zero
    #[command(after_help = AFTER)]
    Verify(At),
    /// Rebuild the views; the current ones answer meanwhile
    #[command(after_help = AFTER)]
    Rebuild(At),
}

#[derive(Debug, Args)]
pub(super) struct At {
    #[command(flatten)]
    connect: Connect,
}

impl Views {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Views::Lag(at) => lag(terminal, &at.connect.client()?).await,
            Views::Verify(at) => job(terminal, &at.connect.client()?, "verify").await,
            Views::Rebuild(at) => job(terminal, &at.connect.client()?, "rebuild").await,
        }
    }
}

async fn lag(terminal: &Terminal, client: &Client) -> Result<(), Failure> {
    let views = client.get("/v1/ops/views", &[]).await?.body;
    let ok = views["ok"] == Value::Bool(true);
    let verdict = if ok { Ok(()) } else { Err(Failure::Shown) };
    if terminal.json {
        terminal.value(&views)?;
        return verdict;
    }
    let rows: Vec<Vec<String>> = views["partitions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let number = |name: &str| row[name].to_string();
            let stopped = row["stopped"]["offset"]
                .as_u64()
                .map_or_else(|| "ok".to_owned(), |at| format!("stopped at {at}"));
            vec![number("partition"), number("seen"), number("end"), number("lag"), stopped]
        })
        .collect();
    terminal.table(&["partition", "seen", "end", "lag", "state"], &rows, "no partitions")?;
    let tone = if ok { Tone::Good } else { Tone::Bad };
    terminal.line(&terminal.paint(tone, &clean(views["detail"].as_str().unwrap_or_default())))?;
    verdict
}

async fn job(terminal: &Terminal, client: &Client, name: &str) -> Result<(), Failure> {
    let bar = terminal.progress(None, "{spinner} {msg}");
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.set_message(format!("{name} of the views"));
    let done = finish_views_job(client, name, |records| {
        bar.set_message(format!("{name} of the views: {records} records"))
    })
    .await;
    bar.finish_and_clear();
    let job = done?;
    let good = job["status"] == "done" && job["equal"] != Value::Bool(false);
    if terminal.json {
        terminal.value(&job)?;
    } else {
        let verdict = match (good, job["equal"].as_bool()) {
            (true, Some(true)) => "the views equal a rebuild from zero",
            (true, _) => "done",
            (false, Some(false)) => "the views differ from a rebuild: run `quipu views rebuild`",
            (false, _) => "failed",
        };
        let rows = |name: &str| job[name].as_array().map_or(&[][..], Vec::as_slice);
        if !rows("tables").is_empty() {
            terminal.table(&["table", "state", "digest"], &tables(rows("tables")), "no tables")?;
        }
        for stuck in rows("stopped") {
            let detail = clean(stuck["detail"].as_str().unwrap_or_default());
            terminal.line(&format!(
                "partition {} got stuck at {}: {detail}",
                stuck["partition"], stuck["offset"]
            ))?;
        }
        terminal.line(&terminal.paint(if good { Tone::Good } else { Tone::Bad }, verdict))?;
        terminal.line(&terminal.paint(Tone::Faint, &clean(job["detail"].as_str().unwrap_or_default())))?;
    }
    if good { Ok(()) } else { Err(Failure::Shown) }
}

/// Rows of what was compared, those that differ first.
fn tables(compared: &[Value]) -> Vec<Vec<String>> {
    const DIGEST_CHARS: usize = 12;
    let mut rows: Vec<_> = compared
        .iter()
        .map(|row| {
            let text = |name: &str| clean(row[name].as_str().unwrap_or_default());
            let start = |name: &str| text(name).chars().take(DIGEST_CHARS).collect::<String>();
            if row["equal"] == Value::Bool(true) {
                vec![text("table"), "equal".to_owned(), start("digest")]
            } else {
                vec![
                    text("table"),
                    "differs".to_owned(),
                    format!("{}, should be {}", start("digest"), start("expected")),
                ]
            }
        })
        .collect();
    // `differs` sorts before `equal`; within them the tables keep their order.
    rows.sort_by(|a, b| a[1].cmp(&b[1]));
    rows
}
