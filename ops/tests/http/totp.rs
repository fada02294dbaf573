//! Codes that follow from the time, as an authenticator makes them, and guesses that come through a proxy.

use super::*;
use hmac::{Hmac, Mac};

const PASSWORD: &str = "correct horse battery";

/// What an authenticator shows (RFC 6238): its own computation, from the secret in base 32.
fn shown_at(secret: &str, step: u64) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: String = secret
        .bytes()
        .map(|letter| format!("{:05b}", alphabet.iter().position(|known| *known == letter).unwrap()))
        .collect();
    let key: Vec<u8> = (0..bits.len() / 8)
        .map(|at| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2).unwrap())
        .collect();
    let mut mac = <Hmac<sha1::Sha1> as Mac>::new_from_slice(&key).unwrap();
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[expect(clippy::disallowed_methods, reason = "an authenticator has a clock of its own")]
fn step_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 30
}

struct Ada {
    node: TestNode,
    token: String,
}

impl Ada {
    async fn start() -> Self {
        let node = TestNode::start().await;
        let body = json!({ "address": "ada@example.com", "password": PASSWORD });
        node.post("/v1/auth/register", body.clone()).await.expect(201);
        let tokens = node.post("/v1/auth/login", body).await.expect(200).json();
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        Self { node, token }
    }

    async fn say(&self, path: &str, body: Value) -> Answer {
        self.node.say_by(&self.token, path, body).await
    }

    async fn log_in(&self, code: Option<&str>) -> Answer {
        let body = json!({ "address": "ada@example.com", "password": PASSWORD, "code": code });
        TestNode::send(
            self.node
                .client
                .post(format!("{}/v1/auth/login", self.node.running.url()))
                .json(&body),
        )
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_asked_for_wherever_it_could_be_gone_around() {
    let ada = Ada::start().await;
    // The access token alone cannot lock its owner out.
    ada.say("/v1/auth/totp", json!({})).await.problem(401, "password_required");
    ada.say("/v1/auth/totp", json!({ "password": "incorrect horse" }))
        .await
        .problem(401, "wrong_login");
    let secret = ada.say("/v1/auth/totp", json!({ "password": PASSWORD })).await.expect(200).json();
    assert!(secret["uri"].as_str().unwrap().starts_with("otpauth://totp/quipu:usr_"), "{secret}");
    let secret = secret["secret"].as_str().unwrap().to_owned();
    ada.log_in(None).await.expect(200);
    let step = step_now();
    let confirmed = ada
        .say("/v1/auth/totp/confirm", json!({ "code": shown_at(&secret, step) }))
        .await
        .expect(200)
        .json();
    let spare = |n: usize| confirmed["recovery_codes"][n].as_str().unwrap().to_owned();
    ada.log_in(None).await.problem(401, "totp_required");
    // It was used; the next one opens, once.
    ada.log_in(Some(&shown_at(&secret, step))).await.problem(401, "wrong_login");
    ada.log_in(Some(&shown_at(&secret, step + 1))).await.expect(200);
    ada.log_in(Some(&shown_at(&secret, step + 1))).await.problem(401, "wrong_login");
    ada.log_in(Some(&spare(0))).await.expect(200);
    ada.log_in(Some(&spare(0))).await.problem(401, "wrong_login");
    // The access token alone changes neither authenticator nor password.
    ada.say("/v1/auth/totp", json!({})).await.problem(401, "totp_required");
    let change = |code: Option<String>| json!({ "old": PASSWORD, "new": "battery staple horse", "code": code });
    ada.say("/v1/auth/password/change", change(None))
        .await
        .problem(401, "totp_required");
    let another = ada.say("/v1/auth/totp", json!({ "code": spare(1) })).await.expect(200).json();
    assert_ne!(another["secret"], secret);
    ada.say("/v1/auth/password/change", change(Some(spare(2)))).await.expect(200);
    ada.say("/v1/auth/totp", json!({ "code": spare(3) }))
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guesser_behind_a_proxy_slows_nobody_else_down() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let running = serve::start(config).await.unwrap();
    let node = TestNode {
        running,
        client: client(),
        data,
    };
    let body = |password: &str| json!({ "address": "ada@example.com", "password": password });
    node.post("/v1/auth/register", body(PASSWORD)).await.expect(201);
    let log_in = async |from: &str, password: &str| {
        let url = format!("{}/v1/auth/login", node.running.url());
        TestNode::send(node.client.post(url).header("x-forwarded-for", from).json(&body(password))).await
    };
    // Whoever got in from somewhere within a day does not wait there for guessers elsewhere.
    log_in("192.0.2.7", PASSWORD).await.expect(200);
    let mut tries = 0;
    while log_in("198.51.100.9", "wrong horse battery").await.status != 429 {
        tries += 1;
        assert!(tries < 20, "nobody had to wait");
    }
    // Their own network waits, whatever they send besides: three guesses of another one would cost nothing yet.
    let mut waits = false;
    for _ in 0..3 {
        waits |= log_in("203.0.113.5, 198.51.100.9", "wrong horse battery").await.status == 429;
    }
    assert!(waits);
    log_in("192.0.2.7", PASSWORD).await.expect(200);
}
