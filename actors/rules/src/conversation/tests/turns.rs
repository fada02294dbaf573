use super::*;
use quipu_kinds::conversation::Bid;
use quipu_schemas::{limits::TURNS_REMEMBERED, reaction::Reaction};

fn decided(events: &[ConversationEvent]) -> (PrincipalId, TurnMethod, String, Vec<Bid>) {
    events
        .iter()
        .find_map(|event| match event {
            ConversationEvent::TurnDecided {
                winner, method, why, bids, ..
            } => Some((winner.clone(), *method, why.clone(), bids.clone())),
            _other => None,
        })
        .unwrap_or_else(|| panic!("not decided: {events:?}"))
}

#[test]
fn one_eligible_agent_wins_in_the_very_decision() {
    let mut scene = group(1);
    let before = scene.version;
    let events = scene.ok(&ada(), ConversationCommand::Post(post_as("m1", "hi")));
    assert_eq!(decided(&events).1, TurnMethod::OnlyEligible);
    assert_eq!(phases(&events), [(Phase::Idle, Phase::AiActive)]);
    let task = task(&scene).unwrap();
    assert_eq!(
        (task.message_id, task.agent, task.at_version, task.conversation.as_str()),
        (message("m1"), id("a1"), before + 1, "cnv_1")
    );
    assert!(!scene.reactions.iter().any(|it| matches!(it, Reaction::WakeAt { .. })), "no wait");
}

#[test]
fn several_eligible_agents_claim_within_a_window() {
    let mut scene = group(2);
    let before = scene.version;
    let events = scene.ok(&ada(), post("hi"));
    assert_eq!(phases(&events), [(Phase::Idle, Phase::AiActive)]);
    assert_eq!((open(&scene).closes_at, open(&scene).at_version), (scene.now + 500, before + 1));
    let name = format!("turn:{}", turn(&scene));
    assert_eq!(
        scene.reactions,
        [Reaction::WakeAt {
            name: name.clone(),
            due: scene.now + 500
        }]
    );

    let turn = turn(&scene);
    assert_eq!(scene.ok(&agent("a2"), claim(&turn, 0.9, Priority::Normal)).len(), 1);
    let events = scene.ok(&agent("a1"), defer(&turn));
    let (winner, method, why, bids) = decided(&events);
    assert_eq!((winner, method), (id("a2"), TurnMethod::BestClaim));
    assert!(why.contains("I know this") && why.contains("0.90"), "{why}");
    assert_eq!(
        bids.iter().map(|bid| (bid.agent.as_str(), bid.claim.is_some())).collect::<Vec<_>>(),
        [("a1", false), ("a2", true)]
    );
    assert!(scene.reactions.contains(&Reaction::CancelWake { name }));
    assert_eq!(task(&scene).unwrap().at_version, before + 1);
}

#[test]
fn the_best_claim_is_priority_then_confidence_then_earliest() {
    let winner = |claims: &[(&str, f64, Priority)]| {
        let mut scene = group(claims.len());
        scene.ok(&ada(), post("hi"));
        let turn = turn(&scene);
        for (who, confidence, priority) in claims {
            scene.ok(&agent(who), claim(&turn, *confidence, *priority));
        }
        running(&scene).winner.to_string()
    };
    assert_eq!(
        winner(&[
            ("a1", 0.9, Priority::Normal),
            ("a2", 0.1, Priority::Critical),
            ("a3", 1.0, Priority::High)
        ]),
        "a2"
    );
    assert_eq!(winner(&[("a1", 0.5, Priority::High), ("a2", 0.6, Priority::High)]), "a2");
    assert_eq!(winner(&[("a2", 0.5, Priority::Low), ("a1", 0.5, Priority::Low)]), "a2");
    assert_eq!(winner(&[("a1", 0.0, Priority::Low), ("a2", 0.0, Priority::Low)]), "a1");
    // Should two claims ever have the same place, the lower id wins.
    let claim = |agent: &str| Claim {
        agent: id(agent),
        reason: String::new(),
        confidence: -0.0,
        priority: Priority::Low,
        expires_at: None,
    };
    let open = OpenTurn {
        turn: "t".into(),
        message_id: message("m"),
        at_version: 1,
        eligible: vec![],
        closes_at: 0,
        claims: vec![
            claim("z"),
            Claim {
                confidence: 0.0,
                ..claim("a")
            },
        ],
        deferrals: vec![],
    };
    assert_eq!(open.best().unwrap().agent, id("a"), "a total order: 0.0 is above -0.0");
}

#[test]
fn the_window_closes_with_what_was_said() {
    let mut scene = group(3);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.ok(&agent("a2"), claim(&turn, 0.1, Priority::Low));
    let events = scene.ok(&platform(), close(&turn));
    let (winner, method, _, bids) = decided(&events);
    assert_eq!((winner, method, bids.len()), (id("a2"), TurnMethod::BestClaim, 3));
    scene.unchanged(&platform(), close(&turn));
    scene.unchanged(&platform(), close("trn_other"));
}

#[test]
fn nobody_claims_the_first_by_id_who_did_not_defer_answers() {
    let mut scene = group(3);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.ok(&agent("a1"), defer(&turn));
    let (winner, method, _, bids) = decided(&scene.ok(&platform(), close(&turn)));
    assert_eq!((winner, method), (id("a2"), TurnMethod::Fallback));
    assert_eq!(bids[1].reason, "silent");
}

#[test]
fn all_defer_and_nobody_answers() {
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.ok(&agent("a1"), defer(&turn));
    let events = scene.ok(&agent("a2"), defer(&turn));
    assert!(matches!(&events[1], ConversationEvent::TurnClosed { .. }));
    assert_eq!(phase(&scene), Phase::Idle);
    assert_eq!(
        scene.reactions,
        [Reaction::CancelWake {
            name: format!("turn:{turn}")
        }]
    );
    scene.refused(&agent("a1"), claim(&turn, 0.5, Priority::Low), 409, "turn_closed");
    scene.refused(&agent("a1"), answer(&turn), 409, "turn_finished");
    scene.unchanged(&platform(), finish(&turn, failed()));
}

fn grounds(turn: &str, rule: &str, conditions: &[&str], expires_ms: Option<u64>) -> ConversationCommand {
    ConversationCommand::Claim(ClaimTurn {
        turn: turn.into(),
        reason: "billing is mine".into(),
        confidence: 0.9,
        priority: Priority::High,
        rule: Some(rule.into()),
        conditions: conditions.iter().map(|&c| c.into()).collect(),
        expires_ms,
    })
}

#[test]
fn a_claim_names_its_rule_and_conditions_within_bounds() {
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    let long = "x".repeat(201);
    for wrong in [
        grounds(&turn, "", &[], None),
        grounds(&turn, &long, &[], None),
        grounds(&turn, "r", &[""], None),
        grounds(&turn, "r", &["c"; 21], None),
    ] {
        scene.refused(&agent("a1"), wrong, 422, "bad_grounds");
    }
    for wrong in [0, 60_001] {
        scene.refused(&agent("a1"), grounds(&turn, "r", &[], Some(wrong)), 422, "bad_expiry");
    }
    for most in [grounds(&turn, &long[1..], &[], None), grounds(&turn, "r", &["c"; 20], Some(1))] {
        assert!(scene.decide(&agent("a1"), most).is_ok());
    }
    let events = scene.ok(
        &agent("a1"),
        grounds(&turn, "billing", &["mentions invoice", "is a customer"], Some(60_000)),
    );
    let ConversationEvent::TurnClaimed {
        rule,
        conditions,
        expires_at,
        ..
    } = &events[0]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (rule.as_deref(), conditions.len(), *expires_at),
        (Some("billing"), 2, Some(scene.now + 60_000))
    );
    scene.unchanged(
        &agent("a1"),
        grounds(&turn, "billing", &["mentions invoice", "is a customer"], Some(50_000)),
    );
}

#[test]
fn a_claim_that_has_run_out_is_silence() {
    for (after, winner) in [(99, "a3"), (100, "a1")] {
        let mut scene = group(3);
        scene.ok(&ada(), post("hi"));
        let turn = turn(&scene);
        scene.ok(&agent("a3"), grounds(&turn, "billing", &[], Some(100)));
        scene.ok(&agent("a1"), claim(&turn, 0.1, Priority::Low));
        scene.now += after;
        let (won, method, _, bids) = decided(&scene.ok(&platform(), close(&turn)));
        assert_eq!((won, method), (id(winner), TurnMethod::BestClaim), "after {after} ms");
        assert_eq!(bids[2].reason == "silent", winner == "a1");
    }
}

#[test]
fn claims_are_checked_and_said_once() {
    let mut scene = group(3);
    scene.ok(
        &ada(),
        ConversationCommand::Post(PostMessage {
            mentions: vec![id("a2"), id("a1"), id("a1")],
            ..text("you two")
        }),
    );
    assert_eq!(open(&scene).eligible, [id("a1"), id("a2")]);
    let turn = turn(&scene);
    for wrong in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
        let command = ClaimTurn {
            turn: turn.clone(),
            reason: "x".into(),
            confidence: wrong,
            priority: Priority::Low,
            rule: None,
            conditions: Vec::new(),
            expires_ms: None,
        };
        scene.refused(&agent("a1"), ConversationCommand::Claim(command), 422, "bad_confidence");
    }
    for reason in ["", "  ", &"x".repeat(501)] {
        let command = ClaimTurn {
            turn: turn.clone(),
            reason: reason.into(),
            confidence: 0.5,
            priority: Priority::Low,
            rule: None,
            conditions: Vec::new(),
            expires_ms: None,
        };
        scene.refused(&agent("a1"), ConversationCommand::Claim(command), 422, "bad_reason");
    }
    let long = DeferTurn {
        turn: turn.clone(),
        reason: "x".repeat(501),
    };
    scene.refused(&agent("a1"), ConversationCommand::Defer(long), 422, "bad_reason");
    for (who, status, code) in [
        (agent("a3"), 403, "not_eligible"),
        (ada(), 403, "not_eligible"),
        (agent("a9"), 403, "not_a_participant"),
    ] {
        scene.refused(&who, claim(&turn, 0.5, Priority::Low), status, code);
        scene.refused(&who, defer(&turn), status, code);
    }
    scene.refused(
        &as_role("a1", Some(Role::Viewer)),
        claim(&turn, 0.5, Priority::Low),
        403,
        "viewer_cannot_write",
    );
    scene.refused(&agent("a1"), claim("trn_none", 0.5, Priority::Low), 404, "turn_not_found");
    scene.ok(&agent("a1"), claim(&turn, 0.5, Priority::Low));
    scene.unchanged(&agent("a1"), claim(&turn, 0.5, Priority::Low));
    scene.refused(&agent("a1"), claim(&turn, 0.6, Priority::Low), 409, "already_spoke");
    scene.refused(&agent("a1"), defer(&turn), 409, "already_spoke");

    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let turn = self::turn(&scene);
    scene.ok(&agent("a1"), defer(&turn));
    scene.unchanged(&agent("a1"), defer(&turn));
    scene.refused(&agent("a1"), claim(&turn, 0.5, Priority::Low), 409, "already_spoke");
}

/// A command that names another turn than the one that goes on is answered as for a turn that never was.
#[test]
fn words_about_another_turn_never_touch_the_one_that_goes_on() {
    let mut one = group(1);
    one.ok(&ada(), post("hi"));
    let mut several = group(2);
    several.ok(&ada(), post("hi"));
    for scene in [&mut one, &mut several] {
        let (before, goes_on) = (scene.state.clone(), turn(scene));
        for who in [agent("a1"), sent_by("ada", "acme/run/trn_other")] {
            scene.refused(&who, answer("trn_other"), 404, "turn_not_found");
        }
        scene.refused(&agent("a1"), claim("trn_other", 0.5, Priority::Low), 404, "turn_not_found");
        scene.refused(&agent("a1"), defer("trn_other"), 404, "turn_not_found");
        scene.refused(&platform(), finish("trn_other", failed()), 404, "turn_not_found");
        scene.unchanged(&platform(), close("trn_other"));
        assert_eq!((turn(scene), scene.state == before), (goes_on, true));
    }
    let who = run_of(&one);
    one.refused(&who, finish("trn_other", failed()), 404, "turn_not_found");
    let problem = one.decide(&who, answer(&"t".repeat(81))).unwrap_err();
    assert_eq!(problem.detail, format!("no turn {}", "t".repeat(80)), "a long id is cut");
}

#[test]
fn a_window_that_closes_while_paused_waits_for_resume() {
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.ok(&ada(), ConversationCommand::Pause(control()));
    scene.unchanged(&platform(), close(&turn));
    assert_eq!(open(&scene).turn, turn);
}

#[test]
fn whoever_is_removed_takes_their_word_along() {
    let remove = |principal: &str| ConversationCommand::RemoveParticipant(RemoveParticipant { principal: id(principal) });
    let mut scene = group(4);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.ok(&agent("a1"), defer(&turn));
    scene.ok(&agent("a2"), claim(&turn, 0.5, Priority::Low));
    scene.ok(&agent("a3"), defer(&turn));
    scene.ok(&ada(), remove("a1"));
    scene.ok(&ada(), remove("a2"));
    let left = open(&scene);
    assert_eq!((left.eligible.as_slice(), left.claims.len()), ([id("a3"), id("a4")].as_slice(), 0));
    assert_eq!(left.deferrals.iter().map(|d| d.agent.as_str()).collect::<Vec<_>>(), ["a3"]);

    // A turn runs on where somebody else goes.
    let mut scene = group(1);
    scene.ok(&ada(), post("hi"));
    let runs = running(&scene).clone();
    assert_eq!(scene.ok(&bob(), ConversationCommand::Leave(LeaveConversation {})).len(), 1);
    assert_eq!(*running(&scene), runs);
    assert_eq!(phases(&scene.ok(&ada(), remove("a1"))), [(Phase::AiActive, Phase::Idle)]);
}

#[test]
fn a_late_claim_is_told_the_winner() {
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.ok(&agent("a2"), claim(&turn, 0.5, Priority::Low));
    scene.ok(&platform(), close(&turn));
    let late = |scene: &mut Cast| {
        let problem = scene.decide(&agent("a1"), claim(&turn, 1.0, Priority::Critical)).unwrap_err();
        assert_eq!(problem.code, "turn_closed");
        assert!(problem.detail.contains("a2 won it"), "{problem}");
    };
    late(&mut scene);
    let who = run_of(&scene);
    scene.ok(&who, answer(&turn));
    late(&mut scene);
    scene.refused(&agent("a1"), defer(&turn), 409, "turn_closed");
}

#[test]
fn an_answer_ends_its_turn_and_a_second_one_is_refused() {
    let mut scene = group(1);
    scene.ok(&ada(), post("hi"));
    let (turn, run) = (turn(&scene), run_of(&scene));
    for who in [
        ada(),
        bob(),
        agent("a2"),
        sent_by("ada", "acme/run/other"),
        sent_by("ada", "evil/run/x"),
    ] {
        scene.refused(&who, answer(&turn), 403, "not_the_winner");
    }
    let said = PostMessage {
        turn: Some(turn.clone()),
        ..post_as("m9", "forty-two")
    };
    let events = scene.ok(&run, ConversationCommand::Post(said.clone()));
    assert!(matches!(
        &events[..],
        [
            ConversationEvent::MessagePosted { sender, sender_kind: ParticipantKind::Agent, turn: Some(_), .. },
            ConversationEvent::TurnFinished { outcome: TurnOutcome::Answered { .. }, .. },
            ConversationEvent::PhaseChanged { from: Phase::AiActive, to: Phase::WaitingForUser, .. },
        ] if *sender == id("a1")
    ));
    scene.unchanged(&run, ConversationCommand::Post(said.clone()));
    scene.refused(
        &run,
        ConversationCommand::Post(PostMessage {
            message_id: Some(message("m10")),
            ..said.clone()
        }),
        409,
        "turn_finished",
    );
    scene.refused(&run, answer(&turn), 409, "turn_finished");
    scene.unchanged(&run, finish(&turn, TurnOutcome::Answered { message_id: message("m9") }));
    scene.unchanged(&run, finish(&turn, failed()));
    scene.refused(&run, answer("trn_none"), 404, "turn_not_found");
    scene.refused(&run, finish("trn_none", failed()), 404, "turn_not_found");
}

#[test]
fn winner_and_platform_may_answer_even_with_an_empty_text() {
    for who in [agent("a1"), platform()] {
        let mut scene = group(1);
        scene.ok(&ada(), post("hi"));
        let turn = turn(&scene);
        scene.ok(
            &who,
            ConversationCommand::Post(PostMessage {
                turn: Some(turn),
                ..text("")
            }),
        );
        assert_eq!(phase(&scene), Phase::WaitingForUser);
    }
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    scene.refused(&platform(), answer(&turn), 409, "turn_open");
    scene.refused(&platform(), finish(&turn, failed()), 409, "turn_open");
}

#[test]
fn invalid_answer_is_refused_and_its_run_ends_the_turn() {
    let bad = [
        (post_as("m1", "x"), "message_id_conflict"),
        (text(&"x".repeat(quipu_schemas::limits::MESSAGE_MAX_BYTES + 1)), "body_too_large"),
    ];
    for (said, code) in bad {
        let mut scene = group(1);
        scene.ok(&ada(), ConversationCommand::Post(post_as("m1", "hi")));
        let (turn_id, run) = (turn(&scene), run_of(&scene));
        let said = ConversationCommand::Post(PostMessage {
            turn: Some(turn_id.clone()),
            ..said
        });
        for sender in [&agent("a1"), &run] {
            scene.refused(sender, said.clone(), if code == "body_too_large" { 422 } else { 409 }, code);
        }
        let events = scene.ok(&run, finish(&turn_id, failed()));
        assert_eq!(phases(&events), [(Phase::AiActive, Phase::Idle)]);
    }
}

#[test]
fn a_failed_run_gives_the_floor_back() {
    let mut scene = group(1);
    scene.ok(&ada(), post("hi"));
    let (turn, run) = (turn(&scene), run_of(&scene));
    for who in [ada(), agent("a1"), sent_by("a1", "acme/run/other")] {
        scene.refused(&who, finish(&turn, failed()), 403, "not_the_winner");
    }
    let unsaid = TurnOutcome::Answered {
        message_id: message("none"),
    };
    scene.refused(&run, finish(&turn, unsaid), 404, "message_not_found");
    let events = scene.ok(&run, finish(&turn, failed()));
    assert_eq!(phases(&events), [(Phase::AiActive, Phase::Idle)]);
    scene.refused(&run, answer(&turn), 409, "turn_finished");

    // A run that was cancelled itself reports what it had said.
    scene.ok(&ada(), post("again"));
    let (turn, run) = (self::turn(&scene), run_of(&scene));
    scene.ok(&run, finish(&turn, interrupted()));
    assert_eq!(phase(&scene), Phase::Idle);
    scene.refused(&run, answer(&turn), 409, "turn_interrupted");
    scene.unchanged(&run, finish(&turn, interrupted()));
}

#[test]
fn a_run_may_say_that_an_earlier_post_was_its_answer() {
    let mut scene = group(1);
    scene.ok(&ada(), ConversationCommand::Post(post_as("m1", "hi")));
    let (turn, run) = (turn(&scene), run_of(&scene));
    scene.ok(&run, finish(&turn, TurnOutcome::Answered { message_id: message("m1") }));
    assert_eq!(phase(&scene), Phase::WaitingForUser);
}

#[test]
fn a_message_during_a_turn_gets_the_turn_that_follows() {
    let mut scene = group(2);
    scene.ok(&ada(), ConversationCommand::Post(post_as("m1", "first")));
    let first = turn(&scene);
    // Quick messages do not contest the open turn.
    assert_eq!(scene.ok(&bob(), ConversationCommand::Post(post_as("m2", "second"))).len(), 1);
    let third = PostMessage {
        mentions: vec![id("a2")],
        ..post_as("m3", "third")
    };
    assert_eq!(scene.ok(&ada(), ConversationCommand::Post(third)).len(), 1);
    assert_eq!(turn(&scene), first);
    scene.ok(&agent("a1"), claim(&first, 0.9, Priority::Normal));
    scene.ok(&agent("a2"), claim(&first, 0.1, Priority::Normal));
    let task_one = task(&scene).unwrap();
    assert_eq!(task_one.message_id, message("m1"));
    let run = run_of(&scene);
    let events = scene.ok(&run, answer(&first));
    let follows = task(&scene).unwrap();
    // The latest waiting message is answered; its prompt holds everything up to here, the answer included.
    assert_eq!((follows.message_id, follows.agent), (message("m3"), id("a2")));
    assert!(follows.at_version > task_one.at_version && follows.at_version == scene.version - 1);
    assert_ne!(follows.turn, first);
    assert_eq!(phases(&events), [], "the agents keep the floor");
    let (run, second) = (run_of(&scene), turn(&scene));
    scene.ok(&run, answer(&second));
    assert_eq!(phase(&scene), Phase::WaitingForUser);
    assert_eq!(room(&scene).floor.pending, None);
}

#[test]
fn a_deleted_message_no_longer_waits() {
    let mut scene = group(1);
    scene.ok(&ada(), post("first"));
    scene.ok(&ada(), ConversationCommand::Post(post_as("m2", "second")));
    scene.ok(
        &ada(),
        ConversationCommand::DeleteMessage(DeleteMessage { message_id: message("m2") }),
    );
    let (run, turn) = (run_of(&scene), turn(&scene));
    scene.ok(&run, answer(&turn));
    assert_eq!(phase(&scene), Phase::WaitingForUser);
}

#[test]
fn turns_are_opened_by_people_alone_and_only_where_wanted() {
    let mut scene = group(0);
    assert_eq!(scene.ok(&ada(), post("nobody to answer")).len(), 1);
    assert_eq!(room(&scene).floor.pending, None);

    let mut scene = group(1);
    scene.ok(
        &ada(),
        ConversationCommand::AddParticipant(participant("crm", ParticipantKind::Service)),
    );
    assert_eq!(scene.ok(&agent("crm"), post("ticket opened")).len(), 1);

    let mut scene: Cast = Scene::new("acme/conversation/cnv_3");
    let quiet = CreateConversation {
        auto_turns: Some(false),
        ..creation(ConversationType::Group, vec![participant("a1", ParticipantKind::Agent)])
    };
    scene.ok(&ada(), ConversationCommand::Create(quiet));
    assert_eq!(scene.ok(&ada(), post("hi")).len(), 1);
}

#[test]
fn agents_speak_by_turns() {
    for at in PHASES {
        let mut scene = in_phase(at);
        match at {
            Phase::AiActive => scene.refused(&agent("a1"), post("me too"), 409, "turn_held"),
            Phase::HandoffPending | Phase::AgentActive => scene.refused(&agent("a1"), post("me too"), 409, "agents_silent"),
            Phase::Archived => scene.refused(&agent("a1"), post("me too"), 409, "archived"),
            Phase::Idle | Phase::WaitingForUser => assert_eq!(scene.ok(&agent("a1"), post("me too")).len(), 1),
            Phase::Resolved => assert_eq!(scene.ok(&agent("a1"), post("me too")).len(), 2),
        }
    }
}

#[test]
fn ended_turns_are_remembered_up_to_a_bound() {
    let mut scene = group(1);
    let mut first = None;
    for _ in 0..=TURNS_REMEMBERED {
        scene.ok(&ada(), post("hi"));
        let (run, turn) = (run_of(&scene), turn(&scene));
        scene.ok(&run, answer(&turn));
        first.get_or_insert((run, turn));
    }
    assert_eq!(room(&scene).floor.ended.len(), TURNS_REMEMBERED);
    let (run, turn) = first.unwrap();
    scene.refused(&run, answer(&turn), 404, "turn_not_found");
}

#[test]
fn the_kernel_s_words_become_commands() {
    assert!(matches!(close("trn_1"), ConversationWord::CloseTurn(CloseTurn { turn }) if turn == "trn_1"));
    assert!(matches!(
        Conversation::from_kernel(timer("handoff")),
        Some(ConversationWord::ExpireHandoff(_))
    ));
    assert!(Conversation::from_kernel(timer("other")).is_none());
}

#[test]
fn no_entity_says_what_the_kernel_says() {
    let mut scene = group(2);
    scene.ok(&ada(), post("hi"));
    let window = close(&turn(&scene));
    let mut own = sent_by("ada", "acme/wizard/w1");
    own.authority.platform = true;
    scene.refused(&own, window.clone(), 403, "not_the_kernel");
    scene.ok(&platform(), window);
}

#[test]
fn a_turn_whose_run_is_refused_ends_as_failed() {
    let mut scene = group(1);
    scene.ok(&ada(), post("hi"));
    let turn = turn(&scene);
    let key: quipu_schemas::reaction::ReactionKey = "acme/conversation/cnv_1@3.0".parse().unwrap();
    let told = |outcome: Settled| KernelCommand::DispatchSettled {
        key: key.clone(),
        name: format!("{TURN_TIMER_PREFIX}{turn}"),
        outcome,
    };
    assert_eq!(Conversation::from_kernel(told(Settled::Accepted)), None);
    let refused = Settled::Refused {
        code: "not_allowed".into(),
    };
    let command = Conversation::from_kernel(told(refused)).expect("a command");
    let events = scene.ok(&platform(), command);
    let told = |event: &ConversationEvent| matches!(event, ConversationEvent::TurnFinished { outcome: TurnOutcome::Failed { code, .. }, .. } if code == "not_allowed");
    assert!(told(&events[0]), "{events:?}");
    assert_eq!(phase(&scene), Phase::Idle);
}
