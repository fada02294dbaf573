use super::*;
use ConversationCommand as C;
use quipu_schemas::reaction::Reaction;

#[test]
fn pause_holds_the_running_turn_and_what_comes_after_it() {
    let mut scene = group(1);
    scene.ok(&ada(), post("hi"));
    let (turn, run) = (turn(&scene), run_of(&scene));
    let receiver = format!("acme/run/{}", running(&scene).run);
    scene.ok(&bob(), C::Pause(control()));
    assert_eq!(scene.dispatched(), [(receiver.clone(), json!({"pause": {"reason": "because"}}))]);
    scene.unchanged(&bob(), C::Pause(control()));
    scene.ok(&bob(), C::Post(post_as("m2", "and?")));
    // An answer that was on its way is taken; the next turn waits.
    scene.ok(&run, answer(&turn));
    assert_eq!(phase(&scene), Phase::WaitingForUser);
    scene.ok(&ada(), C::Resume(control()));
    assert_eq!(task(&scene).unwrap().message_id, message("m2"));
    scene.unchanged(&ada(), C::Resume(control()));

    scene.ok(&ada(), C::Pause(control()));
    scene.ok(&ada(), C::Resume(control()));
    assert_eq!(scene.dispatched()[0].1, json!({"resume": {}}));
}

#[test]
fn messages_while_paused_are_answered_after_resume() {
    let mut scene = group(1);
    scene.ok(&ada(), C::Pause(control()));
    assert!(scene.dispatched().is_empty());
    assert_eq!(scene.ok(&ada(), C::Post(post_as("m1", "one"))).len(), 1);
    assert_eq!(scene.ok(&ada(), C::Post(post_as("m2", "two"))).len(), 1);
    let events = scene.ok(&ada(), C::Resume(control()));
    assert_eq!(phases(&events), [(Phase::Idle, Phase::AiActive)]);
    assert_eq!(task(&scene).unwrap().message_id, message("m2"));
}

#[test]
fn an_open_turn_is_not_decided_while_paused() {
    let open_and_paused = || {
        let mut scene = group(2);
        scene.ok(&ada(), post("hi"));
        scene.ok(&ada(), C::Pause(control()));
        scene
    };
    // The window passes.
    let mut scene = open_and_paused();
    let id = turn(&scene);
    scene.unchanged(&platform(), close(&id));
    scene.now += 500;
    scene.ok(&ada(), C::Resume(control()));
    assert_eq!(task(&scene).unwrap().agent, self::id("a1"));
    // Everybody speaks.
    let mut scene = open_and_paused();
    let id = turn(&scene);
    scene.ok(&agent("a1"), claim(&id, 0.2, Priority::Low));
    scene.ok(&agent("a2"), claim(&id, 0.3, Priority::Low));
    assert!(task(&scene).is_none());
    scene.ok(&ada(), C::Resume(control()));
    assert_eq!(task(&scene).unwrap().agent, self::id("a2"));
    // Neither: the turn stays open.
    let mut scene = open_and_paused();
    scene.ok(&ada(), C::Resume(control()));
    open(&scene);
}

#[test]
fn preempt_and_cancel_stop_the_run_and_keep_what_was_said() {
    for (command, how) in [
        (C::Preempt(control()), Interruption::Preempted),
        (C::Cancel(control()), Interruption::Cancelled),
    ] {
        let mut scene = group(1);
        scene.refused(&ada(), command.clone(), 409, "no_turn");
        scene.ok(&ada(), post("hi"));
        let (turn, run) = (turn(&scene), run_of(&scene));
        let events = scene.ok(&bob(), command.clone());
        assert!(matches!(&events[0], ConversationEvent::TurnInterrupted { how: told, .. } if *told == how));
        assert_eq!(phases(&events), [(Phase::AiActive, Phase::Idle)]);
        assert_eq!(scene.dispatched()[0].1, json!({"cancel": {"reason": "because"}}));
        scene.refused(&run, answer(&turn), 409, "turn_interrupted");
        scene.refused(
            &run,
            finish(&turn, TurnOutcome::Answered { message_id: message("m") }),
            409,
            "turn_interrupted",
        );
        scene.refused(&ada(), finish(&turn, interrupted()), 403, "not_the_winner");
        let events = scene.ok(&run, finish(&turn, interrupted()));
        assert!(matches!(
            &events[..],
            [ConversationEvent::TurnFinished {
                outcome: TurnOutcome::Interrupted { partial: Some(_) },
                ..
            }]
        ));
        scene.unchanged(&run, finish(&turn, interrupted()));
    }
}

#[test]
fn stopping_gives_a_waiting_message_its_turn() {
    let mut scene = group(1);
    scene.ok(&ada(), post("long one"));
    scene.ok(&ada(), C::Post(post_as("m2", "no, this")));
    let events = scene.ok(&ada(), C::Cancel(control()));
    assert_eq!(phases(&events), []);
    assert_eq!(task(&scene).unwrap().message_id, message("m2"));

    // An open turn is closed, and its timer forgotten.
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let id = turn(&scene);
    scene.ok(&ada(), C::Preempt(control()));
    assert_eq!(
        scene.reactions,
        [Reaction::CancelWake {
            name: format!("turn:{id}")
        }]
    );
    assert_eq!(phase(&scene), Phase::Idle);
}

#[test]
fn an_interrupted_run_may_have_failed_instead() {
    let mut scene = group(1);
    scene.ok(&ada(), post("hi"));
    let (turn, run) = (turn(&scene), run_of(&scene));
    scene.ok(&ada(), C::Cancel(control()));
    assert_eq!(scene.ok(&run, finish(&turn, failed())).len(), 1);
}

#[test]
fn route_gives_the_last_question_to_a_named_agent() {
    let mut scene = group(2);
    scene.refused(&ada(), route("a2"), 409, "nothing_to_answer");
    scene.refused(&ada(), route("bob"), 422, "not_an_agent");
    scene.refused(&ada(), route("nobody"), 422, "not_an_agent");
    scene.refused(&bob(), route("a2"), 403, "role_needed");
    scene.ok(&ada(), C::Post(post_as("m1", "hi")));
    let asked = turn(&scene);
    let events = scene.ok(&ada(), route("a2"));
    assert!(matches!(&events[0], ConversationEvent::TurnClosed { turn, .. } if *turn == asked));
    assert!(matches!(&events[1], ConversationEvent::TurnDecided { method: TurnMethod::Routed, why, .. } if why.contains("knows more")));
    assert_eq!(phases(&events), []);
    scene.unchanged(&ada(), route("a2"));

    let stopped = running(&scene).run.clone();
    scene.ok(&boss(), route("a1"));
    assert_eq!(
        scene.dispatched()[0],
        (format!("acme/run/{stopped}"), json!({"cancel": {"reason": "knows more"}}))
    );
    let task = task(&scene).unwrap();
    assert_eq!((task.message_id, task.agent), (message("m1"), id("a1")));

    // Again after the answer, and from a resolved conversation.
    let (run, id) = (run_of(&scene), turn(&scene));
    scene.ok(&run, answer(&id));
    assert_eq!(phases(&scene.ok(&ada(), route("a2"))), [(Phase::WaitingForUser, Phase::AiActive)]);
    scene.ok(&ada(), resolve());
    assert_eq!(phases(&scene.ok(&ada(), route("a2"))), [(Phase::Resolved, Phase::AiActive)]);
    scene.ok(&ada(), C::Pause(control()));
    scene.refused(&ada(), route("a1"), 409, "paused");
    for at in [Phase::HandoffPending, Phase::AgentActive] {
        in_phase(at).refused(&ada(), route("a1"), 409, "agents_silent");
    }
}

#[test]
fn a_routed_turn_answers_what_waited() {
    let mut scene = group(2);
    scene.ok(&ada(), post("one"));
    scene.ok(&ada(), C::Post(post_as("m2", "two")));
    scene.ok(&ada(), route("a1"));
    assert_eq!(task(&scene).unwrap().message_id, message("m2"));
    let (run, id) = (run_of(&scene), turn(&scene));
    scene.ok(&run, answer(&id));
    assert_eq!(phase(&scene), Phase::WaitingForUser);
}

#[test]
fn control_takes_part_and_short_reasons() {
    let long = || Control { reason: "x".repeat(501) };
    let eve = as_role("eve", Some(Role::Member));
    let mut scene = in_phase(Phase::AiActive);
    for command in [
        C::Pause(control()),
        C::Resume(control()),
        C::Preempt(control()),
        C::Cancel(control()),
        route("a1"),
        resolve(),
        archive(),
        ask(None),
    ] {
        scene.refused(&eve, command.clone(), 403, "not_a_participant");
        scene.refused(&as_role("bob", Some(Role::Viewer)), command, 403, "viewer_cannot_write");
    }
    for command in [
        C::Pause(long()),
        C::Resume(long()),
        C::Preempt(long()),
        C::Cancel(long()),
        C::Route(RouteTurn {
            agent: id("a1"),
            reason: "x".repeat(501),
        }),
        C::Resolve(ResolveConversation { reason: "x".repeat(501) }),
        C::Handoff(RequestHandoff {
            reason: "x".repeat(501),
            to: None,
        }),
    ] {
        scene.refused(&ada(), command, 422, "bad_reason");
    }
    scene.refused(&bob(), archive(), 403, "role_needed");
}

#[test]
fn resolving_and_archiving_end_the_turn() {
    for (command, to) in [(resolve(), Phase::Resolved), (archive(), Phase::Archived)] {
        let mut scene = in_phase(Phase::AiActive);
        let (turn, run) = (turn(&scene), run_of(&scene));
        scene.ok(&ada(), C::Post(post_as("m2", "waits")));
        let events = scene.ok(&ada(), command.clone());
        assert!(matches!(&events[0], ConversationEvent::TurnInterrupted { .. }));
        assert_eq!(phases(&events), [(Phase::AiActive, to)]);
        assert_eq!(room(&scene).floor.pending, None);
        assert_eq!(scene.dispatched().len(), 1);
        scene.unchanged(&ada(), command);
        // What was already sent is recorded even in an archive.
        assert_eq!(scene.ok(&run, finish(&turn, interrupted())).len(), 1);
        assert_eq!(phase(&scene), to);
    }
}

#[test]
fn resolved_conversations_reopen_and_archived_ones_do_not() {
    let mut scene = in_phase(Phase::Resolved);
    assert_eq!(phases(&scene.ok(&ada(), post("one more"))), [(Phase::Resolved, Phase::AiActive)]);
    let mut scene = in_phase(Phase::Archived);
    for asked in everything_asked() {
        match asked {
            Asked::Command(C::Archive(_)) | Asked::Word(ConversationWord::CloseTurn(_) | ConversationWord::ExpireHandoff(_)) => {
                scene.unchanged(&ada(), asked);
            }
            Asked::Word(ConversationWord::FinishTurn(_)) => scene.refused(&ada(), asked, 404, "turn_not_found"),
            other => scene.refused(&ada(), other, 409, "archived"),
        }
    }
}
