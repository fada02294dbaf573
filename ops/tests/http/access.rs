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
            raw(&node, &[("host", host)], "/docs/llms.txt")
                .await
                .problem(403, "host_not_allowed")["field"],
            "Host"
        );
        // Load balancers ask by whatever name they have.
        for probe in ["/health", "/health/live", "/health/ready"] {
            raw(&node, &[("host", host)], probe).await.expect(200);
        }
    }
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:80"] {
        raw(&node, &[("host", host)], "/docs/llms.txt").await.expect(200);
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
    raw(&node, &[("host", "quipu.internal:8443")], "/docs/llms.txt").await.expect(200);
    let answer = raw(&node, &[("origin", "https://desk.example")], "/health").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), "https://desk.example");
    let preflight = node
        .client
        .request(Method::OPTIONS, format!("{}/v1/orgs/acme/orgs", node.running.url()))
        .header("origin", "https://desk.example")
        .header("access-control-request-method", "POST");
    let preflight = TestNode::send(preflight).await.expect(204);
    assert!(preflight.header("access-control-allow-headers").contains("Idempotency-Key"));
    values_are_uploaded_and_read_in_parts(&node).await;
}

/// A page of a configured origin keeps a value, and reads a part of it with the headers that tell what it has.
async fn values_are_uploaded_and_read_in_parts(node: &TestNode) {
    let origin = ("origin", "https://desk.example");
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    let preflight = node
        .client
        .request(Method::OPTIONS, format!("{}/v1/orgs/acme/blobs", node.running.url()))
        .header(origin.0, origin.1)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "authorization, content-digest, content-type");
    let preflight = TestNode::send(preflight).await.expect(204);
    let lists = |answer: &Answer, header: &str, wanted: &[&str]| {
        let listed: Vec<String> = answer.header(header).split(", ").map(str::to_ascii_lowercase).collect();
        for word in wanted {
            assert!(listed.contains(&word.to_ascii_lowercase()), "{word} in {header}: {listed:?}");
        }
    };
    lists(&preflight, "access-control-allow-methods", &["GET", "PUT"]);
    lists(
        &preflight,
        "access-control-allow-headers",
        &["Authorization", "Content-Digest", "Content-Type", "Range"],
    );
    let put = node
        .request(Method::PUT, "/v1/orgs/acme/blobs")
        .header(origin.0, origin.1)
        .body("x".repeat(5_000));
    let kept = TestNode::send(put).await.expect(201);
    assert_eq!(kept.header("access-control-allow-origin"), origin.1);
    let path = format!("/v1/orgs/acme/blobs/{}", kept.json()["$blob"].as_str().unwrap());
    let part = node
        .request(Method::GET, &path)
        .header(origin.0, origin.1)
        .header("range", "bytes=0-9");
    let part = TestNode::send(part).await.expect(206);
    assert_eq!((part.text.as_str(), part.header("content-range")), ("xxxxxxxxxx", "bytes 0-9/5000"));
    let exposed = ["Accept-Ranges", "Content-Digest", "Content-Range", "ETag"];
    lists(&part, "access-control-expose-headers", &exposed);
    let whole = TestNode::send(node.request(Method::GET, &path).header(origin.0, origin.1))
        .await
        .expect(200);
    assert!(whole.header("content-digest").starts_with("sha-256=:"));
    lists(&whole, "access-control-expose-headers", &exposed);
    let elsewhere = node.request(Method::GET, &path).header("origin", "https://other.example");
    TestNode::send(elsewhere).await.problem(403, "origin_not_allowed");
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

/// Bytes as no HTTP client would send them, and the answer's status.
async fn status_of(node: &TestNode, bytes: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(node.running.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).parse().unwrap()
}

#[tokio::test]
async fn probes_without_a_host_are_answered_and_two_hosts_refused() {
    let node = TestNode::start().await;
    for (bytes, status) in [
        ("GET /health/ready HTTP/1.0\r\n\r\n", 200),
        ("GET /health HTTP/1.0\r\n\r\n", 200),
        ("GET /health/live HTTP/1.1\r\n\r\n", 200),
        ("GET /docs/llms.txt HTTP/1.0\r\n\r\n", 403),
        ("GET /docs/llms.txt HTTP/1.1\r\n\r\n", 400),
        ("GET /docs/llms.txt HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET /docs/llms.txt HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        ("GET http://evil.example/docs/llms.txt HTTP/1.1\r\nHost: localhost\r\n\r\n", 403),
    ] {
        assert_eq!(status_of(&node, bytes).await, status, "{bytes}");
    }
}

#[tokio::test]
async fn correlation_ids_of_another_form_are_passed_over() {
    let node = TestNode::with_org().await;
    for foreign in [
        ("x-correlation-id", "{0f8fad5b-d9cb-469f-a165-70867728950e}"),
        ("x-correlation-id", "Zm9v+w=="),
        ("x-trace-id", "Root=1-67891233-abcdef012345678912345678"),
    ] {
        for path in ["/health/ready", "/docs/llms.txt"] {
            assert_eq!(raw(&node, &[foreign], path).await.expect(200).header("x-correlation-id").len(), 36);
        }
        let renamed = node
            .post_with("/v1/orgs/acme/orgs/acme/rename", &[foreign], json!({ "name": foreign.1 }))
            .await;
        assert_eq!(renamed.expect(202).header("x-correlation-id").len(), 36);
    }
    let twice = [("x-correlation-id", "a"), ("x-correlation-id", "b")];
    assert_eq!(raw(&node, &twice, "/health").await.expect(200).header("x-correlation-id").len(), 36);
}

#[tokio::test]
async fn names_below_a_configured_one_may_call() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.origins = vec!["https://*.desk.example".into()];
    let node = TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    };
    for origin in ["https://a.desk.example", "https://a.b.desk.example"] {
        let answer = raw(&node, &[("origin", origin)], "/health").await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(answer.headers.get("access-control-allow-credentials").is_none());
        assert_eq!(answer.header("vary"), "Origin");
    }
    for origin in [
        "https://desk.example",
        "https://evildesk.example",
        "https://a.desk.example.evil.example",
    ] {
        let refused = raw(&node, &[("origin", origin)], "/health").await;
        refused.problem(403, "origin_not_allowed");
        assert!(refused.headers.get("access-control-allow-origin").is_none());
        assert_eq!(refused.header("vary"), "Origin");
    }
    // A cache between must not show one page what another may read.
    assert_eq!(raw(&node, &[], "/health").await.expect(200).header("vary"), "Origin");
    let preflight = node
        .client
        .request(Method::OPTIONS, format!("{}/v1/orgs/acme/orgs", node.running.url()))
        .header("origin", "https://a.desk.example")
        .header("access-control-request-method", "POST");
    assert_eq!(TestNode::send(preflight).await.expect(204).header("access-control-max-age"), "600");
}

#[tokio::test]
async fn every_answer_is_protected_and_credentials_come_once() {
    let node = TestNode::with_org().await;
    let token = format!("Bearer {}", node.running.token.expose());
    for (headers, path, status) in [
        (&[("authorization", token.as_str())][..], "/v1/orgs/acme/orgs/acme/state", 200),
        (&[], "/v1/orgs/acme/stats", 401),
        (&[], "/nothing", 401),
        (&[], "/health/live", 200),
        (&[], "/metrics", 200),
        (&[("accept", "text/html")], "/docs/problems", 200),
        (&[("host", "evil.example")], "/docs/problems", 403),
        (
            &[("authorization", &token), ("authorization", "Bearer other")],
            "/v1/orgs/acme/stats",
            400,
        ),
        (&[("authorization", "Bearer other"), ("authorization", &token)], "/health/live", 400),
    ] {
        let answer = raw(&node, headers, path).await.expect(status);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        let is_page = answer
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        assert_eq!(answer.headers.contains_key("content-security-policy"), is_page, "{path}");
        assert_eq!(answer.header("cache-control") == "no-store", !is_page, "{path}");
        assert!(!answer.headers.contains_key("strict-transport-security"), "{path}");
        if status == 400 {
            assert_eq!(answer.problem(400, "bad_header")["field"], "Authorization");
        }
    }
}

#[tokio::test]
async fn network_of_a_key_is_that_of_the_client_behind_a_proxy() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let node = TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    };
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme", "owner": "ada" }))
        .await
        .expect(201);
    let key = node
        .key("acme", "k", json!({ "principal": "ada", "networks": ["192.0.2.0/24"] }))
        .await;
    let key = format!("Bearer {key}");
    for (forwarded, status) in [
        (&[("x-forwarded-for", "192.0.2.7")][..], 200),
        (&[("x-forwarded-for", "203.0.113.1, 192.0.2.7")], 200),
        (&[("forwarded", "for=192.0.2.7;proto=https")], 200),
        (&[("x-forwarded-for", "192.0.2.7, 203.0.113.1")], 401),
        (&[("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=203.0.113.1")], 401),
        (&[("x-forwarded-for", "unknown")], 401),
        (&[], 401),
    ] {
        let headers: Vec<(&str, &str)> = [("authorization", key.as_str())]
            .into_iter()
            .chain(forwarded.iter().copied())
            .collect();
        raw(&node, &headers, "/v1/orgs/acme/orgs/acme/state").await.expect(status);
    }
    // Who is behind a proxy on this machine is not on this machine.
    raw(&node, &[("x-forwarded-for", "203.0.113.1")], "/metrics")
        .await
        .problem(401, "unauthenticated");
    raw(&node, &[], "/metrics").await.expect(200);
}
