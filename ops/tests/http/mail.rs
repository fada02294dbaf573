//! Letters, and what whoever has one does: against a mail server that speaks SMTP.

use super::{
    smtp::{Smtp, code_in},
    *,
};
use quipu::app::Registration;
use quipu_runtime::performers::{MailConfig, MailTls};

const PASSWORD: &str = "correct horse battery";
const URL: &str = "https://quipu.example";

/// A node that sends its letters to a server of the test.
struct Post {
    node: TestNode,
    server: Smtp,
}

impl Post {
    async fn start() -> Self {
        let (server, data) = (Smtp::start().await, tempfile::tempdir().unwrap());
        let mut config = Config::at(data.path()).unwrap();
        config.registration = Registration::Open;
        config.tokens.issuer = URL.into();
        config.mail = Some(MailConfig::new(&server.address.to_string(), MailTls::Off, "Quipu <quipu@quipu.example>", None, URL).unwrap());
        let running = serve::start(config).await.unwrap();
        let node = TestNode {
            running,
            client: client(),
            data,
        };
        Self { node, server }
    }

    async fn open(&self, path: &str, body: Value) -> Answer {
        TestNode::send(self.node.client.post(format!("{}{path}", self.node.running.url())).json(&body)).await
    }

    async fn log_in(&self, password: &str) -> Answer {
        self.open("/v1/auth/login", json!({ "address": "ada@example.com", "password": password }))
            .await
    }

    /// An account whose address was verified.
    async fn verified(&self) -> Value {
        let body = json!({ "address": "ada@example.com", "password": PASSWORD });
        self.open("/v1/auth/register", body).await.expect(202);
        let code = code_in(&self.server.letter(1).await, "qpv_");
        self.open("/v1/auth/address/verify", json!({ "code": code }))
            .await
            .expect(200)
            .json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_verified_by_the_code_of_a_letter() {
    let post = Post::start().await;
    let verified = post.verified().await;
    let letter = post.server.letter(1).await;
    assert!(letter.contains("To: ada@example.com"), "{letter}");
    let code = code_in(&letter, "qpv_");
    // It is good once, and for nothing else.
    post.open("/v1/auth/address/verify", json!({ "code": code }))
        .await
        .problem(403, "code_refused");
    let reset = json!({ "code": code, "password": "battery staple horse" });
    post.open("/v1/auth/password/reset", reset).await.problem(403, "code_refused");
    let by = post.log_in(PASSWORD).await.expect(200).json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    // There is nothing left to verify.
    post.node
        .say_by(&by, "/v1/auth/address/send", json!({}))
        .await
        .problem(404, "address_not_found");
    // Neither code nor address stands in a record, and the outbox is empty.
    let id = verified["principal"].as_str().unwrap();
    let history = post.node.get(&format!("/v1/orgs/_platform/principals/{id}/history")).await.text;
    assert!(!history.contains(&code) && !history.contains(&code[code.len() - 51..]), "{history}");
    let is_empty = async {
        while post.node.get("/v1/ops/outbox").await.expect(200).json()["items"] != json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), is_empty)
        .await
        .expect("settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_set_by_the_code_of_a_letter() {
    let post = Post::start().await;
    post.verified().await;
    let before = post.log_in(PASSWORD).await.expect(200).json();
    // Nobody learns whether there is such an account, and a request cannot say where links lead.
    let mut answers = Vec::new();
    for address in ["nobody@example.com", "Ada@Example.com."] {
        let url = format!("{}/v1/auth/password/forgot", post.node.running.url());
        let asked = post.node.client.post(url).json(&json!({ "address": address }));
        let asked = asked
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "host=evil.example");
        let answer = TestNode::send(asked).await.expect(202);
        answers.push(answer.text);
    }
    assert_eq!(answers[0], answers[1]);
    let letter = post.server.letter(2).await;
    assert!(
        letter.contains("https://quipu.example/oauth/code") && !letter.contains("evil"),
        "{letter}"
    );
    let code = code_in(&letter, "qpw_");
    let reset = |password: &'static str| post.open("/v1/auth/password/reset", json!({ "code": code, "password": password }));
    reset("short").await.problem(422, "bad_password");
    // One letter was cut short, and is no other.
    let cut = json!({ "code": &code[..code.len() - 1], "password": "battery staple horse" });
    post.open("/v1/auth/password/reset", cut).await.problem(403, "code_refused");
    reset("battery staple horse").await.expect(200);
    reset("another staple horse").await.problem(403, "code_refused");
    post.log_in(PASSWORD).await.problem(401, "wrong_login");
    post.log_in("battery staple horse").await.expect(200);
    let by = before["access_token"].as_str();
    post.node.by(by, Method::GET, "/v1/me").await.problem(401, "unauthenticated");
    assert_eq!(post.server.seen().letters.len(), 2, "nobody else got one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_link_asks_before_it_does_anything() {
    let post = Post::start().await;
    let body = json!({ "address": "ada@example.com", "password": PASSWORD });
    post.open("/v1/auth/register", body).await.expect(202);
    let code = code_in(&post.server.letter(1).await, "qpv_");
    let url = |path: &str| format!("{}{path}", post.node.running.url());
    // Programs that look at letters follow links.
    for _ in 0..2 {
        let page = TestNode::send(post.node.client.get(url(&format!("/oauth/code?code={code}"))))
            .await
            .expect(200);
        assert!(
            page.text.contains("Confirm your address") && !page.text.contains("<script"),
            "{}",
            page.text
        );
        assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    }
    let answer = || {
        let posted = post.node.client.post(url("/oauth/code"));
        posted
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("code={code}"))
    };
    let done = TestNode::send(answer()).await.expect(200);
    assert!(done.text.contains("Your address is confirmed"), "{}", done.text);
    TestNode::send(answer()).await.expect(400);
    TestNode::send(post.node.client.get(url("/oauth/code?code=qpv_x")))
        .await
        .expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_letters_again_and_again_waits() {
    let post = Post::start().await;
    for _ in 0..20 {
        let asked = post.open("/v1/auth/password/forgot", json!({ "address": "bob@example.com" })).await;
        if asked.status == 429 {
            asked.problem(429, "login_slowed");
            return;
        }
        asked.expect(202);
    }
    panic!("nobody had to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mail_server_the_nodes_token_shows_the_link() {
    let node = TestNode::start().await;
    let open = async |path: &str, body: Value| TestNode::send(node.client.post(format!("{}{path}", node.running.url())).json(&body)).await;
    let made = json!({ "address": "ada@example.com", "password": PASSWORD, "operator": true, "first": true });
    let ada = node.post("/v1/auth/register", made).await.expect(201).json()["principal"].clone();
    // There is one first operator.
    let more = json!({ "address": "eve@example.com", "password": PASSWORD, "operator": true, "first": true });
    node.post("/v1/auth/register", more).await.problem(409, "not_first");
    open("/v1/auth/password/forgot", json!({ "address": "ada@example.com" }))
        .await
        .problem(409, "mail_not_configured");
    let link = json!({ "purpose": "reset_password", "id": ada });
    let tokens = open("/v1/auth/login", json!({ "id": ada, "password": PASSWORD }))
        .await
        .expect(200)
        .json();
    let by = tokens["access_token"].as_str().unwrap();
    node.say_by(by, "/v1/auth/link", link.clone()).await.problem(403, "no_access");
    let shown = node.post("/v1/auth/link", link.clone()).await.expect(200).json();
    let code = shown["code"].as_str().unwrap();
    assert_eq!(shown["link"], format!("{}/oauth/code?code={code}", node.running.url()));
    // Another one takes its place.
    node.post("/v1/auth/link", link).await.expect(200);
    let reset = json!({ "code": code, "password": "battery staple horse" });
    open("/v1/auth/password/reset", reset).await.problem(403, "code_refused");
}
