//! The end-to-end tests, unchanged, on logs outside the node: real servers, started and stopped here.

use quipu_tests::{
    broker::{self, Broker},
    built::{binary, cargo},
    caller::wait,
    kafka_bus::topics,
    process::Launch,
    s3::S3,
    servers::{
        nats::{self, SYSTEM, Shape},
        postgres,
    },
};
use std::process::{Command, Stdio};

/// Runs the end-to-end tests of this crate with every node on this log, its views in PostgreSQL and its values in `blobs`,
/// if that is given.
fn end_to_end(log: &str, blobs: Option<String>) {
    let postgres = postgres::start_or_skip("end-to-end tests with views in PostgreSQL");
    let views = postgres
        .as_ref()
        .map(|postgres| ("QUIPU_TEST_VIEWS", format!("{}?schema={{log}}", postgres.url())));
    let status = cargo()
        // As `cargo test --workspace` resolves features: nothing is built again.
        .args(["test", "--quiet", "--workspace", "--locked", "--test", "e2e"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("QUIPU_TEST_LOG", log)
        .envs(views)
        .envs(blobs.map(|blobs| ("QUIPU_TEST_BLOBS", blobs)))
        .stdin(Stdio::null())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the end-to-end tests fail on {log}");
    the_scene(&log.replace("{log}", "scene"), postgres.as_ref().map(|postgres| postgres.url()));
}

/// Plays the demo there, to its last proof.
fn the_scene(log: &str, views: Option<String>) {
    let views = views.map_or_else(|| "sqlite".to_owned(), |url| format!("{url}?schema=scene"));
    let played = Command::new(binary())
        .args(["demo", "--once", "--json", "--log", log, "--views", &views])
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let told = String::from_utf8_lossy(&played.stdout);
    let summary: serde_json::Value = told
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let why = String::from_utf8_lossy(&played.stderr);
    assert!(
        played.status.success() && summary["ok"] == true,
        "the scene on {log}: {told}\n{why}"
    );
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
    // Values are kept in an object store of the same servers.
    end_to_end(&format!("{}/{{log}}?partitions=4&system={SYSTEM}", nats.url()), None);
}

#[test]
fn end_to_end_on_kafka() {
    let Some(broker) = broker::start_or_skip("end-to-end tests") else {
        return;
    };
    // Kafka has no object store: values are kept in a bucket.
    let Some(s3) = S3::start_or_skip("end-to-end tests with values in a bucket") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(s3.make_bucket("quipu"));
    end_to_end(&broker.log("{log}", 4), Some(s3.address("quipu", "{log}")));
}

/// Certifies a broker by the command; what it told.
async fn certified(launch: &Launch, address: &str, durability: &str) -> serde_json::Value {
    let verified = launch.run(&["verify-backend", "--json", address]).await;
    let told: serde_json::Value =
        serde_json::from_slice(&verified.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&verified.stderr)));
    assert!(verified.status.success() && told["holds"] == true, "{told}");
    assert_eq!(
        (&told["durability"], told["checks"].as_array().map(Vec::len)),
        (&durability.into(), Some(18)),
        "{told}"
    );
    told
}

/// A broker that is not there is no success.
async fn nobody_is_certified(launch: &Launch, address: &str) {
    let refused = launch.run(&["verify-backend", address]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[tokio::test]
async fn certifying_servers_is_one_command_that_leaves_nothing() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "verify-backend on JetStream") else {
        return;
    };
    let launch = Launch::new();
    let told = certified(&launch, &format!("{}?system={SYSTEM}", nats.url()), "fsync").await;
    assert!(!told.to_string().contains("quipu:quipu"), "a password is shown: {told}");
    // The server removes files behind its answer.
    wait("the logs of the checks to be gone", || async {
        let left = walk(&nats.store(0)).into_iter().any(|path| path.contains("verify_"));
        (!left).then_some(())
    })
    .await;
    nobody_is_certified(&launch, "nats://127.0.0.1:1").await;
}

#[tokio::test]
async fn certifying_kafka_is_one_command_that_leaves_nothing() {
    let Some(broker) = broker::start_or_skip("verify-backend") else {
        return;
    };
    // Tansu tells no settings, so that it is taken for what keeps nothing.
    let durability = if matches!(broker, Broker::Kafka(_)) { "fsync" } else { "memory" };
    let launch = Launch::new();
    certified(&launch, &broker.log("unused", 4), durability).await;
    // The broker's files go a minute behind its topics.
    wait("the topics of the checks to be gone", || async {
        let left = topics(&broker.address())?.into_iter().any(|topic| topic.contains("verify_"));
        (!left).then_some(())
    })
    .await;
    nobody_is_certified(&launch, "kafka://127.0.0.1:1").await;
}

#[tokio::test]
async fn a_person_certifies_their_postgresql_too() {
    let Some(postgres) = postgres::start_or_skip("verify-backend on PostgreSQL") else {
        return;
    };
    let launch = Launch::new();
    let verified = launch.run(&["verify-backend", "--json", &postgres.url()]).await;
    let told: serde_json::Value =
        serde_json::from_slice(&verified.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&verified.stderr)));
    assert!(verified.status.success() && told["holds"] == true, "{told}");
    assert_eq!(told["checks"].as_array().map(Vec::len), Some(3), "{told}");
}

/// Every path below a directory.
fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        found.extend(walk(&entry.path()));
    }
    found
}
