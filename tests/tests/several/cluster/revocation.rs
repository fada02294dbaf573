//! Revocation over three nodes, under load: behind the receipt nothing opens at the node that gave it, whoever owns the partition, and
//! soon nothing at the others. The long form: `QUIPU_REVOCATIONS=10000 cargo test --release -p quipu-tests --test several revo -- --nocapture`.

use super::{NODES, Trio, from_env, node_id, owners, spread};
use quipu_schemas::position::Position;
use quipu_tests::{
    caller::Caller,
    receiver::Receiver,
    revoking,
    servers::nats::{self, SYSTEM, Shape},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

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
    let rounds = from_env("QUIPU_REVOCATIONS").unwrap_or(60) as usize;
    let log = format!("{}/trio?system={SYSTEM}", nats.url());
    let receiver = Receiver::start().await;
    let trio = Trio::start(&vec![log; NODES], &receiver).await;
    spread(&trio.callers[0], NODES).await;
    let callers: Vec<Caller> = trio.nodes.iter().flatten().map(|node| node.caller.clone()).collect();
    revoking::set_up(&callers[0]).await;
    let seen = revoking::rounds(&callers, rounds, AT_ONCE).await;
    let (half, most) = (seen.percentile(50), seen.percentile(99));
    println!(
        "{rounds} revocations over {NODES} nodes: {} requests before, {} in flight; applied at other nodes: p50 {half:?}, p99 {most:?}",
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
    let (path, _) = revoking::key_that_opens(callers, here, "paused").await;
    trio.node(paused).signal("STOP").await;
    let told = callers[here]
        .post(&format!("{path}/revoke?wait=nodes"), json!({ "reason": "lost" }))
        .await
        .taken();
    trio.node(paused).signal("CONT").await;
    assert_eq!(told.body["behind"], json!([ids[paused]]), "{}", told.text);
    let other = json!({ "name": "Other" });
    callers[here]
        .post("/v1/orgs/acme/conversations?wait=nodes", other)
        .await
        .refused(400, "bad_parameter");
}
