//! Codes, refresh tokens and exchanged tokens: each good once, for whom it was made, and never for more.

use super::*;
use quipu_runtime::{
    accounts::{CodeOf, NewSession},
    tokens::scope_of,
};
use quipu_schemas::ids::Home;

const DAY_MS: u64 = 24 * 3_600_000;

/// A code as a person who said yes is sent back with it.
pub(crate) async fn code(node: &TestNode, client: &Client, scope: &str) -> (String, Home) {
    let home: Home = "acme/svc_ci".parse().unwrap();
    let session = NewSession {
        client: Some(client.id.clone()),
        scope: scope_of(scope).unwrap(),
        auth_time: node.running.node.now(),
        lifetime_ms: DAY_MS,
        code: Some(CodeOf {
            challenge: CHALLENGE.into(),
            redirect_uri: CALLBACK.into(),
        }),
        ..NewSession::default()
    };
    let started = node.running.node.start_session(&home, session).await.unwrap();
    (started.code.unwrap().as_str().to_owned(), home)
}

pub(crate) async fn redeem(node: &TestNode, client: &Client, code: &str, changes: &[(&str, &str)]) -> Answer {
    let usual = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let kept = usual.into_iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    let fields: Vec<_> = kept.chain(changes.iter().copied()).collect();
    node.form("/oauth/token", Some(client), &fields).await
}

pub(crate) async fn refresh(node: &TestNode, client: &Client, token: &str) -> Answer {
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
    node.form("/oauth/token", Some(client), &fields).await
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_and_for_whom_it_was_made() {
    let node = TestNode::with_org().await;
    let (own, other) = (
        node.client("acme", "ci", json!({})).await,
        node.client("acme", "other", json!({})).await,
    );
    let (first, _) = code(&node, &own, "openid cap:run.start").await;
    let made = redeem(&node, &own, &first, &[]).await.expect(200).json();
    assert_eq!(made["scope"], "openid cap:run.start");
    let token = text(&made, "access_token");
    assert!(node.is_active(&own, &token).await);
    let me = TestNode::send(
        node.client
            .get(format!("{}/oauth/userinfo", node.running.url()))
            .bearer_auth(&token),
    )
    .await;
    assert_eq!(me.expect(200).json()["sub"], "acme/svc_ci");
    // What logs in is no access token.
    let identity = text(&made, "id_token");
    assert!(node.running.node.read_token(&identity).is_err() && !node.is_active(&own, &identity).await);
    // Shown again, it ends what it opened.
    refused(&redeem(&node, &own, &first, &[]).await, 400, "invalid_grant");
    assert!(!node.is_active(&own, &token).await);
    refused(&refresh(&node, &own, &text(&made, "refresh_token")).await, 400, "invalid_grant");
    // Whoever else shows it gets nothing, and neither does anybody after them.
    let wrong = "w".repeat(43);
    for (client, changes) in [
        (&other, vec![]),
        (&own, vec![("redirect_uri", "https://app.example/other")]),
        (&own, vec![("code_verifier", wrong.as_str())]),
    ] {
        let (code, _) = code(&node, &own, "cap:run.start").await;
        refused(&redeem(&node, client, &code, &changes).await, 400, "invalid_grant");
        refused(&redeem(&node, &own, &code, &[]).await, 400, "invalid_grant");
    }
    let (code, _) = code(&node, &own, "cap:run.start").await;
    for verifier in ["short", "with space and more than forty-three characters"] {
        refused(
            &redeem(&node, &own, &code, &[("code_verifier", verifier)]).await,
            400,
            "invalid_request",
        );
    }
    for bad in [
        "x",
        "qpc_acme.svc_ci.ses_1.x",
        &format!("{code}~bm9uY2U~AAAA"),
        &format!("{code}~x"),
        &format!("{code}~~~"),
    ] {
        refused(&redeem(&node, &own, bad, &[]).await, 400, "invalid_grant");
    }
    // A code is no refresh token, and the other way round.
    refused(&refresh(&node, &own, &code).await, 400, "invalid_grant");
    let made = redeem(&node, &own, &code, &[]).await.expect(200).json();
    assert!(made.get("id_token").is_none(), "nobody asked who it is: {made}");
    let userinfo = node.client.get(format!("{}/oauth/userinfo", node.running.url()));
    let answer = TestNode::send(userinfo.bearer_auth(text(&made, "access_token"))).await;
    refused(&answer, 403, "insufficient_scope");
    refused(&redeem(&node, &own, &text(&made, "refresh_token"), &[]).await, 400, "invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_shown_twice_ends_its_family() {
    let node = TestNode::with_org().await;
    let (own, other) = (
        node.client("acme", "ci", json!({})).await,
        node.client("acme", "other", json!({})).await,
    );
    let (code, _) = code(&node, &own, "cap:run.start").await;
    let first = redeem(&node, &own, &code, &[]).await.expect(200).json();
    let second = refresh(&node, &own, &text(&first, "refresh_token")).await.expect(200).json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(second["scope"], "cap:run.start");
    // Another client does not go on with it, and takes nothing away by trying.
    refused(&refresh(&node, &other, &text(&second, "refresh_token")).await, 400, "invalid_grant");
    let wider = [
        ("grant_type", "refresh_token"),
        ("refresh_token", second["refresh_token"].as_str().unwrap()),
        ("scope", "cap:run.*"),
    ];
    refused(&node.form("/oauth/token", Some(&own), &wider).await, 400, "invalid_scope");
    let third = refresh(&node, &own, &text(&second, "refresh_token")).await.expect(200).json();
    assert!(node.is_active(&own, &text(&third, "access_token")).await);
    refused(&refresh(&node, &own, &text(&first, "refresh_token")).await, 400, "invalid_grant");
    assert!(!node.is_active(&own, &text(&third, "access_token")).await);
    refused(&refresh(&node, &own, &text(&third, "refresh_token")).await, 400, "invalid_grant");
    // Revoked by the refresh token, everything of it is over.
    let (code, _) = self::code(&node, &own, "cap:run.start").await;
    let made = redeem(&node, &own, &code, &[]).await.expect(200).json();
    let shown = text(&made, "refresh_token");
    node.form("/oauth/revoke", Some(&own), &[("token", &shown)]).await.expect(200);
    assert!(!node.is_active(&own, &text(&made, "access_token")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchanged_token_names_who_acts_and_never_widens() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let agent = node
        .client("acme", "agent", json!({ "scopes": ["cap:run.start", "cap:agent.read"] }))
        .await;
    let (code, _) = code(&node, &own, "cap:run.*").await;
    let subject = text(&redeem(&node, &own, &code, &[]).await.expect(200).json(), "access_token");
    let exchange = async |by: &Client, token: &str, more: &[(&str, &str)]| {
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let usual = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind)];
        let fields: Vec<_> = usual.into_iter().chain(more.iter().copied()).collect();
        node.form("/oauth/token", Some(by), &fields).await
    };
    let made = exchange(&agent, &subject, &[]).await.expect(200).json();
    // Of what the client may ask for, what the token holds.
    assert_eq!(made["scope"], "cap:run.start");
    assert_eq!(made["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    let token = text(&made, "access_token");
    let claims = node.running.node.read_token(&token).unwrap();
    assert_eq!(
        (claims.home.to_string().as_str(), claims.act[0].to_string().as_str()),
        ("acme/svc_ci", "acme/svc_agent")
    );
    let told = node
        .form("/oauth/introspect", Some(&own), &[("token", &token)])
        .await
        .expect(200)
        .json();
    assert_eq!(told["act"], json!({ "sub": "acme/svc_agent" }));
    for scope in ["cap:agent.read", "cap:run.*", "role:owner", "cap:run.start cap:agent.read"] {
        refused(&exchange(&agent, &subject, &[("scope", scope)]).await, 400, "invalid_scope");
    }
    for (field, value) in [
        ("actor_token", subject.as_str()),
        ("audience", "x"),
        ("requested_token_type", "urn:x"),
    ] {
        refused(&exchange(&agent, &subject, &[(field, value)]).await, 400, "invalid_request");
    }
    refused(&exchange(&agent, "e30.e30.e30", &[]).await, 400, "invalid_grant");
    // At most four act for each other.
    let mut last = token.clone();
    for _ in 0..3 {
        last = text(&exchange(&agent, &last, &[]).await.expect(200).json(), "access_token");
    }
    assert_eq!(node.running.node.read_token(&last).unwrap().act.len(), 4);
    refused(&exchange(&agent, &last, &[]).await, 400, "invalid_request");
    // All of it ends with what it was made from.
    node.form("/oauth/revoke", Some(&own), &[("token", &subject)]).await.expect(200);
    for token in [&token, &last] {
        assert!(!node.is_active(&own, token).await);
        refused(&exchange(&agent, token, &[]).await, 400, "invalid_grant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_update_takes_from_a_client_its_tokens_lose() {
    let node = TestNode::with_org().await;
    let (own, watcher) = (
        node.client("acme", "ci", json!({})).await,
        node.client("acme", "watcher", json!({})).await,
    );
    let described = |redirects: Value, scopes: Value| {
        json!({
            "name": "App",
            "grants": ["authorization_code", "refresh_token", "client_credentials", "token_exchange"],
            "authentication": "client_secret_basic",
            "redirect_uris": redirects,
            "scopes": scopes,
        })
    };
    let update = async |redirects: Value, scopes: Value| {
        let path = "/v1/orgs/acme/applications/ci/update";
        node.post(path, described(redirects, scopes)).await
    };
    // An update is checked like the first description.
    for (redirects, scopes) in [
        (json!(["javascript:alert(1)"]), json!(["cap:run.*"])),
        (json!(["https://app.example/../cb"]), json!(["cap:run.*"])),
        (json!(["https://user@app.example/cb"]), json!(["cap:run.*"])),
        (json!([]), json!(["cap:run.*"])),
        (json!([CALLBACK]), json!([])),
    ] {
        let answer = update(redirects.clone(), scopes).await;
        assert_eq!(answer.status, 422, "{redirects}: {}", answer.text);
    }
    // An address that was taken away leads nobody back, whatever waits for it.
    let (waiting, _) = code(&node, &own, "cap:run.start").await;
    update(json!(["https://app.example/new"]), json!(["cap:run.*", "cap:stats.read"]))
        .await
        .expect(202);
    refused(&redeem(&node, &own, &waiting, &[]).await, 400, "invalid_grant");
    update(json!([CALLBACK]), json!(["cap:run.*", "cap:stats.read"])).await.expect(202);
    refused(&redeem(&node, &own, &waiting, &[]).await, 400, "invalid_grant");
    // With fewer scopes, what was granted for more is over: codes, tokens of every sort, and what was made from them.
    let (first, _) = code(&node, &own, "cap:run.start").await;
    let made = redeem(&node, &own, &first, &[]).await.expect(200).json();
    let (waiting, _) = code(&node, &own, "cap:run.start").await;
    let token = text(&made, "access_token");
    assert!(node.is_active(&watcher, &token).await);
    node.by(Some(&token), Method::GET, "/v1/me").await.expect(200);
    update(json!([CALLBACK]), json!(["cap:stats.read"])).await.expect(202);
    assert!(!node.is_active(&watcher, &token).await);
    node.by(Some(&token), Method::GET, "/v1/me").await.problem(401, "unauthenticated");
    refused(&refresh(&node, &own, &text(&made, "refresh_token")).await, 400, "invalid_grant");
    refused(&redeem(&node, &own, &waiting, &[]).await, 400, "invalid_grant");
    // What is within the new ones goes on; a service that is linked no longer is nobody whom the client acts as.
    let narrow = text(&node.token(&own).await, "access_token");
    assert!(node.is_active(&watcher, &narrow).await);
    node.post("/v1/orgs/acme/applications/ci/unlink_service", json!({}))
        .await
        .expect(202);
    assert!(!node.is_active(&watcher, &narrow).await);
    node.by(Some(&narrow), Method::GET, "/v1/me").await.problem(401, "unauthenticated");
}
