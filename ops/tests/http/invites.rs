//! Invites: somebody is asked into an org by a letter, and joins it.

use super::{
    smtp::{Smtp, code_in},
    *,
};
use quipu_runtime::performers::{MailConfig, MailTls};

const PASSWORD: &str = "correct horse battery";
const URL: &str = "https://quipu.example";

/// An org on a node that sends its letters to a server of the test.
struct Acme {
    node: TestNode,
    server: Smtp,
}

impl Acme {
    async fn start() -> Self {
        let (server, data) = (Smtp::start().await, tempfile::tempdir().unwrap());
        let mut config = Config::at(data.path()).unwrap();
        config.tokens.issuer = URL.into();
        config.mail = Some(MailConfig::new(&server.address.to_string(), MailTls::Off, "Quipu <quipu@quipu.example>", None, URL).unwrap());
        let running = serve::start(config).await.unwrap();
        let node = TestNode {
            running,
            client: client(),
            data,
        };
        node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
        Self { node, server }
    }

    async fn open(&self, path: &str, body: Value) -> Answer {
        TestNode::send(self.node.client.post(format!("{}{path}", self.node.running.url())).json(&body)).await
    }

    async fn invited(&self, id: &str, address: &str, letters: usize) -> String {
        let body = json!({ "address": address, "role": "member" });
        self.node.post(&format!("/v1/orgs/acme/invites/{id}"), body).await.expect(201);
        code_in(&self.server.letter(letters).await, "qpi_")
    }

    /// Waits for what became of an invite.
    async fn became(&self, id: &str, status: &str) {
        let has = || async {
            self.node
                .get(&format!("/v1/orgs/acme/invites?status={status}"))
                .await
                .expect(200)
                .json()
        };
        let is_so = async {
            while !has().await["items"].as_array().unwrap().iter().any(|row| row["id"] == id) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), is_so).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_invited_registers_and_joins_once() {
    let acme = Acme::start().await;
    let code = acme.invited("inv_1", "bob@example.com", 1).await;
    let accept = |password: &'static str| {
        acme.open(
            "/v1/auth/invite/accept",
            json!({ "code": code, "password": password, "name": "Bob" }),
        )
    };
    acme.open("/v1/auth/invite/accept", json!({ "code": code }))
        .await
        .problem(401, "unauthenticated");
    let joined = accept(PASSWORD).await.expect(200).json();
    assert_eq!((&joined["org"], &joined["role"]), (&json!("acme"), &json!("member")), "{joined}");
    acme.became("inv_1", "joined").await;
    let tokens = acme
        .open("/v1/auth/login", json!({ "address": "bob@example.com", "password": PASSWORD }))
        .await
        .expect(200)
        .json();
    let by = tokens["access_token"].as_str();
    acme.node.by(by, Method::GET, "/v1/orgs/acme/stats").await.expect(200);
    // Said again it is the same; nobody else joins by it.
    assert_eq!(accept(PASSWORD).await.expect(200).json(), joined);
    accept("battery staple horse").await.problem(409, "invite_over");
    // Neither code nor address stands in the clear in what is told of it.
    let told = acme.node.get("/v1/orgs/acme/invites/inv_1/history").await.expect(200).text;
    assert!(!told.contains(&code), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_for_one_address_and_may_be_taken_back() {
    let acme = Acme::start().await;
    for address in ["eve@example.com", "bob@example.com"] {
        acme.node
            .post("/v1/auth/register", json!({ "address": address, "password": PASSWORD }))
            .await
            .expect(201);
    }
    // Each who registers is sent a code of their own.
    acme.server.letter(2).await;
    let code = acme.invited("inv_1", "Bob@Example.com.", 3).await;
    let log_in = async |address: &str| {
        let tokens = acme
            .open("/v1/auth/login", json!({ "address": address, "password": PASSWORD }))
            .await
            .expect(200)
            .json();
        tokens["access_token"].as_str().unwrap().to_owned()
    };
    let accept = async |by: &str| acme.node.say_by(by, "/v1/auth/invite/accept", json!({ "code": code })).await;
    accept(&log_in("eve@example.com").await).await.problem(403, "other_address");
    // Nobody registers the address a second time.
    let wrong = json!({ "code": code, "password": "battery staple horse" });
    acme.open("/v1/auth/invite/accept", wrong).await.problem(401, "wrong_login");
    accept(&log_in("bob@example.com").await).await.expect(200);
    acme.became("inv_1", "joined").await;

    let code = acme.invited("inv_2", "cleo@example.com", 4).await;
    acme.node
        .post("/v1/orgs/acme/invites/inv_2/revoke", json!({ "reason": "moved" }))
        .await
        .expect(202);
    let late = json!({ "code": code, "password": PASSWORD });
    acme.open("/v1/auth/invite/accept", late).await.problem(409, "invite_over");
    acme.open("/v1/auth/login", json!({ "address": "cleo@example.com", "password": PASSWORD }))
        .await
        .problem(401, "wrong_login");
    // A code of one purpose is none of another.
    let reset = json!({ "code": code, "password": PASSWORD });
    acme.open("/v1/auth/password/reset", reset).await.problem(403, "code_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_where_joining_takes_an_approval_is_gated() {
    let acme = Acme::start().await;
    let node = &acme.node;
    for who in ["ann", "bea"] {
        let member = json!({ "principal": who, "role": "admin" });
        node.post("/v1/orgs/acme/orgs/acme/add_member", member).await.expect(202);
    }
    let ann = node.key("acme", "key-ann", json!({ "principal": "ann" })).await;
    let bea = node.key("acme", "key-bea", json!({ "principal": "bea" })).await;
    let gates = json!({ "settings": { "approvals.required": ["cap:org.add_member"] } });
    node.post("/v1/orgs/acme/orgs/acme/change_settings", gates).await.expect(202);
    let invite = json!({ "address": "bob@example.com", "role": "member" });
    node.say_by(&ann, "/v1/orgs/acme/invites/inv_1", invite.clone())
        .await
        .problem(403, "approval_required");
    let ask = json!({ "kind": "invite", "id": "inv_1", "command": "create", "body": invite, "reason": "a colleague" });
    node.say_by(&ann, "/v1/orgs/acme/approvals/one", ask).await.expect(201);
    node.say_by(&bea, "/v1/orgs/acme/approvals/one/approve", json!({}))
        .await
        .expect(202);
    let code = code_in(&acme.server.letter(1).await, "qpi_");
    let joins = json!({ "code": code, "password": PASSWORD, "name": "Bob" });
    acme.open("/v1/auth/invite/accept", joins).await.expect(200);
    acme.became("inv_1", "joined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invite_of_a_suspended_org_waits_for_it() {
    let acme = Acme::start().await;
    let bad = json!({ "address": "bob", "role": "member" });
    acme.node.post("/v1/orgs/acme/invites/inv_0", bad).await.problem(422, "bad_address");
    let code = acme.invited("inv_1", "bob@example.com", 1).await;
    let accept = || acme.open("/v1/auth/invite/accept", json!({ "code": code, "password": PASSWORD }));
    let org = async |command: &str| {
        let body = if command == "suspend" {
            json!({ "reason": "unpaid" })
        } else {
            json!({})
        };
        acme.node
            .post(&format!("/v1/orgs/acme/orgs/acme/{command}"), body)
            .await
            .expect(202);
    };
    org("suspend").await;
    accept().await.problem(403, "org_suspended");
    // No account was made for an org that takes nobody.
    acme.open("/v1/auth/login", json!({ "address": "bob@example.com", "password": PASSWORD }))
        .await
        .problem(401, "wrong_login");
    org("resume").await;
    let (one, two) = tokio::join!(accept(), accept());
    assert_eq!(one.expect(200).json(), two.expect(200).json());
    acme.became("inv_1", "joined").await;
}
