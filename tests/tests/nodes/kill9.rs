//! `SIGKILL` of the real binary under load, again and again.
//!
//! Twelve rounds unless told otherwise; the long one is
//! `QUIPU_ROUNDS=200 cargo test --release -p quipu-tests --test nodes kill9 -- --nocapture`.
//! The seed is printed; `QUIPU_SEED=<seed>` draws the same kill points and the same commands.

use quipu_tests::{
    caller::PATIENCE,
    load::{Load, acknowledged_is_stored, ask_again, client, effects_settle, runs, said_once, set_up},
    process::Launch,
    receiver::{Receiver, SECRET},
    seeded::Seeded,
    stored,
};
use serde_json::Value;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const CLIENTS: u64 = 4;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a seed")]
async fn nothing_is_lost_or_doubled_by_sigkill_under_load() {
    let rounds = from_env("QUIPU_ROUNDS").unwrap_or(12);
    let seed = from_env("QUIPU_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64)
    });
    println!("kill9: {rounds} rounds, QUIPU_SEED={seed}");
    let mut random = Seeded(seed);
    let receiver = Receiver::start().await;
    let mut launch = Launch::new()
        .reaching(&[receiver.address])
        .secret("acme/hook", SECRET)
        .set("limits.passivate_after_ms", "200");
    let mut node = launch.start().await;
    set_up(&node.caller.acting_for("ada")).await;
    let load = Arc::new(Load::default());
    let ada = node.caller.acting_for("ada");
    let clients: Vec<JoinHandle<()>> = (0..CLIENTS)
        .map(|n| {
            tokio::spawn(client(
                load.clone(),
                vec![ada.clone()],
                n,
                receiver.url("/hook"),
                Seeded(seed ^ (n + 1) << 32),
            ))
        })
        .collect();

    let (mut asked, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let from = load.ledger().sent.len();
        let goal = load.acknowledged.load(Ordering::Relaxed) + 1 + random.below(60);
        let jitter = Duration::from_micros(random.below(8_000));
        let deadline = Instant::now() + PATIENCE;
        while load.acknowledged.load(Ordering::Relaxed) < goal && load.ledger().wrong.is_empty() {
            assert!(Instant::now() < deadline, "no progress:\n{}", node.log_tail());
            tokio::time::sleep(Duration::from_millis(1)).await; // poll
        }
        tokio::time::sleep(jitter).await; // the kill point, anywhere between two commands
        node.kill().await;
        node = launch.start().await;
        slowest = slowest.max(node.started_in);
        asked += ask_again(
            &load,
            std::slice::from_ref(&ada),
            from.saturating_sub(CLIENTS as usize),
            &mut random,
            false,
        )
        .await;
        let wrong = load.ledger().wrong.clone();
        assert!(
            wrong.is_empty(),
            "round {round} of seed {seed}:\n{}\n{}",
            wrong.join("\n"),
            node.log_tail()
        );
    }
    load.stopping.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    asked += ask_again(&load, std::slice::from_ref(&ada), 0, &mut random, true).await;
    let (sent, wrong) = {
        let ledger = load.ledger();
        (ledger.sent.clone(), ledger.wrong.clone())
    };
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    assert!(sent.iter().all(|s| s.receipt.is_some()), "every command was answered in the end");

    effects_settle(std::slice::from_ref(&node.caller), &receiver, &sent).await;
    let job = node.caller.views_job("verify").await;
    assert_eq!(job["equal"], Value::Bool(true), "views against a rebuild: {job}");
    let arrivals = receiver.arrivals().len();
    node.kill().await;

    let data = launch.data();
    let counts = {
        let log = stored::open(&data);
        let records = stored::records(&log);
        let broken = stored::broken(&records);
        assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
        acknowledged_is_stored(&records, &sent);
        said_once(&records, &sent);
        records.len()
    };
    let verified = launch.run(&["verify", "--replay", "--json", data.to_str().expect("a path")]).await;
    let report: Value =
        serde_json::from_slice(&verified.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&verified.stderr)));
    assert!(verified.status.success() && report["intact"] == Value::Bool(true), "{report}");
    let replayed = stored::replayed(&stored::open(&data));

    node = launch.start().await;
    for (stream, (version, digest)) in &replayed {
        let entity = stream.path();
        assert_eq!(
            node.caller.digest(&entity).await,
            (*version, digest.clone()),
            "{stream}: state against replay"
        );
    }
    assert_eq!(receiver.arrivals().len(), arrivals, "a start without pending work sends nothing");
    node.stop().await;
    let repeats: u64 = sent.iter().map(|s| s.repeats).sum();
    println!(
        "kill9: {rounds} kills, {} commands acknowledged, {} answers lost and asked for again, {repeats} repetitions ({asked} after kills) with the first receipt, \
         {} webhooks of {arrivals} deliveries, {counts} records, {} entities replayed to equal digests, slowest start {slowest:?}",
        sent.len(),
        load.unknown.load(Ordering::Relaxed),
        runs(&sent).len(),
        replayed.len(),
    );
}
