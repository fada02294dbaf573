use super::*;
use crate::scene::{As, OneKey, Scene, as_role, sent_by};
use quipu_schemas::{personal::Opened, reaction::ReactionKey};

fn admin() -> As {
    as_role("ada", Some(Role::Admin))
}
fn coming(text: &str) -> SecretValue {
    SecretValue::seal(text, &SecretValue::on_its_way("acme"), &OneKey).unwrap()
}
fn set(text: &str, hosts: Option<&[&str]>) -> SecretCommand {
    SecretCommand::Set(SetSecret {
        value: coming(text),
        hosts: hosts.map(|hosts| hosts.iter().map(|host| host.parse().unwrap()).collect()),
    })
}
fn rotate(text: &str, grace_hours: Option<u32>) -> SecretCommand {
    SecretCommand::Rotate(RotateSecret {
        value: coming(text),
        grace_hours,
    })
}
fn retire() -> SecretCommand {
    SecretCommand::Retire(RetireSecret { reason: "leaked".into() })
}
fn missing() -> Scene<Secret> {
    let mut scene = Scene::new("acme/secret/billing");
    scene.opener = Box::new(OneKey);
    scene
}
fn held(text: &str) -> Scene<Secret> {
    let mut scene = missing();
    scene.ok(&admin(), set(text, None));
    scene
}
fn used(scene: &Scene<Secret>) -> Vec<String> {
    let open = |value: &SecretValue| match value.open(&OneKey).unwrap() {
        Opened::Value(text) => text,
        Opened::Erased => panic!("erased"),
    };
    scene.state.values(scene.now).into_iter().flatten().map(open).collect()
}
/// Whose keys the last decision destroys.
fn shreds(scene: &Scene<Secret>) -> Vec<String> {
    let of = |reaction: &Reaction| match reaction {
        Reaction::Perform(Perform {
            effect: Effect::Shred(key),
            ..
        }) => Some(key.subject.clone()),
        _ => None,
    };
    scene.reactions.iter().filter_map(of).collect()
}
fn fire(scene: &mut Scene<Secret>) -> Vec<SecretEvent> {
    let told = KernelCommand::TimerFired {
        key: "acme/secret/billing@2.0".parse::<ReactionKey>().unwrap(),
        name: OLD_TIMER.into(),
        due: scene.now,
    };
    scene.ok(&admin(), Secret::from_kernel(told).unwrap())
}

#[test]
fn a_value_is_sealed_under_a_key_of_its_own() {
    let scene = held("one");
    assert_eq!(used(&scene), ["one"]);
    let SecretState::Held(held) = &scene.state else { panic!() };
    assert_eq!(held.value.subject(), "acme/secret.billing.1");
    assert!(is_own_subject(&scene.stream, held.value.subject()));
    for foreign in [
        "acme/secret.billing2.1",
        "acme/secret.billing.",
        "acme/secret.billing.1x",
        "acme/ada",
        "other/secret.billing.1",
    ] {
        assert!(!is_own_subject(&scene.stream, foreign), "{foreign}");
    }
}

#[test]
fn another_value_replaces_the_first_and_destroys_it() {
    let mut scene = held("one");
    scene.ok(&admin(), set("two", Some(&["api.example.com", "api.example.com"])));
    assert_eq!(
        (used(&scene), shreds(&scene)),
        (vec!["two".into()], vec!["acme/secret.billing.1".to_owned()])
    );
    assert_eq!(scene.state.hosts().len(), 1);
    scene.ok(&admin(), set("three", None));
    assert_eq!(scene.state.hosts().len(), 1, "hosts stay unless others are given");
    scene.ok(&admin(), set("four", Some(&[])));
    assert!(scene.state.hosts().is_empty());
}

#[test]
fn a_rotation_uses_two_values_for_a_while() {
    let mut scene = held("one");
    scene.ok(&admin(), rotate("two", Some(2)));
    assert_eq!((used(&scene), shreds(&scene)), (vec!["two".into(), "one".into()], vec![]));
    scene.now += HOUR_MS;
    assert!(fire(&mut scene).is_empty(), "too early");
    scene.ok(&admin(), rotate("three", Some(1)));
    assert_eq!(
        (used(&scene), shreds(&scene)),
        (vec!["three".into(), "two".into()], vec!["acme/secret.billing.1".to_owned()])
    );
    scene.now += HOUR_MS;
    assert_eq!(used(&scene), ["three"], "by the clock, before the timer");
    assert_eq!(fire(&mut scene).len(), 1);
    assert_eq!(shreds(&scene), ["acme/secret.billing.2"]);
    assert!(fire(&mut scene).is_empty());
}

#[test]
fn without_grace_the_value_before_ends_at_once() {
    let mut scene = held("one");
    scene.ok(&admin(), rotate("two", Some(0)));
    assert_eq!(
        (used(&scene), shreds(&scene)),
        (vec!["two".into()], vec!["acme/secret.billing.1".to_owned()])
    );
    scene.ok(&admin(), rotate("three", None));
    assert_eq!(used(&scene).len(), 2, "24 hours unless given");
}

#[test]
fn a_retired_secret_has_no_value_until_it_is_set_again() {
    let mut scene = held("one");
    scene.ok(&admin(), rotate("two", Some(1)));
    scene.ok(&admin(), retire());
    assert_eq!(shreds(&scene), ["acme/secret.billing.1", "acme/secret.billing.2"]);
    assert!(scene.reactions.contains(&Reaction::CancelWake { name: OLD_TIMER.into() }));
    assert_eq!(scene.state.values(scene.now), None);
    scene.unchanged(&admin(), retire());
    scene.refused(&admin(), rotate("three", None), 409, "secret_retired");
    scene.ok(&admin(), set("three", None));
    assert_eq!(used(&scene), ["three"]);
    let SecretState::Held(held) = &scene.state else { panic!() };
    assert_eq!(held.value.subject(), "acme/secret.billing.3", "a destroyed key is never used again");
}

#[test]
fn what_is_wrong_is_refused() {
    let mut scene = missing();
    scene.refused(&admin(), rotate("x", None), 404, "secret_not_found");
    scene.refused(&admin(), retire(), 404, "secret_not_found");
    scene.refused(&sent_by("ada", "acme/run/r1"), set("x", None), 403, "secret_dispatched");
    let hosts: Vec<String> = (0..=SECRET_HOSTS_MAX).map(|n| format!("h{n}.test")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    scene.refused(&admin(), set("x", Some(&hosts)), 422, "too_many_hosts");
    let mut scene = held("one");
    scene.refused(&admin(), rotate("x", Some(SECRET_GRACE_MAX_HOURS + 1)), 422, "bad_grace");
    let reason = "x".repeat(501);
    scene.refused(&admin(), SecretCommand::Retire(RetireSecret { reason }), 422, "bad_reason");
}

#[test]
fn a_destroyed_key_is_noted_and_a_kept_one_is_not() {
    let mut scene = held("one");
    scene.ok(&admin(), retire());
    let told = |destroyed| KernelCommand::EffectSettled {
        key: "acme/secret/billing@2.1".parse().unwrap(),
        name: format!("{SHRED}acme/secret.billing.1"),
        outcome: Outcome::Shredded { destroyed },
        attempts: 1,
        dead: false,
    };
    assert_eq!(Secret::from_kernel(told(false)), None);
    let word = Secret::from_kernel(told(true)).unwrap();
    let subject = "acme/secret.billing.1".to_owned();
    assert_eq!(scene.ok(&admin(), word), [SecretEvent::Shredded { subject }]);
}

mod connection {
    use super::*;
    use quipu_kinds::secret::{ConnectSecret, TokenRefreshed};
    use quipu_schemas::{limits::SECRET_REFRESH_FAILURES_MAX, reaction::ClientAuth};

    fn connect(token_url: &str) -> SecretCommand {
        SecretCommand::Connect(ConnectSecret {
            token_url: token_url.into(),
            authorize_url: None,
            client_id: "quipu".into(),
            client_secret: Some(coming("client")),
            client_auth: ClientAuth::Basic,
            refresh_token: coming("refresh-1"),
            scopes: vec!["mail.read".into()],
            hosts: None,
        })
    }
    fn connected() -> Scene<Secret> {
        let mut scene = held("one");
        scene.ok(&admin(), connect("https://id.example.com/token"));
        scene
    }
    fn told(generation: u64, outcome: Outcome) -> SecretWord {
        let told = KernelCommand::EffectSettled {
            key: "acme/secret/billing@2.0".parse().unwrap(),
            name: format!("refresh:{generation}"),
            outcome,
            attempts: 1,
            dead: false,
        };
        Secret::from_kernel(told).unwrap()
    }
    fn given(generation: u64, token: &str, seconds: u64) -> SecretWord {
        let seal = |text: &str| SecretValue::seal(text, "acme/secret.billing.2", &OneKey).unwrap();
        told(
            generation,
            Outcome::Refreshed {
                access_token: seal(token),
                refresh_token: Some(seal("refresh-2")),
                expires_in_seconds: seconds,
            },
        )
    }
    fn failed(code: &str) -> SecretWord {
        let (code, detail) = (code.to_owned(), "no".to_owned());
        told(2, Outcome::Failed { code, detail })
    }
    fn asked(scene: &Scene<Secret>) -> Option<String> {
        scene.reactions.iter().find_map(|reaction| match reaction {
            Reaction::Perform(Perform {
                effect: Effect::Refresh(refresh),
                ..
            }) => match refresh.refresh_token.open(&OneKey).unwrap() {
                Opened::Value(text) => Some(text),
                Opened::Erased => panic!("erased"),
            },
            _ => None,
        })
    }
    fn wakes(scene: &Scene<Secret>) -> Option<Millis> {
        scene.reactions.iter().find_map(|reaction| match reaction {
            Reaction::WakeAt { name, due } if name == "refresh" => Some(due - scene.now),
            _ => None,
        })
    }

    #[test]
    fn an_access_token_is_used_until_its_end_and_renewed_before() {
        let mut scene = connected();
        assert_eq!(asked(&scene), Some("refresh-1".into()));
        assert_eq!((shreds(&scene), used(&scene).len()), (vec!["acme/secret.billing.1".to_owned()], 0));
        scene.ok(&admin(), given(2, "access-1", 3_600));
        assert_eq!((used(&scene), wakes(&scene)), (vec!["access-1".into()], Some(3_240_000)));
        scene.now += 3_240_000;
        scene.ok(&admin(), SecretWord::RefreshDue(RefreshDue {}));
        assert_eq!(asked(&scene), Some("refresh-2".into()), "the one that was given last");
        scene.now += 360_000;
        assert!(used(&scene).is_empty(), "an access token ends by the clock");
        scene.ok(&admin(), given(2, "access-2", 10));
        assert_eq!((used(&scene), wakes(&scene)), (vec!["access-2".into()], Some(5_000)));
    }

    #[test]
    fn a_failing_provider_is_asked_again_and_given_up_in_the_end() {
        let mut scene = connected();
        scene.ok(&admin(), failed("timeout"));
        assert_eq!(wakes(&scene), Some(60_000));
        scene.ok(&admin(), failed("status_503"));
        assert_eq!(wakes(&scene), Some(120_000));
        scene.ok(&admin(), given(2, "access-1", 3_600));
        let broken = scene.ok(&admin(), failed("oauth_invalid_grant"));
        assert!(matches!(&broken[..], [SecretEvent::Broken { .. }]), "{broken:?}");
        assert_eq!(used(&scene), ["access-1"], "what was given counts until its end");
        scene.unchanged(&admin(), SecretWord::RefreshDue(RefreshDue {}));
        scene.unchanged(&admin(), failed("timeout"));
        let mut scene = connected();
        let mut ended = Vec::new();
        for _ in 0..SECRET_REFRESH_FAILURES_MAX {
            ended = scene.ok(&admin(), failed("timeout"));
        }
        assert!(matches!(&ended[..], [SecretEvent::Broken { .. }]), "{ended:?}");
    }

    #[test]
    fn what_comes_too_late_changes_nothing() {
        let mut scene = connected();
        scene.ok(&admin(), connect("https://id.example.com/token"));
        assert_eq!(shreds(&scene), ["acme/secret.billing.2"]);
        scene.unchanged(&admin(), given(2, "late", 3_600));
        scene.unchanged(&admin(), failed("timeout"));
        scene.refused(&admin(), rotate("x", None), 409, "secret_connected");
        scene.ok(&admin(), retire());
        assert_eq!(shreds(&scene), ["acme/secret.billing.3"]);
        let late = SecretWord::Refreshed(TokenRefreshed {
            generation: 3,
            access_token: coming("late"),
            refresh_token: None,
            expires_in_seconds: 1,
        });
        scene.unchanged(&admin(), late);
        for url in ["", "ftp://x", "https://a b", "id.example.com"] {
            missing().refused(&admin(), connect(url), 422, "bad_connection");
        }
    }
}
