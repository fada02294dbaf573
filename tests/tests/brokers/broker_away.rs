//! The broker that holds the log ends under a running node and comes back: commands are refused meanwhile, health says why, and
//! what was acknowledged before is there.

use quipu_tests::{
    caller::{Answer, wait},
    process::{Launch, Process},
    servers::{
        kafka,
        nats::{self, SYSTEM, Shape},
    },
};
use serde_json::json;
use std::time::{Duration, Instant};

async fn post(node: &Process, id: &str) -> Answer {
    let path = "/v1/orgs/acme/conversations/room/post";
    let posted = node.caller.acting_for("ada").try_command(path, id, &json!({ "body": id })).await;
    posted.expect("an answer")
}

/// How long health may take to answer, where a question to a broker that is away takes two seconds a partition.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn health(node: &Process) -> serde_json::Value {
    let asked = Instant::now();
    let told = node.caller.get("/health").await.body;
    assert!(asked.elapsed() < AT_ONCE, "health took {:?}", asked.elapsed());
    told
}

async fn trouble(node: &Process) -> String {
    let metrics = node.caller.get("/metrics").await.text;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("quipu_log_trouble"))
        .unwrap_or_default();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// `change(false)` ends the broker, `change(true)` starts it again with its data.
async fn goes_away_and_comes_back<C: FnMut(bool) + Send + 'static>(log: &str, change: C) {
    // Aside: connections to the node are looked after meanwhile.
    let aside = async |mut change: C, back: bool| {
        let changed = tokio::task::spawn_blocking(move || {
            change(back);
            change
        });
        changed.await.expect("the broker has changed")
    };
    let node = Launch::new().log(log).start().await;
    let ada = node.caller.acting_for("ada");
    ada.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.taken();
    ada.post("/v1/orgs/acme/conversations/room/create", json!({ "type": "group" }))
        .await
        .taken();
    for n in 0..5 {
        let receipt = post(&node, &format!("before{n}")).await.taken().body;
        assert_eq!(receipt["durability"], "fsync", "{receipt}");
    }
    let well = health(&node).await;
    assert_eq!((well["status"].as_str(), trouble(&node).await.as_str()), (Some("ok"), "0"));
    assert!(
        well["parts"][0]["detail"]
            .as_str()
            .is_some_and(|detail| detail.ends_with(", fsync")),
        "{well}"
    );

    let change = aside(change, false).await;
    let refused = post(&node, "meanwhile").await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.text);
    let told = wait("health to name the log", || async {
        let told = health(&node).await;
        (told["status"] == "failing").then_some(told)
    })
    .await;
    let log_part = told["parts"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|part| part["name"] == "log")
        .expect("a part");
    assert!(
        log_part["detail"].as_str().is_some_and(|detail| detail.contains("commands wait")),
        "{told}"
    );
    assert_eq!(node.caller.get("/health/ready").await.status, 503);
    assert_eq!(node.caller.get("/health/live").await.status, 200);
    assert_eq!(trouble(&node).await, "1");

    let broker = aside(change, true).await;
    wait("the node to take commands again", || async {
        (post(&node, "meanwhile").await.status == 202).then_some(())
    })
    .await;
    post(&node, "after").await.taken();
    wait("health to be well", || async {
        let told = health(&node).await;
        println!("{told}");
        (told["status"] == "ok").then_some(())
    })
    .await;
    assert_eq!(trouble(&node).await, "0");
    // Each command once, whichever were answered late or never.
    let entity = "/v1/orgs/acme/conversations/room";
    assert_eq!(node.caller.count(entity, "conversation.message_posted", |_| true).await, 7);
    node.stop().await;
    drop(broker);
}

#[tokio::test]
async fn a_node_outlives_its_nats_server() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(mut nats) = nats::start_or_skip(shape, "a node whose nats-server ends") else {
        return;
    };
    let log = format!("{}/away?partitions=16&system={SYSTEM}", nats.url());
    goes_away_and_comes_back(&log, move |back| if back { nats.restart(0) } else { nats.kill(0) }).await;
}

#[tokio::test]
async fn a_node_outlives_its_kafka_broker() {
    let Some(mut kafka) = kafka::start_or_skip(true, "a node whose Kafka broker ends") else {
        return;
    };
    let log = format!("kafka://{}/away?partitions=16", kafka.address());
    goes_away_and_comes_back(&log, move |back| if back { kafka.restart() } else { kafka.kill() }).await;
}
