//! How sessions begin, are opened, go on and end.

use super::*;
use quipu_schemas::limits::{DEVICE_CODE_MS, SESSION_CODE_MS, SESSION_REUSE_MS, SESSIONS_MAX};

#[test]
fn sessions_end_by_the_clock_and_the_timer_notes_it() {
    let mut scene = service();
    scene.ok(&node(), started(start(1)));
    assert_eq!(wakes(&scene), Some(scene.now + DAY_MS));
    scene.now += 1;
    scene.ok(&node(), started(start(2)));
    assert_eq!(wakes(&scene), Some(scene.now - 1 + DAY_MS), "the first to end");
    scene.now += DAY_MS - 1;
    assert_eq!(live(&scene), 1, "the clock decides");
    let events = scene.ok(&node(), PrincipalWord::ExpireSessions(quipu_kinds::principal::ExpireSessions {}));
    assert_eq!(why(&events), SessionEnd::Expired);
    assert_eq!(wakes(&scene), Some(scene.now + 1));
    scene.ok(
        &node(),
        PrincipalWord::EndSession(EndSession {
            id: EntityId::from_static("ses_2"),
        }),
    );
    assert_eq!(wakes(&scene), None);
}

#[test]
fn the_oldest_session_makes_room() {
    let mut scene = service();
    for n in 0..SESSIONS_MAX {
        scene.ok(&node(), started(start(n)));
    }
    let events = scene.ok(&node(), started(start(SESSIONS_MAX)));
    let PrincipalEvent::SessionsEnded { ids, why } = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!((ids.as_slice(), *why), (&[EntityId::from_static("ses_0")][..], SessionEnd::Crowded));
    assert_eq!(live(&scene), SESSIONS_MAX);
    // What is over makes room first.
    scene.now += DAY_MS;
    let events = scene.ok(&node(), started(start(SESSIONS_MAX + 1)));
    assert!(matches!(&events[0], PrincipalEvent::SessionsEnded { why: SessionEnd::Expired, ids } if ids.len() == SESSIONS_MAX));
    assert_eq!(live(&scene), 1);
}

#[test]
fn a_code_opens_its_session_once() {
    let mut scene = service();
    scene.ok(&node(), with_code(1));
    assert_eq!((live(&scene), wakes(&scene)), (0, Some(scene.now + SESSION_CODE_MS)));
    scene.refused(&node(), redeem(|redeem| redeem.code = hash(8)), 403, "grant_refused");
    scene.refused(&node(), refresh(1, 2), 403, "grant_refused");
    scene.ok(&node(), redeem(|_| ()));
    assert_eq!((live(&scene), wakes(&scene)), (1, Some(scene.now + DAY_MS)));
    scene.refused(&node(), redeem(|redeem| redeem.code = hash(8)), 403, "grant_refused");
    assert_eq!(why(&scene.ok(&node(), redeem(|_| ()))), SessionEnd::CodeReused);
    assert_eq!(live(&scene), 0);
    scene.refused(&node(), redeem(|_| ()), 403, "grant_refused");
}

/// What waits for a device that a person has let in.
fn let_in(n: usize) -> PrincipalWord {
    match with_code(n) {
        PrincipalWord::StartSession(start) => started(StartSession {
            waits_ms: Some(DEVICE_CODE_MS),
            ..start
        }),
        word => word,
    }
}

#[test]
fn what_waits_for_a_device_ends_with_all_sessions() {
    let stops: [fn(&mut Scene<Principal>); 4] = [
        |scene| drop(scene.ok(&node(), PrincipalCommand::EndSessions(EndSessions {}))),
        |scene| drop(scene.ok(&node(), PrincipalWord::SetPassword(password(true)))),
        |scene| {
            scene.ok(&node(), PrincipalCommand::Suspend(SuspendPrincipal { reason: String::new() }));
            scene.refused(&node(), redeem(|_| ()), 403, "principal_suspended");
            scene.ok(&node(), PrincipalCommand::Resume(ResumePrincipal {}));
        },
        |scene| scene.now += DEVICE_CODE_MS,
    ];
    for stop in stops {
        let mut scene = person();
        scene.ok(&node(), let_in(1));
        scene.now += DEVICE_CODE_MS - 1;
        stop(&mut scene);
        scene.refused(&node(), redeem(|_| ()), 403, "grant_refused");
        assert_eq!(live(&scene), 0);
    }
    let mut scene = person();
    scene.ok(&node(), let_in(1));
    scene.now += DEVICE_CODE_MS - 1;
    scene.ok(&node(), redeem(|_| ()));
    assert_eq!(live(&scene), 1);
    let too_long = StartSession {
        waits_ms: Some(DEVICE_CODE_MS + 1),
        ..start(2)
    };
    scene.refused(&node(), started(too_long), 422, "bad_session");
}

#[test]
fn a_code_for_another_client_is_worth_nothing() {
    let changes: [fn(&mut RedeemSession); 4] = [
        |redeem| redeem.client = Some("other".into()),
        |redeem| redeem.client = None,
        |redeem| redeem.redirect_uri = "https://a.example/back/".into(),
        |redeem| redeem.challenge = "d".into(),
    ];
    for change in changes {
        let mut scene = service();
        scene.ok(&node(), with_code(1));
        assert_eq!(why(&scene.ok(&node(), redeem(change))), SessionEnd::CodeReused);
        scene.refused(&node(), redeem(|_| ()), 403, "grant_refused");
    }
    let mut late = service();
    late.ok(&node(), with_code(1));
    late.now += SESSION_CODE_MS;
    late.refused(&node(), redeem(|_| ()), 403, "grant_refused");
}

#[test]
fn a_reused_refresh_token_ends_its_family() {
    let mut scene = service();
    scene.ok(&node(), with_refresh(1));
    scene.ok(&node(), refresh(1, 2));
    scene.ok(&node(), refresh(2, 3));
    let other_client = PrincipalWord::RefreshSession(RefreshSession {
        id: EntityId::from_static("ses_1"),
        hash: hash(3),
        new_hash: hash(4),
        client: None,
    });
    scene.refused(&node(), other_client, 403, "grant_refused");
    assert_eq!(live(&scene), 1);
    assert_eq!(why(&scene.ok(&node(), refresh(1, 4))), SessionEnd::RefreshReused);
    scene.refused(&node(), refresh(3, 4), 403, "grant_refused");
}

#[test]
fn a_client_uses_its_session_again_while_it_lasts() {
    let mut scene = service();
    let again = |n, change: fn(&mut SessionStart)| {
        let mut session = session(n);
        change(&mut session);
        started(StartSession {
            session,
            lifetime_ms: 2 * SESSION_REUSE_MS,
            reuse: true,
            ..start(n)
        })
    };
    scene.ok(&node(), again(1, |_| ()));
    scene.unchanged(&node(), again(2, |_| ()));
    scene.ok(&node(), again(3, |session| session.audience = Some("x".into())));
    scene.ok(&node(), again(4, |session| session.scope = vec!["cap:run.read".parse().unwrap()]));
    scene.now += SESSION_REUSE_MS + 1;
    assert!(!scene.ok(&node(), again(5, |_| ())).is_empty(), "it ends too soon");
}
