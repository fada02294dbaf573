mod keeping;

use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_schemas::limits::{SIGNING_KEY_MS, TOKEN_LIFETIME_MAX_MS};

const NOW: Millis = 40 * SIGNING_KEY_MS + 30 * 24 * 3_600_000;
const AT: u64 = NOW / 1_000;
const ISSUER: &str = "https://quipu.example";

fn config(algorithm: Algorithm) -> TokensConfig {
    TokensConfig {
        issuer: ISSUER.into(),
        algorithm,
        series: 1,
        ..TokensConfig::default()
    }
}

fn tokens() -> Tokens {
    Tokens::new(&config(Algorithm::Es256), Arc::new(Keyring::ephemeral(7)))
}

fn claims() -> AccessClaims {
    AccessClaims {
        aud: ISSUER.into(),
        home: subject_of("acme/svc_1").unwrap(),
        org: Some("acme".parse().unwrap()),
        sid: "ses_1".parse().unwrap(),
        jti: "tok_1".into(),
        scope: scope_of("cap:run.start role:viewer").unwrap(),
        client_id: "acme.app_1".into(),
        act: vec![subject_of("acme/bot").unwrap(), subject_of("acme/helper").unwrap()],
        amr: vec!["pwd".into()],
        auth_time: Some(AT),
        iat: AT,
        exp: AT + 900,
    }
}

/// A token with this header and payload, signed by the node's own key.
fn signed(tokens: &Tokens, header: &Value, payload: &[u8]) -> String {
    let text = to_be_signed(header, payload);
    let key = tokens.keys.signing(NOW).unwrap();
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), key.pair(), jsonwebtoken::Algorithm::ES256).unwrap();
    format!("{text}.{signature}")
}

fn to_be_signed(header: &Value, payload: &[u8]) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(payload))
}

fn header(tokens: &Tokens) -> Value {
    json!({ "alg": "ES256", "typ": "at+jwt", "kid": tokens.keys.signing(NOW).unwrap().id() })
}

/// The header with some members changed, and others taken out by `null`.
fn with(mut header: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            header.as_object_mut().unwrap().remove(name);
        } else {
            header[name] = value.clone();
        }
    }
    header
}

fn payload() -> Value {
    serde_json::to_value(Wire::of(&claims(), ISSUER)).unwrap()
}

fn refused(tokens: &Tokens, text: &str) -> TokenRefused {
    tokens.read(text, For::Node, NOW).expect_err("this token opens nothing")
}

/// A key as a client reads it from the published ones.
fn client_key(listed: &Value) -> ClientKey {
    let bare = with(listed.clone(), &json!({ "kid": null, "alg": null, "use": null }));
    ClientKey::of(&serde_json::from_value(bare).unwrap()).unwrap()
}

/// What a token signed by the right key is refused for, that says something else.
fn saying(changes: &Value) -> TokenRefused {
    let tokens = tokens();
    let text = signed(&tokens, &header(&tokens), with(payload(), changes).to_string().as_bytes());
    refused(&tokens, &text)
}

#[test]
fn what_is_issued_is_read_back() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let tokens = Tokens::new(&config(algorithm), Arc::new(Keyring::ephemeral(7)));
        let text = tokens.issue(&claims(), NOW).unwrap();
        for _ in 0..2 {
            assert_eq!(*tokens.read(&text, For::Node, NOW).unwrap(), claims());
        }
        let person = AccessClaims {
            home: subject_of("usr_1").unwrap(),
            org: None,
            scope: vec![],
            act: vec![],
            amr: vec![],
            auth_time: None,
            ..claims()
        };
        let text = tokens.issue(&person, NOW).unwrap();
        assert_eq!(*tokens.read(&text, For::Node, NOW).unwrap(), person);
        let jwks = tokens.jwks(NOW).unwrap();
        let listed = jwks["keys"][0].clone();
        let jws = Jws::parse(&text).unwrap();
        assert_eq!(
            (jws.header.alg, listed["alg"].as_str()),
            (algorithm.of_tokens(), Some(algorithm.name()))
        );
        assert_eq!(jws.header.kid.as_deref(), listed["kid"].as_str());
        assert!(jws.verified::<Value>(&client_key(&listed)).is_ok());
        assert_eq!(client_key(&listed).jwk().thumbprint(), listed["kid"]);
        assert!(listed.get("d").is_none(), "the private half is published");
    }
}

#[test]
fn another_way_of_signing_is_refused() {
    let tokens = tokens();
    let own = payload().to_string();
    let text = |changes: Value| signed(&tokens, &with(header(&tokens), &changes), own.as_bytes());
    for alg in ["HS256", "RS256", "PS512", "EdDSA", "ES384"] {
        assert_eq!(
            refused(&tokens, &text(json!({ "alg": alg }))),
            TokenRefused::WrongSignature,
            "{alg}"
        );
    }
    for alg in ["none", "None", "NONE", "es256", "ES256 ", ""] {
        assert_eq!(refused(&tokens, &text(json!({ "alg": alg }))), TokenRefused::Unreadable, "{alg}");
    }
    assert_eq!(refused(&tokens, &text(json!({ "alg": null }))), TokenRefused::Unreadable);
    assert_eq!(refused(&tokens, &text(json!({ "alg": 7 }))), TokenRefused::Unreadable);
    // Nothing stands where the signature should.
    let header = with(header(&tokens), &json!({ "alg": "none" }));
    let unsigned = to_be_signed(&header, own.as_bytes());
    assert_eq!(refused(&tokens, &format!("{unsigned}.")), TokenRefused::Unreadable);
    let unsigned = to_be_signed(&self::header(&tokens), own.as_bytes());
    assert_eq!(refused(&tokens, &format!("{unsigned}.")), TokenRefused::WrongSignature);
    assert_eq!(refused(&tokens, &unsigned), TokenRefused::Unreadable);
}

/// The public half is public: as the secret of an HMAC everybody could sign with it.
#[test]
fn the_public_key_is_no_secret_to_sign_with() {
    let tokens = tokens();
    let jwk = tokens.jwks(NOW).unwrap()["keys"][0].clone();
    let ClientKey::P256(point) = client_key(&jwk) else {
        panic!("not a P-256 key: {jwk}")
    };
    for secret in [point.to_vec(), jwk.to_string().into_bytes(), jwk["x"].as_str().unwrap().into()] {
        let header = with(header(&tokens), &json!({ "alg": "HS256" }));
        let text = to_be_signed(&header, payload().to_string().as_bytes());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let tag = ring::hmac::sign(&key, text.as_bytes());
        let text = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(refused(&tokens, &text), TokenRefused::WrongSignature);
    }
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let (tokens, thief) = (tokens(), Tokens::new(&config(Algorithm::Es256), Arc::new(Keyring::ephemeral(8))));
    let jwk = thief.jwks(NOW).unwrap()["keys"][0].clone();
    let own = payload().to_string();
    for brought in [
        json!({ "jku": "https://thief.example/jwks" }),
        json!({ "jwk": jwk }),
        json!({ "x5u": "https://thief.example/chain" }),
        json!({ "x5c": ["MII="] }),
        json!({ "x5t": "abc" }),
        json!({ "crit": ["exp"] }),
        json!({ "cty": "JWT" }),
        json!({ "b64": false }),
    ] {
        for signer in [&thief, &tokens] {
            let text = signed(signer, &with(header(&tokens), &brought), own.as_bytes());
            assert_eq!(refused(&tokens, &text), TokenRefused::Unreadable, "{brought}");
        }
    }
    // Its own name, another one's, a path, a query.
    for kid in [jwk["kid"].as_str().unwrap(), "../../dev/null", "' OR 1=1 --", "", "0"] {
        let text = signed(&thief, &with(header(&tokens), &json!({ "kid": kid })), own.as_bytes());
        assert_eq!(refused(&tokens, &text), TokenRefused::UnknownKey, "{kid}");
    }
    let text = signed(&thief, &header(&tokens), own.as_bytes());
    assert_eq!(refused(&tokens, &text), TokenRefused::WrongSignature);
    let text = signed(&tokens, &with(header(&tokens), &json!({ "kid": null })), own.as_bytes());
    assert_eq!(refused(&tokens, &text), TokenRefused::UnknownKey);
}

#[test]
fn each_changed_letter_is_refused() {
    let tokens = tokens();
    let text = tokens.issue(&claims(), NOW).unwrap();
    tokens.read(&text, For::Node, NOW).unwrap();
    for at in (0..text.len()).step_by(7).chain(text.len() - 3..text.len()) {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(tokens.read(&changed, For::Node, NOW).is_err(), "letter {at}");
    }
    for other in [
        format!("{text}="),
        format!("{text} "),
        format!(".{text}"),
        format!("{text}."),
        text.to_uppercase(),
    ] {
        assert!(tokens.read(&other, For::Node, NOW).is_err(), "{other}");
    }
}

#[test]
fn times_are_numbers_and_end_to_the_second() {
    assert_eq!(saying(&json!({ "exp": (AT + 900).to_string() })), TokenRefused::Unreadable);
    assert_eq!(saying(&json!({ "exp": -1 })), TokenRefused::Unreadable);
    assert_eq!(saying(&json!({ "exp": 1e300 })), TokenRefused::Unreadable);
    assert_eq!(saying(&json!({ "exp": null })), TokenRefused::Unreadable);
    assert_eq!(saying(&json!({ "iat": "now" })), TokenRefused::Unreadable);
    assert_eq!(saying(&json!({ "nbf": AT + 1 })), TokenRefused::NotYet);
    // Nobody gets one that lives longer than any of ours.
    assert_eq!(
        saying(&json!({ "exp": AT + TOKEN_LIFETIME_MAX_MS / 1_000 + 1 })),
        TokenRefused::NotYet
    );
    let tokens = tokens();
    let text = tokens.issue(&claims(), NOW).unwrap();
    let at = |ms: Millis| tokens.read(&text, For::Node, ms).map(|_| ());
    let end = (AT + 900) * 1_000;
    assert_eq!(
        (at(end - 1), at(end), at(end + 1_000)),
        (Ok(()), Err(TokenRefused::Expired), Err(TokenRefused::Expired))
    );
}

#[test]
fn tokens_of_others_and_for_others_are_refused() {
    assert_eq!(saying(&json!({ "iss": "https://quipu.example.evil" })), TokenRefused::OtherIssuer);
    assert_eq!(saying(&json!({ "iss": "https://quipu.example/" })), TokenRefused::OtherIssuer);
    assert_eq!(saying(&json!({ "iss": [ISSUER] })), TokenRefused::Unreadable);
    assert_eq!(saying(&json!({ "aud": "https://else.example" })), TokenRefused::OtherAudience);
    assert_eq!(
        saying(&json!({ "aud": ["https://else.example", ISSUER] })),
        TokenRefused::Unreadable
    );
    assert_eq!(saying(&json!({ "aud": null })), TokenRefused::Unreadable);
    let tokens = tokens();
    let elsewhere = AccessClaims {
        aud: "https://else.example".into(),
        ..claims()
    };
    let text = tokens.issue(&elsewhere, NOW).unwrap();
    assert_eq!(refused(&tokens, &text), TokenRefused::OtherAudience);
    assert!(tokens.read(&text, For::Audience("https://else.example"), NOW).is_ok());
    assert!(tokens.read(&text, For::Anybody, NOW).is_ok());
}

#[test]
fn only_an_access_token_is_one() {
    let tokens = tokens();
    let own = payload().to_string();
    for typ in [
        json!("JWT"),
        json!("AT+JWT"),
        json!("application/at+jwt"),
        json!("logout+jwt"),
        Value::Null,
    ] {
        let text = signed(&tokens, &with(header(&tokens), &json!({ "typ": typ })), own.as_bytes());
        assert_eq!(refused(&tokens, &text), TokenRefused::OtherType, "{typ}");
    }
    let identity = IdClaims {
        client_id: ISSUER.into(),
        home: subject_of("usr_1").unwrap(),
        sid: "ses_1".parse().unwrap(),
        nonce: Some("n".into()),
        amr: vec!["pwd".into()],
        auth_time: AT,
        iat: AT,
        exp: AT + 900,
    };
    let text = tokens.issue_identity(&identity, NOW).unwrap();
    assert_eq!(refused(&tokens, &text), TokenRefused::OtherType);
    assert_eq!(tokens.read(&text, For::Anybody, NOW).err(), Some(TokenRefused::OtherType));
}

#[test]
fn tokens_out_of_bounds_are_refused() {
    let tokens = tokens();
    let long = with(payload(), &json!({ "jti": "x".repeat(TOKEN_MAX_BYTES) })).to_string();
    assert_eq!(
        refused(&tokens, &signed(&tokens, &header(&tokens), long.as_bytes())),
        TokenRefused::TooLong
    );
    // A token in a token, with and without saying so.
    let inner = tokens.issue(&claims(), NOW).unwrap();
    assert_eq!(
        refused(&tokens, &signed(&tokens, &header(&tokens), inner.as_bytes())),
        TokenRefused::Unreadable
    );
    let encrypted = format!("{inner}.e30.e30");
    assert_eq!(refused(&tokens, &encrypted), TokenRefused::Unreadable);
    // Objects within objects, without end.
    let mut actor = json!({ "sub": "acme/bot" });
    for _ in 0..5 {
        actor = json!({ "sub": "acme/bot", "act": actor });
    }
    assert_eq!(saying(&json!({ "act": actor })), TokenRefused::Unreadable);
    let deep = format!("{{\"iss\":{}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    assert_eq!(
        refused(&tokens, &signed(&tokens, &header(&tokens), deep.as_bytes())),
        TokenRefused::Unreadable
    );
    for text in ["", ".", "..", "...", "a.b.c", "e30.e30.e30", "\u{e9}.\u{e9}.\u{e9}"] {
        assert_eq!(refused(&tokens, text), TokenRefused::Unreadable, "{text}");
    }
    // The same name twice: which of them counts must not be a question.
    let twice = payload().to_string().replacen('{', "{\"sub\":\"usr_9\",", 1);
    assert_eq!(
        refused(&tokens, &signed(&tokens, &header(&tokens), twice.as_bytes())),
        TokenRefused::Unreadable
    );
}

#[test]
fn subjects_and_scopes_are_within_their_grammar() {
    for sub in ["_platform/usr_1", "acme/usr_1", "bootstrap", "_kernel", "acme/a/b", "", "acme/"] {
        assert_eq!(saying(&json!({ "sub": sub })), TokenRefused::Unreadable, "{sub}");
    }
    for scope in ["", " ", "everything", "cap:*", "cap:run.start admin"] {
        assert_eq!(saying(&json!({ "scope": scope })), TokenRefused::Unreadable, "{scope}");
    }
    assert_eq!(
        scope_text(&scope_of("openid cap:run.start offline_access cap:run.start").unwrap()),
        "offline_access openid cap:run.start"
    );
    assert_eq!(scope_of("cap:run.start write"), Err(BadScope::Word("write".into())));
    let many: Vec<String> = (0..65).map(|n| format!("cap:run.v{n}")).collect();
    assert_eq!(scope_of(&many.join(" ")), Err(BadScope::TooMany));
}

/// Signing happens on the threads that serve requests: it must stay arithmetic.
#[test]
fn signing_takes_far_less_than_a_millisecond() {
    let tokens = tokens();
    tokens.issue(&claims(), NOW).unwrap();
    let mut took: Vec<_> = (0..200)
        .map(|_| {
            let begun = std::time::Instant::now();
            tokens.issue(&claims(), NOW).unwrap();
            begun.elapsed()
        })
        .collect();
    took.sort();
    println!("signing takes {:?} at the median, {:?} at best", took[100], took[0]);
    assert!(took[100] < std::time::Duration::from_millis(2), "{:?}", took[100]);
}
