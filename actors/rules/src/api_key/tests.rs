use super::*;
use crate::scene::{As, Scene, as_role, id, platform};
use quipu_schemas::digest::Digest;
use quipu_schemas::reaction::ReactionKey;
use serde_json::{Value, json};

fn hash(n: u8) -> Digest {
    Digest([n; 32])
}
/// As it comes from where commands enter, with a hash.
fn create(body: Value, n: u8) -> ApiKeyCommand {
    let mut create: CreateApiKey = serde_json::from_value(body).unwrap();
    create.hash = Some(hash(n));
    ApiKeyCommand::Create(create)
}
fn named() -> ApiKeyCommand {
    create(json!({"name": "laptop"}), 1)
}
fn rotate(grace_hours: Option<u32>, n: u8) -> ApiKeyCommand {
    ApiKeyCommand::Rotate(RotateApiKey {
        grace_hours,
        hash: Some(hash(n)),
        argon2id: false,
    })
}
fn revoke() -> ApiKeyCommand {
    ApiKeyCommand::Revoke(RevokeApiKey {
        reason: "lost".into(),
        cascade: false,
    })
}
fn ada() -> As {
    as_role("ada", Some(Role::Owner))
}
fn bob() -> As {
    as_role("bob", Some(Role::Admin))
}
fn dan() -> As {
    as_role("dan", Some(Role::Viewer))
}
fn narrowed(mut who: As) -> As {
    who.authority.narrowed = true;
    who
}
fn key() -> Scene<ApiKey> {
    Scene::new("acme/api-key/key_1")
}
/// A viewer's key.
fn dans() -> Scene<ApiKey> {
    let mut scene = key();
    scene.ok(&dan(), named());
    scene
}
fn opens(scene: &Scene<ApiKey>, n: u8) -> Result<(), Ended> {
    scene.state.verify(&[n; 32], scene.now)
}

#[test]
fn a_key_is_its_makers_and_lives_90_days() {
    let mut scene = dans();
    let made = scene.state.key().unwrap().clone();
    assert_eq!((made.principal, made.lifetime_days), (id("dan"), KEY_LIFETIME_DEFAULT_DAYS));
    assert_eq!(made.expires_at, scene.now + 90 * DAY_MS);
    assert_eq!(
        scene.reactions,
        [Reaction::WakeAt {
            name: EXPIRY_TIMER.into(),
            due: made.expires_at,
        }]
    );
    scene.refused(&dan(), named(), 409, "key_exists");
}

#[test]
fn who_else_saw_a_text_is_kept_while_it_may_open() {
    let made_by = |scene: &Scene<ApiKey>| scene.state.made_by().cloned();
    assert_eq!(made_by(&dans()), None);
    let ApiKeyCommand::Create(create) = named() else { unreachable!() };
    let mut scene = key();
    let for_dan = CreateApiKey {
        principal: Some(id("dan")),
        ..create
    };
    scene.ok(&ada(), ApiKeyCommand::Create(for_dan));
    assert_eq!(made_by(&scene), Some(id("ada")));
    // By the key itself it is still not known to be dan's alone.
    let mut through = dan();
    through.authority.through = true;
    scene.ok(&through, rotate(Some(1), 2));
    assert_eq!(made_by(&scene), Some(id("dan")));
    scene.ok(&dan(), rotate(Some(1), 3));
    assert_eq!(made_by(&scene), Some(id("dan")), "the old text still opens it");
    scene.ok(&dan(), rotate(None, 4));
    assert_eq!(made_by(&scene), None);
}

#[test]
fn a_key_may_be_ended_with_what_it_caused_also_later() {
    let revoke = |cascade| {
        ApiKeyCommand::Revoke(RevokeApiKey {
            reason: "lost".into(),
            cascade,
        })
    };
    let mut scene = dans();
    scene.ok(&dan(), revoke(false));
    scene.unchanged(&dan(), revoke(false));
    scene.ok(&bob(), revoke(true));
    assert!(matches!(scene.state, ApiKeyState::Revoked { cascade: true, .. }));
    scene.unchanged(&dan(), revoke(true));
    scene.unchanged(&dan(), revoke(false));
    assert!(matches!(scene.state, ApiKeyState::Revoked { cascade: true, .. }));
}

#[test]
fn a_secret_is_compared_as_it_is_kept() {
    let slow = |hash: u8, argon2id: Option<u8>| Tried {
        hash: [hash; 32],
        argon2id: argon2id.map(|n| [n; 32]),
    };
    let mut scene = key();
    let mut made: CreateApiKey = serde_json::from_value(json!({ "name": "laptop" })).unwrap();
    (made.hash, made.argon2id) = (Some(hash(9)), true);
    scene.ok(&dan(), ApiKeyCommand::Create(made));
    assert!(scene.state.takes_argon2id());
    for (tried, expected) in [
        (slow(1, Some(9)), Ok(())),
        (slow(9, None), Err(Ended::WrongSecret)),
        (slow(9, Some(1)), Err(Ended::WrongSecret)),
    ] {
        assert_eq!(scene.state.verify(tried, scene.now), expected, "{tried:?}");
    }
    // Rotated where keys are kept otherwise, each secret is compared in its own way while both open.
    scene.ok(&dan(), rotate(Some(1), 2));
    assert_eq!(opens(&scene, 2), Ok(()));
    assert_eq!(scene.state.verify(slow(1, Some(9)), scene.now), Ok(()));
    assert!(scene.state.takes_argon2id() && !scene.state.is_text(&slow(1, Some(9))));
    scene.ok(&dan(), rotate(None, 3));
    assert!(!scene.state.takes_argon2id());
    assert_eq!(scene.state.verify(slow(1, Some(9)), scene.now), Err(Ended::WrongSecret));
}

#[test]
fn a_secret_opens_its_key_alone() {
    let scene = dans();
    assert_eq!(opens(&scene, 1), Ok(()));
    assert_eq!(opens(&scene, 2), Err(Ended::WrongSecret));
    let mut off_by_a_bit = [1; 32];
    off_by_a_bit[31] ^= 0x80;
    assert_eq!(scene.state.verify(&off_by_a_bit, scene.now), Err(Ended::WrongSecret));
    assert_eq!(opens(&key(), 1), Err(Ended::Missing));
}

#[test]
fn scopes_and_networks_are_kept_once_and_sorted() {
    let mut scene = key();
    let body = json!({
        "name": "ci", "principal": "svc", "expires_in_days": 366,
        "scopes": ["cap:run.start", "cap:run.*", "cap:run.start"],
        "networks": ["192.0.2.9/24", "192.0.2.0/24", "2001:db8::/32"],
    });
    scene.ok(&ada(), create(body, 1));
    let shown = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let scopes: Vec<_> = scene.state.scopes().iter().map(ToString::to_string).collect();
    let networks: Vec<_> = scene.state.networks().iter().map(ToString::to_string).collect();
    assert_eq!(scopes, shown(&["cap:run.start", "cap:run.*"]));
    assert_eq!(networks, shown(&["192.0.2.0/24", "2001:db8::/32"]));
    assert_eq!(scene.state.principal(), Some(&id("svc")));
}

#[test]
fn keys_of_others_take_an_owner() {
    let dans_key = || create(json!({"name": "x", "principal": "dan"}), 1);
    key().refused(&bob(), dans_key(), 403, "role_needed");
    key().refused(&as_role("eve", None), named(), 403, "role_needed");
    key().ok(&ada(), dans_key());
    key().ok(&platform(), dans_key());
    let mut scene = dans();
    scene.refused(&bob(), rotate(None, 2), 403, "role_needed");
    scene.ok(&ada(), rotate(None, 2));
    // A former member cannot come back by a key.
    scene.refused(&as_role("dan", None), rotate(None, 3), 403, "role_needed");
}

/// A key of the one for whom they act would open what they may not.
#[test]
fn who_acts_for_somebody_makes_and_rotates_no_keys_of_theirs() {
    let mut scene = key();
    scene.sender = Some(id("svc"));
    scene.refused(&ada(), named(), 403, "delegated");
    let mut scene = dans();
    scene.sender = Some(id("svc"));
    scene.refused(&dan(), rotate(None, 2), 403, "delegated");
    scene.ok(&dan(), revoke());
}

#[test]
fn a_suspended_org_stops_its_keys_all_the_same() {
    assert!(ApiKey::ignores_suspension(&revoke()));
    assert!(!ApiKey::ignores_suspension(&named()));
}

#[test]
fn the_platform_has_no_keys() {
    key().refused(&platform(), named(), 422, "reserved_id");
    key().refused(&ada(), create(json!({"name": "x", "principal": "_kernel"}), 1), 422, "reserved_id");
}

#[test]
fn a_narrowed_credential_makes_and_rotates_no_keys() {
    key().refused(&narrowed(ada()), named(), 403, "narrow_credential");
    let mut scene = dans();
    scene.refused(&narrowed(dan()), rotate(None, 2), 403, "narrow_credential");
    // It may change its own secret, and always stop one.
    scene.credential = Some("api-key/key_2".parse().unwrap());
    scene.refused(&narrowed(dan()), rotate(None, 2), 403, "narrow_credential");
    scene.credential = Some("api-key/key_1".parse().unwrap());
    scene.ok(&narrowed(dan()), rotate(None, 2));
    scene.ok(&narrowed(dan()), revoke());
}

#[test]
fn what_a_reaction_sends_makes_no_secret() {
    let sent = |who: As| As {
        authority: quipu_schemas::context::Authority {
            dispatched_by: Some("acme/run/r1".parse().unwrap()),
            ..who.authority
        },
        ..who
    };
    key().refused(&sent(dan()), named(), 403, "secret_unseen");
    let without = ApiKeyCommand::Create(serde_json::from_value(json!({"name": "x"})).unwrap());
    key().refused(&dan(), without, 403, "secret_unseen");
    let mut scene = dans();
    scene.refused(&sent(dan()), rotate(None, 2), 403, "secret_unseen");
    scene.refused(
        &dan(),
        ApiKeyCommand::Rotate(RotateApiKey {
            grace_hours: None,
            hash: None,
            argon2id: false,
        }),
        403,
        "secret_unseen",
    );
    scene.ok(&sent(dan()), revoke());
}

#[test]
fn a_rotated_key_has_one_secret_unless_grace_is_given() {
    let mut scene = dans();
    scene.ok(&dan(), rotate(None, 2));
    assert_eq!((opens(&scene, 1), opens(&scene, 2)), (Err(Ended::WrongSecret), Ok(())));
    scene.ok(&dan(), rotate(Some(2), 3));
    scene.now += 2 * HOUR_MS - 1;
    assert_eq!((opens(&scene, 2), opens(&scene, 3)), (Ok(()), Ok(())));
    scene.now += 1;
    assert_eq!((opens(&scene, 2), opens(&scene, 3)), (Err(Ended::WrongSecret), Ok(())));
    // One old secret at a time.
    scene.ok(&dan(), rotate(Some(24), 4));
    scene.ok(&dan(), rotate(Some(24), 5));
    assert_eq!(opens(&scene, 3), Err(Ended::WrongSecret));
    assert_eq!((opens(&scene, 4), opens(&scene, 5)), (Ok(()), Ok(())));
    scene.refused(&dan(), rotate(Some(25), 6), 422, "bad_grace");
}

#[test]
fn no_old_secret_outlives_its_time_by_rotation() {
    let mut scene = dans();
    let first_end = scene.state.key().unwrap().expires_at;
    scene.now = first_end - HOUR_MS;
    scene.ok(&dan(), rotate(Some(24), 2));
    assert_eq!(scene.state.key().unwrap().expires_at, scene.now + 90 * DAY_MS);
    assert_eq!(opens(&scene, 1), Ok(()));
    scene.now = first_end;
    assert_eq!((opens(&scene, 1), opens(&scene, 2)), (Err(Ended::WrongSecret), Ok(())));
}

#[test]
fn a_key_ends_by_the_clock_and_the_timer_notes_it() {
    let mut scene = dans();
    let due = scene.state.key().unwrap().expires_at;
    let fired = || {
        let told = KernelCommand::TimerFired {
            key: "acme/api-key/key_1@1.0".parse::<ReactionKey>().unwrap(),
            name: EXPIRY_TIMER.into(),
            due,
        };
        ApiKey::from_kernel(told).unwrap()
    };
    scene.now = due - 1;
    assert_eq!(opens(&scene, 1), Ok(()));
    scene.unchanged(&platform(), fired());
    scene.now = due;
    assert_eq!(opens(&scene, 1), Err(Ended::Expired));
    scene.refused(&dan(), rotate(None, 2), 409, "key_ended");
    scene.ok(&platform(), fired());
    assert_eq!(opens(&scene, 1), Err(Ended::Expired));
    scene.unchanged(&platform(), fired());
    scene.unchanged(&dan(), revoke());
}

#[test]
fn a_revoked_key_never_opens_again() {
    let mut scene = dans();
    scene.refused(&as_role("cleo", Some(Role::Member)), revoke(), 403, "role_needed");
    scene.ok(&bob(), revoke());
    assert_eq!(scene.reactions, [Reaction::CancelWake { name: EXPIRY_TIMER.into() }]);
    assert_eq!(opens(&scene, 1), Err(Ended::Revoked));
    scene.refused(&dan(), rotate(None, 2), 409, "key_ended");
    scene.refused(&dan(), named(), 409, "key_exists");
    scene.unchanged(&dan(), revoke());
    scene.unchanged(&platform(), ApiKeyWord::Expire(ExpireApiKey {}));
    // Whose key it is may stop it, member or not.
    dans().ok(&as_role("dan", None), revoke());
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut scene = key();
    for (body, code) in [
        (json!({"name": ""}), "bad_name"),
        (json!({"name": "x", "expires_in_days": 0}), "bad_lifetime"),
        (json!({"name": "x", "expires_in_days": 367}), "bad_lifetime"),
        (
            json!({"name": "x", "scopes": vec!["cap:run.read"; KEY_SCOPES_MAX + 1]}),
            "too_many_scopes",
        ),
        (
            json!({"name": "x", "networks": vec!["::1"; KEY_NETWORKS_MAX + 1]}),
            "too_many_networks",
        ),
    ] {
        scene.refused(&dan(), create(body, 1), 422, code);
    }
    scene.refused(&dan(), rotate(None, 2), 404, "key_not_found");
    scene.refused(&dan(), revoke(), 404, "key_not_found");
    let long = RevokeApiKey {
        reason: "x".repeat(501),
        cascade: false,
    };
    dans().refused(&dan(), ApiKeyCommand::Revoke(long), 422, "bad_reason");
}

#[test]
fn no_client_is_told_of_the_field_that_is_filled() {
    assert_eq!(
        [ApiKey::mints("create"), ApiKey::mints("rotate"), ApiKey::mints("revoke")],
        [Some("hash"), Some("hash"), None]
    );
    let schema = serde_json::to_string(&schemars::schema_for!(ApiKeyCommand)).unwrap();
    assert!(!schema.contains("\"hash\""), "{schema}");
}
