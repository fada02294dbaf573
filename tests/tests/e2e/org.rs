//! An org through HTTP: its last owner, and what a suspension stops.

use quipu_tests::{
    caller::wait,
    office::{Office, path},
};
use serde_json::json;

#[tokio::test]
async fn the_last_owner_stays_until_there_is_another() {
    let office = Office::open().await;
    let ada = json!({ "principal": "ada" });
    office
        .send("org", "acme", "remove_member", ada.clone())
        .await
        .refused(409, "last_owner");
    office
        .send("org", "acme", "set_role", json!({ "principal": "ada", "role": "member" }))
        .await
        .refused(409, "last_owner");
    office.member("bob", "owner").await;
    office
        .send("org", "acme", "set_role", json!({ "principal": "ada", "role": "viewer" }))
        .await
        .taken();
    office
        .send("org", "acme", "rename", json!({ "name": "Mine" }))
        .await
        .refused(403, "missing_right");
    let bob = office.by("bob");
    bob.post(&format!("{}/remove_member", path("org", "acme")), ada).await.taken();
    bob.post(&format!("{}/remove_member", path("org", "acme")), json!({ "principal": "bob" }))
        .await
        .refused(409, "last_owner");
    let members = bob.fresh(&format!("{}/members", path("org", "acme"))).await.taken().body;
    let names: Vec<_> = members["items"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|m| (m["principal"].clone(), m["role"].clone()))
        .collect();
    assert_eq!(names, [(json!("bob"), json!("owner"))]);
}

#[tokio::test]
async fn suspended_org_refuses_commands_and_holds_its_effects() {
    let mut office = Office::open().await;
    office.room("desk", &[], 0).await;
    let definition = json!({
        "name": "later", "inputs": { "hook": {} }, "outputs": { "done": {} },
        "nodes": [
            { "id": "wait", "component": "delay", "config": { "ms": 600 } },
            { "id": "tell", "component": "webhook.call", "config": { "url": "=run.input.hook", "type": "t", "data": {}, "secret": "hook" } },
        ],
        "edges": [{ "from": "input.hook", "to": "wait.in" }, { "from": "wait.out", "to": "tell.in" }, { "from": "tell.out", "to": "output.done" }],
    });
    office.run("r", definition, json!({ "hook": office.receiver.url("/parked") })).await;
    office.send("org", "acme", "suspend", json!({ "reason": "unpaid" })).await.taken();
    for (kind, id, command, body) in [
        ("org", "acme", "rename", json!({ "name": "X" })),
        ("org", "acme", "add_member", json!({ "principal": "bob", "role": "member" })),
        ("conversation", "desk", "post", json!({ "body": "hello" })),
        ("run", "r", "pause", json!({})),
        ("agent", "scout", "retire", json!({})),
    ] {
        office.send(kind, id, command, body).await.refused(403, "org_suspended");
    }
    office
        .ada
        .post(&path("conversation", "other"), json!({ "type": "group" }))
        .await
        .refused(403, "org_suspended");
    // The timer settles and the node is started; its webhook parks.
    office
        .ada
        .await_event(&path("run", "r"), "run.node_started", |data| data["node"] == "tell")
        .await;
    let parked = |office: &Office| {
        let ada = office.ada.clone();
        async move {
            wait("the webhook in the outbox", || async {
                let rows = ada.get("/v1/ops/outbox?org=acme").await.taken().body;
                rows["items"].as_array()?.iter().find(|row| row["effect"] == "webhook").cloned()
            })
            .await
        }
    };
    assert_eq!(parked(&office).await["attempts"], 0);
    // A crash does not let it out either.
    office.kill().await;
    office.start().await;
    assert_eq!(parked(&office).await["attempts"], 0);
    office
        .send("conversation", "desk", "post", json!({ "body": "hello" }))
        .await
        .refused(403, "org_suspended");
    assert_eq!(office.receiver.arrivals(), []);
    office.send("org", "acme", "resume", json!({})).await.taken();
    office.ada.await_event(&path("run", "r"), "run.completed", |_| true).await;
    assert_eq!(office.receiver.at("/parked").len(), 1);
    office
        .send("conversation", "desk", "post", json!({ "body": "hello" }))
        .await
        .taken();
}

#[tokio::test]
async fn its_statistics_count_what_there_is_by_what_matters() {
    let office = Office::open().await;
    office.member("bob", "viewer").await;
    office.agent("scout", "hello", json!([])).await;
    office.room("desk", &[], 0).await;
    office.room("lounge", &[], 0).await;
    office
        .send("conversation", "lounge", "pause", json!({ "reason": "night" }))
        .await
        .taken();
    for n in 0..3 {
        office.say("desk", &format!("m{n}"), "hello").await.taken();
    }
    let stats = office.ada.fresh("/v1/orgs/acme/stats").await.taken().body;
    assert_eq!(
        stats["members"],
        json!({ "total": 2, "by_role": { "owner": 1, "viewer": 1 } }),
        "{stats}"
    );
    assert_eq!(
        (&stats["agents"]["total"], &stats["messages"]["total"]),
        (&json!(1), &json!(3)),
        "{stats}"
    );
    let conversations = &stats["conversations"];
    assert_eq!(
        (&conversations["total"], &conversations["by_type"]),
        (&json!(2), &json!({ "group": 2 })),
        "{stats}"
    );
    assert_eq!(conversations["by_paused"], json!({ "0": 1, "1": 1 }), "{stats}");
    office.ada.get("/v1/orgs/nobody/stats").await.refused(404, "unknown_org");
}
