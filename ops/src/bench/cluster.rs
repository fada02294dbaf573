//! The whole path of a command on a broker's log: through one node, and through three of which two thirds forward it.

use super::{
    BenchError, child,
    child::Server,
    http,
    load::{Outcome, Pace, Plan},
    machine::Machine,
    material::{self, ORG},
    report::{Line, Report, count, list, median},
};
use crate::dev_cluster::share_secrets;
use std::{fs, path::PathBuf};

const ENTITIES: u64 = 1_000;
const CLIENTS: usize = 64;
const NODES: usize = 3;

/// What is measured.
#[derive(Debug, Clone)]
pub struct OnBroker {
    /// Address of a log that does not exist yet; it stays.
    pub log: String,
    /// Seconds of one run.
    pub seconds: u64,
    /// Runs of each kind, taking turns.
    pub runs: usize,
    /// The command line, for the report.
    pub command: String,
}

fn plan(server: &Server, connections: usize, seconds: u64, key: String) -> Plan {
    Plan {
        address: server.address,
        token: server.token.clone(),
        connections,
        path: format!("/v1/orgs/{ORG}/conversations/c{{n}}/post"),
        entities: ENTITIES,
        first: 0,
        body: material::post_body(),
        key,
        pace: Pace::Closed {
            warmup_ms: 1_000,
            run_ms: seconds * 1_000,
        },
    }
}

/// Rate and the worst p99 of runs at once.
fn together(outcomes: &[Outcome]) -> (f64, f64) {
    let rate = outcomes.iter().map(Outcome::per_second).sum();
    let p99 = outcomes.iter().map(|o| o.latency_us.p99 as f64 / 1_000.0).fold(0.0, f64::max);
    (rate, p99)
}

/// Measures one node, then three on the same log.
pub async fn run(asked: &OnBroker, mut progress: impl FnMut(&str)) -> Result<Report, BenchError> {
    let mut machine = Machine::look(&std::env::temp_dir());
    let home = tempfile(&asked.log)?;
    let set = |pairs: &mut Vec<String>| {
        pairs.push(format!("log.backend={}", asked.log));
        pairs.push("cluster.secret=\"cluster\"".into());
        pairs.push("secrets.cluster=\"file:".to_owned() + &home.join("secret").display().to_string() + "\"");
    };
    fs::write(home.join("secret"), "only these nodes know this")?;
    let mut pairs = Vec::new();
    set(&mut pairs);
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let data = |n: usize| home.join(format!("node{n}"));
    let (first, _) = child::node(&data(0), false, &pairs).await?;
    http::create(&first, 0, ENTITIES).await?;
    progress("one node");
    let mut alone = Vec::new();
    for run in 0..asked.runs {
        alone.push(together(&[plan(&first, CLIENTS, asked.seconds, format!("one{run}")).run().await?]));
    }
    let mut nodes = vec![first];
    for n in 1..NODES {
        fs::create_dir_all(data(n))?;
        share_secrets(&data(0), &data(n)).map_err(|e| BenchError::Child(e.to_string()))?;
        nodes.push(child::node(&data(n), false, &pairs).await?.0);
    }
    spread(&nodes).await?;
    progress("three nodes");
    let mut three = Vec::new();
    for run in 0..asked.runs {
        let plans: Vec<Plan> = (0..NODES)
            .map(|n| plan(&nodes[n], CLIENTS.div_ceil(NODES), asked.seconds, format!("three{run}-{n}")))
            .collect();
        let outcomes = futures::future::try_join_all(plans.iter().map(Plan::run)).await?;
        three.push(together(&outcomes));
    }
    for node in nodes {
        node.stop().await?;
    }
    fs::remove_dir_all(&home)?;
    let rates = |runs: &[(f64, f64)]| runs.iter().map(|(rate, _)| *rate).collect::<Vec<_>>();
    let p99 = |runs: &[(f64, f64)]| median(&runs.iter().map(|(_, p99)| *p99).collect::<Vec<_>>());
    let (one, all) = (median(&rates(&alone)), median(&rates(&three)));
    let lines = vec![
        Line::beside(
            "durable commands on a broker, one node, 64 clients, 1,000 entities, views off",
            format!("{}/s, p99 {:.1} ms", count(one), p99(&alone)),
            format!("runs {}", list(&rates(&alone), 0)),
        ),
        Line::beside(
            "the same over three nodes on one machine, a third of the clients at each",
            format!("{}/s = {:.2} × one node, p99 {:.1} ms", count(all), all / one, p99(&three)),
            format!("runs {}; two thirds of the commands are forwarded to the owner of their partition", list(&rates(&three), 0)),
        ),
    ];
    machine.load_after = super::machine::load();
    Ok(Report {
        machine,
        command: asked.command.clone(),
        lines,
    })
}

/// A directory of its own for the nodes' data.
fn tempfile(log: &str) -> Result<PathBuf, BenchError> {
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|e| BenchError::Child(format!("{log}: {e}")))?;
    let path = std::env::temp_dir().join(format!("quipu-bench-{}", hex::encode(random)));
    fs::create_dir(&path)?;
    Ok(path)
}

/// Waits until each node owns something, as each sees it itself.
async fn spread(nodes: &[Server]) -> Result<(), BenchError> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(|e| BenchError::Child(e.to_string()))?;
    for _ in 0..600 {
        let mut settled = 0;
        for node in nodes {
            let asked = client.get(format!("http://{}/v1/ops/cluster", node.address)).bearer_auth(&node.token).send().await;
            let Ok(answer) = asked else { continue };
            let told: serde_json::Value = answer.json().await.unwrap_or_default();
            let partitions = told["partitions"].as_array().map_or(&[][..], Vec::as_slice);
            let all_owned = partitions.iter().all(|p| p["owner"].is_string());
            settled += usize::from(all_owned && partitions.iter().any(|p| p["here"] == true));
        }
        if settled == nodes.len() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(BenchError::Child("ownership did not settle within a minute".into()))
}
