use super::*;
use crate::scene::{As, Scene, as_role, platform};

fn give(right: &str, on: &str, until: Option<u64>) -> GrantCommand {
    GrantCommand::Give(GiveGrant {
        right: right.parse().unwrap(),
        on: on.parse().unwrap(),
        until,
    })
}
fn take(right: &str, on: &str) -> GrantCommand {
    GrantCommand::Take(TakeGrant {
        right: right.parse().unwrap(),
        on: on.parse().unwrap(),
    })
}
fn owner() -> As {
    as_role("ada", Some(Role::Owner))
}
fn admin() -> As {
    as_role("bob", Some(Role::Admin))
}
fn cleos() -> Scene<Grant> {
    Scene::new("acme/grant/cleo")
}
fn held(scene: &Scene<Grant>) -> Vec<String> {
    let shown = |given: &Given| format!("{} {} {:?}", given.right, given.on, given.until);
    scene.state.grants.iter().map(shown).collect()
}

#[test]
fn grants_are_given_changed_and_taken() {
    let mut scene = cleos();
    let until = scene.now + 1;
    scene.ok(&admin(), give("cap:run.*", "org", None));
    scene.ok(&admin(), give("cap:run.*", "project/p1", Some(until)));
    scene.unchanged(&admin(), give("cap:run.*", "org", None));
    scene.ok(&admin(), give("cap:run.*", "org", Some(until)));
    assert_eq!(
        held(&scene),
        [
            format!("cap:run.* org Some({until})"),
            format!("cap:run.* project/p1 Some({until})")
        ]
    );
    scene.ok(&admin(), take("cap:run.*", "org"));
    scene.refused(&admin(), take("cap:run.*", "org"), 404, "not_granted");
    assert_eq!(held(&scene), [format!("cap:run.* project/p1 Some({until})")]);
}

#[test]
fn only_admins_give_and_only_owners_what_is_theirs() {
    let mut scene = cleos();
    for who in [
        as_role("cleo", Some(Role::Member)),
        as_role("dan", Some(Role::Viewer)),
        as_role("eve", None),
    ] {
        scene.refused(&who, give("cap:run.read", "org", None), 403, "role_needed");
        scene.refused(&who, take("cap:run.read", "org"), 403, "role_needed");
    }
    for right in ["role:owner", "cap:org.*", "cap:org.suspend", "cap:principal.act_as"] {
        scene.refused(&admin(), give(right, "org", None), 403, "role_needed");
        scene.ok(&owner(), give(right, "org", None));
        scene.refused(&admin(), take(right, "org"), 403, "role_needed");
        scene.ok(&owner(), take(right, "org"));
    }
    scene.ok(&platform(), give("role:admin", "org", None));
}

#[test]
fn a_narrowed_credential_gives_nothing() {
    let mut narrowed = owner();
    narrowed.authority.narrowed = true;
    let mut scene = cleos();
    scene.refused(&narrowed, give("cap:run.read", "org", None), 403, "narrow_credential");
    scene.ok(&owner(), give("cap:run.read", "org", None));
    scene.refused(&narrowed, take("cap:run.read", "org"), 403, "narrow_credential");
}

#[test]
fn who_acts_for_an_owner_hands_none_of_their_rights_on() {
    let mut scene = cleos();
    scene.sender = Some("svc".parse().unwrap());
    scene.refused(&owner(), give("role:owner", "org", None), 403, "delegated");
    scene.sender = Some(PrincipalId::BOOTSTRAP);
    scene.ok(&owner(), give("role:owner", "org", None));
}

#[test]
fn a_grant_that_is_over_already_is_refused() {
    let mut scene = cleos();
    let now = scene.now;
    scene.refused(&admin(), give("cap:run.read", "org", Some(now)), 422, "past_time");
    scene.ok(&admin(), give("cap:run.read", "org", Some(now + 1)));
}

#[test]
fn the_platform_is_granted_nothing() {
    Scene::<Grant>::new("acme/grant/bootstrap").refused(&platform(), give("cap:run.read", "org", None), 422, "reserved_id");
}

#[test]
fn grants_are_bounded_and_ended_ones_make_room() {
    let mut scene = cleos();
    let until = scene.now + 10;
    for n in 0..GRANTS_MAX {
        scene.ok(&admin(), give("cap:run.read", &format!("run/r{n}"), (n == 0).then_some(until)));
    }
    scene.refused(&admin(), give("cap:run.read", "org", None), 409, "too_many_grants");
    scene.ok(&admin(), give("cap:run.read", "run/r1", Some(until + 10)));
    scene.now = until;
    assert_eq!(scene.ok(&admin(), give("cap:run.read", "org", None)).len(), 2);
    assert_eq!(scene.state.grants.len(), GRANTS_MAX);
    assert!(!held(&scene).iter().any(|given| given.contains("run/r0 ")));
}

#[test]
fn taking_what_was_never_given_is_corrupt() {
    let taken = GrantEvent::Taken {
        right: "role:admin".parse().unwrap(),
        on: Target::Org,
    };
    assert!(Grant::evolve(GrantState::default(), &taken).is_err());
}
