//! `quipu cluster`.

use super::{
    connect::Connect,
    failure::Failure,
    terminal::{Terminal, Tone, clean},
};
use clap::Args;
use serde_json::Value;
use std::collections::BTreeMap;

const AFTER: &str = "\
Examples:
  quipu cluster                                  as the node of ./quipu-data sees it
  quipu cluster --url http://10.0.0.2:7077       as that node sees it
  quipu cluster --json | jq '.partitions[] | select(.owner == null)'

`records` are what this node has of a partition, `behind` what the log has beyond them: what it would read first if it took the
partition over. Exit codes: 0 every partition has an owner; 1 some have none.";

/// Nodes, and who owns which partition
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Cluster {
    #[command(flatten)]
    connect: Connect,
}

impl Cluster {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let answer = client.get("/v1/ops/cluster", &[]).await?.body;
        let orphans = answer["partitions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|p| p["owner"].is_null())
            .count();
        if terminal.json {
            terminal.value(&answer)?;
            return if orphans == 0 { Ok(()) } else { Err(Failure::Shown) };
        }
        let list = |name: &str| answer[name].as_array().map_or(&[][..], Vec::as_slice);
        let me = answer["node"]["node"].as_str().unwrap_or_default();
        let mut owned: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for partition in list("partitions") {
            let owner = partition["owner"].as_str().unwrap_or_default();
            owned.entry(owner).or_default().push(partition["partition"].to_string());
        }
        let members: Vec<&Value> = list("members").iter().collect();
        // Alone on an embedded log there is nobody to be a member of anything with.
        let nodes: Vec<&Value> = if members.is_empty() { vec![&answer["node"]] } else { members };
        let rows: Vec<Vec<String>> = nodes
            .iter()
            .map(|member| {
                let node = member["node"].as_str().unwrap_or_default();
                let mark = if node == me { " (this one)" } else { "" };
                let partitions = owned.get(node).map(|list| list.join(" ")).unwrap_or_default();
                vec![
                    format!("{}{mark}", clean(node)),
                    clean(member["address"].as_str().unwrap_or_default()),
                    partitions,
                ]
            })
            .collect();
        terminal.table(&["node", "address", "partitions"], &rows, "no nodes")?;
        let rows: Vec<Vec<String>> = list("partitions")
            .iter()
            .map(|p| {
                let text = |name: &str| p[name].as_str().map(clean).unwrap_or_default();
                let number = |name: &str| p[name].as_u64().map(|n| n.to_string()).unwrap_or_default();
                vec![
                    number("partition"),
                    text("owner"),
                    number("epoch"),
                    number("records"),
                    number("behind"),
                    text("trouble"),
                ]
            })
            .collect();
        terminal.table(
            &["partition", "owner", "epoch", "records", "behind", "trouble"],
            &rows,
            "no partitions",
        )?;
        if orphans == 0 {
            return terminal.line(&terminal.paint(Tone::Good, "every partition has an owner"));
        }
        terminal.line(&terminal.paint(Tone::Bad, &format!("{orphans} partitions have no owner")))?;
        Err(Failure::Shown)
    }
}
