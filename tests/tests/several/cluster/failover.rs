//! Nodes that die in turn.

use super::{LEASE, NODES, OWNED_WITHIN, REFUSED_AT_MOST, Trial, from_env, node_id, seed, spread, taken_over};
use quipu_tests::{
    broker::{self, Broker},
    link::Link,
    load::runs,
    servers::{
        kafka::{self, Kafka},
        nats::{self, SYSTEM, Shape},
    },
    venv,
};
use std::{sync::atomic::Ordering, time::Duration};

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
