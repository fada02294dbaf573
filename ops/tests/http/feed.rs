//! The feed: CloudEvents in stream order, filters, resume, both framings; and the volatile channel.

use super::*;
use futures::StreamExt;

fn lines(answer: &Answer) -> Vec<Value> {
    answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn events(lines: &[Value]) -> Vec<Value> {
    lines.iter().filter(|line| line.get("specversion").is_some()).cloned().collect()
}

/// One server-sent event: name, id, data.
type Sse = (Option<String>, Option<String>, String);

fn sse(text: &str) -> Vec<Sse> {
    let field = |block: &str, name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|v| v.trim_start().to_owned())
    };
    text.split("\n\n")
        .filter(|block| block.contains("data:"))
        .map(|block| (field(block, "event:"), field(block, "id:"), field(block, "data:").unwrap()))
        .collect()
}

async fn scene() -> TestNode {
    let node = TestNode::with_org().await;
    node.post("/v1/orgs/other/orgs", json!({ "name": "Other" })).await.expect(201);
    for id in ["a", "b"] {
        node.conversation(id).await;
        for n in 0..5 {
            node.say(id, &format!("{id}{n}")).await;
        }
    }
    node
}

#[tokio::test]
async fn the_whole_history_comes_as_cloud_events_in_stream_order() {
    let node = scene().await;
    let feed = node.get("/v1/orgs/acme/events?follow=false").await.expect(200);
    assert_eq!(feed.header("content-type"), "application/x-ndjson");
    let all = lines(&feed);
    assert_eq!(all.last().unwrap()["control"], "caught_up");
    let all = events(&all);
    let mut versions = std::collections::BTreeMap::<String, u64>::new();
    for event in &all {
        assert_eq!(event["specversion"], "1.0");
        let stream = event["partitionkey"].as_str().unwrap();
        assert!(stream.starts_with("acme/"));
        let version = event["streamversion"].as_u64().unwrap();
        assert_eq!(event["id"], format!("{stream}@{version}"));
        assert_eq!(versions.insert(stream.to_owned(), version).unwrap_or(0) + 1, version);
    }
    assert_eq!(versions.len(), 3);
    // The same events have the same bytes every time, here and in a stream's history.
    let again = node.get("/v1/orgs/acme/events?follow=false").await.expect(200);
    let bytes = |feed: &Answer| {
        let mut lines: Vec<_> = feed
            .text
            .lines()
            .filter(|line| line.contains("specversion"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(bytes(&feed), bytes(&again));
    let history = node.get("/v1/orgs/acme/conversations/a/history").await.expect(200);
    for line in bytes(&feed)
        .iter()
        .filter(|line| line.contains("\"partitionkey\":\"acme/conversation/a\""))
    {
        assert!(history.text.contains(line.as_str()), "{line}");
    }
}

#[tokio::test]
async fn filters_choose_events() {
    let node = scene().await;
    let all = events(&lines(&node.get("/v1/orgs/acme/events?follow=false").await));
    let posted = "quipu.conversation.message_posted.v1";
    for (query, keep) in [
        (
            "kind=org",
            &(|e: &Value| e["type"].as_str().unwrap().starts_with("quipu.org.")) as &dyn Fn(&Value) -> bool,
        ),
        ("kind=conversation&id=a", &|e: &Value| e["subject"] == "a"),
        (&format!("type={posted}"), &|e: &Value| e["type"] == posted),
        (&format!("type={posted},quipu.org.created.v1"), &|e: &Value| {
            e["type"] == posted || e["type"] == "quipu.org.created.v1"
        }),
        ("kind=run", &|_| false),
    ] {
        let mut got = events(&lines(
            &node.get(&format!("/v1/orgs/acme/events?follow=false&{query}")).await.expect(200),
        ));
        let mut wanted: Vec<_> = all.iter().filter(|e| keep(e)).cloned().collect();
        got.sort_by_key(|e| e["id"].to_string());
        wanted.sort_by_key(|e| e["id"].to_string());
        assert_eq!(got, wanted, "{query}");
    }
}

#[tokio::test]
async fn a_reader_cut_off_anywhere_resumes_without_loss() {
    let node = scene().await;
    let accept = |request: reqwest::RequestBuilder| request.header("accept", "text/event-stream");
    // All of an org from the log, and one conversation from the index.
    for path in [
        "/v1/orgs/acme/events?follow=false",
        "/v1/orgs/acme/events?follow=false&kind=conversation&id=a",
        "/v1/orgs/acme/events?follow=false&id=b",
    ] {
        resumes_without_loss(&node, path, accept).await;
    }
    let path = "/v1/orgs/acme/events?follow=false";
    // A cursor of NDJSON, and of a command's answer, goes on behind what was seen.
    let end = node.say("a", "one more").await.header("quipu-position").to_owned();
    assert!(events(&lines(&node.get(&format!("{path}&from={end}")).await)).is_empty());
    assert!(events(&lines(&node.get(&format!("{path}&from=end")).await)).is_empty());
}

async fn resumes_without_loss(node: &TestNode, path: &str, accept: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder) {
    let whole = TestNode::send(accept(node.request(Method::GET, path))).await.expect(200);
    assert_eq!(whole.header("content-type"), "text/event-stream");
    let whole = sse(&whole.text);
    assert_eq!(whole.last().unwrap().0.as_deref(), Some("caught_up"));
    let id_of = |event: &Sse| serde_json::from_str::<Value>(&event.2).unwrap()["id"].as_str().map(str::to_owned);
    let all: std::collections::BTreeSet<String> = whole.iter().filter_map(id_of).collect();
    for cut in 0..whole.len() {
        let seen: std::collections::BTreeSet<String> = whole[..=cut].iter().filter_map(id_of).collect();
        let request = accept(node.request(Method::GET, path)).header("last-event-id", whole[cut].1.as_deref().unwrap());
        let rest = sse(&TestNode::send(request).await.expect(200).text);
        let rest: std::collections::BTreeSet<String> = rest.iter().filter_map(id_of).collect();
        assert_eq!(&(&seen | &rest), &all, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_live_feed_catches_up_says_so_and_goes_on() {
    let node = scene().await;
    let response = node
        .request(Method::GET, "/v1/orgs/acme/events?kind=conversation")
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    let mut body = response.bytes_stream();
    let mut text = String::new();
    while !text.contains("event: caught_up") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.contains("b4"), "{text}");
    node.say("a", "said live").await;
    while !text.contains("said live") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    // A stop ends the feed instead of waiting for its reader.
    node.running.stop().await;
    let mut rest = String::new();
    while let Some(Ok(chunk)) = body.next().await {
        rest.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(rest.contains("event: end"), "{rest}");
}

#[tokio::test]
async fn live_feeds_of_both_framings_give_the_same_events() {
    let node = scene().await;
    let mut feeds = Vec::new();
    for (accept, query) in [
        ("text/event-stream", "kind=conversation&id=a"),
        ("application/x-ndjson", "id=a"),
        ("*/*", "kind=conversation"),
    ] {
        let request = node.request(Method::GET, &format!("/v1/orgs/acme/events?from=end&{query}"));
        let mut body = request.header("accept", accept).send().await.unwrap().bytes_stream();
        let mut text = String::new();
        while !text.contains("caught_up") {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
        feeds.push((body, text));
    }
    for n in 0..30 {
        node.say(if n % 3 == 0 { "b" } else { "a" }, &format!("live {n}.")).await;
    }
    let mut seen = Vec::new();
    for (mut body, mut text) in feeds {
        while !text.contains("live 29.") {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
        let mut events: Vec<String> = text
            .lines()
            .map(|line| line.strip_prefix("data: ").unwrap_or(line))
            .filter(|line| line.contains("\"subject\":\"a\""))
            .map(str::to_owned)
            .collect();
        events.dedup();
        assert_eq!(events.len(), 20, "{text}");
        seen.push(events);
    }
    assert!(seen.iter().all(|events| *events == seen[0]), "the same bytes for everybody");
}

#[tokio::test]
async fn a_cursor_of_another_log_is_gone() {
    let (one, two) = (scene().await, TestNode::with_org().await);
    let cursor = one.say("a", "x").await.header("quipu-position").to_owned();
    two.get(&format!("/v1/orgs/acme/events?follow=false&from={cursor}"))
        .await
        .problem(410, "log_generation_changed");
    two.get(&format!("/v1/orgs/acme/orgs?min_position={cursor}"))
        .await
        .problem(410, "log_generation_changed");
}

#[tokio::test]
async fn the_volatile_channel_reaches_present_listeners_and_no_log() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let path = "/v1/orgs/acme/conversations/c/live";
    let nobody = node.post(path, json!({ "typing": true })).await.expect(202).json();
    assert_eq!(nobody["listeners"], 0);
    let mut body = node.request(Method::GET, path).send().await.unwrap().bytes_stream();
    let mut text = String::new();
    while !text.contains("listening") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    let told = node
        .post_with(path, &[("Quipu-On-Behalf-Of", "ada")], json!({ "typing": true }))
        .await
        .expect(202)
        .json();
    assert_eq!(told["listeners"], 1);
    while !text.contains("data:") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(sse(&text)[0].0.as_deref(), Some("typing"));
    assert!(text.contains(r#"{"active":true,"principal":"ada"}"#), "{text}");
    node.post(path, json!({ "typing": 1 })).await.problem(422, "invalid_command");
    node.get("/v1/orgs/acme/conversations/nobody/live").await.problem(404, "not_found");
    assert_eq!(
        node.get("/v1/orgs/acme/conversations/c/history").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
