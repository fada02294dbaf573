//! Approvals over HTTP: a command that an org keeps behind one, asked for, agreed to, sent in its asker's name.

use super::{isolation::Tenants, *};
use std::time::{Duration, Instant};

async fn by_key(node: &TestNode, key: &str, path: &str, body: Value) -> Answer {
    let request = node
        .client
        .post(format!("{}{path}", node.running.url()))
        .bearer_auth(key)
        .json(&body);
    TestNode::send(request).await
}

/// The row of an approval, once it is in this state.
async fn until(node: &TestNode, id: &str, status: &str) -> Value {
    let begun = Instant::now();
    loop {
        let row = node.get(&format!("/v1/orgs/acme/approvals/{id}")).await;
        if row.status == 200 && row.json()["status"] == status {
            return row.json();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{id} is not {status}: {}", row.text);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_command_is_sent_when_another_person_agrees() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    for (who, role) in [("bob", "admin"), ("cleo", "member")] {
        let member = json!({ "principal": who, "role": role });
        node.post("/v1/orgs/acme/orgs/acme/add_member", member).await.expect(202);
    }
    let bob = node.key("acme", "key-bob", json!({ "principal": "bob" })).await;
    let cleo = node.key("acme", "key-cleo", json!({ "principal": "cleo" })).await;
    let bad = json!({ "settings": { "approvals.required": ["role:admin"] } });
    node.post("/v1/orgs/acme/orgs/acme/change_settings", bad)
        .await
        .problem(422, "bad_setting");
    let gates = json!({ "settings": { "approvals.required": ["cap:org.add_member"] } });
    node.post("/v1/orgs/acme/orgs/acme/change_settings", gates).await.expect(202);

    let add = json!({ "principal": "dan", "role": "member", "email": "dan@zzsecret.example" });
    let path = "/v1/orgs/acme/orgs/acme/add_member";
    let refused = by_key(node, &tenants.ada, path, add.clone())
        .await
        .problem(403, "approval_required");
    assert!(refused["fix"].as_str().unwrap().contains("/v1/orgs/acme/approvals"), "{refused}");

    let ask = json!({ "kind": "org", "id": "acme", "command": "add_member", "body": add, "reason": "a new colleague" });
    let apr = "/v1/orgs/acme/approvals/one";
    by_key(node, &tenants.ada, apr, ask.clone()).await.expect(201);
    let history = node
        .by(Some(&tenants.vic), Method::GET, &format!("{apr}/history"))
        .await
        .expect(200);
    assert!(!history.text.contains("zzsecret"), "{}", history.text);
    by_key(node, &tenants.ada, &format!("{apr}/approve"), json!({}))
        .await
        .problem(403, "own_request");
    by_key(node, &cleo, &format!("{apr}/approve"), json!({}))
        .await
        .problem(403, "missing_right");
    by_key(node, &bob, &format!("{apr}/approve"), json!({})).await.expect(202);
    let row = until(node, "one", "executed").await;
    assert_eq!(
        (&row["refused"], &row["decided_by"], &row["requested_by"]),
        (&Value::Null, &json!("bob"), &json!("ada"))
    );
    let done = node.get("/v1/orgs/acme/orgs/acme/history?limit=100").await.expect(200).json();
    let last = done["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["principal"], &last["events"][0]["type"]),
        (&json!("ada"), &json!("quipu.org.member_added.v1"))
    );

    // Somebody refuses, and that is that.
    by_key(node, &tenants.ada, "/v1/orgs/acme/approvals/three", ask).await.expect(201);
    by_key(node, &bob, "/v1/orgs/acme/approvals/three/reject", json!({ "reason": "no" }))
        .await
        .expect(202);
    by_key(node, &bob, "/v1/orgs/acme/approvals/three/approve", json!({}))
        .await
        .problem(409, "approval_over");
    let malformed = json!({ "kind": "org", "id": "acme", "command": "add_member", "body": { "principal": "x" } });
    let problem = by_key(node, &tenants.ada, "/v1/orgs/acme/approvals/four", malformed)
        .await
        .problem(422, "invalid_command");
    assert_eq!(problem["field"], "body.role", "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_gives_its_asker_no_right() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    for (who, role) in [("bob", "admin"), ("cleo", "member")] {
        let member = json!({ "principal": who, "role": role });
        node.post("/v1/orgs/acme/orgs/acme/add_member", member).await.expect(202);
    }
    let bob = node.key("acme", "key-bob", json!({ "principal": "bob" })).await;
    let cleo = node.key("acme", "key-cleo", json!({ "principal": "cleo" })).await;
    // What a member may not do, they may not do by an approval either: their rights decide when it is sent.
    let beyond = json!({ "kind": "org", "id": "acme", "command": "rename", "body": { "name": "Mine" } });
    by_key(node, &cleo, "/v1/orgs/acme/approvals/two", beyond).await.expect(201);
    by_key(node, &bob, "/v1/orgs/acme/approvals/two/approve", json!({}))
        .await
        .expect(202);
    assert_eq!(until(node, "two", "executed").await["refused"], "missing_right");
}
