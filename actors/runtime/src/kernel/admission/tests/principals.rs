//! Sessions, and whoever was stopped.

use super::{rights::*, *};
use quipu_kinds::principal::{Code, PrincipalEvent, PrincipalType, SessionEnd, SessionParent, SessionStart};
use quipu_rules::{
    api_key::{ApiKeyState, Key},
    decider::Decider,
    principal::{Principal, PrincipalState},
};
use quipu_schemas::ids::CredentialId;

pub(super) const USR: PrincipalId = PrincipalId::from_static("usr_1");
pub(super) const BOT: PrincipalId = PrincipalId::from_static("bot");
pub(super) const SES: EntityId = EntityId::from_static("ses_1");

pub(super) fn acme(who: PrincipalId) -> Home {
    Home::of(&OrgId::from_static("acme"), &who)
}

pub(super) fn principal(home: Home, events: &[PrincipalEvent]) -> KnownPrincipal {
    let charter = Kinds::builtin().charter([]);
    let born = if home.is_person() {
        PrincipalEvent::Registered { name: None }
    } else {
        PrincipalEvent::Created {
            kind: PrincipalType::Service,
            name: "Bot".into(),
            owner: ADA,
        }
    };
    let fold = |state: PrincipalState, event| Principal::evolve(state, event).expect("it fits");
    let state = events.iter().fold(fold(PrincipalState::Missing, &born), fold);
    KnownPrincipal::of(home, 2, &state, &charter.roles([]), &charter).expect("somebody")
}

pub(super) fn start(scope: &[&str]) -> SessionStart {
    SessionStart {
        id: SES,
        client: None,
        amr: Vec::new(),
        auth_time: 0,
        scope: scope.iter().map(|scope| scope.parse().expect("a scope")).collect(),
        audience: None,
        act: Vec::new(),
        parent: None,
    }
}

pub(super) fn begun(session: SessionStart, expires_at: Millis) -> PrincipalEvent {
    PrincipalEvent::SessionStarted {
        session,
        expires_at,
        refresh: None,
        code: None,
        code_until: None,
    }
}

pub(super) fn by_session(principal: PrincipalId, stream: &str, command: &str) -> CommandEnvelope {
    CommandEnvelope {
        principal,
        credential: Some(CredentialId::of_session(SES)),
        ..named(stream, command)
    }
}

/// What becomes of a command by a session of a member, whose events these are.
pub(super) fn code_of(events: &[PrincipalEvent]) -> String {
    let mut desk = Desk::new(somebody(Some(Role::Member)));
    desk.principals = vec![principal(acme(USR), events)];
    desk.code(by_session(USR, ROOM, "create"), HERE)
}

#[test]
fn a_live_session_opens_and_nothing_else_does() {
    assert_eq!(code_of(&[begun(start(&[]), NOW + 1)]), "");
    assert_eq!(code_of(&[]), "credential_ended");
    assert_eq!(code_of(&[begun(start(&[]), NOW)]), "credential_ended", "the clock decides");
    let ended = PrincipalEvent::SessionsEnded {
        ids: vec![SES],
        why: SessionEnd::Asked,
    };
    assert_eq!(code_of(&[begun(start(&[]), NOW + 1), ended]), "credential_ended");
    let waiting = PrincipalEvent::SessionStarted {
        session: start(&[]),
        expires_at: NOW + 1,
        refresh: None,
        code: Some(Code {
            hash: Digest::ZERO,
            challenge: "c".into(),
            redirect_uri: "r".into(),
        }),
        code_until: Some(NOW + 1),
    };
    assert_eq!(code_of(&[waiting]), "credential_ended", "it waits for its code");
    let mut nobody = Desk::new(somebody(Some(Role::Member)));
    assert_eq!(nobody.code(by_session(USR, ROOM, "create"), HERE), "credential_ended");
}

#[test]
fn a_session_is_cut_to_its_scope_and_hands_nothing_on() {
    assert_eq!(code_of(&[begun(start(&["cap:conversation.*"]), NOW + 1)]), "");
    assert_eq!(code_of(&[begun(start(&["cap:run.*"]), NOW + 1)]), "missing_right");
    let narrowed = |scope: &[&str]| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.principals = vec![principal(acme(USR), &[begun(start(scope), NOW + 1)])];
        let admitted = desk.admit(by_session(USR, ROOM, "create"), HERE);
        admitted.map(|admitted| admitted.authority.narrowed).map_err(|problem| problem.code)
    };
    assert_eq!(narrowed(&[]), Ok(false));
    assert_eq!(narrowed(&["cap:conversation.*"]), Ok(true));
}

#[test]
fn marked_rights_take_a_person_who_signed_in_lately() {
    let code_of = |auth_time: Millis, amr: &[&str], step_up: &[&str]| {
        let signed_in = SessionStart {
            auth_time,
            amr: amr.iter().map(|method| (*method).to_owned()).collect(),
            ..start(&[])
        };
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.step_up = step_up.iter().map(|text| text.parse().expect("a pattern")).collect();
        desk.principals = vec![principal(acme(USR), &[begun(signed_in, NOW + 1)])];
        desk.code(by_session(USR, ROOM, "create"), HERE)
    };
    let marked = &["cap:conversation.*"][..];
    let (young, old) = (NOW - STEP_UP_MS + 1, NOW - STEP_UP_MS);
    let both = &["pwd", "otp", "mfa"][..];
    assert_eq!(code_of(young, both, marked), "");
    assert_eq!(code_of(old, both, marked), "insufficient_user_authentication");
    assert_eq!(code_of(young, &["pwd"], marked), "insufficient_user_authentication");
    assert_eq!(code_of(old, &["pwd"], &["cap:run.*"]), "", "another family");
    // A key never signs in; nor does a service, whatever its session says.
    let mut desk = Desk::new(somebody(Some(Role::Member)));
    desk.step_up = vec!["cap:conversation.create".parse().expect("a pattern")];
    desk.keys = vec![key_of(BOT, &[], NOW + 1)];
    let by_key = CommandEnvelope {
        principal: BOT,
        credential: Some(desk.keys[0].credential.clone()),
        ..named(ROOM, "create")
    };
    assert_eq!(desk.code(by_key, HERE), "insufficient_user_authentication");
    // The node's token needs no leave.
    let mut desk = Desk::new(somebody(Some(Role::Member)));
    desk.step_up = vec!["cap:conversation.create".parse().expect("a pattern")];
    let by_node = CommandEnvelope {
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: Some(ADA),
        ..named(ROOM, "create")
    };
    assert_eq!(desk.code(by_node, HERE), "");
}

#[test]
fn whoever_was_stopped_does_nothing_by_any_credential() {
    let stopped = |by: &dyn Fn(CommandEnvelope) -> CommandEnvelope, event: PrincipalEvent| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.principals = vec![principal(acme(BOT), &[begun(start(&[]), NOW + 1), event])];
        desk.keys = vec![key_of(BOT, &[], NOW + 1)];
        desk.receipt = Some(FirstReceipt {
            digest: Digest::ZERO,
            principal: BOT,
            on_behalf_of: None,
            version: 5,
            position: Position {
                partition: 0,
                offset: 9,
                index: 0,
            },
            unchanged: false,
            durability: Durability::Fsync,
        });
        let plain = CommandEnvelope {
            principal: BOT,
            ..named(ROOM, "create")
        };
        desk.code(by(plain), HERE)
    };
    let bys: [&dyn Fn(CommandEnvelope) -> CommandEnvelope; 4] = [
        &|plain| plain,
        &by_key,
        &|plain| CommandEnvelope {
            credential: Some(CredentialId::of_session(SES)),
            ..plain
        },
        &|plain| CommandEnvelope {
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: Some(BOT),
            ..plain
        },
    ];
    for by in bys {
        let suspended = PrincipalEvent::Suspended { reason: String::new() };
        assert_eq!(stopped(by, suspended), "principal_suspended");
        let retired = PrincipalEvent::Retired { reason: String::new() };
        assert_eq!(stopped(by, retired), "principal_retired");
    }
}

fn key_made_by(principal: PrincipalId, made_by: Option<PrincipalId>) -> KnownKey {
    let own = plain_key(principal, &[], NOW + 1);
    known(&ApiKeyState::Active(Key { made_by, ..own }))
}

#[test]
fn a_key_that_somebody_else_made_lets_them_act() {
    let through = |made_by: Option<PrincipalId>| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.keys = vec![key_made_by(BOT, made_by)];
        let plain = CommandEnvelope {
            principal: BOT,
            ..named(ROOM, "create")
        };
        desk.admit(by_key(plain), HERE).map(|admitted| admitted.authority.through)
    };
    assert_eq!(through(None).ok(), Some(false));
    assert_eq!(through(Some(ADA)).ok(), Some(true));
}

#[test]
fn what_a_suspended_principal_had_sent_is_not_noted_as_refused() {
    let sent = |event: PrincipalEvent| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.principals = vec![principal(acme(BOT), &[event])];
        let plain = CommandEnvelope {
            principal: BOT,
            ..named(ROOM, "create")
        };
        let admitted = desk.admit(dispatched(plain, "acme/run/r1"), HERE);
        admitted
            .map(|admitted| admitted.refused.map(|problem| problem.code))
            .map_err(|problem| problem.code)
    };
    let reason = String::new;
    assert_eq!(
        sent(PrincipalEvent::Suspended { reason: reason() }),
        Err("principal_suspended".into())
    );
    assert_eq!(
        sent(PrincipalEvent::Retired { reason: reason() }),
        Ok(Some("principal_retired".into()))
    );
}

#[test]
fn a_session_ends_with_the_one_that_it_was_made_from() {
    let child = || SessionStart {
        parent: Some(SessionParent {
            home: acme(USR),
            session: SES,
        }),
        id: EntityId::from_static("ses_2"),
        ..start(&[])
    };
    let code = |parent: &[PrincipalEvent]| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        let events: Vec<_> = parent.iter().cloned().chain([begun(child(), NOW + 9)]).collect();
        desk.principals = vec![principal(acme(USR), &events)];
        let by_child = CommandEnvelope {
            credential: Some(CredentialId::of_session(child().id)),
            ..by_session(USR, ROOM, "create")
        };
        desk.code(by_child, HERE)
    };
    assert_eq!(code(&[begun(start(&[]), NOW + 1)]), "");
    assert_eq!(code(&[begun(start(&["cap:run.*"]), NOW + 1)]), "missing_right", "it opens no more");
    assert_eq!(code(&[begun(start(&[]), NOW)]), "credential_ended");
    assert_eq!(code(&[]), "credential_ended");
}

#[test]
fn whoever_acts_by_a_session_needs_the_right_and_is_not_stopped() {
    let acting = |act: Home, of_actor: &[&str], stopped: bool| {
        let session = SessionStart {
            act: vec![act],
            ..start(&[])
        };
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        let stop = stopped.then(|| PrincipalEvent::Suspended { reason: String::new() });
        desk.principals = vec![
            principal(acme(USR), &[begun(session, NOW + 1)]),
            principal(acme(BOT), stop.as_slice()),
        ];
        desk.of_sender = of_actor.iter().map(|right| given_to(right, None)).collect();
        let admitted = desk.admit(by_session(USR, ROOM, "create"), HERE);
        let told = |admitted: Admitted| (admitted.authority.narrowed, admitted.authority.acting);
        admitted.map(told).map_err(|problem| problem.code)
    };
    let told = Ok((true, vec![BOT]));
    assert_eq!(acting(acme(BOT), &["cap:conversation.*"], false), told, "it hands nothing on");
    assert_eq!(acting(acme(BOT), &["cap:run.*"], false), Err("missing_right".into()));
    assert_eq!(acting(acme(BOT), &["cap:conversation.*"], true), Err("principal_suspended".into()));
    let namesake: Home = "beta/bot".parse().expect("a home");
    assert_eq!(acting(namesake, &["cap:conversation.*"], false), Err("no_access".into()));
}

#[test]
fn sessions_of_people_alone_follow_into_other_orgs() {
    let code = |who: PrincipalId| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.principals = vec![principal(acme(who.clone()), &[begun(start(&[]), NOW + 1)])];
        let sent = dispatched(by_session(who, ROOM, "create"), "beta/run/r1");
        let admitted = desk.admit(sent, HERE);
        admitted
            .map(|admitted| admitted.refused.map(|problem| problem.code))
            .map_err(|problem| problem.code)
    };
    assert_eq!(code(USR), Ok(None));
    assert_eq!(code(BOT), Ok(Some("no_access".into())));
}

#[test]
fn a_nodes_word_reaches_principals_alone() {
    let word = |stream: &str| {
        let told = CommandBody::Told {
            word: Json(serde_json::json!({ "end_session": { "id": "ses_1" } })),
        };
        let mut desk = Desk::new(MISSING);
        let admitted = desk.admit(
            CommandEnvelope {
                principal: PrincipalId::ACCOUNTS,
                ..command(stream, told)
            },
            HERE,
        );
        admitted.map(|admitted| admitted.authority.platform).map_err(|problem| problem.code)
    };
    assert_eq!(word("_platform/principal/usr_1"), Ok(true));
    assert_eq!(word(ROOM), Err("no_access".into()));
    assert_eq!(word("acme/org/acme"), Err("no_access".into()));
}

#[test]
fn rules_hear_of_agents_their_owners_and_who_else_is_behind() {
    let heard = |events: &[PrincipalEvent], command: CommandEnvelope| {
        let mut desk = Desk::new(somebody(Some(Role::Admin)));
        desk.of_sender = vec![given_to("cap:principal.act_as", None), given_to("cap:conversation.*", None)];
        desk.principals = vec![principal(acme(BOT), events)];
        let admitted = desk.admit(command, HERE).map_err(|problem| problem.code).expect("admitted");
        let Authority {
            automaton, owner, through, ..
        } = admitted.authority;
        (automaton, owner, through)
    };
    let by_bot = || CommandEnvelope {
        principal: BOT,
        ..named(ROOM, "create")
    };
    assert_eq!(heard(&[], by_bot()), (true, Some(ADA), false));
    assert_eq!(heard(&[], named(ROOM, "create")), (false, None, false));
    // Whoever added the key may have it.
    let by_key = SessionStart {
        amr: vec!["pop".into(), quipu_rules::principal::method_of_key("thumb")],
        ..start(&[])
    };
    assert_eq!(
        heard(&[begun(by_key, NOW + 1)], by_session(BOT, ROOM, "create")),
        (true, Some(ADA), true)
    );
    // What an agent sends for a person is not that person's own.
    let for_cleo = CommandEnvelope {
        on_behalf_of: Some(PrincipalId::from_static("cleo")),
        ..by_bot()
    };
    assert_eq!(heard(&[], for_cleo), (false, None, true));
}
