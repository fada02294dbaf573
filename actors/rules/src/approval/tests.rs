use super::*;
use crate::scene::{As, Scene, as_role, platform, sent_by};
use quipu_schemas::ids::EntityId;
use serde_json::json;

fn create(needs: Option<u8>) -> ApprovalCommand {
    ApprovalCommand::Create(CreateApproval {
        kind: Kind::ORG,
        id: EntityId::from_static("acme"),
        command: "rename".into(),
        body: Carried(json!({ "rename": { "name": "New" } })),
        needs,
        reason: "asked".into(),
        digest: Some(Digest::ZERO),
    })
}
fn approve() -> ApprovalCommand {
    ApprovalCommand::Approve(ApproveCommand {})
}
fn reject() -> ApprovalCommand {
    ApprovalCommand::Reject(RejectCommand { reason: "no".into() })
}
fn withdraw() -> ApprovalCommand {
    ApprovalCommand::Withdraw(WithdrawApproval {})
}
fn expire() -> ApprovalWord {
    ApprovalWord::Expire(ExpireApproval {})
}
fn answered(refused: Option<&str>) -> ApprovalWord {
    ApprovalWord::Answered(CommandAnswered {
        refused: refused.map(str::to_owned),
    })
}
fn ada() -> As {
    as_role("ada", Some(Role::Admin))
}
fn carol() -> As {
    as_role("carol", Some(Role::Admin))
}
fn bob() -> As {
    as_role("bob", Some(Role::Admin))
}
fn cleo() -> As {
    as_role("cleo", Some(Role::Owner))
}
fn asked(needs: Option<u8>) -> Scene<Approval> {
    let mut scene = Scene::new("acme/approval/apr_1");
    scene.ok(&ada(), create(needs));
    scene
}

#[test]
fn a_command_is_sent_in_its_askers_name_once_another_agrees() {
    let mut scene = asked(None);
    assert!(scene.dispatched().is_empty());
    scene.refused(&ada(), approve(), 403, "own_request");
    scene.ok(&bob(), approve());
    let sent = json!({ "rename": { "name": "New" } });
    assert_eq!(scene.dispatched(), [("acme/org/acme".to_owned(), sent)]);
    assert_eq!(
        Approval::acts_as(&scene.state)
            .map(|acting| acting.principal.to_string())
            .as_deref(),
        Some("ada")
    );
    for command in [approve(), reject(), withdraw()] {
        scene.refused(&cleo(), command, 409, "approval_over");
    }
    scene.unchanged(&sent_by("ada", "acme/run/r1"), answered(None));
    scene.ok(&platform(), answered(Some("missing_right")));
    assert!(matches!(&scene.state, ApprovalState::Executed { refused: Some(code), .. } if code == "missing_right"));
}

#[test]
fn two_people_are_two_people() {
    let mut scene = asked(Some(2));
    scene.ok(&bob(), approve());
    scene.unchanged(&bob(), approve());
    assert!(scene.dispatched().is_empty());
    scene.ok(&cleo(), approve());
    assert_eq!(scene.dispatched().len(), 1);
}

#[test]
fn nobody_agrees_by_what_they_set_in_motion() {
    let mut scene = asked(None);
    scene.refused(&sent_by("bob", "acme/run/r1"), approve(), 403, "not_a_person");
    scene.sender = Some(PrincipalId::from_static("bot"));
    scene.refused(&bob(), approve(), 403, "delegated");
    // Whoever sent the request for somebody is one of those who asked.
    let mut scene: Scene<Approval> = Scene::new("acme/approval/apr_2");
    scene.sender = Some(PrincipalId::from_static("bob"));
    scene.ok(&ada(), create(None));
    scene.sender = None;
    scene.refused(&bob(), approve(), 403, "own_request");
    scene.refused(&ada(), reject(), 403, "own_request");
    scene.ok(&cleo(), reject());
}

#[test]
fn the_clock_ends_the_time_to_agree() {
    let mut scene = asked(None);
    scene.unchanged(&platform(), expire());
    scene.now += APPROVAL_LIVES_MS;
    scene.refused(&bob(), approve(), 409, "approval_expired");
    scene.ok(&platform(), expire());
    scene.refused(&bob(), approve(), 409, "approval_expired");
}

#[test]
fn whoever_asked_takes_it_back_and_nobody_else() {
    let mut scene = asked(None);
    scene.refused(&bob(), withdraw(), 403, "not_yours");
    scene.ok(&ada(), withdraw());
    scene.refused(&bob(), approve(), 409, "approval_over");
    scene.refused(&ada(), create(None), 409, "approval_exists");
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut scene: Scene<Approval> = Scene::new("acme/approval/apr_1");
    scene.refused(&bob(), approve(), 404, "approval_not_found");
    for needs in [0, 3] {
        scene.refused(&ada(), create(Some(needs)), 422, "bad_needs");
    }
    let ApprovalCommand::Create(plain) = create(None) else {
        unreachable!()
    };
    let own = CreateApproval {
        kind: Kind::APPROVAL,
        ..plain.clone()
    };
    scene.refused(&ada(), ApprovalCommand::Create(own), 422, "approval_of_approval");
    let bare = CreateApproval { digest: None, ..plain };
    scene.refused(&ada(), ApprovalCommand::Create(bare), 403, "not_carried");
}

#[test]
fn whoever_acts_by_anothers_session_neither_asks_nor_agrees() {
    let by_session_of = |who: As| As {
        authority: quipu_schemas::context::Authority {
            through: true,
            ..who.authority
        },
        ..who
    };
    let mut scene = asked(None);
    scene.refused(&by_session_of(bob()), approve(), 403, "not_a_person");
    scene.refused(&by_session_of(bob()), reject(), 403, "not_a_person");
    scene.ok(&bob(), approve());
    let mut scene: Scene<Approval> = Scene::new("acme/approval/apr_2");
    scene.refused(&by_session_of(ada()), create(None), 403, "not_a_person");
}

#[test]
fn no_agent_agrees_and_no_owner_to_what_theirs_asked() {
    let with = |who: As, change: fn(&mut quipu_schemas::context::Authority)| {
        let mut authority = who.authority;
        change(&mut authority);
        As { authority, ..who }
    };
    let mut scene = asked(None);
    scene.refused(&with(bob(), |authority| authority.automaton = true), approve(), 403, "not_a_person");
    scene.refused(&with(bob(), |authority| authority.automaton = true), reject(), 403, "not_a_person");
    scene.ok(&bob(), approve());
    // An agent of Bob's asks: Bob is no other person.
    let mut scene: Scene<Approval> = Scene::new("acme/approval/apr_3");
    let bot = with(ada(), |authority| {
        authority.automaton = true;
        authority.owner = Some(PrincipalId::from_static("bob"));
    });
    scene.ok(&bot, create(None));
    scene.refused(&bob(), approve(), 403, "own_request");
    scene.ok(&carol(), approve());
}
