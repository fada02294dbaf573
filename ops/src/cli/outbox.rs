//! `quipu outbox`.

use super::{
    connect::Connect,
    failure::Failure,
    kind::of_stream,
    terminal::{Terminal, Tone, cell, clean, short},
};
use crate::client::segment;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const AFTER: &str = "\
Examples:
  quipu outbox ls
  quipu outbox ls --org acme --status dead
  quipu outbox retry acme/run/r-1@7.0
  quipu outbox drop acme/run/r-1@7.0";

/// Effects that have not been delivered
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Outbox {
    /// List effects and dispatches that are not settled, dead letters included
    #[command(after_help = AFTER)]
    Ls(Ls),
    /// Send a dead effect again, from its first attempt
    #[command(after_help = AFTER)]
    Retry(Key),
    /// Give up an effect; its entity learns that it failed
    #[command(after_help = AFTER)]
    Drop(Key),
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Only effects of this org
    #[arg(long)]
    org: Option<String>,
    /// Only effects in this state
    #[arg(long, value_parser = ["pending", "processing", "failed", "dead", "delivered"])]
    status: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Key {
    /// The effect's key, org/kind/id@version.ordinal
    key: String,
    #[command(flatten)]
    connect: Connect,
}

impl Outbox {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Outbox::Ls(ls) => ls.run(terminal).await,
            Outbox::Retry(key) => key.run(terminal, "retry").await,
            Outbox::Drop(key) => key.run(terminal, "drop").await,
        }
    }
}

impl Ls {
    async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let query: Vec<(&str, &str)> = [("org", self.org.as_deref()), ("status", self.status.as_deref())]
            .into_iter()
            .filter_map(|(n, v)| Some((n, v?)))
            .collect();
        let body = self.connect.client()?.get("/v1/ops/outbox", &query).await?.body;
        if terminal.json {
            return terminal.value(&body);
        }
        const COLUMNS: [&str; 7] = [
            "key",
            "effect",
            "destination",
            "status",
            "attempts",
            "next_attempt_at",
            "last_error",
        ];
        let items = body["items"].as_array().map_or(&[][..], Vec::as_slice);
        let rows: Vec<Vec<String>> = items
            .iter()
            .map(|row| {
                COLUMNS
                    .iter()
                    .map(|name| short(&clean(&cell(name, row.get(*name).unwrap_or(&Value::Null))), 80))
                    .collect()
            })
            .collect();
        terminal.table(&COLUMNS, &rows, "the outbox is empty")
    }
}

impl Key {
    async fn run(self, terminal: &Terminal, verb: &str) -> Result<(), Failure> {
        let receipt = self
            .connect
            .client()?
            .post(&format!("/v1/ops/outbox/{}/{verb}", segment(&of_stream(&self.key))), &json!({}))
            .await?;
        if terminal.json {
            return terminal.value(&receipt);
        }
        let done = if verb == "retry" { "will be sent again" } else { "was given up" };
        terminal.line(&format!("{} {done}", terminal.paint(Tone::Strong, &self.key)))
    }
}
