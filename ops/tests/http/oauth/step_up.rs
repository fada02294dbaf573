//! Commands that take a recent sign-in (RFC 9470).

use super::*;
use quipu_runtime::accounts::NewSession;

#[tokio::test(flavor = "multi_thread")]
async fn marked_commands_ask_people_to_sign_in_again() {
    let node = TestNode::with_org().await;
    let ada = node.person(false).await;
    node.member("acme", &ada, "admin").await;
    let settings = json!({ "settings": { "step_up.required": ["cap:application.*"], "step_up.max_age_s": 60 } });
    node.post("/v1/orgs/acme/orgs/acme/change_settings", settings).await.expect(202);
    let session = async |amr: &[&str], ago_ms: u64| {
        let new = NewSession {
            client: Some("quipu".into()),
            amr: amr.iter().map(|method| (*method).to_owned()).collect(),
            auth_time: node.running.node.now() - ago_ms,
            lifetime_ms: 3_600_000,
            ..NewSession::default()
        };
        let started = node.running.node.start_session(&ada, new).await.unwrap();
        node.token_of(&ada, &started.id, |_| {})
    };
    let make = async |token: &str, id: &str| {
        let body = json!({ "name": "App", "grants": ["device_code"], "authentication": "none", "scopes": ["cap:run.*"] });
        let request = node.client.post(format!("{}/v1/orgs/acme/applications/{id}", node.running.url()));
        TestNode::send(request.bearer_auth(token).json(&body)).await
    };
    for (amr, ago_ms) in [(&["pwd"][..], 0), (&["pwd", "otp", "mfa"], 120_000)] {
        let token = session(amr, ago_ms).await;
        let refused = make(&token, "one").await;
        let problem = refused.problem(401, "insufficient_user_authentication");
        assert_eq!(
            (&problem["max_age"], &problem["right"]),
            (&json!(60), &json!("cap:application.create"))
        );
        let challenge = refused.header("www-authenticate");
        for said in [
            "Bearer ",
            "error=\"insufficient_user_authentication\"",
            "acr_values=\"mfa\"",
            "max_age=\"60\"",
        ] {
            assert!(challenge.contains(said), "{challenge}");
        }
        // What is not marked goes on.
        let mine = json!({ "type": "group", "title": "Talk" });
        let request = node.client.post(format!("{}/v1/orgs/acme/conversations", node.running.url()));
        TestNode::send(request.bearer_auth(&token).json(&mine)).await.expect(201);
    }
    let token = session(&["pwd", "otp", "mfa"], 1_000).await;
    make(&token, "one").await.expect(201);
    for odd in [json!({ "step_up.required": ["role:admin"] }), json!({ "step_up.max_age_s": 5 })] {
        node.post("/v1/orgs/acme/orgs/acme/change_settings", json!({ "settings": odd }))
            .await
            .problem(422, "bad_setting");
    }
}
