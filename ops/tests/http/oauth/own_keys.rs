//! Agents and services log in as themselves, by keys of their own.

use super::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use std::time::{SystemTime, UNIX_EPOCH};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key pair of a principal.
struct Signer {
    name: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(name: &str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
        Self { name: name.into(), pair }
    }

    fn public(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref()) })
    }

    /// An assertion for this node, with these claims instead of the right ones.
    fn signs(&self, node: &TestNode, jti: &str, changes: Value) -> String {
        let now = seconds();
        let aud = format!("{}/oauth/token", node.running.url());
        let mut said = json!({ "iss": self.name, "sub": self.name, "aud": aud, "iat": now, "exp": now + 60, "jti": jti });
        for (name, value) in changes.as_object().unwrap() {
            said[name] = value.clone();
        }
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(json!({ "alg": "EdDSA", "typ": "JWT" })), part(said));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// Its principal gets its public key; an agent's principal follows from the agent.
    async fn added(&self, node: &TestNode) -> String {
        let (org, id) = self.name.split_once('/').unwrap();
        let path = format!("/v1/orgs/{org}/principals/{id}/add_public_key");
        for _ in 0..500 {
            let answer = node.post(&path, json!({ "key": self.public() })).await;
            if answer.status != 404 {
                answer.expect(202);
                let key: quipu_schemas::jwk::PublicJwk = serde_json::from_value(self.public()).unwrap();
                return key.thumbprint();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await; // poll
        }
        panic!("{} gets no principal", self.name)
    }
}

/// Asks for a token by an assertion.
async fn asked(node: &TestNode, assertion: &str, scope: Option<&str>) -> Answer {
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion),
    ];
    fields.extend(scope.map(|scope| ("scope", scope)));
    node.form("/oauth/token", None, &fields).await
}

/// An agent and a service of `acme`, who are members, with their keys.
async fn house() -> (TestNode, Signer, Signer, String) {
    let node = TestNode::with_org().await;
    let model = json!({ "provider": "mock", "model": "echo" });
    let agent = json!({ "name": "Scout", "model": model });
    node.post("/v1/orgs/acme/agents/scout", agent).await.expect(201);
    let service = json!({ "name": "Clerk", "owner": "ada" });
    node.post("/v1/orgs/acme/principals/clerk", service).await.expect(201);
    let (scout, clerk) = (Signer::new("acme/scout"), Signer::new("acme/clerk"));
    let key = scout.added(&node).await;
    clerk.added(&node).await;
    for name in ["scout", "clerk"] {
        let member = json!({ "principal": name, "role": "member" });
        node.post("/v1/orgs/acme/orgs/acme/add_member", member).await.expect(202);
    }
    (node, scout, clerk, key)
}

async fn reads(node: &TestNode, token: &str, path: &str) -> Answer {
    node.by(Some(token), Method::GET, path).await
}

#[expect(clippy::disallowed_methods, reason = "whoever signs has a clock of its own")]
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_logs_in_by_its_own_key() {
    let (node, scout, clerk, key) = house().await;
    for (signer, n) in [(&scout, 1), (&clerk, 2)] {
        let jti = format!("j{n}");
        let told = asked(&node, &signer.signs(&node, &jti, json!({})), Some("cap:run.*"))
            .await
            .expect(200)
            .json();
        assert_eq!((&told["expires_in"], &told["scope"]), (&json!(900), &json!("cap:run.*")), "{told}");
        let token = told["access_token"].as_str().unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
        for (name, value) in [("sub", &signer.name), ("client_id", &signer.name)] {
            assert_eq!(claims[name], **value, "{claims}");
        }
        // It opens its own org, as far as it is cut to, and no other.
        reads(&node, token, "/v1/orgs/acme/runs").await.expect(200);
        reads(&node, token, "/v1/orgs/acme/agents").await.problem(403, "missing_right");
        reads(&node, token, "/v1/orgs/other/runs").await.problem(403, "no_access");
    }
    // The same session is used again, and ends with the key that opened it.
    let again = asked(&node, &scout.signs(&node, "j3", json!({})), Some("cap:run.*"))
        .await
        .expect(200)
        .json();
    let token = again["access_token"].as_str().unwrap();
    reads(&node, token, "/v1/orgs/acme/runs").await.expect(200);
    let removed = json!({ "id": key });
    node.post("/v1/orgs/acme/principals/scout/remove_public_key", removed)
        .await
        .expect(202);
    reads(&node, token, "/v1/orgs/acme/runs").await.problem(401, "unauthenticated");
    let answer = asked(&node, &scout.signs(&node, "j4", json!({})), Some("cap:run.*")).await;
    refused(&answer, 401, "invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_assertions_of_agents_are_told_alike() {
    let (node, scout, clerk, _) = house().await;
    let now = seconds();
    let replayed = scout.signs(&node, "once", json!({}));
    asked(&node, &replayed, Some("cap:run.*")).await.expect(200);
    let mut shown = vec![replayed];
    for (n, changes) in [
        json!({ "aud": "https://elsewhere.example/oauth/token" }),
        json!({ "exp": now }),
        json!({ "exp": now + 86_400 }),
        json!({ "exp": "soon" }),
        json!({ "iss": "acme/clerk" }),
        json!({ "sub": "acme/clerk", "iss": "acme/clerk" }),
        json!({ "sub": "other/scout", "iss": "other/scout" }),
        json!({ "sub": "acme/nobody", "iss": "acme/nobody" }),
        json!({ "sub": "_platform/usr_1", "iss": "_platform/usr_1" }),
        json!({ "jti": null }),
    ]
    .into_iter()
    .enumerate()
    {
        shown.push(scout.signs(&node, &format!("w{n}"), changes));
    }
    // Another's key, and none at all.
    let stranger = Signer {
        name: "acme/scout".into(),
        ..Signer::new("")
    };
    shown.push(stranger.signs(&node, "s", json!({})));
    let unsigned = scout.signs(&node, "u", json!({}));
    shown.push(format!("{}.", unsigned.rsplit_once('.').unwrap().0));
    let mut answers = Vec::new();
    for assertion in &shown {
        answers.push(asked(&node, assertion, Some("cap:run.*")).await);
    }
    // Suspended and retired alike.
    let stop = json!({ "reason": "leak" });
    node.post("/v1/orgs/acme/principals/clerk/suspend", stop.clone()).await.expect(202);
    answers.push(asked(&node, &clerk.signs(&node, "c1", json!({})), Some("cap:run.*")).await);
    node.post("/v1/orgs/acme/principals/clerk/retire", stop).await.expect(202);
    answers.push(asked(&node, &clerk.signs(&node, "c2", json!({})), Some("cap:run.*")).await);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, 401, "{n}: {}", answer.text);
        refused(answer, 401, "invalid_client");
        assert_eq!(answer.text, answers[0].text, "{n}");
    }
    // What is signed rightly and asks for what it cannot have says so.
    for (n, scope) in [None, Some(""), Some("everything")].into_iter().enumerate() {
        let answer = asked(&node, &scout.signs(&node, &format!("x{n}"), json!({})), scope).await;
        refused(&answer, 400, "invalid_scope");
    }
    let other = scout.signs(&node, "g", json!({}));
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", other.as_str()),
    ];
    refused(&node.form("/oauth/token", None, &fields).await, 400, "unauthorized_client");
}
