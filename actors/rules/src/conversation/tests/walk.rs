//! Long random lives: whatever is sent, the laws hold.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64: a seed is a life.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % n as u64) as usize
    }
}

fn some_turn(scene: &Cast, dice: &mut Dice) -> String {
    let floor = &room(scene).floor;
    let mut turns: Vec<String> = floor.turn().map(|turn| turn.id().to_owned()).into_iter().collect();
    turns.extend(floor.ended.iter().rev().take(2).map(|ended| ended.turn.clone()));
    turns.push("trn_none".into());
    // The one that goes on, mostly.
    let at = if dice.below(3) == 0 { dice.below(turns.len()) } else { 0 };
    turns.swap_remove(at)
}

fn some_command(scene: &Cast, dice: &mut Dice) -> AskedOf<Conversation> {
    let turn = some_turn(scene, dice);
    let mentions = if dice.below(3) == 0 { vec![id("a1")] } else { vec![] };
    match dice.below(12) {
        0..=2 => ConversationCommand::Post(PostMessage { mentions, ..text("hm") }).into(),
        3 => claim(&turn, dice.below(11) as f64 / 10.0, [Priority::Low, Priority::High][dice.below(2)]).into(),
        4 => defer(&turn).into(),
        5..=6 => answer(&turn).into(),
        7 => close(&turn).into(),
        8 => finish(&turn, if dice.below(2) == 0 { failed() } else { interrupted() }).into(),
        _ => {
            let all = everything_asked();
            let at = dice.below(all.len());
            // Archiving ends the walk; let it be rare.
            match all.into_iter().nth(at) {
                Some(Asked::Command(ConversationCommand::Archive(_))) | None => post("hm").into(),
                // Whoever left comes back, so that there are agents to speak.
                Some(Asked::Command(ConversationCommand::Leave(_) | ConversationCommand::Rename(_))) if dice.below(4) > 0 => {
                    ConversationCommand::AddParticipant(participant(["a1", "a2", "a3"][dice.below(3)], ParticipantKind::Agent)).into()
                }
                Some(other) => other,
            }
        }
    }
}

#[test]
fn no_life_breaks_a_law() {
    let mut answered = 0;
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let mut dice = Dice(seed);
        let mut scene = group(1 + dice.below(3));
        let (mut answers, mut decisions) = (BTreeMap::<String, u32>::new(), BTreeMap::<String, u32>::new());
        for _ in 0..150 {
            scene.now += dice.below(400) as u64;
            let command = some_command(&scene, &mut dice);
            let mut cast = vec![ada(), bob(), boss(), platform(), agent("a1"), agent("a2"), agent("a3")];
            if let Some(Turn::Running(_)) = room(&scene).floor.turn() {
                // Runs speak most.
                cast.extend(vec![run_of(&scene); 7]);
            }
            let who = match &command {
                Asked::Command(ConversationCommand::Post(PostMessage { turn: Some(_), .. })) => cast.swap_remove(cast.len() - 1),
                _other => cast.swap_remove(dice.below(cast.len())),
            };
            let before = phase(&scene);
            seen.insert(before);
            match scene.send(&who, command.clone()) {
                Ok(events) => {
                    let after = phase(&scene);
                    assert_eq!(
                        phases(&events),
                        if before == after { vec![] } else { vec![(before, after)] },
                        "seed {seed}: {command:?}"
                    );
                    for event in &events {
                        match event {
                            ConversationEvent::MessagePosted { turn: Some(turn), .. } => *answers.entry(turn.clone()).or_default() += 1,
                            ConversationEvent::TurnDecided { turn, .. } => *decisions.entry(turn.clone()).or_default() += 1,
                            _other => {}
                        }
                    }
                }
                Err(problem) => assert_ne!(problem.code, "contradiction", "seed {seed}: {command:?}: {problem}"),
            }
            let floor = &room(&scene).floor;
            let at_rest = matches!(floor.stage, Stage::Idle | Stage::WaitingForUser);
            // A question waits only while something holds it up.
            if let (Some(question), true, false) = (&floor.pending, at_rest, floor.paused) {
                assert!(
                    state::eligible(&room(&scene).participants, &question.mentions).is_empty(),
                    "seed {seed}: {question:?} is left"
                );
            }
        }
        assert!(
            answers.values().chain(decisions.values()).all(|count| *count == 1),
            "seed {seed}: one decision and one answer a turn"
        );
        assert!(answers.keys().all(|turn| decisions.contains_key(turn)), "seed {seed}");
        answered += answers.len();
    }
    assert_eq!(seen.len(), PHASES.len() - 1, "{seen:?}");
    assert!(answered > 200, "the walks lead somewhere: {answered} answers");
}
