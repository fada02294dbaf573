//! As much as there may be.

use super::*;
use quipu_schemas::limits::{QUOTA_ENDED_MAX, QUOTA_OPEN_MAX, RECORD_MAX_BYTES};

/// Folds without the copies that a scene makes.
fn fold(scene: &mut Scene<Quota>, who: &As, command: QuotaCommand) -> Vec<QuotaEvent> {
    match scene.decide(who, command).unwrap() {
        Decision::Accept(events) => {
            let folded = |state, event: &QuotaEvent| Quota::evolve(state, event).unwrap();
            scene.state = events.iter().fold(std::mem::take(&mut scene.state), folded);
            events
        }
        Decision::Unchanged => Vec::new(),
    }
}

#[test]
fn bounds_hold_and_what_is_over_is_forgotten_in_turn() {
    let mut scene = limited(&[("org", Window::Total, 1 << 40)]);
    for n in 0..QUOTA_OPEN_MAX {
        fold(&mut scene, &member(), tokens(&format!("r{n}"), 1));
    }
    scene.refused(&member(), tokens("more", 1), 429, "too_many_reservations");
    scene.now += 60_000;
    // All of them are over: one event names some, and none of them counts.
    scene
        .state
        .accounts
        .get_mut(&Level::Org)
        .unwrap()
        .values_mut()
        .next()
        .unwrap()
        .limits
        .get_mut(&Window::Total)
        .unwrap()
        .limit = 5;
    fold(&mut scene, &member(), tokens("more", 5));
    assert!(scene.state.open.len() > QUOTA_OPEN_MAX / 2);
    scene.refused(&member(), tokens("less", 1), 402, "budget_exceeded");
    while scene.state.open.len() > 1 {
        let word: AskedOf<Quota> = QuotaWord::Lapse(Lapse {}).into();
        let Ok(Decision::Accept(events)) = scene.decide(&platform(), word) else {
            panic!("the timer stopped")
        };
        let folded = |state, event: &QuotaEvent| Quota::evolve(state, event).unwrap();
        scene.state = events.iter().fold(std::mem::take(&mut scene.state), folded);
    }
    assert_eq!(counted(&scene, "org", Window::Total), (0, 5));
    assert_eq!(
        (scene.state.ended.len(), scene.state.ended_order.len()),
        (QUOTA_ENDED_MAX, QUOTA_ENDED_MAX)
    );
}

#[test]
fn the_largest_decision_fits_a_record() {
    let mut scene = scene();
    let label = |n: usize| format!("label/{}{n:04}", "x".repeat(60));
    let unit = |n: usize| format!("{}{n}", "u".repeat(31));
    let wide = |from: usize, amount| -> Vec<Hold> {
        let levels = |n: usize| -> Vec<Level> { (0..QUOTA_LEVELS_MAX).map(|l| level(&label(from + 8 * n + l))).collect() };
        let hold = |n: usize| Hold {
            levels: levels(n),
            unit: unit(n).parse().unwrap(),
            amount,
        };
        (0..QUOTA_HOLDS_MAX).map(hold).collect()
    };
    let most = 1 << 49;
    for reservation in 0..3 {
        for Hold { levels, unit, .. } in wide(reservation * 64, 1) {
            for at in levels {
                for window in [Window::Total, Window::Hour, Window::Day, Window::Month] {
                    fold(&mut scene, &admin(), set(&at.to_string(), &unit.to_string(), window, most));
                }
            }
        }
    }
    for (n, key) in ["a", "b", "c"].iter().enumerate() {
        fold(
            &mut scene,
            &member(),
            reserve(&format!("{key}{}", "k".repeat(60)), 60, wide(n * 64, most / 2)),
        );
    }
    scene.now += 40 * 24 * 3_600_000;
    let events = fold(&mut scene, &member(), reserve("r", 60, wide(0, most)));
    let notices = events.iter().filter(|event| matches!(event, QuotaEvent::Noticed { .. })).count();
    let bytes: usize = events.iter().map(|event| serde_json::to_vec(event).unwrap().len()).sum();
    assert!(notices >= 4 * 64 && bytes < RECORD_MAX_BYTES, "{notices} notices, {bytes} bytes");
}
