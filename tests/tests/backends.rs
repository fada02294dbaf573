//! The end-to-end tests, unchanged, on logs outside the node: real servers, started and stopped here.

use quipu_tests::servers::{
    kafka,
    nats::{self, SYSTEM, Shape},
    tansu,
};
use std::process::{Command, Stdio};

/// Runs the end-to-end tests of this crate with every node on this log.
fn end_to_end(log: &str) {
    let status = Command::new(env!("CARGO"))
        // As `cargo test --workspace` resolves features: nothing is built again.
        .args(["test", "--quiet", "--workspace", "--locked", "--test", "e2e_*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("QUIPU_TEST_LOG", log)
        .stdin(Stdio::null())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the end-to-end tests fail on {log}");
}

#[test]
fn end_to_end_on_one_nats_server() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "end-to-end tests on JetStream") else {
        return;
    };
    end_to_end(&format!("{}/{{log}}?partitions=4&system={SYSTEM}", nats.url()));
}

#[test]
fn end_to_end_on_kafka() {
    let what = "end-to-end tests on Apache Kafka";
    if let Some(kafka) = kafka::start_or_skip(true, what) {
        return end_to_end(&format!("kafka://{}/{{log}}?partitions=4", kafka.address()));
    }
    println!("checked on Tansu only: {what}");
    let Some(tansu) = tansu::start_or_skip("end-to-end tests on Tansu") else {
        return;
    };
    end_to_end(&format!("kafka://{}/{{log}}?partitions=4&accept=unsynced", tansu.address()));
}
