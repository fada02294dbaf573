//! `mail`: what a mail server gets, what its answers mean, and what no server gets.

use crate::{
    smtp::{Smtp, code_in},
    stage::{DIGEST_KEY, NOW_MS, Props, attempt, failed, retryable, seal},
};
use quipu_runtime::performers::{AttemptEnd, CancelToken, MailConfig, MailTls};
use quipu_schemas::{
    ids::EntityId,
    mail::{MailCall, MailCode, MailPurpose},
    reaction::{Effect, Outcome},
};

const URL: &str = "https://quipu.example";

fn config(server: &Smtp, tls: MailTls) -> MailConfig {
    let login = (tls != MailTls::Off).then_some(("quipu", "smtp"));
    MailConfig::new(&server.address.to_string(), tls, "Quipu <quipu@quipu.example>", login, URL).unwrap()
}

fn letter(to: &str, purpose: MailPurpose) -> Effect {
    Effect::Mail(MailCall {
        purpose,
        ask: EntityId::from_static("ask_1"),
        to: seal(&to.to_owned()),
        until: NOW_MS + 1,
    })
}

#[tokio::test]
async fn each_attempt_sends_the_same_letter() {
    let server = Smtp::start().await;
    let stage = Props::default().mail(config(&server, MailTls::Off)).stage();
    let mut letters = Vec::new();
    for number in 1..=2 {
        let end = stage
            .performers
            .perform(attempt(
                letter("ada@example.org", MailPurpose::Invite),
                number,
                CancelToken::never(),
            ))
            .await;
        assert_eq!(end, AttemptEnd::Done(Outcome::Mailed { sent: true }));
        letters.push(server.letter(number as usize).await);
    }
    assert_eq!(letters[0], letters[1]);
    let code = MailCode::parse(&code_in(&letters[0], "qpi_")).expect("a code");
    assert!(code.is_authentic(&DIGEST_KEY));
    assert_eq!((code.org.as_str(), code.id.as_str(), code.ask.as_str()), ("acme", "run_1", "ask_1"));
    for part in ["From: Quipu <quipu@quipu.example>", "To: ada@example.org", "Message-ID: <msg_", URL] {
        assert!(letters[0].contains(part), "{part}: {}", letters[0]);
    }
    let lines = server.seen().lines;
    assert!(
        lines.iter().any(|line| line.starts_with("MAIL FROM:<quipu@quipu.example>")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn what_a_mail_server_refuses_names_no_address() {
    let to = "ada@example.org";
    let server = Smtp::answering("550 no such mailbox ada@example.org").await;
    let stage = Props::default().mail(config(&server, MailTls::Off)).stage();
    let (code, detail) = failed(stage.perform(letter(to, MailPurpose::Invite)).await);
    assert_eq!(code, "smtp_550");
    assert!(!detail.contains("ada"), "{detail}");
    let busy = Smtp::answering("451 later, ada@example.org").await;
    let stage = Props::default().mail(config(&busy, MailTls::Off)).stage();
    let (code, detail, _) = retryable(stage.perform(letter(to, MailPurpose::Invite)).await);
    assert_eq!(code, "smtp_451");
    assert!(!detail.contains("ada"), "{detail}");
    assert!(server.seen().letters.is_empty() && busy.seen().letters.is_empty());
    // What somebody typed adds no line to a letter.
    for to in ["ada@example.org\r\nBcc: eve@evil.example", "ada", "ada@@example.org"] {
        let (code, detail) = failed(stage.perform(letter(to, MailPurpose::Invite)).await);
        assert_eq!(code, "mail_address_refused", "{to}");
        assert!(!detail.contains("ada"), "{detail}");
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_neither_password_nor_letter() {
    let server = Smtp::start().await;
    for tls in [MailTls::StartTls, MailTls::Implicit] {
        let props = Props::default().mail(config(&server, tls)).secret("smtp", "hunter2");
        let (_, detail, _) = retryable(props.stage().perform(letter("ada@example.org", MailPurpose::Invite)).await);
        assert!(!detail.contains("hunter2"), "{detail}");
    }
    let seen = server.seen();
    assert!(seen.letters.is_empty(), "{seen:?}");
    assert!(
        !seen.lines.iter().any(|line| line.starts_with("AUTH") || line.starts_with("RCPT")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn no_letter_goes_out_too_late_or_without_a_server() {
    let server = Smtp::start().await;
    let stage = Props::default().mail(config(&server, MailTls::Off)).stage();
    let late = match letter("ada@example.org", MailPurpose::Invite) {
        Effect::Mail(call) => Effect::Mail(MailCall { until: NOW_MS, ..call }),
        other => other,
    };
    assert_eq!(failed(stage.perform(late).await).0, "mail_too_late");
    let without = Props::default().stage();
    let end = without.perform(letter("ada@example.org", MailPurpose::Invite)).await;
    assert_eq!(end, AttemptEnd::Done(Outcome::Mailed { sent: false }));
    assert!(server.seen().lines.is_empty());
}
