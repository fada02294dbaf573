//! Callbacks: signed deliveries become commands, once; whatever else arrives is answered alike and does nothing.

use super::{isolation::bare, *};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

const KEY: &[u8] = b"a key of thirty-two bytes or so.";
const OTHER: &[u8] = b"another key of thirty-two bytes.";

fn whsec(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

#[expect(clippy::disallowed_methods, reason = "whoever delivers has a clock of their own")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sign(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Headers of a Standard Webhook.
fn signed(key: &[u8], id: &str, at: u64, body: &str) -> Vec<(&'static str, String)> {
    let head = format!("{id}.{at}.");
    let signature = STANDARD.encode(sign(key, &[head.as_bytes(), body.as_bytes()]));
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.to_string()),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

impl TestNode {
    /// A delivery, without a token.
    async fn deliver(&self, callback: &str, headers: &[(&'static str, String)], body: &str) -> Answer {
        let url = format!("{}/callbacks/{callback}", self.running.url());
        let mut request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        Self::send(request).await
    }

    /// A node whose conversation `c` and callback `hook` are those of the service `svc`.
    async fn with_callback() -> Self {
        let node = Self::with_org().await;
        node.post(
            "/v1/orgs/acme/orgs/acme/add_member",
            json!({ "principal": "svc", "role": "member" }),
        )
        .await
        .expect(202);
        let talk = json!({ "type": "group", "title": "Talk" });
        node.post_with("/v1/orgs/acme/conversations/c", &[("quipu-on-behalf-of", "svc")], talk)
            .await
            .expect(201);
        node.callback("hook", json!({ "value": whsec(KEY) }), json!({})).await.expect(201);
        node
    }

    async fn callback(&self, id: &str, secret: Value, more: Value) -> Answer {
        let mut body = json!({
            "name": "Orders", "scheme": "standard_webhooks", "secret": secret, "principal": "svc",
            "target": { "kind": "conversation", "id": "=body.room", "command": "post" },
            "mapping": { "body": "='Order ' + body.number" }
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post(&format!("/v1/orgs/acme/callbacks/{id}"), body).await
    }

    async fn messages(&self, at: &Answer) -> Vec<String> {
        let position = at.header("quipu-position");
        let page = self
            .get(&format!("/v1/orgs/acme/conversations/c/messages?min_position={position}"))
            .await;
        let items = page.expect(200).json()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["body"].as_str().unwrap().to_owned()).collect()
    }
}

const BODY: &str = r#"{"room":"c","number":"7"}"#;

#[tokio::test]
async fn a_delivery_is_one_command_however_often_it_arrives() {
    let node = TestNode::with_callback().await;
    let first = node
        .deliver("acme/hook", &signed(KEY, "msg_1", now(), BODY), BODY)
        .await
        .expect(202);
    assert!(first.headers.get("idempotent-replayed").is_none());
    // Senders sign each attempt again.
    let again = node
        .deliver("acme/hook", &signed(KEY, "msg_1", now() + 1, BODY), BODY)
        .await
        .expect(202);
    assert_eq!(again.header("idempotent-replayed"), "true");
    let (first, second) = (first.json(), again.json());
    assert_eq!(
        (&first["position"], &first["command_id"]),
        (&second["position"], &second["command_id"])
    );
    let other = r#"{"room":"c","number":"8"}"#;
    let reused = node.deliver("acme/hook", &signed(KEY, "msg_1", now(), other), other).await;
    reused.problem(409, "command_id_reused");
    let last = node
        .deliver("acme/hook", &signed(KEY, "msg_2", now(), other), other)
        .await
        .expect(202);
    assert_eq!(node.messages(&last).await, ["Order 7", "Order 8"]);
    let history = node.get("/v1/orgs/acme/conversations/c/history").await.expect(200).json();
    let record = &history["items"][1];
    assert_eq!(
        (&record["principal"], &record["correlation"]),
        (&json!("svc"), &json!("acme/callback/hook")),
        "{record}"
    );
}

#[tokio::test]
async fn whatever_is_not_signed_is_answered_alike_and_does_nothing() {
    let node = TestNode::with_callback().await;
    node.callback("else", json!({ "value": whsec(OTHER) }), json!({})).await.expect(201);
    let good = || signed(KEY, "msg_1", now(), BODY);
    let unknown = bare(&node.deliver("acme/nobody", &good(), BODY).await);
    assert_eq!(unknown.0, 401);
    let twice = |name: &str| {
        let mut headers = good();
        headers.push(headers.iter().find(|(found, _)| *found == name).unwrap().clone());
        headers
    };
    let attempts = [
        ("another org", "other/hook", good(), BODY),
        ("late", "acme/hook", signed(KEY, "msg_1", now() - 302, BODY), BODY),
        ("early", "acme/hook", signed(KEY, "msg_1", now() + 302, BODY), BODY),
        ("one byte", "acme/hook", good(), r#"{"room":"c","number":"8"}"#),
        ("another's secret", "acme/hook", signed(OTHER, "msg_1", now(), BODY), BODY),
        ("at another's address", "acme/else", good(), BODY),
        ("nothing signed", "acme/hook", Vec::new(), BODY),
        ("two ids", "acme/hook", twice("webhook-id"), BODY),
        ("two times", "acme/hook", twice("webhook-timestamp"), BODY),
        ("two signatures", "acme/hook", twice("webhook-signature"), BODY),
    ];
    for (what, callback, headers, body) in attempts {
        assert_eq!(bare(&node.deliver(callback, &headers, body).await), unknown, "{what}");
    }
    node.post("/v1/orgs/acme/callbacks/else/retire", json!({})).await.expect(202);
    assert_eq!(
        bare(&node.deliver("acme/else", &signed(OTHER, "m", now(), BODY), BODY).await),
        unknown,
        "retired"
    );
    let large = format!(r#"{{"room":"c","number":"{}"}}"#, "7".repeat(1024 * 1024));
    let oversized = node.deliver("acme/hook", &signed(KEY, "msg_1", now(), &large), &large).await;
    oversized.problem(413, "body_too_large");
    let picked = format!(r#"{{"room":"c","number":"{}"}}"#, "7".repeat(100 * 1024));
    let too_much = node.deliver("acme/hook", &signed(KEY, "msg_1", now(), &picked), &picked).await;
    too_much.problem(413, "callback_too_large");
    let last = node.deliver("acme/hook", &good(), BODY).await.expect(202);
    assert_eq!(node.messages(&last).await, ["Order 7"]);
}

#[tokio::test]
async fn a_callback_acts_as_its_principal_and_rotates_its_secret() {
    let node = TestNode::with_callback().await;
    let hook = |command: &str| format!("/v1/orgs/acme/callbacks/hook/{command}");
    let rotate = json!({ "secret": { "value": whsec(OTHER) }, "grace_hours": 1 });
    node.post(&hook("rotate_secret"), rotate).await.expect(202);
    for (key, id) in [(KEY, "old"), (OTHER, "new")] {
        node.deliver("acme/hook", &signed(key, id, now(), BODY), BODY).await.expect(202);
    }
    let rotate = json!({ "secret": { "value": whsec(KEY) }, "grace_hours": 0 });
    node.post(&hook("rotate_secret"), rotate).await.expect(202);
    assert_eq!(
        node.deliver("acme/hook", &signed(OTHER, "gone", now(), BODY), BODY).await.status,
        401
    );
    node.post(&hook("pause"), json!({ "reason": "busy" })).await.expect(202);
    let paused = node.deliver("acme/hook", &signed(KEY, "later", now(), BODY), BODY).await;
    paused.problem(503, "callback_paused");
    assert_eq!(paused.header("retry-after"), "60");
    assert_eq!(
        node.deliver("acme/hook", &signed(OTHER, "later", now(), BODY), BODY).await.status,
        401
    );
    node.post(&hook("resume"), json!({})).await.expect(202);
    node.deliver("acme/hook", &signed(KEY, "later", now(), BODY), BODY)
        .await
        .expect(202);

    // By the org's secret, in GitHub's way, as somebody who may not.
    let set = json!({ "value": "It's a Secret to Everybody" });
    node.post("/v1/orgs/acme/secrets/hub/set", set).await.expect(202);
    let as_stranger = json!({ "scheme": "github", "principal": "stranger" });
    node.callback("hub", json!({ "name": "hub" }), as_stranger).await.expect(201);
    let signature = hex::encode(sign(b"It's a Secret to Everybody", &[BODY.as_bytes()]));
    let headers = [
        ("x-hub-signature-256", format!("sha256={signature}")),
        ("x-github-delivery", "d-1".to_owned()),
    ];
    let refused = node.deliver("acme/hub", &headers, BODY).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let rows = node.get("/v1/orgs/acme/callbacks").await.expect(200);
    let state = node.get("/v1/orgs/acme/callbacks/hook/state").await.expect(200);
    assert!(state.text.contains(r#""value":{"secret":true}"#), "{}", state.text);
    for secret in [whsec(KEY), whsec(OTHER)] {
        assert!(!rows.text.contains(&secret) && !state.text.contains(&secret));
    }
}
