//! What every answer carries for whoever has to find out what happened: ids, times, pages of codes, and what is a repetition.

use super::*;

async fn with(node: &TestNode, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = node.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    TestNode::send(request).await
}

fn is_uuid_v7(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.chars().all(hex)) && parts[2].starts_with('7')
}

#[tokio::test]
async fn request_id_is_minted_or_taken_and_correlates() {
    let node = TestNode::with_org().await;
    let minted = node.conversation("c").await;
    assert!(is_uuid_v7(minted.header("x-request-id")), "{:?}", minted.headers);
    assert_eq!(minted.header("x-correlation-id"), minted.header("x-request-id"));
    let path = "/v1/orgs/acme/conversations/c/post";
    let words = json!({ "body": "hi" });
    let given = node.post_with(path, &[("x-request-id", "req-7")], words.clone()).await.expect(202);
    assert_eq!((given.header("x-request-id"), given.header("x-correlation-id")), ("req-7", "req-7"));
    let both = [("x-request-id", "req-8"), ("x-correlation-id", "corr-8")];
    let both = node.post_with(path, &both, words).await.expect(202);
    assert_eq!((both.header("x-request-id"), both.header("x-correlation-id")), ("req-8", "corr-8"));
    let history = node.get("/v1/orgs/acme/conversations/c/history").await.expect(200).json();
    let correlations: Vec<&str> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["correlation"].as_str())
        .collect();
    assert_eq!(correlations[1..], ["req-7", "corr-8"]);
}

#[tokio::test]
async fn problem_tells_where_when_and_every_wrong_field() {
    let node = TestNode::with_org().await;
    let missing = with(
        &node,
        Method::GET,
        "/v1/orgs/acme/conversations/none?limit=x",
        &[("x-request-id", "req-9")],
    )
    .await;
    let problem = missing.problem(400, "unknown_parameter");
    assert_eq!(
        (&problem["request_id"], &problem["instance"]),
        (&json!("req-9"), &json!("/v1/orgs/acme/conversations/none"))
    );
    assert!(quipu::clock::of_rfc3339(problem["time"].as_str().unwrap()).is_some(), "{problem}");
    assert_eq!(problem["type"], "https://quipu.dev/problems/unknown_parameter");
    let definition =
        json!({ "name": "x", "nodes": [{ "id": "a", "component": "magic" }, { "id": "a", "component": "magic" }], "edges": [] });
    let refused = node
        .post("/v1/orgs/acme/runs", json!({ "definition": definition }))
        .await
        .problem(422, "unknown_component");
    let errors: Vec<(&str, &str)> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    assert!(errors.contains(&("definition.nodes[1].id", "duplicate_node")), "{errors:?}");
    // A page for each of them.
    for (_, code) in errors {
        let page = TestNode::send(node.client.get(format!("{}/docs/problems/{code}", node.running.url())))
            .await
            .expect(200);
        assert_eq!(page.json()["code"], code);
    }
}

#[tokio::test]
async fn catalogue_is_served_as_json_html_and_text() {
    let node = TestNode::start().await;
    let page = |path: &'static str, accept: &'static str| {
        let request = node.client.get(format!("{}{path}", node.running.url())).header("accept", accept);
        TestNode::send(request)
    };
    let all = page("/docs/problems", "*/*").await.expect(200).json();
    assert!(all["items"].as_array().unwrap().len() > 200);
    for path in ["/docs/problems", "/docs/problems/no_access"] {
        let html = page(path, "text/html,application/xhtml+xml,*/*;q=0.8").await.expect(200);
        assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
        assert!(html.text.contains("no_access") && !html.text.contains("<script"), "{}", html.text);
        let text = page(path, "text/plain").await.expect(200);
        assert!(text.text.contains("https://quipu.dev/problems/no_access"), "{}", text.text);
        assert!(text.header("vary").contains("Accept"));
    }
    page("/docs/problems/none", "*/*").await.problem(404, "unknown_problem");
}

#[tokio::test]
async fn every_repetition_says_that_it_is_one() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let path = "/v1/orgs/acme/conversations/c/post";
    // The longest key, which is longer than what is stored.
    for key in ["m-1", "k".repeat(256).as_str()] {
        let headers = [("Idempotency-Key", key)];
        let first = node.post_with(path, &headers, json!({ "body": "hi" })).await.expect(202);
        assert!(first.headers.get("idempotent-replayed").is_none());
        for _ in 0..2 {
            let again = node.post_with(path, &headers, json!({ "body": "hi" })).await.expect(202);
            assert_eq!(again.header("idempotent-replayed"), "true");
            assert_eq!(again.json()["position"], first.json()["position"]);
        }
        let receipt = node.get(&format!("/v1/orgs/acme/conversations/c/commands/{key}")).await.expect(200);
        assert_eq!(receipt.json()["version"], first.json()["version"]);
    }
    let too_long = [("Idempotency-Key", "k".repeat(257))];
    let refused = node
        .post_with(path, &[("Idempotency-Key", &too_long[0].1)], json!({ "body": "hi" }))
        .await;
    assert_eq!(refused.problem(400, "bad_header")["field"], "Idempotency-Key");
}

#[tokio::test]
async fn org_that_requires_keys_refuses_commands_without() {
    let node = TestNode::with_org().await;
    node.post("/v1/orgs/other/orgs", json!({ "name": "Other" })).await.expect(201);
    let settings = "/v1/orgs/acme/orgs/acme/change_settings";
    let require = |value: Value| json!({ "settings": { "commands.require_idempotency_key": value } });
    node.post(settings, require(json!("yes"))).await.problem(422, "bad_setting");
    node.post(settings, require(json!(true))).await.expect(202);
    let talk = json!({ "type": "group" });
    for path in [
        "/v1/orgs/acme/conversations",
        "/v1/orgs/acme/conversations/c",
        "/v1/orgs/acme/orgs/acme/rename",
    ] {
        let problem = node.post(path, talk.clone()).await.problem(400, "idempotency_key_required");
        assert_eq!(problem["field"], "Idempotency-Key");
    }
    node.post_with("/v1/orgs/acme/conversations/c", &[("Idempotency-Key", "c-1")], talk.clone())
        .await
        .expect(201);
    node.post("/v1/orgs/other/conversations", talk.clone()).await.expect(201);
    // Reads and the volatile channel change nothing.
    node.get("/v1/orgs/acme/conversations/c/state").await.expect(200);
    node.post("/v1/orgs/acme/conversations/c/live", json!({ "typing": true }))
        .await
        .expect(202);
    node.post(settings, require(json!(false)))
        .await
        .problem(400, "idempotency_key_required");
    node.post_with(settings, &[("Idempotency-Key", "off")], require(json!(false)))
        .await
        .expect(202);
    node.post("/v1/orgs/acme/conversations", talk).await.expect(201);
}

#[tokio::test]
async fn named_scope_must_be_that_of_the_request() {
    let node = TestNode::with_org().await;
    let path = "/v1/orgs/acme/orgs/acme";
    with(&node, Method::GET, "/v1/orgs/acme/stats", &[("x-org-id", "acme")])
        .await
        .expect(200);
    for (header, value) in [("x-org-id", "other"), ("x-service-id", "bot")] {
        let refused = with(&node, Method::GET, path, &[(header, value)])
            .await
            .problem(400, "scope_mismatch");
        assert_eq!(refused["field"].as_str().unwrap().to_ascii_lowercase(), header);
    }
}
