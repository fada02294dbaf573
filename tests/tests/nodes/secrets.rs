//! Secrets in every wrong place of a request: neither an answer nor a log line repeats them, at the most talkative level.

use quipu_tests::office::{Office, path};
use reqwest::Method;
use serde_json::json;

/// What is looked for, with how each secret is recognised.
const KEY: &str = "qpk_acme.key_01.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4deadbeef";
const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl";
/// Codes of letters: to verify an address, to reset a password, and of an invite.
const CODES: [&str; 3] = [
    "qpv__platform.usr_01m8qq.adr_01m8qq.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4deadbeef",
    "qpw__platform.usr_01m8qq.ask_01m8qq.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4deadbeef",
    "qpi_acme.inv_01m8qq.ask_01m8qq.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4deadbeef",
];
const PASSWORD: &str = "hunter2-Swordfish";

fn requests(office: &Office, secret: &str) -> Vec<(String, reqwest::RequestBuilder)> {
    let ada = &office.ada;
    let talk = path("conversation", "c");
    let post = |at: &str, body: String| ada.request(Method::POST, at).header("content-type", "application/json").body(body);
    let mut all = vec![
        ("path", ada.request(Method::GET, &format!("/v1/{secret}"))),
        ("kind", ada.request(Method::GET, &format!("/v1/orgs/acme/{secret}"))),
        ("org", ada.request(Method::GET, &format!("/v1/orgs/{secret}/stats"))),
        ("id", post(&format!("/v1/orgs/acme/conversations/{secret}"), "{}".into())),
        ("command", post(&format!("{talk}/{secret}"), "{}".into())),
        ("part", ada.request(Method::GET, &format!("{talk}/{secret}"))),
        ("receipt", ada.request(Method::GET, &format!("{talk}/commands/{secret}-{secret}"))),
        ("code", ada.request(Method::GET, &format!("/docs/problems/{secret}"))),
        ("parameter", ada.request(Method::GET, &format!("{talk}/messages?{secret}=1"))),
        ("value", ada.request(Method::GET, &format!("{talk}/messages?limit={secret}"))),
        ("query", ada.request(Method::GET, &format!("{talk}/messages?access_token={secret}"))),
        ("field", post(&format!("{talk}/post"), json!({ secret: "x" }).to_string())),
        (
            "text",
            post(&format!("{talk}/post"), json!({ "body": 1, "reply_to": secret }).to_string()),
        ),
        (
            "malformed",
            post(&format!("{talk}/post"), format!("{{\"password\":\"{secret}\", nonsense")),
        ),
        (
            "nested",
            post(&format!("{talk}/post"), json!({ "password": { "token": [secret] } }).to_string()),
        ),
        (
            "type",
            ada.request(Method::POST, &format!("{talk}/post"))
                .header("content-type", secret)
                .body("{}"),
        ),
    ];
    for header in [
        "idempotency-key",
        "x-request-id",
        "x-correlation-id",
        "x-trace-id",
        "x-org-id",
        "x-service-id",
        "x-data-class",
        "if-match",
        "traceparent",
        "origin",
        "cookie",
        "x-api-key",
        "authorization",
    ] {
        let request = post(&format!("{talk}/post"), json!({ "body": "hello" }).to_string());
        all.push((header, request.header(header, secret)));
    }
    all.into_iter().map(|(place, request)| (place.to_owned(), request)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_and_no_log_line_repeats_a_secret() {
    let office = Office::open_with(|launch| launch.set("logging.level", "trace").set("logging.format", "json")).await;
    office
        .ada
        .post(&path("conversation", "c"), json!({ "type": "group" }))
        .await
        .taken();
    let mut asked = 0;
    for secret in [KEY, JWT].into_iter().chain(CODES) {
        for (place, request) in requests(&office, secret) {
            let answer = office.ada.exchange(request).await.unwrap_or_else(|e| panic!("{place}: {e}"));
            assert!(answer.status < 500, "{place}: {} {}", answer.status, answer.text);
            let told = format!("{} {:?}", answer.text, answer.headers);
            assert!(!told.contains(secret), "{place}: {told}");
            asked += 1;
        }
    }
    // What is known by its name alone.
    for (place, request) in [
        ("query", office.ada.request(Method::GET, &format!("/nowhere?password={PASSWORD}"))),
        (
            "basic",
            office
                .ada
                .request(Method::GET, "/v1/orgs/acme/stats")
                .header("proxy-authorization", format!("Basic {PASSWORD}")),
        ),
        (
            "body",
            office
                .ada
                .request(Method::POST, "/nowhere")
                .json(&json!({ "client_secret": PASSWORD })),
        ),
    ] {
        let answer = office.ada.exchange(request).await.unwrap_or_else(|e| panic!("{place}: {e}"));
        assert!(!answer.text.contains(PASSWORD), "{place}: {}", answer.text);
        asked += 1;
    }
    let log = office.node().log_text();
    assert!(
        log.lines().filter(|line| line.contains("request answered")).count() >= asked,
        "the node tells of each request"
    );
    let token = std::fs::read_to_string(office.launch.data().join("token")).expect("the node's token");
    for secret in [KEY, JWT, PASSWORD, token.trim()].into_iter().chain(CODES) {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a log line holds a secret");
    }
    // Nothing of them is kept either: ids are stored.
    let history = office.ada.get(&format!("{}/history", path("conversation", "c"))).await.taken();
    assert!(!history.text.contains(KEY) && !history.text.contains(JWT), "{}", history.text);
}
