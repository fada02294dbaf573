//! Commands in, receipts out; identity and expected versions.

use super::*;

#[tokio::test]
async fn an_org_creates_itself_and_answers_with_a_receipt() {
    let node = TestNode::start().await;
    let created = node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    assert_eq!(created.header("location"), "/v1/orgs/acme/orgs/acme");
    let receipt = created.json();
    assert_eq!(receipt["stream"], "acme/org/acme");
    assert_eq!(receipt["durability"], "fsync");
    let version = receipt["version"].as_u64().unwrap();
    assert_eq!(created.header("etag"), format!("\"{version}\""));
    assert!(!created.header("quipu-position").is_empty());
    let renamed = node
        .post("/v1/orgs/acme/orgs/acme/rename", json!({ "name": "Acme 2" }))
        .await
        .expect(202);
    assert_eq!(renamed.json()["version"], version + 1);
    assert!(renamed.headers.get("location").is_none());
}

#[tokio::test]
async fn a_create_mints_an_id_or_takes_the_clients_own() {
    let node = TestNode::with_org().await;
    let minted = node
        .post("/v1/orgs/acme/conversations", json!({ "type": "group" }))
        .await
        .expect(201)
        .json();
    assert!(minted["stream"].as_str().unwrap().starts_with("acme/conversation/cnv_"), "{minted}");
    assert_eq!(node.conversation("mine").await.json()["stream"], "acme/conversation/mine");
    // The same create under one key makes one entity.
    let key = [("Idempotency-Key", "create-1")];
    let first = node
        .post_with("/v1/orgs/acme/conversations", &key, json!({ "type": "group" }))
        .await
        .expect(201)
        .json();
    let again = node
        .post_with("/v1/orgs/acme/conversations", &key, json!({ "type": "group" }))
        .await
        .expect(201)
        .json();
    assert_eq!(first["stream"], again["stream"]);
    assert_eq!(again["duplicate"], true);
}

#[tokio::test]
async fn repeated_command_gets_first_receipt_and_other_body_conflicts() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let path = "/v1/orgs/acme/conversations/c/post";
    let key = [("Idempotency-Key", "m-1")];
    let first = node.post_with(path, &key, json!({ "body": "hi" })).await.expect(202).json();
    let again = node.post_with(path, &key, json!({ "body": "hi" })).await.expect(202).json();
    assert_eq!((&first["version"], &first["position"]), (&again["version"], &again["position"]));
    node.post_with(path, &key, json!({ "body": "other" }))
        .await
        .problem(409, "command_id_reused");
    let receipt = node.get("/v1/orgs/acme/conversations/c/commands/m-1").await.expect(200);
    assert_eq!(receipt.json()["version"], first["version"]);
    node.get("/v1/orgs/acme/conversations/c/commands/never")
        .await
        .problem(404, "not_found");
    // After a restart as well.
    let data = node.data;
    node.running.stop().await;
    let node = TestNode::over(data).await;
    let later = node.post_with(path, &key, json!({ "body": "hi" })).await.expect(202).json();
    assert_eq!((&first["version"], &first["position"]), (&later["version"], &later["position"]));
}

#[tokio::test]
async fn stale_expected_version_is_refused_with_the_current_one() {
    let node = TestNode::with_org().await;
    let version = node.conversation("c").await.json()["version"].as_u64().unwrap();
    let path = "/v1/orgs/acme/conversations/c/post";
    let stale = node.post_with(path, &[("If-Match", "\"99\"")], json!({ "body": "x" })).await;
    let problem = stale.problem(412, "wrong_version");
    assert_eq!(problem["current_version"], version);
    assert_eq!(stale.header("etag"), format!("\"{version}\""));
    assert_eq!(stale.header("x-should-retry"), "false");
    let good = format!("\"{version}\"");
    node.post_with(path, &[("If-Match", &good)], json!({ "body": "x" }))
        .await
        .expect(202);
    let body = json!({ "type": "group" });
    node.post_with("/v1/orgs/acme/conversations/c", &[("If-None-Match", "*")], body.clone())
        .await
        .problem(412, "wrong_version");
    node.post_with("/v1/orgs/acme/conversations/new", &[("If-None-Match", "*")], body)
        .await
        .expect(201);
}

#[tokio::test]
async fn labels_are_recorded_and_the_correlation_id_comes_back() {
    let node = TestNode::with_org().await;
    let headers = [
        ("X-Correlation-Id", "corr-1"),
        ("X-Env", "staging"),
        ("X-Data-Class", "pii"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let created = node
        .post_with("/v1/orgs/acme/conversations/c", &headers, json!({ "type": "group" }))
        .await
        .expect(201);
    assert_eq!(created.header("x-correlation-id"), "corr-1");
    assert_eq!(created.header("x-trace-id"), "corr-1");
    let history = node.get("/v1/orgs/acme/conversations/c/history").await.expect(200).json();
    let event = &history["items"][0]["events"][0];
    assert_eq!(event["correlationid"], "corr-1");
    assert_eq!(event["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(event["principal"], "bootstrap");
    let minted = node.get("/v1/orgs/acme/conversations/c").await;
    assert_eq!(minted.header("x-correlation-id").len(), 36);
}

#[tokio::test]
async fn one_key_of_two_people_creates_for_each() {
    let node = TestNode::with_org().await;
    for person in ["ada", "bob"] {
        let member = json!({ "principal": person, "role": "member" });
        node.post("/v1/orgs/acme/orgs/acme/add_member", member).await.expect(202);
    }
    let create = async |person| {
        let headers = [("Idempotency-Key", "1"), ("Quipu-On-Behalf-Of", person)];
        let receipt = node
            .post_with("/v1/orgs/acme/conversations", &headers, json!({ "type": "group" }))
            .await
            .expect(201)
            .json();
        (receipt["stream"].clone(), receipt["duplicate"].clone())
    };
    let (ada, _) = create("ada").await;
    let (bob, _) = create("bob").await;
    assert_ne!(ada, bob);
    assert_eq!(create("ada").await, (ada, Value::Bool(true)));
}

#[tokio::test]
async fn a_message_of_quotes_counts_as_its_own_length() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    for text in ["\"".repeat(65_000), "\u{1}".repeat(65_536)] {
        let at = node.say("c", &text).await.header("quipu-position").to_owned();
        let rows = node
            .get(&format!("/v1/orgs/acme/conversations/c/messages?min_position={at}"))
            .await
            .expect(200)
            .json();
        let rows = rows["items"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["body"] == text.as_str()));
    }
    let long = node.post(
        "/v1/orgs/acme/conversations/c/post",
        json!({ "body": "\"".repeat(1024 * 1024 + 1) }),
    );
    assert!((400..500).contains(&long.await.status.as_u16()));
}
