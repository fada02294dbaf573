//! Devices that nobody signs in on: a person lets them in elsewhere.

use super::{people::PASSWORD, *};
use quipu_runtime::accounts::Password;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A client that can keep no secret.
async fn television(node: &TestNode, id: &str) {
    let body = json!({
        "name": "Television",
        "grants": ["device_code", "refresh_token"],
        "authentication": "none",
        "scopes": ["cap:run.*"],
    });
    node.post(&format!("/v1/orgs/acme/applications/{id}"), body).await.expect(201);
}

async fn asked(node: &TestNode, client: &str, more: &[(&str, &str)]) -> Value {
    let fields: Vec<_> = [("client_id", client)].into_iter().chain(more.iter().copied()).collect();
    node.form("/oauth/device_authorization", None, &fields).await.expect(200).json()
}

async fn polled(node: &TestNode, client: &str, codes: &Value) -> Answer {
    let fields = [
        ("grant_type", GRANT),
        ("client_id", client),
        ("device_code", codes["device_code"].as_str().unwrap()),
    ];
    node.form("/oauth/token", None, &fields).await
}

async fn page(node: &TestNode, fields: &[(&str, &str)]) -> Answer {
    node.form("/oauth/device", None, fields).await
}

fn ticket(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{}", page.text);
    let (_, rest) = page
        .text
        .split_once("name=\"ticket\" value=\"")
        .unwrap_or_else(|| panic!("{}", page.text));
    rest.split('"').next().unwrap().to_owned()
}

async fn confirmed(node: &TestNode, codes: &Value, decision: &str) -> Answer {
    let signed_in = [
        ("user_code", codes["user_code"].as_str().unwrap()),
        ("address", "ada@example.com"),
        ("password", PASSWORD),
    ];
    let ticket = ticket(&page(node, &signed_in).await);
    page(node, &[("ticket", &ticket), ("decision", decision)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_tokens_once_a_person_has_seen_who_asks() {
    let node = TestNode::with_org().await;
    let watcher = node.client("acme", "watcher", json!({})).await;
    television(&node, "tv").await;
    television(&node, "other").await;
    let home = node.ada().await;
    let codes = asked(&node, "acme.tv", &[("scope", "cap:run.start")]).await;
    assert_eq!(codes["verification_uri"], format!("{}/oauth/device", node.running.url()));
    assert!(codes.get("verification_uri_complete").is_none(), "nobody is led past typing it");
    assert_eq!((&codes["expires_in"], &codes["interval"]), (&json!(600), &json!(5)));
    let user_code = codes["user_code"].as_str().unwrap();
    assert!(user_code.len() == 9 && user_code.as_bytes()[4] == b'-', "{user_code}");
    // What stands in the address does not count.
    let empty = node
        .by(None, Method::GET, &format!("/oauth/device?user_code={user_code}"))
        .await
        .expect(200);
    assert!(!empty.text.contains(user_code), "{}", empty.text);
    // Signing in alone lets nobody in, and says who asks from where.
    let signed_in = [
        ("user_code", user_code),
        ("address", "ada@example.com"),
        ("password", PASSWORD),
        ("decision", "allow"),
    ];
    let shown = page(&node, &signed_in).await;
    for said in ["Television", "acme", "cap:run.start", "127.0.0.0/24"] {
        assert!(shown.text.contains(said), "{said}: {}", shown.text);
    }
    assert!(
        shown
            .header("content-security-policy")
            .contains("form-action 'self'; frame-ancestors 'none'")
    );
    assert!(!shown.text.contains("another network") && !shown.text.contains(PASSWORD));
    let ticket = ticket(&shown);
    let forged = format!("{}x", &ticket[..ticket.len() - 1]);
    let nothing = page(&node, &[("ticket", &forged), ("decision", "allow")]).await;
    assert_eq!(nothing.status, 400, "{}", nothing.text);
    page(&node, &[("ticket", &ticket), ("decision", "allow")]).await.expect(200);
    // The answer counts once.
    assert_eq!(page(&node, &[("ticket", &ticket), ("decision", "deny")]).await.status, 400);
    assert_eq!(page(&node, &signed_in).await.status, 400, "the code is over");
    refused(&polled(&node, "acme.other", &codes).await, 400, "invalid_grant");
    let made = polled(&node, "acme.tv", &codes).await.expect(200).json();
    assert_eq!(made["scope"], "cap:run.start");
    let token = made["access_token"].as_str().unwrap();
    let claims = node.running.node.read_token(token).unwrap();
    assert_eq!(
        (&claims.home, &claims.amr, claims.client_id.as_str()),
        (&home, &vec!["pwd".to_owned()], "acme.tv")
    );
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", "acme.tv"),
        ("refresh_token", made["refresh_token"].as_str().unwrap()),
    ];
    node.form("/oauth/token", None, &refresh).await.expect(200);
    assert!(node.is_active(&watcher, token).await);
    refused(&polled(&node, "acme.tv", &codes).await, 400, "slow_down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_waits_is_refused_and_is_told_so() {
    let node = TestNode::with_org().await;
    television(&node, "tv").await;
    node.ada().await;
    let waiting = asked(&node, "acme.tv", &[]).await;
    refused(&polled(&node, "acme.tv", &waiting).await, 400, "authorization_pending");
    refused(&polled(&node, "acme.tv", &waiting).await, 400, "slow_down");
    let denied = asked(&node, "acme.tv", &[]).await;
    confirmed(&node, &denied, "deny").await.expect(200);
    refused(&polled(&node, "acme.tv", &denied).await, 400, "access_denied");
    // A client that was stopped while somebody thought about it gets nothing.
    let stopped = asked(&node, "acme.tv", &[]).await;
    confirmed(&node, &stopped, "allow").await.expect(200);
    node.post("/v1/orgs/acme/applications/tv/suspend", json!({})).await.expect(202);
    refused(&polled(&node, "acme.tv", &stopped).await, 401, "invalid_client");
    refused(
        &polled(&node, "acme.tv", &json!({ "device_code": "qpd_x" })).await,
        401,
        "invalid_client",
    );
    node.post("/v1/orgs/acme/applications/tv/resume", json!({})).await.expect(202);
    for code in ["x", "qpd_x", "qpc__platform.dev_1.device.x"] {
        refused(
            &polled(&node, "acme.tv", &json!({ "device_code": code })).await,
            400,
            "invalid_grant",
        );
    }
    let own = node.client("acme", "ci", json!({})).await;
    let not_its = node.form("/oauth/device_authorization", Some(&own), &[]).await;
    refused(&not_its, 400, "unauthorized_client");
    let wide = [("client_id", "acme.tv"), ("scope", "role:owner")];
    refused(&node.form("/oauth/device_authorization", None, &wide).await, 400, "invalid_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_codes_signs_in_and_waits() {
    let node = TestNode::with_org().await;
    node.ada().await;
    let guess = async |code: &str, password: &str| {
        let fields = [("user_code", code), ("address", "ada@example.com"), ("password", password)];
        page(&node, &fields).await
    };
    let mut statuses = Vec::new();
    while statuses.len() < 12 && !statuses.contains(&429) {
        statuses.push(guess("BCDF-GHJK", PASSWORD).await.status.as_u16());
    }
    assert!(statuses.len() > 3 && statuses.ends_with(&[400, 429]), "{statuses:?}");
    // Without a password nobody learns whether a device waits.
    let codes = asked(&node, "quipu", &[]).await;
    let right = guess(codes["user_code"].as_str().unwrap(), "wrong and long enough").await;
    assert!(right.status == 401 && !right.text.contains("ticket"), "{}", right.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_let_in_before_a_stop_gets_nothing() {
    let node = TestNode::with_org().await;
    television(&node, "tv").await;
    let home = node.ada().await;
    let accounts = &node.running.node;
    let let_in = async || {
        let codes = asked(&node, "acme.tv", &[]).await;
        confirmed(&node, &codes, "allow").await.expect(200);
        codes
    };
    let ended = let_in().await;
    accounts.end_sessions(&home).await.unwrap();
    refused(&polled(&node, "acme.tv", &ended).await, 400, "expired_token");
    let suspended = let_in().await;
    accounts.suspend(&home, "leaked").await.unwrap();
    accounts.resume(&home).await.unwrap();
    refused(&polled(&node, "acme.tv", &suspended).await, 400, "expired_token");
    let behind_a_password = let_in().await;
    accounts
        .set_password(&home, &Password::new("another and long enough"), true)
        .await
        .unwrap();
    refused(&polled(&node, "acme.tv", &behind_a_password).await, 400, "expired_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_at_a_device_is_over_with_the_password() {
    let node = TestNode::with_org().await;
    television(&node, "tv").await;
    let home = node.ada().await;
    let codes = asked(&node, "acme.tv", &[]).await;
    let signed_in = [
        ("user_code", codes["user_code"].as_str().unwrap()),
        ("address", "ada@example.com"),
        ("password", PASSWORD),
    ];
    let ticket = ticket(&page(&node, &signed_in).await);
    let new = Password::new("another and long enough");
    node.running.node.set_password(&home, &new, true).await.unwrap();
    let late = page(&node, &[("ticket", &ticket), ("decision", "allow")]).await;
    assert_eq!(late.status, 400, "{}", late.text);
    refused(&polled(&node, "acme.tv", &codes).await, 400, "authorization_pending");
}
