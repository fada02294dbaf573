//! Three nodes on one log, and what befalls them: killed, stopped in order, paused so that they wake as stale owners.
//!
//! Six faults unless told otherwise; the long one is
//! `QUIPU_FAILOVERS=100 cargo test --release -p quipu-tests --test cluster -- --nocapture`.
//! The seed is printed; `QUIPU_SEED=<seed>` draws the same faults and the same commands.

use quipu_events::backend::Backend;
use quipu_schemas::position::LogId;
use quipu_tests::{
    caller::{Caller, LOOK_EVERY, PATIENCE, wait},
    load::{Load, acknowledged_is_stored, ask_again, client, effects_settle, runs, said_once, set_up},
    process::{Launch, Process},
    receiver::{Receiver, SECRET},
    seeded::Seeded,
    servers::nats::{self, SYSTEM, Shape},
    stored,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const NODES: usize = 3;
const CLIENTS: u64 = 4;
const LEASE: Duration = Duration::from_millis(1_500);

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Who owns what, as a node sees it.
async fn owners(caller: &Caller) -> Option<Vec<String>> {
    let answer = caller.exchange(caller.request(reqwest::Method::GET, "/v1/ops/cluster")).await.ok()?;
    let partitions = answer.body["partitions"].as_array()?.clone();
    Some(partitions.iter().map(|p| p["owner"].as_str().unwrap_or_default().to_owned()).collect())
}

async fn node_id(caller: &Caller) -> String {
    let answer = caller.get("/v1/ops/cluster").await.taken();
    answer.body["node"]["node"].as_str().expect("an id").to_owned()
}

/// Waits until every partition has an owner other than `without`; how long it took.
async fn taken_over(caller: &Caller, without: Option<&str>) -> Duration {
    let begun = Instant::now();
    wait("every partition to have an owner", || async {
        let owners = owners(caller).await?;
        owners.iter().all(|owner| !owner.is_empty() && Some(owner.as_str()) != without).then_some(())
    })
    .await;
    begun.elapsed()
}

/// Waits until each of so many nodes owns something: placement has settled.
async fn spread(caller: &Caller, nodes: usize) {
    wait("partitions to be spread", || async {
        let owners = owners(caller).await?;
        let distinct: BTreeSet<&String> = owners.iter().filter(|owner| !owner.is_empty()).collect();
        (distinct.len() == nodes && owners.iter().all(|owner| !owner.is_empty())).then_some(())
    })
    .await;
}

struct Trio {
    launches: Vec<Launch>,
    nodes: Vec<Option<Process>>,
    callers: Vec<Caller>,
}

impl Trio {
    async fn start(log: &str, receiver: &Receiver) -> Self {
        let launch = || {
            Launch::new()
                .log(log)
                .reaching(&[receiver.address])
                .secret("acme/hook", SECRET)
                .secret("cluster", "only nodes know this")
                .set("cluster.secret", "cluster")
                .set("cluster.lease_ms", LEASE.as_millis().to_string())
                .set("limits.passivate_after_ms", "200")
        };
        let mut first = launch();
        let mut nodes = vec![Some(first.start().await)];
        let mut launches = vec![first];
        for _ in 1..NODES {
            let mut next = launch().beside(&launches[0]);
            nodes.push(Some(next.start().await));
            launches.push(next);
        }
        let callers = nodes.iter().flatten().map(|node| node.caller.acting_for("ada")).collect();
        Self { launches, nodes, callers }
    }

    fn node(&self, at: usize) -> &Process {
        self.nodes[at].as_ref().expect("it runs")
    }

    async fn restart(&mut self, at: usize) {
        self.nodes[at] = Some(self.launches[at].start().await);
    }

    fn log_tails(&self) -> String {
        self.nodes.iter().flatten().map(Process::log_tail).collect::<Vec<_>>().join("\n--\n")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_stale_when_nodes_fail_over() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "failover of nodes on JetStream") else { return };
    let log = format!("{}/trio?system={SYSTEM}", nats.url());
    let rounds = from_env("QUIPU_FAILOVERS").unwrap_or(6);
    let seed = from_env("QUIPU_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |d| d.as_nanos() as u64)
    });
    println!("cluster: {rounds} faults, QUIPU_SEED={seed}");
    let mut random = Seeded(seed);
    let receiver = Receiver::start().await;
    let mut trio = Trio::start(&log, &receiver).await;
    spread(&trio.callers[0], NODES).await;
    set_up(&trio.callers[0]).await;
    let load = Arc::new(Load::default());
    let clients: Vec<JoinHandle<()>> = (0..CLIENTS)
        .map(|n| {
            let seeded = Seeded(seed ^ (n + 1) << 32);
            tokio::spawn(client(load.clone(), trio.callers.clone(), n, receiver.url("/hook"), seeded))
        })
        .collect();

    let (mut unplanned, mut planned) = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        let from = load.ledger().sent.len();
        let goal = load.acknowledged.load(Ordering::Relaxed) + 1 + random.below(60);
        let deadline = Instant::now() + PATIENCE;
        while load.acknowledged.load(Ordering::Relaxed) < goal && load.ledger().wrong.is_empty() {
            assert!(Instant::now() < deadline, "no progress:\n{}", trio.log_tails());
            tokio::time::sleep(LOOK_EVERY).await; // poll
        }
        let at = random.below(NODES as u64) as usize;
        let id = node_id(&trio.node(at).caller).await;
        let watcher = trio.callers[(at + 1) % NODES].clone();
        match random.below(3) {
            0 => {
                trio.nodes[at].take().expect("it runs").kill().await;
                unplanned = unplanned.max(taken_over(&watcher, Some(&id)).await);
                trio.restart(at).await;
            }
            1 => {
                let node = trio.nodes[at].take().expect("it runs");
                let (ended, took) = tokio::join!(node.end(), taken_over(&watcher, Some(&id)));
                assert!(ended.success(), "{ended}");
                planned = planned.max(took);
                trio.restart(at).await;
            }
            _ => {
                trio.node(at).signal("STOP").await;
                unplanned = unplanned.max(taken_over(&watcher, Some(&id)).await);
                // It wakes with whatever it had in flight, and has been replaced.
                trio.node(at).signal("CONT").await;
            }
        }
        spread(&watcher, NODES).await;
        ask_again(&load, &trio.callers, from.saturating_sub(CLIENTS as usize), &mut random, false).await;
        let wrong = load.ledger().wrong.clone();
        assert!(wrong.is_empty(), "round {round} of seed {seed}:\n{}\n{}", wrong.join("\n"), trio.log_tails());
    }
    load.stopping.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    ask_again(&load, &trio.callers, 0, &mut random, true).await;
    let (sent, wrong) = {
        let ledger = load.ledger();
        (ledger.sent.clone(), ledger.wrong.clone())
    };
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    effects_settle(&trio.callers, &receiver, &sent).await;

    // What the log holds, read past every node.
    let backend: Backend = log.parse().expect("an address");
    let opened = backend.open(None, 0, LogId([0; 16])).expect("the log");
    let records = stored::records(&*opened.log);
    let broken = stored::broken(&records);
    assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
    acknowledged_is_stored(&records, &sent);
    said_once(&records, &sent);
    let replayed = stored::replayed(&*opened.log);
    let epochs: u64 = (0..opened.log.meta().partitions).map(|p| opened.log.head(p).expect("a head").epoch).sum();
    for caller in &trio.callers {
        for (stream, (version, digest)) in &replayed {
            let entity = format!("/v1/orgs/{}/{}s/{}", stream.org, stream.kind, stream.id);
            wait(&format!("{stream} to be known everywhere"), || async {
                (caller.digest(&entity).await == (*version, digest.clone())).then_some(())
            })
            .await;
        }
        let job = caller.views_job("verify").await;
        assert_eq!(job["equal"], Value::Bool(true), "views against a rebuild: {job}");
    }
    println!(
        "cluster: {rounds} faults, {} commands acknowledged, {} answers lost and asked for again, {} webhooks, {} records under {epochs} epochs, \
         slowest takeover {unplanned:?} after a kill or a pause (lease {LEASE:?}), {planned:?} in order",
        sent.len(),
        load.unknown.load(Ordering::Relaxed),
        runs(&sent).len(),
        records.len(),
    );
    for node in trio.nodes.into_iter().flatten() {
        node.stop().await;
    }
}
