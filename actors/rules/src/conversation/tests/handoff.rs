use super::*;
use ConversationCommand as C;
use quipu_schemas::{limits::HANDOFF_TTL_MS, reaction::Reaction};

fn assign(to: &str) -> C {
    C::AssignHandoff(AssignHandoff { to: id(to) })
}
fn expire() -> ConversationWord {
    Conversation::from_kernel(timer("handoff")).unwrap()
}
fn eve() -> As {
    as_role("eve", Some(Role::Member))
}

#[test]
fn asking_for_a_person_stops_the_agents() {
    let mut scene = in_phase(Phase::AiActive);
    let events = scene.ok(&agent("a1"), ask(None));
    assert!(matches!(
        &events[0],
        ConversationEvent::TurnInterrupted {
            how: Interruption::HandedOff,
            ..
        }
    ));
    assert_eq!(phases(&events), [(Phase::AiActive, Phase::HandoffPending)]);
    assert!(scene.reactions.contains(&Reaction::WakeAt {
        name: "handoff".into(),
        due: scene.now + HANDOFF_TTL_MS
    }));
    assert_eq!(scene.dispatched().len(), 1);
    scene.refused(&ada(), ask(None), 409, "handoff_waits");
    assert_eq!(scene.ok(&ada(), post("still there?")).len(), 1);
}

#[test]
fn a_person_takes_over_and_gives_back() {
    let mut scene = in_phase(Phase::HandoffPending);
    scene.ok(&ada(), post("help"));
    scene.refused(&as_role("eve", None), accept(), 403, "not_an_org_member");
    scene.refused(&as_role("eve", Some(Role::Viewer)), accept(), 403, "not_an_org_member");
    scene.refused(&as_role("a1", Some(Role::Member)), accept(), 422, "not_a_person");
    let events = scene.ok(&eve(), accept());
    assert!(matches!(
        &events[..2],
        [
            ConversationEvent::ParticipantAdded { .. },
            ConversationEvent::HandoffAccepted { .. }
        ]
    ));
    assert_eq!(phases(&events), [(Phase::HandoffPending, Phase::AgentActive)]);
    assert!(scene.reactions.contains(&Reaction::CancelWake { name: "handoff".into() }));
    scene.unchanged(&eve(), accept());
    scene.refused(&bob(), accept(), 409, "no_handoff");
    // Agents keep silent.
    assert_eq!(scene.ok(&ada(), post("thanks")).len(), 1);
    scene.refused(&bob(), give_back(), 403, "role_needed");
    assert_eq!(phases(&scene.ok(&eve(), give_back())), [(Phase::AgentActive, Phase::Idle)]);
    scene.refused(&eve(), give_back(), 409, "no_handoff");
    assert_eq!(phases(&scene.ok(&ada(), post("and you?"))), [(Phase::Idle, Phase::AiActive)]);
}

#[test]
fn an_assigned_handoff_is_for_its_assignee() {
    let mut scene = group(1);
    scene.refused(&ada(), assign("bob"), 409, "no_handoff");
    scene.refused(&ada(), ask(Some("a1")), 422, "not_a_person");
    scene.ok(&ada(), ask(Some("bob")));
    scene.refused(&eve(), accept(), 403, "not_assignee");
    scene.refused(&bob(), assign("eve"), 403, "role_needed");
    scene.refused(&boss(), assign("a1"), 422, "not_a_person");
    scene.unchanged(&boss(), assign("bob"));
    scene.refused(&boss(), assign("eve"), 422, "handoff_to_outsider");
    scene.ok(&ada(), C::AddParticipant(participant("eve", ParticipantKind::Person)));
    scene.ok(&boss(), assign("eve"));
    scene.refused(&bob(), accept(), 403, "not_assignee");
    scene.ok(&eve(), accept());
    let mut scene = group(1);
    scene.ok(&ada(), ask(Some("bob")));
    scene.ok(&boss(), accept());
}

#[test]
fn nobody_is_asked_for_who_takes_no_part() {
    for phase in [Phase::Idle, Phase::AiActive, Phase::WaitingForUser] {
        let mut scene = in_phase(phase);
        scene.refused(&ada(), ask(Some("eve")), 422, "handoff_to_outsider");
        // Not even by whoever may do everything.
        scene.refused(&platform(), ask(Some("eve")), 422, "handoff_to_outsider");
        scene.ok(&ada(), C::RemoveParticipant(RemoveParticipant { principal: id("bob") }));
        scene.refused(&ada(), ask(Some("bob")), 422, "handoff_to_outsider");
    }
}

#[test]
fn a_waiting_handoff_is_withdrawn_declined_or_passed_on() {
    for who in [bob(), ada(), boss()] {
        let mut scene = group(1);
        scene.ok(&ada(), ask(Some("bob")));
        assert_eq!(phases(&scene.ok(&who, give_back())), [(Phase::HandoffPending, Phase::Idle)]);
        assert!(scene.reactions.contains(&Reaction::CancelWake { name: "handoff".into() }));
    }
    let mut scene = group(1);
    scene.ok(&ada(), ask(None));
    scene.refused(&bob(), give_back(), 403, "role_needed");
    scene.refused(
        &ada(),
        C::ReturnHandoff(ReturnHandoff { reason: "x".repeat(501) }),
        422,
        "bad_reason",
    );
    let mut scene = in_phase(Phase::AgentActive);
    assert_eq!(
        phases(&scene.ok(&bob(), ask(Some("ada")))),
        [(Phase::AgentActive, Phase::HandoffPending)]
    );
}

#[test]
fn expired_handoff_returns_to_the_agents_with_queued_questions() {
    let mut scene = in_phase(Phase::HandoffPending);
    scene.unchanged(&platform(), expire());
    scene.now += HANDOFF_TTL_MS;
    assert_eq!(phases(&scene.ok(&platform(), expire())), [(Phase::HandoffPending, Phase::Idle)]);
    scene.unchanged(&platform(), expire());

    let mut scene = in_phase(Phase::HandoffPending);
    scene.ok(&ada(), C::Post(post_as("m1", "anybody?")));
    scene.now += HANDOFF_TTL_MS;
    assert_eq!(phases(&scene.ok(&platform(), expire())), [(Phase::HandoffPending, Phase::AiActive)]);
    assert_eq!(task(&scene).unwrap().message_id, message("m1"));
}

#[test]
fn a_handoff_does_not_reopen_a_resolved_conversation() {
    in_phase(Phase::Resolved).refused(&ada(), ask(None), 409, "illegal_phase");
    // Resolving by the person who took over.
    assert_eq!(
        phases(&in_phase(Phase::AgentActive).ok(&bob(), resolve())),
        [(Phase::AgentActive, Phase::Resolved)]
    );
    assert_eq!(
        phases(&in_phase(Phase::HandoffPending).ok(&ada(), archive())),
        [(Phase::HandoffPending, Phase::Archived)]
    );
}
