use super::*;
use quipu_schemas::limits::PARTICIPANTS_MAX;

fn fresh() -> Cast {
    let mut scene = Scene::new("acme/conversation/cnv_2");
    scene.opener = Box::new(OneKey);
    scene
}
fn create(it: CreateConversation) -> ConversationCommand {
    ConversationCommand::Create(it)
}
fn join(kind: ParticipantKind) -> ConversationCommand {
    ConversationCommand::Join(JoinConversation { kind })
}
fn leave() -> ConversationCommand {
    ConversationCommand::Leave(LeaveConversation {})
}
fn add(principal: &str, kind: ParticipantKind, role: ParticipantRole) -> ConversationCommand {
    ConversationCommand::AddParticipant(AddParticipant {
        principal: id(principal),
        kind,
        role,
    })
}
fn remove(principal: &str) -> ConversationCommand {
    ConversationCommand::RemoveParticipant(RemoveParticipant { principal: id(principal) })
}
fn set(principal: &str, role: ParticipantRole) -> ConversationCommand {
    ConversationCommand::SetParticipantRole(SetParticipantRole {
        principal: id(principal),
        role,
    })
}
fn rename(title: &str) -> ConversationCommand {
    ConversationCommand::Rename(RenameConversation {
        title: sealed(&title.to_owned()),
    })
}
fn private() -> Cast {
    let mut scene = fresh();
    scene.ok(
        &ada(),
        create(creation(
            ConversationType::Private,
            vec![participant("bob", ParticipantKind::Person)],
        )),
    );
    scene
}
const MEMBER: ParticipantRole = ParticipantRole::Member;
const PERSON: ParticipantKind = ParticipantKind::Person;

#[test]
fn the_actor_owns_what_they_open() {
    let scene = group(2);
    let owner = Participant {
        kind: PERSON,
        role: ParticipantRole::Owner,
    };
    assert_eq!(room(&scene).participants[&id("ada")], owner);
    assert_eq!((room(&scene).participants.len(), room(&scene).claim_window_ms), (4, 500));
    group(0).refused(
        &ada(),
        create(creation(ConversationType::Group, vec![])),
        409,
        "conversation_exists",
    );
    let mut scene = fresh();
    scene.ok(
        &platform(),
        create(CreateConversation {
            kind: Some(ParticipantKind::Service),
            ..creation(ConversationType::Group, vec![])
        }),
    );
    assert_eq!(room(&scene).participants[&PrincipalId::BOOTSTRAP].kind, ParticipantKind::Service);
}

#[test]
fn opening_is_checked() {
    let group = |participants| create(creation(ConversationType::Group, participants));
    fresh().refused(&as_role("dan", Some(Role::Viewer)), group(vec![]), 403, "viewer_cannot_write");
    fresh().refused(&as_role("dan", None), group(vec![]), 403, "not_an_org_member");
    fresh().refused(&ada(), group(vec![participant("ada", PERSON)]), 422, "duplicate_participant");
    for reserved in ["_root", "bootstrap"] {
        fresh().refused(&ada(), group(vec![participant(reserved, PERSON)]), 422, "reserved_id");
    }
    fresh().refused(
        &ada(),
        group(vec![participant("bob", PERSON), participant("bob", PERSON)]),
        422,
        "duplicate_participant",
    );
    let owner = AddParticipant {
        role: ParticipantRole::Owner,
        ..participant("bob", PERSON)
    };
    fresh().refused(&ada(), group(vec![owner]), 422, "owner_not_given");
    let crowd = (0..PARTICIPANTS_MAX).map(|n| participant(&format!("p{n}"), PERSON)).collect();
    fresh().refused(&ada(), group(crowd), 409, "too_many_participants");
    for others in [vec![], vec![participant("b", PERSON), participant("c", PERSON)]] {
        fresh().refused(&ada(), create(creation(ConversationType::Private, others)), 409, "private_is_two");
    }
    let with = |title: Option<&str>, window| {
        let title = title.map(|title| sealed(&title.to_owned()));
        create(CreateConversation {
            title,
            claim_window_ms: window,
            ..creation(ConversationType::Group, vec![])
        })
    };
    for title in ["", " ", &"x".repeat(201)] {
        fresh().refused(&ada(), with(Some(title), None), 422, "bad_title");
    }
    fresh().refused(&ada(), with(None, Some(60_001)), 422, "bad_claim_window");
    fresh().ok(&ada(), with(Some("Trip"), Some(60_000)));
}

#[test]
fn a_missing_conversation_knows_create_alone() {
    for command in everything_asked() {
        fresh().refused(&platform(), command, 404, "conversation_not_found");
    }
}

#[test]
fn admins_manage_participants() {
    let mut scene = group(0);
    for (who, code) in [
        (bob(), "role_needed"),
        (as_role("eve", Some(Role::Member)), "not_a_participant"),
        (as_role("eve", None), "not_a_participant"),
        (as_role("ada", None), "not_an_org_member"),
        (as_role("ada", Some(Role::Viewer)), "viewer_cannot_write"),
    ] {
        for command in [add("cleo", PERSON, MEMBER), remove("bob"), set("bob", MEMBER), rename("T")] {
            scene.refused(&who, command, 403, code);
        }
    }
    scene.ok(&boss(), add("cleo", PERSON, MEMBER));
    scene.unchanged(&ada(), add("cleo", PERSON, MEMBER));
    scene.refused(&ada(), add("cleo", ParticipantKind::Service, MEMBER), 409, "already_participant");
    scene.refused(&ada(), add("eve", PERSON, ParticipantRole::Owner), 422, "owner_not_given");
    scene.ok(&ada(), set("bob", ParticipantRole::Admin));
    scene.unchanged(&ada(), set("bob", ParticipantRole::Admin));
    scene.refused(&ada(), set("bob", ParticipantRole::Owner), 422, "owner_not_given");
    scene.refused(&bob(), set("ada", MEMBER), 409, "owner_stays");
    scene.refused(&bob(), set("eve", MEMBER), 404, "participant_not_found");
    scene.refused(&bob(), remove("ada"), 409, "owner_stays");
    scene.refused(&bob(), remove("eve"), 404, "participant_not_found");
    scene.ok(&bob(), remove("cleo"));
    scene.ok(&bob(), rename("T"));
    scene.refused(&bob(), rename(""), 422, "bad_title");
}

#[test]
fn members_of_the_org_join_and_leave_groups() {
    let mut scene = group(0);
    let eve = as_role("eve", Some(Role::Member));
    scene.refused(&as_role("eve", None), join(PERSON), 403, "not_an_org_member");
    scene.refused(&as_role("eve", Some(Role::Viewer)), join(PERSON), 403, "not_an_org_member");
    scene.ok(&eve, join(PERSON));
    scene.unchanged(&eve, join(PERSON));
    scene.refused(&eve, join(ParticipantKind::Service), 409, "already_participant");
    scene.unchanged(&ada(), join(PERSON));
    // Whoever lost membership may still go.
    scene.ok(&as_role("eve", None), leave());
    scene.refused(&eve, leave(), 403, "not_a_participant");
    scene.refused(&ada(), leave(), 409, "owner_cannot_leave");
}

#[test]
fn whoever_joins_without_saying_as_what_is_a_person() {
    let command: ConversationCommand = serde_json::from_value(serde_json::json!({ "join": {} })).unwrap();
    assert_eq!(command, join(PERSON));
}

#[test]
fn a_private_conversation_has_two() {
    let mut scene = private();
    scene.refused(&as_role("eve", Some(Role::Member)), join(PERSON), 409, "private_is_two");
    scene.refused(&ada(), add("eve", PERSON, MEMBER), 409, "private_is_two");
    scene.refused(&ada(), remove("bob"), 409, "private_is_two");
    scene.refused(&bob(), leave(), 409, "private_is_two");
    scene.ok(&ada(), ask(None));
    scene.refused(&as_role("eve", Some(Role::Member)), accept(), 409, "private_is_two");
    scene.ok(&bob(), accept());
}

#[test]
fn a_group_is_full_at_its_limit() {
    let mut scene = group(0);
    if let ConversationState::Existing(room) = &mut scene.state {
        for n in room.participants.len()..PARTICIPANTS_MAX {
            room.participants.insert(
                id(&format!("p{n}")),
                Participant {
                    kind: PERSON,
                    role: MEMBER,
                },
            );
        }
    }
    scene.refused(&ada(), add("eve", PERSON, MEMBER), 409, "too_many_participants");
    scene.refused(&as_role("eve", Some(Role::Member)), join(PERSON), 409, "too_many_participants");
    scene.ok(&ada(), ask(None));
    scene.refused(&as_role("eve", Some(Role::Member)), accept(), 409, "too_many_participants");
}

#[test]
fn whoever_goes_takes_their_turn_along() {
    // The winner: the turn is interrupted, the run cancelled, the next agent answers what waited.
    let mut scene = group(1);
    scene.ok(&ada(), post("hi"));
    let run = running(&scene).run.clone();
    let events = scene.ok(&ada(), remove("a1"));
    assert!(matches!(
        &events[1],
        ConversationEvent::TurnInterrupted {
            how: Interruption::Cancelled,
            ..
        }
    ));
    assert_eq!(phase(&scene), Phase::Idle);
    assert_eq!(
        scene.dispatched()[0],
        (format!("acme/run/{run}"), json!({"cancel": {"reason": "a1 was removed"}}))
    );

    // A claimant: the others decide.
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.ok(&agent("a2"), claim(&turn, 0.9, Priority::Normal));
    scene.ok(&agent("a1"), leave());
    assert_eq!(running(&scene).winner, id("a2"));

    // All of them: nobody answers.
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    scene.ok(&agent("a1"), leave());
    assert_eq!(open(&scene).eligible, [id("a2")]);
    scene.ok(&agent("a2"), leave());
    assert_eq!(phase(&scene), Phase::Idle);

    // The person who took over: back to the agents. Others go without a trace.
    let mut scene = in_phase(Phase::AgentActive);
    scene.ok(&ada(), remove("a1"));
    assert_eq!(phase(&scene), Phase::AgentActive);
    scene.ok(&bob(), leave());
    assert_eq!(phase(&scene), Phase::Idle);
}
