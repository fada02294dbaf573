//! Slots that are shared, and answers that are handed on.

use super::*;

#[test]
fn a_slow_receiver_of_one_org_leaves_slots_to_the_others() {
    let mut stage = Stage::new(800);
    for method in ["GET", "POST"] {
        for n in 0..700 {
            stage.append(&format!("evil/run/{method}{n}"), effect(method, "http://slow.test/"));
        }
    }
    stage.settle();
    let third = limits::OUTBOX_RUNNING_MAX.div_ceil(3);
    assert_eq!(stage.performing.len(), third, "begun ones count, whatever they wait for");
    // Its backlog takes half of the memory, so others find room there too.
    assert_eq!(stage.relay.depth(), 400);
    let good: Vec<_> = (0..16)
        .map(|n| stage.hear(&format!("good/run/r{n}"), effect("GET", "http://model.test/")))
        .collect();
    stage.settle();
    assert!(good.iter().all(|key| stage.performing.contains(key)));
    // Its share is smaller now that others have a part of the slots.
    let first = stage.performing[0].clone();
    stage.end(&first, failed());
    stage.settle();
    assert_eq!(stage.performing.len(), third - 1 + 16);
}

#[test]
fn an_org_with_a_long_backlog_gets_through_it() {
    let mut stage = Stage::new(16);
    for n in 0..300 {
        stage.append(&format!("acme/run/r{n}"), effect("GET", "http://x.test/"));
    }
    stage.settle();
    let mut performed = 0;
    while let Some(key) = stage.performing.first().cloned() {
        performed += 1;
        stage.end(&key, failed());
        stage.settle();
    }
    assert_eq!(performed, 300);
    assert!(stage.deepest <= 16 && stage.relay.is_idle());
}

#[test]
fn a_sender_that_waits_is_told_what_its_receiver_answered() {
    let (mut awaiting, mut heeding) = (Vec::new(), Vec::new());
    let refused = Settled::Refused { code: "no".into() };
    for answer in [Settled::Accepted, Settled::Unchanged, refused.clone(), Settled::Dropped] {
        let mut stage = Stage::new(8);
        stage.answer = Ok(answer.clone());
        let command = |to: &str| Dispatch::new(to.parse().unwrap(), Json(json!({ "poke": {} })));
        stage.append("acme/run/a", Reaction::Dispatch(command("acme/run/x").awaiting("x")));
        stage.append("acme/run/b", Reaction::Dispatch(command("acme/run/y").heeding_refusal("y")));
        stage.append("acme/run/c", dispatch("acme/run/z"));
        stage.settle();
        assert!(stage.relay.is_idle());
        let told = |stream: &str| {
            stage
                .told
                .iter()
                .find(|(key, _)| key.stream.to_string() == stream)
                .map(|(_, it)| it.clone())
        };
        awaiting.push(told("acme/run/a"));
        heeding.push(told("acme/run/b"));
        assert_eq!(told("acme/run/c"), None);
    }
    let (accepted, unchanged) = (Some(Settled::Accepted), Some(Settled::Unchanged));
    assert_eq!(awaiting, [accepted, unchanged, Some(refused.clone()), Some(Settled::Dropped)]);
    assert_eq!(heeding, [None, None, Some(refused), Some(Settled::Dropped)]);
}

#[test]
fn an_answer_that_is_on_record_is_told_without_asking_again() {
    let mut stage = Stage::new(8);
    let command = Dispatch::new("acme/run/to".parse().unwrap(), Json(json!({ "poke": {} }))).awaiting("x");
    let key = stage.append("acme/run/a", Reaction::Dispatch(command));
    stage.settled.insert(key.clone(), Settled::Accepted);
    stage.settle();
    assert_eq!((stage.sent.len(), &stage.told[..]), (0, &[(key, Settled::Accepted)][..]));
}

#[test]
fn absent_receiver_is_retried_without_holding_a_slot() {
    let mut stage = Stage::new(100);
    stage.answer = Err("partition_not_open");
    stage.append("acme/run/a", dispatch("acme/run/to"));
    stage.settle();
    assert_eq!(stage.sent.len(), 0);
    stage.answer = Ok(Settled::Accepted);
    stage.now = stage.relay.next_due().expect("it asks again");
    stage.settle();
    assert_eq!(stage.sent.len(), 1);
    assert!(stage.relay.is_idle());
}
