//! Secrets as entities: used by effects, and nothing but metadata on every face.

use super::*;
use axum::{Router, extract::State, routing::any};
use parking_lot::Mutex;
use quipu_runtime::secrets::{SecretValues, Secrets};
use std::{
    fs,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const VALUES: [&str; 3] = ["sk-live-first-8f2a", "sk-live-second-77c1", "sk-live-other-30b9"];

/// What the receiver was sent in its `authorization` header.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers with what it was sent, as some servers do.
async fn echo(State(seen): State<Seen>, headers: HeaderMap) -> String {
    let sent = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    seen.lock().push(sent.to_owned());
    format!("you sent {sent}")
}

async fn receiver() -> (String, Seen) {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(any(echo)).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

async fn node_beside(receiver: &str, secrets: Secrets) -> TestNode {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.egress_allow = vec![receiver.to_owned()];
    config.secrets = secrets;
    let node = TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    };
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    node
}

/// Sends a request with the secret, and waits for what the run came to.
async fn run(node: &TestNode, id: &str, receiver: &str) -> Value {
    let call = json!({
        "id": "call", "component": "http.request",
        "config": { "url": format!("http://{receiver}/x"), "headers": { "authorization": "Bearer {{secret:billing}}" } }
    });
    let definition = json!({
        "name": "call", "inputs": { "go": {} }, "outputs": { "said": {} }, "nodes": [call],
        "edges": [{ "from": "input.go", "to": "call.in" }, { "from": "call.out", "to": "output.said" }]
    });
    let body = json!({ "definition": definition, "input": { "go": 1 }, "start": true });
    node.post(&format!("/v1/orgs/acme/runs/{id}"), body).await.expect(201);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let row = node.get(&format!("/v1/orgs/acme/runs/{id}")).await;
        let state = (row.status == 200).then(|| row.json()["state"].clone());
        if state.as_ref().is_some_and(|state| state == "completed" || state == "failed") || Instant::now() > deadline {
            return row.json();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether any file below a directory holds these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds(&path, bytes)
        } else {
            fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
        }
    })
}

/// All log lines of this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn set(node: &TestNode, value: &str, more: Value) -> Answer {
    let mut body = json!({ "value": value });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node.post("/v1/orgs/acme/secrets/billing/set", body).await
}

#[tokio::test]
async fn a_secret_is_used_and_every_face_shows_metadata_only() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let (address, seen) = receiver().await;
    let node = node_beside(&address, Secrets::default()).await;

    set(&node, VALUES[0], json!({ "hosts": [address] })).await.expect(202);
    let first = run(&node, "r1", &address).await;
    assert_eq!(first["state"], "completed", "{first}");
    let said = node.get("/v1/orgs/acme/runs/r1").await.expect(200).text;
    assert!(said.contains("you sent Bearer [secret]"), "an echo is blotted: {said}");
    let rotate = json!({ "value": VALUES[1], "grace_hours": 1 });
    node.post("/v1/orgs/acme/secrets/billing/rotate", rotate).await.expect(202);
    assert_eq!(run(&node, "r2", &address).await["state"], "completed");
    assert_eq!(
        *seen.lock(),
        VALUES[..2].iter().map(|value| format!("Bearer {value}")).collect::<Vec<_>>()
    );
    let retired = node
        .post("/v1/orgs/acme/secrets/billing/retire", json!({ "reason": "over" }))
        .await
        .expect(202)
        .json();
    let failed = run(&node, "r3", &address).await;
    assert!(
        failed["state"] == "failed" && failed.to_string().contains("secret_retired"),
        "{failed}"
    );

    let at = retired["position"].as_str().unwrap().to_owned();
    let row = shredded(&node, &at).await;
    let wanted = [
        ("status", json!("retired")),
        ("generation", json!(2)),
        ("hosts", json!([address])),
        ("created_by", json!("bootstrap")),
    ];
    for (column, value) in wanted {
        assert_eq!(row[column], value, "{row}");
    }
    let state = "/v1/orgs/acme/secrets/billing/state";
    let held = node.get(&format!("{state}?version=2")).await.expect(200).json();
    assert_eq!(held["state"]["held"]["value"], json!({ "secret": true }), "{held}");
    let mut shown = lines.clone().0.lock().clone();
    faces(&node, &mut shown).await;
    let sealed = node
        .get("/v1/orgs/acme/events?from=start&follow=false&type=quipu.secret.set.v1")
        .await
        .text;
    assert!(sealed.contains(r#""value":{"secret":true}"#), "{sealed}");
    let shown = String::from_utf8_lossy(&shown).into_owned();
    let data = node.data;
    node.running.stop().await;
    for value in &VALUES[..2] {
        assert!(!shown.contains(value), "a face or a log line shows {value}");
        assert!(!holds(data.path(), value.as_bytes()), "{value} stands in the data directory");
    }
    assert!(holds(data.path(), b"acme/secret.billing."), "what is looked for would be found");
}

/// What each face shows.
async fn faces(node: &TestNode, shown: &mut Vec<u8>) {
    for path in [
        "/v1/orgs/acme/secrets/billing/state",
        "/v1/orgs/acme/secrets",
        "/v1/orgs/acme/secrets/billing/history",
        "/v1/orgs/acme/events?from=start&follow=false",
        "/v1/orgs/acme/activity",
        "/v1/orgs/acme/runs/r1/history",
        "/v1/orgs/acme/stats",
        "/v1/ops/outbox",
        "/health",
        "/metrics",
    ] {
        let answer = node.get(path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        assert!(!answer.text.contains("$secret"), "{path} shows a ciphertext: {}", answer.text);
        shown.extend(answer.text.into_bytes());
    }
}

/// The row of the secret once both of its keys are destroyed.
async fn shredded(node: &TestNode, at: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let row = node
            .get(&format!("/v1/orgs/acme/secrets/billing?min_position={at}"))
            .await
            .expect(200)
            .json();
        if row["shredded"] == 2 || Instant::now() > deadline {
            assert_eq!(row["shredded"], 2, "{row}");
            return row;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_secret_goes_to_its_hosts_and_comes_from_its_admins() {
    let (address, seen) = receiver().await;
    let configured: SecretValues = VALUES[2].into();
    let node = node_beside(&address, Secrets::new([("acme/taken".to_owned(), configured)].into())).await;
    let once = [("idempotency-key", "set-1")];
    let path = "/v1/orgs/acme/secrets/billing/set";
    let body = |value: &str| json!({ "value": value, "hosts": ["api.example.com"] });
    node.post_with(path, &once, body(VALUES[0])).await.expect(202);
    let again = node.post_with(path, &once, body(VALUES[0])).await.json();
    assert_eq!(again["duplicate"], true, "{again}");
    let other = node.post_with(path, &once, body(VALUES[1])).await;
    assert!(!other.problem(409, "command_id_reused").to_string().contains(VALUES[1]));
    let failed = run(&node, "r1", &address).await;
    assert!(
        failed["state"] == "failed" && failed.to_string().contains("secret_host_refused"),
        "{failed}"
    );
    assert!(seen.lock().is_empty(), "nothing was sent");

    let taken = node.post("/v1/orgs/acme/secrets/taken/set", body(VALUES[0])).await;
    taken.problem(409, "secret_configured");
    for wrong in [
        json!(5),
        json!(""),
        json!({ "$secret": "AAAA", "$subject": "acme/secret.billing.1" }),
    ] {
        let refused = node.post(path, json!({ "value": wrong })).await.problem(422, "invalid_command");
        assert_eq!(refused["field"], "value", "{refused}");
    }
    let forged = json!({ "definition": {}, "input": { "x": { "$secret": "AAAA", "$subject": "acme/secret.billing.1" } } });
    node.post("/v1/orgs/acme/runs/r9", forged).await.problem(422, "invalid_command");
    let files = || {
        fs::read_to_string(node.data.path().join("keys/subjects.keys"))
            .unwrap()
            .lines()
            .count()
    };
    node.post(
        "/v1/orgs/acme/orgs/acme/add_member",
        json!({ "principal": "vic", "role": "viewer" }),
    )
    .await
    .expect(202);
    let before = files();
    for name in ["a", "b", "c"] {
        let path = format!("/v1/orgs/acme/secrets/{name}/set");
        let asked = node.post_with(&path, &[("quipu-on-behalf-of", "vic")], body("x")).await;
        assert_eq!(asked.status, 403, "{}", asked.text);
    }
    assert_eq!(files(), before, "whoever may not set a secret makes no key");
}

/// What a provider of tokens was sent, and what it does.
#[derive(Clone, Default)]
struct Provider {
    asked: Arc<Mutex<Vec<(String, String)>>>,
    is_over: Arc<std::sync::atomic::AtomicBool>,
}

/// Speaks as RFC 6749, section 6 says: another refresh token each time, and the one before is worth nothing.
async fn token(State(provider): State<Provider>, headers: HeaderMap, body: String) -> axum::response::Response {
    use axum::response::IntoResponse;
    let basic = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let mut asked = provider.asked.lock();
    asked.push((basic, body.clone()));
    let n = asked.len();
    if provider.is_over.load(std::sync::atomic::Ordering::Relaxed) || !body.contains(&format!("refresh_token=refresh-token-{n}")) {
        let refused = json!({ "error": "invalid_grant", "error_description": "the grant is over" });
        return (StatusCode::BAD_REQUEST, axum::Json(refused)).into_response();
    }
    let given = json!({
        "access_token": format!("access-token-{n}"), "token_type": "Bearer", "expires_in": 2,
        "refresh_token": format!("refresh-token-{}", n + 1)
    });
    axum::Json(given).into_response()
}

#[tokio::test]
async fn a_connection_renews_its_access_token_until_its_grant_is_over() {
    let (address, seen) = receiver().await;
    let provider = Provider::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let router = Router::new()
        .route("/token", axum::routing::post(token))
        .with_state(provider.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.egress_allow = vec![address.clone(), at.clone()];
    let node = TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    };
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    let connect = json!({
        "token_url": format!("http://{at}/token"), "client_id": "quipu", "client_secret": "the client's secret",
        "refresh_token": "refresh-token-1", "scopes": ["mail.read", "mail.send"], "hosts": [address]
    });
    node.post("/v1/orgs/acme/secrets/billing/connect", connect).await.expect(202);
    // Waits for its first token, and uses the one that counts.
    assert_eq!(run(&node, "r1", &address).await["state"], "completed");
    assert!(seen.lock()[0].starts_with("Bearer access-token-"), "{:?}", seen.lock());
    let deadline = Instant::now() + Duration::from_secs(30);
    while provider.asked.lock().len() < 3 {
        assert!(Instant::now() < deadline, "the token is not renewed: {:?}", provider.asked.lock());
        tokio::time::sleep(Duration::from_millis(20)).await; // poll
    }
    provider.is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    let row = loop {
        let row = node.get("/v1/orgs/acme/secrets/billing").await.json();
        if row["status"] == "broken" {
            break row;
        }
        assert!(Instant::now() < deadline, "{row}");
        tokio::time::sleep(Duration::from_millis(20)).await; // poll
    };
    assert_eq!(
        (&row["last_error"], &row["client_id"]),
        (&json!("oauth_invalid_grant"), &json!("quipu")),
        "{row}"
    );
    let asked = provider.asked.lock().clone();
    assert_eq!(
        asked[0].1,
        "grant_type=refresh_token&refresh_token=refresh-token-1&scope=mail.read+mail.send"
    );
    assert_eq!(asked[0].0, "Basic cXVpcHU6dGhlK2NsaWVudCUyN3Mrc2VjcmV0");
    assert!(
        asked[1].1.contains("refresh-token-2"),
        "a refresh token that was given replaces the one before"
    );
    shows_no_token(node).await;
}

/// Nothing of a connection stands on a face, or in a file.
async fn shows_no_token(node: TestNode) {
    let mut shown = Vec::new();
    for path in ["state", "history"] {
        shown.extend(
            node.get(&format!("/v1/orgs/acme/secrets/billing/{path}"))
                .await
                .expect(200)
                .text
                .into_bytes(),
        );
    }
    shown.extend(
        node.get("/v1/orgs/acme/events?from=start&follow=false")
            .await
            .expect(200)
            .text
            .into_bytes(),
    );
    let shown = String::from_utf8(shown).unwrap();
    let data = node.data;
    node.running.stop().await;
    for secret in ["the client's secret", "refresh-token-1", "refresh-token-2", "access-token-1"] {
        assert!(!shown.contains(secret), "a face shows {secret}");
        assert!(!holds(data.path(), secret.as_bytes()), "{secret} stands in the data directory");
    }
    assert!(!shown.contains("$secret"), "a ciphertext is shown");
}
