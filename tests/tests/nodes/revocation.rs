//! Revocation on a real node, under load: behind its receipt no request succeeds, and nothing in flight brings a key back. The long form:
//! `QUIPU_REVOCATIONS=10000 cargo test --release -p quipu-tests --test nodes revo -- --nocapture`.

use quipu_tests::{process::Launch, revoking};

const AT_ONCE: usize = 8;

fn from_env(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_opens_nothing_behind_the_receipt() {
    let rounds = from_env("QUIPU_REVOCATIONS").unwrap_or(150);
    let node = Launch::new().start().await;
    revoking::set_up(&node.caller).await;
    let seen = revoking::rounds(std::slice::from_ref(&node.caller), rounds, AT_ONCE).await;
    println!(
        "{rounds} revocations: {} requests before, {} in flight",
        seen.opened, seen.in_flight
    );
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
    assert!(
        seen.opened >= rounds && seen.in_flight > 0,
        "{} opened, {} in flight",
        seen.opened,
        seen.in_flight
    );
    node.stop().await;
}
