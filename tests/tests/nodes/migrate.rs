//! From the embedded log to a broker: `quipu migrate-log`, and the same entities on the other side.

use quipu_schemas::limits::PARTITIONS_DEFAULT;
use quipu_tests::{
    broker,
    caller::{Caller, wait},
    process::Launch,
    servers::nats::{self, SYSTEM, Shape},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_log_moves_to_jetstream_whole() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    if let Some(nats) = nats::start_or_skip(shape, "migrate-log to JetStream") {
        // Values beside the log go along, into an object store beside the new one.
        moves(&format!("{}/moved?system={SYSTEM}", nats.url()), Some("large ".repeat(20_000))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_log_moves_to_kafka_whole() {
    if let Some(broker) = broker::start_or_skip("migrate-log") {
        moves(&broker.log("moved", PARTITIONS_DEFAULT), None).await;
    }
}

/// From an embedded log to the one at this address, with a value beside it where the other keeps some too.
async fn moves(to: &str, large: Option<String>) {
    let mut launch = Launch::new().log("embedded");
    let node = launch.start().await;
    let ada = node.caller.acting_for("ada");
    ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
    let desk = "/v1/orgs/acme/conversations/desk";
    ada.post(desk, json!({ "type": "group", "auto_turns": false })).await.taken();
    let say = |n: u32| json!({ "message_id": format!("m{n}"), "body": format!("message {n}") });
    let post = format!("{desk}/post");
    let mut receipts = Vec::new();
    for n in 0..20 {
        let answer = ada.try_command(&post, &format!("k{n}"), &say(n)).await;
        receipts.push(answer.expect("an answer").taken().body);
    }
    if let Some(body) = &large {
        let large = json!({ "message_id": "large", "body": body });
        ada.post(&post, large).await.taken();
    }
    let records = 22 + u64::from(large.is_some());
    let entities = ["/v1/orgs/acme/orgs/acme", desk];
    let mut digests = BTreeMap::new();
    for entity in entities {
        digests.insert(entity, ada.digest(entity).await);
    }
    node.stop().await;

    for before in [0, records] {
        migrates(&launch, to, records, before).await;
    }

    let mut launch = launch.log(to);
    let node = launch.start().await;
    let ada = node.caller.acting_for("ada");
    for (entity, digest) in &digests {
        assert_eq!(ada.digest(entity).await, *digest, "{entity}");
    }
    // A repetition gets its first receipt, except for what names the log and its class.
    for (n, first) in (0u32..).zip(&receipts) {
        let again = ada
            .try_command(&format!("{desk}/post"), &format!("k{n}"), &say(n))
            .await
            .expect("an answer");
        let again = again.taken().body;
        assert_eq!(
            (&again["version"], &again["duplicate"]),
            (&first["version"], &json!(true)),
            "{again}"
        );
    }
    if let Some(body) = large {
        assert!(named_in(&ada, desk).await == body, "the value that was beside the log");
    }
    // What was sealed opens with the keys that moved, and life goes on.
    ada.post(&format!("{desk}/post"), say(20)).await.taken();
    wait("the views to be rebuilt", || async {
        let rows = ada.fresh(&format!("{desk}/messages?limit=100")).await.body["items"].take();
        let bodies: Vec<String> = rows
            .as_array()?
            .iter()
            .filter_map(|row| row["body"].as_str().map(str::to_owned))
            .collect();
        (bodies.len() == 21 && bodies.iter().all(|body| body.starts_with("message "))).then_some(())
    })
    .await;
    node.stop().await;
}

/// Migrates, also where so many records were copied before.
async fn migrates(launch: &Launch, to: &str, records: u64, before: u64) {
    let data = launch.data().display().to_string();
    let moved = launch.run(&["migrate-log", "--json", &data, "--to", to]).await;
    let told: Value = serde_json::from_slice(&moved.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&moved.stderr)));
    assert!(moved.status.success() && told["equal"] == json!(true), "{told}");
    assert_eq!(
        (&told["records"], &told["copied_before"]),
        (&json!(records), &json!(before)),
        "{told}"
    );
    assert_eq!(told["blobs"], json!(records - 22), "{told}");
    assert!(!told.to_string().contains("quipu:quipu"), "a password is shown: {told}");
}

/// The value that a conversation's history names.
async fn named_in(ada: &Caller, desk: &str) -> String {
    let history = ada.fresh(&format!("{desk}/history?limit=100")).await.body.to_string();
    let digest = history
        .split("\"$blob\":\"")
        .nth(1)
        .and_then(|rest| rest.get(..64))
        .expect("a name");
    ada.get(&format!("/v1/orgs/acme/blobs/{digest}")).await.text
}
