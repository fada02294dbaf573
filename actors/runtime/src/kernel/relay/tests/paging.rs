//! More work than fits into memory, and pages that are late or do not come.

use super::*;

#[test]
fn more_than_fits_is_sent_page_by_page_and_in_order() {
    for bound in [1, 2, 3, 7, 100] {
        let mut stage = Stage::new(bound);
        let keys: Vec<_> = (0..50)
            .map(|n| stage.append(["acme/run/a", "acme/run/b", "other/run/c"][n % 3], dispatch("acme/run/to")))
            .collect();
        stage.settle();
        assert!(stage.deepest <= bound, "{} of {bound}", stage.deepest);
        for stream in ["acme/run/a", "acme/run/b", "other/run/c"] {
            let of = |keys: &[ReactionKey]| -> Vec<u64> {
                keys.iter()
                    .filter(|key| key.stream.to_string() == stream)
                    .map(|key| key.version)
                    .collect()
            };
            assert_eq!(of(&stage.sent), of(&keys), "bound {bound}");
        }
        assert!(stage.relay.is_idle());
    }
}

#[test]
fn a_page_that_cannot_be_read_is_asked_for_again() {
    let mut stage = Stage::new(4);
    let key = stage.append("acme/run/a", dispatch("acme/run/to"));
    let actions = stage.step();
    assert!(matches!(actions[..], [RelayAction::Load { .. }]));
    stage.relay.page(None, stage.now);
    assert!(stage.step().is_empty(), "not before a pause");
    assert!(!stage.relay.is_idle());
    stage.now = stage.relay.next_due().expect("a plan");
    assert!(stage.now > NOW);
    stage.settle();
    assert_eq!(stage.sent, [key]);
}

#[test]
fn what_is_new_does_not_overtake_what_waits_in_the_index() {
    let mut stage = Stage::new(2);
    for _ in 0..5 {
        stage.append("acme/run/a", dispatch("acme/run/to"));
    }
    // Told before, while and after the first page is read.
    stage.hear("acme/run/a", dispatch("acme/run/to"));
    let [action] = &mut stage.step()[..] else {
        panic!("one page is asked for")
    };
    let RelayAction::Load { after, most, without } = action else {
        panic!("{action:?}")
    };
    let page = stage.page(*after, *most, without);
    stage.hear("acme/run/a", dispatch("acme/run/to"));
    stage.relay.page(Some(page), stage.now);
    stage.hear("acme/run/a", dispatch("acme/run/to"));
    stage.settle();
    let versions: Vec<u64> = stage.sent.iter().map(|key| key.version).collect();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    // With nothing left to read, a record brings its reactions itself; one that the page knew does not bring them again.
    stage.hear("acme/run/a", dispatch("acme/run/to"));
    let again = stage.log[0].clone();
    assert!(stage.relay.record(0, &again).is_empty());
    stage.settle();
    assert_eq!(stage.sent.len(), 9);
}

#[test]
fn a_record_that_a_page_has_shown_is_not_taken_twice() {
    let mut stage = Stage::new(8);
    stage.append("acme/run/a", effect("GET", "http://x.test/"));
    stage.settle();
    let [key] = &stage.performing.clone()[..] else {
        panic!("{:?}", stage.performing)
    };
    stage.end(key, failed());
    // The word of it comes late.
    let record = stage.log[0].clone();
    stage.relay.record(0, &record);
    stage.settle();
    assert!(stage.performing.is_empty() && stage.relay.is_idle());
}

#[test]
fn what_was_done_while_a_page_was_read_is_not_done_again() {
    let mut stage = Stage::new(8);
    stage.append("acme/run/a", effect("GET", "http://x.test/"));
    stage.settle();
    stage.relay.look_again();
    let [RelayAction::Load { after, most, without }] = &stage.step()[..] else {
        panic!("a page is asked for")
    };
    let page = stage.page(*after, *most, without);
    stage.end(&key("acme/run/a", 1), failed());
    stage.relay.page(Some(page), stage.now);
    stage.settle();
    assert!(stage.performing.is_empty(), "{:?}", stage.performing);
    assert!(stage.relay.is_idle());
}

#[test]
fn dead_letters_keep_no_room() {
    let mut stage = Stage::new(4);
    for n in 0..40 {
        stage.append(&format!("acme/run/r{n}"), effect("GET", "http://x.test/"));
    }
    let last = stage.append("acme/run/last", dispatch("acme/run/to"));
    stage.settle();
    while let Some(key) = stage.performing.first().cloned() {
        stage.end(&key, failed());
        stage.settle();
    }
    assert_eq!(stage.sent, [last]);
    assert!(stage.relay.is_idle() && stage.relay.rows().is_empty());
}

#[test]
fn a_suspended_org_keeps_no_room_and_goes_on_when_it_is_resumed() {
    let mut stage = Stage::new(4);
    stage.suspended.insert(OrgId::from_static("held"));
    for _ in 0..20 {
        stage.append("held/run/a", dispatch("held/run/to"));
        stage.append("acme/run/a", dispatch("acme/run/to"));
    }
    stage.settle();
    assert_eq!(stage.sent.iter().filter(|key| key.stream.org.as_str() == "acme").count(), 20);
    stage.hear("held/run/a", dispatch("held/run/to"));
    stage.hear("acme/run/a", dispatch("acme/run/to"));
    stage.settle();
    assert_eq!((stage.sent.len(), stage.relay.depth()), (21, 0));
    stage.suspended.clear();
    stage.now = stage.relay.next_due().expect("it looks again");
    assert!(stage.now <= NOW + limits::OUTBOX_LOOK_MS);
    stage.settle();
    let versions: Vec<u64> = stage.sent[21..].iter().map(|key| key.version).collect();
    assert_eq!(versions, (1..=21).collect::<Vec<_>>());
    assert!(stage.relay.is_idle());
}

#[test]
fn a_suspension_puts_back_what_has_not_begun() {
    let mut stage = Stage::new(100);
    stage.answer = Err("not_now");
    for _ in 0..5 {
        stage.append("held/run/a", dispatch("held/run/to"));
    }
    stage.settle();
    assert_eq!(stage.relay.depth(), 5);
    stage.suspended.insert(OrgId::from_static("held"));
    stage.now = stage.relay.next_due().expect("a retry");
    stage.settle();
    assert_eq!(stage.relay.depth(), 0);
    stage.suspended.clear();
    stage.answer = Ok(Settled::Accepted);
    stage.now += limits::OUTBOX_LOOK_MS;
    stage.settle();
    assert_eq!(stage.sent.len(), 5);
}

#[test]
fn an_effect_cancelled_while_its_page_was_read_is_not_performed() {
    let mut stage = Stage::new(8);
    stage.append("acme/run/a", effect("GET", "http://x.test/"));
    let [RelayAction::Load { after, most, without }] = &stage.step()[..] else {
        panic!("a page is asked for")
    };
    let page = stage.page(*after, *most, without);
    stage.hear("acme/run/a", Reaction::CancelEffect { name: "call".into() });
    stage.relay.page(Some(page), stage.now);
    stage.settle();
    assert!(stage.performing.is_empty() && stage.done.contains(&key("acme/run/a", 1)));
}
