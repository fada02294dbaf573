//! What is derived, thrown away and built again.

use quipu_tests::{
    caller::wait,
    office::{Office, path},
    stored,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Removes everything that is derived; what stays is log, keys (with the fingerprint that says whether all of them are there),
/// blobs, token.
pub(super) fn forget_what_is_derived(data: &Path) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(data).expect("the data directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["log", "keys", "keys.fingerprint", "blobs", "token", "lock", "log.json"].contains(&name.as_str()) {
            kept.insert(name);
        } else if entry.file_type().expect("a type").is_dir() {
            fs::remove_dir_all(entry.path()).expect("removed");
        } else {
            fs::remove_file(entry.path()).expect("removed");
        }
    }
    kept
}

/// Every row of the org's views, as answered.
async fn views(office: &Office) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for view in [
        "orgs",
        "members",
        "agents",
        "conversations",
        "messages",
        "participants",
        "turns",
        "runs",
        "deliveries",
        "dead-letters",
        "timers",
        "receipts",
        "activity",
    ] {
        let page = office.ada.fresh(&format!("/v1/orgs/acme/{view}?limit=1000")).await;
        if page.status == 200 {
            out.insert(view.to_owned(), page.body["items"].clone());
        }
    }
    out
}

#[tokio::test]
async fn rebuilt_without_index_is_equal_and_repeats_no_effect() {
    // A small idle time puts entities to sleep, so that snapshots and the wake-up index are in use.
    let mut office = Office::open_with(|launch| launch.set("limits.passivate_after_ms", "100")).await;
    office
        .agent(
            "scout",
            "scripted: tool look {}\nscripted: reply Seen {tool}",
            json!([{ "name": "look", "run": { "by": "http", "url": office.receiver.url("/look"), "idempotent": true } }]),
        )
        .await;
    office.room("desk", &["scout"], 0).await;
    let hook = json!({
        "name": "hook", "inputs": { "go": {} }, "outputs": { "done": {} },
        "nodes": [
            { "id": "tell", "component": "webhook.call", "retry": { "attempts": 1, "backoff": "none", "initial_ms": 0, "max_ms": 0 },
              "config": { "url": "=run.input.go", "type": "t", "data": {}, "secret": "hook" } },
            { "id": "sleep", "component": "delay", "config": { "ms": 3_600_000 } },
        ],
        "edges": [{ "from": "input.go", "to": "tell.in" }, { "from": "tell.out", "to": "sleep.in" }, { "from": "sleep.out", "to": "output.done" }],
    });
    for n in 0..4 {
        office
            .run(&format!("r{n}"), hook.clone(), json!({ "go": office.receiver.url("/hook") }))
            .await;
        office.say("desk", &format!("q{n}"), "what is there?").await;
        let desk = path("conversation", "desk");
        wait("the answer", || async {
            (office.ada.count(&desk, "conversation.turn_finished", |_| true).await == n + 1).then_some(())
        })
        .await;
    }
    office.receiver.refuse("/dead", &[500, 500]);
    office.run("dead", hook, json!({ "go": office.receiver.url("/dead") })).await;
    // More events than lie between two snapshots.
    office.room("long", &[], 0).await;
    for n in 0..230 {
        office.say("long", &format!("m{n}"), "more").await;
    }
    wait("everything to settle", || async {
        let rows = office.ada.get("/v1/ops/outbox").await.taken().body["items"].take();
        rows.as_array()?
            .iter()
            .all(|row| matches!(row["status"].as_str(), Some("dead" | "delivered")))
            .then_some(())
    })
    .await;
    let rows = views(&office).await;
    assert!(rows.len() >= 10, "views are read: {:?}", rows.keys());
    office.kill().await;
    let arrivals = office.receiver.arrivals();
    let digests = stored::replayed(&stored::open(&office.launch.data()));

    let kept = forget_what_is_derived(&office.launch.data());
    assert!(kept.contains("log") && kept.contains("keys"), "{kept:?}");
    office.start().await;
    for (stream, (version, digest)) in &digests {
        let entity = stream.path();
        assert_eq!(office.ada.digest(&entity).await, (*version, digest.clone()), "{stream}");
    }
    let again = views(&office).await;
    for (view, rows) in &rows {
        assert_eq!(&again[view], rows, "view {view}");
    }
    let job = office.node().caller.views_job("verify").await;
    assert_eq!(job["equal"], Value::Bool(true), "{job}");
    // Commands from before are still known.
    let again = office
        .ada
        .try_command(
            &format!("{}/post", path("conversation", "long")),
            "after",
            &json!({ "message_id": "m0", "body": "more" }),
        )
        .await
        .expect("an answer");
    assert_eq!(
        (again.status, again.body["unchanged"].as_bool()),
        (202, Some(true)),
        "{}",
        again.text
    );
    let outbox = office.ada.get("/v1/ops/outbox").await.taken().body;
    let dead: Vec<_> = outbox["items"]
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["status"] == "dead")
        .collect();
    assert_eq!(dead.len(), 1, "{outbox}");
    // A timer is still set, and no effect came again.
    let timers = office.ada.fresh(&format!("{}/timers", path("run", "r0"))).await.taken().body;
    assert!(timers["items"].as_array().is_some_and(|rows| !rows.is_empty()), "{timers}");
    assert_eq!(office.receiver.arrivals(), arrivals, "no effect is repeated");
    office.node.take().expect("the node").stop().await;
}
