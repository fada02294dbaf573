//! Attempts of effects, of which one owner alone begins any.

use super::super::*;
use super::{LOOK_EVERY, Node, PATIENCE, Store, again_at, listen, log, member, said, until};
use crate::{kinds::Kinds, mailbox::RelayMsg, relay_actor::RelayActor};
use quipu_events::port::Log;
use ractor::{Actor, ActorRef};
use serde_json::json;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};
use tokio::sync::watch;

/// A relay beside whatever runs the partition.
pub(super) async fn relay(node: &Node) -> ActorRef<RelayMsg> {
    let (relay, _) = Actor::spawn(None, RelayActor, (node.core.clone(), 0, node.performers.clone()))
        .await
        .expect("an actor");
    relay.send_message(RelayMsg::Step { planned: false }).expect("it runs");
    relay
}

#[tokio::test]
async fn only_the_owners_relay_begins_an_attempt() {
    let requests = Arc::new(AtomicUsize::new(0));
    let (go, gone) = watch::channel(false);
    let count = requests.clone();
    let receiver = listen(move |_| {
        count.fetch_add(1, Ordering::AcqRel);
        let mut gone = gone.clone();
        Box::pin(async move {
            // Held until the other relay has tried as well.
            let _ = gone.wait_for(|go| *go).await;
            (200, "{}".into())
        })
    })
    .await;
    let log = log(1);
    let (of_a, of_b) = (Store::new(PATIENCE), Store::new(PATIENCE));
    let a = Node::new(&log, &of_a, Kinds::builtin(), &[receiver]);
    a.own(0).await;
    let own = a.core.partition(0).relay.lock().take().expect("the owner's relay");
    own.stop_and_wait(None, None).await.expect("it stops");
    a.org().await;
    let definition = json!({
        "name": "call", "outputs": { "done": {} },
        "nodes": [{ "id": "call", "component": "http.request", "config": { "url": format!("http://{receiver}/"), "method": "POST" } }],
        "edges": [{ "from": "call.out", "to": "output.done" }],
    });
    a.here(a.envelope("run", "r", "create", json!({ "definition": definition, "input": {} })))
        .await
        .expect("a run");
    let pending = a.core.index.pending(0, None, 10).expect("the index");
    assert_eq!(pending.len(), 1, "{pending:?}");

    // Another node replaces it, and both would do what is to be done.
    let b = Node::new(&log, &of_b, Kinds::builtin(), &[receiver]);
    let next = b.core.clone();
    let at = listen(move |body| {
        let next = next.clone();
        Box::pin(async move {
            let envelope: CommandEnvelope = serde_json::from_slice(&body).expect("a command");
            said(next.submit_here(Arc::new(envelope)).await)
        })
    })
    .await;
    of_a.grants.store(false, Ordering::Release);
    of_a.others.lock().insert(0, member(at));
    log.claim(0, "another").expect("a claim");
    let stale = relay(&a).await;
    b.own(0).await;
    until("the owner's request", || requests.load(Ordering::Acquire) > 0).await;
    // A try that was refused is followed by a later one.
    let first = again_at(&stale).await;
    let deadline = Instant::now() + PATIENCE;
    while requests.load(Ordering::Acquire) == 1 && again_at(&stale).await.is_none_or(|at| Some(at) <= first) {
        assert!(Instant::now() < deadline, "the other relay does not try");
        tokio::time::sleep(LOOK_EVERY).await; // poll
    }
    go.send(true).expect("the receiver listens");
    until("the effect to be settled", || {
        b.core.settled(&pending[0].key).is_ok_and(|settled| settled.is_some())
    })
    .await;
    assert_eq!(requests.load(Ordering::Acquire), 1);
}
