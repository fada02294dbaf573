//! Three nodes on one log, and what befalls them: killed, stopped in order, paused so that they wake as stale owners, cut
//! off from the broker; restarted one after another, and all at once.
//!
//! Six faults unless told otherwise; the long one is
//! `QUIPU_FAILOVERS=100 cargo test --release -p quipu-tests --test several cluster -- --nocapture`.
//! The seed is printed; `QUIPU_SEED=<seed>` draws the same faults and the same commands.

use futures::future::join_all;
use quipu_events::backend::Backend;
use quipu_schemas::position::LogId;
use quipu_tests::{
    broker::{self, Broker},
    caller::{Caller, LOOK_EVERY, PATIENCE, wait},
    link::Link,
    load::{Load, Sent, acknowledged_is_stored, ask_again, client, effects_settle, runs, said_once, set_up},
    process::{Launch, Process},
    receiver::{Receiver, SECRET},
    seeded::Seeded,
    servers::{
        kafka::{self, Kafka},
        nats::{self, SYSTEM, Shape},
    },
    stored, venv,
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
async fn owners(caller: &Caller) -> Option<Vec<String>> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_on_jetstream_loses_and_doubles_nothing() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "failover of nodes on JetStream") else {
        return;
    };
    let links: Vec<Link> = (0..NODES).map(|_| Link::to(nats.port(0))).collect();
    let near = |link: &Link| format!("nats://{}@127.0.0.1:{}/trio?system={SYSTEM}", nats::USER, link.port());
    let logs: Vec<String> = links.iter().map(near).collect();
    fail_over(&format!("{}/trio?system={SYSTEM}", nats.url()), &logs, &links).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_on_kafka_loses_and_doubles_nothing() {
    // Each node has a listener of its own, which tells it to stay on its link.
    let names: Vec<String> = (0..NODES).map(|n| format!("LINK{n}")).collect();
    let listeners: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "PLAINTEXT")).collect();
    let mut links = Vec::new();
    let started = Kafka::start_with(true, &listeners, "", |port| {
        links.push(Link::to(port));
        links[links.len() - 1].port()
    });
    let what = "failover of nodes";
    match broker::or_tansu(kafka::or_skip(started, what), what) {
        None => {}
        Some(Broker::Kafka(kafka)) => {
            let near = |link: &Link| format!("kafka://127.0.0.1:{}/trio?partitions=8", link.port());
            let logs: Vec<String> = links.iter().map(near).collect();
            fail_over(&format!("kafka://{}/trio?partitions=8", kafka.address()), &logs, &links).await;
        }
        Some(tansu) => {
            tansu.say(what);
            // It tells one address to everybody.
            venv::skipped("nodes that are cut off from the broker", "Tansu has one listener");
            let log = tansu.log("trio", 8);
            fail_over(&log, &vec![log.clone(); NODES], &[]).await;
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

/// `log` as the test reads it, `logs` as each node reaches it, over the link of the same place where there are links.
async fn fail_over(log: &str, logs: &[String], links: &[Link]) {
    let rounds = from_env("QUIPU_FAILOVERS").unwrap_or(6);
    let seed = seed();
    let engine = log.split(':').next().unwrap_or_default();
    println!("cluster on {engine}: {rounds} faults, QUIPU_SEED={seed}");
    let mut trial = Trial::begin(seed, logs).await;
    let (mut unplanned, mut planned) = (Duration::ZERO, Duration::ZERO);
    // Of the commands that met a fault: the longest time of refusals, and the longest wait from first try to receipt.
    let (mut refused, mut waited) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
    // Each kind once before any comes again.
    let (mut faults, mut made): (Vec<usize>, [u64; 4]) = (Vec::new(), [0; 4]);
    for round in 0..rounds {
        let from = trial.load.ledger().sent.len();
        trial.progress().await;
        let at = trial.random.below(NODES as u64) as usize;
        let id = node_id(&trial.trio.node(at).caller).await;
        let watcher = trial.trio.callers[(at + 1) % NODES].clone();
        trial.measure_anew();
        if faults.is_empty() {
            faults = (0..if links.is_empty() { 3 } else { 4 }).collect();
        }
        let fault = faults.swap_remove(trial.random.below(faults.len() as u64) as usize);
        made[fault] += 1;
        match fault {
            0 => {
                trial.trio.nodes[at].take().expect("it runs").kill().await;
                unplanned = unplanned.max(taken_over(&watcher, Some(&id)).await);
                trial.trio.restart(at).await;
            }
            1 => {
                planned = planned.max(trial.trio.hand_over(at, &watcher).await);
                trial.trio.restart(at).await;
            }
            2 => {
                trial.trio.node(at).signal("STOP").await;
                unplanned = unplanned.max(taken_over(&watcher, Some(&id)).await);
                // It wakes with whatever it had in flight, and has been replaced.
                trial.trio.node(at).signal("CONT").await;
            }
            _ => {
                links[at].silence();
                unplanned = unplanned.max(taken_over(&watcher, Some(&id)).await);
                // What it had on its way arrives now, late and of an old epoch.
                links[at].heal();
            }
        }
        spread(&watcher, NODES).await;
        let in_order = usize::from(fault == 1);
        let longest = trial.longest();
        refused[in_order] = refused[in_order].max(longest.0);
        waited[in_order] = waited[in_order].max(longest.1);
        trial.settled(from, &watcher, &format!("round {round}")).await;
    }
    let (load, ended) = (trial.load.clone(), trial.finish(log).await);
    println!("cluster on {engine}: refused {:?}", load.ledger().refusals);
    println!(
        "cluster on {engine}: {rounds} faults (killed, stopped in order, paused, cut off: {made:?}), {} commands acknowledged, {} answers lost and asked for again, {} webhooks, {} records under {} epochs\n\
         cluster: after a kill, a pause or a cut (lease {LEASE:?}): all partitions owned within {unplanned:?}, a command waited {:?}, refusals for {:?}\n\
         cluster: stopped in order: all partitions owned within {planned:?}, a command waited {:?}, refusals for {:?}",
        ended.sent.len(),
        load.unknown.load(Ordering::Relaxed),
        runs(&ended.sent).len(),
        ended.records,
        ended.epochs,
        waited[0],
        refused[0],
        waited[1],
        refused[1],
    );
    assert!(
        unplanned <= LEASE + OWNED_WITHIN,
        "seed {seed}: a partition was without an owner for {unplanned:?}"
    );
    assert!(
        refused[1] <= REFUSED_AT_MOST,
        "a node that stops in order has commands refused for {:?}",
        refused[1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_on_jetstream_lose_and_double_nothing() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "restarts of nodes on JetStream") else {
        return;
    };
    let log = format!("{}/trio?system={SYSTEM}", nats.url());
    let seed = seed();
    println!("cluster: restarts, QUIPU_SEED={seed}");
    let mut trial = Trial::begin(seed, &vec![log.clone(); NODES]).await;

    trial.progress().await;
    trial.measure_anew();
    let mut refused_by_who_stopped = 0;
    for at in 0..NODES {
        let from = trial.load.ledger().sent.len();
        let before = trial.load.ledger().refused_by.clone();
        trial.progress().await;
        let watcher = trial.trio.callers[(at + 1) % NODES].clone();
        trial.trio.hand_over(at, &watcher).await;
        trial.progress().await;
        trial.trio.restart(at).await;
        trial.settled(from, &watcher, &format!("restart of node {at}")).await;
        let mut refused = trial.load.ledger().refused_by.clone();
        refused.retain(|by, times| before.get(by) != Some(times));
        // Clients here go on to ask a node that is no longer ready: what reaches it last is told to go elsewhere.
        let itself = (trial.trio.callers[at].base().to_owned(), "stopping".to_owned());
        refused_by_who_stopped += refused.remove(&itself).unwrap_or_default();
        assert!(
            refused.is_empty(),
            "seed {seed}: commands were refused while node {at} ({}) restarted: {refused:?}",
            itself.0
        );
    }
    let rolling = trial.longest();

    let from = trial.load.ledger().sent.len();
    trial.measure_anew();
    let begun = Instant::now();
    let [stopping, starting] = trial.trio.restart_all().await;
    let watcher = trial.trio.callers[0].clone();
    taken_over(&watcher, None).await;
    let down = begun.elapsed();
    trial.progress().await;
    trial.settled(from, &watcher, "restart of all").await;
    let all = trial.longest();
    let ended = trial.finish(&log).await;
    println!(
        "cluster: {NODES} nodes restarted one after another: {refused_by_who_stopped} commands refused by a node that was stopping and none by others, a \
         command waited {:?}, refusals for {:?}\n\
         cluster: {NODES} nodes restarted all at once: stopped in {stopping:?}, ready in {starting:?}, every partition owned {down:?} after they \
         were asked to stop, a command waited {:?}\n\
         cluster: {} commands acknowledged, {} webhooks, {} records under {} epochs",
        rolling.1,
        rolling.0,
        all.1,
        ended.sent.len(),
        runs(&ended.sent).len(),
        ended.records,
        ended.epochs,
    );
    assert!(
        rolling.0 <= REFUSED_AT_MOST,
        "a node that stops in order has commands refused for {:?}",
        rolling.0
    );
}

#[tokio::test]
async fn a_person_can_try_failover_with_one_command() {
    let program = match nats::program() {
        Ok(program) => program,
        Err(why) => {
            return venv::skipped("dev-cluster", &why);
        }
    };
    let launch = Launch::new();
    let mut command = launch.quipu();
    command
        .args(["dev-cluster", "--once", "--json", "--lease-ms", "1500"])
        .env("QUIPU_NATS_SERVER", program);
    let played = command.output().await.expect("the binary runs");
    let told = String::from_utf8_lossy(&played.stdout);
    let summary: Value = told
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let shown = summary["shown"].as_array().map_or(0, Vec::len);
    assert!(
        played.status.success() && summary["ok"] == true && shown == 5,
        "{told}\n{}",
        String::from_utf8_lossy(&played.stderr)
    );
}
