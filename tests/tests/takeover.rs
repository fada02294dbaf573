//! How long a partition with many entities is without an owner when its node is killed, and how fast a node that has never
//! seen the log makes its index.
//!
//! `QUIPU_ENTITIES=10000 cargo test --release -p quipu-tests --test takeover -- --nocapture` prints the figures of
//! ops/docs/benchmarks.md.

use quipu_tests::{
    caller::{Caller, wait},
    process::{Launch, Process},
    servers::nats::{self, SYSTEM, Shape},
};
use serde_json::json;
use std::time::{Duration, Instant};

const LEASE: Duration = Duration::from_millis(1_500);
/// Behind the end of the lease.
const WITHIN: Duration = Duration::from_secs(10);
const SENDERS: u64 = 32;

/// Records of the one partition that a node knows.
async fn known(node: &Process) -> u64 {
    let answer = node.caller.get("/v1/ops/cluster").await.taken();
    answer.body["partitions"][0]["records"].as_u64().unwrap_or_default()
}

async fn create(caller: &Caller, n: u64) {
    let body = json!({ "type": "group", "auto_turns": false });
    caller.post(&format!("/v1/orgs/acme/conversations/c{n}"), body).await.taken();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadowed_partition_of_many_entities_is_taken_over_soon() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "takeover on JetStream") else { return };
    let entities: u64 = std::env::var("QUIPU_ENTITIES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let log = format!("{}/many?partitions=1&system={SYSTEM}", nats.url());
    let launch = || {
        Launch::new()
            .log(&log)
            .secret("cluster", "only nodes know this")
            .set("cluster.secret", "cluster")
            .set("cluster.lease_ms", LEASE.as_millis().to_string())
    };
    let mut launches = vec![launch()];
    let owner = launches[0].start().await;
    for _ in 0..2 {
        let next = launch().beside(&launches[0]);
        launches.push(next);
    }
    // Behind the owner, so that it gets the partition and the other one shadows it.
    let shadow = launches[1].start().await;
    let ada = owner.caller.acting_for("ada");
    ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
    let begun = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let ada = ada.clone();
            tokio::spawn(async move {
                for n in (sender..entities).step_by(SENDERS as usize) {
                    create(&ada, n).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.expect("a sender");
    }
    let made = begun.elapsed();
    let records = known(&owner).await.max(known(&shadow).await);
    assert!(records > entities, "{records} records of {entities} entities");
    wait("the shadow to know everything", || async { (known(&shadow).await >= records).then_some(()) }).await;

    let owned_here = |node: &Process| {
        let caller = node.caller.clone();
        async move { caller.get("/v1/ops/cluster").await.taken().body["partitions"][0]["here"] == true }
    };
    // Placement may have given the partition to the second node when it came.
    let (killed, other) = if owned_here(&owner).await { (owner, shadow) } else { (shadow, owner) };
    let begun = Instant::now();
    killed.kill().await;
    let ada = other.caller.acting_for("ada");
    let post = |n: u64| {
        let ada = ada.clone();
        async move { ada.post(&format!("/v1/orgs/acme/conversations/c{n}/post"), json!({ "body": "after" })).await }
    };
    wait("a command to be decided by the next owner", || async { matches!(post(1).await.status, 200..=202).then_some(()) }).await;
    let took = begun.elapsed();
    for n in [0, entities / 2, entities - 1] {
        post(n).await.taken();
    }

    let begun = Instant::now();
    let fresh = launches[2].start().await;
    wait("a node that has never seen the log to know it", || async { (known(&fresh).await > records).then_some(()) }).await;
    let rebuilt = begun.elapsed();
    println!(
        "takeover: {entities} entities in one partition, made in {made:?}; the next owner decided a command {took:?} after kill -9 (lease {LEASE:?}); a node \
         with nothing knew {records} records {rebuilt:?} after its start, {:.0} records/s",
        records as f64 / rebuilt.as_secs_f64()
    );
    assert!(took <= LEASE + WITHIN, "taken over after {took:?}");
    for node in [other, fresh] {
        node.stop().await;
    }
}
