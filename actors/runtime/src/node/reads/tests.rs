//! What reads cost is what they return, however long the stream and the log are.

use super::*;
use crate::{
    api::{FeedEntry, FeedItem},
    node::scene::{Scene, until},
};
use quipu_schemas::ids::{EntityId, Kind, OrgId};
use serde_json::json;
use std::sync::{Arc, atomic::Ordering};

fn acme(kind: Option<Kind>, id: Option<&'static str>) -> FeedFilter {
    FeedFilter {
        org: Some(OrgId::from_static("acme")),
        kind,
        id: id.map(EntityId::from_static),
        types: Vec::new(),
    }
}

fn start(node: &Node) -> Cursor {
    let end = node.cursor();
    Cursor::start(end.log, end.generation, end.next.len() as u16)
}

/// First versions of the room's records after so many messages: its creation is two events.
fn said_versions(messages: u64) -> Vec<u64> {
    [1].into_iter().chain(3..3 + messages).collect()
}

/// What a feed gives until it has caught up.
async fn caught_up(feed: &mut Feed) -> Vec<Arc<FeedEntry>> {
    let mut found = Vec::new();
    loop {
        match feed.next().await.expect("the node runs") {
            FeedItem::Record(entry) => found.push(entry),
            FeedItem::CaughtUp(_) => return found,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_history_reads_its_records_alone() {
    let scene = Scene::new().await;
    // Fewer than make a snapshot, whose audit reads too.
    scene.say(150, 10).await;
    let room = scene.room();
    let (mut from, mut versions) = (PageFrom::Version(0), Vec::new());
    loop {
        let before = scene.records_read();
        let page = scene.node.history_page(&room, from, 7).await.unwrap().value;
        assert_eq!(scene.records_read() - before, page.entries.len() as u64);
        versions.extend(page.entries.iter().map(|entry| entry.record.header.first_version));
        let last = page.entries.last().unwrap();
        from = PageFrom::After(RecordKey {
            first_version: last.record.header.first_version,
            offset: last.position.offset,
        });
        if !page.more {
            break;
        }
    }
    assert_eq!(versions, said_versions(150));
    let before = scene.records_read();
    assert!(scene.node.exists(&room).await.unwrap());
    assert_eq!(scene.node.history(&room, 100, 2).await.unwrap().len(), 2);
    assert!(
        scene.records_read() - before <= READ_PAGE_RECORDS as u64,
        "existence reads nothing, two records a page at most"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_large_records_ends_early_and_goes_on() {
    let scene = Scene::new().await;
    // As much as a record holds of a message: more is kept beside the log.
    scene.say(900, 1_900).await;
    let page = scene.node.history_page(&scene.room(), PageFrom::Version(0), 1_000).await.unwrap();
    assert!(page.value.more);
    let stored: usize = page.value.entries.iter().map(|e| e.record.events[0].data.get().len()).sum();
    assert!(stored <= PAGE_MAX_BYTES && page.value.entries.len() > 10, "{stored}");
    assert!(page.permit.bytes() >= stored && scene.node.reads_held() >= stored);
    drop(page);
    assert_eq!(scene.node.reads_held(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_of_the_past_are_the_same_with_and_without_snapshots() {
    let scene = Scene::new().await;
    let room = scene.room();
    scene.say(230, 10).await;
    let snapshots = &scene.node.counters().snapshots;
    until("a snapshot", || snapshots.load(Ordering::Relaxed) > 0).await;
    scene.say(30, 10).await;
    let end = 262;
    let times: Vec<_> = scene
        .node
        .history(&room, 0, 1_000)
        .await
        .unwrap()
        .iter()
        .map(|e| e.record.header.time)
        .collect();
    let mut with = Vec::new();
    let before = scene.records_read();
    let near = scene.node.state(&room, Some(end), None).await.unwrap().unwrap();
    assert!(scene.records_read() - before < 100, "the snapshot saves most of {end} records");
    for version in (1..=end).step_by(13).chain([199, 200, 201, 202, end]) {
        with.push(
            scene
                .node
                .state(&room, Some(version), None)
                .await
                .unwrap()
                .map(|s| (s.version, s.time, s.digest)),
        );
    }
    for time in [times[0] - 1, times[0], times[100], times[250], times[260] + 1] {
        with.push(
            scene
                .node
                .state(&room, None, Some(time))
                .await
                .unwrap()
                .map(|s| (s.version, s.time, s.digest)),
        );
    }
    let ahead = scene.node.state(&room, Some(end + 1), None).await.map(|_| ()).unwrap_err();
    assert_eq!((ahead.code.as_str(), ahead.current_version), ("unknown_version", Some(end)));

    scene.core().index.drop_snapshots(&room).unwrap();
    let mut without = Vec::new();
    for version in (1..=end).step_by(13).chain([199, 200, 201, 202, end]) {
        without.push(
            scene
                .node
                .state(&room, Some(version), None)
                .await
                .unwrap()
                .map(|s| (s.version, s.time, s.digest)),
        );
    }
    for time in [times[0] - 1, times[0], times[100], times[250], times[260] + 1] {
        without.push(
            scene
                .node
                .state(&room, None, Some(time))
                .await
                .unwrap()
                .map(|s| (s.version, s.time, s.digest)),
        );
    }
    assert_eq!(with, without);
    assert_eq!(near.version, end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_nobody_waits_for_stops_at_the_next_page() {
    let scene = Scene::new().await;
    scene.say(READ_PAGE_RECORDS + 50, 10).await;
    let (cancel, room) = (Cancel::default(), scene.room());
    let mut records = scene.core().read_on(&room, PageFrom::Version(0), &cancel).unwrap();
    assert!(records.next().is_some());
    drop(cancel.on_drop());
    assert!(records.by_ref().count() < READ_PAGE_RECORDS, "no further page is read");
    assert_eq!(records.end().unwrap_err().code, "read_cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_of_one_conversation_reads_its_records_alone() {
    let scene = Scene::new().await;
    for n in 0..20 {
        let id = format!("other-{n}");
        scene.send("acme", "conversation", &id, "create", json!({ "type": "group" })).await;
        for _ in 0..10 {
            scene.say_in("acme", &id, "elsewhere").await;
        }
    }
    scene.say(300, 10).await;
    for filter in [acme(Some(Kind::CONVERSATION), Some("room")), acme(None, Some("room"))] {
        let (looked, decoded) = (scene.feed_looked(), scene.feed_decoded());
        let mut feed = scene.node.feed(start(&scene.node), filter);
        let found = caught_up(&mut feed).await;
        let versions: Vec<_> = found.iter().map(|entry| entry.record.header.first_version).collect();
        assert_eq!(versions, said_versions(300));
        assert_eq!((scene.feed_looked() - looked, scene.feed_decoded() - decoded), (0, 301));
        assert_eq!(feed.cursor(), scene.node.cursor(), "its cursor is at the end of every partition");
    }
    // Few streams of a kind are read by the index, many from the log, where foreign records are not decoded.
    let decoded = scene.feed_decoded();
    let mut feed = scene.node.feed(start(&scene.node), acme(Some(Kind::ORG), None));
    assert_eq!(caught_up(&mut feed).await.len(), 1);
    assert_eq!(scene.feed_decoded() - decoded, 1);
    let (looked, decoded) = (scene.feed_looked(), scene.feed_decoded());
    let mut feed = scene.node.feed(start(&scene.node), acme(Some(Kind::CONVERSATION), None));
    assert_eq!(caught_up(&mut feed).await.len(), 301 + 20 * 11);
    assert_eq!(scene.feed_decoded() - decoded, 301 + 20 * 11);
    assert_eq!(scene.feed_looked() - looked, 302 + 20 * 11);
    // So is a small org, whatever others wrote.
    scene.org("small").await;
    let (looked, decoded) = (scene.feed_looked(), scene.feed_decoded());
    let small = FeedFilter {
        org: Some(OrgId::from_static("small")),
        ..FeedFilter::default()
    };
    let mut feed = scene.node.feed(start(&scene.node), small);
    assert_eq!(caught_up(&mut feed).await.len(), 1);
    assert_eq!((scene.feed_looked() - looked, scene.feed_decoded() - decoded), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_feeds_share_records_and_read_no_log() {
    let scene = Scene::new().await;
    scene.org("other").await;
    scene
        .send("other", "conversation", "room", "create", json!({ "type": "group" }))
        .await;
    let end = scene.node.cursor();
    let mut one = scene.node.feed(end.clone(), acme(None, None));
    let mut two = scene.node.feed(end.clone(), acme(Some(Kind::CONVERSATION), None));
    let mut all = scene.node.feed(end, FeedFilter::default());
    for feed in [&mut one, &mut two, &mut all] {
        assert!(caught_up(feed).await.is_empty());
    }
    assert_eq!(scene.node.feeds().open, 3);
    let (looked, decoded) = (scene.feed_looked(), scene.feed_decoded());
    for n in 0..50 {
        scene.say_in(if n % 5 == 0 { "other" } else { "acme" }, "room", "hello").await;
    }
    let gather = async |feed: &mut Feed, count: usize| {
        let mut found = Vec::new();
        while found.len() < count {
            if let FeedItem::Record(entry) = feed.next().await.unwrap() {
                found.push(entry);
            }
        }
        found
    };
    let (of_one, of_two, of_all) = (gather(&mut one, 40).await, gather(&mut two, 40).await, gather(&mut all, 50).await);
    assert!(of_one.iter().all(|entry| entry.record.header.stream.org.as_str() == "acme"));
    assert!(
        of_one.iter().zip(&of_two).all(|(one, two)| Arc::ptr_eq(one, two)),
        "one record for all who follow"
    );
    assert_eq!(of_all.len(), 50);
    assert_eq!((scene.feed_looked() - looked, scene.feed_decoded() - decoded), (0, 0));
    // The public form is made once, and the opened one is not the sealed one.
    let mut made = 0;
    for entry in [&of_one[0], &of_two[0]] {
        let mut show = |text: &'static str| {
            made += 1;
            Ok(bytes::Bytes::from_static(text.as_bytes()))
        };
        assert_eq!(entry.shown(0, true, || show("opened")).as_deref(), Ok(&b"opened"[..]));
        assert_eq!(entry.shown(0, false, || show("sealed")).as_deref(), Ok(&b"sealed"[..]));
    }
    assert_eq!(made, 2);
    drop((one, two, all));
    assert_eq!(scene.node.feeds(), FeedCounts::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_ends_when_its_node_stops() {
    let scene = Scene::new().await;
    let mut feed = scene.node.feed(scene.node.cursor(), FeedFilter::default());
    caught_up(&mut feed).await;
    let node = scene.node.clone();
    let (_, item) = tokio::join!(node.shutdown(std::time::Duration::from_secs(5)), feed.next());
    assert!(item.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_on_their_way_in_count_against_the_bound() {
    let scene = Scene::new().await;
    let mut held = scene.node.hold_body();
    held.grow(quipu_schemas::limits::NODE_QUEUE_MAX_BYTES).unwrap();
    let refused = held.grow(1).unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (503, "overloaded"));
    assert!(refused.retry_after.is_some());
    drop(held);
    scene.say(1, 10).await;
}
