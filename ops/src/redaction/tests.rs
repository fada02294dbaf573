use super::*;
use serde_json::json as j;

const KEY: &str = "qpk_acme.key_01.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4deadbeef";
const TOKEN: &str = "qp_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF";
const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl";
const SECRET: &str = "hunter2-Swordfish";

#[test]
fn credentials_are_known_by_their_form_wherever_they_stand() {
    let pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----";
    let escaped = pem.replace('\n', "\\n");
    for secret in [KEY, TOKEN, JWT, pem, &escaped, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        for (before, behind) in [
            ("", ""),
            ("no such path: /x/", "?y=1"),
            ("`", "`"),
            ("a\\n", "\\nb"),
            ("%22", "%22"),
            ("(", ")"),
            ("x=", "&z=1"),
        ] {
            let clean = text(&format!("{before}{secret}{behind}")).into_owned();
            assert_eq!(clean, format!("{before}{MARK}{behind}"));
        }
        assert!(holds_credential(&format!("id-{secret}")), "{secret}");
    }
    assert_eq!(text("-----BEGIN PRIVATE KEY-----\nMHcC"), MARK, "one that was cut");
    let public = "-----BEGIN CERTIFICATE-----\nMHcC\n-----END CERTIFICATE-----";
    assert_eq!(text(public), public);
}

#[test]
fn values_are_known_by_the_names_of_their_fields() {
    for line in [
        format!("GET /x?token={SECRET}&page=2"),
        format!("{{\"password\":\"{SECRET}\",\"page\":2}}"),
        format!("{{\"password\": \"{SECRET}\"}}"),
        format!("{{\"message\":\"{{\\\"client_secret\\\":\\\"{SECRET}\\\"}}\"}}"),
        format!("{{\"m\":\"{{\\\"m\\\":\\\"{{\\\\\\\"refresh_token\\\\\\\":\\\\\\\"{SECRET}\\\\\\\"}}\\\"}}\"}}"),
        format!("Login {{ user: \"ada\", password: \"{SECRET}\" }}"),
        format!("Login {{ password: Some(\"{SECRET}\") }}"),
        format!("Authorization: Bearer {SECRET}"),
        format!("authorization=Bearer {SECRET} status=401"),
        format!("Cookie: a=1; session={SECRET}"),
        format!("\"Set-Cookie\": \"__Host-session={SECRET}; Path=/\""),
        format!("bearer {SECRET}"),
        format!("Basic {SECRET}"),
        format!("api_key={SECRET}"),
        format!("X-Api-Key: {SECRET}"),
        format!("apiKey=\"{SECRET}\""),
        format!("old_password={SECRET}"),
        format!("{{\"private_key\":{{\"d\":\"{SECRET}\"}}}}"),
        format!("{{\"token\":[\"{SECRET}\",1]}}"),
        format!("{{\"password\":\"with \\\" a quote {SECRET}\"}}"),
    ] {
        let clean = text(&line);
        assert!(!clean.contains(SECRET) && clean.contains(MARK), "{line}\n{clean}");
    }
}

#[test]
fn what_is_no_secret_stays() {
    for line in [
        "no bearer token is given",
        "the token is not this node's, and no key that counts",
        "send Authorization: Bearer <token>: a key of an org, or the node's own token",
        "prompt_tokens=12 completion_tokens=7",
        "{\"field\":\"Authorization\",\"fix\":\"x\"}",
        "secrets.openai_api_key: environment variable OPENAI_API_KEY is not set",
        "cluster.secret names a secret of [secrets]",
        "effect acme/run/run_1@3.0 of key key_01",
        "secret_unseen: what this command makes is shown once",
        "qpk_ORG.ID.SECRET",
        "task-01234567890123456789",
        "eyJ is how they begin",
        "",
        "größe=3 · naïve",
    ] {
        assert_eq!(text(line), line);
    }
}

#[test]
fn nested_json_keeps_its_shape() {
    let mut value = j!({
        "user": "ada",
        "login": { "password": SECRET, "totp": 123456, "tokens": [ { "accessToken": JWT } ], "secret": null },
        "list": [ { "x": { "private_key": { "d": SECRET } } }, format!("see {KEY}") ],
        "text": format!("{{\"password\":\"{SECRET}\"}}"),
    });
    json(&mut value);
    let expected = j!({
        "user": "ada",
        "login": { "password": MARK, "totp": MARK, "tokens": [ { "accessToken": MARK } ], "secret": null },
        "list": [ { "x": { "private_key": MARK } }, format!("see {MARK}") ],
        "text": format!("{{\"password\":\"{MARK}\"}}"),
    });
    assert_eq!(value, expected);
}

#[test]
fn problem_repeats_no_secret_of_its_request() {
    use quipu_schemas::problem::FieldError;
    let told = || format!("no such path: /x/{KEY}?password={SECRET}");
    let mut told_to = Problem::new(404, "unknown_route", told())
        .field(told())
        .fix(told())
        .errors([FieldError {
            field: told(),
            code: "unknown_field".into(),
            detail: told(),
        }]);
    told_to.context.instance = Some(told());
    problem(&mut told_to);
    let text = serde_json::to_string(&told_to).unwrap();
    assert!(!text.contains("qpk_acme") && !text.contains(SECRET), "{text}");
    assert_eq!(told_to.code, "unknown_route");
}

#[test]
fn any_text_is_taken_without_a_panic() {
    let pieces = [
        "password",
        "=",
        ":",
        "\"",
        "\\",
        "{",
        "[",
        "}",
        "ä",
        " ",
        "Bearer ",
        "qpk_",
        "eyJ",
        "Some(",
        "-----BEGIN ",
        "PRIVATE KEY-----",
        "x",
    ];
    let mut seed = 7usize;
    for _ in 0..5_000 {
        let mut line = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            line.push_str(pieces[(seed >> 33) % pieces.len()]);
        }
        let once = text(&line).into_owned();
        assert!(once.len() <= line.len() + MARK.len() * line.len(), "{line}");
    }
}

#[test]
fn every_credential_that_a_node_makes_has_its_form_here() {
    use quipu_schemas::{client_secret, key_text, mail::MailPurpose, session_text::Purpose};
    let made = [key_text::PREFIX, client_secret::PREFIX, "qp_"].into_iter();
    let sessions = [Purpose::Refresh, Purpose::Code, Purpose::Device].map(Purpose::prefix);
    let prefixes: Vec<&str> = made.chain(sessions).chain(MailPurpose::ALL.map(MailPurpose::prefix)).collect();
    for prefix in prefixes {
        let credential = format!("{prefix}acme.inv_01m8qq.ask_01m8qq.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6");
        assert!(holds_credential(&format!("x{credential}")), "{credential}");
        assert_eq!(text(&format!("/v1/{credential}?x=1")), format!("/v1/{MARK}?x=1"));
    }
    assert!(is_secret_name("recovery_codes") && is_secret_name("recoveryCodes"));
}
