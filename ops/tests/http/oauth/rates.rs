//! Rates where nobody needs a credential.

use super::*;
use futures::future::join_all;

async fn limited(per_minute: u32) -> TestNode {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    assert_eq!(config.sign_in_per_minute, 600, "there is a rate unless configured otherwise");
    config.sign_in_per_minute = per_minute;
    TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_a_minute_sign_in_and_no_more() {
    let node = limited(60).await;
    let form = [("grant_type", "client_credentials"), ("client_id", "acme.nobody")];
    let answers = join_all((0..100).map(|_| node.form("/oauth/token", None, &form))).await;
    let (late, passed): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 429);
    assert_eq!((passed.len(), late.len()), (60, 40));
    for answer in &passed {
        refused(answer, 401, "invalid_client");
        assert_eq!(answer.header("ratelimit-policy"), "\"network\";q=60;w=60");
    }
    refused(&late[0], 429, "temporarily_unavailable");
    assert_eq!(late[0].header("ratelimit-remaining"), "0");
    assert!(late[0].header("retry-after").parse::<u32>().unwrap() <= 60);
    // Whatever is guessed at, it is one rate.
    let login = json!({ "address": "ada@example.com", "password": "wrong and long enough" });
    let request = node.client.post(format!("{}/v1/auth/login", node.running.url())).json(&login);
    let answer = TestNode::send(request).await;
    answer.problem(429, "rate_limited");
    // What is read by everybody, and whoever asks as themselves, is not counted.
    node.by(None, Method::GET, "/oauth/jwks").await.expect(200);
    node.by(None, Method::GET, "/.well-known/openid-configuration").await.expect(200);
    let wrong = node
        .form("/oauth/introspect", None, &[("client_id", "acme.nobody"), ("token", "x")])
        .await;
    refused(&wrong, 429, "temporarily_unavailable");
    node.post(
        "/v1/auth/register",
        json!({ "address": "a@example.com", "password": "correct horse battery" }),
    )
    .await
    .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_count_apart_and_deliveries_too() {
    let node = limited(60).await;
    let register = json!({ "address": "ada@example.com", "password": "correct horse battery" });
    let post = async |path: &str| {
        let request = node.client.post(format!("{}{path}", node.running.url())).json(&register);
        TestNode::send(request).await
    };
    for _ in 0..5 {
        assert_ne!(post("/v1/auth/register").await.status, 429);
    }
    assert_ne!(post("/oauth/register").await.status, 429);
    post("/v1/auth/register").await.problem(429, "rate_limited");
    refused(&post("/oauth/register").await, 429, "temporarily_unavailable");
    let delivered = post("/callbacks/acme/nobody").await;
    assert_eq!(delivered.header("ratelimit-limit"), "600");
    assert_ne!(post("/v1/auth/login").await.status, 429);
}
