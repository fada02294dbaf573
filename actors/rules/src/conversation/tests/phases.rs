use super::*;

#[test]
fn the_table_of_all_49_pairs() {
    // Rows: from; columns: to, both in the order of PHASES. x: allowed.
    let table = [
        ".x.x.xx", // idle
        "x.xx.xx", // ai_active
        "xx.x.xx", // waiting_for_user
        "xx..xxx", // handoff_pending
        "x..x.xx", // agent_active
        "xx....x", // resolved
        ".......", // archived
    ];
    for (from, row) in PHASES.into_iter().zip(table) {
        for (to, cell) in PHASES.into_iter().zip(row.chars()) {
            assert_eq!(allowed(from, to), cell == 'x', "{from:?} to {to:?}");
        }
    }
}

#[test]
fn allowed_phase_changes_happen_and_others_are_corrupt() {
    for from in PHASES {
        let scene = in_phase(from);
        for to in PHASES {
            let event = ConversationEvent::PhaseChanged {
                from,
                to,
                reason: String::new(),
            };
            let folded = Conversation::evolve(scene.state.clone(), &event);
            let carries_nothing = matches!(to, Phase::Idle | Phase::WaitingForUser | Phase::Resolved | Phase::Archived);
            let expected = allowed(from, to) && carries_nothing && from != Phase::AiActive;
            assert_eq!(folded.is_ok(), expected, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn commands_in_every_phase_follow_the_table() {
    for from in PHASES {
        for command in everything_asked() {
            for who in [ada(), bob(), boss(), agent("a1"), platform(), as_role("eve", Some(Role::Member))] {
                let mut scene = in_phase(from);
                if let Ok(events) = scene.send(&who, command.clone()) {
                    let to = phase(&scene);
                    let told = phases(&events);
                    assert_eq!(told, if from == to { vec![] } else { vec![(from, to)] }, "{command:?} in {from:?}");
                    assert!(from == to || allowed(from, to), "{command:?} in {from:?} to {to:?}");
                }
            }
        }
    }
}

#[test]
fn resolve_and_archive_reach_their_phase_from_everywhere() {
    for from in PHASES.into_iter().filter(|from| *from != Phase::Archived) {
        let mut scene = in_phase(from);
        scene.ok(&ada(), resolve());
        assert_eq!(phase(&scene), Phase::Resolved);
        let mut scene = in_phase(from);
        scene.ok(&boss(), archive());
        assert_eq!(phase(&scene), Phase::Archived);
    }
}

#[test]
fn events_of_another_turn_or_of_a_silent_agent_are_corrupt() {
    use ConversationEvent as E;
    let mut open = group(2);
    open.ok(
        &ada(),
        ConversationCommand::Post(PostMessage {
            mentions: vec![id("a1")],
            ..post_as("m1", "hi")
        }),
    );
    open.ok(&ada(), ConversationCommand::Cancel(control()));
    open.ok(&ada(), post("you all"));
    let turn = self::turn(&open);
    open.ok(&agent("a1"), claim(&turn, 0.5, Priority::Low));
    let mut running = group(1);
    running.ok(&ada(), post("hi"));
    let runs = self::turn(&running);
    let closed = |turn: &str| E::TurnClosed {
        turn: turn.into(),
        why: String::new(),
    };
    let deferred = |turn: &str, agent: &str| E::TurnDeferred {
        turn: turn.into(),
        agent: id(agent),
        reason: String::new(),
    };
    let finished = |turn: &str| E::TurnFinished {
        turn: turn.into(),
        outcome: failed(),
    };
    let decided = |turn: &str| E::TurnDecided {
        turn: turn.into(),
        message_id: message("m"),
        at_version: 1,
        winner: id("a1"),
        method: TurnMethod::BestClaim,
        why: String::new(),
        bids: vec![],
        run: quipu_schemas::ids::EntityId::from_static("run_x"),
    };
    let folds = |scene: &Cast, event: &E| Conversation::evolve(scene.state.clone(), event).is_ok();
    for (scene, event, fits) in [
        (&open, closed(&turn), true),
        (&open, closed("trn_other"), false),
        (&open, decided(&turn), true),
        (&open, decided("trn_other"), false),
        (&open, deferred(&turn, "a2"), true),
        (&open, deferred("trn_other", "a2"), false),
        (&open, deferred(&turn, "a1"), false),
        (&open, deferred(&turn, "ada"), false),
        (&open, deferred("trn_other", "a1"), false),
        (&running, finished(&runs), true),
        (&running, finished("trn_other"), false),
        (&running, closed(&runs), false),
    ] {
        assert_eq!(folds(scene, &event), fits, "{event:?}");
    }
    // An interrupted turn reports once.
    running.ok(&ada(), ConversationCommand::Cancel(control()));
    assert!(folds(&running, &finished(&runs)));
    running.state = Conversation::evolve(running.state, &finished(&runs)).unwrap();
    assert!(!folds(&running, &finished(&runs)));
}

#[test]
fn refusals_name_phases_and_roles_as_the_interface_does() {
    let detail = |scene: &mut Cast, who: &As, command: ConversationCommand| scene.decide(who, command).unwrap_err().detail;
    let mut scene = in_phase(Phase::AgentActive);
    assert_eq!(detail(&mut scene, &agent("a1"), post("hi")), "agents keep silent in agent_active");
    assert_eq!(detail(&mut scene, &bob(), archive()), "bob needs the role admin here");
}

#[test]
fn events_that_contradict_the_state_are_corrupt() {
    use ConversationEvent as E;
    let by = || id("ada");
    let created = E::Created {
        stream: "acme/conversation/cnv_1".parse().unwrap(),
        conversation_type: ConversationType::Group,
        title: None,
        claim_window_ms: 0,
        auto_turns: true,
    };
    let decided = |method| E::TurnDecided {
        turn: "trn_x".into(),
        message_id: message("m"),
        at_version: 1,
        winner: id("a1"),
        method,
        why: String::new(),
        bids: vec![],
        run: quipu_schemas::ids::EntityId::from_static("run_x"),
    };
    let opened = E::TurnOpened {
        turn: "trn_x".into(),
        message_id: message("m"),
        at_version: 1,
        eligible: vec![id("a1")],
        closes_at: 0,
    };
    let claimed = E::TurnClaimed {
        turn: "trn_x".into(),
        agent: id("a1"),
        reason: String::new(),
        confidence: 0.5,
        priority: Priority::Low,
        rule: None,
        conditions: Vec::new(),
        expires_at: None,
    };
    let requested = E::HandoffRequested {
        by: by(),
        to: None,
        reason: String::new(),
        expires_at: 0,
    };
    for (at, event) in [
        (Phase::Idle, created.clone()),
        (
            Phase::Idle,
            E::Resumed {
                by: by(),
                reason: String::new(),
            },
        ),
        (Phase::Idle, E::HandoffAssigned { to: by() }),
        (Phase::Idle, E::HandoffAccepted { by: by() }),
        (Phase::Idle, E::HandoffExpired {}),
        (
            Phase::Idle,
            E::TurnClosed {
                turn: "trn_x".into(),
                why: String::new(),
            },
        ),
        (
            Phase::Idle,
            E::TurnFinished {
                turn: "trn_x".into(),
                outcome: failed(),
            },
        ),
        (Phase::Idle, claimed.clone()),
        (Phase::Idle, decided(TurnMethod::BestClaim)),
        (Phase::AiActive, decided(TurnMethod::OnlyEligible)),
        (Phase::AiActive, opened.clone()),
        (Phase::AiActive, claimed),
        (Phase::AiActive, requested.clone()),
        (Phase::Archived, requested),
        (Phase::AgentActive, opened),
        (
            Phase::Idle,
            E::MessageEdited {
                message_id: message("m"),
                body: sealed(&"x".to_owned()),
            },
        ),
        (
            Phase::Idle,
            E::MessageDeleted {
                message_id: message("m"),
                by: by(),
            },
        ),
        (
            Phase::Idle,
            E::ParticipantRemoved {
                principal: id("eve"),
                left: true,
            },
        ),
        (
            Phase::Idle,
            E::ParticipantRoleSet {
                principal: id("eve"),
                role: ParticipantRole::Admin,
            },
        ),
        (
            Phase::Idle,
            E::ParticipantAdded {
                principal: by(),
                kind: ParticipantKind::Person,
                role: ParticipantRole::Admin,
            },
        ),
    ] {
        assert!(Conversation::evolve(in_phase(at).state, &event).is_err(), "{event:?} in {at:?}");
    }
    for event in [
        E::HandoffExpired {},
        E::Paused {
            by: by(),
            reason: String::new(),
        },
    ] {
        assert!(Conversation::evolve(ConversationState::Missing, &event).is_err());
    }
    let mut scene = group(1);
    scene.ok(&ada(), ConversationCommand::Pause(control()));
    assert!(
        Conversation::evolve(
            scene.state.clone(),
            &E::Paused {
                by: by(),
                reason: String::new()
            }
        )
        .is_err()
    );
    assert!(Conversation::react(&ConversationState::Missing, &created).is_empty());
}
