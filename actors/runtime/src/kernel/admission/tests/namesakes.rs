//! Somebody from another org is not their namesake of this one, wherever what they caused comes to.

use super::{principals::*, rights::*, *};
use quipu_kinds::principal::PrincipalEvent;

const FAR: &str = "beta/run/far";

fn beta(who: PrincipalId) -> Home {
    Home::of(&OrgId::from_static("beta"), &who)
}

/// A dispatch of an entity for somebody whom the node's token named there.
fn caused_for(who: PrincipalId, name: &str, from: &str) -> CommandEnvelope {
    CommandEnvelope {
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: Some(who),
        ..dispatched(named(ROOM, name), from)
    }
}

fn refused_with(desk: &mut Desk, envelope: CommandEnvelope) -> Option<String> {
    desk.asked.clear();
    let admitted = desk.admit(envelope, HERE).expect("what is owed is decided");
    admitted.refused.map(|problem| problem.code)
}

#[test]
fn foreign_actor_holds_nothing_of_a_namesake() {
    let no_access = Some("no_access".to_owned());
    let owner = || {
        let mut desk = Desk::new(somebody(Some(Role::Owner)));
        desk.given = vec![given_to("cap:principal.act_as", None)];
        desk
    };
    assert_eq!(refused_with(&mut owner(), caused_for(BOT, "post", "acme/run/near")), None);
    assert_eq!(refused_with(&mut owner(), caused_for(BOT, "post", FAR)), no_access);
    let by_itself = CommandEnvelope {
        principal: BOT,
        on_behalf_of: None,
        ..caused_for(BOT, "post", FAR)
    };
    assert_eq!(refused_with(&mut owner(), by_itself), no_access);
    // Where the rules of a kind let everybody in, too.
    let leave = dispatched(named("acme/org/acme", "remove_member"), FAR);
    assert_eq!(refused_with(&mut owner(), leave), no_access);
    // What it caused there before says whose it is, whichever org it comes through.
    let through_here = CommandEnvelope {
        home: Some(OrgId::from_static("beta")),
        ..caused_for(BOT, "post", "acme/run/near")
    };
    assert_eq!(refused_with(&mut owner(), through_here), no_access);
    let home_again = CommandEnvelope {
        home: Some(OrgId::from_static("acme")),
        ..caused_for(BOT, "post", FAR)
    };
    assert_eq!(refused_with(&mut owner(), home_again), None);
    // People are the same everywhere, and the node's own token is nobody of an org.
    assert_eq!(refused_with(&mut owner(), caused_for(USR, "post", FAR)), None);
    let platform = CommandEnvelope {
        on_behalf_of: None,
        ..caused_for(BOT, "post", FAR)
    };
    assert_eq!(refused_with(&mut owner(), platform), None);
}

#[test]
fn words_of_a_foreign_actor_bring_no_role() {
    let word = |from: &str| caused_for(BOT, "a_word_of_entities", from);
    let role = |from| {
        let admitted = Desk::new(somebody(Some(Role::Owner))).admit(word(from), HERE);
        admitted.expect("words are decided by rules").authority.role
    };
    assert_eq!((role("acme/run/near"), role(FAR)), (Some(Role::Owner), None));
}

#[test]
fn foreign_actor_is_stopped_by_its_own_principal() {
    let stopped = [PrincipalEvent::Suspended { reason: String::new() }];
    let mut desk = Desk::new(somebody(None));
    desk.principals = vec![principal(acme(BOT), &stopped)];
    assert_eq!(
        refused_with(&mut desk, caused_for(BOT, "post", FAR)),
        Some("no_access".to_owned()),
        "a namesake was"
    );
    desk.principals = vec![principal(beta(BOT), &stopped)];
    desk.asked.clear();
    let refused = desk.admit(caused_for(BOT, "post", FAR), HERE).err();
    assert_eq!(refused.map(|problem| problem.code).as_deref(), Some("principal_suspended"));
}

#[test]
fn foreign_key_is_not_one_of_this_org() {
    let mut desk = Desk::new(somebody(Some(Role::Owner)));
    desk.keys = vec![key_of(USR, &[], NOW + 1)];
    let by_key = |home: Option<&'static str>| {
        by_key(CommandEnvelope {
            principal: USR,
            home: home.map(OrgId::from_static),
            ..dispatched(named(ROOM, "post"), "acme/run/near")
        })
    };
    assert_eq!(refused_with(&mut desk, by_key(None)), None);
    assert_eq!(refused_with(&mut desk, by_key(Some("beta"))), Some("no_access".to_owned()));
}
