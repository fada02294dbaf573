use super::*;
use crate::scene::{As, OneKey, Scene, as_role, platform, sealed, sent_by};
use quipu_schemas::context::Authority;

fn create(role: Role, days: Option<u32>) -> InviteCommand {
    InviteCommand::Create(CreateInvite {
        address: sealed(&"bob@example.org".to_owned()),
        role,
        days,
    })
}
fn accept(member: &'static str) -> InviteCommand {
    InviteCommand::Accept(AcceptInvite {
        member: PrincipalId::from_static(member),
    })
}
fn revoke() -> InviteCommand {
    InviteCommand::Revoke(RevokeInvite { reason: "moved".into() })
}
fn expire() -> InviteWord {
    InviteWord::Expire(ExpireInvite {})
}
fn answered(refused: Option<&str>) -> InviteWord {
    InviteWord::Answered(OrgAnswered {
        refused: refused.map(str::to_owned),
    })
}
fn admin() -> As {
    as_role("ann", Some(Role::Admin))
}
fn owner() -> As {
    as_role("ola", Some(Role::Owner))
}
fn missing() -> Scene<Invite> {
    let mut scene = Scene::new("acme/invite/inv_1");
    scene.opener = Box::new(OneKey);
    scene
}
fn pending() -> Scene<Invite> {
    let mut scene = missing();
    scene.ok(&admin(), create(Role::Member, None));
    scene
}

#[test]
fn nobody_is_asked_to_more_than_the_asker_has() {
    let mut scene = missing();
    scene.refused(&as_role("max", Some(Role::Member)), create(Role::Viewer, None), 403, "role_needed");
    scene.refused(&admin(), create(Role::Owner, None), 403, "role_needed");
    scene.refused(&sent_by("ann", "acme/run/r1"), create(Role::Member, None), 403, "not_a_person");
    let mut approved = admin();
    approved.authority.dispatched_by = Some("acme/approval/apr_1".parse().unwrap());
    missing().ok(&approved, create(Role::Member, None));
    let mut cut = admin();
    cut.authority = Authority {
        narrowed: true,
        ..cut.authority
    };
    scene.refused(&cut, create(Role::Member, None), 403, "narrow_credential");
    for days in [0, INVITE_DAYS_MAX + 1] {
        scene.refused(&owner(), create(Role::Owner, Some(days)), 422, "bad_days");
    }
    scene.ok(&owner(), create(Role::Owner, Some(INVITE_DAYS_MAX)));
    scene.refused(&owner(), create(Role::Member, None), 409, "invite_exists");
}

#[test]
fn whoever_is_asked_joins_once_in_the_askers_name() {
    let mut scene = pending();
    let letter = |reaction: &Reaction| matches!(reaction, Reaction::Perform(perform) if matches!(&perform.effect, Effect::Mail(call) if call.purpose == MailPurpose::Invite));
    assert!(scene.reactions.iter().any(letter), "{:?}", scene.reactions);
    // No client says that somebody has shown the code, whatever they may.
    scene.refused(&owner(), accept("usr_1"), 403, "not_the_node");
    scene.refused(&platform(), accept("bot"), 422, "reserved_id");
    scene.ok(&platform(), accept("usr_1"));
    let sent = json!({ "add_member": { "principal": "usr_1", "role": "member" } });
    assert_eq!(scene.dispatched(), [("acme/org/acme".to_owned(), sent)]);
    let acting = Invite::acts_as(&scene.state).unwrap();
    assert_eq!((acting.principal.as_str(), acting.credential), ("ann", None));
    scene.unchanged(&platform(), accept("usr_1"));
    scene.refused(&platform(), accept("usr_2"), 409, "invite_over");
    scene.refused(&admin(), revoke(), 409, "invite_over");
    scene.unchanged(&sent_by("ann", "acme/run/r1"), answered(None));
    scene.ok(&platform(), answered(Some("role_needed")));
    assert!(matches!(&scene.state, InviteState::Answered { refused: Some(code), .. } if code == "role_needed"));
    scene.unchanged(&platform(), accept("usr_1"));
}

#[test]
fn an_invite_that_is_over_opens_nothing() {
    let mut scene = pending();
    scene.ok(&admin(), revoke());
    scene.unchanged(&admin(), revoke());
    scene.refused(&platform(), accept("usr_1"), 409, "invite_over");
    let mut scene = pending();
    scene.unchanged(&platform(), expire());
    scene.now += u64::from(INVITE_DAYS) * DAY_MS;
    // The clock decides, and not the timer.
    assert!(scene.state.open_at(scene.now).is_none() && scene.state.open_at(scene.now - 1).is_some());
    scene.refused(&platform(), accept("usr_1"), 409, "invite_over");
    scene.ok(&platform(), expire());
    scene.refused(&platform(), accept("usr_1"), 409, "invite_over");
    let mut scene = missing();
    scene.refused(&platform(), accept("usr_1"), 404, "invite_not_found");
    scene.refused(&admin(), revoke(), 404, "invite_not_found");
}

#[test]
fn invite_to_what_is_not_an_address_is_refused() {
    for bad in ["bob", "bob@", "@example.org", "bob smith@example.org"] {
        let create = InviteCommand::Create(CreateInvite {
            address: sealed(&bad.to_owned()),
            role: Role::Member,
            days: None,
        });
        missing().refused(&admin(), create, 422, "bad_address");
    }
}
