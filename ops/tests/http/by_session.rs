//! What a session opens: each org that knows its principal, an account, operators' pages; and that it opens nothing once it has ended.

use super::*;
use quipu_runtime::{accounts::NewSession, tokens::AccessClaims};
use quipu_schemas::ids::{EntityId, Home};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// A session with its access token.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) id: EntityId,
    pub(super) token: String,
}

impl TestNode {
    /// A person, who has no password.
    pub(super) async fn person(&self, operator: bool) -> Home {
        let made = self
            .post("/v1/auth/register", json!({ "operator": operator }))
            .await
            .expect(201)
            .json();
        format!("_platform/{}", made["principal"].as_str().unwrap()).parse().unwrap()
    }

    /// A service of an org, as a member there.
    pub(super) async fn service(&self, org: &str, id: &str, role: &str) -> Home {
        let made = json!({ "name": "Service", "owner": "ada" });
        self.post(&format!("/v1/orgs/{org}/principals/{id}"), made).await.expect(201);
        let home: Home = format!("{org}/{id}").parse().unwrap();
        self.member(org, &home, role).await;
        home
    }

    pub(super) async fn member(&self, org: &str, home: &Home, role: &str) {
        let body = json!({ "principal": home.id, "role": role });
        self.post(&format!("/v1/orgs/{org}/orgs/{org}/add_member"), body).await.expect(202);
    }

    /// A session that whoever logs in would get.
    pub(super) async fn session(&self, home: &Home, scope: &[&str]) -> Shown {
        let new = NewSession {
            client: Some("quipu".into()),
            scope: scope.iter().map(|right| right.parse().unwrap()).collect(),
            amr: vec!["pwd".into()],
            auth_time: self.running.node.now(),
            lifetime_ms: 3_600_000,
            refresh: true,
            ..NewSession::default()
        };
        let scope = new.scope.clone();
        let started = self.running.node.start_session(home, new).await.unwrap();
        Shown {
            token: self.token_of(home, &started.id, |claims| claims.scope = scope),
            id: started.id,
        }
    }

    pub(super) fn token_of(&self, home: &Home, session: &EntityId, change: impl FnOnce(&mut AccessClaims)) -> String {
        let node = &self.running.node;
        let now = node.now() / 1_000;
        let mut claims = AccessClaims {
            aud: node.issuer().to_owned(),
            home: home.clone(),
            org: None,
            sid: session.clone(),
            jti: "1".into(),
            scope: vec![],
            client_id: "quipu".into(),
            act: vec![],
            amr: vec!["pwd".into()],
            auth_time: Some(now),
            iat: now,
            exp: now + 600,
        };
        change(&mut claims);
        node.issue(&claims).unwrap()
    }

    pub(super) async fn say_by(&self, token: &str, path: &str, body: Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.running.url())).bearer_auth(token);
        Self::send(request.json(&body)).await
    }
}

/// Reads on until the words come; `None` where the stream ends before.
async fn until(response: &mut Response, words: &str) -> Option<String> {
    let mut seen = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        seen.push_str(&String::from_utf8_lossy(&chunk));
        if seen.contains(words) {
            return Some(seen);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opens_what_its_principal_holds() {
    let node = TestNode::with_org().await;
    let svc = node.service("acme", "svc_1", "member").await;
    let shown = node.session(&svc, &[]).await;
    let talk = json!({ "type": "group", "title": "Talk" });
    node.say_by(&shown.token, "/v1/orgs/acme/conversations/k", talk).await.expect(201);
    let history = node.get("/v1/orgs/acme/conversations/k/history").await.expect(200).json();
    assert_eq!(history["items"][0]["principal"], "svc_1", "{history}");
    node.by(Some(&shown.token), Method::GET, "/v1/orgs/acme/stats").await.expect(200);
    // A member manages no keys, and operators' pages are nobody's of an org.
    node.by(Some(&shown.token), Method::GET, "/v1/ops/tree")
        .await
        .problem(403, "no_access");
    let me = node.by(Some(&shown.token), Method::GET, "/v1/me").await.expect(200).json();
    assert_eq!(
        (&me["principal"], &me["operator"], &me["session"]["id"], &me["session"]["current"]),
        (&json!("acme/svc_1"), &json!(false), &json!(shown.id), &json!(true)),
        "{me}"
    );
    assert_eq!(me["orgs"], json!([{ "org": "acme", "role": "member" }]), "{me}");
    // Cut to a scope, it opens no more than that, and nothing of the account.
    let narrow = node.session(&svc, &["cap:stats.read"]).await;
    node.by(Some(&narrow.token), Method::GET, "/v1/orgs/acme/stats").await.expect(200);
    node.by(Some(&narrow.token), Method::GET, "/v1/orgs/acme/conversations")
        .await
        .problem(403, "missing_right");
    node.by(Some(&narrow.token), Method::GET, "/v1/me/sessions")
        .await
        .problem(403, "session_cut");
    node.by(Some(&narrow.token), Method::GET, "/v1/me").await.expect(200);
    let open = node.by(Some(&shown.token), Method::GET, "/v1/me/sessions").await.expect(200).json();
    assert_eq!(open["items"].as_array().map(Vec::len), Some(2), "{open}");
    let path = format!("/v1/me/sessions/{}", narrow.id);
    node.by(Some(&shown.token), Method::DELETE, &path).await.expect(200);
    node.by(Some(&shown.token), Method::DELETE, &path).await.problem(404, "not_found");
    node.by(Some(&narrow.token), Method::GET, "/v1/me")
        .await
        .problem(401, "unauthenticated");
    node.by(Some(&shown.token), Method::DELETE, "/v1/me/sessions").await.expect(200);
    node.by(Some(&shown.token), Method::GET, "/v1/me")
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_something_else_opens_nothing() {
    let node = TestNode::with_org().await;
    let svc = node.service("acme", "svc_1", "admin").await;
    let other = node.service("acme", "svc_2", "admin").await;
    let shown = node.session(&svc, &[]).await;
    let narrow = node.session(&svc, &["cap:stats.read"]).await;
    let now = node.running.node.now() / 1_000;
    let stats = "/v1/orgs/acme/stats";
    let right = |text: &str| text.parse().unwrap();
    for (why, token) in [
        ("another's session", node.token_of(&other, &shown.id, |_| {})),
        (
            "a session of nobody",
            node.token_of(&svc, &EntityId::parse("ses_none").unwrap(), |_| {}),
        ),
        ("wider than its session", node.token_of(&svc, &narrow.id, |_| {})),
        (
            "narrower than its session",
            node.token_of(&svc, &shown.id, |claims| claims.scope = vec![right("cap:stats.read")]),
        ),
        (
            "for somebody else",
            node.token_of(&svc, &shown.id, |claims| claims.aud = "https://api.example".into()),
        ),
        (
            "expired",
            node.token_of(&svc, &shown.id, |claims| (claims.iat, claims.exp) = (now - 60, now)),
        ),
    ] {
        let answer = node.by(Some(&token), Method::GET, stats).await;
        assert_eq!(answer.status, 401, "{why}: {}", answer.text);
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.contains("error=\"invalid_token\"") && challenge.contains("/.well-known/oauth-protected-resource"),
            "{challenge}"
        );
    }
    let silent = node.by(None, Method::GET, stats).await;
    assert!(!silent.header("www-authenticate").contains("error"), "{:?}", silent.headers);
    // One that is for one org opens no other, whoever knows its principal there.
    let only = node.token_of(&svc, &shown.id, |claims| claims.org = Some("other".parse().unwrap()));
    node.by(Some(&only), Method::GET, stats).await.problem(403, "no_access");
    node.by(Some(&shown.token), Method::GET, stats).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_its_feeds_and_channels() {
    let node = TestNode::with_org().await;
    let svc = node.service("acme", "svc_1", "member").await;
    node.conversation("c").await;
    let open = async |token: &str, path: &str| {
        let request = node.client.get(format!("{}{path}", node.running.url()));
        request
            .bearer_auth(token)
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap()
    };
    let by_suspension = node.session(&svc, &[]).await;
    let by_logout = node.session(&svc, &[]).await;
    let mut feeds = Vec::new();
    for shown in [&by_logout, &by_suspension] {
        let mut feed = open(&shown.token, "/v1/orgs/acme/events?kind=conversation").await;
        let mut live = open(&shown.token, "/v1/orgs/acme/conversations/c/live").await;
        until(&mut feed, "caught_up").await.expect("the feed begins");
        until(&mut live, "listening").await.expect("the channel begins");
        feeds.push([feed, live]);
    }
    node.say_by(&by_logout.token, "/v1/auth/logout", json!({})).await.expect(200);
    for open in &mut feeds[0] {
        until(open, "event: revoked").await.expect("it tells that it ends");
    }
    // The other session goes on, until its principal is stopped.
    node.by(Some(&by_suspension.token), Method::GET, "/v1/orgs/acme/stats")
        .await
        .expect(200);
    let stop = json!({ "reason": "lost" });
    node.post("/v1/orgs/acme/principals/svc_1/suspend", stop).await.expect(202);
    node.say("c", "after the end").await;
    for open in &mut feeds[1] {
        let last = until(open, "event: revoked").await.expect("it tells that it ends");
        assert!(!last.contains("after the end"), "{last}");
    }
    for shown in [&by_logout, &by_suspension] {
        node.by(Some(&shown.token), Method::GET, "/v1/orgs/acme/stats")
            .await
            .problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_ends_with_the_token_that_opened_it() {
    let node = TestNode::with_org().await;
    let svc = node.service("acme", "svc_1", "member").await;
    let shown = node.session(&svc, &[]).await;
    let now = node.running.node.now() / 1_000;
    let short = node.token_of(&svc, &shown.id, |claims| claims.exp = now + 3);
    let request = node.client.get(format!("{}/v1/orgs/acme/events", node.running.url()));
    let mut feed = request
        .bearer_auth(&short)
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    until(&mut feed, "event: revoked").await.expect("its time is over");
    node.by(Some(&short), Method::GET, "/v1/orgs/acme/stats")
        .await
        .problem(401, "unauthenticated");
    node.by(Some(&shown.token), Method::GET, "/v1/orgs/acme/stats").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_logout_nothing_that_begins_succeeds() {
    const ROUNDS: usize = 150;
    let node = Arc::new(TestNode::with_org().await);
    let svc = node.service("acme", "svc_1", "member").await;
    node.conversation("c").await;
    let mine = node.session(&svc, &[]).await;
    let talk = json!({ "type": "group", "title": "Talk" });
    node.say_by(&mine.token, "/v1/orgs/acme/conversations/m", talk).await.expect(201);
    // Others go on meanwhile.
    let (ends, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (node, ends, served) = (node.clone(), ends.clone(), served.clone());
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    node.post("/v1/orgs/acme/conversations/c/post", json!({ "body": "load" }))
                        .await
                        .expect(202);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut refused = 0;
    for round in 0..ROUNDS {
        let shown = node.session(&svc, &[]).await;
        let post = async || {
            let path = "/v1/orgs/acme/conversations/m/post";
            node.say_by(&shown.token, path, json!({ "body": "mine" })).await.status.as_u16()
        };
        let read = async || {
            node.by(Some(&shown.token), Method::GET, "/v1/orgs/acme/stats")
                .await
                .status
                .as_u16()
        };
        assert_eq!((post().await, read().await), (202, 200), "round {round}");
        // Requests that have begun may succeed, and revive nothing.
        let (first, ended, second) = tokio::join!(read(), node.say_by(&shown.token, "/v1/auth/logout", json!({})), post());
        assert!(matches!(first, 200 | 401) && matches!(second, 202 | 401 | 403), "{first} {second}");
        ended.expect(200);
        let after = tokio::join!(post(), read(), read());
        assert_eq!(after, (401, 401, 401), "round {round}");
        refused += 3;
    }
    ends.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert_eq!(refused, ROUNDS * 3);
    assert!(served.load(Ordering::Relaxed) > 0, "there was no load");
}
