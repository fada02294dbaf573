//! Feeds at a node that owns nothing: the partitions of others are read once for all of them, and again after a change of hands.

mod rights;

use super::*;
use crate::{
    api::{FeedFilter, FeedItem},
    feed::{Feed, offers},
};

async fn versions(feed: &mut Feed, count: usize) -> Vec<u64> {
    let mut found = Vec::new();
    while found.len() < count {
        if let FeedItem::Record(entry) = feed.next().await.expect("the node runs") {
            found.push(entry.record.header.first_version);
        }
    }
    found
}

async fn caught_up(feed: &mut Feed) -> usize {
    let mut records = 0;
    loop {
        match feed.next().await.expect("the node runs") {
            FeedItem::CaughtUp(_) => return records,
            FeedItem::Record(_) => records += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// Sends a command and lets the watcher see it.
async fn said(owner: &Node, watcher: &Node, command: &str, n: usize) {
    let envelope = owner.envelope("conversation", "room", command, json!({ "body": format!("{n}") }));
    let id = CommandId::parse(format!("c-{n}")).expect("an id");
    owner
        .here(CommandEnvelope {
            command_id: id,
            seed: n as _,
            ..envelope
        })
        .await
        .expect("taken");
    let core = watcher.core.clone();
    tokio::task::spawn_blocking(move || shadow::follow(&core, 0))
        .await
        .expect("no crash");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_other_nodes_are_read_once_for_all_feeds() {
    let log = log(1);
    let (of_owner, of_watcher) = (Store::new(PATIENCE), Store::new(PATIENCE));
    let owner = Node::new(&log, &of_owner, Kinds::builtin(), &[]);
    owner.own(0).await;
    owner.org().await;
    owner
        .here(owner.envelope("conversation", "room", "create", json!({ "type": "group" })))
        .await
        .expect("a room");
    let watcher = Node::new(&log, &of_watcher, Kinds::builtin(), &[]);
    tokio::spawn(offers::follow(watcher.core.clone()));
    let start = Cursor::start(watcher.core.meta.log_id, watcher.core.meta.generation, 1);
    let acme = FeedFilter {
        org: Some(OrgId::from_static("acme")),
        ..FeedFilter::default()
    };
    let mut feeds: Vec<Feed> = (0..3)
        .map(|_| Feed::start(watcher.core.clone(), start.clone(), acme.clone()))
        .collect();
    for feed in &mut feeds {
        assert_eq!(caught_up(feed).await, 2);
    }
    let decoded = || watcher.core.counters.feed_decoded.load(Ordering::Relaxed);
    let before = decoded();
    for n in 0..20 {
        said(&owner, &watcher, "post", n).await;
    }
    for feed in &mut feeds {
        assert_eq!(versions(feed, 20).await, (3..23).collect::<Vec<_>>());
    }
    assert_eq!(decoded() - before, 20, "each record was decoded once, for three feeds");

    // The watcher takes the partition over: what it stores itself comes to the same feeds, behind what it followed.
    watcher.own(0).await;
    for n in 20..25 {
        said(&watcher, &watcher, "post", n).await;
    }
    for feed in &mut feeds {
        assert_eq!(versions(feed, 5).await, (23..28).collect::<Vec<_>>());
    }
    drop(feeds);
    assert!(watcher.core.hub.state().machine.is_idle());
}
