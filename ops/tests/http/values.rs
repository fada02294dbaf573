//! Values that are too large for a record: posted, shown, fetched, uploaded, kept over a restart.

use super::*;
use std::fs;

const POST: &str = "/v1/orgs/acme/conversations/c/post";
const MESSAGES: &str = "/v1/orgs/acme/conversations/c/messages";

pub(super) fn large(len: usize) -> String {
    "one MiB of \"text\" and a little more\n".chars().cycle().take(len).collect()
}

pub(super) async fn get_with(node: &TestNode, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = node.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    TestNode::send(request).await
}

pub(super) async fn put(node: &TestNode, headers: &[(&str, &str)], body: String) -> Answer {
    let mut request = node.request(Method::PUT, "/v1/orgs/acme/blobs").body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    TestNode::send(request).await
}

/// The events of the conversation's feed, so far.
pub(super) async fn fed(node: &TestNode) -> Vec<Value> {
    let feed = node
        .get("/v1/orgs/acme/events?follow=false&kind=conversation&id=c")
        .await
        .expect(200);
    let lines = feed.text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|event: &Value| event["type"] == "quipu.conversation.message_posted.v1")
        .collect()
}

pub(super) fn blob_path(named: &Value) -> String {
    format!(
        "/v1/orgs/acme/blobs/{}",
        named["$blob"].as_str().unwrap_or_else(|| panic!("no name: {named}"))
    )
}

#[tokio::test]
async fn a_message_of_a_mebibyte_is_kept_beside_the_log() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let (huge, medium) = (large(1_000_000), large(20_000));
    node.post(POST, json!({ "message_id": "huge", "body": huge })).await.expect(202);
    let posted = node
        .post(POST, json!({ "message_id": "medium", "body": medium }))
        .await
        .expect(202)
        .json();
    node.post(POST, json!({ "message_id": "over", "body": "x".repeat(1024 * 1024 + 1) }))
        .await
        .problem(422, "body_too_large");
    let seen = format!("{MESSAGES}?min_position={}", posted["position"].as_str().unwrap());
    node.get(&seen).await.expect(200);
    node.running.stop().await;
    let mut data = node.data;
    // At once, and after everything that is derived was deleted.
    for again in 0..3 {
        let node = TestNode::over(data).await;
        let listed = node.get(&seen).await.expect(200).json();
        let of = |id: &str| listed["items"].as_array().unwrap().iter().find(|m| m["id"] == id).cloned();
        let body = of("huge").unwrap()["body"].clone();
        assert_eq!(
            of("medium").unwrap()["body"],
            medium.as_str(),
            "what is small enough is shown in place"
        );
        assert!(body["$size"].as_u64().unwrap() > 1_000_000, "{body}");
        let got = node.get(&blob_path(&body)).await.expect(200);
        assert!(got.text == huge && got.header("content-type").starts_with("text/plain"));
        let part = get_with(&node, &blob_path(&body), &[("range", "bytes=5-9")]).await.expect(206);
        assert_eq!(
            (part.text.as_str(), part.header("content-range")),
            (&huge[5..10], "bytes 5-9/1000000")
        );
        get_with(&node, &blob_path(&body), &[("range", "bytes=1000000-")])
            .await
            .problem(416, "range_not_satisfiable");
        let events = fed(&node).await;
        assert_eq!((&events[0]["data"]["body"], &events[1]["data"]["body"]), (&body, &json!(medium)));
        let history = node.get("/v1/orgs/acme/conversations/c/history").await.expect(200);
        assert!(history.text.contains(body["$blob"].as_str().unwrap()) && history.text.len() < 60_000);
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        node.running.stop().await;
        data = node.data;
        if again == 0 {
            for derived in ["index", "views"] {
                fs::remove_dir_all(data.path().join(derived)).unwrap();
            }
        }
    }
    let log: u64 = fs::read_dir(data.path().join("log"))
        .unwrap()
        .map(|f| used(&f.unwrap().path()))
        .sum();
    assert!(log < 40_000, "{log} bytes of log for a megabyte of text");
}

/// Bytes of a file up to its last that is not zero: segments are reserved ahead.
fn used(path: &std::path::Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

#[tokio::test]
async fn an_upload_is_named_in_a_command_and_checked() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let text = large(300_000);
    let digest = |text: &str| {
        use base64::Engine;
        let sha = quipu_schemas::digest::Digest::of(&[text.as_bytes()]);
        format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(sha.0))
    };
    let wrong = put(&node, &[("content-digest", &digest("other"))], text.clone()).await;
    wrong.problem(400, "digest_mismatch");
    let named = put(&node, &[("content-digest", &digest(&text))], text.clone())
        .await
        .expect(201)
        .json();
    let got = node.get(&blob_path(&named)).await.expect(200);
    assert_eq!(
        (got.text.as_str(), got.header("content-digest")),
        (text.as_str(), digest(&text).as_str())
    );
    node.post(POST, json!({ "message_id": "m", "body": named })).await.expect(202);
    assert_eq!(fed(&node).await[0]["data"]["body"], named, "stored once, under the same name");

    // A name of another form, of another type, of nothing, with more beside it.
    let json_value = put(&node, &[("content-type", "application/json")], r#"{"a":1}"#.into())
        .await
        .expect(201)
        .json();
    assert_eq!(
        node.get(&blob_path(&json_value)).await.expect(200).header("content-type"),
        "application/json"
    );
    node.post(POST, json!({ "body": json_value })).await.problem(422, "invalid_command");
    let mut gone = named.clone();
    gone["$blob"] = "ab".repeat(32).into();
    node.post(POST, json!({ "body": gone })).await.problem(410, "value_expired");
    let mut longer = named.clone();
    longer["$size"] = 7.into();
    node.post(POST, json!({ "body": longer })).await.problem(503, "blob_damaged");
    let mut more = named.clone();
    more["beside"] = true.into();
    node.post(POST, json!({ "body": more })).await.problem(422, "invalid_command");
    node.post("/v1/orgs/acme/runs", json!({ "definition": { "$blob": "x" } }))
        .await
        .problem(422, "invalid_command");
    put(&node, &[("content-type", "application/pdf")], "x".into())
        .await
        .problem(415, "unsupported_media_type");
    put(&node, &[], "x".repeat(8 * 1024 * 1024 + 1))
        .await
        .problem(413, "value_too_large");
}

#[tokio::test]
async fn a_blob_of_one_org_is_not_found_in_another() {
    let node = TestNode::with_org().await;
    node.post("/v1/orgs/other/orgs", json!({ "name": "Other" })).await.expect(201);
    let named = put(&node, &[], large(10_000)).await.expect(201).json();
    let theirs = blob_path(&named).replace("/acme/", "/other/");
    node.get(&theirs).await.problem(404, "unknown_blob");
    node.post("/v1/orgs/other/conversations/c", json!({ "type": "group" }))
        .await
        .expect(201);
    node.post("/v1/orgs/other/conversations/c/post", json!({ "body": named }))
        .await
        .problem(410, "value_expired");
    node.get("/v1/orgs/acme/blobs/xyz").await.problem(400, "bad_id");
}

#[tokio::test]
async fn json_is_checked_by_content_and_text_by_size() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let whole = json!(vec!["x"; 3_000]).to_string();
    let broken = &whole[..whole.len() - 1];
    node.post(POST, json!({ "body": whole, "content_type": "json" })).await.expect(202);
    node.post(POST, json!({ "body": broken, "content_type": "json" }))
        .await
        .problem(422, "body_not_json");
    node.post(POST, json!({ "body": broken })).await.expect(202);
}

/// A model that answers with this text, over the protocol of OpenAI, 64 KiB at a time.
async fn model(text: String) -> std::net::SocketAddr {
    let answer = move || {
        let text = text.clone();
        async move {
            let pieces: Vec<String> = text
                .as_bytes()
                .chunks(64 * 1024)
                .map(|piece| String::from_utf8_lossy(piece).into_owned())
                .collect();
            let chunk = |delta: Value, reason: Value| {
                let chunk = json!({ "model": "big", "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] });
                format!("data: {chunk}\n\n")
            };
            let mut wire: String = pieces.iter().map(|piece| chunk(json!({ "content": piece }), Value::Null)).collect();
            wire += &chunk(json!({}), json!("stop"));
            wire += "data: [DONE]\n\n";
            ([("content-type", "text/event-stream")], wire)
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn an_answer_of_five_mebibytes_reaches_the_conversation() {
    let text = large(5 * 1024 * 1024);
    let address = model(text.clone()).await;
    let data = tempfile::tempdir().unwrap();
    let flags = quipu::config::Flags {
        data: Some(data.path().display().to_string()),
        listen: Some("127.0.0.1:0".into()),
        set: vec![
            ("providers.big.kind".into(), "openai".into()),
            ("providers.big.base_url".into(), format!("http://{address}/v1")),
            ("egress.allow".into(), format!("[\"{address}\"]")),
        ],
        ..quipu::config::Flags::default()
    };
    let config = Config::from_layers(None, Default::default(), flags).unwrap();
    let running = serve::start(config).await.unwrap();
    let node = TestNode {
        running,
        client: client(),
        data,
    };
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    let model = json!({ "provider": "big", "model": "big" });
    node.post("/v1/orgs/acme/agents/scout", json!({ "name": "Scout", "model": model }))
        .await
        .expect(201);
    let with_scout = json!({ "type": "group", "participants": [{ "principal": "scout", "kind": "agent" }] });
    node.post("/v1/orgs/acme/conversations/c", with_scout).await.expect(201);
    node.say("c", "tell me everything").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let body = loop {
        if let Some(answer) = fed(&node).await.iter().find(|event| event["data"]["sender"] == "scout") {
            break answer["data"]["body"].clone();
        }
        assert!(std::time::Instant::now() < deadline, "no answer");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(node.get(&blob_path(&body)).await.expect(200).text == text);
    node.running.stop().await;
    let log: u64 = fs::read_dir(node.data.path().join("log"))
        .unwrap()
        .map(|f| used(&f.unwrap().path()))
        .sum();
    assert!(log < 40_000, "{log} bytes of log for five megabytes of answer");
    let kept = quipu_events::blobs::DirectoryBlobs::open_to_read(&node.data.path().join("blobs")).unwrap();
    let mut bytes = 0;
    quipu_events::blobs::each(&kept, |listed| {
        bytes += listed.bytes;
        Ok(())
    })
    .unwrap();
    assert!((5 << 20..6 << 20).contains(&bytes), "{bytes} bytes kept: the answer is stored once");
}

/// A run hands a megabyte on by its name, and people fetch it there.
#[tokio::test]
async fn a_run_hands_an_uploaded_value_on_by_name() {
    let node = TestNode::with_org().await;
    let text = json!({ "text": large(1_500_000) }).to_string();
    let named = put(&node, &[("content-type", "application/json")], text.clone())
        .await
        .expect(201)
        .json();
    let definition = json!({
        "name": "pass", "inputs": { "doc": { "type": "object" }, "more": {} }, "outputs": { "doc": {}, "size": {} },
        "nodes": [
            { "id": "all", "component": "parallel", "config": { "branches": ["a", "b"] } },
            { "id": "size", "component": "map", "config": { "expression": "size(input)" } }
        ],
        "edges": [
            { "from": "input.doc", "to": "all.in" }, { "from": "all.a", "to": "output.doc" },
            { "from": "input.more", "to": "size.in" }, { "from": "size.out", "to": "output.size" }
        ]
    });
    let body = json!({ "definition": definition, "input": { "doc": named, "more": "z".repeat(40_000) } });
    let made = node.post("/v1/orgs/acme/runs", body).await.expect(201).json();
    let id = made["stream"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let seen = format!("/v1/orgs/acme/runs/{id}?min_position={}", made["position"].as_str().unwrap());
    let run = node.get(&seen).await.expect(200).json();
    let output = &run["output"];
    assert_eq!((&run["state"], &output["size"]), (&json!("completed"), &json!(40_000)), "{run}");
    for key in ["$blob", "$size", "$subject"] {
        assert_eq!(output["doc"][key], named[key], "stored once");
    }
    let got = node.get(&blob_path(&output["doc"])).await.expect(200);
    assert_eq!(
        serde_json::from_str::<Value>(&got.text).unwrap(),
        serde_json::from_str::<Value>(&text).unwrap()
    );
    // A client cannot name a value by a digest that it cannot know, and an array is not an object.
    let list = put(&node, &[("content-type", "application/json")], "[1]".into())
        .await
        .expect(201)
        .json();
    for (doc, code) in [(list, "wrong_type"), (json!({ "inside": named }), "invalid_command")] {
        let body = json!({ "definition": definition, "input": { "doc": doc, "more": 1 } });
        node.post("/v1/orgs/acme/runs", body).await.problem(422, code);
    }
}
