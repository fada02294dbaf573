//! Clients that register themselves, by a key of their org.

use super::*;

async fn key(node: &TestNode, scopes: &[&str]) -> String {
    let body = json!({ "name": "Registrar", "principal": "ada", "scopes": scopes });
    let made = node.post("/v1/orgs/acme/api-keys", body).await.expect(201).json();
    made["shown"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

async fn register(node: &TestNode, key: Option<&str>, metadata: &Value) -> Answer {
    let mut request = node.client.post(format!("{}/oauth/register", node.running.url())).json(metadata);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    TestNode::send(request).await
}

fn metadata() -> Value {
    json!({
        "client_name": "Reader",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid cap:run.read",
        "contacts": ["ops@example.com"],
    })
}

/// What is changed in such metadata, and what is said of it.
fn odd() -> [(Value, &'static str); 7] {
    [
        (json!({ "redirect_uris": ["https://app.example/cb#x"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://app.example:99999/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        (
            json!({ "token_endpoint_auth_method": "none", "grant_types": ["client_credentials"], "redirect_uris": [] }),
            "invalid_client_metadata",
        ),
        (
            json!({ "token_endpoint_auth_method": "private_key_jwt" }),
            "invalid_client_metadata",
        ),
        (json!({ "client_name": "a\nb" }), "invalid_client_metadata"),
        (json!({ "jwks_uri": "https://app.example/jwks" }), "invalid_client_metadata"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_registers_clients_and_nothing_else_does() {
    let node = TestNode::with_org().await;
    let admin = json!({ "principal": "ada", "role": "admin" });
    node.post("/v1/orgs/acme/orgs/acme/add_member", admin).await.expect(202);
    let able = key(&node, &["cap:application.*"]).await;
    let metadata = metadata();
    let closed = register(&node, None, &metadata).await;
    refused(&closed, 401, "invalid_token");
    assert!(closed.header("www-authenticate").starts_with("Bearer "), "{:?}", closed.headers);
    for shown in ["qpk_x", "eyJ.eyJ.x", node.running.token.expose()] {
        refused(&register(&node, Some(shown), &metadata).await, 401, "invalid_token");
    }
    let other = key(&node, &["cap:run.*"]).await;
    refused(&register(&node, Some(&other), &metadata).await, 403, "insufficient_scope");
    let made = register(&node, Some(&able), &metadata).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    assert_eq!(
        (
            &made["token_endpoint_auth_method"],
            &made["scope"],
            &made["client_secret_expires_at"]
        ),
        (&json!("client_secret_basic"), &json!("openid cap:run.read"), &json!(0))
    );
    // It is an application like any other.
    let id = made["client_id"].as_str().unwrap().strip_prefix("acme.").unwrap().to_owned();
    let kept = node.get(&format!("/v1/orgs/acme/applications/{id}/state")).await.expect(200).text;
    assert!(kept.contains("Reader") && kept.contains(CALLBACK), "{kept}");
    let own = Client {
        id: made["client_id"].as_str().unwrap().into(),
        secret: made["client_secret"].as_str().unwrap().into(),
    };
    assert!(!node.is_active(&own, "x").await, "its secret counts");
    for (changes, error) in odd() {
        let mut odd = metadata.clone();
        for (name, value) in changes.as_object().unwrap() {
            odd[name] = value.clone();
        }
        refused(&register(&node, Some(&able), &odd).await, 400, error);
    }
    // A change escapes no check of the beginning.
    let widened = json!({
        "name": "Reader",
        "grants": ["client_credentials"],
        "authentication": "none",
        "scopes": ["cap:run.read"],
    });
    node.post(&format!("/v1/orgs/acme/applications/{id}/update"), widened)
        .await
        .problem(422, "public_client");
    // One that shows no secret gets none.
    let public = json!({ "token_endpoint_auth_method": "none", "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"] });
    let made = register(&node, Some(&able), &public).await.expect(201).json();
    assert!(made.get("client_secret").is_none() && made["scope"] == "openid", "{made}");
}
