use super::*;
use quipu_schemas::limits::{TROUBLE_KEPT_MAX, TROUBLE_RECENT_MS};

fn call(ended: Ended, code: &'static str, took_ms: u64) -> Attempted<'static> {
    Attempted {
        effect: "llm.invoke",
        provider: Some("house"),
        ended,
        code,
        took_ms,
    }
}

#[test]
fn failed_model_calls_are_recent_for_a_while() {
    let mut vitals = Vitals::default();
    vitals.attempted(call(Ended::Done, "", 40), 1);
    assert!(vitals.errors().is_empty());
    vitals.attempted(call(Ended::Retryable, "status_503", 300), 1_000);
    vitals.attempted(call(Ended::Failed, "status_401", 300), 2_000);
    vitals.attempted(call(Ended::Cancelled, "", 300), 2_000);
    let errors = &vitals.errors()["house"];
    assert_eq!((errors.total, errors.last.as_str()), (2, "status_401"));
    let at = |now| errors.recent.count(now);
    assert_eq!((at(2_000), at(1_000 + TROUBLE_RECENT_MS), at(2_000 + TROUBLE_RECENT_MS)), (2, 1, 0));
}

#[test]
fn times_of_failures_are_bounded() {
    let mut recent = Recent::default();
    for _ in 0..3 * TROUBLE_KEPT_MAX {
        recent.add(7);
    }
    assert_eq!(recent.count(8), TROUBLE_KEPT_MAX as u64);
}

#[test]
fn calls_that_were_not_sent_take_no_time() {
    let mut vitals = Vitals::default();
    vitals.attempted(call(Ended::NotSent, "breaker_open", 0), 1);
    assert!(vitals.calls().is_empty() && vitals.errors()["house"].total == 1);
    for took_ms in [50, 51, 400_000] {
        vitals.attempted(call(Ended::Done, "", took_ms), 1);
    }
    let times = &vitals.calls()["house"];
    let counts: Vec<u64> = times.cumulative().map(|(_, count)| count).collect();
    assert_eq!((counts[0], counts[1], counts.last(), times.count()), (1, 2, Some(&2), 3));
    assert_eq!(vitals.attempts()[&("llm.invoke", Ended::Done)], 3);
}

#[test]
fn effects_without_a_provider_are_only_attempts() {
    let mut vitals = Vitals::default();
    let webhook = Attempted {
        effect: "webhook",
        provider: None,
        ..call(Ended::Failed, "status_404", 9)
    };
    vitals.attempted(webhook, 1);
    assert_eq!(vitals.attempts()[&("webhook", Ended::Failed)], 1);
    assert!(vitals.calls().is_empty() && vitals.errors().is_empty());
}

#[test]
fn a_call_is_open_until_its_partition_is_lost() {
    let mut vitals = Vitals::default();
    let key = ReactionKey {
        stream: "acme/run/r1".parse().expect("a stream"),
        version: 3,
        ordinal: 0,
    };
    vitals.call_begins(&key);
    vitals.attempted(call(Ended::Done, "", 5), 1);
    assert_eq!(vitals.open_calls(), 1, "its end is not recorded yet");
    vitals.forget(|stream| stream.id.as_str() == "r2");
    assert_eq!(vitals.open_calls(), 1);
    vitals.forget(|stream| stream.id.as_str() == "r1");
    assert_eq!(vitals.open_calls(), 0);
}
