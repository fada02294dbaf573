//! Bad input: the right problem with code and field, and nothing changes.

mod bodies;

use super::*;

/// What is sent to a node that has org `acme` and conversation `c`, and what must come back.
#[tokio::test]
async fn bad_commands_are_refused_by_field_and_change_nothing() {
    let node = TestNode::with_org().await;
    let before = node.conversation("c").await.json()["version"].clone();
    let long = "x".repeat(65);
    let long_path = format!("/v1/orgs/acme/conversations/{long}");
    let post = "/v1/orgs/acme/conversations/c/post";
    let group = r#"{"type":"group"}"#;
    let table: &[(&str, &str, u16, &str, Option<&str>)] = &[
        (post, "{", 400, "malformed_json", Some("body")),
        (post, "{\"body\": \"x\",}", 400, "malformed_json", Some("body")),
        (post, "[1]", 400, "body_not_object", Some("body")),
        (post, "\"x\"", 400, "body_not_object", Some("body")),
        (post, "{}", 422, "invalid_command", Some("body")),
        (post, r#"{"body": 7}"#, 422, "invalid_command", Some("body")),
        (post, r#"{"body": "x", "bdoy": "y"}"#, 422, "invalid_command", Some("bdoy")),
        (
            post,
            r#"{"body": "x", "content_type": "film"}"#,
            422,
            "invalid_command",
            Some("content_type"),
        ),
        (
            post,
            r#"{"body": "x", "message_id": "a b"}"#,
            422,
            "invalid_command",
            Some("message_id"),
        ),
        (
            post,
            r#"{"body": {"$sealed": "AAAA", "$subject": "acme/eve"}}"#,
            422,
            "invalid_command",
            Some("body"),
        ),
        ("/v1/orgs/ac%20me/orgs", r#"{"name":"x"}"#, 400, "bad_id", Some("org")),
        (&long_path, group, 400, "bad_id", Some("id")),
        ("/v1/orgs/acme/conversations/a%2Fb", group, 400, "bad_id", Some("id")),
        ("/v1/orgs/acme/conversations/%FF", group, 400, "bad_path", None),
        ("/v1/orgs/acme/conversations/_x", group, 422, "reserved_id", Some("id")),
        ("/v1/orgs/acme/orgs/other", r#"{"name":"x"}"#, 422, "wrong_org_stream", Some("id")),
        ("/v1/orgs/acme/robots", "{}", 404, "unknown_kind", Some("kind")),
        ("/v1/orgs/acme/conversations/c/dance", "{}", 404, "unknown_command", Some("command")),
        (
            "/v1/orgs/acme/conversations/c/post?x=1",
            r#"{"body":"x"}"#,
            400,
            "unknown_parameter",
            Some("x"),
        ),
        ("/v1/nothing", "{}", 404, "unknown_route", None),
        ("/", "{}", 404, "unknown_route", None),
    ];
    for (path, body, status, code, field) in table {
        let answer = TestNode::send(
            node.request(Method::POST, path)
                .header("content-type", "application/json")
                .body((*body).to_owned()),
        )
        .await;
        let problem = answer.problem(*status, code);
        if let Some(field) = field {
            assert_eq!(problem["field"], *field, "{path} {body}: {problem}");
        }
        assert!(problem["fix"].is_string() || *status == 422, "{path} {body}: {problem}");
        assert_eq!(answer.header("x-should-retry"), "false", "{path} {body}");
    }
    assert_eq!(
        node.get("/v1/orgs/acme/conversations/c/state").await.expect(200).json()["version"],
        before
    );
}

#[tokio::test]
async fn unknown_names_are_answered_with_the_known_ones() {
    let node = TestNode::with_org().await;
    let fix = |problem: Value| problem["fix"].as_str().unwrap_or_default().to_owned();
    assert!(fix(node.post("/v1/orgs/acme/robots", json!({})).await.problem(404, "unknown_kind")).contains("conversations"));
    assert!(
        fix(node
            .post("/v1/orgs/acme/orgs/acme/explode", json!({}))
            .await
            .problem(404, "unknown_command"))
        .contains("rename")
    );
    assert!(fix(node.get("/v1/orgs/acme/robots").await.problem(404, "unknown_kind")).contains("members"));
    assert!(fix(node.get("/v1/orgs/acme/conversations/c/legs").await.problem(404, "unknown_part")).contains("messages"));
    assert!(
        fix(node
            .get("/v1/orgs/acme/members?rolle=owner")
            .await
            .problem(400, "unknown_parameter"))
        .contains("role")
    );
}

#[tokio::test]
async fn sizes_and_media_types_and_methods_are_bounded_by_name() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let path = "/v1/orgs/acme/conversations/c/post";
    let big = node.post(path, json!({ "body": "x".repeat(2 * 1024 * 1024) })).await;
    assert!(big.problem(413, "body_too_large")["detail"].as_str().unwrap().contains("2097152"));
    node.post("/v1/orgs/acme/conversations/c/pause", json!({ "reason": "x".repeat(200 * 1024) }))
        .await
        .problem(413, "command_too_large");
    let text = TestNode::send(node.request(Method::POST, path).header("content-type", "text/plain").body("{}")).await;
    text.problem(415, "unsupported_media_type");
    let headers = node
        .post_with(path, &[("x-filler", &"x".repeat(33 * 1024))], json!({ "body": "x" }))
        .await;
    headers.problem(431, "headers_too_large");
    let uri = node.get(&format!("/v1/orgs/acme/conversations?after={}", "x".repeat(9000))).await;
    uri.problem(414, "uri_too_long");
    for (method, path, allow) in [
        (Method::DELETE, "/v1/orgs/acme/conversations/c", "GET,HEAD,POST"),
        (Method::PUT, "/v1/orgs/acme/conversations", "GET,HEAD,POST"),
        (Method::POST, "/v1/orgs/acme/events", "GET,HEAD"),
        (Method::PATCH, "/health", "GET,HEAD"),
        (Method::POST, "/v1/orgs/acme/members", "GET,HEAD"),
        (Method::DELETE, "/v1/orgs/acme/members", "GET,HEAD"),
        (Method::POST, "/v1/orgs/acme/members/ada", "GET,HEAD"),
        (Method::POST, "/v1/orgs/acme/conversations/c/messages", "GET,HEAD"),
        (Method::PUT, "/v1/orgs/acme/conversations/c/messages", "GET,HEAD"),
        (Method::POST, "/v1/orgs/acme/conversations/c/history", "GET,HEAD"),
        (Method::DELETE, "/v1/orgs/acme/conversations/c/history", "GET,HEAD"),
        (Method::PUT, "/v1/orgs/acme/conversations/c/live", "GET,HEAD,POST"),
        (Method::GET, "/v1/orgs/acme/conversations/c/post", "POST"),
        (Method::PUT, "/v1/orgs/acme/conversations/c/post", "POST"),
    ] {
        let answer = TestNode::send(node.request(method, path)).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow").replace(' ', ""), allow, "{path}");
    }
}

#[tokio::test]
async fn a_mistaken_name_is_met_with_the_one_that_was_meant() {
    let node = TestNode::with_org().await;
    for (path, code, meant) in [
        ("/v1/orgs/acme/mesages", "unknown_kind", "`messages`"),
        ("/v1/orgs/acme/conversation", "unknown_kind", "`conversations`"),
        ("/v1/orgs/acme/orgs/acme/member", "unknown_part", "`members`"),
        ("/v1/orgs/acme/runs?sate=running", "unknown_parameter", "`state`"),
        ("/v1/orgs/acme/activity?kind=rn", "bad_parameter", "`run`"),
    ] {
        let problem = node.get(path).await.json();
        assert_eq!(problem["code"], code, "{problem}");
        let fix = problem["fix"].as_str().unwrap();
        assert!(fix.starts_with(&format!("did you mean {meant}? ")), "{path}: {fix}");
    }
    let answer = node.post("/v1/orgs/acme/orgs/acme/renam", json!({ "name": "x" })).await;
    let fix = answer.problem(404, "unknown_command")["fix"].clone();
    assert!(fix.as_str().unwrap().starts_with("did you mean `rename`? "), "{fix}");
}

#[tokio::test]
async fn bad_queries_are_refused_by_parameter() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    for (path, status, code, field) in [
        ("/v1/orgs/acme/conversations?limit=0", 400, "bad_parameter", "limit"),
        ("/v1/orgs/acme/conversations?limit=1001", 400, "bad_parameter", "limit"),
        ("/v1/orgs/acme/conversations?limit=x", 400, "bad_parameter", "limit"),
        ("/v1/orgs/acme/conversations?after=junk", 400, "bad_parameter", "after"),
        ("/v1/orgs/acme/conversations?active_from=soon", 400, "bad_parameter", "active_from"),
        (
            "/v1/orgs/acme/conversations?min_position=junk",
            400,
            "bad_parameter",
            "min_position",
        ),
        (
            "/v1/orgs/acme/conversations?min_position=p99.0.0",
            400,
            "bad_parameter",
            "min_position",
        ),
        ("/v1/orgs/acme/conversations?color=red", 400, "unknown_parameter", "color"),
        ("/v1/orgs/acme/conversations/c/state?version=x", 400, "bad_parameter", "version"),
        ("/v1/orgs/acme/conversations/c/state?at=soon", 400, "bad_parameter", "at"),
        ("/v1/orgs/acme/conversations/c/state?at=1&version=1", 400, "bad_parameter", "at"),
        ("/v1/orgs/acme/conversations/c/history?after=x", 400, "bad_parameter", "after"),
        ("/v1/orgs/acme/events?from=junk", 400, "bad_parameter", "from"),
        ("/v1/orgs/acme/events?follow=maybe", 400, "bad_parameter", "follow"),
        ("/v1/orgs/acme/events?kind=Org", 400, "bad_parameter", "kind"),
        ("/v1/orgs/acme/events?kind=robot", 400, "bad_parameter", "kind"),
        ("/v1/orgs/acme/events?type=quipu.org.exploded.v1", 400, "bad_parameter", "type"),
        ("/v1/orgs/acme/events?type=quipu.org.created.v1,x", 400, "bad_parameter", "type"),
        ("/v1/orgs/acme/activity?kind=robot", 400, "bad_parameter", "kind"),
        ("/v1/orgs/acme/conversations?type=public", 400, "bad_parameter", "type"),
        ("/v1/orgs/acme/participants?kind=robot", 400, "bad_parameter", "kind"),
        ("/v1/orgs/acme/members?role=king", 400, "bad_parameter", "role"),
        ("/v1/orgs/acme/runs?state=lost", 400, "bad_parameter", "state"),
        ("/v1/orgs/acme/conversations/c/commands/a%20b", 400, "bad_id", "command_id"),
        ("/v1/ops/outbox?status=lost", 400, "bad_parameter", "status"),
        ("/v1/ops/tree?x=1", 400, "unknown_parameter", "x"),
    ] {
        let problem = node.get(path).await.problem(status, code);
        assert_eq!(problem["field"], field, "{path}: {problem}");
    }
    node.post("/v1/ops/outbox/junk/retry", json!({})).await.problem(400, "bad_id");
    node.post("/v1/ops/outbox/acme%2Frun%2Fr@1.0/retry", json!({}))
        .await
        .problem(404, "unknown_effect");
    node.post("/v1/ops/unpark", json!({})).await.problem(422, "invalid_command");
    node.post("/v1/ops/unpark", json!({ "stream": "acme/conversation/c" }))
        .await
        .problem(409, "not_parked");
}

#[tokio::test]
async fn an_org_that_is_not_there_is_told_from_an_empty_one() {
    let node = TestNode::with_org().await;
    for path in [
        "/v1/orgs/ghost/conversations",
        "/v1/orgs/ghost/members?role=owner",
        "/v1/orgs/ghost/activity",
        "/v1/orgs/ghost/conversations/c",
        "/v1/orgs/ghost/conversations/c/messages",
        "/v1/orgs/ghost/events?follow=false",
        "/v1/orgs/ghost/events",
    ] {
        let problem = node.get(path).await.problem(404, "unknown_org");
        assert_eq!(problem["field"], "org", "{path}: {problem}");
    }
    for path in ["/v1/orgs/acme/conversations", "/v1/orgs/acme/events?follow=false"] {
        node.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn allowed_values_of_a_filter_are_named() {
    let node = TestNode::with_org().await;
    for (path, value) in [
        ("/v1/orgs/acme/events?kind=robot", "conversation"),
        ("/v1/orgs/acme/events?type=robot", "quipu.conversation.message_posted.v1"),
        ("/v1/orgs/acme/deliveries?kind=robot", "run"),
        ("/v1/orgs/acme/agents?status=asleep", "retired"),
    ] {
        let problem = node.get(path).await.problem(400, "bad_parameter");
        assert!(problem["fix"].as_str().unwrap().contains(value), "{path}: {problem}");
    }
    let known = node.get("/v1/orgs/acme/robots").await.problem(404, "unknown_kind")["fix"].clone();
    let names: Vec<_> = known.as_str().unwrap().trim_start_matches("known: ").split(", ").collect();
    let once: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), once.len(), "{known}");
    assert!(names.contains(&"activity") && names.contains(&"conversations"), "{known}");
}

#[tokio::test]
async fn an_org_is_placed_under_another_by_the_platform_alone() {
    let node = TestNode::with_org().await;
    let ada = [("Quipu-On-Behalf-Of", "ada")];
    let lab = json!({ "name": "Lab", "parent": "acme" });
    let problem = node
        .post_with("/v1/orgs/lab/orgs", &ada, lab.clone())
        .await
        .problem(403, "parent_not_allowed");
    assert_eq!(problem["field"], "parent");
    node.get("/v1/orgs/lab/orgs/lab").await.problem(404, "unknown_org");
    node.post("/v1/orgs/lab/orgs", lab).await.expect(201);
}

/// Noise of many kinds: never a 5xx, always a problem.
#[tokio::test]
async fn noise_never_crashes_a_handler() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let deep = format!("{{\"body\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let bodies: [&[u8]; 8] = [
        b"\xff\xfe",
        b"null",
        b"{\"a\":1e999}",
        b"{\"body\":\"\\ud800\"}",
        deep.as_bytes(),
        b"{\"\":\"\"}",
        b"\0",
        b"{\"body\":\"x\",\"body\":2}",
    ];
    for command in ["post", "rename", "claim", "handoff", "add_participant", "import_message", "create"] {
        for body in bodies {
            let request = node.request(Method::POST, &format!("/v1/orgs/acme/conversations/c/{command}"));
            let answer = TestNode::send(request.header("content-type", "application/json").body(body.to_vec())).await;
            assert!(
                answer.status.is_client_error(),
                "{command} {body:?}: {} {}",
                answer.status,
                answer.text
            );
            assert!(answer.json()["code"].is_string());
        }
    }
    node.get("/health").await.expect(200);
}
