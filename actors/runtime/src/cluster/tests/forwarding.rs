//! Commands that are passed on to the node that owns their partition.

use super::super::*;
use super::{Node, PATIENCE, Store, listen, log, member, said};
use crate::{kernel::refusals::NOT_OPEN, kinds::Kinds};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test]
async fn refusals_of_a_former_owner_are_waited_out() {
    let store = Store::new(PATIENCE);
    let node = Node::new(&log(1), &store, Kinds::builtin(), &[]);
    // Of rights it would be looked for in the log behind the answer, where a made-up one is not.
    let envelope = node.envelope("conversation", "c", "create", json!({ "type": "group" }));
    let receipt = Receipt {
        command_id: envelope.command_id.clone(),
        stream: envelope.stream.clone(),
        version: 1,
        position: "p0.0.0".parse().expect("a position"),
        durability: node.core.meta.durability,
        unchanged: false,
        duplicate: false,
        settled: None,
        shown: None,
        behind: None,
    };
    for code in [
        "partition_stopped",
        "not_stored",
        "stopping",
        "lease_ended",
        "authority_stale",
        "outcome_unknown",
        NOT_OPEN,
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, receipt) = (asked.clone(), receipt.clone());
        let owner = listen(move |_| {
            let answer = match count.fetch_add(1, Ordering::AcqRel) {
                0 | 1 => Err(Problem::new(503, code, "in a test")),
                _ => Ok(receipt.clone()),
            };
            Box::pin(std::future::ready(said(answer)))
        })
        .await;
        store.others.lock().insert(0, member(owner));
        let answer = node.core.submit(envelope.clone()).await;
        assert_eq!(
            answer.as_ref().map(|receipt| receipt.version).map_err(|p| p.code.clone()),
            Ok(1),
            "after {code}"
        );
        assert_eq!(asked.load(Ordering::Acquire), 3, "after {code}");
    }
    // What is refused for good is not.
    let owner = listen(|_| Box::pin(std::future::ready(said(Err(Problem::new(409, "conversation_exists", "in a test")))))).await;
    store.others.lock().insert(0, member(owner));
    assert_eq!(
        node.core.submit(envelope).await.map_err(|p| p.code),
        Err("conversation_exists".into())
    );
}

#[tokio::test]
async fn a_stopped_owner_that_nobody_follows_is_an_answer_for_now() {
    let store = Store::new(PATIENCE);
    let node = Node::new(&log(1), &store, Kinds::builtin(), &[]);
    let owner = listen(|_| Box::pin(std::future::ready(said(Err(Problem::new(503, "partition_stopped", "no room")))))).await;
    store.others.lock().insert(0, member(owner));
    let refused = node
        .core
        .submit(node.envelope("org", "acme", "create", json!({ "name": "Acme" })))
        .await;
    let problem = refused.expect_err("nobody takes it");
    assert_eq!((problem.code.as_str(), problem.retry_after), (NOT_OPEN, Some(1)));
    assert!(problem.detail.ends_with(": no room"), "{}", problem.detail);
}

#[tokio::test]
async fn a_command_at_an_owner_that_was_replaced_goes_to_the_next_one() {
    let log = log(1);
    let (of_a, of_b) = (Store::new(PATIENCE), Store::new(PATIENCE));
    let a = Node::new(&log, &of_a, Kinds::builtin(), &[]);
    a.own(0).await;
    a.org().await;
    let b = Node::new(&log, &of_b, Kinds::builtin(), &[]);
    b.own(0).await;
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
    assert!(a.core.is_owner(0), "it has not heard of it");
    let posted = a
        .core
        .submit(a.envelope("conversation", "c", "create", json!({ "type": "group" })))
        .await;
    assert_eq!(posted.map(|receipt| receipt.duplicate).map_err(|p| p.code), Ok(false));
    assert!(!a.core.is_owner(0) && b.core.is_owner(0));
    // What each saw durable is noted, also by the one that owns nothing any more.
    let noted = |node: &Node| node.core.owned_heads().iter().map(|entry| entry.offset).collect::<Vec<_>>();
    assert_eq!((noted(&a), noted(&b)), (vec![1], vec![2]));
    assert_eq!(
        noted(&Node::new(&log, &of_a, Kinds::builtin(), &[])),
        Vec::<u64>::new(),
        "it has owned nothing"
    );
}
