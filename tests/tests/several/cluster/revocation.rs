//! Revocation over three nodes, under load: behind the receipt nothing opens at the node that gave it, whoever owns the partition, and
//! soon nothing at the others. The long form: `QUIPU_REVOCATIONS=10000 cargo test --release -p quipu-tests --test several revo -- --nocapture`.

use super::{NODES, Trio, from_env, owners, spread};
use quipu_tests::{
    caller::Caller,
    receiver::Receiver,
    revoking,
    servers::nats::{self, SYSTEM, Shape},
};
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
    for node in trio.nodes.into_iter().flatten() {
        node.stop().await;
    }
}
