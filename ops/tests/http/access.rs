//! Who may call: token, `Host`, `Origin`.

use super::*;

async fn raw(node: &TestNode, headers: &[(&str, &str)], path: &str) -> Answer {
    let mut request = node.client.get(format!("{}{path}", node.running.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    TestNode::send(request).await
}

#[tokio::test]
async fn everything_but_health_and_documents_needs_the_token() {
    let node = TestNode::with_org().await;
    for path in ["/v1/orgs/acme/orgs/acme", "/v1/orgs/acme/events", "/v1/ops/tree", "/nothing"] {
        for headers in [
            &[][..],
            &[("authorization", "Bearer wrong")],
            &[("authorization", "Basic Ym9iOg==")],
            &[("authorization", "Bearer ")],
        ] {
            let answer = raw(&node, headers, path).await;
            assert_eq!(answer.problem(401, "unauthenticated")["field"], "Authorization");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/docs/openapi.json",
        "/docs/llms.txt",
        "/metrics",
    ] {
        raw(&node, &[], path).await.expect(200);
    }
    let token = format!("bearer {}", node.running.token.expose());
    raw(&node, &[("authorization", &token)], "/v1/ops/tree").await.expect(200);
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let node = TestNode::start().await;
    let own = format!("http://{}", node.running.address);
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.1"] {
        assert_eq!(
            raw(&node, &[("host", host)], "/health").await.problem(403, "host_not_allowed")["field"],
            "Host"
        );
    }
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:80"] {
        raw(&node, &[("host", host)], "/health").await.expect(200);
    }
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost:1",
        "http://127.0.0.1.evil.example",
    ] {
        assert_eq!(
            raw(&node, &[("origin", origin)], "/health")
                .await
                .problem(403, "origin_not_allowed")["field"],
            "Origin"
        );
    }
    raw(&node, &[("origin", &own)], "/health").await.expect(200);
}

#[tokio::test]
async fn configured_hosts_and_origins_may_call() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.hosts = vec!["quipu.internal".into()];
    config.origins = vec!["https://desk.example".into()];
    let node = TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    };
    raw(&node, &[("host", "quipu.internal:8443")], "/health").await.expect(200);
    let answer = raw(&node, &[("origin", "https://desk.example")], "/health").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), "https://desk.example");
    let preflight = node
        .client
        .request(Method::OPTIONS, format!("{}/v1/orgs/acme/orgs", node.running.url()))
        .header("origin", "https://desk.example")
        .header("access-control-request-method", "POST");
    let preflight = TestNode::send(preflight).await.expect(204);
    assert!(preflight.header("access-control-allow-headers").contains("Idempotency-Key"));
}

#[tokio::test]
async fn the_token_is_minted_once_and_kept() {
    let node = TestNode::start().await;
    assert!(node.running.token_is_new);
    let token = node.running.token.expose().to_owned();
    let data = node.data;
    node.running.stop().await;
    let node = TestNode::over(data).await;
    assert!(!node.running.token_is_new);
    assert_eq!(node.running.token.expose(), token);
}
