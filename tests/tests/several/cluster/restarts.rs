//! Nodes that restart one after another, and all at once.

use super::{NODES, REFUSED_AT_MOST, Trial, seed, taken_over};
use quipu_tests::{
    load::runs,
    process::Launch,
    servers::nats::{self, SYSTEM, Shape},
    venv,
};
use serde_json::Value;
use std::time::Instant;

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
