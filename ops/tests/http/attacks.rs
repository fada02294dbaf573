//! Attacks that no single route answers: ways around a rule, guesses at every door, secrets shown where they do not belong.
//!
//! Which threat each test answers stands in ops/docs/threat-model.md.

use super::{
    accounts::PASSWORD,
    isolation::{MARK, Tenants},
    oauth::{
        CALLBACK, Client, EXCHANGE, VERIFIER,
        codes::{code, redeem, refresh},
        refused,
    },
    *,
};
use std::{fs, path::Path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A request whose target goes out as it is written: clients tidy paths up.
async fn raw(node: &TestNode, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let url = node.running.url();
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let mut text = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n{}");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that has refused a request may close before it was read whole.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{method} {target}: {answer}")), answer)
}

/// Spellings of a path that something before the node, or the node itself, might take for another one.
fn spellings(own: &str, other: &str, rest: &str) -> Vec<String> {
    let mut all = vec![
        format!("/v1/orgs/{other}/{rest}"),
        format!("/v1/orgs/{own}/../{other}/{rest}"),
        format!("/v1/orgs/{own}/%2e%2e/{other}/{rest}"),
        format!("/v1/orgs/{own}/..%2f{other}/{rest}"),
        format!("/v1/orgs/{own}%2f..%2f{other}/{rest}"),
        format!("/v1/orgs/{own}/..;/{other}/{rest}"),
        format!("/v1/orgs/{own}/./../{other}/{rest}"),
        format!("/v1/orgs/{own}\\..\\{other}/{rest}"),
        format!("/v1/orgs/{other}/{rest}/"),
        format!("/v1/orgs/{other}//{rest}"),
        format!("/v1/orgs//{other}/{rest}"),
        format!("//v1/orgs/{other}/{rest}"),
        format!("/V1/orgs/{other}/{rest}"),
        format!("/v1/Orgs/{other}/{rest}"),
        format!("/v1/orgs/{}/{rest}", other.to_uppercase()),
        format!("/v1/orgs/{other}%00/{rest}"),
        format!("/v1/orgs/{other}%20/{rest}"),
        format!("/v1/orgs/{other};{own}/{rest}"),
        format!("/v1/orgs/{other}?/{own}/{rest}"),
        format!("/v1/orgs/%6fther/{rest}"),
        format!("/v1/orgs/{own}/{rest}?org={other}"),
        format!("/v1/orgs/*/{rest}"),
        format!("/v1/orgs/>/{rest}"),
        format!("/v1/orgs/{own},{other}/{rest}"),
    ];
    all.extend(["/v1/ops/tree", "/v1/OPS/tree", "/v1/ops//tree", "/v1/orgs/x/../../ops/tree"].map(str::to_owned));
    all.extend(
        [
            "/internal/v1/commands",
            "/INTERNAL/v1/commands",
            "/v1/orgs/acme/../../../internal/v1/commands",
        ]
        .map(str::to_owned),
    );
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_a_path_lead_around_no_rule() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let bearer = format!("Bearer {}", tenants.ada);
    for target in spellings("acme", "other", "conversations") {
        for method in ["GET", "POST"] {
            let (status, text) = raw(node, method, &target, &[("Authorization", &bearer)]).await;
            assert!((400..500).contains(&status), "{method} {target}: {text}");
            assert!(!text.contains(MARK), "{method} {target}: {text}");
        }
    }
    // What proxies understand is nothing to the node.
    for (name, value) in [
        ("X-Original-URL", "/v1/orgs/other/conversations"),
        ("X-Rewrite-URL", "/v1/orgs/other/conversations"),
        ("X-Forwarded-Prefix", "/v1/orgs/other"),
        ("X-HTTP-Method-Override", "POST"),
    ] {
        let (_, text) = raw(
            node,
            "GET",
            "/v1/orgs/acme/conversations",
            &[("Authorization", &bearer), (name, value)],
        )
        .await;
        assert!(!text.contains(MARK), "{name}: {text}");
    }
    viewer_writes_by_no_spelling(&tenants).await;
}

async fn viewer_writes_by_no_spelling(tenants: &Tenants) {
    let node = &tenants.node;
    node.conversation("k").await;
    let before = node.get("/v1/orgs/acme/conversations/k/history").await.expect(200).text;
    let bearer = format!("Bearer {}", tenants.vic);
    let grid = "/v1/orgs/acme";
    for target in [
        format!("{grid}/conversations/k/archive"),
        format!("{grid}/conversations/k/ARCHIVE"),
        format!("{grid}/conversations/k/archive/"),
        format!("{grid}/conversations/k/%61rchive"),
        format!("{grid}/conversations/k/archive?x=1"),
        format!("{grid}/conversations/k//archive"),
        format!("{grid}/Conversations/k/archive"),
        format!("{grid}/conversation/k/archive"),
        format!("{grid}/conversations/%6b/archive"),
        format!("{grid}/conversations/k/history/../archive"),
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "post"] {
            let (status, text) = raw(node, method, &target, &[("Authorization", &bearer)]).await;
            assert!((400..500).contains(&status), "{method} {target}: {text}");
        }
        // A read that carries a command is a read.
        let overridden = [("Authorization", bearer.as_str()), ("X-HTTP-Method-Override", "POST")];
        raw(node, "GET", &target, &overridden).await;
    }
    assert_eq!(node.get("/v1/orgs/acme/conversations/k/history").await.expect(200).text, before);
}

/// How many wrong guesses a door judges before it makes whoever guesses wait.
async fn judged(mut guess: impl AsyncFnMut() -> Answer) -> usize {
    for judged in 0..12 {
        let answer = guess().await;
        match answer.status.as_u16() {
            401 => {}
            429 => return judged,
            _ => panic!("{} {}", answer.status, answer.text),
        }
    }
    panic!("a dozen guesses are judged one after the other")
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_count_together_at_every_door() {
    let node = TestNode::with_org().await;
    let own = node.client("acme", "ci", json!({})).await;
    let id = node.registered("ada@example.com", false).await;
    let home = format!("_platform/{id}").parse().unwrap();
    let session = node.session(&home, &[]).await;
    let wrong = "wrong horse battery";
    let by_address = async || {
        node.open("/v1/auth/login", json!({ "address": "Ada@example.com ", "password": wrong }))
            .await
    };
    let by_id = async || node.open("/v1/auth/login", json!({ "id": id, "password": wrong })).await;
    let on_page = async || {
        let fields = [
            ("client_id", own.id.as_str()),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("code_challenge", oauth::CHALLENGE),
            ("code_challenge_method", "S256"),
            ("decision", "allow"),
            ("address", "ada@example.com"),
            ("password", wrong),
        ];
        node.form("/oauth/authorize", None, &fields).await
    };
    let change = async || {
        let body = json!({ "old": wrong, "new": "another horse battery" });
        node.say_by(&session.token, "/v1/auth/password/change", body).await
    };
    // Three cost nothing, and each door by itself would give as many again.
    assert!(judged(by_address).await >= 3);
    for (door, judged) in [
        ("by id", judged(by_id).await),
        ("on the page", judged(on_page).await),
        ("to change it", judged(change).await),
    ] {
        assert!(judged < 3, "{door} starts counting again: {judged}");
    }
    // Nobody else waits for that.
    node.registered("bob@example.com", false).await;
    node.logged_in("bob@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_sends_nothing_here() {
    let node = TestNode::start().await;
    node.registered("ada@example.com", false).await;
    let login = json!({ "address": "ada@example.com", "password": PASSWORD, "cookie": true });
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://", ""] {
        for (path, is_form) in [
            // Signing somebody in as somebody else is an attack as well.
            ("/v1/auth/login", false),
            ("/v1/auth/register", false),
            ("/v1/auth/refresh", false),
            ("/v1/auth/logout", false),
            ("/oauth/authorize", true),
            ("/oauth/token", true),
            ("/oauth/revoke", true),
        ] {
            let request = node.client.post(format!("{}{path}", node.running.url())).header("origin", origin);
            let request = if is_form {
                request
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body("decision=allow")
            } else {
                request.json(&login)
            };
            let answer = TestNode::send(request).await;
            assert_eq!(answer.status, 403, "{path} from `{origin}`: {}", answer.text);
            assert!(answer.headers.get("set-cookie").is_none() && answer.headers.get("access-control-allow-origin").is_none());
        }
    }
    // What a form of a page can send is no JSON, whatever it holds.
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = node.client.post(format!("{}/v1/auth/login", node.running.url()));
        let answer = TestNode::send(request.header("content-type", media).body(login.to_string())).await;
        answer.problem(415, "unsupported_media_type");
    }
}

/// Everything that opens something, each made for one purpose.
struct Shown {
    of: &'static str,
    text: String,
}

async fn one_of_each(node: &TestNode, client: &Client) -> Vec<Shown> {
    let (waiting, _) = code(node, client, "openid cap:run.start").await;
    let (spent, _) = code(node, client, "openid cap:run.start").await;
    let made = redeem(node, client, &spent, &[]).await.expect(200).json();
    node.registered("ada@example.com", false).await;
    let person = node.logged_in("ada@example.com").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    vec![
        ("code", waiting),
        ("access token", text(&made["access_token"])),
        ("refresh token", text(&made["refresh_token"])),
        ("ID token", text(&made["id_token"])),
        ("client secret", client.secret.clone()),
        ("API key", node.key("acme", "key-1", json!({ "principal": "ada" })).await),
        ("person's access token", text(&person["access_token"])),
        ("person's refresh token", text(&person["refresh_token"])),
        ("node's token", node.running.token.expose().to_owned()),
    ]
    .into_iter()
    .map(|(of, text)| Shown { of, text })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_for_one_purpose_opens_nothing_else() {
    let node = TestNode::with_org().await;
    let client = node.client("acme", "ci", json!({})).await;
    let all = one_of_each(&node, &client).await;
    for Shown { of, text } in &all {
        let is_token = of.ends_with("access token");
        // As a bearer, where accounts, userinfo and an org are.
        for path in ["/v1/me", "/v1/me/sessions"] {
            let status = node.by(Some(text), Method::GET, path).await.status.as_u16();
            let opens = if is_token { vec![200, 403] } else { vec![401, 403] };
            assert!(opens.contains(&status), "{of} at {path}: {status}");
        }
        let userinfo = node.client.get(format!("{}/oauth/userinfo", node.running.url())).bearer_auth(text);
        let status = TestNode::send(userinfo).await.status.as_u16();
        assert!(if is_token { status != 401 } else { status == 401 }, "{of} at userinfo: {status}");
        assert_eq!(node.is_active(&client, text).await, *of == "access token", "{of} is looked at");
        // As a code, a refresh token, a token to exchange, a secret.
        if *of != "code" {
            refused(&redeem(&node, &client, text, &[]).await, 400, "invalid_grant");
        }
        if *of != "refresh token" {
            refused(&refresh(&node, &client, text).await, 400, "invalid_grant");
        }
        if *of != "person's refresh token" {
            let answer = node.open("/v1/auth/refresh", json!({ "refresh_token": text })).await;
            answer.problem(403, "grant_refused");
        }
        if !is_token {
            let kind = "urn:ietf:params:oauth:token-type:access_token";
            let fields = [
                ("grant_type", EXCHANGE),
                ("subject_token", text.as_str()),
                ("subject_token_type", kind),
            ];
            refused(&node.form("/oauth/token", Some(&client), &fields).await, 400, "invalid_grant");
        }
        if *of != "client secret" {
            let other = Client {
                id: client.id.clone(),
                secret: text.clone(),
            };
            refused(
                &node
                    .form("/oauth/token", Some(&other), &[("grant_type", "client_credentials")])
                    .await,
                401,
                "invalid_client",
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_signs_opens_nothing_at_another() {
    let (here, there) = (TestNode::with_org().await, TestNode::with_org().await);
    let (own, same) = (
        here.client("acme", "ci", json!({})).await,
        there.client("acme", "ci", json!({})).await,
    );
    let (code, _) = code(&here, &own, "openid cap:run.start").await;
    // A client that was led to the wrong server brings it a code: it is worth nothing there.
    refused(&redeem(&there, &same, &code, &[]).await, 400, "invalid_grant");
    refused(&redeem(&there, &own, &code, &[]).await, 401, "invalid_client");
    let made = redeem(&here, &own, &code, &[("code_verifier", VERIFIER)]).await.expect(200).json();
    let token = made["access_token"].as_str().unwrap();
    there.by(Some(token), Method::GET, "/v1/me").await.problem(401, "unauthenticated");
    assert!(!there.is_active(&same, token).await);
    refused(
        &refresh(&there, &same, made["refresh_token"].as_str().unwrap()).await,
        400,
        "invalid_grant",
    );
}

/// Files below a directory that hold these bytes, but for those that are there to hold secrets.
fn files_with(dir: &Path, bytes: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, bytes, found);
        } else if fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_something_stands_in_no_file_and_no_answer() {
    let node = TestNode::with_org().await;
    let client = node.client("acme", "ci", json!({})).await;
    let all = one_of_each(&node, &client).await;
    let mut told = Vec::new();
    for path in [
        "/v1/orgs/acme/events?follow=false",
        "/v1/orgs/acme/activity",
        "/v1/orgs/acme/applications/ci/state",
        "/v1/orgs/acme/applications/ci/history",
        "/v1/orgs/acme/principals/svc_ci/state",
        "/v1/orgs/acme/principals/svc_ci/history",
        "/v1/orgs/acme/api-keys/key-1/state",
        "/v1/ops/tree",
        "/metrics",
        "/health",
    ] {
        let answer = node.get(path).await;
        assert!(matches!(answer.status.as_u16(), 200 | 404), "{path}: {}", answer.text);
        told.push((path, answer.text));
    }
    node.running.stop().await;
    let mut known = Vec::new();
    files_with(node.data.path(), b"svc_ci", &mut known);
    assert!(!known.is_empty(), "the search finds what is there");
    for secret in all
        .iter()
        .map(|shown| (shown.of, shown.text.as_str()))
        .chain([("password", PASSWORD)])
    {
        let (of, text) = secret;
        // Of a token the signature alone is secret; of other texts the part behind the last dot.
        let part = text.rsplit('.').next().unwrap();
        assert!(told.iter().all(|(_, told)| !told.contains(part)), "{of} is told");
        let mut found = Vec::new();
        files_with(node.data.path(), part.as_bytes(), &mut found);
        found.retain(|name| of != "node's token" || name != "token");
        assert!(found.is_empty(), "{of} stands in {found:?}");
    }
}
