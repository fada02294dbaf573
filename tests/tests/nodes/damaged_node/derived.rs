//! What is derived from the log, damaged.

use super::{FLUSH_HEADER, House, POSTS, SPOILED, change, found_in, health, middle, room, said, verify, views_database};
use quipu_tests::stored;
use std::{fs, path::Path};

/// What is overwritten of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoiled {
    FirstPage,
    AllButTheFirst,
    /// Every page that holds rows of the org: what no start looks at.
    Rows,
}

fn spoil(path: &Path, what: Spoiled) {
    change(path, |bytes| {
        for (number, page) in bytes.chunks_mut(4096).enumerate() {
            let spoiled = match what {
                Spoiled::FirstPage => number == 0,
                Spoiled::AllButTheFirst => number > 0,
                Spoiled::Rows => page.windows(4).any(|w| w == b"acme"),
            };
            if spoiled {
                page.fill(0xA5);
            }
        }
    });
}

#[tokio::test]
async fn a_damaged_index_is_made_anew_from_the_log() {
    for what in SPOILED {
        let house = House::build().await;
        spoil(&house.data().join("index/index.db"), what);
        // The log itself is whole.
        assert_eq!(verify(&house.launch, &house.data()).await["intact"], true);
        let mut node = house.start_or_not(what).await;
        if what == Spoiled::Rows {
            // What only lookups meet is refused, never answered wrongly, and told by health; the next start repairs it.
            if let Some(node) = node.take() {
                let ada = node.caller.acting_for("ada");
                let mut refused = 0;
                for id in house.rooms.keys() {
                    let history = ada.get(&format!("{}/history?limit=1000", room(id))).await;
                    let whole = history.status == 200 && history.body["items"].as_array().map(Vec::len) == Some(POSTS + 1);
                    assert!(
                        whole || (history.status, history.code()) == (503, "index_unavailable"),
                        "{id}: {}",
                        history.text
                    );
                    refused += usize::from(!whole);
                }
                assert!(refused > 0, "no row that is asked for was damaged");
                let told = health(&node).await;
                let parts = told["parts"].as_array().map_or(&[][..], Vec::as_slice);
                assert!(
                    told["status"] == "degraded" && parts.iter().any(|p| p["name"] == "index" && p["ok"] == false),
                    "{told}"
                );
                node.end().await;
            }
            node = Some(house.start().await);
        }
        let node = node.expect("it starts");
        house.serves_all_but(&node, None).await;
        assert_eq!(health(&node).await["status"], "ok");
        node.stop().await;
        assert_eq!(verify(&house.launch, &house.data()).await["intact"], true);
    }
}

#[tokio::test]
async fn damaged_views_are_rebuilt_at_start_or_found_by_verify() {
    for what in SPOILED {
        let house = House::build().await;
        spoil(&views_database(&house.data()), what);
        let node = house.start().await;
        let ada = node.caller.acting_for("ada");
        // Commands, histories and states never depend on views.
        for id in house.rooms.keys() {
            said(&ada, id, "before").await.expect("taken");
            assert_eq!(ada.count(&room(id), "conversation.message_posted", |_| true).await, POSTS + 1);
        }
        if what == Spoiled::Rows {
            let verdict = node.caller.views_job("verify").await;
            assert!(verdict["status"] == "failed" || verdict["equal"] == false, "{verdict}");
            let job = node.caller.views_job("rebuild").await;
            assert_eq!(job["status"], "done", "{job}");
        }
        for id in house.rooms.keys() {
            let seen = ada.fresh(&format!("{}/messages", room(id))).await.taken().body;
            assert_eq!(seen["items"].as_array().map(Vec::len), Some(POSTS + 1), "{seen}");
        }
        assert_eq!(node.caller.views_job("verify").await["equal"], true);
        assert_eq!(health(&node).await["status"], "ok");
        node.stop().await;
    }
}

/// A restored log begins a segment, so that the one before it is sealed and has a sidecar.
async fn sealed() -> House {
    let house = House::build().await;
    let aside = house.data().with_file_name("before");
    fs::rename(house.data(), &aside).expect("put aside");
    house.restore_from(&aside).await;
    let node = house.start().await;
    node.caller.acting_for("ada").fresh("/v1/orgs/acme/conversations").await.taken();
    node.stop().await;
    assert!(house.data().join("log/0000000000000001.idx").exists());
    house
}

#[tokio::test]
async fn a_damaged_sidecar_is_made_anew() {
    for at in [0, 30, 60, 500] {
        let house = sealed().await;
        change(&house.data().join("log/0000000000000001.idx"), |bytes| {
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 4;
        });
        fs::remove_dir_all(house.data().join("index")).expect("the index");
        fs::remove_dir_all(house.data().join("views")).expect("the views");
        assert_eq!(verify(&house.launch, &house.data()).await["intact"], true);
        let node = house.start().await;
        house.serves_all_but(&node, None).await;
        assert_eq!(health(&node).await["status"], "ok");
        node.stop().await;
        let log = stored::open(&house.data());
        assert_eq!(stored::broken(&stored::records(&log)), Vec::<String>::new());
    }
}

#[tokio::test]
async fn flip_in_a_sealed_segment_stops_or_parks_when_read() {
    let house = sealed().await;
    let flush = middle(&house.segment(), house.victim());
    change(&house.segment(), |bytes| bytes[flush.at + FLUSH_HEADER + 108 + 100] ^= 0x10);
    let report = verify(&house.launch, &house.data()).await;
    assert!(
        found_in(&report, ".seg")
            .iter()
            .any(|(p, _)| *p == Some(u64::from(flush.partition))),
        "{report}"
    );
    let node = house.start().await;
    let ada = node.caller.acting_for("ada");
    let mut refused = 0;
    for (id, partition) in &house.rooms {
        match said(&ada, id, "after").await {
            Ok(_) => assert!(ada.get(&format!("{}/history?limit=1000", room(id))).await.status == 200, "{id}"),
            Err((status, why)) => {
                refused += 1;
                assert_eq!((status, *partition), (503, flush.partition), "{id}: {why}");
            }
        }
    }
    assert_eq!(refused, 1, "the stream that owns the record parks, no other");
    let health = health(&node).await;
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(health.to_string().contains("parked"), "{health}");
    node.stop().await;
    house.repair().await;
}
