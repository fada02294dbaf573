//! OAuth over HTTP: clients, grants, what is told of tokens, and what is refused.

mod attacks;
pub(super) mod codes;
mod devices;
mod own_keys;
mod people;
mod rates;
mod registering;
mod step_up;

use super::*;
use std::collections::BTreeMap;

/// The verifier of RFC 7636, appendix B, and its challenge.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(super) const CALLBACK: &str = "https://app.example/cb";
pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A form as it is sent.
pub(super) fn encoded(fields: &[(&str, &str)]) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let text = |text: &str| text.bytes().map(letter).collect::<String>();
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value)))
        .collect();
    pairs.join("&")
}

/// A client with its secret.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
}

impl TestNode {
    pub(super) async fn form(&self, path: &str, by: Option<&Client>, fields: &[(&str, &str)]) -> Answer {
        self.body(path, by, encoded(fields)).await
    }

    pub(super) async fn body(&self, path: &str, by: Option<&Client>, body: String) -> Answer {
        let mut request = self
            .client
            .post(format!("{}{path}", self.running.url()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        if let Some(client) = by {
            request = request.basic_auth(&client.id, Some(&client.secret));
        }
        Self::send(request).await
    }

    /// A service with a client that acts as it; what the client may, it may ask for.
    pub(super) async fn client(&self, org: &str, id: &str, changes: Value) -> Client {
        let grid = format!("/v1/orgs/{org}");
        let mut body = json!({
            "name": "App",
            "grants": ["authorization_code", "refresh_token", "client_credentials", "token_exchange"],
            "authentication": "client_secret_basic",
            "redirect_uris": [CALLBACK],
            "scopes": ["cap:run.*", "cap:stats.read"],
        });
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.post(&format!("{grid}/applications/{id}"), body).await.expect(201);
        let service = format!("svc_{id}");
        let made = json!({ "name": "Service", "owner": "ada" });
        self.post(&format!("{grid}/principals/{service}"), made).await.expect(201);
        let link = json!({ "service": service });
        self.post(&format!("{grid}/applications/{id}/link_service"), link).await.expect(202);
        let shown = self
            .post(&format!("{grid}/applications/{id}/rotate_secret"), json!({}))
            .await
            .expect(202)
            .json();
        Client {
            id: format!("{org}.{id}"),
            secret: shown["shown"].as_str().unwrap().to_owned(),
        }
    }

    /// A token of a client's own service.
    pub(super) async fn token(&self, client: &Client) -> Value {
        let answer = self
            .form("/oauth/token", Some(client), &[("grant_type", "client_credentials")])
            .await;
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.expect(200).json()
    }

    pub(super) async fn is_active(&self, by: &Client, token: &str) -> bool {
        let told = self
            .form("/oauth/introspect", Some(by), &[("token", token)])
            .await
            .expect(200)
            .json();
        if told["active"] == json!(false) {
            assert_eq!(told, json!({ "active": false }));
        }
        told["active"] == json!(true)
    }
}

/// A refusal in the form of RFC 6749.
#[track_caller]
pub(super) fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    let fields: BTreeMap<String, Value> = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(body["error"], error, "{body}");
    assert!(fields.keys().all(|name| name == "error" || name == "error_description"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_names_the_configured_address_alone() {
    let node = TestNode::start().await;
    let own = node.running.url();
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        // Whatever names the request came by.
        let request = node
            .client
            .get(format!("{own}{path}"))
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "host=evil.example");
        let told = TestNode::send(request).await.expect(200);
        assert!(!told.text.contains("evil.example"), "{}", told.text);
        let told = told.json();
        assert_eq!(told["issuer"], own);
        assert_eq!(told["token_endpoint"], format!("{own}/oauth/token"));
        assert_eq!(told["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(told["authorization_response_iss_parameter_supported"], true);
        for (name, value) in told.as_object().unwrap() {
            if name.ends_with("_endpoint") || name == "jwks_uri" {
                let path = value.as_str().unwrap().strip_prefix(&own).unwrap();
                let answer = node.by(None, Method::GET, path).await;
                assert_ne!(answer.status, 404, "{name}");
            }
        }
    }
    let resource = node
        .by(None, Method::GET, "/.well-known/oauth-protected-resource")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&resource["resource"], &resource["authorization_servers"]),
        (&json!(own), &json!([own]))
    );
    let keys = node.by(None, Method::GET, "/oauth/jwks").await.expect(200);
    assert!(keys.header("cache-control").contains("max-age"));
    let keys = keys.json();
    assert_eq!((&keys["keys"][0]["alg"], &keys["keys"][0]["use"]), (&json!("ES256"), &json!("sig")));
    assert!(keys["keys"][0].get("d").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_told_and_loses_tokens_of_its_service() {
    let node = TestNode::with_org().await;
    node.post("/v1/orgs/other/orgs", json!({ "name": "Other" })).await.expect(201);
    let (own, others) = (
        node.client("acme", "ci", json!({})).await,
        node.client("other", "ci", json!({})).await,
    );
    let made = node.token(&own).await;
    assert_eq!(
        (&made["token_type"], &made["scope"], &made["expires_in"]),
        (&json!("Bearer"), &json!("cap:stats.read cap:run.*"), &json!(900))
    );
    assert!(made.get("refresh_token").is_none() && made.get("id_token").is_none(), "{made}");
    let token = made["access_token"].as_str().unwrap();
    let claims = node.running.node.read_token(token).unwrap();
    assert_eq!(
        (claims.home.to_string().as_str(), claims.client_id.as_str()),
        ("acme/svc_ci", own.id.as_str())
    );
    assert_eq!(claims.aud, node.running.url());
    // The same session serves the next one, and nothing is written for it.
    let history = "/v1/orgs/acme/principals/svc_ci/history";
    let before = node.get(history).await.expect(200).text;
    let again = node.token(&own).await;
    let next = node.running.node.read_token(again["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((next.sid.clone(), next.jti != claims.jti), (claims.sid.clone(), true));
    assert_eq!(node.get(history).await.expect(200).text, before);

    let told = node
        .form(
            "/oauth/introspect",
            Some(&own),
            &[("token", token), ("token_type_hint", "access_token")],
        )
        .await;
    let told = told.expect(200).json();
    assert_eq!(
        (&told["active"], &told["sub"], &told["client_id"]),
        (&json!(true), &json!("acme/svc_ci"), &json!(own.id))
    );
    assert_eq!((&told["exp"], &told["iss"]), (&json!(claims.exp), &json!(node.running.url())));
    // Another org's client learns nothing of it, and ends nothing.
    assert!(!node.is_active(&others, token).await);
    refused(
        &node.form("/oauth/revoke", Some(&others), &[("token", token)]).await,
        400,
        "invalid_grant",
    );
    assert!(node.is_active(&own, token).await);
    for none in ["", "x", "e30.e30.e30", "qpr_acme.svc_ci.ses.x"] {
        if !none.is_empty() {
            assert!(!node.is_active(&own, none).await, "{none}");
            node.form("/oauth/revoke", Some(&own), &[("token", none)]).await.expect(200);
        }
    }
    node.form("/oauth/revoke", Some(&own), &[("token", token)]).await.expect(200);
    assert!(!node.is_active(&own, token).await);
    assert!(
        !node.is_active(&own, again["access_token"].as_str().unwrap()).await,
        "the session is over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_stopped_client_or_service_open_nothing() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let token = node.token(&own).await["access_token"].as_str().unwrap().to_owned();
    let applications = "/v1/orgs/acme/applications";
    let watcher = node.client("acme", "watcher", json!({})).await;
    assert!(node.is_active(&watcher, &token).await);
    node.post(&format!("{applications}/ci/suspend"), json!({})).await.expect(202);
    assert!(!node.is_active(&watcher, &token).await);
    let gone = node.form("/oauth/token", Some(&own), &[("grant_type", "client_credentials")]).await;
    refused(&gone, 401, "invalid_client");
    node.post(&format!("{applications}/ci/resume"), json!({})).await.expect(202);
    assert!(node.is_active(&watcher, &token).await);
    node.post("/v1/orgs/acme/principals/svc_ci/suspend", json!({})).await.expect(202);
    assert!(!node.is_active(&watcher, &token).await);
    let stopped = node.form("/oauth/token", Some(&own), &[("grant_type", "client_credentials")]).await;
    refused(&stopped, 400, "unauthorized_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_nothing_once_their_client_may_ask_for_less() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let watcher = node.client("acme", "watcher", json!({})).await;
    node.post(
        "/v1/orgs/acme/orgs/acme/add_member",
        json!({ "principal": "svc_ci", "role": "member" }),
    )
    .await
    .expect(202);
    let token = node.token(&own).await["access_token"].as_str().unwrap().to_owned();
    let see = async |token: &str| {
        let request = node.client.get(format!("{}/v1/me", node.running.url())).bearer_auth(token);
        TestNode::send(request).await.status.as_u16()
    };
    assert!(node.is_active(&watcher, &token).await);
    assert_eq!(see(&token).await, 200);
    let less = json!({
        "name": "App",
        "grants": ["client_credentials"],
        "authentication": "client_secret_basic",
        "scopes": ["cap:run.*"],
    });
    node.post("/v1/orgs/acme/applications/ci/update", less).await.expect(202);
    assert!(!node.is_active(&watcher, &token).await, "it held cap:stats.read");
    assert_eq!(see(&token).await, 401);
    // The next one holds what is left.
    let next = node.token(&own).await;
    assert_eq!(next["scope"], "cap:run.*");
    let next = next["access_token"].as_str().unwrap();
    assert_eq!(see(next).await, 200);
    node.post("/v1/orgs/acme/applications/ci/suspend", json!({})).await.expect(202);
    assert_eq!(see(next).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_no_more_than_it_was_registered_for() {
    let node = TestNode::with_org().await;
    let client = node
        .client("acme", "ci", json!({ "grants": ["client_credentials"], "redirect_uris": [] }))
        .await;
    let ask = async |fields: &[(&str, &str)]| node.form("/oauth/token", Some(&client), fields).await;
    let own = ("grant_type", "client_credentials");
    let narrow = ask(&[own, ("scope", "cap:run.start")]).await.expect(200).json();
    assert_eq!(narrow["scope"], "cap:run.start");
    let only_login = ask(&[own, ("scope", "openid")]).await.expect(200).json();
    let claims = node.running.node.read_token(only_login["access_token"].as_str().unwrap()).unwrap();
    assert!(!claims.scope.is_empty(), "an empty scope would be one that is not cut");
    for scope in ["cap:agent.read", "role:owner", "cap:run.start role:viewer", "everything", "cap:*"] {
        refused(&ask(&[own, ("scope", scope)]).await, 400, "invalid_scope");
    }
    refused(&ask(&[own, ("resource", "not an address")]).await, 400, "invalid_target");
    refused(&ask(&[own, ("resource", "https://x.example/#part")]).await, 400, "invalid_target");
    // A token for another resource does not open this one.
    let elsewhere = ask(&[own, ("resource", "https://tickets.example")]).await.expect(200).json();
    let token = elsewhere["access_token"].as_str().unwrap();
    assert!(node.running.node.read_token(token).is_err());
    assert!(node.is_active(&client, token).await);
    for (grant, error) in [
        ("authorization_code", "unauthorized_client"),
        ("refresh_token", "unauthorized_client"),
        (EXCHANGE, "unauthorized_client"),
        ("password", "unsupported_grant_type"),
        ("implicit", "unsupported_grant_type"),
    ] {
        refused(&ask(&[("grant_type", grant)]).await, 400, error);
    }
}
