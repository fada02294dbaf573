use super::*;
use crate::scene::{As, OneKey, Scene, as_role, id, sent_by};
use quipu_schemas::{
    ids::{EntityId, Kind},
    limits::CALLBACK_MAPPING_MAX_BYTES,
    personal::SecretValue,
    reaction::{Effect, Perform},
};
use serde_json::{Value, json};

fn owner() -> As {
    as_role("ada", Some(Role::Owner))
}
fn admin() -> As {
    as_role("bob", Some(Role::Admin))
}
fn value(text: &str) -> CallbackSecret {
    CallbackSecret::Value(SecretValue::seal(text, &SecretValue::on_its_way("acme"), &OneKey).unwrap())
}
fn create(change: impl FnOnce(&mut CreateCallback)) -> CallbackCommand {
    let mut create = CreateCallback {
        name: "Orders".into(),
        scheme: CallbackScheme::Github,
        secret: value("one"),
        principal: Some(id("svc")),
        target: CallbackTarget {
            kind: Kind::CONVERSATION,
            id: Some("c1".into()),
            command: "post".into(),
        },
        mapping: Json(json!({ "body": "=body.text" })),
        delivery_id: None,
    };
    change(&mut create);
    CallbackCommand::Create(create)
}
fn rotate(secret: CallbackSecret, grace_hours: Option<u32>) -> CallbackCommand {
    CallbackCommand::RotateSecret(RotateCallbackSecret { secret, grace_hours })
}
fn pause() -> CallbackCommand {
    CallbackCommand::Pause(PauseCallback { reason: "busy".into() })
}
fn resume() -> CallbackCommand {
    CallbackCommand::Resume(quipu_kinds::callback::ResumeCallback {})
}
fn retire() -> CallbackCommand {
    CallbackCommand::Retire(RetireCallback { reason: "over".into() })
}
fn missing() -> Scene<Callback> {
    let mut scene = Scene::new("acme/callback/orders");
    scene.opener = Box::new(OneKey);
    scene
}
fn opened() -> Scene<Callback> {
    let mut scene = missing();
    scene.ok(&owner(), create(|_| {}));
    scene
}
fn shreds(scene: &Scene<Callback>) -> Vec<&str> {
    let of = |reaction| match reaction {
        &Reaction::Perform(Perform {
            effect: Effect::Shred(ref key),
            ..
        }) => Some(key.subject.as_str()),
        _ => None,
    };
    scene.reactions.iter().filter_map(of).collect()
}

#[test]
fn who_lets_others_act_as_somebody_is_them_or_an_owner() {
    missing().refused(&admin(), create(|_| {}), 403, "role_needed");
    missing().ok(&admin(), create(|create| create.principal = None));
    missing().ok(&owner(), create(|_| {}));
    missing().refused(
        &owner(),
        create(|create| create.principal = Some(PrincipalId::BOOTSTRAP)),
        422,
        "reserved_id",
    );
    let mut narrow = owner();
    narrow.authority.narrowed = true;
    missing().refused(&narrow, create(|_| {}), 403, "narrow_credential");
    missing().refused(&sent_by("ada", "acme/run/r1"), create(|_| {}), 403, "secret_dispatched");
    let mut scene = opened();
    scene.refused(&admin(), rotate(value("two"), None), 403, "role_needed");
    scene.ok(&admin(), pause());
    scene.refused(&admin(), resume(), 403, "role_needed");
}

#[test]
fn a_rotation_takes_two_secrets_for_a_while() {
    let mut scene = opened();
    scene.ok(&owner(), rotate(value("two"), Some(1)));
    let taken = |scene: &Scene<Callback>| scene.state.callback().unwrap().secrets(scene.now).len();
    assert_eq!((taken(&scene), shreds(&scene)), (2, vec![]));
    scene.now += HOUR_MS;
    assert_eq!(taken(&scene), 1, "by the clock, before the timer");
    scene.ok(&owner(), CallbackWord::EndOld(EndOldCallbackSecret {}));
    assert_eq!(shreds(&scene), ["acme/callback.orders.1"]);
    scene.ok(&owner(), rotate(CallbackSecret::Name(EntityId::from_static("hooks")), Some(0)));
    assert_eq!((taken(&scene), shreds(&scene)), (1, vec!["acme/callback.orders.2"]));
    scene.refused(&owner(), rotate(value("x"), Some(SECRET_GRACE_MAX_HOURS + 1)), 422, "bad_grace");
}

#[test]
fn a_callback_pauses_and_ends_for_good() {
    let mut scene = opened();
    scene.ok(&admin(), pause());
    scene.unchanged(&admin(), pause());
    assert!(matches!(scene.state, CallbackState::Paused { .. }));
    scene.ok(&owner(), resume());
    scene.unchanged(&owner(), resume());
    scene.ok(&admin(), retire());
    assert_eq!(shreds(&scene), ["acme/callback.orders.1"]);
    assert_eq!(scene.state.callback(), None);
    scene.unchanged(&admin(), retire());
    scene.refused(&owner(), create(|_| {}), 409, "callback_exists");
    for command in [pause(), resume(), rotate(value("x"), None)] {
        scene.refused(&owner(), command, 409, "callback_retired");
    }
    for command in [pause(), resume(), rotate(value("x"), None), retire()] {
        missing().refused(&owner(), command, 404, "callback_not_found");
    }
    let reason = "x".repeat(501);
    opened().refused(&admin(), CallbackCommand::Retire(RetireCallback { reason }), 422, "bad_reason");
}

#[test]
fn each_scheme_names_its_deliveries() {
    let named = |scheme: Value, given: Value| {
        let mut scene = missing();
        let command = create(|create| {
            create.scheme = serde_json::from_value(scheme).unwrap();
            create.delivery_id = serde_json::from_value(given).unwrap();
        });
        scene
            .send(&owner(), command)
            .map(|_| scene.state.callback().unwrap().delivery_id.clone())
    };
    let header = |name: &str| DeliveryId::Header(name.into());
    let hmac = json!({ "hmac": { "header": "X-Sig", "encoding": "hex" } });
    assert_eq!(named(json!("standard_webhooks"), Value::Null).unwrap(), header("webhook-id"));
    assert_eq!(named(json!("github"), Value::Null).unwrap(), header("x-github-delivery"));
    assert_eq!(named(hmac.clone(), Value::Null).unwrap(), DeliveryId::Signed);
    assert_eq!(named(hmac.clone(), json!({ "header": "X-Id" })).unwrap(), header("X-Id"));
    let bad_header = json!({ "hmac": { "header": "X Sig", "encoding": "hex" } });
    let bad_prefix = json!({ "hmac": { "header": "X", "encoding": "hex", "prefix": "a b" } });
    for (scheme, given) in [
        (json!("standard_webhooks"), json!("signed")),
        (hmac, json!({ "header": "" })),
        (bad_header, Value::Null),
        (bad_prefix, Value::Null),
    ] {
        assert_eq!(named(scheme, given).unwrap_err().code, "bad_scheme");
    }
}

#[test]
fn flawed_targets_and_mappings_are_refused_with_their_place() {
    let target = |id: Option<&str>, command: &str| {
        let (id, command) = (id.map(str::to_owned), command.to_owned());
        create(move |create| (create.target.id, create.target.command) = (id, command))
    };
    for (id, command) in [
        (None, "post"),
        (Some("a b"), "post"),
        (Some("c1"), ""),
        (Some("c1"), "Post"),
        (Some("=body."), "post"),
        (Some("=secret"), "post"),
    ] {
        missing().refused(&owner(), target(id, command), 422, "bad_target");
    }
    missing().ok(&owner(), target(None, "create"));
    missing().ok(&owner(), target(Some("=body.room"), "post"));
    let mapping = |value: Value| create(move |create| create.mapping = Json(value));
    for (value, field) in [
        (json!("=body"), "mapping"),
        (json!({ "a": { "b": ["x", "=nobody.x"] } }), "mapping.a.b[1]"),
        (json!({ "a": "x".repeat(CALLBACK_MAPPING_MAX_BYTES) }), "mapping"),
    ] {
        let refused = missing().send(&owner(), mapping(value)).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("bad_mapping", Some(field)));
    }
    missing().refused(&owner(), create(|create| create.name = String::new()), 422, "bad_name");
}
