//! A person signs in on the page and lets a client act for them.

use super::*;
use quipu_runtime::accounts::{Password, Register};

pub(super) const PASSWORD: &str = "correct horse battery";

/// A client that does not follow where it is sent.
pub(super) fn staying() -> reqwest::Client {
    let _ = client();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

async fn answered(node: &TestNode, fields: &[(&str, &str)]) -> Answer {
    let request = staying()
        .post(format!("{}/oauth/authorize", node.running.url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", node.running.url())
        .body(encoded(fields));
    TestNode::send(request).await
}

/// A parameter of the address that somebody is sent to.
fn parameter(answer: &Answer, name: &str) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text);
    let url = reqwest::Url::parse(answer.header("location")).unwrap();
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned()
}

impl TestNode {
    pub(super) async fn ada(&self) -> quipu_schemas::ids::Home {
        let ada = Register {
            name: Some("Ada".into()),
            address: Some("ada@example.com".into()),
            password: Some(Password::new(PASSWORD)),
        };
        self.running.node.register(ada).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_lets_a_client_act_for_them() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let home = node.ada().await;
    let asked = |more: &[(&'static str, &'static str)]| {
        let usual = [
            ("client_id", own.id.as_str()),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid cap:run.start"),
            ("state", "mine"),
            ("nonce", "n-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("decision", "allow"),
        ];
        let fields: Vec<(String, String)> = usual.iter().chain(more).map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        fields
    };
    let say = async |more: &[(&'static str, &'static str)]| {
        let fields = asked(more);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        answered(&node, &fields).await
    };
    // Nobody learns whether there is such an account.
    let wrong = say(&[("address", "ada@example.com"), ("password", "wrong and long enough")]).await;
    let nobody = say(&[("address", "eve@example.com"), ("password", "wrong and long enough")]).await;
    assert_eq!((wrong.status.as_u16(), nobody.status.as_u16()), (401, 401), "{}", wrong.text);
    assert_eq!(wrong.text.replace("ada@", ""), nobody.text.replace("eve@", ""));
    assert!(!wrong.text.contains("wrong and long enough"), "what was typed is not shown again");
    let back = say(&[("address", "ada@example.com"), ("password", PASSWORD)]).await;
    assert_eq!(
        (parameter(&back, "state").as_str(), parameter(&back, "iss")),
        ("mine", node.running.url())
    );
    let code = parameter(&back, "code");
    let redeem = async |code: &str| {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        node.form("/oauth/token", Some(&own), &fields).await
    };
    // Another nonce does not go with it; the attempt spends nothing, because the code was not looked at.
    let parts: Vec<&str> = code.split('~').collect();
    refused(
        &redeem(&format!("{}~{}~{}", parts[0], "bi0y", parts[2])).await,
        400,
        "invalid_grant",
    );
    let made = redeem(&code).await.expect(200).json();
    let payload = made["id_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let payload = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload).unwrap();
    let identity: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((&identity["nonce"], &identity["aud"]), (&json!("n-1"), &json!(own.id)));
    assert_eq!(identity["sub"], home.id.as_str());
    assert_eq!(identity["amr"], json!(["pwd"]));
    let claims = node.running.node.read_token(made["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((&claims.home, claims.org.as_ref()), (&home, None));
    assert!(claims.exp - claims.iat > 900, "a person's token lives longer");
    acted_for_and_over(&node, &own, &home, made["access_token"].as_str().unwrap()).await;
}

async fn acted_for_and_over(node: &TestNode, own: &Client, home: &quipu_schemas::ids::Home, token: &str) {
    // An agent that acts for them gets the short one, and names both.
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    let exchanged = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind)];
    let acting = node.form("/oauth/token", Some(own), &exchanged).await.expect(200).json();
    assert_eq!((&acting["expires_in"], &acting["scope"]), (&json!(900), &json!("cap:run.start")));
    // Everything ends with the person's sessions.
    node.running.node.end_sessions(home).await.unwrap();
    for token in [token, acting["access_token"].as_str().unwrap()] {
        assert!(!node.is_active(own, token).await);
    }
}
