//! How long a partition with many entities is without an owner when its node stops in order and when it is killed, and how fast
//! a node that has never seen the log makes its index.
//!
//! `QUIPU_ENTITIES=10000 cargo test --release -p quipu-tests --test several takeover -- --nocapture` prints the figures of
//! ops/docs/benchmarks.md.

use quipu_tests::{
    broker,
    caller::{Caller, wait},
    load::{Load, ask_again},
    process::{Launch, Process},
    seeded::Seeded,
    servers::nats::{self, SYSTEM, Shape},
};
use serde_json::json;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const LEASE: Duration = Duration::from_millis(1_500);
/// Behind the end of the lease.
const WITHIN: Duration = Duration::from_secs(10);
/// How long commands may be refused when the owner stops in order.
const REFUSED_AT_MOST: Duration = Duration::from_secs(1);
const SENDERS: u64 = 32;
/// Clients that send commands all the time while the owner stops.
const CLIENTS: u64 = 4;
/// Commands that are acknowledged before the owner stops, and again after it.
const COMMANDS: u64 = 50;
/// Two cases at the same time would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Records of the one partition that a node knows.
async fn known(node: &Process) -> u64 {
    let answer = node.caller.get("/v1/ops/cluster").await.taken();
    answer.body["partitions"][0]["records"].as_u64().unwrap_or_default()
}

async fn create(caller: &Caller, n: u64) {
    let body = json!({ "type": "group", "auto_turns": false });
    caller.post(&format!("/v1/orgs/acme/conversations/c{n}"), body).await.taken();
}

async fn owned_here(node: &Process) -> bool {
    node.caller.get("/v1/ops/cluster").await.taken().body["partitions"][0]["here"] == true
}

/// Whether the first of two nodes owns the partition, once one of them does.
async fn first_owns(first: &Process, second: &Process) -> bool {
    wait("one node to own the partition", || async {
        let first = owned_here(first).await;
        (first != owned_here(second).await).then_some(first)
    })
    .await
}

/// Has the owner stop in order while clients of the other node send commands to the partition's entities. The longest time of
/// refusals of one command, and the longest wait from a first try to its receipt.
async fn hand_over(owner: Process, survivor: &Process, entities: u64) -> (Duration, Duration) {
    let load = Arc::new(Load::default());
    let callers = vec![survivor.caller.acting_for("ada")];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (load, callers, mut random) = (load.clone(), callers.clone(), Seeded(client));
            tokio::spawn(async move {
                for n in 0.. {
                    if load.stopping.load(Ordering::Relaxed) {
                        break;
                    }
                    let path = format!("/v1/orgs/acme/conversations/c{}/post", random.below(entities));
                    let body = json!({ "body": "meanwhile", "message_id": format!("m-{client}-{n}") });
                    let at = load.note(path, format!("k-{client}-{n}"), body);
                    load.send(&callers, at).await;
                }
            })
        })
        .collect();
    let more = || async {
        let goal = load.acknowledged.load(Ordering::Relaxed) + COMMANDS;
        wait("commands to be acknowledged", || async {
            (load.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    };
    more().await;
    for longest in [&load.refused_us, &load.waited_us] {
        longest.store(0, Ordering::Relaxed);
    }
    owner.stop().await;
    wait("the other node to own the partition", || async {
        owned_here(survivor).await.then_some(())
    })
    .await;
    more().await;
    load.stopping.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    let [refused, waited] = [&load.refused_us, &load.waited_us].map(|longest| Duration::from_micros(longest.load(Ordering::Relaxed)));
    ask_again(&load, &callers, 0, &mut Seeded(1), true).await;
    let (unknown, ledger) = (load.unknown.load(Ordering::Relaxed), load.ledger());
    println!(
        "takeover: the owner stopped in order: {} commands to the other node, refused {:?}, one for {refused:?}; one waited {waited:?}",
        ledger.sent.len(),
        ledger.refusals
    );
    assert!(ledger.wrong.is_empty(), "{}", ledger.wrong.join("\n"));
    assert_eq!(unknown, 0, "the node that stays answers every command");
    (refused, waited)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_shadowed_partition_is_taken_over_soon_on_jetstream() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let _one = ONE_AT_A_TIME.lock().await;
    if let Some(nats) = nats::start_or_skip(shape, "takeover on JetStream") {
        take_over(&format!("{}/many?partitions=1&system={SYSTEM}", nats.url())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_shadowed_partition_is_taken_over_soon_on_kafka() {
    let _one = ONE_AT_A_TIME.lock().await;
    if let Some(broker) = broker::start_or_skip("takeover") {
        take_over(&broker.log("many", 1)).await;
    }
}

/// First from an owner that stops in order, then from one that is killed.
async fn take_over(log: &str) {
    let engine = log.split(':').next().unwrap_or_default();
    let entities: u64 = std::env::var("QUIPU_ENTITIES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let launch = || {
        Launch::new()
            .log(log)
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
    wait("the shadow to know everything", || async {
        (known(&shadow).await >= records).then_some(())
    })
    .await;

    // Placement may have given the partition to the second node when it came.
    let (stopped, other, at) = if first_owns(&owner, &shadow).await {
        (owner, shadow, 0)
    } else {
        (shadow, owner, 1)
    };
    let (refused, waited) = hand_over(stopped, &other, entities).await;
    let back = launches[at].start().await;
    let records = known(&other).await;
    wait("the node that is back to know everything", || async {
        (known(&back).await >= records).then_some(())
    })
    .await;

    // Placement may give the partition to the node that is back.
    let (killed, other) = if first_owns(&back, &other).await {
        (back, other)
    } else {
        (other, back)
    };
    let begun = Instant::now();
    killed.kill().await;
    let ada = other.caller.acting_for("ada");
    let post = |n: u64| {
        let ada = ada.clone();
        async move {
            ada.post(&format!("/v1/orgs/acme/conversations/c{n}/post"), json!({ "body": "after" }))
                .await
        }
    };
    wait("a command to be decided by the next owner", || async {
        matches!(post(1).await.status, 200..=202).then_some(())
    })
    .await;
    let took = begun.elapsed();
    for n in [0, entities / 2, entities - 1] {
        post(n).await.taken();
    }

    let begun = Instant::now();
    let fresh = launches[2].start().await;
    wait("a node that has never seen the log to know it", || async {
        (known(&fresh).await > records).then_some(())
    })
    .await;
    let rebuilt = begun.elapsed();
    println!(
        "takeover on {engine}: {entities} entities in one partition, made in {made:?}; stopped in order, commands were refused for \
         {refused:?} and one waited {waited:?}; the next owner decided a command {took:?} after kill -9 (lease {LEASE:?}); a node with \
         nothing knew {records} records {rebuilt:?} after its start, {:.0} records/s",
        records as f64 / rebuilt.as_secs_f64()
    );
    assert!(
        refused <= REFUSED_AT_MOST,
        "an owner that stops in order has commands refused for {refused:?}"
    );
    assert!(took <= LEASE + WITHIN, "taken over after {took:?}");
    for node in [other, fresh] {
        node.stop().await;
    }
}
