//! `webhook`: what a receiver verifies, and what its answers mean.

use crate::{
    fake::{Fake, Seen, response},
    stage::{NOW_MS, Props, attempt, failed, retryable},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use quipu_runtime::performers::{AttemptEnd, CancelToken};
use quipu_schemas::{
    json::Json,
    reaction::{Effect, Outcome, ReactionKey, WebhookCall},
};
use serde_json::json;
use sha2::{Digest, Sha256};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver's own computation, from RFC 2104 and the Standard Webhooks specification.
fn expected(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    assert!(key.len() <= 64);
    key.resize(64, 0);
    let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(format!("{id}.{timestamp}."))
        .chain_update(body)
        .finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    format!("v1,{}", STANDARD.encode(outer))
}

fn verified(seen: &Seen, secret: &str) -> bool {
    let signature = expected(secret, seen.header("webhook-id"), seen.header("webhook-timestamp"), &seen.body);
    seen.header("webhook-signature").split(' ').any(|given| given == signature)
}

fn hook(fake: &Fake) -> Effect {
    Effect::Webhook(WebhookCall {
        url: fake.url("/hook"),
        sealed_url: None,
        event_type: "order.paid".into(),
        data: Json(json!({"order": 7})),
        secret: "hook".into(),
    })
}

#[test]
fn the_verifier_agrees_with_the_published_example() {
    let signature = expected(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn every_attempt_is_signed_and_carries_the_same_id_and_body() {
    let mut fake = Fake::answering(response(200, &[], "")).await;
    let stage = Props::reaching(&[&fake]).secret("acme/hook", SECRET).stage();
    let key: ReactionKey = "acme/run/run_1@3.0".parse().unwrap();
    let mut bodies = Vec::new();
    for number in 1..=2 {
        let end = stage.performers.perform(attempt(hook(&fake), number, CancelToken::never())).await;
        assert!(matches!(end, AttemptEnd::Done(Outcome::Responded { status: 200, .. })), "{end:?}");
        let seen = fake.next().await;
        assert!(verified(&seen, SECRET) && !verified(&seen, "whsec_AAAA"));
        assert_eq!(
            (seen.line.as_str(), seen.header("content-type")),
            ("POST /hook HTTP/1.1", "application/json")
        );
        assert_eq!(seen.header("webhook-id"), key.message_id());
        assert_eq!(seen.header("x-request-id"), crate::stage::REQUEST_ID);
        assert_eq!(seen.header("webhook-timestamp"), (NOW_MS / 1_000).to_string());
        assert_eq!(
            seen.json(),
            json!({"type": "order.paid", "timestamp": "2026-01-02T03:03:05.000Z", "data": {"order": 7}})
        );
        bodies.push(seen.body);
    }
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn both_secrets_of_a_rotation_verify() {
    let mut fake = Fake::answering(response(204, &[], "")).await;
    let newer = format!("whsec_{}", STANDARD.encode([9; 32]));
    let stage = Props::reaching(&[&fake])
        .secret("acme/hook", vec![newer.clone(), SECRET.to_owned()])
        .stage();
    stage.perform(hook(&fake)).await;
    let seen = fake.next().await;
    assert!(verified(&seen, SECRET) && verified(&seen, &newer));
    assert_eq!(seen.header("webhook-signature").split(' ').count(), 2);
}

#[tokio::test]
async fn answers_are_delivered_final_or_repeated() {
    for (status, again) in [
        (302, false),
        (400, false),
        (404, false),
        (410, false),
        (408, true),
        (425, true),
        (429, true),
        (500, true),
        (503, true),
    ] {
        let fake = Fake::answering(response(status, &[("location", "/elsewhere"), ("retry-after", "4")], "why")).await;
        let end = Props::reaching(&[&fake])
            .secret("acme/hook", SECRET)
            .stage()
            .perform(hook(&fake))
            .await;
        if again {
            let (code, _, wait) = retryable(end);
            assert_eq!((code, wait), (format!("status_{status}"), Some(4_000)));
        } else {
            assert_eq!(failed(end).0, format!("status_{status}"));
        }
    }
}

#[tokio::test]
async fn a_missing_or_malformed_secret_sends_nothing() {
    let mut fake = Fake::answering(response(200, &[], "")).await;
    let (code, detail) = failed(Props::reaching(&[&fake]).stage().perform(hook(&fake)).await);
    assert!(code == "secret_not_found" && detail.contains("acme/hook"), "{detail}");
    let stage = Props::reaching(&[&fake]).secret("acme/hook", "hunter2").stage();
    let (code, detail) = failed(stage.perform(hook(&fake)).await);
    assert!(code == "secret_invalid" && !detail.contains("hunter2"), "{detail}");
    assert!(!fake.was_called());
}
