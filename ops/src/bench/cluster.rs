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
use crate::{
    client::Client,
    stage::{servers, share_secrets},
};
use std::{fs, path::PathBuf};

const ENTITIES: u64 = 1_000;
const CLIENTS: usize = 64;
const NODES: usize = 3;

/// What is measured.
#[derive(Debug, Clone)]
pub struct OnBroker {
    /// Address of a log that does not exist yet; it stays. Without one, a nats-server of this machine is started for it and ended.
    pub log: Option<String>,
    /// Seconds of one run.
    pub seconds: u64,
    /// Runs of each kind, taking turns.
    pub runs: usize,
    /// The command line, for the report.
    pub command: String,
}

fn plan(server: &Server, connections: usize, seconds: u64, key: String) -> Plan {
    Plan {
        then: None,
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

/// What one run over all nodes gave.
struct Run {
    rate: f64,
    /// The worst of the clients', in milliseconds.
    p99: f64,
    /// Processor time of all nodes, in microseconds for each command of the run and of its warm-up.
    cpu: f64,
}

async fn together(nodes: &[Server], plans: &[Plan]) -> Result<Run, BenchError> {
    let used = || nodes.iter().map(|n| n.usage().cpu.as_micros() as f64).sum::<f64>();
    let before = used();
    let outcomes = futures::future::try_join_all(plans.iter().map(Plan::run)).await?;
    let used = used() - before;
    let rate = outcomes.iter().map(Outcome::per_second).sum::<f64>();
    let seconds = plans.first().map_or(1.0, |plan| match plan.pace {
        Pace::Closed { warmup_ms, run_ms } => (warmup_ms + run_ms) as f64 / 1_000.0,
        Pace::Open { .. } | Pace::Count { .. } => 1.0,
    });
    Ok(Run {
        rate,
        p99: outcomes.iter().map(|o| o.latency_us.p99 as f64 / 1_000.0).fold(0.0, f64::max),
        cpu: used / (rate * seconds).max(1.0),
    })
}

/// Measures one node, then three on the same log.
pub async fn run(asked: &OnBroker, mut progress: impl FnMut(&str)) -> Result<Report, BenchError> {
    let mut machine = Machine::look(&std::env::temp_dir());
    let home = Home::new()?;
    // Ended when it is dropped, behind the nodes.
    let server = match &asked.log {
        Some(_) => None,
        None => {
            progress("starting a nats-server that syncs before it acknowledges");
            let at = home.0.clone();
            let started = tokio::task::spawn_blocking(move || servers::nats(&at)).await;
            Some(
                started
                    .map_err(|e| BenchError::Child(e.to_string()))?
                    .map_err(|e| BenchError::Child(e.to_string()))?,
            )
        }
    };
    let log = asked
        .log
        .as_ref()
        .or(server.as_ref().map(|s| &s.url))
        .ok_or_else(|| BenchError::Child("no log".into()))?;
    let set = |pairs: &mut Vec<String>| {
        pairs.push(format!("log.backend={log}"));
        pairs.push("cluster.secret=cluster".into());
        pairs.push(format!("secrets.cluster=file:{}", home.0.join("secret").display()));
    };
    fs::write(home.0.join("secret"), "only these nodes know this")?;
    let mut pairs = Vec::new();
    set(&mut pairs);
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let data = |n: usize| home.0.join(format!("node{n}"));
    let (first, _) = child::node(&data(0), false, &pairs).await?;
    http::create(&first, 0, ENTITIES).await?;
    progress("one node");
    let mut alone = Vec::new();
    for run in 0..asked.runs {
        let plans = [plan(&first, CLIENTS, asked.seconds, format!("one{run}"))];
        alone.push(together(std::slice::from_ref(&first), &plans).await?);
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
        three.push(together(&nodes, &plans).await?);
    }
    for node in nodes {
        node.stop().await?;
    }
    let each = |runs: &[Run], what: fn(&Run) -> f64| runs.iter().map(what).collect::<Vec<_>>();
    let (one, all) = (median(&each(&alone, |r| r.rate)), median(&each(&three, |r| r.rate)));
    let told = |runs: &[Run]| {
        let (rates, cpu) = (list(&each(runs, |r| r.rate), 0), median(&each(runs, |r| r.cpu)));
        format!("runs {rates}; processor µs per command in the nodes {cpu:.0}")
    };
    let p99 = |runs: &[Run]| median(&each(runs, |r| r.p99));
    let lines = vec![
        Line::beside(
            "durable commands on a broker, one node, 64 clients, 1,000 entities, views off",
            format!("{}/s, p99 {:.1} ms", count(one), p99(&alone)),
            told(&alone),
        ),
        Line::beside(
            "the same over three nodes on one machine, a third of the clients at each",
            format!("{}/s = {:.2} × one node, p99 {:.1} ms", count(all), all / one, p99(&three)),
            format!(
                "{}; two thirds of the commands are forwarded to the owner of their partition",
                told(&three)
            ),
        ),
    ];
    machine.load_after = super::machine::load();
    Ok(Report {
        machine,
        command: asked.command.clone(),
        lines,
    })
}

/// A directory of its own for the nodes' data; deleted when dropped.
struct Home(PathBuf);

impl Home {
    fn new() -> Result<Self, BenchError> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|e| BenchError::Child(e.to_string()))?;
        let path = std::env::temp_dir().join(format!("quipu-bench-{}", hex::encode(random)));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be deleted stays where temporary files stay.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until each node owns something, as each sees it itself.
async fn spread(nodes: &[Server]) -> Result<(), BenchError> {
    let asked = nodes
        .iter()
        .map(|n| Client::new(&format!("http://{}", n.address), n.token.as_str()));
    let clients = asked.collect::<Result<Vec<_>, _>>().map_err(|e| BenchError::Child(e.to_string()))?;
    for _ in 0..600 {
        let mut settled = 0;
        for client in &clients {
            let Ok((_, told)) = client.probe("/v1/ops/cluster").await else {
                continue;
            };
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
