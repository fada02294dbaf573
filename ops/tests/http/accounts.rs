//! Accounts of people: who gets one, how they log in, what a browser keeps, and what strangers learn.

use super::*;
use quipu::app::Registration;

pub(super) const PASSWORD: &str = "correct horse battery";

impl TestNode {
    pub(super) async fn registered(&self, address: &str, operator: bool) -> String {
        let body = json!({ "address": address, "name": "Ada", "password": PASSWORD, "operator": operator });
        let made = self.post("/v1/auth/register", body).await.expect(201).json();
        made["principal"].as_str().unwrap().to_owned()
    }

    pub(super) async fn open(&self, path: &str, body: Value) -> Answer {
        Self::send(self.client.post(format!("{}{path}", self.running.url())).json(&body)).await
    }

    pub(super) async fn logged_in(&self, address: &str) -> Value {
        let body = json!({ "address": address, "password": PASSWORD });
        self.open("/v1/auth/login", body).await.expect(200).json()
    }
}

fn token(tokens: &Value) -> &str {
    tokens["access_token"].as_str().unwrap_or_else(|| panic!("{tokens}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_logs_in_and_makes_an_org() {
    let node = TestNode::start().await;
    let ada = node.registered("ada@example.com", true).await;
    assert!(ada.starts_with("usr_"), "{ada}");
    let tokens = node.logged_in("Ada@Example.com").await;
    let by = token(&tokens);
    node.by(Some(by), Method::GET, "/v1/ops/tree").await.expect(200);
    // Nobody is known in an org that is not there.
    node.by(Some(by), Method::GET, "/v1/orgs/acme/stats")
        .await
        .problem(403, "no_access");
    let made = node.say_by(by, "/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    let at = made.header("quipu-position").to_owned();
    node.by(Some(by), Method::GET, &format!("/v1/orgs/acme/stats?min_position={at}"))
        .await
        .expect(200);
    let me = node.by(Some(by), Method::GET, "/v1/me").await.expect(200).json();
    assert_eq!((&me["principal"], &me["operator"]), (&json!(ada), &json!(true)), "{me}");
    assert_eq!(me["orgs"], json!([{ "org": "acme", "role": "owner" }]), "{me}");
    let key = node
        .say_by(by, "/v1/orgs/acme/api-keys/k1", json!({ "name": "CI" }))
        .await
        .expect(201)
        .json();
    node.by(key["shown"].as_str(), Method::GET, "/v1/orgs/acme/stats").await.expect(200);
    // Cut, a session operates nothing and founds nothing; nor does somebody who is no operator.
    let cut = json!({ "address": "ada@example.com", "password": PASSWORD, "scope": "cap:org.*" });
    let cut = node.open("/v1/auth/login", cut).await.expect(200).json();
    node.registered("bob@example.com", false).await;
    let bob = node.logged_in("bob@example.com").await;
    for by in [token(&cut), token(&bob)] {
        node.by(Some(by), Method::GET, "/v1/ops/tree").await.problem(403, "no_access");
        node.say_by(by, "/v1/orgs/more/orgs", json!({ "name": "More" }))
            .await
            .problem(403, "no_access");
    }
    // For somebody else nobody founds one.
    let for_bob = node
        .client
        .post(format!("{}/v1/orgs/more/orgs", node.running.url()))
        .bearer_auth(by)
        .header("quipu-on-behalf-of", bob["principal"].as_str().unwrap())
        .json(&json!({ "name": "More" }));
    TestNode::send(for_bob).await.problem(403, "no_access");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_shown_once() {
    let node = TestNode::start().await;
    node.registered("ada@example.com", false).await;
    let first = node.logged_in("ada@example.com").await;
    let refresh = async |tokens: &Value| {
        node.open("/v1/auth/refresh", json!({ "refresh_token": tokens["refresh_token"] }))
            .await
    };
    let second = refresh(&first).await.expect(200).json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(first["session"], second["session"]);
    node.by(Some(token(&second)), Method::GET, "/v1/me").await.expect(200);
    // Whoever shows the old one has stolen it, or was stolen from.
    refresh(&first).await.problem(403, "grant_refused");
    for tokens in [&first, &second] {
        node.by(Some(token(tokens)), Method::GET, "/v1/me")
            .await
            .problem(401, "unauthenticated");
    }
    refresh(&second).await.problem(403, "grant_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_logins_and_unknown_accounts_are_answered_alike() {
    let node = TestNode::start().await;
    node.registered("ada@example.com", false).await;
    let mut told = Vec::new();
    for address in ["ada@example.com", "nobody@example.com"] {
        let body = json!({ "address": address, "password": "wrong horse battery" });
        let answer = node.open("/v1/auth/login", body).await;
        let problem = answer.problem(401, "wrong_login");
        assert!(
            !answer.text.contains("example.com") && !answer.text.contains("horse"),
            "{}",
            answer.text
        );
        told.push((problem["detail"].clone(), problem["fix"].clone(), problem["field"].clone()));
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_by_whom_the_configuration_says() {
    let body = |address: &str| json!({ "address": address, "password": PASSWORD });
    let node = TestNode::start().await;
    node.open("/v1/auth/register", body("eve@example.com"))
        .await
        .problem(403, "registration_by_invitation");
    node.registered("ada@example.com", false).await;
    let again = node.post("/v1/auth/register", body("ada@example.com")).await;
    again.problem(409, "address_taken");

    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.registration = Registration::Open;
    let running = serve::start(config).await.unwrap();
    let open = TestNode {
        running,
        client: client(),
        data,
    };
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(open.open("/v1/auth/register", body("ada@example.com")).await.expect(202).text);
    }
    assert_eq!(answers[0], answers[1], "who asks learns nothing of whether there was one");
    open.logged_in("ada@example.com").await;
    // Nobody makes themselves an operator.
    let greedy = json!({ "address": "eve@example.com", "password": PASSWORD, "operator": true });
    open.open("/v1/auth/register", greedy).await.problem(422, "invalid_command");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_its_session_in_a_cookie() {
    let node = TestNode::start().await;
    node.registered("ada@example.com", false).await;
    let body = json!({ "address": "ada@example.com", "password": PASSWORD, "cookie": true });
    let answer = node.open("/v1/auth/login", body).await.expect(200);
    let set = answer.header("set-cookie").to_owned();
    for part in ["__Host-quipu=eyJ", "; Path=/;", "HttpOnly", "Secure", "SameSite=Lax"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    let told = answer.json();
    assert!(told.get("access_token").is_none() && told.get("refresh_token").is_none(), "{told}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let url = |path: &str| format!("{}{path}", node.running.url());
    let get = async |path: &str| TestNode::send(node.client.get(url(path)).header("cookie", &cookie)).await;
    let me = get("/v1/me").await.expect(200).json();
    assert_eq!(me["principal"], told["principal"]);
    let logout = || node.client.post(url("/v1/auth/logout")).header("cookie", &cookie).json(&json!({}));
    TestNode::send(logout()).await.problem(403, "origin_required");
    TestNode::send(logout().header("origin", "https://evil.example"))
        .await
        .problem(403, "origin_not_allowed");
    get("/v1/me").await.expect(200);
    let out = TestNode::send(logout().header("origin", node.running.url())).await.expect(200);
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{:?}", out.headers);
    get("/v1/me").await.problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_whoever_knows_it() {
    let node = TestNode::start().await;
    node.registered("ada@example.com", false).await;
    let tokens = node.logged_in("ada@example.com").await;
    let change = async |old: &str, new: &str| {
        let body = json!({ "old": old, "new": new });
        node.say_by(token(&tokens), "/v1/auth/password/change", body).await
    };
    let short = change(PASSWORD, "short").await;
    assert_eq!(short.status, 422, "{}", short.text);
    assert!(!short.text.contains(PASSWORD), "{}", short.text);
    change(PASSWORD, "another horse battery").await.expect(200);
    node.by(Some(token(&tokens)), Method::GET, "/v1/me")
        .await
        .problem(401, "unauthenticated");
    let old = json!({ "address": "ada@example.com", "password": PASSWORD });
    node.open("/v1/auth/login", old).await.problem(401, "wrong_login");
    // Lost, it is set by the node's token, and by no operator.
    let lost = json!({ "id": tokens["principal"], "password": PASSWORD });
    node.registered("op@example.com", true).await;
    let operator = node.logged_in("op@example.com").await;
    node.say_by(token(&operator), "/v1/auth/password/set", lost.clone())
        .await
        .problem(403, "no_access");
    node.post("/v1/auth/password/set", lost).await.expect(200);
    let address = json!({ "id": tokens["principal"], "password": PASSWORD });
    node.open("/v1/auth/login", address).await.expect(200);
    // The node's token is nobody's account.
    node.get("/v1/me").await.problem(403, "no_account");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_names_themselves_and_changes_addresses() {
    let node = TestNode::start().await;
    node.registered("ada@example.com", false).await;
    node.registered("bob@example.com", false).await;
    let tokens = node.logged_in("ada@example.com").await;
    let by = token(&tokens);
    let account = async || node.by(Some(by), Method::GET, "/v1/me").await.expect(200).json()["account"].clone();
    node.say_by(by, "/v1/auth/name", json!({ "name": "Ada Lovelace" }))
        .await
        .expect(200);
    for bad in ["  ", "\u{202e}evil", "Bob\nX", "\u{1b}[31mRED"] {
        node.say_by(by, "/v1/auth/name", json!({ "name": bad }))
            .await
            .problem(422, "bad_name");
    }
    // An access token that was stolen changes no address.
    let add = "/v1/auth/address/add";
    node.say_by(by, add, json!({ "address": "thief@example.com" }))
        .await
        .problem(422, "invalid_command");
    node.say_by(by, add, json!({ "address": "thief@example.com", "password": "incorrect horse" }))
        .await
        .problem(401, "wrong_login");
    let with = |address: &str| json!({ "address": address, "password": PASSWORD });
    node.say_by(by, add, with("nonsense")).await.problem(422, "bad_address");
    node.say_by(by, add, with("bob@example.com")).await.problem(409, "address_taken");
    let added = node.say_by(by, add, with("ada@example.net")).await.expect(200).json();
    let told = account().await;
    assert_eq!(
        (&told["name"], &told["has_totp"]),
        (&json!("Ada Lovelace"), &json!(false)),
        "{told}"
    );
    let addresses: Vec<_> = told["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|address| &address["address"])
        .collect();
    assert_eq!(addresses, ["ada@example.com", "ada@example.net"]);
    assert_eq!(told["addresses"][1]["id"], added["id"], "{told}");
    // By the new one they log in, and without the old one.
    let first = &told["addresses"][0]["id"];
    node.say_by(by, "/v1/auth/address/remove", json!({ "id": first, "password": PASSWORD }))
        .await
        .expect(200);
    node.open("/v1/auth/login", with("ada@example.com"))
        .await
        .problem(401, "wrong_login");
    node.logged_in("ada@example.net").await;
    // A client that was let in sees none of it.
    let cut = json!({ "address": "ada@example.net", "password": PASSWORD, "scope": "cap:org.*" });
    let cut = node.open("/v1/auth/login", cut).await.expect(200).json();
    let me = node.by(Some(token(&cut)), Method::GET, "/v1/me").await.expect(200).json();
    assert_eq!(me["account"], Value::Null, "{me}");
    node.say_by(token(&cut), "/v1/auth/name", json!({ "name": "Eve" }))
        .await
        .problem(403, "session_cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_token_that_is_off_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let start = async |node_token: bool| {
        let mut config = Config::at(&home.path().join("d")).unwrap();
        config.node_token = node_token;
        serve::start(config).await.unwrap()
    };
    let file = home.path().join("d/token");
    let running = start(true).await;
    let url = running.url();
    let client = reqwest::Client::new();
    let stats = async |url: &str, token: &str| {
        client
            .get(format!("{url}/v1/ops/tree"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
    };
    let first = std::fs::read_to_string(&file).unwrap();
    assert_eq!(stats(&url, first.trim()).await, 200);
    running.stop().await;
    let running = start(false).await;
    assert!(!file.exists(), "whoever reads the disk finds nothing");
    assert_eq!(stats(&running.url(), first.trim()).await, 401);
    running.stop().await;
    let running = start(true).await;
    let second = std::fs::read_to_string(&file).unwrap();
    assert_ne!(first, second);
    assert_eq!(stats(&running.url(), first.trim()).await, 401);
    assert_eq!(stats(&running.url(), second.trim()).await, 200);
    running.stop().await;
}
