//! Sessions that a client of an org began.

use super::{principals::*, rights::*, *};
use quipu_kinds::application::{ApplicationEvent, ClientAuthentication, DescribeApplication};
use quipu_kinds::principal::SessionStart;
use quipu_rules::{
    application::{App, Application, Described},
    decider::Decider,
};

/// A client after these events.
fn client(scopes: &[&str], then: &[ApplicationEvent]) -> ApplicationState {
    let said: DescribeApplication = serde_json::from_value(serde_json::json!({
        "name": "App",
        "grants": ["client_credentials"],
        "authentication": "client_secret_basic",
        "scopes": scopes,
    }))
    .expect("a client");
    let fold = |state, event: &ApplicationEvent| Application::evolve(state, event).expect("it fits");
    then.iter()
        .fold(fold(ApplicationState::Missing, &ApplicationEvent::Created(said)), fold)
}

#[test]
fn a_session_opens_what_its_client_may_still_ask_for() {
    let (room, runs) = (&["cap:conversation.*"][..], &["cap:run.*"][..]);
    let stop = ApplicationEvent::Suspended { reason: String::new() };
    let go_on = ApplicationEvent::Resumed {};
    let code_of = |client: Option<ApplicationState>, settles: Option<ReactionKey>| {
        let begun_by = SessionStart {
            client: Some("acme.app_1".into()),
            ..start(&["cap:conversation.create"])
        };
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.principals = vec![principal(acme(USR), &[begun(begun_by, NOW + 1)])];
        desk.applications
            .extend(client.map(|client| ("acme.app_1".parse().expect("a client"), client)));
        let mut command = by_session(USR, ROOM, "create");
        if let CommandBody::Given { settles: of, .. } = &mut command.body {
            *of = settles;
        }
        let admitted = desk.admit(command, HERE);
        // What a run sends is settled by its refusal.
        admitted.map_or_else(
            |problem| problem.code,
            |admitted| admitted.refused.map_or_else(String::new, |problem| problem.code),
        )
    };
    for settles in [None, Some(key())] {
        let code_of = |client| code_of(client, settles.clone());
        assert_eq!(code_of(Some(client(room, &[]))), "");
        assert_eq!(code_of(Some(client(runs, &[]))), "credential_ended", "it was cut");
        assert_eq!(code_of(Some(client(room, std::slice::from_ref(&stop)))), "application_suspended");
        assert_eq!(code_of(Some(client(room, &[stop.clone(), go_on.clone()]))), "");
        assert_eq!(code_of(None), "credential_ended");
    }
}

fn portal(service: Option<PrincipalId>) -> App {
    App {
        is: Described {
            name: "Portal".into(),
            grants: Vec::new(),
            authentication: ClientAuthentication::None,
            redirect_uris: Vec::new(),
            scopes: Vec::new(),
            keys: Vec::new(),
        },
        service,
        secret: None,
        old_secret: None,
    }
}

#[test]
fn whoever_has_a_clients_secret_may_act_by_its_service() {
    let through = |who: PrincipalId| {
        let session = SessionStart {
            client: Some("acme.portal".into()),
            ..start(&[])
        };
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.principals = vec![principal(acme(who.clone()), &[begun(session, NOW + 1)])];
        let client: ClientId = "acme.portal".parse().expect("a client");
        desk.applications.push((client, ApplicationState::Active(portal(Some(BOT)))));
        desk.admit(by_session(who, ROOM, "create"), HERE)
            .map(|admitted| admitted.authority.through)
    };
    assert_eq!(through(USR).ok(), Some(false), "a person lets it act");
    assert_eq!(through(BOT).ok(), Some(true));
}

#[test]
fn a_session_opens_as_long_as_its_client_is_not_stopped() {
    let app = || portal(None);
    let code = |client: &str, known: Option<ApplicationState>| {
        let session = SessionStart {
            client: Some(client.into()),
            ..start(&[])
        };
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.principals = vec![principal(acme(USR), &[begun(session, NOW + 1)])];
        let portal: ClientId = "beta.portal".parse().expect("a client");
        desk.applications.extend(known.map(|known| (portal, known)));
        desk.code(by_session(USR, ROOM, "create"), HERE)
    };
    let reason = String::new;
    let suspended = ApplicationState::Suspended {
        app: app(),
        reason: reason(),
    };
    let retired = ApplicationState::Retired {
        app: app(),
        reason: reason(),
    };
    assert_eq!(code("beta.portal", Some(ApplicationState::Active(app()))), "");
    assert_eq!(code("beta.portal", Some(suspended)), "application_suspended");
    assert_eq!(code("beta.portal", Some(retired)), "credential_ended");
    assert_eq!(code("beta.portal", None), "credential_ended");
    assert_eq!(code("web", None), "", "no org knows that program");
}

#[test]
fn inviting_meets_what_joining_takes_and_accepting_passes() {
    let invite = || named("acme/invite/inv_1", "create");
    let join = |from| dispatched(named("acme/org/acme", "add_member"), from);
    let code = |desk: &mut Desk, command: CommandEnvelope| {
        desk.asked.clear();
        let admitted = desk.admit(command, HERE);
        admitted
            .map(|admitted| admitted.refused.map(|problem| problem.code))
            .map_err(|problem| problem.code)
    };
    let mut desk = Desk::new(somebody(Some(Role::Owner)));
    assert_eq!(code(&mut desk, invite()), Ok(None));
    desk.gates = vec!["cap:org.add_member".parse().unwrap()];
    assert_eq!(code(&mut desk, invite()), Err("approval_required".to_owned()));
    assert_eq!(code(&mut desk, dispatched(invite(), "acme/approval/apr_1")), Ok(None));
    assert_eq!(code(&mut desk, join("acme/invite/inv_1")), Ok(None));
    for (from, refused) in [("acme/run/r1", "approval_required"), ("other/invite/inv_1", "no_access")] {
        assert_eq!(code(&mut desk, join(from)), Ok(Some(refused.to_owned())), "{from}");
    }
    // Nothing but joining follows from an invite.
    let removed = dispatched(named("acme/org/acme", "remove_member"), "acme/invite/inv_1");
    desk.gates = vec!["cap:org.*".parse().unwrap()];
    assert_eq!(code(&mut desk, removed), Ok(Some("approval_required".to_owned())));
}
