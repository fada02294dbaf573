//! Hostile HTTP against the real server: the right 4xx with a problem, nothing changes, nothing panics.

mod any;
mod requests;

use quipu_runtime::kinds::Kinds;
use quipu_schemas::position::Cursor;
use quipu_tests::{
    caller::{Answer, Caller},
    office::{Office, path},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// The durable end of every partition.
async fn end(office: &Office) -> Value {
    let page = office.node().caller.get("/v1/ops/views").await.taken().body;
    page["partitions"]
        .as_array()
        .expect("partitions")
        .iter()
        .map(|row| row["end"].clone())
        .collect()
}

/// Every refusal is a problem document that says what to do, and nothing of it is a mistake of ours.
fn check(what: &str, answer: &Answer) {
    assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text);
    if answer.status >= 400 {
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}: {}", answer.text);
        assert_eq!(
            answer.body["status"].as_u64(),
            Some(u64::from(answer.status)),
            "{what}: {}",
            answer.text
        );
        assert!(
            !answer.code().is_empty() && !answer.body["detail"].as_str().unwrap_or_default().is_empty(),
            "{what}: {}",
            answer.text
        );
        assert!(!answer.header("x-correlation-id").is_empty(), "{what}");
        assert!(!answer.header("x-should-retry").is_empty(), "{what}");
    }
}

async fn post_text(caller: &Caller, at: &str, body: impl Into<String>) -> Answer {
    let request = caller
        .request(Method::POST, at)
        .header("content-type", "application/json")
        .body(body.into());
    caller.exchange(request).await.unwrap_or_else(|e| panic!("POST {at}: {e}"))
}

/// Every word of every kind, sent as a client would send a command.
fn words() -> impl Iterator<Item = (String, u16, &'static str)> {
    let kinds = Kinds::builtin();
    let words: Vec<(String, u16, &'static str)> = kinds
        .commands()
        .filter_map(|(kind, _)| Some((kinds.plural(kind).into_owned(), kinds.get(kind)?)))
        .flat_map(|(plural, handler)| handler.words().iter().map(move |word| format!("/v1/orgs/acme/{plural}/x/{word}")))
        .map(|at| (at, 404, "unknown_command"))
        .collect();
    assert!(words.len() > 10, "{words:?}");
    words.into_iter()
}

#[tokio::test]
async fn each_bad_input_gets_its_own_answer_and_changes_nothing() {
    let office = Office::open().await;
    office.room("desk", &[], 0).await;
    let before = end(&office).await;
    let post = format!("{}/post", path("conversation", "desk"));
    let deep = |n: usize| format!("{{\"body\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let big = format!("{{\"body\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let large = format!("{{\"body\":\"{}\"}}", "x".repeat(1024 * 1024 + 1));
    let huge_number = format!("{{\"body\":\"x\",\"priority\":{}}}", "9".repeat(400));
    let bodies: Vec<(&str, String, u16, &str, Option<&str>)> = vec![
        ("nothing that parses", "{".into(), 400, "malformed_json", Some("body")),
        ("trailing text", "{} {}".into(), 400, "malformed_json", Some("body")),
        ("a bare word", "nope".into(), 400, "malformed_json", Some("body")),
        ("an array", "[]".into(), 400, "body_not_object", Some("body")),
        ("null", "null".into(), 400, "body_not_object", Some("body")),
        ("deep nesting", deep(5_000), 400, "malformed_json", Some("body")),
        ("deep in a typed field", deep(100), 422, "invalid_command", Some("body")),
        ("a wrong type", r#"{"body":7}"#.into(), 422, "invalid_command", Some("body")),
        (
            "a wrong type inside",
            r#"{"body":"x","mentions":[7]}"#.into(),
            422,
            "invalid_command",
            Some("mentions[0]"),
        ),
        (
            "an id outside the grammar",
            r#"{"body":"x","message_id":"a b"}"#.into(),
            422,
            "invalid_command",
            Some("message_id"),
        ),
        (
            "an unknown field",
            r#"{"body":"x","bodi":"y"}"#.into(),
            422,
            "invalid_command",
            Some("bodi"),
        ),
        ("a missing field", "{}".into(), 422, "invalid_command", Some("body")),
        (
            "an unknown variant",
            r#"{"body":"x","priority":"urgent"}"#.into(),
            422,
            "invalid_command",
            Some("priority"),
        ),
        ("a huge number", huge_number, 422, "inexact_number", Some("priority")),
        (
            "a command over the limit",
            format!(
                "{{\"body\":\"x\",\"mentions\":[{}\"x\"]}}",
                format!("\"{}\",", "m".repeat(60)).repeat(4_000)
            ),
            413,
            "command_too_large",
            None,
        ),
        ("a body over the limit", big, 413, "body_too_large", None),
        ("no text at all", r#"{"body":""}"#.into(), 422, "empty_body", Some("body")),
    ];
    for (what, body, status, code, field) in bodies {
        let answer = post_text(&office.ada, &post, body).await;
        check(what, &answer);
        assert_eq!((answer.status, answer.code()), (status, code), "{what}: {}", answer.text);
        if field.is_some() {
            assert_eq!(answer.body["field"].as_str(), field, "{what}: {}", answer.text);
        }
        assert!(
            !answer.body["fix"].as_str().unwrap_or_default().is_empty(),
            "{what}: {}",
            answer.text
        );
    }
    let answer = post_text(&office.ada, &post, large).await;
    check("a message over the limit", &answer);
    assert_eq!(answer.status, 422, "{}", answer.text);

    let request = |method: Method, at: &str| office.ada.request(method, at);
    let long = "x".repeat(9_000);
    let paths: Vec<(String, u16, &str)> = vec![
        ("/v1/orgs/a%2Fb/conversations/desk/post".into(), 400, "bad_id"),
        ("/v1/orgs/acme/conversations/%00/post".into(), 400, "bad_id"),
        ("/v1/orgs/acme/conversations/%ff/post".into(), 400, "bad_path"),
        (format!("/v1/orgs/acme/conversations/{}/post", "x".repeat(65)), 400, "bad_id"),
        (format!("/v1/orgs/acme/conversations/{long}/post"), 414, "uri_too_long"),
        ("/v1/orgs/acme/robots/r/post".into(), 404, "unknown_kind"),
        ("/v1/orgs/acme/conversations/desk/explode".into(), 404, "unknown_command"),
        ("/v1/orgs/acme/conversations/desk/post?dry_run=1".into(), 400, "unknown_parameter"),
        ("/v1/orgs/_platform/orgs/_platform".into(), 403, "reserved_org"),
        ("/v1/orgs/acme/conversations/_x".into(), 422, "reserved_id"),
        ("/v1/orgs/acme/orgs/other".into(), 422, "wrong_org_stream"),
        ("/v1/nothing".into(), 404, "unknown_route"),
    ];
    for (at, status, code) in paths.into_iter().chain(words()) {
        let answer = post_text(&office.ada, &at, r#"{"type":"group"}"#).await;
        check(&at, &answer);
        // The org kind has other fields; what counts there is that the path is refused.
        assert_eq!(answer.status, status, "{at}: {}", answer.text);
        assert!(answer.code() == code, "{at}: {}", answer.text);
    }

    let headers: Vec<(&str, &str, u16, &str)> = vec![
        ("idempotency-key", "a b", 400, "bad_header"),
        ("idempotency-key", "", 400, "bad_header"),
        ("if-match", "7", 400, "bad_header"),
        ("if-match", "\"99999999999999999999999\"", 400, "bad_header"),
        ("if-match", "\"99\"", 412, "wrong_version"),
        ("if-none-match", "*", 412, "wrong_version"),
        ("x-env", "a b", 400, "bad_header"),
        ("x-data-class", "top", 400, "bad_header"),
        ("content-encoding", "gzip", 415, "unsupported_encoding"),
        ("host", "evil.example", 421, ""),
        ("origin", "https://evil.example", 403, ""),
    ];
    for (name, value, status, code) in headers {
        let answer = office
            .ada
            .exchange(request(Method::POST, &post).header(name, value).json(&json!({ "body": "x" })))
            .await
            .expect("an answer");
        check(name, &answer);
        assert!(
            answer.status == status || (code.is_empty() && (400..500).contains(&answer.status)),
            "{name}: {value}: {} {}",
            answer.status,
            answer.text
        );
        assert!(code.is_empty() || answer.code() == code, "{name}: {value}: {}", answer.text);
    }
    let plain = request(Method::POST, &post).header("content-type", "text/plain").body("{}");
    office
        .ada
        .exchange(plain)
        .await
        .expect("an answer")
        .refused(415, "unsupported_media_type");
    for method in [
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::from_bytes(b"EXPLODE").expect("a token"),
    ] {
        let answer = office.ada.exchange(request(method, &post)).await.expect("an answer");
        check("a method", &answer);
        assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    }
    let strangers = Caller::new(office.ada.base(), "not-the-token");
    strangers.post(&post, json!({ "body": "x" })).await.refused(401, "unauthenticated");

    // A cursor past the log's end was never given: waiting for it, or passing over what comes next, would hide a loss.
    let mut ahead: Cursor = office
        .ada
        .get(&path("conversation", "desk"))
        .await
        .taken()
        .header("quipu-position")
        .parse()
        .expect("a cursor");
    ahead.next[3] += 1_000;
    let reads: Vec<(String, u16)> = vec![
        ("/v1/orgs/acme/events?follow=false&from=nonsense".into(), 400),
        ("/v1/orgs/acme/events?follow=maybe".into(), 400),
        ("/v1/orgs/acme/events?follow=false&kind=a%20b".into(), 400),
        ("/v1/orgs/acme/conversations?limit=0".into(), 400),
        ("/v1/orgs/acme/conversations?limit=-1".into(), 400),
        ("/v1/orgs/acme/conversations?limit=1001".into(), 400),
        ("/v1/orgs/acme/conversations?after=%00%ff".into(), 400),
        ("/v1/orgs/acme/conversations?after=nonsense".into(), 400),
        ("/v1/orgs/acme/conversations?phase=flying".into(), 400),
        ("/v1/orgs/acme/conversations?min_position=p99999.0.0".into(), 400),
        ("/v1/orgs/acme/conversations?min_position=soon".into(), 400),
        ("/v1/orgs/acme/conversations?min_position=p0.18446744073709551615.0".into(), 400),
        (format!("/v1/orgs/acme/conversations?min_position={ahead}"), 400),
        (format!("/v1/orgs/acme/events?follow=false&from={ahead}"), 400),
        ("/v1/orgs/acme/conversations?limit=5&limit=6".into(), 400),
        (format!("{}/history?after=0.0", path("conversation", "desk")), 400),
        (
            format!("{}/history?after=1.99999999999999999999", path("conversation", "desk")),
            400,
        ),
        (format!("{}/state?version=-1", path("conversation", "desk")), 400),
        (format!("{}/state?version=18446744073709551615", path("conversation", "desk")), 404),
        (format!("{}/state?at=yesterday", path("conversation", "desk")), 400),
        (format!("{}/state?version=1&at=1", path("conversation", "desk")), 400),
        (format!("{}/commands/a%20b", path("conversation", "desk")), 400),
        (format!("{}/commands/never", path("conversation", "desk")), 404),
        (format!("{}/nothing", path("conversation", "desk")), 404),
        (path("conversation", "nobody"), 404),
        (format!("{}/history", path("conversation", "nobody")), 404),
        ("/v1/ops/outbox?status=lost".into(), 400),
    ];
    for (at, status) in reads {
        let answer = office.ada.get(&at).await;
        check(&at, &answer);
        assert_eq!(answer.status, status, "{at}: {}", answer.text);
    }
    for at in [
        "/v1/ops/outbox/nonsense/retry",
        "/v1/ops/outbox/acme%2Frun%2Fr@1.0/retry",
        "/v1/ops/outbox/acme%2Frun%2Fr@1.0/drop",
    ] {
        let answer = office.ada.post(at, json!({})).await;
        check(at, &answer);
        assert!((400..500).contains(&answer.status), "{at}: {}", answer.text);
    }
    for body in [
        json!({}),
        json!({ "stream": 7 }),
        json!({ "stream": "x" }),
        json!({ "stream": "acme/conversation/desk", "more": 1 }),
    ] {
        let answer = office.ada.post("/v1/ops/unpark", body).await;
        check("unpark", &answer);
        assert_eq!(answer.status, 422, "{}", answer.text);
    }
    assert_eq!(end(&office).await, before, "a refusal leaves nothing in the log");
    assert!(!office.node().log_text().contains("panicked"), "{}", office.node().log_tail());
}

/// Sends these bytes, and what comes back until the end.
async fn raw_exchange(address: std::net::SocketAddr, bytes: Vec<u8>) -> String {
    let talk = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(15)))
            .expect("a timeout");
        stream.write_all(&bytes).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut answer = Vec::new();
        // A reset is an answer too.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    talk.await.expect("the exchange")
}

#[tokio::test]
async fn bytes_that_are_not_http_leave_the_node_alive() {
    let office = Office::open().await;
    let before = end(&office).await;
    let header = format!("x-long: {}\r\n", "y".repeat(40_000));
    let many: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
    let token = std::fs::read_to_string(office.launch.data().join("token")).expect("the token");
    let post = |extra: &str, body: &str| {
        format!(
            "POST {}/post HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{extra}\r\n\r\n{body}",
            path("conversation", "x"),
            token.trim()
        )
    };
    let raw: Vec<Vec<u8>> = vec![
        b"\0\0\0\0".to_vec(),
        b"GET".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_vec(),
        format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{header}\r\n").into_bytes(),
        format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").into_bytes(),
        post("content-length: -1", "{}").into_bytes(),
        post("content-length: 99999999999999999999", "{}").into_bytes(),
        post("content-length: 5\r\ncontent-length: 6", "{\"a\":1}").into_bytes(),
        post("transfer-encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n").into_bytes(),
        post("transfer-encoding: chunked", "ffffffffffffffff\r\n{}").into_bytes(),
        post("content-length: 1000", "{\"body\": \"cut").into_bytes(),
    ];
    let address = office.node().address;
    for bytes in raw {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let answer = raw_exchange(address, bytes).await;
        let status = answer.split(' ').nth(1).and_then(|s| s.parse::<u16>().ok());
        assert!(status.is_none_or(|s| s < 500 || s == 505), "{shown:?}: {answer}");
    }
    // A proxy may take the line feed for a part of the value before it.
    for lone in [
        "GET /health HTTP/1.1\nhost: localhost\n\n",
        "GET /health HTTP/1.1\r\nhost: localhost\r\nx: y\nx-forwarded-for: z\r\n\r\n",
    ] {
        let answer = raw_exchange(address, lone.as_bytes().to_vec()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lone:?}: {answer}");
    }
    assert_eq!(end(&office).await, before);
    assert!(!office.node().log_text().contains("panicked"), "{}", office.node().log_tail());
}
