//! `http`: egress, redirects, secrets, and which failures may be repeated.

mod bodies;

use crate::{
    fake::{Fake, Step, response},
    stage::{OneKey, Props, SUBJECT, failed, retryable},
};
use quipu_runtime::performers::{AttemptEnd, Egress, Lookup, Resolver};
use quipu_schemas::{
    json::Json,
    limits::REDIRECTS_MAX,
    reaction::{Effect, HeaderPart, HttpRequest, Outcome, ReactionKey},
};
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

fn request(method: &str, url: &str) -> HttpRequest {
    HttpRequest {
        method: method.into(),
        url: url.into(),
        timeout_ms: Some(10_000),
        ..HttpRequest::default()
    }
}

fn text(text: &str) -> HeaderPart {
    HeaderPart::Text(text.into())
}

fn secret(name: &str) -> HeaderPart {
    HeaderPart::Secret(name.into())
}

#[track_caller]
fn lost(end: AttemptEnd) -> String {
    match end {
        AttemptEnd::Done(Outcome::Lost { detail }) => detail.unwrap(),
        other => panic!("not lost: {other:?}"),
    }
}

fn effect(method: &str, url: &str) -> Effect {
    Effect::Http(request(method, url))
}

/// An answer's body; it is recorded sealed.
pub(crate) fn shown(mut body: Value) -> Value {
    assert!(body.is_null() || body["$subject"] == SUBJECT, "{body}");
    quipu_schemas::personal::show_all(&mut body, &OneKey).unwrap();
    body
}

#[track_caller]
fn responded(end: AttemptEnd) -> (u16, Value) {
    match end {
        AttemptEnd::Done(Outcome::Responded {
            status,
            body,
            full_bytes: None,
        }) => (status, shown(body.0)),
        other => panic!("not responded: {other:?}"),
    }
}

/// Gives one answer after the other, whatever is asked.
struct Answers(Vec<&'static str>, AtomicUsize);

impl Answers {
    fn new(answers: &[&'static str]) -> Arc<Self> {
        Arc::new(Self(answers.to_vec(), AtomicUsize::new(0)))
    }
}

impl Resolver for Answers {
    fn lookup(&self, _: &str) -> Lookup {
        let n = self.1.fetch_add(1, Ordering::SeqCst);
        let answer = self.0[n.min(self.0.len() - 1)]
            .split(' ')
            .map(|address| address.parse::<IpAddr>().unwrap())
            .collect();
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test]
async fn a_request_goes_out_with_its_headers_and_its_answer_is_kept() {
    let mut fake = Fake::answering(response(
        201,
        &[("content-type", "application/json")],
        r#"{"echo":"Bearer s3cret"}"#,
    ))
    .await;
    let stage = Props::reaching(&[&fake]).secret("acme/token", "s3cret").stage();
    let mut request = request("POST", &fake.url("/orders?page=1"));
    request.headers = [("x-a".to_owned(), "b".to_owned())].into();
    request.composed_headers = [
        ("Authorization".to_owned(), vec![text("Bearer "), secret("token")]),
        ("x-data".to_owned(), vec![text("{{secret:token}}")]),
    ]
    .into();
    request.body = Some(Json(json!({"n": 1})));
    request.idempotency_header = Some("Idempotency-Key".into());
    let (status, body) = responded(stage.perform(Effect::Http(request)).await);
    assert_eq!((status, body), (201, json!({"echo": "Bearer [secret]"})));

    let seen = fake.next().await;
    assert_eq!((seen.line.as_str(), seen.json()), ("POST /orders?page=1 HTTP/1.1", json!({"n": 1})));
    assert_eq!(
        (seen.header("authorization"), seen.header("x-a"), seen.header("content-type")),
        ("Bearer s3cret", "b", "application/json")
    );
    assert_eq!(
        (seen.header("x-data"), seen.header("accept-encoding")),
        ("{{secret:token}}", "identity")
    );
    let key: ReactionKey = "acme/run/run_1@3.0".parse().unwrap();
    assert_eq!(seen.header("idempotency-key"), key.message_id());
}

#[tokio::test]
async fn addresses_that_egress_does_not_name_are_never_connected_to() {
    let mut fake = Fake::answering(response(200, &[], "secret")).await;
    let port = fake.address.port();
    let stage = Props::default().stage();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://2130706433:{port}/"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://[fd00:ec2::254]/".into(),
        "http://10.1.2.3/".into(),
        "http://100.64.0.1/".into(),
        "http://224.0.0.1/".into(),
    ] {
        let (code, detail) = failed(stage.perform(effect("GET", &url)).await);
        assert_eq!(code, "egress_refused", "{url}: {detail}");
        assert!(detail.contains("egress.allow"), "{detail}");
    }
    for url in [
        format!("http://user:pw@127.0.0.1:{port}/"),
        "file:///etc/passwd".into(),
        "gopher://x/".into(),
        "not a url".into(),
    ] {
        assert_eq!(failed(stage.perform(effect("GET", &url)).await).0, "url_refused", "{url}");
    }
    assert!(!fake.was_called());
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_that_are_connected_to() {
    let mut fake = Fake::answering(response(200, &[], "ok")).await;
    let port = fake.address.port();
    let url = format!("http://service.test:{port}/");
    for answers in ["127.0.0.1", "10.0.0.8", "8.8.8.8 127.0.0.1", "::1", "169.254.169.254"] {
        let egress = Egress::default().with_resolver(Answers::new(&[answers]));
        let stage = Props {
            egress,
            ..Props::default()
        }
        .stage();
        let (code, detail) = failed(stage.perform(effect("GET", &url)).await);
        assert_eq!(code, "egress_refused", "{answers}");
        assert!(detail.contains("service.test") && !detail.contains("127.0.0.1"), "{detail}");
    }
    assert!(!fake.was_called());

    // The resolver turns to loopback after one answer: what is asked once is asked once, and what is asked again is judged again.
    let rebinding = Answers::new(&["127.0.0.1", "192.0.2.1"]);
    let egress = Egress::new(&[format!("service.test:{port}")])
        .unwrap()
        .with_resolver(rebinding.clone());
    let stage = Props {
        egress,
        ..Props::default()
    }
    .stage();
    assert_eq!(responded(stage.perform(effect("GET", &url)).await).0, 200);
    assert_eq!(rebinding.1.load(Ordering::SeqCst), 1);

    // Naming one port names no other.
    let egress = Egress::new(&["service.test:1"])
        .unwrap()
        .with_resolver(Answers::new(&["127.0.0.1"]));
    let stage = Props {
        egress,
        ..Props::default()
    }
    .stage();
    assert_eq!(failed(stage.perform(effect("GET", &url)).await).0, "egress_refused");
}

#[tokio::test]
async fn a_redirect_into_loopback_is_refused() {
    let mut inner = Fake::answering(response(200, &[], "inner")).await;
    for target in [inner.url("/admin"), format!("http://localhost:{}/", inner.address.port())] {
        let outer = Fake::answering(response(302, &[("location", &target)], "")).await;
        let (code, _) = failed(Props::reaching(&[&outer]).stage().perform(effect("GET", &outer.url("/"))).await);
        assert_eq!(code, "egress_refused");
    }
    assert!(!inner.was_called());
}

#[tokio::test]
async fn permitted_redirects_are_followed_a_few_times_without_secrets() {
    let mut inner = Fake::answering(response(200, &[], "\"arrived\"")).await;
    let outer = Fake::answering(response(307, &[("location", &inner.url("/there"))], "")).await;
    let stage = Props::reaching(&[&outer, &inner]).secret("acme/token", "s3cret").stage();
    let mut request = request("PUT", &outer.url("/"));
    request.headers = [("x-plain".to_owned(), "p".to_owned())].into();
    request.composed_headers = [("x-key".to_owned(), vec![secret("token")])].into();
    request.body = Some(Json(json!([1])));
    assert_eq!(responded(stage.perform(Effect::Http(request)).await), (200, json!("arrived")));
    let seen = inner.next().await;
    assert_eq!((seen.line.as_str(), seen.json()), ("PUT /there HTTP/1.1", json!([1])));
    assert_eq!((seen.header("x-key"), seen.header("x-plain")), ("", "p"));

    let mut circle = Fake::answering(response(302, &[("location", "/again")], "")).await;
    let (code, _) = failed(Props::reaching(&[&circle]).stage().perform(effect("GET", &circle.url("/"))).await);
    assert_eq!(code, "too_many_redirects");
    let mut hops = 0;
    while circle.was_called() {
        hops += 1;
    }
    assert_eq!(hops, REDIRECTS_MAX + 1);
}

#[tokio::test]
async fn which_statuses_are_repeated_depends_on_the_method() {
    for (status, get, post) in [
        (200, false, false),
        (404, false, false),
        (408, true, true),
        (429, true, true),
        (500, true, false),
        (503, true, false),
    ] {
        for (method, again) in [("GET", get), ("POST", post)] {
            let fake = Fake::answering(response(status, &[("retry-after", "3")], "{}")).await;
            let end = Props::reaching(&[&fake]).stage().perform(effect(method, &fake.url("/"))).await;
            match (again, status) {
                (true, _) => assert_eq!(retryable(end).2, Some(3_000), "{method} {status}"),
                (false, 500..) => assert_eq!(failed(end).0, format!("status_{status}"), "{method}"),
                (false, _) => assert_eq!(responded(end).0, status, "{method}"),
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_repeated_or_lost() {
    let dropping = Fake::start(|_, _| vec![]).await;
    let stage = Props::reaching(&[&dropping]).stage();
    let (code, detail, _) = retryable(stage.perform(effect("GET", &dropping.url("/path?token=s3cret"))).await);
    assert_eq!(code, "connection_lost");
    assert!(!detail.contains("s3cret") && !detail.contains("/path"), "{detail}");
    let why = lost(stage.perform(effect("POST", &dropping.url("/"))).await);
    assert!(why.contains("the connection was closed"), "{why}");

    let mut silent = Fake::start(|_, _| vec![Step::Hold]).await;
    let stage = Props::reaching(&[&silent]).stage();
    let impatient = |method: &str| {
        Effect::Http(HttpRequest {
            timeout_ms: Some(80),
            ..request(method, &silent.url("/"))
        })
    };
    let (get, post) = (impatient("GET"), impatient("POST"));
    assert_eq!(retryable(stage.perform(get).await).0, "timeout");
    let why = lost(stage.perform(post).await);
    assert_eq!(why, format!("no answer from {} within 80 ms", silent.address));
    silent.client_gone(std::time::Duration::from_secs(1)).await;

    // Nobody listens: nothing was sent, so anything may be repeated.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stage = Props {
        egress: Egress::new(&[closed.to_string()]).unwrap(),
        ..Props::default()
    }
    .stage();
    let (code, detail, _) = retryable(stage.perform(effect("POST", &format!("http://{closed}/?q=s3cret"))).await);
    assert_eq!(
        (code.as_str(), detail),
        ("connect", format!("no connection to {closed}: connection refused"))
    );
}

#[tokio::test]
async fn bad_requests_are_refused_before_anything_is_sent() {
    let mut fake = Fake::answering(response(200, &[], "")).await;
    let stage = Props::reaching(&[&fake])
        .secret("other/token", "theirs")
        .secret("acme/old", "ours")
        .secret("platform", "ours")
        .stage();
    let with = |name: &str, value: &str| {
        Effect::Http(HttpRequest {
            headers: [(name.to_owned(), value.to_owned())].into(),
            ..request("GET", &fake.url("/"))
        })
    };
    let naming = |name: &str| {
        Effect::Http(HttpRequest {
            composed_headers: [("x-key".to_owned(), vec![secret(name)])].into(),
            ..request("GET", &fake.url("/"))
        })
    };
    for (bad, expected) in [
        (naming("token"), "secret_not_found"),
        (naming("platform"), "secret_not_found"),
        (naming("other/token"), "secret_not_found"),
        (with("x-key", "Bearer {{secret:token}}"), "secret_ambiguous"),
        (with("Host", "internal"), "header_refused"),
        (with("x", "a\nb"), "header_refused"),
        (effect("TRACE", &fake.url("/")), "request_invalid"),
    ] {
        assert_eq!(failed(stage.perform(bad).await).0, expected);
    }
    assert!(!fake.was_called());
}
