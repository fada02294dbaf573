//! Three nodes on one log, and what befalls them: killed, stopped in order, paused so that they wake as stale owners, cut
//! off from the broker; restarted one after another, and all at once.
//!
//! Six faults unless told otherwise; the long one is
//! `QUIPU_FAILOVERS=100 cargo test --release -p quipu-tests --test several cluster -- --nocapture`.
//! The seed is printed; `QUIPU_SEED=<seed>` draws the same faults and the same commands.

mod failover;
mod quota;
mod restarts;
mod revocation;

use futures::future::join_all;
use quipu_events::backend::Backend;
use quipu_schemas::position::LogId;
use quipu_tests::{
    caller::{Caller, LOOK_EVERY, PATIENCE, wait},
    load::{Load, Sent, acknowledged_is_stored, ask_again, client, effects_settle, said_once, set_up},
    process::{Launch, Process},
    receiver::{Receiver, SECRET},
    seeded::Seeded,
    stored,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    process::ExitStatus,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const NODES: usize = 3;
const CLIENTS: u64 = 4;
const LEASE: Duration = Duration::from_millis(1_500);
/// How long commands may be refused when a node stops in order.
const REFUSED_AT_MOST: Duration = Duration::from_secs(1);
/// Behind the end of a lost node's leases: how soon its partitions have owners.
const OWNED_WITHIN: Duration = Duration::from_secs(10);

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Who owns what, as a node sees it.
pub(super) async fn owners(caller: &Caller) -> Option<Vec<String>> {
    let answer = caller
        .exchange(caller.request(reqwest::Method::GET, "/v1/ops/cluster"))
        .await
        .ok()?;
    let partitions = answer.body["partitions"].as_array()?.clone();
    Some(
        partitions
            .iter()
            .map(|p| p["owner"].as_str().unwrap_or_default().to_owned())
            .collect(),
    )
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
        owners
            .iter()
            .all(|owner| !owner.is_empty() && Some(owner.as_str()) != without)
            .then_some(())
    })
    .await;
    begun.elapsed()
}

/// Waits until each of so many nodes owns something: placement has settled.
pub(super) async fn spread(caller: &Caller, nodes: usize) {
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
    async fn start(logs: &[String], receiver: &Receiver) -> Self {
        let launch = |n: usize| {
            Launch::new()
                .log(&logs[n])
                .reaching(&[receiver.address])
                .secret("acme/hook", SECRET)
                .secret("cluster", "only nodes know this")
                .set("cluster.secret", "cluster")
                .set("cluster.lease_ms", LEASE.as_millis().to_string())
                .set("limits.passivate_after_ms", "200")
        };
        let mut first = launch(0);
        let mut nodes = vec![Some(first.start().await)];
        let mut launches = vec![first];
        for n in 1..NODES {
            let mut next = launch(n).beside(&launches[0]);
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

    /// Stops a node in order; how long until its partitions have owners among the others, as `watcher` sees it.
    async fn hand_over(&mut self, at: usize, watcher: &Caller) -> Duration {
        let node = self.nodes[at].take().expect("it runs");
        let id = node_id(&node.caller).await;
        let (ended, took) = tokio::join!(node.end(), taken_over(watcher, Some(&id)));
        assert!(ended.success(), "{ended}");
        took
    }

    /// Stops all nodes in order at the same time, and starts all of them when the last one has ended; how long each half took.
    async fn restart_all(&mut self) -> [Duration; 2] {
        let begun = Instant::now();
        let ended = join_all(self.nodes.iter_mut().map(|node| node.take().expect("it runs").end())).await;
        assert!(ended.iter().all(ExitStatus::success), "{ended:?}");
        let stopped = begun.elapsed();
        self.nodes = join_all(self.launches.iter_mut().map(Launch::start))
            .await
            .into_iter()
            .map(Some)
            .collect();
        [stopped, begun.elapsed() - stopped]
    }

    fn log_tails(&self) -> String {
        self.nodes
            .iter()
            .flatten()
            .map(Process::log_tail)
            .collect::<Vec<_>>()
            .join("\n--\n")
    }
}

/// What is said on the volatile channel at one node is heard at every other one.
async fn whoever_listens_hears_other_nodes(callers: &[Caller]) {
    let path = "/v1/orgs/acme/conversations/c0/live";
    for (n, listener) in callers.iter().enumerate() {
        let mut heard = listener.request(reqwest::Method::GET, path).send().await.expect("a stream");
        let speaker = &callers[(n + 1) % callers.len()];
        let mut text = String::new();
        let deadline = Instant::now() + PATIENCE;
        while !["event: typing", "event: presence"].iter().all(|said| text.contains(said)) {
            assert!(Instant::now() < deadline, "node {n} hears nothing of the others: {text}");
            // What is said before the others know of the listener is lost.
            speaker.post(path, serde_json::json!({ "typing": true })).await.taken();
            speaker.post(path, serde_json::json!({ "online": true })).await.taken();
            if let Ok(chunk) = tokio::time::timeout(LOOK_EVERY, heard.chunk()).await {
                text += &String::from_utf8_lossy(&chunk.expect("an open stream").unwrap_or_default());
            }
        }
    }
}

/// Three nodes under load.
struct Trial {
    seed: u64,
    random: Seeded,
    receiver: Receiver,
    trio: Trio,
    load: Arc<Load>,
    clients: Vec<JoinHandle<()>>,
}

/// What a trial ended with.
struct Ended {
    sent: Vec<Sent>,
    records: usize,
    epochs: u64,
}

#[expect(clippy::disallowed_methods, reason = "a seed")]
fn seed() -> u64 {
    from_env("QUIPU_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |d| d.as_nanos() as u64)
    })
}

impl Trial {
    /// Nodes that reach the log at these addresses, with partitions on each, and clients that send commands from now on.
    async fn begin(seed: u64, logs: &[String]) -> Self {
        let receiver = Receiver::start().await;
        let trio = Trio::start(logs, &receiver).await;
        spread(&trio.callers[0], NODES).await;
        set_up(&trio.callers[0]).await;
        whoever_listens_hears_other_nodes(&trio.callers).await;
        let load = Arc::new(Load::default());
        let clients = (0..CLIENTS)
            .map(|n| {
                let seeded = Seeded(seed ^ (n + 1) << 32);
                tokio::spawn(client(load.clone(), trio.callers.clone(), n, receiver.url("/hook"), seeded))
            })
            .collect();
        Self {
            seed,
            random: Seeded(seed),
            receiver,
            trio,
            load,
            clients,
        }
    }

    /// Waits until clients have receipts of some more commands.
    async fn progress(&mut self) {
        let goal = self.load.acknowledged.load(Ordering::Relaxed) + 1 + self.random.below(60);
        let deadline = Instant::now() + PATIENCE;
        while self.load.acknowledged.load(Ordering::Relaxed) < goal && self.load.ledger().wrong.is_empty() {
            if Instant::now() > deadline {
                let owners = owners(&self.trio.callers[0]).await;
                panic!(
                    "no progress; refused {:?}, owners {owners:?}:\n{}",
                    self.load.ledger().refusals,
                    self.trio.log_tails()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await; // poll
        }
    }

    /// Forgets the longest times so far.
    fn measure_anew(&self) {
        for longest in [&self.load.refused_us, &self.load.waited_us] {
            longest.store(0, Ordering::Relaxed);
        }
    }

    /// Since they were last forgotten: the longest time of refusals, and the longest wait from first try to receipt.
    fn longest(&self) -> (Duration, Duration) {
        let [refused, waited] = [&self.load.refused_us, &self.load.waited_us].map(|us| Duration::from_micros(us.load(Ordering::Relaxed)));
        (refused, waited)
    }

    /// Every node has partitions again, and receipts since `from` are the first ones still.
    async fn settled(&mut self, from: usize, watcher: &Caller, round: &str) {
        spread(watcher, NODES).await;
        ask_again(
            &self.load,
            &self.trio.callers,
            from.saturating_sub(CLIENTS as usize),
            &mut self.random,
            false,
        )
        .await;
        let wrong = self.load.ledger().wrong.clone();
        assert!(
            wrong.is_empty(),
            "{round} of seed {}:\n{}\n{}",
            self.seed,
            wrong.join("\n"),
            self.trio.log_tails()
        );
    }

    /// Ends the load and the nodes; in between, everything that must hold of what clients were told, of `log` and of every node.
    async fn finish(mut self, log: &str) -> Ended {
        self.load.stopping.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
        ask_again(&self.load, &self.trio.callers, 0, &mut self.random, true).await;
        let (sent, wrong) = {
            let ledger = self.load.ledger();
            (ledger.sent.clone(), ledger.wrong.clone())
        };
        assert!(wrong.is_empty(), "seed {}:\n{}", self.seed, wrong.join("\n"));
        effects_settle(&self.trio.callers, &self.receiver, &sent).await;

        // What the log holds, read past every node.
        let backend: Backend = log.parse().expect("an address");
        let opened = backend.open(None, 0, LogId([0; 16])).expect("the log");
        let records = stored::records(&*opened.log);
        let broken = stored::broken(&records);
        assert!(broken.is_empty(), "seed {}:\n{}", self.seed, broken.join("\n"));
        acknowledged_is_stored(&records, &sent);
        said_once(&records, &sent);
        let replayed = stored::replayed(&*opened.log);
        let epochs: u64 = (0..opened.log.meta().partitions)
            .map(|p| opened.log.head(p).expect("a head").epoch)
            .sum();
        for caller in &self.trio.callers {
            for (stream, (version, digest)) in &replayed {
                let entity = stream.path();
                wait(&format!("{stream} to be known everywhere"), || async {
                    (caller.digest(&entity).await == (*version, digest.clone())).then_some(())
                })
                .await;
            }
            let job = caller.views_job("verify").await;
            assert_eq!(job["equal"], Value::Bool(true), "views against a rebuild: {job}");
        }
        for node in self.trio.nodes.into_iter().flatten() {
            node.stop().await;
        }
        Ended {
            sent,
            records: records.len(),
            epochs,
        }
    }
}
