mod bounds;
mod levels;
mod model;

use super::*;
use crate::scene::{As, Scene, as_role, id, platform};
use quipu_kinds::quota::{Hold, Release, Reserve, Settle, Used};
use quipu_schemas::{
    limits::{QUOTA_HOLDS_MAX, QUOTA_LEVELS_MAX},
    quota::{Level, RateBy},
};

const TOKENS: &str = "tokens";

fn admin() -> As {
    as_role("ada", Some(Role::Admin))
}
fn member() -> As {
    as_role("bot", Some(Role::Member))
}
fn scene() -> Scene<Quota> {
    Scene::new("acme/quota/all")
}
fn entity(text: &str) -> EntityId {
    EntityId::parse(text).unwrap()
}
fn level(text: &str) -> Level {
    text.parse().unwrap()
}
fn set(at: &str, unit: &str, window: Window, limit: u64) -> QuotaCommand {
    QuotaCommand::SetLimit(SetLimit {
        level: level(at),
        unit: unit.parse().unwrap(),
        window,
        limit,
    })
}
fn hold(levels: &[&str], unit: &str, amount: u64) -> Hold {
    Hold {
        levels: levels.iter().map(|text| level(text)).collect(),
        unit: unit.parse().unwrap(),
        amount,
    }
}
fn reserve(key: &str, ttl_seconds: u32, holds: Vec<Hold>) -> QuotaCommand {
    QuotaCommand::Reserve(Reserve {
        key: entity(key),
        ttl_seconds,
        holds,
    })
}
/// Tokens of one agent.
fn tokens(key: &str, amount: u64) -> QuotaCommand {
    reserve(key, 60, vec![hold(&["agent/bot"], TOKENS, amount)])
}
fn settle(key: &str, used: &[(&str, u64)]) -> QuotaCommand {
    let used = used.iter().map(|(unit, amount)| Used {
        unit: unit.parse().unwrap(),
        amount: *amount,
    });
    QuotaCommand::Settle(Settle {
        key: entity(key),
        used: used.collect(),
    })
}
fn release(key: &str) -> QuotaCommand {
    QuotaCommand::Release(Release { key: entity(key) })
}
/// What is used and held there of tokens.
fn counted(scene: &Scene<Quota>, at: &str, window: Window) -> (u64, u64) {
    let account = scene.state.account(&level(at), &TOKENS.parse().unwrap()).unwrap();
    (account.limits[&window].used, account.held)
}
fn limited(limits: &[(&str, Window, u64)]) -> Scene<Quota> {
    let mut scene = scene();
    for (at, window, limit) in limits {
        scene.ok(&admin(), set(at, TOKENS, *window, *limit));
    }
    scene
}
fn wakes(scene: &Scene<Quota>) -> Vec<(String, Millis)> {
    let wake = |reaction: &Reaction| match reaction {
        Reaction::WakeAt { name, due } => Some((name.clone(), *due)),
        _ => None,
    };
    scene.reactions.iter().filter_map(wake).collect()
}

#[test]
fn admins_set_limits_and_members_reserve() {
    for command in ["set_limit", "remove_limit", "set_rate", "remove_rate"] {
        assert_eq!(Quota::right(command), Right::Role(Role::Admin), "{command}");
    }
    for command in ["reserve", "settle", "release"] {
        assert_eq!(Quota::right(command), Right::Role(Role::Member), "{command}");
    }
    let mut other = Scene::<Quota>::new("acme/quota/mine");
    other.refused(&admin(), set("org", TOKENS, Window::Total, 1), 422, "quota_id");
}

#[test]
fn limits_are_set_changed_and_removed() {
    let mut scene = limited(&[("org", Window::Total, 10), ("org", Window::Day, 5)]);
    scene.unchanged(&admin(), set("org", TOKENS, Window::Total, 10));
    scene.ok(&member(), tokens("r", 5));
    scene.ok(&admin(), set("org", TOKENS, Window::Total, 3));
    assert_eq!(counted(&scene, "org", Window::Total), (0, 5));
    scene.ok(&admin(), set("agent/bot", TOKENS, Window::Total, 7));
    assert_eq!(
        counted(&scene, "agent/bot", Window::Total),
        (0, 5),
        "a new limit counts what is held"
    );
    let remove = |window| {
        QuotaCommand::RemoveLimit(RemoveLimit {
            level: Level::Org,
            unit: TOKENS.parse().unwrap(),
            window,
        })
    };
    scene.ok(&admin(), remove(Window::Total));
    scene.refused(&admin(), remove(Window::Total), 404, "unknown_limit");
    scene.ok(&admin(), remove(Window::Day));
    assert_eq!((scene.state.limit_count, scene.state.accounts.len()), (1, 1));
    scene.ok(&member(), release("r"));
    assert_eq!(counted(&scene, "agent/bot", Window::Total), (0, 0));
}

#[test]
fn all_levels_have_room_or_nothing_is_held() {
    let mut scene = limited(&[
        ("org", Window::Total, 100),
        ("project/p", Window::Total, 50),
        ("agent/bot", Window::Day, 20),
    ]);
    let whole = |key: &str, amount| reserve(key, 60, vec![hold(&["agent/bot", "project/p"], TOKENS, amount)]);
    scene.refused(&member(), whole("r", 21), 402, "budget_exceeded");
    let problem = scene.decide(&member(), whole("r", 21)).unwrap_err();
    for part in [
        "agent/bot",
        "20 tokens left of 20",
        "for the day",
        "2023-11-15T00:00:00Z",
        "21 were asked",
    ] {
        assert!(problem.detail.contains(part), "{part}: {problem}");
    }
    assert_eq!(counted(&scene, "org", Window::Total), (0, 0));
    scene.ok(&member(), whole("r", 20));
    for (at, window) in [("org", Window::Total), ("project/p", Window::Total), ("agent/bot", Window::Day)] {
        assert_eq!(counted(&scene, at, window), (0, 20), "{at}");
    }
    scene.refused(&member(), whole("s", 1), 402, "budget_exceeded");
    // The org counts everything, whoever forgets to name it.
    let other = as_role("cal", Some(Role::Member));
    scene.ok(&other, reserve("s", 60, vec![hold(&[], TOKENS, 80)]));
    let labelled = reserve("t", 60, vec![hold(&["label/x"], TOKENS, 1)]);
    scene.refused(&other, labelled, 402, "budget_exceeded");
    scene.ok(&member(), reserve("t", 60, vec![hold(&[], "calls", 1_000)]));
}

#[test]
fn the_same_reservation_again_changes_nothing() {
    let mut scene = limited(&[("org", Window::Total, 10)]);
    scene.ok(&member(), tokens("r", 6));
    scene.unchanged(&member(), tokens("r", 6));
    scene.unchanged(&member(), reserve("r", 60, vec![hold(&["org", "agent/bot", "org"], TOKENS, 6)]));
    scene.refused(&member(), tokens("r", 7), 409, "key_taken");
    scene.refused(&member(), reserve("r", 61, vec![hold(&["agent/bot"], TOKENS, 6)]), 409, "key_taken");
    scene.ok(&member(), settle("r", &[(TOKENS, 2)]));
    scene.unchanged(&member(), settle("r", &[(TOKENS, 2)]));
    scene.refused(&member(), settle("r", &[(TOKENS, 3)]), 409, "reservation_ended");
    scene.refused(&member(), tokens("r", 6), 409, "reservation_ended");
    scene.refused(&member(), release("r"), 409, "reservation_ended");
    assert_eq!(counted(&scene, "org", Window::Total), (2, 0));
}

#[test]
fn a_reservation_is_ended_by_whose_it_is_and_by_admins() {
    let mut scene = limited(&[("org", Window::Total, 100)]);
    let other = as_role("eve", Some(Role::Member));
    for key in ["a", "b", "c", "d"] {
        scene.ok(&member(), tokens(key, 10));
    }
    scene.refused(&other, settle("a", &[(TOKENS, 0)]), 403, "not_your_reservation");
    scene.refused(&other, release("a"), 403, "not_your_reservation");
    // Nor does another spend it by asking for the same once more.
    let [mine, theirs] = ["usr_1", "usr_2"].map(|who| as_role(who, Some(Role::Member)));
    let same = || reserve("e", 60, vec![hold(&[], TOKENS, 10)]);
    scene.ok(&mine, same());
    scene.refused(&theirs, same(), 409, "key_taken");
    scene.ok(&mine, release("e"));
    scene.refused(&admin(), tokens("a", 10), 409, "key_taken");
    scene.unchanged(&member(), tokens("a", 10));
    scene.ok(&member(), settle("a", &[(TOKENS, 3)]));
    scene.ok(&admin(), settle("b", &[(TOKENS, 3)]));
    scene.ok(&admin(), release("c"));
    // Whose time is over is still theirs alone, before it has lapsed and after.
    scene.now += 60_000;
    scene.refused(&other, settle("d", &[(TOKENS, 3)]), 403, "not_your_reservation");
    scene.refused(&other, release("d"), 403, "not_your_reservation");
    scene.ok(&platform(), QuotaWord::Lapse(Lapse {}));
    scene.refused(&other, settle("d", &[(TOKENS, 3)]), 403, "not_your_reservation");
    scene.ok(&member(), settle("d", &[(TOKENS, 3)]));
    assert_eq!(counted(&scene, "org", Window::Total), (9, 0));
}

#[test]
fn who_acts_for_whose_it_is_ends_a_reservation() {
    let mut scene = limited(&[("org", Window::Total, 100)]);
    scene.ok(&member(), tokens("a", 10));
    scene.sender = Some(id("svc"));
    scene.ok(&member(), settle("a", &[(TOKENS, 3)]));
    scene.ok(&member(), tokens("b", 10));
    scene.sender = None;
    // What was reserved for somebody is theirs, and not the sender's.
    scene.refused(&as_role("svc", Some(Role::Member)), release("b"), 403, "not_your_reservation");
    scene.ok(&member(), release("b"));
}

#[test]
fn a_reservation_of_an_earlier_release_is_ended_by_admins_alone() {
    let mut scene = limited(&[("org", Window::Total, 100)]);
    for key in ["a", "b"] {
        let stored = serde_json::json!({ "type": "quipu.quota.reserved.v1", "data": {
            "key": key, "ttl_seconds": 60, "until": scene.now + 60_000,
            "holds": [{ "levels": ["org"], "unit": TOKENS, "amount": 10 }],
        }});
        let event = serde_json::from_value(stored).unwrap();
        scene.state = Quota::evolve(std::mem::take(&mut scene.state), &event).unwrap();
    }
    scene.refused(&member(), settle("a", &[(TOKENS, 3)]), 403, "not_your_reservation");
    scene.ok(&admin(), settle("a", &[(TOKENS, 3)]));
    scene.now += 60_000;
    scene.ok(&platform(), QuotaWord::Lapse(Lapse {}));
    assert_eq!(counted(&scene, "org", Window::Total), (3, 0));
}

#[test]
fn more_than_was_held_is_booked_and_said() {
    let mut scene = limited(&[("org", Window::Total, 10)]);
    scene.ok(&member(), tokens("r", 6));
    scene.refused(&member(), settle("r", &[]), 422, "not_said");
    scene.refused(&member(), settle("r", &[(TOKENS, 1), ("calls", 1)]), 422, "not_held");
    let events = scene.ok(&member(), settle("r", &[(TOKENS, 15)]));
    let booking = events.iter().find_map(|event| match event {
        QuotaEvent::Settled { bookings, late, .. } => Some((bookings[0].used, bookings[0].freed, bookings[0].over, *late)),
        _ => None,
    });
    assert_eq!(booking, Some((15, 6, 9, false)));
    assert_eq!(counted(&scene, "org", Window::Total), (15, 0));
    scene.refused(&member(), tokens("s", 1), 402, "budget_exceeded");
}

#[test]
fn what_lapses_is_free_by_the_clock_before_its_timer() {
    let mut scene = limited(&[("org", Window::Total, 10)]);
    scene.ok(&member(), tokens("r", 10));
    let due = scene.now + 60_000;
    assert_eq!(wakes(&scene), [("lapse".to_owned(), due)]);
    scene.now = due - 1;
    scene.refused(&member(), tokens("s", 1), 402, "budget_exceeded");
    scene.now = due;
    let events = scene.ok(&member(), tokens("s", 10));
    assert!(
        matches!(&events[0], QuotaEvent::Lapsed { keys, .. } if *keys == [entity("r")]),
        "{events:?}"
    );
    scene.refused(&member(), tokens("r", 10), 409, "reservation_ended");
    // What was spent all the same is booked.
    let events = scene.ok(&member(), settle("r", &[(TOKENS, 4)]));
    assert!(
        events
            .iter()
            .any(|event| matches!(event, QuotaEvent::Settled { late: true, bookings, .. } if bookings[0].over == 4))
    );
    assert_eq!(counted(&scene, "org", Window::Total), (4, 10));
    scene.unchanged(&member(), settle("r", &[(TOKENS, 4)]));
    scene.now = due + 60_000;
    scene.ok(&member(), settle("s", &[(TOKENS, 1)]));
    assert_eq!(counted(&scene, "org", Window::Total), (5, 0));
}

#[test]
fn the_timer_lets_reservations_lapse_in_turn() {
    let mut scene = limited(&[("org", Window::Total, 10)]);
    let start = scene.now;
    scene.ok(&member(), reserve("late", 90, vec![hold(&[], TOKENS, 1)]));
    scene.ok(&member(), tokens("soon", 1));
    assert_eq!(wakes(&scene), [("lapse".to_owned(), start + 60_000)]);
    scene.unchanged(&platform(), QuotaWord::Lapse(Lapse {}));
    scene.now = start + 60_000;
    scene.ok(&platform(), QuotaWord::Lapse(Lapse {}));
    assert_eq!(wakes(&scene), [("lapse".to_owned(), start + 90_000)]);
    scene.unchanged(&platform(), QuotaWord::Lapse(Lapse {}));
    scene.now = start + 90_000;
    scene.ok(&platform(), QuotaWord::Lapse(Lapse {}));
    assert!(wakes(&scene).is_empty() && scene.state.open.is_empty() && scene.state.lapses.is_empty());
    assert_eq!(counted(&scene, "org", Window::Total), (0, 0));
    scene.unchanged(&member(), release("soon"));
}

#[test]
fn windows_turn_by_the_clock_and_by_their_timer() {
    let mut scene = limited(&[("org", Window::Hour, 10), ("org", Window::Month, 12)]);
    let (_, turns) = Window::Hour.around(scene.now).unwrap();
    scene.ok(&member(), tokens("r", 10));
    scene.ok(&member(), settle("r", &[(TOKENS, 10)]));
    let names: Vec<_> = wakes(&scene).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["hour", "month"]);
    scene.refused(&member(), tokens("s", 1), 402, "budget_exceeded");
    scene.now = turns;
    scene.refused(&member(), tokens("s", 3), 402, "budget_exceeded");
    let events = scene.ok(&member(), tokens("s", 2));
    assert!(
        matches!(events[0], QuotaEvent::Turned { window: Window::Hour, since, .. } if since == turns),
        "{events:?}"
    );
    assert_eq!(
        (counted(&scene, "org", Window::Hour), counted(&scene, "org", Window::Month)),
        ((0, 2), (10, 2))
    );
    // The timer of the hour before comes late, and says nothing.
    scene.unchanged(&platform(), QuotaWord::Turn(Turn { window: Window::Hour }));
    scene.ok(&member(), settle("s", &[(TOKENS, 1)]));
    assert_eq!(wakes(&scene), [("hour".to_owned(), turns + 3_600_000)]);
    scene.now = turns + 3_600_000;
    scene.ok(&platform(), QuotaWord::Turn(Turn { window: Window::Hour }));
    assert_eq!(counted(&scene, "org", Window::Hour), (0, 0));
    assert!(wakes(&scene).is_empty());
    // A clock that goes back opens no window again.
    scene.now = turns;
    scene.ok(&member(), tokens("t", 1));
    assert_eq!(scene.state.windows[&Window::Hour].since, turns + 3_600_000);
}

#[test]
fn marks_are_told_once_a_window() {
    let mut scene = limited(&[("org", Window::Hour, 100)]);
    let told = |events: &[QuotaEvent]| -> Vec<(u8, u64, u64)> {
        let one = |event: &QuotaEvent| match event {
            QuotaEvent::Noticed { percent, used, held, .. } => Some((*percent, *used, *held)),
            _ => None,
        };
        events.iter().filter_map(one).collect()
    };
    assert_eq!(told(&scene.ok(&member(), tokens("a", 79))), []);
    assert_eq!(told(&scene.ok(&member(), tokens("b", 1))), [(80, 0, 80)]);
    assert_eq!(told(&scene.ok(&member(), settle("b", &[(TOKENS, 1)]))), []);
    scene.ok(&member(), release("a"));
    assert_eq!(told(&scene.ok(&member(), tokens("c", 90))), []);
    assert_eq!(told(&scene.ok(&member(), settle("c", &[(TOKENS, 120)]))), [(100, 121, 0)]);
    scene.now = Window::Hour.around(scene.now).unwrap().1;
    assert_eq!(told(&scene.ok(&member(), tokens("d", 96))), [(95, 0, 96)]);
    assert_eq!(told(&scene.ok(&admin(), set("org", TOKENS, Window::Hour, 96))), [(100, 0, 96)]);
}

#[test]
fn bad_commands_are_refused_with_their_field() {
    let mut scene = limited(&[("org", Window::Total, 10)]);
    let most = 1 << 49;
    scene.refused(&admin(), set("org", TOKENS, Window::Day, most + 1), 422, "bad_amount");
    for (ttl, holds, code) in [
        (0, vec![hold(&[], TOKENS, 1)], "bad_ttl"),
        (3_601, vec![hold(&[], TOKENS, 1)], "bad_ttl"),
        (60, vec![], "bad_holds"),
        (60, vec![hold(&[], TOKENS, 1); QUOTA_HOLDS_MAX + 1], "bad_holds"),
        (60, vec![hold(&[], TOKENS, 1); 2], "unit_twice"),
        (60, vec![hold(&[], TOKENS, 0)], "bad_amount"),
        (60, vec![hold(&[], TOKENS, most + 1)], "bad_amount"),
        (60, vec![hold(&["agent/a"; QUOTA_LEVELS_MAX + 1], TOKENS, 1)], "too_many_levels"),
    ] {
        scene.refused(&member(), reserve("r", ttl, holds), 422, code);
    }
    scene.refused(&member(), settle("r", &[(TOKENS, 1)]), 404, "unknown_reservation");
    scene.refused(&member(), release("r"), 404, "unknown_reservation");
    scene.ok(&member(), tokens("r", 1));
    scene.refused(&member(), settle("r", &[(TOKENS, 1), (TOKENS, 1)]), 422, "unit_twice");
    scene.refused(&member(), settle("r", &[(TOKENS, most + 1)]), 422, "bad_amount");
}

#[test]
fn rates_are_set_and_removed() {
    let mut scene = scene();
    let rate = |by, requests, per_seconds| QuotaCommand::SetRate(SetRate { by, requests, per_seconds });
    scene.refused(&admin(), rate(RateBy::Org, 0, 60), 422, "bad_rate");
    scene.refused(&admin(), rate(RateBy::Org, 1, 0), 422, "bad_rate");
    scene.ok(&admin(), rate(RateBy::Org, 60, 60));
    scene.unchanged(&admin(), rate(RateBy::Org, 60, 60));
    scene.ok(&admin(), QuotaCommand::RemoveRate(RemoveRate { by: RateBy::Org }));
    scene.refused(
        &admin(),
        QuotaCommand::RemoveRate(RemoveRate { by: RateBy::Org }),
        404,
        "unknown_rate",
    );
    assert!(scene.state.rates.is_empty());
}
