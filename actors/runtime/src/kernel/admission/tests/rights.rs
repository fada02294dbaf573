use super::*;
use quipu_rules::{
    api_key::{ApiKeyState, Key},
    rights::Charter,
};
use quipu_schemas::rights::Target;

pub(super) const ADA: PrincipalId = PrincipalId::from_static("ada");

pub(super) fn somebody(role: Option<Role>) -> OrgView {
    OrgView {
        version: 3,
        suspended: false,
        requires_key: false,
        role,
    }
}

pub(super) fn named(stream: &str, name: &str) -> CommandEnvelope {
    let given = CommandBody::Given {
        command: Json(serde_json::json!({ name: {} })),
        settles: None,
    };
    CommandEnvelope {
        principal: ADA,
        ..command(stream, given)
    }
}

/// The same, as a reaction of that entity.
pub(super) fn dispatched(envelope: CommandEnvelope, from: &str) -> CommandEnvelope {
    let CommandBody::Given { command, .. } = envelope.body else {
        panic!("not a client's command")
    };
    let settles = Some(ReactionKey {
        stream: from.parse().expect("a stream"),
        version: 1,
        ordinal: 0,
    });
    CommandEnvelope {
        body: CommandBody::Given { command, settles },
        ..envelope
    }
}

pub(super) fn given_to(right: &str, until: Option<Millis>) -> Given {
    Given {
        right: right.parse().expect("a right"),
        on: Target::Org,
        until,
    }
}

pub(super) fn key_of(principal: PrincipalId, scopes: &[&str], expires_at: Millis) -> KnownKey {
    known(&ApiKeyState::Active(plain_key(principal, scopes, expires_at)))
}

pub(super) fn plain_key(principal: PrincipalId, scopes: &[&str], expires_at: Millis) -> Key {
    Key {
        name: "k".into(),
        principal,
        scopes: scopes.iter().map(|scope| scope.parse().expect("a scope")).collect(),
        networks: Vec::new(),
        lifetime_days: 1,
        expires_at,
        hash: Digest::ZERO,
        argon2id: false,
        old: None,
        made_by: None,
    }
}

pub(super) fn known(state: &ApiKeyState) -> KnownKey {
    let charter: Charter = Kinds::builtin().charter([]);
    KnownKey::of(&EntityId::from_static("key_1"), state, &charter.roles([]), &charter).expect("a key that was made")
}

#[test]
fn a_role_that_is_too_low_is_refused_and_a_grant_helps() {
    let create = || named("acme/conversation/room", "create");
    assert_eq!(Desk::new(somebody(Some(Role::Member))).code(create(), HERE), "");
    assert_eq!(Desk::new(somebody(Some(Role::Viewer))).code(create(), HERE), "missing_right");
    assert_eq!(Desk::new(somebody(None)).code(create(), HERE), "no_access");
    let mut desk = Desk::new(somebody(Some(Role::Viewer)));
    desk.given = vec![given_to("cap:conversation.create", Some(NOW + 1))];
    let admitted = desk.admit(create(), HERE).map_err(|problem| problem.code);
    assert_eq!(admitted.map(|admitted| admitted.authority.permitted), Ok(true));
    let mut late = Desk::new(somebody(Some(Role::Viewer)));
    late.given = vec![given_to("cap:conversation.create", Some(NOW))];
    assert_eq!(late.code(create(), HERE), "missing_right");
    let mut elsewhere = Desk::new(somebody(Some(Role::Viewer)));
    elsewhere.given = vec![Given {
        on: "conversation/other".parse().expect("a target"),
        ..given_to("cap:conversation.create", None)
    }];
    assert_eq!(elsewhere.code(create(), HERE), "missing_right");
    assert_eq!(
        Desk::new(somebody(Some(Role::Owner))).code(named(ROOM, "fly"), HERE),
        "missing_right"
    );
}

#[test]
fn outsiders_pass_where_the_rules_decide() {
    let mut desk = Desk::new(somebody(None));
    let admitted = desk.admit(named(ROOM, "post"), HERE).map_err(|problem| problem.code);
    assert_eq!(admitted.map(|admitted| admitted.authority.permitted), Ok(false));
    let mut member = Desk::new(somebody(Some(Role::Member)));
    let admitted = member.admit(named(ROOM, "post"), HERE).map_err(|problem| problem.code);
    assert_eq!(admitted.map(|admitted| admitted.authority.permitted), Ok(true));
}

#[test]
fn nobody_learns_whether_an_org_exists() {
    let refusal = |org: OrgView| {
        let mut desk = Desk::new(org);
        desk.admit(by_key(named(ROOM, "create")), HERE).err()
    };
    let missing = refusal(MISSING).expect("refused");
    assert_eq!((missing.status, missing.code.as_str()), (403, "no_access"));
    let mut outsider = Desk::new(somebody(None));
    outsider.keys = vec![key_of(ADA, &[], NOW + 1)];
    let there = outsider.admit(by_key(named(ROOM, "create")), HERE).err().expect("refused");
    assert_eq!(
        (there.code, there.detail, there.fix, there.field),
        (missing.code, missing.detail, missing.fix, missing.field)
    );
}

#[test]
fn a_key_cuts_its_principals_rights() {
    let code = |scopes: &[&str], kind: &str, command: &str| {
        let mut desk = Desk::new(somebody(Some(Role::Owner)));
        desk.keys = vec![key_of(ADA, scopes, NOW + 1)];
        desk.code(by_key(named(&format!("acme/{kind}/x"), command)), HERE)
    };
    assert_eq!(code(&[], "agent", "create"), "");
    assert_eq!(code(&["cap:run.*"], "run", "create"), "");
    assert_eq!(code(&["cap:run.*"], "conversation", "create"), "missing_right");
    assert_eq!(
        code(&["cap:run.*"], "conversation", "post"),
        "missing_right",
        "also where the rules decide"
    );
    assert_eq!(code(&["role:member"], "conversation", "post"), "");
    assert_eq!(code(&["role:member"], "agent", "create"), "missing_right");
    // A scope gives nothing that its principal does not hold.
    let mut viewer = Desk::new(somebody(Some(Role::Viewer)));
    viewer.keys = vec![key_of(ADA, &["cap:agent.*"], NOW + 1)];
    assert_eq!(viewer.code(by_key(named("acme/agent/x", "create")), HERE), "missing_right");
}

#[test]
fn rules_are_told_of_a_key_that_is_cut() {
    let narrowed = |scopes: &[&str]| {
        let mut desk = Desk::new(somebody(Some(Role::Owner)));
        desk.keys = vec![key_of(ADA, scopes, NOW + 1)];
        let admitted = desk.admit(by_key(named(ROOM, "create")), HERE).map_err(|problem| problem.code);
        admitted.map(|admitted| (admitted.authority.narrowed, admitted.authority.platform))
    };
    assert_eq!(narrowed(&[]), Ok((false, false)));
    assert_eq!(narrowed(&["cap:conversation.*"]), Ok((true, false)));
}

#[test]
fn an_ended_key_does_nothing_and_answers_nothing() {
    let active = key_of(ADA, &[], NOW);
    for key in [active.clone(), key_of(PrincipalId::from_static("bob"), &[], NOW + 1)] {
        let mut desk = Desk::new(somebody(Some(Role::Owner)));
        desk.keys = vec![key];
        assert_eq!(desk.code(by_key(named(ROOM, "create")), HERE), "credential_ended");
        assert!(!desk.asked.contains(&Question::Receipt), "{:?}", desk.asked);
    }
    let fresh = || Desk::new(somebody(Some(Role::Owner)));
    assert_eq!(
        fresh().code(by_key(named(ROOM, "create")), HERE),
        "credential_ended",
        "there is none of that id"
    );
    let session = CommandEnvelope {
        credential: "session/s1".parse().ok(),
        ..named(ROOM, "create")
    };
    assert_eq!(
        fresh().code(session, HERE),
        "credential_ended",
        "of a kind that this release does not know"
    );
    // Whoever shows a credential is not the holder of the node's token, whatever they are called.
    let mut posing = Desk::new(somebody(None));
    posing.keys = vec![key_of(PrincipalId::BOOTSTRAP, &[], NOW + 1)];
    let posed = CommandEnvelope {
        principal: PrincipalId::BOOTSTRAP,
        ..by_key(named(ROOM, "create"))
    };
    assert_eq!(posing.code(posed, HERE), "no_access");
}

#[test]
fn a_dispatch_is_cut_by_the_key_of_its_cause() {
    let refused = |keys: Vec<KnownKey>, envelope: CommandEnvelope| {
        let mut desk = Desk::new(somebody(Some(Role::Owner)));
        desk.keys = keys;
        let admitted = desk.admit(envelope, HERE).map_err(|problem| problem.code);
        admitted.map(|admitted| admitted.refused.map(|problem| problem.code))
    };
    let post = |from| dispatched(by_key(named(ROOM, "post")), from);
    let narrow = || vec![key_of(ADA, &["cap:run.*"], NOW + 1)];
    // It is put to the entity all the same, which settles it.
    let code = |code: &str| Ok(Some(code.to_owned()));
    assert_eq!(refused(narrow(), post("acme/run/r")), code("missing_right"));
    assert_eq!(refused(vec![key_of(ADA, &[], NOW + 1)], post("acme/run/r")), Ok(None));
    assert_eq!(refused(vec![key_of(ADA, &[], NOW)], post("acme/run/r")), code("credential_ended"));
    assert_eq!(refused(vec![key_of(ADA, &[], NOW + 1)], post("other/run/r")), code("no_access"));
    // Words of entities are none of a client's commands.
    let word = dispatched(by_key(named(ROOM, "finish_turn")), "acme/run/r");
    assert_eq!(refused(Vec::new(), word), Ok(None));
}

#[test]
fn whoever_acts_for_another_must_hold_the_right_too() {
    let for_ada = || CommandEnvelope {
        principal: PrincipalId::from_static("agent"),
        on_behalf_of: Some(ADA),
        ..named(ROOM, "create")
    };
    let code = |of_sender: &[&str]| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.of_sender = of_sender.iter().map(|right| given_to(right, None)).collect();
        desk.code(for_ada(), HERE)
    };
    assert_eq!(code(&[]), "no_access");
    assert_eq!(code(&["cap:conversation.create"]), "missing_right", "it may not speak for others");
    assert_eq!(code(&["cap:principal.act_as"]), "missing_right");
    assert_eq!(code(&["cap:principal.act_as", "cap:conversation.create"]), "");
    let by_token = CommandEnvelope {
        principal: PrincipalId::BOOTSTRAP,
        ..for_ada()
    };
    let mut desk = Desk::new(somebody(Some(Role::Member)));
    assert_eq!(desk.code(by_token, HERE), "");
    assert!(
        !desk
            .asked
            .iter()
            .any(|asked| matches!(asked, Question::Sender(_) | Question::Key(_)))
    );
}

#[test]
fn naming_another_to_act_as_takes_its_own_right() {
    let create = |named: &str| {
        let given = CommandBody::Given {
            command: Json(serde_json::json!({ "create": { "act_as": named } })),
            settles: None,
        };
        CommandEnvelope {
            principal: ADA,
            ..command("acme/run/r", given)
        }
    };
    let code = |given: &[&str], envelope: CommandEnvelope| {
        let mut desk = Desk::new(somebody(Some(Role::Owner)));
        desk.given = given.iter().map(|right| given_to(right, None)).collect();
        desk.keys = vec![key_of(ADA, &["cap:run.*"], NOW + 1)];
        desk.code(envelope, HERE)
    };
    let right = ["cap:principal.act_as"];
    assert_eq!(code(&[], create("robot")), "missing_right");
    assert_eq!(code(&right, create("robot")), "");
    assert_eq!(code(&[], create("ada")), "", "everybody acts as themselves");
    assert_eq!(code(&right, by_key(create("robot"))), "missing_right", "the key is cut to runs");
    assert_eq!(code(&[], by_key(create("ada"))), "");
    let by_token = CommandEnvelope {
        principal: PrincipalId::BOOTSTRAP,
        ..create("robot")
    };
    assert_eq!(code(&[], by_token.clone()), "");
    let for_ada = CommandEnvelope {
        on_behalf_of: Some(ADA),
        ..by_token
    };
    assert_eq!(code(&[], for_ada.clone()), "missing_right", "what counts is what she may");
    assert_eq!(code(&right, for_ada), "");
    // What an entity dispatches is asked in the same way, and settled as refused.
    let mut desk = Desk::new(somebody(Some(Role::Owner)));
    let sent = desk
        .admit(dispatched(create("robot"), "acme/run/parent"), HERE)
        .map_err(|problem| problem.code);
    let refused = sent.map(|admitted| admitted.refused.map(|problem| problem.code));
    assert_eq!(refused, Ok(Some("missing_right".into())));
}

#[test]
fn whoever_speaks_for_another_is_asked_where_rules_decide() {
    let code = |of_sender: &[&str]| {
        let mut desk = Desk::new(somebody(Some(Role::Member)));
        desk.of_sender = of_sender.iter().map(|right| given_to(right, None)).collect();
        let for_ada = CommandEnvelope {
            principal: PrincipalId::from_static("agent"),
            on_behalf_of: Some(ADA),
            ..named(ROOM, "post")
        };
        desk.code(for_ada, HERE)
    };
    assert_eq!(code(&["cap:principal.act_as"]), "missing_right");
    assert_eq!(code(&["cap:principal.act_as", "cap:conversation.post"]), "");
}

#[test]
fn a_repeated_command_gets_its_receipt_without_the_right() {
    let first = || FirstReceipt {
        digest: Digest::ZERO,
        principal: ADA,
        on_behalf_of: None,
        version: 5,
        position: Position {
            partition: 0,
            offset: 9,
            index: 0,
        },
        unchanged: false,
        durability: Durability::Fsync,
    };
    let mut desk = Desk::new(somebody(Some(Role::Viewer)));
    desk.receipt = Some(first());
    let admitted = desk.admit(named(ROOM, "create"), HERE).map_err(|problem| problem.code);
    let kept = admitted.map(|admitted| (admitted.seen.is_some(), admitted.refused.map(|problem| problem.code)));
    assert_eq!(kept, Ok((true, Some("missing_right".into()))));
    let mut another = Desk::new(somebody(Some(Role::Viewer)));
    another.receipt = Some(FirstReceipt {
        principal: PrincipalId::from_static("bob"),
        ..first()
    });
    assert_eq!(another.code(named(ROOM, "create"), HERE), "missing_right");
}

#[test]
fn a_grant_on_a_project_holds_for_what_belongs_to_it() {
    let on = |id: &'static str| EntityId::from_static(id);
    let mut desk = Desk::new(somebody(Some(Role::Viewer)));
    desk.given = vec![Given {
        on: Target::Project(on("p1")),
        ..given_to("cap:entity.*", Some(NOW + 1))
    }];
    let rename = || named("acme/entity/ent_1", "rename");
    for (project, may) in [(None, false), (Some("p2"), false), (Some("p1"), true)] {
        desk.belongs.project = project.map(on);
        desk.asked.clear();
        let admitted = desk.admit(rename(), HERE);
        assert_eq!(admitted.is_ok(), may, "{project:?}");
        assert_eq!(
            admitted.err().map(|problem| problem.code),
            (!may).then(|| "missing_right".to_owned())
        );
    }
    // The project itself is within it, and nothing else of the org.
    desk.belongs = Belongs::default();
    desk.given[0].right = "cap:project.*".parse().unwrap();
    desk.asked.clear();
    assert!(desk.admit(named("acme/project/p1", "rename"), HERE).is_ok());
    desk.asked.clear();
    assert!(desk.admit(named("acme/project/p2", "rename"), HERE).is_err());
}

/// The same with what it says.
pub(super) fn saying(stream: &str, name: &str, body: serde_json::Value) -> CommandEnvelope {
    let given = CommandBody::Given {
        command: Json(serde_json::json!({ name: body })),
        settles: None,
    };
    CommandEnvelope {
        body: given,
        ..named(stream, name)
    }
}
