//! Looking back through HTTP: time travel, history, and a feed that resumes across crashes.

use quipu_tests::office::{Office, path};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test]
async fn every_version_reads_by_number_and_time_across_a_crash() {
    let mut office = Office::open().await;
    office.room("desk", &[], 0).await;
    let desk = path("conversation", "desk");
    let mut seen: Vec<(u64, String)> = vec![office.ada.digest(&desk).await];
    for n in 0..8 {
        office.say("desk", &format!("m{n}"), &format!("message {n}")).await;
        seen.push(office.ada.digest(&desk).await);
    }
    for crash in [false, true] {
        if crash {
            office.kill().await;
            office.start().await;
        }
        for (version, digest) in &seen {
            let state = office.ada.get(&format!("{desk}/state?version={version}")).await.taken().body;
            assert_eq!(
                (state["version"].as_u64(), state["digest"].as_str()),
                (Some(*version), Some(digest.as_str()))
            );
            let by_time = office.ada.get(&format!("{desk}/state?at={}", state["time"])).await.taken().body;
            assert!(
                by_time["version"].as_u64() >= Some(*version),
                "at the time of {version}: {}",
                by_time["version"]
            );
        }
        let past = seen.last().map_or(0, |(version, _)| version + 1);
        assert_eq!(office.ada.get(&format!("{desk}/state?version={past}")).await.status, 404);
        assert_eq!(office.ada.get(&format!("{desk}/state?at=1000")).await.status, 404);
        let records = office.ada.records(&desk).await;
        let mut previous = Value::Null;
        for record in &records {
            if !previous.is_null() {
                assert_eq!(record["previous_hash"], previous, "each record holds the hash of the one before it");
            }
            previous = record["hash"].clone();
        }
    }
}

/// What a feed told: events by id, and where it was.
async fn read(office: &Office, from: &str, told: &mut BTreeMap<String, String>) -> String {
    let answer = office
        .ada
        .get(&format!("/v1/orgs/acme/events?follow=false&from={from}"))
        .await
        .taken();
    let mut cursor = None;
    for line in answer.text.lines() {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        match value["id"].as_str() {
            Some(id) => {
                let first = told.insert(id.to_owned(), line.to_owned());
                assert!(first.is_none(), "{id} came twice");
            }
            None => cursor = value["cursor"].as_str().map(str::to_owned),
        }
    }
    cursor.expect("a cursor at the end")
}

#[tokio::test]
async fn feed_resumes_from_its_cursor_across_crashes_exactly() {
    let mut office = Office::open().await;
    office.room("a", &[], 0).await;
    office.room("b", &[], 0).await;
    let mut told = BTreeMap::new();
    let mut cursor = read(&office, "start", &mut told).await;
    for round in 0..4 {
        for n in 0..5 {
            office
                .say(if n % 2 == 0 { "a" } else { "b" }, &format!("m{round}-{n}"), "hello")
                .await;
        }
        office.kill().await;
        office.start().await;
        cursor = read(&office, &cursor, &mut told).await;
    }
    let mut whole = BTreeMap::new();
    read(&office, "start", &mut whole).await;
    assert_eq!(told, whole, "the same events, byte for byte");
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for id in whole.keys() {
        let (stream, version) = id.split_once('@').expect("stream@version");
        let last = versions.entry(stream.to_owned()).or_default();
        *last = (*last).max(version.parse().expect("a version"));
    }
    let total: u64 = versions.values().sum();
    assert_eq!(total as usize, whole.len(), "gapless");
    // A cursor of another log is refused by name.
    let other = Office::open().await;
    let refused = other.ada.get(&format!("/v1/orgs/acme/events?follow=false&from={cursor}")).await;
    refused.refused(410, "log_generation_changed");
}

#[tokio::test]
async fn orgs_do_not_see_each_other() {
    let office = Office::open().await;
    office.room("desk", &[], 0).await;
    let zed = office.by("zed");
    zed.post("/v1/orgs/zeta/orgs/zeta", json!({ "name": "Zeta" })).await.taken();
    let feed = zed.get("/v1/orgs/zeta/events?follow=false").await.taken();
    assert!(!feed.text.contains("acme"), "{}", feed.text);
    assert_eq!(zed.fresh("/v1/orgs/zeta/conversations").await.taken().body["items"], json!([]));
    assert_eq!(zed.fresh("/v1/orgs/zeta/conversations/desk").await.status, 404);
    assert_eq!(
        zed.post(&format!("{}/rename", path("org", "acme")), json!({ "name": "Mine" }))
            .await
            .status,
        403
    );
    assert_eq!(
        zed.post(&path("conversation", "mine"), json!({ "type": "group" })).await.status,
        403,
        "no member, no conversation"
    );
}
