//! Revocation over three nodes, under load: behind the receipt nothing opens at the node that gave it, whoever owns the partition, and
//! soon nothing at the others. The long form: `QUIPU_REVOCATIONS=10000 cargo test --release -p quipu-tests --test several revo -- --nocapture`.

use super::{NODES, Trio, from_env, node_id, owners, spread};
use quipu_schemas::{limits::AUTHORITY_STALE_MS, position::Position};
use quipu_tests::{
    caller::{Caller, wait},
    receiver::Receiver,
    revoking,
    servers::{
        kafka,
        nats::{self, SYSTEM, Shape},
    },
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const AT_ONCE: usize = 6;
/// Within this nearly all are applied at other nodes, on a machine that may do much else meanwhile.
const APPLIED_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_at_one_node_soon_opens_none() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "revocation at nodes on JetStream") else {
        return;
    };
    revoke_over(&format!("{}/trio?system={SYSTEM}", nats.url()), 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_at_one_node_soon_opens_none_on_kafka() {
    let Some(kafka) = kafka::start_or_skip(false, "revocation at nodes on Kafka") else {
        return;
    };
    revoke_over(&format!("kafka://{}/trio?partitions=8&accept=unsynced", kafka.address()), 30).await;
}

/// So many rounds over nodes on a log, unless told otherwise, and a node that is paused.
async fn revoke_over(log: &str, rounds: u64) {
    let rounds = from_env("QUIPU_REVOCATIONS").unwrap_or(rounds) as usize;
    let receiver = Receiver::start().await;
    let trio = Trio::start(&vec![log.to_owned(); NODES], &receiver).await;
    spread(&trio.callers[0], NODES).await;
    let callers: Vec<Caller> = trio.nodes.iter().flatten().map(|node| node.caller.clone()).collect();
    revoking::set_up(&callers[0]).await;
    let seen = revoking::rounds(&callers, rounds, AT_ONCE).await;
    let (half, most) = (seen.percentile(50), seen.percentile(99));
    let engine = log.split(':').next().unwrap_or_default();
    println!(
        "{rounds} revocations over {NODES} nodes on {engine}: {} requests before, {} in flight; applied at other nodes: p50 {half:?}, p99 {most:?}",
        seen.opened, seen.in_flight
    );
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
    assert_eq!(seen.applied.len(), rounds * (NODES - 1));
    assert!(most <= APPLIED_WITHIN, "{most:?}");
    // Two thirds of the rounds were at nodes that another one decides for.
    let owning: BTreeSet<String> = owners(&callers[0]).await.expect("owners").into_iter().collect();
    assert_eq!(owning.len(), NODES);
    known_by_all_at_once(&trio).await;
    for node in trio.nodes.into_iter().flatten() {
        node.stop().await;
    }
}

/// An answer that waits for the other nodes comes when none of them takes the key any more, or names who did not say so.
async fn known_by_all_at_once(trio: &Trio) {
    let callers = &trio.callers;
    let (mut partition, mut ids) = (0, Vec::new());
    for caller in callers {
        ids.push(node_id(caller).await);
    }
    for (n, here) in callers.iter().enumerate() {
        let (path, keys) = revoking::key_that_opens(callers, n, &format!("w{n}")).await;
        let told = here
            .post(&format!("{path}/revoke?wait=nodes"), json!({ "reason": "lost" }))
            .await
            .taken();
        assert_eq!(told.body["behind"], json!([]), "{}", told.text);
        for key in &keys {
            assert!(revoking::is_refused_now(key).await, "behind the answer, whichever node");
        }
        let position: Position = told.body["position"].as_str().expect("a position").parse().expect("a position");
        partition = usize::from(position.partition);
    }
    let owner = owners(&callers[0]).await.expect("owners")[partition].clone();
    let [here, paused] = [true, false].map(|owns| ids.iter().position(|id| (*id == owner) == owns).expect("a node"));
    let (path, keys) = revoking::key_that_opens(callers, here, "paused").await;
    trio.node(paused).signal("STOP").await;
    let stopped = Instant::now();
    let told = callers[here]
        .post(&format!("{path}/revoke?wait=nodes"), json!({ "reason": "lost" }))
        .await
        .taken();
    // What it knew when it stopped is then too old for it to decide by.
    tokio::time::sleep(Duration::from_millis(AUTHORITY_STALE_MS + 100).saturating_sub(stopped.elapsed())).await;
    trio.node(paused).signal("CONT").await;
    assert_eq!(told.body["behind"], json!([ids[paused]]), "{}", told.text);
    refused_until_caught_up(&keys[paused]).await;
    let other = json!({ "name": "Other" });
    callers[here]
        .post("/v1/orgs/acme/conversations?wait=nodes", other)
        .await
        .refused(400, "bad_parameter");
}

/// A node that wakes from so long a pause takes a key that was revoked meanwhile at no moment: until it has caught up it decides nothing.
async fn refused_until_caught_up(key: &Caller) {
    wait("the node that was paused to know", || async {
        let answer = key.exchange(key.request(reqwest::Method::GET, revoking::READS)).await.ok()?;
        assert_ne!(answer.status, 200, "a revoked key: {}", answer.text);
        revoking::is_refused(&answer).then_some(())
    })
    .await;
}
