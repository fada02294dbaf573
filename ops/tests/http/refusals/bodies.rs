//! Bodies that are refused.

use super::super::*;

#[tokio::test]
async fn a_field_given_twice_is_refused_by_its_name() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let version = node.get("/v1/orgs/acme/conversations/c/state").await.json()["version"].clone();
    for (path, body, named) in [
        ("/v1/orgs/acme/conversations/c/post", r#"{"body":"x","body":"y"}"#, "body"),
        (
            "/v1/orgs/acme/orgs/acme/change_settings",
            r#"{"settings":{"a":{"b":1,"b":2}}}"#,
            "settings.a.b",
        ),
    ] {
        let request = node.request(Method::POST, path).header("content-type", "application/json");
        let problem = TestNode::send(request.body(body)).await.problem(400, "repeated_field");
        assert_eq!(problem["field"], named, "{problem}");
    }
    assert_eq!(node.get("/v1/orgs/acme/conversations/c/state").await.json()["version"], version);
}

#[tokio::test]
async fn numbers_that_would_change_are_refused_by_their_field() {
    let node = TestNode::with_org().await;
    let end = node.running.node.cursor();
    let definition = r#"{"name":"n","nodes":[{"id":"w","component":"delay","config":{"ms":1}}],"edges":[{"from":"w.out","to":"output.y"}],"inputs":{"x":{}},"outputs":{"y":{}}}"#;
    for (path, body, named) in [
        (
            "orgs/acme/change_settings",
            r#"{"settings":{"wei":100000000000000000001}}"#.to_owned(),
            "settings.wei",
        ),
        (
            "orgs/acme/change_settings",
            r#"{"settings":{"tiny":[1e-400]}}"#.into(),
            "settings.tiny.0",
        ),
        (
            "orgs/acme/change_settings",
            r#"{"settings":{"huge":1e400}}"#.into(),
            "settings.huge",
        ),
        (
            "runs/r",
            format!(r#"{{"definition":{definition},"input":{{"x":-9223372036854775809}}}}"#),
            "input.x",
        ),
        (
            "runs/r/signal",
            r#"{"name":"s","payload":{"sum":123456789012345.678}}"#.into(),
            "payload.sum",
        ),
    ] {
        let request = node.request(Method::POST, &format!("/v1/orgs/acme/{path}"));
        let answer = TestNode::send(request.header("content-type", "application/json").body(body)).await;
        let problem = answer.problem(422, "inexact_number");
        assert_eq!(problem["field"], named, "{problem}");
        assert!(problem["fix"].as_str().is_some_and(|fix| fix.contains("string")), "{problem}");
    }
    assert_eq!(node.running.node.cursor(), end);
    let kept = r#"{"settings":{"a":18446744073709551615,"b":-9223372036854775808,"c":0.1,"d":1e300}}"#;
    let request = node.request(Method::POST, "/v1/orgs/acme/orgs/acme/change_settings");
    TestNode::send(request.header("content-type", "application/json").body(kept))
        .await
        .expect(202);
    let state = node.get("/v1/orgs/acme/orgs/acme/state").await.text;
    for number in ["18446744073709551615", "-9223372036854775808", "0.1", "1e+300"] {
        assert!(state.contains(number), "{number}: {state}");
    }
}

#[tokio::test]
async fn encoded_bodies_and_ids_of_the_platform_are_refused() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let end = node.running.node.cursor();
    let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    for encoding in ["gzip", "zstd", "identity, br"] {
        let request = node
            .request(Method::POST, "/v1/orgs/acme/orgs/acme/rename")
            .header("content-encoding", encoding);
        let answer = TestNode::send(request.header("content-type", "application/json").body(gzip)).await;
        assert_eq!(answer.problem(415, "unsupported_encoding")["field"], "Content-Encoding");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    for (path, body, field) in [
        (
            "orgs/acme/add_member",
            json!({ "principal": "_root", "role": "owner" }),
            "principal",
        ),
        (
            "orgs/acme/add_member",
            json!({ "principal": "bootstrap_2", "role": "none" }),
            "role",
        ),
        (
            "conversations/c/add_participant",
            json!({ "principal": "_root", "kind": "person" }),
            "principal",
        ),
        ("conversations/c/post", json!({ "message_id": "_m", "body": "x" }), "message_id"),
        (
            "conversations/c/import_message",
            json!({ "message_id": "_m", "role": "user", "content": { "content": "x" } }),
            "message_id",
        ),
    ] {
        let problem = node.post(&format!("/v1/orgs/acme/{path}"), body).await.expect(422).json();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(field == "role" || problem["code"] == "reserved_id", "{problem}");
    }
    for person in ["_root", "bootstrap"] {
        let as_them = [("Quipu-On-Behalf-Of", person)];
        let answer = node
            .post_with("/v1/orgs/acme/orgs/acme/rename", &as_them, json!({ "name": "X" }))
            .await;
        assert_eq!(answer.problem(403, "reserved_principal")["field"], "Quipu-On-Behalf-Of");
    }
    assert_eq!(node.running.node.cursor(), end);
}

#[tokio::test]
async fn bodies_that_stall_count_against_the_bound_on_bytes() {
    use tokio::io::AsyncWriteExt;
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.queue_bytes = 100_000;
    let running = serve::start(config).await.unwrap();
    let node = TestNode {
        running,
        client: client(),
        data,
    };
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    node.conversation("c").await;
    let mut stalled = tokio::net::TcpStream::connect(node.running.address).await.unwrap();
    let head = format!(
        "POST /v1/orgs/acme/conversations/c/post HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 90000\r\n\r\n",
        node.running.address,
        node.running.token.expose()
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    stalled.write_all(&vec![b' '; 80_000]).await.unwrap();
    let say = || node.post("/v1/orgs/acme/conversations/c/post", json!({ "body": "x".repeat(40_000) }));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let refused = loop {
        let answer = say().await;
        if answer.status == 503 {
            break answer;
        }
        assert!(std::time::Instant::now() < deadline, "the stalled body was never counted");
    };
    refused.problem(503, "overloaded");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    drop(stalled);
    while say().await.status != 202 {
        assert!(std::time::Instant::now() < deadline, "the stalled body was never forgotten");
    }
}
