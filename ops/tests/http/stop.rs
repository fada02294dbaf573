//! Life and end of a node: health, metrics, a graceful stop, a crash.

use super::*;

#[tokio::test]
async fn health_tells_every_part_and_metrics_name_no_tenant() {
    let node = TestNode::with_org().await;
    let at = node.conversation("very-private-name").await.header("quipu-position").to_owned();
    node.get(&format!("/v1/orgs/acme/conversations?min_position={at}"))
        .await
        .expect(200);
    let health = node.get("/health").await.expect(200).json();
    assert_eq!(health["status"], "ok", "{health}");
    assert!(health["parts"].as_array().unwrap().iter().any(|part| part["name"] == "views"));
    node.get("/health/ready").await.expect(200);
    let page = node.get("/metrics").await.expect(200).text;
    assert!(page.contains("quipu_http_requests_total"), "{page}");
    let value = |name: &str| {
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no {name} in {page}"))
    };
    // The org and the conversation; every partition is this node's.
    assert_eq!(
        (value("quipu_commands_accepted_total"), value("quipu_records_appended_total")),
        (2.0, 2.0),
        "{page}"
    );
    assert_eq!(
        (value("quipu_partitions_without_owner"), value("quipu_log_trouble")),
        (0.0, 0.0),
        "{page}"
    );
    assert!(
        value("quipu_partitions_owned") > 0.0 && value("quipu_streams_parked") == 0.0,
        "{page}"
    );
    assert!(!page.contains("acme") && !page.contains("very-private-name"), "{page}");
}

#[tokio::test]
async fn a_stop_answers_what_is_at_work_and_a_restart_goes_on() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let url = format!("{}/v1/orgs/acme/conversations/c/post", node.running.url());
    let (client, token) = (node.client.clone(), node.running.token.expose().to_owned());
    let load = tokio::spawn(async move {
        let mut acknowledged = 0u64;
        // Until the node is gone; a refusal while it stops is an answer as well.
        loop {
            match client.post(&url).bearer_auth(&token).json(&json!({ "body": "x" })).send().await {
                Ok(answer) if answer.status() == 202 => acknowledged += 1,
                Ok(answer) => assert_eq!(answer.status(), 503),
                Err(_) => return acknowledged,
            }
        }
    });
    let position = node.say("c", "first").await.header("quipu-position").to_owned();
    node.get(&format!("/v1/orgs/acme/conversations?min_position={position}"))
        .await
        .expect(200);
    let data = node.data;
    node.running.stop().await;
    let acknowledged = load.await.unwrap();
    let node = TestNode::over(data).await;
    let state = node.get("/v1/orgs/acme/conversations/c/state").await.expect(200).json();
    assert!(state["version"].as_u64().unwrap() > acknowledged, "{acknowledged} {state}");
    assert!(node.data.path().join("heads").exists());
}

#[tokio::test]
async fn a_node_in_memory_needs_no_directory() {
    let running = serve::start(Config::in_memory().unwrap()).await.unwrap();
    let answer = client()
        .post(format!("{}/v1/orgs/acme/orgs", running.url()))
        .bearer_auth(running.token.expose())
        .json(&json!({ "name": "Acme" }));
    let answer = TestNode::send(answer).await.expect(201);
    assert_eq!(answer.json()["durability"], "memory");
    running.stop().await;
}

#[tokio::test]
async fn a_node_told_to_stop_is_first_not_ready_and_serves_on() {
    let mut config = Config::in_memory().unwrap();
    config.shutdown_delay_ms = 3_000;
    let running = serve::start(config).await.unwrap();
    let (url, token, client) = (running.url(), running.token.expose().to_owned(), client());
    client
        .get(format!("{url}/health/ready"))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let begun = std::time::Instant::now();
    let stop = tokio::spawn(running.stop());
    // The word spreads before anything is refused.
    while client.get(format!("{url}/health/ready")).send().await.unwrap().status() != 503 {}
    let create = client.post(format!("{url}/v1/orgs/acme/orgs")).bearer_auth(&token);
    TestNode::send(create.json(&json!({ "name": "Acme" }))).await.expect(201);
    let health = TestNode::send(client.get(format!("{url}/health"))).await.expect(503).json();
    assert!(health.to_string().contains("leaving"), "{health}");
    stop.await.unwrap();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(3_000));
    assert!(client.get(format!("{url}/health/live")).send().await.is_err());
}
