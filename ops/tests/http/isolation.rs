//! Tenants cannot see each other: every route of the document is called by whoever should get nothing from it.
//!
//! The walk takes routes, methods and rights from OpenAPI, so that a new one is walked without a word here. A message over a bus has
//! no credential of its own: the broker's permissions keep orgs apart there.

use super::*;
use quipu::openapi;
use quipu_projections::families::Families;
use quipu_runtime::kinds::Kinds;

/// Stands in what the other tenant keeps, and in no request.
pub(super) const MARK: &str = "zzsecret";

/// A node with two tenants, and keys that open less and less.
pub(super) struct Tenants {
    pub(super) node: TestNode,
    /// An owner of `acme`.
    pub(super) ada: String,
    /// A viewer of `acme`.
    pub(super) vic: String,
    /// Ada's too, cut to counts.
    narrow: String,
    /// Ada's too, revoked.
    pub(super) revoked: String,
    /// An owner of `other`.
    eve: String,
    /// A value of `other`.
    digest: String,
}

impl Tenants {
    pub(super) async fn start() -> Self {
        let node = TestNode::with_org().await;
        node.post("/v1/orgs/other/orgs", json!({ "name": format!("{MARK} name") }))
            .await
            .expect(201);
        for (org, member, role) in [("acme", "ada", "owner"), ("acme", "vic", "viewer"), ("other", "eve", "owner")] {
            let body = json!({ "principal": member, "role": role });
            node.post(&format!("/v1/orgs/{org}/orgs/{org}/add_member"), body).await.expect(202);
        }
        let digest = node.of_other().await;
        let ada = node.key("acme", "key-ada", json!({ "principal": "ada" })).await;
        let narrow = json!({ "principal": "ada", "scopes": ["cap:stats.read"] });
        let narrow = node.key("acme", "key-narrow", narrow).await;
        let revoked = node.key("acme", "key-revoked", json!({ "principal": "ada" })).await;
        node.post("/v1/orgs/acme/api-keys/key-revoked/revoke", json!({ "reason": "lost" }))
            .await
            .expect(202);
        Self {
            ada,
            narrow,
            revoked,
            digest,
            vic: node.key("acme", "key-vic", json!({ "principal": "vic" })).await,
            eve: node.key("other", "key-eve", json!({ "principal": "eve" })).await,
            node,
        }
    }
}

/// Tokens of sessions that open less and less.
pub(super) struct Tokens {
    /// A person, an owner of `other`.
    eve: String,
    /// A service of `other`.
    bot: String,
    /// A service of `acme`, a viewer there.
    vic: String,
    /// The same, cut to counts.
    narrow: String,
    /// An owner of `acme`, whose session has ended.
    ended: String,
}

impl Tenants {
    pub(super) async fn tokens(&self) -> Tokens {
        let node = &self.node;
        let eve = node.person(false).await;
        node.member("other", &eve, "owner").await;
        let bot = node.service("other", "svc_bot", "owner").await;
        let vic = node.service("acme", "svc_vic", "viewer").await;
        let gone = node.service("acme", "svc_gone", "owner").await;
        let token = async |home, scope: &[&str]| node.session(home, scope).await.token;
        let ended = token(&gone, &[]).await;
        node.say_by(&ended, "/v1/auth/logout", json!({})).await.expect(200);
        Tokens {
            eve: token(&eve, &[]).await,
            bot: token(&bot, &[]).await,
            vic: token(&vic, &[]).await,
            narrow: token(&vic, &["cap:stats.read"]).await,
            ended,
        }
    }
}

impl TestNode {
    /// The text of a new key.
    pub(super) async fn key(&self, org: &str, id: &str, mut body: Value) -> String {
        body["name"] = id.into();
        let made = self.post(&format!("/v1/orgs/{org}/api-keys/{id}"), body).await.expect(201);
        made.json()["shown"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
    }

    /// What somebody is answered who shows this.
    pub(super) async fn by(&self, key: Option<&str>, method: Method, path: &str) -> Answer {
        let body = (method != Method::GET).then(|| json!({}));
        let mut request = self.client.request(method, format!("{}{path}", self.running.url()));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        // A live channel has no end.
        let is_endless = headers.get("content-type").is_some_and(|is| is == "text/event-stream");
        let text = if is_endless {
            String::new()
        } else {
            response.text().await.unwrap()
        };
        Answer { status, headers, text }
    }

    /// One of everything in `other`, and a value that is kept beside the log.
    async fn of_other(&self) -> String {
        let grid = "/v1/orgs/other";
        let talk = json!({ "type": "group", "title": format!("{MARK} title") });
        self.post(&format!("{grid}/conversations/o-talk"), talk).await.expect(201);
        let said = [("idempotency-key", "o-said")];
        let message = json!({ "body": format!("{MARK} words") });
        self.post_with(&format!("{grid}/conversations/o-talk/post"), &said, message)
            .await
            .expect(202);
        let agent = json!({ "name": format!("{MARK} agent"), "model": { "provider": "mock", "model": "echo" } });
        self.post(&format!("{grid}/agents/o-agent"), agent).await.expect(201);
        let put = self.request(Method::PUT, &format!("{grid}/blobs")).body(format!("{MARK} value"));
        let kept = Self::send(put).await.expect(201).json();
        kept["$blob"].as_str().unwrap().to_owned()
    }
}

/// A route of the document, filled in.
struct Walked {
    method: Method,
    /// As it stands in the document.
    template: String,
    right: String,
}

fn walk() -> Vec<Walked> {
    let document = openapi::document(&Kinds::builtin().info(), Families::house());
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push(Walked {
                method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
                template: path.clone(),
                right: operation["x-quipu-right"].as_str().unwrap().to_owned(),
            });
        }
    }
    assert!(all.len() > 100, "{}", all.len());
    all
}

impl Walked {
    /// In this org, with this in the place of each id.
    fn path(&self, org: &str, id: &str) -> String {
        let mut parts: Vec<&str> = Vec::new();
        for part in self.template.split('/') {
            parts.push(match part {
                "{org}" => org,
                part if part.starts_with('{') => id,
                part => part,
            });
        }
        let mut path = parts.join("/");
        if path.ends_with("/events") {
            path.push_str("?follow=false");
        }
        path
    }

    fn is_of_org(&self) -> bool {
        self.right.starts_with("cap:")
    }

    fn is_own(&self) -> bool {
        self.right == "account"
    }

    fn is_open(&self) -> bool {
        // Metrics are open on the machine itself.
        self.right == "none" || self.template == "/metrics"
    }
}

/// An answer but for what differs from request to request.
pub(super) fn bare(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    // The length is that of the path, which a problem repeats.
    let passing = ["x-correlation-id", "x-request-id", "x-trace-id", "date", "content-length"];
    // How often a network has asked says nothing of an org.
    let policy = answer.headers.get("ratelimit-policy").and_then(|value| value.to_str().ok());
    let is_of_network = policy.is_some_and(|policy| policy.starts_with("\"network\""));
    let is_passing = |name: &str| passing.contains(&name) || (is_of_network && name.contains("ratelimit"));
    let headers = answer.headers.iter().filter(|(name, _)| !is_passing(name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut problem = answer.json();
    for own in ["instance", "request_id", "time"] {
        assert!(problem[own].take().is_string(), "{own}: {}", answer.text);
    }
    (answer.status.as_u16(), headers.collect(), problem)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_tells_a_stranger_whether_an_org_exists() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let tokens = tenants.tokens().await;
    let nowhere = node.by(Some(&tenants.eve), Method::GET, "/v1/orgs/nowhere/stats").await;
    nowhere.problem(403, "no_access");
    let unknown = node.by(Some("not-the-token"), Method::GET, "/v1/orgs/acme/stats").await;
    unknown.problem(401, "unauthenticated");
    let silent = node.by(None, Method::GET, "/v1/orgs/acme/stats").await;
    silent.problem(401, "unauthenticated");
    for route in walk().iter().filter(|route| !route.is_open()) {
        let method = || route.method.clone();
        // The same ids there, and none.
        for (org, id) in [
            ("acme", "key-ada"),
            ("acme", "acme"),
            ("nowhere", "x"),
            ("_platform", "x"),
            ("Acme!", "x%2F.."),
        ] {
            let path = route.path(org, id);
            let answer = node.by(Some(&tenants.eve), method(), &path).await;
            assert_eq!(bare(&answer), bare(&nowhere), "{} {path}", route.method);
            // What is their own is told to a person and a service.
            for token in [&tokens.eve, &tokens.bot].into_iter().filter(|_| !route.is_own()) {
                let answer = node.by(Some(token), method(), &path).await;
                assert_eq!(bare(&answer), bare(&nowhere), "{} {path}", route.method);
            }
        }
        let path = route.path("acme", "x");
        for ended in [&tenants.revoked, &tokens.ended] {
            let answer = node.by(Some(ended), method(), &path).await;
            assert_eq!(bare(&answer), bare(&unknown), "{} {path}", route.method);
        }
        let answer = node.by(None, method(), &path).await;
        assert_eq!(bare(&answer), bare(&silent), "{} {path}", route.method);
    }
    // Paths that no route takes are refused by where they lie.
    for path in [
        "/v1/orgs/acme/a/b/c/d/e",
        "/v1/orgs/",
        "/v1/orgs//stats",
        "/v1/orgs/%61cme/stats",
        "/v1/orgs",
        "/nothing",
    ] {
        for shown in [&tenants.eve, &tokens.eve, &tokens.bot] {
            let answer = node.by(Some(shown), Method::GET, path).await;
            assert_eq!(bare(&answer), bare(&nowhere), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_cut_opens_nothing_beyond_its_scope() {
    let tenants = Tenants::start().await;
    let tokens = tenants.tokens().await;
    for shown in [&tenants.narrow, &tokens.narrow] {
        for route in walk().iter().filter(|route| route.is_of_org()) {
            let path = route.path("acme", "acme");
            let answer = tenants.node.by(Some(shown), route.method.clone(), &path).await;
            match route.right.as_str() {
                "cap:stats.read" => drop(answer.expect(200)),
                // What may be read is what comes: nothing.
                "cap:{kind}.read" => assert!(!answer.expect(200).text.contains("specversion")),
                right => {
                    let problem = answer.problem(403, "missing_right");
                    assert!(problem["detail"].as_str().unwrap().contains(right), "{path}: {problem}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_key_reads_and_changes_nothing() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let tokens = tenants.tokens().await;
    let before = node.get("/v1/orgs/acme/orgs/acme/history").await.expect(200).text;
    let walked = walk();
    let of_org = walked.iter().filter(|route| route.is_of_org());
    for (route, shown) in of_org.flat_map(|route| [(route, &tenants.vic), (route, &tokens.vic)]) {
        let path = route.path("acme", "acme");
        let answer = node.by(Some(shown), route.method.clone(), &path).await;
        let (method, status) = (&route.method, answer.status.as_u16());
        if ["cap:personal.read", "cap:audit.read", "cap:denial.read"].contains(&route.right.as_str()) {
            answer.problem(403, "missing_right");
        } else if *method == Method::GET {
            assert!(matches!(status, 200 | 400 | 404), "{path}: {status} {}", answer.text);
        } else {
            assert!((400..500).contains(&status), "{method} {path}: {status} {}", answer.text);
        }
    }
    assert_eq!(node.get("/v1/orgs/acme/orgs/acme/history").await.expect(200).text, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_another_tenant_lead_nowhere() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let cursor = |answer: &Answer| answer.json()["items"].as_array().map_or(0, Vec::len);
    let history = "/v1/orgs/other/conversations/o-talk/history";
    let before = cursor(&node.get(history).await);
    let ids = ["other", "o-talk", "o-agent", "key-eve", "eve", "o-said", tenants.digest.as_str()];
    for route in walk().iter().filter(|route| route.is_of_org()) {
        // A new org of its own is what `create` asks for.
        for id in ids {
            let path = route.path("acme", id);
            let answer = node.by(Some(&tenants.ada), route.method.clone(), &path).await;
            assert!(answer.status.as_u16() < 500, "{} {path}: {}", route.method, answer.text);
            assert!(!answer.text.contains(MARK), "{} {path}: {}", route.method, answer.text);
        }
    }
    assert_eq!(cursor(&node.get(history).await), before, "nothing was added to what is another's");
    let value = format!("/v1/orgs/acme/blobs/{}", tenants.digest);
    node.by(Some(&tenants.ada), Method::GET, &value).await.problem(404, "unknown_blob");
    // In the place of whom one acts for.
    let for_eve = node
        .client
        .get(format!("{}/v1/orgs/acme/stats", node.running.url()))
        .bearer_auth(&tenants.ada)
        .header("quipu-on-behalf-of", "eve");
    TestNode::send(for_eve).await.problem(403, "missing_right");
}
