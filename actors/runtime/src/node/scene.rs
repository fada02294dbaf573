//! A node in memory with an org and a conversation, for tests that count what a read costs.

use super::{Node, NodeConfig};
use crate::{api::CommandRequest, core::Core, kinds::Kinds};
use quipu_schemas::{
    envelope::{DataClass, Receipt},
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId, StreamId},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) struct Scene {
    pub(crate) node: Node,
    sent: AtomicU64,
}

impl Scene {
    /// A node with org `acme` and its conversation `room`, at version 2.
    pub(crate) async fn new() -> Self {
        Self::with(NodeConfig::default()).await
    }

    /// The same with a configuration.
    pub(crate) async fn with(config: NodeConfig) -> Self {
        let node = Node::start(config, Kinds::builtin(), |_| {}).await.expect("a node");
        let scene = Self {
            node,
            sent: AtomicU64::new(0),
        };
        scene.org("acme").await;
        scene
            .send("acme", "conversation", "room", "create", json!({ "type": "group" }))
            .await;
        scene
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.node.0.core
    }

    pub(crate) fn room(&self) -> StreamId {
        "acme/conversation/room".parse().expect("a stream")
    }

    pub(crate) async fn org(&self, org: &'static str) {
        self.send(org, "org", org, "create", json!({ "name": org })).await;
    }

    pub(crate) async fn send(&self, org: &'static str, kind: &'static str, id: &str, command: &str, body: Value) -> Receipt {
        let n = self.sent.fetch_add(1, Ordering::Relaxed);
        let request = CommandRequest {
            org: OrgId::from_static(org),
            kind: Kind::from_static(kind),
            id: Some(EntityId::parse(id).expect("an id")),
            command: command.into(),
            body,
            command_id: Some(CommandId::parse(format!("c-{n}")).expect("an id")),
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            credential: None,
            expected_version: None,
            environment: None,
            data_class: DataClass::None,
            correlation: None,
            traceparent: None,
        };
        self.node.command(request).await.expect("taken")
    }

    /// Says something in the room, so many times.
    pub(crate) async fn say(&self, times: usize, bytes: usize) {
        for n in 0..times {
            self.say_in("acme", "room", &format!("{n} {}", "x".repeat(bytes))).await;
        }
    }

    pub(crate) async fn say_in(&self, org: &'static str, id: &str, body: &str) -> Receipt {
        self.send(org, "conversation", id, "post", json!({ "body": body })).await
    }

    /// Records of single streams read so far.
    pub(crate) fn records_read(&self) -> u64 {
        self.node.counters().records_read.load(Ordering::Relaxed)
    }

    pub(crate) fn feed_looked(&self) -> u64 {
        self.node.counters().feed_looked.load(Ordering::Relaxed)
    }

    pub(crate) fn feed_decoded(&self) -> u64 {
        self.node.counters().feed_decoded.load(Ordering::Relaxed)
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await; // poll
    }
}
