//! Who manages all entities of a kind: everybody of the chain must hold the right to it.

use super::{
    rights::{ADA, given_to, key_of, named, somebody},
    *,
};

fn reserve() -> CommandEnvelope {
    named("acme/quota/all", "reserve")
}

fn manages(desk: &mut Desk, envelope: CommandEnvelope) -> bool {
    let admitted = desk.admit(envelope, HERE).map_err(|problem| problem.code);
    admitted.map(|admitted| admitted.authority.manages).expect("admitted")
}

#[test]
fn managing_takes_the_right_of_the_kind() {
    for (role, is_so) in [(Role::Member, false), (Role::Admin, true), (Role::Owner, true)] {
        assert_eq!(manages(&mut Desk::new(somebody(Some(role))), reserve()), is_so, "{role:?}");
    }
    let mut granted = Desk::new(somebody(Some(Role::Member)));
    granted.given = vec![given_to("cap:quota.manage", None)];
    assert!(manages(&mut granted, reserve()));
    // Other kinds have no such right.
    let talk = named("acme/conversation/room", "create");
    assert!(!manages(&mut Desk::new(somebody(Some(Role::Owner))), talk));
}

#[test]
fn a_credential_or_a_sender_that_lacks_it_cuts_it() {
    let by_scopes = |scopes: &[&str]| {
        let mut desk = Desk::new(somebody(Some(Role::Admin)));
        desk.keys = vec![key_of(ADA, scopes, NOW + 1)];
        manages(&mut desk, by_key(reserve()))
    };
    assert!(by_scopes(&[]) && by_scopes(&["cap:quota.*"]));
    assert!(!by_scopes(&["cap:quota.reserve"]));
    let sent_by_bot = |given: &[&str]| {
        let mut desk = Desk::new(somebody(Some(Role::Admin)));
        desk.of_sender = given.iter().map(|right| given_to(right, None)).collect();
        let envelope = CommandEnvelope {
            principal: PrincipalId::from_static("bot"),
            on_behalf_of: Some(ADA),
            ..reserve()
        };
        manages(&mut desk, envelope)
    };
    let speaks = ["cap:principal.act_as", "cap:quota.reserve"];
    assert!(!sent_by_bot(&speaks));
    assert!(sent_by_bot(&[speaks[0], "cap:quota.*"]));
}
