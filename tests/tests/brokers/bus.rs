//! Scenes that are the same on every bus: commands of a durable queue, and the feed of all events, while nodes and brokers
//! are killed.

use quipu_tests::{
    bus::{BusClient, by_ada},
    caller::wait,
    kafka_bus::KafkaBus,
    process::{Launch, Process},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A client of a bus.
pub(crate) trait Bus {
    /// Puts a command of ada's to `org/kind/id` into the durable queue.
    async fn send(&self, entity: &str, command: &str, id: &str, body: &str);
    /// Waits until the broker has everything that was sent; so many of it have not been read yet, where it tells.
    async fn keeps(&self, unread: usize);
    /// Waits for the receipts of these commands of acme: status and body.
    async fn receipts(&self, ids: &[String]) -> BTreeMap<String, (u16, Value)>;
    /// The versions of each stream in the order in which the feed first had them, and how many events came again.
    async fn versions(&self) -> Option<(BTreeMap<String, Vec<u64>>, usize)>;
    /// Waits until nothing is left to read, where the broker tells.
    async fn is_read(&self);
}

impl Bus for BusClient {
    async fn send(&self, entity: &str, command: &str, id: &str, body: &str) {
        let target = format!("{}.{command}", entity.replace('/', "."));
        self.queue(&target, by_ada(id), body).await;
    }

    async fn keeps(&self, unread: usize) {
        assert_eq!(self.waiting().await, unread as u64);
    }

    async fn receipts(&self, ids: &[String]) -> BTreeMap<String, (u16, Value)> {
        let mut told = BTreeMap::new();
        for id in ids {
            let (status, _, receipt) = self.await_receipt("acme", id).await;
            told.insert(id.clone(), (status, receipt));
        }
        told
    }

    async fn versions(&self) -> Option<(BTreeMap<String, Vec<u64>>, usize)> {
        self.versions().await
    }

    async fn is_read(&self) {
        wait("the queue to be empty", || async { (self.waiting().await == 0).then_some(()) }).await;
    }
}

impl Bus for KafkaBus {
    async fn send(&self, entity: &str, command: &str, id: &str, body: &str) {
        self.command(entity, command, id, body);
    }

    async fn keeps(&self, _: usize) {
        self.flush();
    }

    async fn receipts(&self, ids: &[String]) -> BTreeMap<String, (u16, Value)> {
        self.receipts("receipts", "acme", ids).await
    }

    async fn versions(&self) -> Option<(BTreeMap<String, Vec<u64>>, usize)> {
        self.versions("feed")
    }

    async fn is_read(&self) {}
}

/// An org and conversations `c0`….
pub(crate) async fn rooms(bus: &impl Bus, count: usize) {
    bus.send("acme/org/acme", "create", "org", r#"{"name":"Acme"}"#).await;
    let made = bus.receipts(&["org".to_owned()]).await;
    assert_eq!(made["org"].0, 200, "{made:?}");
    let ids: Vec<String> = (0..count).map(|n| format!("make{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        bus.send(&format!("acme/conversation/c{n}"), "create", id, r#"{"type":"group"}"#)
            .await;
    }
    let made = bus.receipts(&ids).await;
    assert!(made.values().all(|(status, _)| *status == 200), "{made:?}");
}

/// Sends so many posts, in turn to each room; the ids by room, in the order sent.
async fn post(bus: &impl Bus, rooms: usize, count: usize) -> BTreeMap<String, Vec<String>> {
    let mut sent = BTreeMap::<String, Vec<String>>::new();
    for n in 0..count {
        let (room, id) = (format!("c{}", n % rooms), format!("q{n}"));
        let body = json!({ "body": id }).to_string();
        bus.send(&format!("acme/conversation/{room}"), "post", &id, &body).await;
        sent.entry(room).or_default().push(id);
    }
    sent
}

/// Every command has its receipt, versions follow the order in which they were sent, and each was decided once.
async fn decided_in_order(bus: &impl Bus, node: &Process, sent: &BTreeMap<String, Vec<String>>) {
    let all: Vec<String> = sent.values().flatten().cloned().collect();
    let told = bus.receipts(&all).await;
    for (room, ids) in sent {
        let mut versions = Vec::new();
        for id in ids {
            let (status, receipt) = &told[id];
            assert_eq!(*status, 200, "{id}: {receipt}");
            versions.push(receipt["version"].as_u64().expect("a version"));
        }
        assert!(versions.is_sorted_by(|a, b| a < b), "{room}: {versions:?}");
        let entity = format!("/v1/orgs/acme/conversations/{room}");
        let posted = node.caller.count(&entity, "conversation.message_posted", |_| true).await;
        assert_eq!(posted, ids.len(), "{room}");
    }
    bus.is_read().await;
}

/// The feed of the bus has every event of the rooms in order; how many came again.
pub(crate) async fn feed_is_whole(bus: &impl Bus, node: &Process, rooms: usize) -> usize {
    let mut ends = BTreeMap::new();
    for n in 0..rooms {
        let path = format!("/v1/orgs/acme/conversations/c{n}/state");
        let state = node.caller.get(&path).await.taken().body;
        ends.insert(format!("acme/conversation/c{n}"), state["version"].as_u64().expect("a version"));
    }
    let (streams, again) = wait("the feed to have every event", || async {
        let (streams, again) = bus.versions().await?;
        let all = ends
            .iter()
            .all(|(stream, end)| streams.get(stream).is_some_and(|versions| versions.len() as u64 >= *end));
        all.then_some((streams, again))
    })
    .await;
    for (stream, versions) in &streams {
        let expected: Vec<u64> = (1..=versions.len() as u64).collect();
        assert_eq!(versions, &expected, "{stream}");
    }
    again
}

/// Commands wait while the node is stopped; it is killed while it decides them, and started again.
pub(crate) async fn node_is_killed(mut launch: Launch, bus: &impl Bus) {
    const COMMANDS: usize = 200;
    let node = launch.start().await;
    rooms(bus, 10).await;
    // All of them wait before the node sees the first.
    node.signal("STOP").await;
    let sent = post(bus, 10, COMMANDS).await;
    bus.keeps(COMMANDS).await;
    node.signal("CONT").await;
    bus.receipts(&["q10".to_owned()]).await;
    node.kill().await;
    let node = launch.start().await;
    decided_in_order(bus, &node, &sent).await;
    let again = feed_is_whole(bus, &node, 10).await;
    println!("bus: {again} events came again after the kill");
    node.stop().await;
}

/// Of two nodes over one log the one that reads partition 0 is killed; the other takes commands and feed over.
pub(crate) async fn node_is_replaced(launch: impl Fn() -> Launch, bus: &impl Bus) {
    let mut first = launch();
    let one = first.start().await;
    let mut second = launch().beside(&first);
    let two = second.start().await;
    rooms(bus, 5).await;
    let is_first = wait("an owner of partition 0", || async {
        let cluster = one.caller.get("/v1/ops/cluster").await.body;
        let partitions = cluster["partitions"].as_array()?;
        let owners: Vec<&str> = partitions.iter().filter_map(|p| p["owner"].as_str()).collect();
        let me = cluster["node"]["node"].as_str()?;
        let is_spread = owners.len() == 4 && owners.contains(&me) && owners.iter().any(|o| *o != me);
        is_spread.then(|| owners[0] == me)
    })
    .await;
    let (reader, other) = if is_first { (one, two) } else { (two, one) };
    let sent = post(bus, 5, 100).await;
    bus.receipts(&["q10".to_owned()]).await;
    reader.kill().await;
    decided_in_order(bus, &other, &sent).await;
    let again = feed_is_whole(bus, &other, 5).await;
    println!("bus: taken over, {again} events came again");
    other.stop().await;
}

/// While the broker is away, commands over HTTP go on, the node is ready, and health names the bus.
pub(crate) async fn broker_is_away(node: &Process, rooms: usize) {
    let ada = node.caller.acting_for("ada");
    for n in 0..30 {
        let path = format!("/v1/orgs/acme/conversations/c{}/post", n % rooms);
        ada.post(&path, json!({ "body": format!("{n}") })).await.taken();
    }
    let health = wait("health to say that the bus is away", || async {
        let health = node.caller.get("/health").await.body;
        (health["status"] == "degraded").then_some(health)
    })
    .await;
    assert!(health.to_string().contains("\"bus\""), "{health}");
    node.caller.get("/health/ready").await.taken();
}

/// Once the broker is back the feed catches up, queued commands are decided, and health is well.
pub(crate) async fn broker_is_back(bus: &impl Bus, node: &Process, rooms: usize) {
    feed_is_whole(bus, node, rooms).await;
    let sent = post(bus, rooms, 9).await;
    let ids: Vec<String> = sent.values().flatten().cloned().collect();
    let told = bus.receipts(&ids).await;
    assert!(ids.iter().all(|id| told[id].0 == 200), "{told:?}");
    wait("health to be well again", || async {
        let health = node.caller.get("/health").await.body;
        (health["status"] == "ok").then_some(())
    })
    .await;
}
