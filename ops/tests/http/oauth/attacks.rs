//! What is refused at the doors of OAuth, and how alike.

use super::{people::staying, *};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_client_is_told_alike() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let posted = node.client("acme", "post", json!({ "authentication": "client_secret_post" })).await;
    let with = |id: &str, secret: &str| Client {
        id: id.into(),
        secret: secret.into(),
    };
    let grant = ("grant_type", "client_credentials");
    let mut answers = Vec::new();
    for client in [
        with(&own.id, "wrong"),
        with(&own.id, &posted.secret),
        with(&own.id, &format!("{}0", own.secret)),
        with("acme.nobody", &own.secret),
        with("nowhere.ci", &own.secret),
        with("acme", &own.secret),
        with("_platform.ci", &own.secret),
        with("acme.ci.x", &own.secret),
        with("ACME.ci", &own.secret),
        // The right secret in the other way.
        posted.clone(),
    ] {
        answers.push(node.form("/oauth/token", Some(&client), &[grant]).await);
    }
    let in_form = [grant, ("client_id", own.id.as_str()), ("client_secret", own.secret.as_str())];
    answers.push(node.form("/oauth/token", None, &in_form).await);
    answers.push(node.form("/oauth/token", None, &[grant, ("client_id", own.id.as_str())]).await);
    answers.push(node.form("/oauth/token", None, &[grant]).await);
    // Whom it names besides.
    answers.push(
        node.form("/oauth/token", Some(&own), &[grant, ("client_id", posted.id.as_str())])
            .await,
    );
    for answer in &answers {
        refused(answer, 401, "invalid_client");
        assert_eq!(
            (&answer.text, answer.header("www-authenticate")),
            (&answers[0].text, "Basic realm=\"quipu\"")
        );
    }
    let right = [grant, ("client_id", posted.id.as_str()), ("client_secret", posted.secret.as_str())];
    node.form("/oauth/token", None, &right).await.expect(200);
    // In two ways at once.
    let both = [grant, ("client_secret", own.secret.as_str())];
    refused(&node.form("/oauth/token", Some(&own), &both).await, 400, "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_secrets_and_old_ones_are_no_clients_secret() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let with = |id: &str, secret: &str| Client {
        id: id.into(),
        secret: secret.into(),
    };
    let grant = ("grant_type", "client_credentials");
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let answer = node.form(path, Some(&with(&own.id, "wrong")), &[("token", "x")]).await;
        refused(&answer, 401, "invalid_client");
    }
    // An old secret ends with its grace, and a key is no client's secret.
    let rotated = "/v1/orgs/acme/applications/ci/rotate_secret";
    let next = node.post(rotated, json!({})).await.expect(202).json()["shown"]
        .as_str()
        .unwrap()
        .to_owned();
    refused(&node.form("/oauth/token", Some(&own), &[grant]).await, 401, "invalid_client");
    node.form("/oauth/token", Some(&with(&own.id, &next)), &[grant]).await.expect(200);
    let key = node.key("acme", "ci", json!({ "principal": "ada" })).await;
    refused(
        &node.form("/oauth/token", Some(&with(&own.id, &key)), &[grant]).await,
        401,
        "invalid_client",
    );
    refused(
        &node
            .form("/oauth/token", Some(&with(&own.id, node.running.token.expose())), &[grant])
            .await,
        401,
        "invalid_client",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_out_of_form_are_refused() {
    let node = TestNode::with_org().await;
    let client = node.client("acme", "ci", json!({})).await;
    let ask = async |body: &str| node.body("/oauth/token", Some(&client), body.to_owned()).await;
    for body in [
        "",
        "grant_type=",
        "grant_type=client_credentials&grant_type=client_credentials",
        "grant_type=client_credentials&scope=%ff",
        "scope=openid",
    ] {
        refused(&ask(body).await, 400, "invalid_request");
    }
    let large = format!("grant_type=client_credentials&x={}", "x".repeat(70_000));
    refused(&ask(&large).await, 413, "invalid_request");
    let url = |path: &str| format!("{}{path}", node.running.url());
    let json = node
        .client
        .post(url("/oauth/token"))
        .json(&json!({ "grant_type": "client_credentials" }));
    refused(&TestNode::send(json).await, 400, "invalid_request");
    // What stands in an address is written to logs.
    let in_query = node
        .client
        .post(url("/oauth/token?grant_type=client_credentials"))
        .header("content-type", "application/x-www-form-urlencoded")
        .basic_auth(&client.id, Some(&client.secret));
    refused(&TestNode::send(in_query).await, 400, "invalid_request");
    refused(&node.by(None, Method::GET, "/oauth/token").await, 405, "invalid_request");
    refused(&node.by(None, Method::GET, "/oauth/nothing").await, 404, "invalid_request");
    let foreign = node.client.get(url("/oauth/jwks")).header("origin", "https://evil.example");
    refused(&TestNode::send(foreign).await, 403, "invalid_request");
}

async fn authorize(node: &TestNode, fields: &[(&str, &str)]) -> Answer {
    let url = format!("{}/oauth/authorize?{}", node.running.url(), encoded(fields));
    TestNode::send(staying().get(url)).await
}

fn asking<'a>(client: &'a str, changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("state", "s&t=1"),
        ("scope", "openid cap:run.start"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let kept = usual.into_iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    kept.chain(changes.iter().copied()).filter(|(_, value)| *value != "-").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_an_address_that_is_not_the_clients() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let page = authorize(&node, &asking(&own.id, &[])).await.expect(200);
    assert!(
        page.text.contains("cap:run.start") && page.text.contains("https://app.example"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("<script"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    for address in [
        "-",
        "https://evil.example/cb",
        "https://app.example/cb/",
        "https://app.example/CB",
        "https://app.example/cb?x=1",
        "https://app.example/cb#x",
        "https://app.example/x/../cb",
        "https://user@app.example/cb",
        "https://app.example@evil.example/cb",
        "https://APP.example/cb",
        "http://app.example/cb",
        "javascript:alert(1)",
        "//app.example/cb",
    ] {
        let answer = authorize(&node, &asking(&own.id, &[("redirect_uri", address)])).await;
        assert_eq!(answer.status, 400, "{address}");
        assert!(
            answer.headers.get("location").is_none() && !answer.text.contains("<script"),
            "{address}"
        );
    }
    for client in ["acme.nobody", "nowhere.ci", "x", "-"] {
        let answer = authorize(&node, &asking(client, &[])).await;
        assert_eq!((answer.status.as_u16(), answer.headers.get("location")), (400, None), "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_weakens_the_flow_goes_back_refused() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let issuer = encoded(&[("iss", &node.running.url())]);
    for (changes, error) in [
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", "-"), "invalid_request"),
        (("code_challenge", "-"), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("response_type", "token"), "invalid_request"),
        (("response_type", "code id_token"), "invalid_request"),
        (("response_mode", "fragment"), "invalid_request"),
        (("request", "e30.e30."), "invalid_request"),
        (("request_uri", "https://evil.example/r"), "invalid_request"),
        (("scope", "role:owner"), "invalid_scope"),
        (("resource", "urn:x"), "invalid_target"),
        (("prompt", "none"), "login_required"),
    ] {
        let answer = authorize(&node, &asking(&own.id, &[changes])).await;
        assert_eq!(answer.status, 303, "{changes:?}: {}", answer.text);
        let location = answer.header("location").to_owned();
        assert!(location.starts_with("https://app.example/cb?"), "{location}");
        assert!(
            location.contains(&format!("error={error}")) && !location.contains("code="),
            "{changes:?}: {location}"
        );
        // Whose answer it is, and to what (RFC 9207).
        assert!(location.contains("state=s%26t%3D1") && location.contains(&issuer), "{location}");
    }
    // Twice the same name: nobody is sent anywhere.
    let url = format!(
        "{}/oauth/authorize?{}&client_id=x",
        node.running.url(),
        encoded(&asking(&own.id, &[]))
    );
    assert_eq!(TestNode::send(staying().get(url)).await.status, 400);
    let denied = encoded(&[asking(&own.id, &[]), vec![("decision", "deny")]].concat());
    let request = staying()
        .post(format!("{}/oauth/authorize", node.running.url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(denied);
    let answer = TestNode::send(request).await;
    assert!(answer.header("location").contains("error=access_denied"), "{:?}", answer.headers);
}
