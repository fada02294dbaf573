use super::*;
use quipu_kinds::callback::{CallbackSecret, CallbackTarget, HmacAlgorithm};
use quipu_schemas::{ids::Kind, json::Json};
use serde_json::json;

/// The published example of the reference libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const TIME: u64 = 1_614_265_330;

fn open(scheme: CallbackScheme, delivery_id: DeliveryId) -> Open {
    Open {
        name: "Orders".into(),
        scheme,
        generation: 1,
        secret: CallbackSecret::Name(EntityId::from_static("hooks")),
        old: None,
        principal: quipu_schemas::ids::PrincipalId::from_static("svc"),
        target: CallbackTarget {
            kind: Kind::CONVERSATION,
            id: Some("=body.room".into()),
            command: "post".into(),
        },
        mapping: Json(json!({ "body": "=body.text", "list": ["=delivery.id", "plain", 1], "from": "=headers['x-from']" })),
        delivery_id,
    }
}
fn standard() -> Open {
    open(CallbackScheme::StandardWebhooks, DeliveryId::Header("webhook-id".into()))
}
fn headers(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}
fn published() -> Vec<(String, Vec<u8>)> {
    headers(&[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", SIGNATURE),
    ])
}
fn taken(callback: &Open, secrets: &[&str], headers: &[(String, Vec<u8>)], body: &[u8], seconds: u64) -> Option<Delivered> {
    let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    let arrived = Arrived {
        headers,
        body,
        now: seconds * 1_000,
    };
    verified(callback, &secrets, &arrived)
}

#[test]
fn the_published_example_is_taken_within_its_window() {
    let (callback, headers) = (standard(), published());
    for seconds in [TIME - 300, TIME, TIME + 300] {
        assert!(taken(&callback, &[SECRET], &headers, BODY, seconds).is_some(), "{seconds}");
    }
    assert!(
        taken(&callback, &["whsec_AAAA", SECRET], &headers, BODY, TIME).is_some(),
        "either of two"
    );
    for seconds in [TIME - 301, TIME + 301] {
        assert_eq!(taken(&callback, &[SECRET], &headers, BODY, seconds), None, "{seconds}");
    }
    for secrets in [&[][..], &["whsec_AAAA"], &["whsec_"], &["whsec_!!"]] {
        assert_eq!(taken(&callback, secrets, &headers, BODY, TIME), None, "{secrets:?}");
    }
    assert_eq!(
        taken(&callback, &[SECRET], &headers, br#"{"test": 2432232315}"#, TIME),
        None,
        "one byte"
    );
}

#[test]
fn what_says_two_things_is_not_taken() {
    let callback = standard();
    for (at, name) in ["webhook-id", "webhook-timestamp", "webhook-signature"].iter().enumerate() {
        let mut twice = published();
        twice.push(twice[at].clone());
        assert_eq!(taken(&callback, &[SECRET], &twice, BODY, TIME), None, "{name} twice");
        let mut without = published();
        without.remove(at);
        assert_eq!(taken(&callback, &[SECRET], &without, BODY, TIME), None, "without {name}");
    }
    // The same bytes are signed when the parts are cut elsewhere.
    let shifted = headers(&[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", SIGNATURE),
    ]);
    assert_eq!(taken(&callback, &[SECRET], &shifted, BODY, TIME), None);
    for time in ["+1614265330", "1614265330 ", "", "1e9", "99999999999999999999"] {
        let mut odd = published();
        odd[1].1 = time.as_bytes().to_vec();
        assert_eq!(taken(&callback, &[SECRET], &odd, BODY, TIME), None, "{time}");
    }
}

#[test]
fn githubs_published_example_and_other_hmacs_are_taken() {
    // From GitHub's documentation.
    let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
    let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let github = open(CallbackScheme::Github, DeliveryId::Header("x-github-delivery".into()));
    let signature = format!("sha256={hex}");
    let sent = headers(&[("x-github-delivery", "72d3162e"), ("x-hub-signature-256", &signature)]);
    assert!(taken(&github, &[secret], &sent, body, 0).is_some());
    assert_eq!(taken(&github, &["another"], &sent, body, 0), None);
    let bare = headers(&[("x-github-delivery", "72d3162e"), ("x-hub-signature-256", hex)]);
    assert_eq!(taken(&github, &[secret], &bare, body, 0), None, "without its prefix");

    let hmac = |encoding| HmacScheme {
        header: "X-Signature".into(),
        algorithm: HmacAlgorithm::Sha256,
        encoding,
        prefix: String::new(),
    };
    let by_hex = open(CallbackScheme::Hmac(hmac(SignatureEncoding::Hex)), DeliveryId::Signed);
    let sent = headers(&[("x-signature", &hex.to_uppercase())]);
    let first = taken(&by_hex, &[secret], &sent, body, 0).unwrap();
    let again = headers(&[("x-signature", hex), ("x-other", "1")]);
    assert_eq!(
        taken(&by_hex, &[secret], &again, body, 0),
        Some(first),
        "what is signed is the same delivery"
    );
    let by_base64 = open(CallbackScheme::Hmac(hmac(SignatureEncoding::Base64)), DeliveryId::Signed);
    let sent = headers(&[("x-signature", "dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=")]);
    assert!(taken(&by_base64, &[secret], &sent, body, 0).is_some());
}

fn comes_to(callback: &Open, pairs: &[(&str, &str)], body: &[u8]) -> Result<Mapped, Unmapped> {
    let headers = headers(pairs);
    let arrived = Arrived {
        headers: &headers,
        body,
        now: 0,
    };
    mapped(callback, &arrived, &Delivered("id:d1".into()))
}

#[test]
fn a_mapping_picks_what_the_command_takes() {
    let from = [("x-from", "shop"), ("webhook-timestamp", "1")];
    let body = br#"{"room": "c1", "text": "hello", "more": {"large": 1}}"#;
    let (id, fields) = comes_to(&standard(), &from, body).unwrap();
    assert_eq!(id, Some(EntityId::from_static("c1")));
    assert_eq!(fields, json!({ "body": "hello", "list": ["d1", "plain", 1], "from": "shop" }));
    // Headers that differ from one attempt to the next do not make another delivery.
    let mut callback = standard();
    callback.mapping = Json(json!({ "at": "=headers['webhook-timestamp']" }));
    assert!(matches!(comes_to(&callback, &from, body), Err(Unmapped::Expression { .. })));
}

#[test]
fn what_does_not_fit_the_mapping_is_named() {
    let from = [("x-from", "shop")];
    let code = |result: Result<Mapped, Unmapped>| result.map_err(|error| (error.problem().status, error.problem().field)).unwrap_err();
    assert_eq!(code(comes_to(&standard(), &from, b"{")), (422, Some("body".into())));
    assert_eq!(
        code(comes_to(&standard(), &from, br#"{"room": "a b", "text": ""}"#)),
        (422, Some("target.id".into()))
    );
    assert_eq!(
        code(comes_to(&standard(), &from, br#"{"room": "c1"}"#)),
        (422, Some("mapping.body".into()))
    );
    let large = format!(r#"{{"room": "c1", "text": "{}"}}"#, "x".repeat(CALLBACK_PICKED_MAX_BYTES));
    assert_eq!(code(comes_to(&standard(), &from, large.as_bytes())).0, 413);
    let mut picks_little = standard();
    picks_little.mapping = Json(json!({ "size": "=size(body.text)" }));
    assert!(
        comes_to(&picks_little, &from, large.as_bytes()).is_ok(),
        "what is not picked may be larger"
    );
}

#[test]
fn a_command_id_is_of_one_callback_and_delivery() {
    let id = |callback: &str, delivery: &str| Delivered(delivery.into()).command_id(&callback.parse().unwrap());
    assert_eq!(id("acme/callback/a", "id:1"), id("acme/callback/a", "id:1"));
    for (callback, delivery) in [
        ("acme/callback/b", "id:1"),
        ("other/callback/a", "id:1"),
        ("acme/callback/a", "id:2"),
        ("acme/callback/a", "body:1"),
    ] {
        assert_ne!(id("acme/callback/a", "id:1"), id(callback, delivery));
    }
}
