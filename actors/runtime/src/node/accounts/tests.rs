use super::*;
use crate::{
    accounts::{CodeOf, LogIn, NewSession, StartedSession, WhoLogsIn},
    api::CommandRequest,
    node::{Node, scene::Scene},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_schemas::{
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, Kind},
    rights::Capability,
};

const ACME: OrgId = OrgId::from_static("acme");
const HOUR_MS: u64 = 3_600_000;

fn lasting(lifetime_ms: u64) -> NewSession {
    NewSession {
        client: Some("web".into()),
        amr: vec!["pwd".into()],
        lifetime_ms,
        ..NewSession::default()
    }
}

async fn service(scene: &Scene, id: &'static str) -> Home {
    scene.send("acme", "principal", id, "create", json!({ "name": "Clerk" })).await;
    scene
        .send("acme", "org", "acme", "add_member", json!({ "principal": id, "role": "member" }))
        .await;
    Home::of(&ACME, &PrincipalId::from_static(id))
}

async fn create(node: &Node, home: &Home, session: &EntityId, id: &'static str) -> String {
    let request = CommandRequest {
        org: ACME,
        kind: Kind::CONVERSATION,
        id: Some(EntityId::from_static(id)),
        command: "create".into(),
        body: json!({ "type": "group" }),
        command_id: Some(CommandId::parse(format!("c-{id}")).expect("an id")),
        principal: home.id.clone(),
        on_behalf_of: None,
        credential: Some(CredentialId::of_session(session.clone())),
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    };
    node.command(request).await.err().map_or_else(String::new, |problem| problem.code)
}

fn code<T>(answer: Result<T, Problem>) -> String {
    answer.err().map_or_else(String::new, |problem| problem.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_opens_from_its_start_until_its_end() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    let home = service(&scene, "svc_1").await;
    let session = node.start_session(&home, lasting(HOUR_MS)).await.expect("begun");
    assert_eq!(create(&node, &home, &session.id, "one").await, "");
    let holder = node.session_holder(&home, &session.id, &ACME, None).await.expect("answered");
    let holder = holder.expect("it opens");
    assert!(holder.is_known() && holder.holds(&Capability::named("conversation.create"), None, node.now()));
    assert!(node.renewed(&holder).await.expect("answered").is_some());
    let beta = OrgId::from_static("beta");
    let elsewhere = node.session_holder(&home, &session.id, &beta, None).await.expect("answered");
    assert!(elsewhere.is_none(), "it is of no other org");
    // The same client gets the same session, and nothing is written.
    let records = node.counters().records.load(Ordering::Relaxed);
    let again = node.start_session(&home, lasting(HOUR_MS)).await.expect("begun");
    assert_eq!(
        (again.id, node.counters().records.load(Ordering::Relaxed)),
        (session.id.clone(), records)
    );
    node.end_session(&home, &session.id).await.expect("ended");
    assert_eq!(create(&node, &home, &session.id, "two").await, "credential_ended");
    assert!(node.renewed(&holder).await.expect("answered").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_principal_is_refused_until_it_is_resumed() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    let home = service(&scene, "svc_1").await;
    let session = node.start_session(&home, lasting(HOUR_MS)).await.expect("begun");
    scene
        .send("acme", "principal", "svc_1", "suspend", json!({ "reason": "leak" }))
        .await;
    assert_eq!(create(&node, &home, &session.id, "one").await, "principal_suspended");
    assert_eq!(code(node.start_session(&home, lasting(HOUR_MS)).await), "principal_suspended");
    assert!(
        node.session_holder(&home, &session.id, &ACME, None)
            .await
            .expect("answered")
            .is_none()
    );
    scene.send("acme", "principal", "svc_1", "resume", json!({})).await;
    assert_eq!(create(&node, &home, &session.id, "one").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_refresh_tokens_are_good_once() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    let home = service(&scene, "svc_1").await;
    let verifier = "a verifier that is long enough to be one";
    let challenge = URL_SAFE_NO_PAD.encode(Digest::of(&[verifier.as_bytes()]).0);
    let waiting = NewSession {
        refresh: true,
        code: Some(CodeOf {
            challenge,
            redirect_uri: "https://a.example/back".into(),
        }),
        ..lasting(HOUR_MS)
    };
    let text = |started: &StartedSession| started.refresh.clone().expect("a token").as_str().to_owned();
    let begun = async || node.start_session(&home, waiting.clone()).await.expect("begun");
    let redeem = async |code: &str, verifier: &str| node.redeem_code(code, Some("web"), "https://a.example/back", verifier).await;
    let started = begun().await;
    assert_eq!(
        create(&node, &home, &started.id, "one").await,
        "credential_ended",
        "it waits for its code"
    );
    let shown = started.code.clone().expect("a code").as_str().to_owned();
    let (whose, opened) = redeem(&shown, verifier).await.expect("opened");
    assert_eq!((&whose, &opened.id), (&home, &started.id));
    assert_eq!(create(&node, &home, &started.id, "one").await, "");
    let (_, second) = node.refresh(&text(&opened), Some("web")).await.expect("goes on");
    assert_eq!(code(node.refresh(&text(&second), None).await), "grant_refused", "another client");
    let (_, third) = node.refresh(&text(&second), Some("web")).await.expect("goes on");
    assert_eq!(
        code(node.refresh(&text(&opened), Some("web")).await),
        "grant_refused",
        "the first of all"
    );
    assert_eq!(
        code(node.refresh(&text(&third), Some("web")).await),
        "grant_refused",
        "its family has ended"
    );
    assert_eq!(create(&node, &home, &started.id, "two").await, "credential_ended");
    // A wrong verifier spends the code; a second showing ends what the first has opened.
    let other = begun().await;
    let shown = other.code.expect("a code").as_str().to_owned();
    assert_eq!(code(redeem(&shown, "another").await), "grant_refused");
    assert_eq!(code(redeem(&shown, verifier).await), "grant_refused");
    let twice = begun().await;
    let shown = twice.code.expect("a code").as_str().to_owned();
    redeem(&shown, verifier).await.expect("opened");
    assert_eq!(code(redeem(&shown, verifier).await), "grant_refused");
    assert_eq!(create(&node, &home, &twice.id, "three").await, "credential_ended");
}

fn ada(password: &str) -> LogIn {
    LogIn {
        who: WhoLogsIn::Address("Ada@Example.org".into()),
        password: Password::new(password),
        code: None,
        from: None,
    }
}

async fn registered(node: &Node) -> Home {
    let register = Register {
        name: Some("Ada".into()),
        address: Some("ada@example.org".into()),
        password: Some(Password::new("correct horse")),
    };
    node.register(register).await.expect("registered")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_registers_logs_in_and_acts() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    let home = registered(&node).await;
    assert!(home.is_person());
    let logged_in = node.log_in(ada("correct horse")).await.expect("logged in");
    assert_eq!((&logged_in.home, logged_in.amr.as_slice()), (&home, &["pwd".to_owned()][..]));
    let id = home.id.to_string();
    scene
        .send("acme", "org", "acme", "add_member", json!({ "principal": id, "role": "member" }))
        .await;
    let session = node.start_session(&home, lasting(HOUR_MS)).await.expect("begun");
    assert_eq!(create(&node, &home, &session.id, "one").await, "");
    node.change_password(&home, &Password::new("correct horse"), &Password::new("battery staple"), None, None)
        .await
        .expect("changed");
    assert_eq!(create(&node, &home, &session.id, "two").await, "credential_ended");
    assert_eq!(code(node.log_in(ada("correct horse")).await), "wrong_login");
    node.log_in(ada("battery staple")).await.expect("logged in");
    node.suspend(&home, "leak").await.expect("suspended");
    assert_eq!(code(node.log_in(ada("battery staple")).await), "principal_suspended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_wrong_are_answered_alike_and_slowed_down() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    registered(&node).await;
    let nobody = LogIn {
        who: WhoLogsIn::Address("nobody@example.org".into()),
        ..ada("correct horse")
    };
    let (wrong, unknown) = (
        node.log_in(ada("wrong horse")).await.unwrap_err(),
        node.log_in(nobody).await.unwrap_err(),
    );
    assert_eq!(wrong, unknown);
    assert_eq!((wrong.status, wrong.code.as_str()), (401, "wrong_login"));
    let mut last = wrong;
    for _ in 0..5 {
        last = node.log_in(ada("wrong horse")).await.unwrap_err();
    }
    assert_eq!((last.status, last.code.as_str()), (429, "login_slowed"));
    assert!(last.retry_after.is_some());
    // Elsewhere the owner waits a second at most.
    let elsewhere = LogIn {
        from: Some("192.0.2.1".parse().expect("an address")),
        ..ada("correct horse")
    };
    let answer = node.log_in(elsewhere).await;
    assert!(
        answer.as_ref().err().is_none_or(|problem| problem.retry_after == Some(1)),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_who_register_an_address_wins() {
    let scene = Scene::new().await;
    let register = |n: u8| {
        let node = scene.node.clone();
        let register = Register {
            address: Some(if n == 0 { "a@example.org" } else { " A@EXAMPLE.org " }.into()),
            ..Register::default()
        };
        tokio::spawn(async move { node.register(register).await })
    };
    let answers: Vec<_> = futures::future::join_all((0..6).map(|n| register(n % 2))).await;
    let won = answers.iter().filter(|answer| answer.as_ref().expect("no crash").is_ok()).count();
    assert_eq!(won, 1);
    for answer in answers {
        let taken = code(answer.expect("no crash"));
        assert!(taken.is_empty() || taken == "address_taken", "{taken}");
    }
    let bad = Register {
        address: Some("nowhere".into()),
        ..Register::default()
    };
    assert_eq!(code(scene.node.register(bad).await), "bad_address");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_asked_for_once_it_was_confirmed() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    let home = registered(&node).await;
    let secret = node
        .enrol_totp(&home, Some(&Password::new("correct horse")), None, None)
        .await
        .expect("enrolled");
    node.log_in(ada("correct horse")).await.expect("not asked for yet");
    let at = |step: u64| Password::new(crate::accounts::code_at(secret.as_str(), step));
    let step = node.now() / 30_000;
    assert_eq!(code(node.confirm_totp(&home, &at(step + 9)).await), "wrong_code");
    let recovery = node.confirm_totp(&home, &at(step)).await.expect("confirmed");
    assert_eq!(code(node.log_in(ada("correct horse")).await), "totp_required");
    let with = |code: Password| LogIn {
        code: Some(code),
        ..ada("correct horse")
    };
    assert_eq!(code(node.log_in(with(at(step))).await), "wrong_login", "it was used");
    let logged_in = node.log_in(with(at(step + 1))).await.expect("logged in");
    assert_eq!(logged_in.amr, ["pwd", "otp", "mfa"]);
    let spare = || Password::new(recovery[0].as_str().to_lowercase());
    node.log_in(with(spare())).await.expect("logged in");
    assert_eq!(code(node.log_in(with(spare())).await), "wrong_login", "it was used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_alone_replaces_neither_code_nor_password() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    let home = registered(&node).await;
    assert_eq!(code(node.enrol_totp(&home, None, None, None).await), "password_required");
    let wrong = Password::new("battery staple");
    assert_eq!(code(node.enrol_totp(&home, Some(&wrong), None, None).await), "wrong_login");
    let secret = node
        .enrol_totp(&home, Some(&Password::new("correct horse")), None, None)
        .await
        .expect("enrolled");
    let first = Password::new(crate::accounts::code_at(secret.as_str(), node.now() / 30_000));
    let recovery = node.confirm_totp(&home, &first).await.expect("confirmed");
    assert_eq!(code(node.enrol_totp(&home, None, None, None).await), "totp_required");
    assert_eq!(
        code(node.enrol_totp(&home, None, Some(&Password::new("000000")), None).await),
        "wrong_login"
    );
    let (old, new) = (Password::new("correct horse"), Password::new("battery staple"));
    assert_eq!(code(node.change_password(&home, &old, &new, None, None).await), "totp_required");
    let another = |n: usize| Password::new(recovery[n].as_str());
    node.enrol_totp(&home, None, Some(&another(1)), None).await.expect("enrolled");
    assert_eq!(
        code(node.enrol_totp(&home, None, Some(&another(1)), None).await),
        "wrong_login",
        "it was used"
    );
    // The old secret is asked for until a code of the new one was shown.
    assert_eq!(code(node.log_in(ada("correct horse")).await), "totp_required");
    node.change_password(&home, &old, &new, Some(&another(2)), None)
        .await
        .expect("changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_person_is_stored_in_the_clear() {
    let scene = Scene::new().await;
    let node = scene.node.clone();
    let home = registered(&node).await;
    let session = NewSession {
        refresh: true,
        ..lasting(HOUR_MS)
    };
    let started = node.start_session(&home, session).await.expect("begun");
    let token = started.refresh.expect("a token").as_str().to_owned();
    let totp = node
        .enrol_totp(&home, Some(&Password::new("correct horse")), None, None)
        .await
        .expect("enrolled");
    let records = scene.core().records(&home.stream(), 1).expect("read");
    let stored: String = records
        .iter()
        .flat_map(|record| &record.events)
        .map(|event| event.data.get())
        .collect();
    assert!(stored.contains("$argon2id$") && stored.contains("$sealed"), "{stored}");
    let secret = &token[token.len() - 50..token.len() - 8];
    for hidden in ["Ada", "ada@example.org", "correct horse", secret, totp.as_str()] {
        assert!(!stored.contains(hidden), "{hidden}");
    }
}
