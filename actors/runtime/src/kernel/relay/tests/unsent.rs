//! At-most-once effects whose destination is left alone because its breaker is open: nothing was sent, so nothing is lost.

use super::*;
use crate::kernel::attempt::BREAKER_OPEN;

const HOUR: u64 = 3_600_000;

fn post() -> Reaction {
    effect("POST", "http://down.test/")
}

#[test]
fn effect_at_an_open_breaker_waits_through_a_restart() {
    let mut stage = Stage::new(8);
    stage.closed_ms = Some(HOUR);
    let key = stage.append("acme/run/r", post());
    stage.settle();
    assert!(
        stage.performing.is_empty() && stage.attempts == Attempts::default(),
        "no start is on record"
    );
    stage.restart();
    stage.settle();
    assert!(stage.outcomes.is_empty(), "{:?}", stage.outcomes);
    stage.closed_ms = None;
    stage.now += HOUR;
    stage.settle();
    assert_eq!(stage.performing, [key], "sent once the breaker lets it");
    assert_eq!(stage.attempts.started, 1);
}

#[test]
fn breaker_that_opened_after_the_start_ends_no_effect() {
    let mut stage = Stage::new(8);
    let key = stage.append("acme/run/r", post());
    stage.settle();
    let most = Retry::default().attempts;
    // Far more often than it may be tried.
    for _ in 0..most + 3 {
        assert_eq!(stage.performing, std::slice::from_ref(&key));
        stage.fail(&key, BREAKER_OPEN, Some(1_000));
        stage.settle();
        assert!(stage.outcomes.is_empty(), "{:?}", stage.outcomes);
        stage.now += 1_000;
        stage.settle();
    }
    // Each attempt that was made counts, and no other.
    for made in 1..=most {
        assert_eq!(stage.performing, std::slice::from_ref(&key), "attempt {made}");
        stage.fail(&key, "connect_failed", None);
        stage.settle();
        stage.now += HOUR;
        stage.settle();
    }
    assert!(
        matches!(&stage.outcomes[..], [Outcome::Failed { code, .. }] if code == "connect_failed"),
        "{:?}",
        stage.outcomes
    );
}

#[test]
fn effect_that_was_started_and_not_ended_is_lost() {
    let mut stage = Stage::new(8);
    stage.append("acme/run/r", post());
    stage.settle();
    stage.restart();
    stage.settle();
    assert!(matches!(&stage.outcomes[..], [Outcome::Lost { .. }]), "{:?}", stage.outcomes);
}
