//! What an append that fails, or what follows one that crashes, means to commands.

use super::*;
use crate::{appends::Sent, kernel::entity::DecidedRecord};
use quipu_events::memory::Fault;
use quipu_schemas::digest::Digest;
use std::fmt::{Debug, Write};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// A logger that crashes on one line, as one does whose output is gone.
struct Crashes(&'static str);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{value:?} ");
    }
}

impl Subscriber for Crashes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        assert!(!text.0.contains(self.0), "the line cannot be written");
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

async fn post(node: &Node, id: &str) -> Result<Receipt, Problem> {
    let envelope = node.envelope("conversation", id, "create", json!({ "type": "group" }));
    tokio::time::timeout(PATIENCE, node.here(envelope)).await.expect("an answer")
}

/// One thread, so that what the log calls back meets the logger of the test.
#[tokio::test]
async fn crash_after_a_failed_append_leaves_nobody_waiting() {
    let log = log(1);
    let node = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin(), &[]);
    node.own(0).await;
    node.org().await;
    let lines = tracing::subscriber::set_default(Crashes("append failed"));
    log.fail_next(0, Fault::Full);
    let refused = post(&node, "a").await.expect_err("no room");
    assert_eq!((refused.status, refused.code.as_str()), (507, "storage_full"));
    drop(lines);
    assert_eq!(node.core.counters.appends_crashed.load(Ordering::Relaxed), 1);
    // The partition was read back, and goes on.
    until("the partition to be owned", || node.core.is_owner(0)).await;
    assert!(post(&node, "a").await.is_ok());
}

/// The callback crashes before the writer has heard of the end of its append.
#[tokio::test]
async fn append_in_flight_at_a_crash_is_of_unknown_outcome() {
    let log = log(1);
    let node = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin(), &[]);
    node.own(0).await;
    node.org().await;
    let sent = {
        let encoded = quipu_events::contract::record("acme/conversation/a", 1, Digest::ZERO, 10);
        let record = Arc::new(quipu_schemas::record::decode(&encoded.bytes).expect("a record"));
        let mut writer = node.core.partition(0).writer.lock();
        let incarnation = writer.incarnation();
        let batch = writer
            .submit(DecidedRecord { encoded, record }, incarnation, [1; 16])
            .expect("taken");
        Sent::of(&batch.expect("a frame"))
    };
    assert!(node.core.partition(0).writer.lock().is_appending());
    node.core.guarded(sent, || panic!("in a test"));
    assert!(!node.core.partition(0).writer.lock().is_appending());
    until("the partition to be owned", || node.core.is_owner(0)).await;
    assert_eq!(node.core.counters.appends_crashed.load(Ordering::Relaxed), 1);
    assert!(post(&node, "a").await.is_ok());
}

#[tokio::test]
async fn full_disk_refuses_once_and_nobody_else() {
    let log = log(1);
    let node = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin(), &[]);
    node.own(0).await;
    node.org().await;
    for id in ["a", "b"] {
        post(&node, id).await.expect("taken");
    }
    log.fail_next(0, Fault::Full);
    let refused = post(&node, "c").await.expect_err("no room");
    assert_eq!((refused.status, refused.code.as_str()), (507, "storage_full"));
    // Entities that waited for nothing go on as if nothing had been.
    let recovered = node.core.counters.recovered.load(Ordering::Relaxed);
    for id in ["a", "b"] {
        let envelope = node.envelope("conversation", id, "post", json!({ "body": "still here" }));
        node.here(envelope).await.expect("taken");
    }
    assert_eq!(node.core.counters.recovered.load(Ordering::Relaxed), recovered);
    assert!(post(&node, "c").await.is_ok());
}

/// As a log does whose writer crashes.
#[tokio::test]
async fn append_that_the_log_drops_is_of_unknown_outcome() {
    let log = log(1);
    let node = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin(), &[]);
    node.own(0).await;
    node.org().await;
    log.fail_next(0, Fault::Dropped);
    let refused = post(&node, "a").await.expect_err("nobody knows");
    assert_eq!(refused.code, "outcome_unknown");
    until("the partition to be owned", || node.core.is_owner(0)).await;
    assert!(post(&node, "a").await.is_ok());
}
