//! What a key opens: its own org by the rights of its principal, personal values by a right of their own, feeds until it ends.

use super::{isolation::Tenants, *};

async fn talk(node: &TestNode) -> String {
    node.conversation("c").await;
    node.say("c", "private words").await.header("quipu-position").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_reads_by_a_key_are_its_principals() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let create = node
        .client
        .post(format!("{}/v1/orgs/acme/conversations/k", node.running.url()))
        .bearer_auth(&tenants.ada)
        .json(&json!({ "type": "group", "title": "Talk" }));
    let made = TestNode::send(create).await.expect(201);
    let history = node.get("/v1/orgs/acme/conversations/k/history").await.expect(200).json();
    assert_eq!(history["items"][0]["principal"], "ada", "{history}");
    let at = made.header("quipu-position");
    let path = format!("/v1/orgs/acme/conversations/k?min_position={at}");
    let row = node.by(Some(&tenants.ada), Method::GET, &path).await.expect(200).json();
    assert_eq!(row["title"], "Talk");
    // Operators' pages are not the org's.
    node.by(Some(&tenants.ada), Method::GET, "/v1/ops/tree")
        .await
        .problem(403, "no_access");
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_values_are_withheld_without_their_right() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let at = talk(node).await;
    let redacted = json!({ "redacted": true });
    for (key, shown) in [(&tenants.ada, json!("private words")), (&tenants.vic, redacted.clone())] {
        let list = format!("/v1/orgs/acme/conversations/c/messages?min_position={at}");
        let page = node.by(Some(key), Method::GET, &list).await.expect(200).json();
        assert_eq!(page["items"][0]["body"], shown, "{page}");
        for path in ["/v1/orgs/acme/conversations/c/history", "/v1/orgs/acme/events?follow=false"] {
            let answer = node.by(Some(key), Method::GET, path).await.expect(200);
            let is_open = shown != redacted;
            assert_eq!(answer.text.contains("private words"), is_open, "{path}: {}", answer.text);
            assert_eq!(answer.text.contains(r#"{"redacted":true}"#), !is_open, "{path}: {}", answer.text);
            assert!(!answer.text.contains("$sealed"), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_gives_the_kinds_that_may_be_read() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    talk(node).await;
    let scopes = json!({ "principal": "ada", "scopes": ["cap:conversation.read"] });
    let key = node.key("acme", "key-feed", scopes).await;
    let all = node
        .by(Some(&key), Method::GET, "/v1/orgs/acme/events?follow=false")
        .await
        .expect(200);
    let types = all
        .text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().map(str::to_owned));
    let types: Vec<String> = types.collect();
    assert!(
        !types.is_empty() && types.iter().all(|name| name.starts_with("quipu.conversation.")),
        "{types:?}"
    );
    assert!(all.text.contains(r#"{"redacted":true}"#), "the scope does not hold personal values");
    for asked in ["kind=org", "kind=org&id=acme", "type=quipu.org.created.v1"] {
        let path = format!("/v1/orgs/acme/events?follow=false&{asked}");
        node.by(Some(&key), Method::GET, &path).await.problem(403, "missing_right");
    }
}

/// Reads on until the words come; `None` where the stream ends before.
async fn until(response: &mut Response, words: &str) -> Option<String> {
    let mut seen = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        seen.push_str(&String::from_utf8_lossy(&chunk));
        if seen.contains(words) {
            return Some(seen);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_feeds_and_channels() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    talk(node).await;
    let open = async |path: &str| {
        let request = node.client.get(format!("{}{path}", node.running.url()));
        let request = request.bearer_auth(&tenants.ada).header("accept", "text/event-stream");
        request.send().await.unwrap()
    };
    let mut feed = open("/v1/orgs/acme/events?kind=conversation").await;
    let mut live = open("/v1/orgs/acme/conversations/c/live").await;
    until(&mut feed, "caught_up").await.expect("the feed begins");
    until(&mut live, "listening").await.expect("the channel begins");
    node.post("/v1/orgs/acme/api-keys/key-ada/revoke", json!({ "reason": "lost" }))
        .await
        .expect(202);
    node.say("c", "after the end").await;
    for open in [&mut feed, &mut live] {
        let last = until(open, "event: revoked").await.expect("it tells that it ends");
        assert!(!last.contains("after the end"), "{last}");
        assert_eq!(until(open, "after the end").await, None);
    }
    node.by(Some(&tenants.ada), Method::GET, "/v1/orgs/acme/stats")
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_removed_is_nobody_by_their_key() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    node.by(Some(&tenants.vic), Method::GET, "/v1/orgs/acme/stats").await.expect(200);
    node.post("/v1/orgs/acme/orgs/acme/remove_member", json!({ "principal": "vic" }))
        .await
        .expect(202);
    node.by(Some(&tenants.vic), Method::GET, "/v1/orgs/acme/stats")
        .await
        .problem(403, "no_access");
    // A grant makes them somebody again, for what it holds.
    node.post("/v1/orgs/acme/grants/vic/give", json!({ "right": "cap:stats.read" }))
        .await
        .expect(202);
    node.by(Some(&tenants.vic), Method::GET, "/v1/orgs/acme/stats").await.expect(200);
    node.by(Some(&tenants.vic), Method::GET, "/v1/orgs/acme/conversations")
        .await
        .problem(403, "missing_right");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_opens_no_more_ends_what_it_opened() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let stats = "/v1/orgs/acme/stats";
    // Tests come from the machine itself.
    let elsewhere = json!({ "principal": "ada", "networks": ["192.0.2.0/24"] });
    let elsewhere = node.key("acme", "key-elsewhere", elsewhere).await;
    node.by(Some(&elsewhere), Method::GET, stats).await.problem(401, "unauthenticated");
    let here = node
        .key("acme", "key-here", json!({ "principal": "ada", "networks": ["127.0.0.0/8"] }))
        .await;
    node.by(Some(&here), Method::GET, stats).await.expect(200);

    let request = node.client.get(format!("{}/v1/orgs/acme/events", node.running.url()));
    let request = request.bearer_auth(&here).header("accept", "text/event-stream");
    let mut feed = request.send().await.unwrap();
    until(&mut feed, "caught_up").await.expect("the feed begins");
    let rotated = node
        .post("/v1/orgs/acme/api-keys/key-here/rotate", json!({}))
        .await
        .expect(202)
        .json();
    until(&mut feed, "event: revoked")
        .await
        .expect("the old text opens nothing any more");
    node.by(Some(&here), Method::GET, stats).await.problem(401, "unauthenticated");
    node.by(rotated["shown"].as_str(), Method::GET, stats).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_behalf_of_others_a_key_does_what_both_may() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let at = talk(node).await;
    let for_vic = async |method: Method, path: &str, body: Value| {
        let request = node.client.request(method, format!("{}{path}", node.running.url()));
        let request = request.bearer_auth(&tenants.ada).header("quipu-on-behalf-of", "vic");
        TestNode::send(request.json(&body)).await
    };
    let messages = format!("/v1/orgs/acme/conversations/c/messages?min_position={at}");
    let refused = for_vic(Method::GET, &messages, json!({})).await.problem(403, "missing_right");
    assert!(refused["detail"].as_str().unwrap().contains("cap:principal.act_as"), "{refused}");
    node.post("/v1/orgs/acme/grants/ada/give", json!({ "right": "cap:principal.act_as" }))
        .await
        .expect(202);
    // A viewer sees no personal values, whoever reads for them, and changes nothing.
    let page = for_vic(Method::GET, &messages, json!({})).await.expect(200).json();
    assert_eq!(page["items"][0]["body"], json!({ "redacted": true }), "{page}");
    let talk = json!({ "type": "group", "title": "Talk" });
    for_vic(Method::POST, "/v1/orgs/acme/conversations/v", talk.clone())
        .await
        .problem(403, "missing_right");
    node.post("/v1/orgs/acme/grants/vic/give", json!({ "right": "cap:conversation.create" }))
        .await
        .expect(202);
    for_vic(Method::POST, "/v1/orgs/acme/conversations/v", talk).await.expect(201);
    let history = node.get("/v1/orgs/acme/conversations/v/history").await.expect(200).json();
    let row = &history["items"][0];
    assert_eq!((&row["principal"], &row["on_behalf_of"]), (&json!("ada"), &json!("vic")), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spend_counts_on_the_key_that_is_shown() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let bob = json!({ "principal": "bob", "role": "member" });
    node.post("/v1/orgs/acme/orgs/acme/add_member", bob).await.expect(202);
    let key = node.key("acme", "key-bob", json!({ "principal": "bob" })).await;
    let narrow = json!({ "principal": "ada", "scopes": ["cap:quota.reserve"] });
    let narrow = node.key("acme", "key-cut", narrow).await;
    for level in ["key/key-bob", "agent/scout"] {
        let limit = json!({ "level": level, "unit": "calls", "limit": 10 });
        node.post("/v1/orgs/acme/quotas/all/set_limit", limit).await.expect(202);
    }
    let reserve = async |by: &str, name: &str, levels: Value| {
        let hold = json!({ "levels": levels, "unit": "calls", "amount": 8 });
        let body = json!({ "key": name, "ttl_seconds": 60, "holds": [hold] });
        let path = format!("{}/v1/orgs/acme/quotas/all/reserve", node.running.url());
        TestNode::send(node.client.post(path).bearer_auth(by).json(&body)).await
    };
    // Neither left out nor filled by others: each spends from where it stands.
    reserve(&key, "theirs", json!(["agent/scout"])).await.problem(403, "not_your_level");
    reserve(&narrow, "theirs", json!(["key/key-bob"]))
        .await
        .problem(403, "not_your_level");
    reserve(&key, "r1", json!([])).await.expect(202);
    reserve(&key, "r2", json!([])).await.problem(402, "budget_exceeded");
    // Whoever manages the org's quota spends for others, by a key that is not cut.
    reserve(&tenants.ada, "r3", json!(["agent/scout"])).await.expect(202);
    reserve(&tenants.ada, "r4", json!(["key/key-bob"]))
        .await
        .problem(402, "budget_exceeded");
}
