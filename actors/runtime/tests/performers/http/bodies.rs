//! Bodies of answers.

use super::{effect, request, responded, secret, shown};
use crate::{
    fake::{Fake, response},
    stage::{Props, failed},
};
use quipu_runtime::performers::AttemptEnd;
use quipu_schemas::{
    json::Json,
    limits::RESPONSE_KEEP_BYTES,
    reaction::{Effect, Outcome},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_large_text_is_cut_and_large_json_fails() {
    let perform = async |body: String, status: u16| {
        let fake = Fake::answering(response(status, &[], &body)).await;
        Props::reaching(&[&fake]).stage().perform(effect("GET", &fake.url("/"))).await
    };
    let long = 5 * RESPONSE_KEEP_BYTES;
    match perform("x".repeat(long), 200).await {
        AttemptEnd::Done(Outcome::Responded { body, full_bytes, .. }) => {
            let kept = shown(body.0).as_str().unwrap().len();
            assert!(kept <= RESPONSE_KEEP_BYTES && kept > RESPONSE_KEEP_BYTES / 2);
            assert_eq!(full_bytes, Some(long as u64));
        }
        other => panic!("{other:?}"),
    }
    let json = |n: usize| json!({"items": "x".repeat(n)}).to_string();
    for size in [RESPONSE_KEEP_BYTES + 1, long] {
        let (code, detail) = failed(perform(json(size), 200).await);
        assert!(
            code == "value_too_large" && detail.contains(&json(size).len().to_string()),
            "{code} {detail}"
        );
    }
    // The status says enough: a part of JSON is never kept as a text.
    let end = perform(json(long), 404).await;
    let full = json(long).len() as u64;
    assert!(
        matches!(&end, AttemptEnd::Done(Outcome::Responded { status: 404, body: Json(Value::Null), full_bytes: Some(bytes) }) if *bytes == full),
        "{end:?}"
    );
}

#[tokio::test]
async fn an_echoed_secret_is_blotted_however_it_is_spelt() {
    let key = "s3cr/et\"+=";
    let echoes = [
        r#"{"h":"s3cr\/et\"+="}"#,
        r#"{"h":"s3cr\u002fet\u0022\u002B="}"#,
        r#"{"s3cr%2Fet%22%2B%3D":1}"#,
        r#"{"inner":"{\"h\":\"s3cr\\\/et\\\"+=\"}"}"#,
        "you sent s3cr/et&quot;+=",
        "Basic dXNlcjpzM2NyL2V0Iis9",
    ];
    for echo in echoes {
        let fake = Fake::answering(response(200, &[], echo)).await;
        let stage = Props::reaching(&[&fake]).secret("acme/token", key).stage();
        let mut request = request("GET", &fake.url("/"));
        request.composed_headers = [("x-key".to_owned(), vec![secret("token")])].into();
        let (_, body) = responded(stage.perform(Effect::Http(request)).await);
        let kept = body.to_string();
        assert!(
            kept.contains("[secret]") && !kept.contains("s3cr") && !kept.contains("zM2NyL2V0"),
            "{echo}: {kept}"
        );
    }
}

#[tokio::test]
async fn an_encoding_or_charset_that_is_not_known_fails_by_name() {
    for (header, value, code) in [
        ("content-encoding", "br", "encoding_unsupported"),
        ("content-encoding", "gzip", "encoding_damaged"),
        ("content-type", "text/plain; charset=klingon", "charset_unsupported"),
    ] {
        let fake = Fake::answering(response(200, &[(header, value)], "xyz")).await;
        let (found, detail) = failed(Props::reaching(&[&fake]).stage().perform(effect("GET", &fake.url("/"))).await);
        assert!(
            found == code && detail.contains(value.rsplit('=').next().unwrap()),
            "{found}: {detail}"
        );
    }
    let latin = [
        &b"HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: 2\r\ncontent-type: text/plain; charset=iso-8859-1\r\n\r\n"[..],
        b"\xfc\xdf",
    ]
    .concat();
    let fake = Fake::answering(latin).await;
    let (_, body) = responded(Props::reaching(&[&fake]).stage().perform(effect("GET", &fake.url("/"))).await);
    assert_eq!(body, json!("üß"));
}
