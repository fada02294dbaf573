//! Views over HTTP: reading one's own writes, pages, parts, personal data, time travel.

use super::*;

#[tokio::test]
async fn a_write_is_read_back_by_its_position() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    for n in 0..20 {
        let said = node.say("c", &format!("message {n}")).await;
        let by_cursor = format!(
            "/v1/orgs/acme/conversations/c/messages?min_position={}",
            said.header("quipu-position")
        );
        let page = node.get(&by_cursor).await.expect(200);
        assert!(!page.header("quipu-position").is_empty());
        let items = page.json()["items"].as_array().unwrap().clone();
        assert_eq!(items.len(), n + 1);
        // Personal data is opened for whoever holds the token.
        assert_eq!(items[n]["body"], format!("message {n}"));
        let by_position = format!(
            "/v1/orgs/acme/conversations/c?min_position={}",
            said.json()["position"].as_str().unwrap()
        );
        let row = node.get(&by_position).await.expect(200);
        assert_eq!(row.json()["message_count"], n + 1);
        assert_eq!(row.json()["title"], "Talk");
    }
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repetition() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let mut position = String::new();
    for n in 0..25 {
        position = node.say("c", &format!("{n}")).await.header("quipu-position").to_owned();
    }
    let mut bodies = Vec::new();
    let mut path = format!("/v1/orgs/acme/conversations/c/messages?limit=10&min_position={position}");
    loop {
        let page = node.get(&path).await.expect(200).json();
        bodies.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["body"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/orgs/acme/conversations/c/messages?limit=10&after={next}");
    }
    assert_eq!(bodies, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// A conversation that moves to the top while pages are read comes all the same, once.
#[tokio::test]
async fn conversations_that_move_between_pages_come_once() {
    let node = TestNode::with_org().await;
    for id in ["a", "b", "c"] {
        node.conversation(id).await;
    }
    let at = |answer: &Answer| answer.header("quipu-position").to_owned();
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    // Recency is told in milliseconds: what is to come later is said in a later one.
    let later = || tokio::time::sleep(std::time::Duration::from_millis(2));
    later().await;
    let said = node.say("b", "x").await;
    later().await;
    let list = "/v1/orgs/acme/conversations";
    let first = node
        .get(&format!("{list}?limit=1&min_position={}", at(&said)))
        .await
        .expect(200)
        .json();
    let said = node.say("a", "x").await;
    let after = first["next"].as_str().unwrap();
    let rest = node
        .get(&format!("{list}?after={after}&min_position={}", at(&said)))
        .await
        .expect(200)
        .json();
    assert_eq!([ids(&first), ids(&rest)].concat(), ["c", "b", "a"]);
    let recent = node.get(&format!("{list}?order=recent&limit=2")).await.expect(200).json();
    assert_eq!(ids(&recent), ["a", "b"]);
    let refused = node.get(&format!("{list}?order=size")).await;
    assert_eq!(refused.problem(400, "bad_parameter")["field"], "order");
    node.get("/v1/orgs/acme/members?order=recent")
        .await
        .problem(400, "unknown_parameter");
}

/// Views that were lost are made from the log again. Until they are whole, they answer nothing rather than a part.
#[tokio::test]
async fn views_made_from_nothing_refuse_until_they_are_whole() {
    let mut node = TestNode::with_org().await;
    node.conversation("c").await;
    let mut position = String::new();
    for n in 0..200 {
        position = node.say("c", &format!("{n}")).await.header("quipu-position").to_owned();
    }
    let messages = "/v1/orgs/acme/conversations/c/messages?limit=1000";
    node.get(&format!("{messages}&min_position={position}")).await.expect(200);
    let data = node.data;
    node.running.stop().await;
    std::fs::remove_dir_all(data.path().join("views")).unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.hold_views = true;
    node = TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    };
    for path in [messages, "/v1/orgs/acme/stats", "/v1/orgs/acme/conversations/c"] {
        let answer = node.get(path).await;
        let problem = answer.problem(503, "views_building");
        assert!(problem["detail"].as_str().unwrap().contains(" 20"), "the lag: {problem}");
        assert_eq!(answer.header("retry-after"), "1");
    }
    let health = node.get("/health").await.expect(200).json();
    assert_eq!(health["status"], "degraded", "{health}");
    node.get("/health/ready").await.expect(200);
    position = node.say("c", "taken all the same").await.header("quipu-position").to_owned();
    node.get("/v1/orgs/acme/conversations/c/history").await.expect(200);

    node.running.views.follow().unwrap();
    let page = node.get(&format!("{messages}&min_position={position}")).await.expect(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 201);
    assert_eq!(node.get("/health").await.expect(200).json()["status"], "ok");

    // Once whole, always whole: views that only lag answer after a restart, with the position that they have.
    let data = node.data;
    node.running.stop().await;
    let mut config = Config::at(data.path()).unwrap();
    config.hold_views = true;
    let running = serve::start(config).await.unwrap();
    let client = client();
    node = TestNode { running, client, data };
    position = node.say("c", "not seen yet").await.header("quipu-position").to_owned();
    let page = node.get(messages).await.expect(200);
    assert_eq!(page.json()["items"].as_array().unwrap().len(), 201);
    assert_ne!(page.header("quipu-position"), position);
}

#[tokio::test]
async fn every_view_and_part_answers() {
    let node = TestNode::with_org().await;
    let at = node.conversation("c").await.header("quipu-position").to_owned();
    for view in quipu_projections::families::Families::house().views() {
        let page = node
            .get(&format!("/v1/orgs/acme/{}?min_position={at}", view.name()))
            .await
            .expect(200)
            .json();
        assert!(page["items"].is_array() && page.get("next").is_some(), "{page}");
    }
    for part in [
        "messages",
        "participants",
        "turns",
        "deliveries",
        "timers",
        "receipts",
        "activity",
        "dead-letters",
        "dispatches",
    ] {
        node.get(&format!("/v1/orgs/acme/conversations/c/{part}")).await.expect(200);
        node.get(&format!("/v1/orgs/acme/conversations/nobody/{part}"))
            .await
            .problem(404, "not_found");
    }
    let members = node.get("/v1/orgs/acme/orgs/acme/members").await.expect(200).json();
    assert_eq!(members["items"][0]["role"], "owner");
    assert_eq!(
        node.get("/v1/orgs/acme/members/bootstrap").await.expect(200).json()["role"],
        "owner"
    );
    assert_eq!(
        node.get("/v1/orgs/acme/conversations/c/participants/bootstrap")
            .await
            .expect(200)
            .json()["role"],
        "owner"
    );
    node.get("/v1/orgs/acme/conversations/nobody").await.problem(404, "not_found");
    node.get("/v1/orgs/other/conversations/c").await.problem(404, "unknown_org");
    node.get("/v1/orgs/acme/orgs/other").await.problem(404, "not_found");
}

#[tokio::test]
async fn time_travel_shows_every_state_there_was() {
    let node = TestNode::with_org().await;
    let created = node.get("/v1/orgs/acme/orgs/acme/state").await.expect(200).json();
    let version = created["version"].as_u64().unwrap();
    node.post("/v1/orgs/acme/orgs/acme/rename", json!({ "name": "Second" }))
        .await
        .expect(202);
    let now = node.get("/v1/orgs/acme/orgs/acme/state").await.expect(200);
    assert_eq!(now.header("etag"), format!("\"{}\"", version + 1));
    let now = now.json();
    assert_ne!(now["digest"], created["digest"]);
    let then = node
        .get(&format!("/v1/orgs/acme/orgs/acme/state?version={version}"))
        .await
        .expect(200)
        .json();
    assert_eq!((&then["digest"], &then["state"]), (&created["digest"], &created["state"]));
    let at = node
        .get(&format!("/v1/orgs/acme/orgs/acme/state?at={}", now["time"]))
        .await
        .expect(200)
        .json();
    assert_eq!(at["digest"], now["digest"]);
    node.get("/v1/orgs/acme/orgs/acme/state?at=1").await.problem(404, "not_found");
    node.get("/v1/orgs/acme/conversations/none/state").await.problem(404, "not_found");
}

#[tokio::test]
async fn history_pages_hold_every_record_once() {
    let node = TestNode::with_org().await;
    // Each repetition of a rename to the present name is a record without an event.
    for n in 0..7 {
        let key = format!("same-{n}");
        node.post_with(
            "/v1/orgs/acme/orgs/acme/rename",
            &[("Idempotency-Key", &key)],
            json!({ "name": "Acme" }),
        )
        .await
        .expect(202);
    }
    node.post("/v1/orgs/acme/orgs/acme/rename", json!({ "name": "New" }))
        .await
        .expect(202);
    let all = node.get("/v1/orgs/acme/orgs/acme/history").await.expect(200).json();
    let all: Vec<Value> = all["items"].as_array().unwrap().clone();
    assert_eq!(all.len(), 9);
    for limit in 1..=4 {
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let page = node
                .get(&format!("/v1/orgs/acme/orgs/acme/history?limit={limit}{after}"))
                .await
                .expect(200)
                .json();
            paged.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(paged, all, "pages of {limit}");
    }
    for pair in all.windows(2) {
        assert_eq!(pair[1]["previous_hash"], pair[0]["hash"]);
    }
    node.get("/v1/orgs/acme/orgs/other/history").await.problem(404, "not_found");
}

#[tokio::test]
async fn operators_see_tree_views_and_outbox_and_can_rebuild() {
    let node = TestNode::with_org().await;
    let at = node.conversation("c").await.header("quipu-position").to_owned();
    node.get(&format!("/v1/orgs/acme/conversations?min_position={at}"))
        .await
        .expect(200);
    assert!(node.get("/v1/ops/tree").await.expect(200).json()["children"].is_array());
    let views = node.get("/v1/ops/views").await.expect(200).json();
    assert_eq!((&views["ok"], &views["lag"]), (&json!(true), &json!(0)));
    assert!(node.get("/v1/ops/outbox?org=acme").await.expect(200).json()["items"].is_array());
    for job in ["rebuild", "verify"] {
        node.post(&format!("/v1/ops/views/{job}"), json!({})).await.expect(202);
        let done = loop {
            let job = node.get("/v1/ops/views").await.expect(200).json()["job"].clone();
            if job["status"] != "running" {
                break job;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((&done["job"], &done["status"]), (&json!(job), &json!("done")), "{done}");
        if job == "verify" {
            assert_eq!(done["equal"], true, "{done}");
        }
    }
    let said = node.say("c", "after the rebuild").await;
    let page = node
        .get(&format!(
            "/v1/orgs/acme/conversations/c/messages?min_position={}",
            said.header("quipu-position")
        ))
        .await
        .expect(200);
    assert_eq!(page.json()["items"][0]["body"], "after the rebuild");
}

#[tokio::test]
async fn views_made_anew_after_their_loss_are_the_same() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let at = node.say("c", "kept").await.header("quipu-position").to_owned();
    let path = format!("/v1/orgs/acme/conversations/c/messages?min_position={at}");
    let before = node.get(&path).await.expect(200).json();
    let data = node.data;
    node.running.stop().await;
    std::fs::remove_dir_all(data.path().join("views")).unwrap();
    let node = TestNode::over(data).await;
    assert_eq!(node.get(&path).await.expect(200).json(), before);
}

#[tokio::test]
async fn a_page_of_large_rows_ends_early_and_goes_on() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    for n in 0..50 {
        node.say("c", &format!("{n} {}", "x".repeat(60_000))).await;
    }
    for (part, wanted) in [("messages", 50), ("history", 51)] {
        let (mut rows, mut named, mut after) = (0, 0, String::new());
        loop {
            let min = node.running.node.cursor();
            let wait = if part == "messages" {
                format!("&min_position={min}")
            } else {
                String::new()
            };
            let page = node
                .get(&format!("/v1/orgs/acme/conversations/c/{part}?limit=1000{after}{wait}"))
                .await
                .expect(200);
            assert!(page.text.len() < 3 * quipu_schemas::limits::PAGE_MAX_BYTES, "{}", page.text.len());
            // What there is no room for is named.
            named += page.text.matches("\"$blob\"").count();
            let page = page.json();
            rows += page["items"].as_array().unwrap().len();
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!((rows, (5..45).contains(&named)), (wanted, true), "{part}: {named}");
    }
}

#[tokio::test]
async fn reads_without_memory_are_refused_and_come_back() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    node.say("c", "hello").await;
    let mut held = Vec::new();
    while node.running.node.reads_held() < quipu_schemas::limits::READ_BUDGET_BYTES {
        held.push(node.running.node.reserve_read(usize::MAX).await.unwrap());
    }
    let read = async |part: &str| node.get(&format!("/v1/orgs/acme/conversations/c/{part}")).await;
    let refused = tokio::join!(read("messages"), read("history?limit=1"), read("state?version=1"));
    for refused in [refused.0, refused.1, refused.2] {
        refused.problem(503, "reads_busy");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    // Commands need none of it.
    node.say("c", "hello again").await;
    drop(held);
    node.get("/v1/orgs/acme/conversations/c/history?limit=1").await.expect(200);
    assert_eq!(node.running.node.reads_held(), 0, "an answer that was read holds nothing");
}
