use crate::{
    accounts::KeyHash,
    api::CommandRequest,
    node::{NodeConfig, scene::Scene},
};
use quipu_schemas::{
    envelope::{DataClass, Receipt},
    ids::{CommandId, CredentialId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    key_text::{KeyText, pepper},
    problem::Problem,
    role::Role,
};
use serde_json::{Value, json};

const ACME: OrgId = OrgId::from_static("acme");
const ADA: PrincipalId = PrincipalId::from_static("ada");

/// A key of Ada's, as she was shown it.
async fn key(scene: &Scene, id: &'static str, scopes: Value) -> KeyText {
    let body = json!({ "name": "laptop", "principal": "ada", "scopes": scopes });
    let receipt = scene.send("acme", "api-key", id, "create", body).await;
    KeyText::parse(receipt.shown.expect("it is shown once").as_str()).expect("the text of a key")
}

async fn by_key(scene: &Scene, key: &'static str, kind: Kind, id: &str, command: &str, body: Value) -> Result<Receipt, Problem> {
    let request = CommandRequest {
        org: ACME,
        kind,
        id: Some(EntityId::parse(id).expect("an id")),
        command: command.into(),
        body,
        command_id: Some(CommandId::parse(format!("{key}-{id}-{command}")).expect("an id")),
        principal: ADA,
        on_behalf_of: None,
        credential: Some(CredentialId::of_api_key(EntityId::from_static(key))),
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    };
    scene.node.command(request).await
}

fn code(answer: Result<Receipt, Problem>) -> String {
    answer.err().map_or_else(String::new, |problem| problem.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_what_it_may_until_it_is_revoked() {
    let scene = Scene::new().await;
    scene
        .send("acme", "org", "acme", "add_member", json!({ "principal": "ada", "role": "member" }))
        .await;
    let shown = key(&scene, "key_1", json!(["cap:conversation.*"])).await;
    let node = scene.node.clone();
    let known = node.verify_key(&shown).await.expect("answered").expect("it opens");
    assert_eq!((&known.principal, known.networks().len()), (&ADA, 0));
    let other = KeyText::new(ACME, EntityId::from_static("key_1"), [0; 32]);
    assert!(node.verify_key(&other).await.expect("answered").is_none(), "another secret");
    let nowhere = KeyText::new(OrgId::from_static("nowhere"), EntityId::from_static("key_1"), [0; 32]);
    assert!(node.verify_key(&nowhere).await.expect("answered").is_none(), "another org");

    let create = |id: &'static str| by_key(&scene, "key_1", Kind::CONVERSATION, id, "create", json!({ "type": "group" }));
    assert_eq!(code(create("one").await), "");
    let run = by_key(&scene, "key_1", Kind::RUN, "r", "start", json!({})).await;
    assert_eq!(code(run), "missing_right", "its scope has no runs");

    // What is known costs no reading.
    let read = scene.records_read();
    for _ in 0..10 {
        assert!(node.verify_key(&shown).await.expect("answered").is_some());
        assert_eq!(node.rights_in(&ACME, &ADA).expect("answered").org.role, Some(Role::Member));
    }
    scene.send("acme", "api-key", "key_1", "revoke", json!({})).await;
    assert!(node.verify_key(&shown).await.expect("answered").is_none());
    assert_eq!(code(create("two").await), "credential_ended");
    assert_eq!(code(create("one").await), "credential_ended", "also what was answered before");
    assert_eq!(scene.records_read(), read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_kept_by_argon2id_opens_until_it_is_revoked() {
    let config = NodeConfig {
        key_hash: KeyHash::Argon2id,
        ..NodeConfig::default()
    };
    let scene = Scene::with(config).await;
    let member = json!({ "principal": "ada", "role": "member" });
    scene.send("acme", "org", "acme", "add_member", member).await;
    let (node, known) = (scene.node.clone(), || scene.core().accounts.slow_keys.len());
    let shown = key(&scene, "key_1", json!([])).await;
    let stream: StreamId = "acme/api-key/key_1".parse().expect("a stream");
    let history = node.history(&stream, 0, usize::MAX).await.expect("its history");
    let stored = history[0].record.events[0].data.get().to_owned();
    let fast = shown.hash(&pepper(&scene.core().keys.digest_key()));
    assert!(
        stored.contains(r#""argon2id":true"#) && !stored.contains(&fast.to_string()),
        "{stored}"
    );

    let other = KeyText::new(ACME, EntityId::from_static("key_1"), [0; 32]).to_text();
    assert!(node.holder(&other, None).await.expect("answered").is_none());
    assert_eq!(known(), 0, "what a wrong text came to is not kept");
    let text = shown.to_text();
    let held = node.holder(&text, None).await.expect("answered").expect("it opens");
    assert!(node.verify_key(&shown).await.expect("answered").is_some());
    assert!(node.renewed(&held).await.expect("answered").is_some());
    assert_eq!(known(), 1);
    // What is kept is a number: whether it opens anything is asked each time.
    scene.send("acme", "api-key", "key_1", "revoke", json!({})).await;
    assert!(node.holder(&text, None).await.expect("answered").is_none());
    assert!(node.renewed(&held).await.expect("answered").is_none());
    assert!(node.ended_holder(&text).await.expect("answered").is_some());
    assert!(node.ended_holder(&other).await.expect("answered").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_open_nothing_cost_one_slow_hash_alike() {
    let scene = Scene::with(NodeConfig {
        key_hash: KeyHash::Argon2id,
        ..NodeConfig::default()
    })
    .await;
    let member = json!({ "principal": "ada", "role": "member" });
    scene.send("acme", "org", "acme", "add_member", member).await;
    key(&scene, "live", json!([])).await;
    let ended = key(&scene, "ended", json!([])).await;
    scene.send("acme", "api-key", "ended", "revoke", json!({})).await;
    let wrong = |org: OrgId, id: &'static str| KeyText::new(org, EntityId::from_static(id), [0; 32]).to_text();
    for text in [
        wrong(ACME, "live"),
        wrong(ACME, "ended"),
        ended.to_text(),
        wrong(ACME, "nobodys"),
        wrong(OrgId::from_static("nowhere"), "live"),
    ] {
        let before = scene.core().accounts.slow_keys.made_so_far();
        // As every face asks.
        assert!(scene.node.holder(&text, None).await.expect("answered").is_none());
        scene.node.ended_holder(&text).await.expect("answered");
        assert_eq!(scene.core().accounts.slow_keys.made_so_far() - before, 1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_counts_from_its_receipt_until_it_is_taken() {
    let scene = Scene::new().await;
    scene
        .send("acme", "org", "acme", "add_member", json!({ "principal": "ada", "role": "viewer" }))
        .await;
    key(&scene, "key_1", json!([])).await;
    let create = |id: &'static str| by_key(&scene, "key_1", Kind::CONVERSATION, id, "create", json!({ "type": "group" }));
    assert_eq!(code(create("one").await), "missing_right");
    let clerk = json!({ "name": "clerk", "holds": ["cap:conversation.create"] });
    scene.send("acme", "role", "all", "set", clerk).await;
    scene.send("acme", "grant", "ada", "give", json!({ "right": "role:clerk" })).await;
    assert_eq!(code(create("two").await), "");
    scene.send("acme", "role", "all", "remove", json!({ "name": "clerk" })).await;
    assert_eq!(code(create("three").await), "missing_right");
}
