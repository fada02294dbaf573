//! What a projector does with crashes, duplicates, holes, damage and records that do not fit.

use crate::scene::{Random, Scene, caught_up, empty, world};
use quipu_events::port::{Log, ReadError};
use quipu_projections::{
    error::ViewError,
    families::Families,
    follower::{Follower, catch_up},
    progress::{Progress, WaitError, Wanted},
    projector::{Action, Input, Projector, StopReason},
    query::Query,
    reading::View,
    store::{Checkpoint, DigestOf},
};
use quipu_schemas::{
    ids::{OrgId, StreamId},
    position::{Cursor, LogId, Position},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const ACME: OrgId = OrgId::from_static("acme");

#[test]
fn projector_dropped_between_rounds_loses_and_doubles_nothing() {
    let log = world().log(3);
    let wanted = caught_up(&log).digests(DigestOf::Everything).unwrap();
    for seed in 0..crate::fresh::SEEDS / 4 {
        let mut random = Random(seed);
        let store = empty(&log);
        let progress = Progress::new(store.cursor().unwrap());
        loop {
            // Each round is another life: all that is kept is in the store.
            let mut follower = Follower::new(&log, store.clone()).unwrap();
            let some: Vec<u16> = (0..3).filter(|_| random.below(2) == 0).collect();
            follower.round(&log, &some, &progress).unwrap();
            if follower.lag(&log).unwrap().iter().sum::<u64>() == 0 {
                break;
            }
        }
        assert_eq!(store.digests(DigestOf::Everything).unwrap(), wanted, "seed {seed}");
    }
}

#[test]
fn followers_of_one_store_conflict_and_loser_resumes_from_it() {
    let log = world().log(1);
    let store = empty(&log);
    let progress = Progress::new(store.cursor().unwrap());
    let mut first = Follower::new(&log, store.clone()).unwrap();
    let mut second = Follower::new(&log, store.clone()).unwrap();
    first.catch_up(&log, &progress).unwrap();
    assert!(matches!(
        second.round(&log, &[0], &progress),
        Err(ViewError::Conflict { partition: 0, expected: 0 })
    ));
    assert!(second.round(&log, &[0], &progress).unwrap().caught_up);
    assert_eq!(
        store.digests(DigestOf::Everything).unwrap(),
        caught_up(&log).digests(DigestOf::Everything).unwrap()
    );
}

#[test]
fn records_below_checkpoint_and_stale_frames_are_skipped() {
    let log = world().log(1);
    let frames = log.read(0, 0, usize::MAX).unwrap();
    let total: u64 = frames.iter().map(|f| f.records.len() as u64).sum();
    let mut projector = Projector::new(
        Families::house(),
        0,
        Checkpoint {
            epoch: 1,
            next_offset: 2,
            behind: 0,
        },
        [],
    );
    let mut stale = frames[1].clone();
    stale.epoch = 0;
    let mut all = frames.clone();
    all.insert(1, stale);
    let Action::LoadTips(streams) = projector.step(Input::Frames(all.clone())) else {
        panic!("expected tips to be wanted")
    };
    assert!(streams.len() > 4);
    // No stream has a tip in this store, so the ones whose first records lie below the checkpoint park.
    let action = projector.step(Input::Tips(streams.into_iter().map(|s| (s, None)).collect()));
    let Action::Commit(batch) = action else { panic!("{action:?}") };
    assert_eq!((batch.expected.next_offset, batch.next.next_offset), (2, total));
    assert_eq!(projector.passed_over(), 1);
    assert_eq!(
        projector.step(Input::Committed),
        Action::Read {
            partition: 0,
            from_offset: total
        }
    );
    assert_eq!(projector.step(Input::Frames(frames)), Action::CaughtUp, "all of it was seen");
    assert_eq!(projector.step(Input::Frames(vec![])), Action::CaughtUp);
}

#[test]
fn a_hole_stops_the_partition_after_what_comes_before_it() {
    let log = world().log(1);
    log.bend(0, |frames| {
        frames.remove(2);
    });
    let store = empty(&log);
    let round = catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();
    assert_eq!(round.records, 6);
    assert_eq!(round.stopped[0].offset, 6);
    assert_eq!(round.stopped[0].why, StopReason::Hole { found: 9 });
    assert_eq!(store.cursor().unwrap().next, vec![6]);
}

#[test]
fn damage_stops_its_partition_and_no_other() {
    let log = world().log(2);
    let busy = (0..2).find(|p| log.head(*p).unwrap().next_offset > 3).unwrap();
    *log.damage.lock() = Some((busy, 3));
    let store = empty(&log);
    let round = catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();
    assert_eq!(round.stopped.len(), 1);
    assert!(matches!(&round.stopped[0].why, StopReason::Unreadable(_)));
    let next = store.cursor().unwrap().next;
    assert_eq!(next[usize::from(busy)], 3);
    assert_eq!(next[usize::from(1 - busy)], log.head(1 - busy).unwrap().next_offset);

    // Damage that no stream owns: not even the header is readable.
    let log = world().log(1);
    log.bend(0, |frames| frames[1].records[1].1[20] ^= 1);
    let store = empty(&log);
    let round = catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();
    assert_eq!(round.stopped[0].offset, 4);
    assert!(matches!(&round.stopped[0].why, StopReason::NoStream(_)), "{round:?}");
}

#[test]
fn silent_log_is_asked_again_and_a_damaged_one_is_not() {
    let mut projector = Projector::new(
        Families::house(),
        0,
        Checkpoint {
            epoch: 1,
            next_offset: 2,
            behind: 0,
        },
        [],
    );
    let asked = projector.step(Input::Poll);
    let silent = projector.step(Input::Unreadable(ReadError::Io("no answer".into())));
    assert!(matches!(&silent, Action::Stop(stop) if stop.is_passing()), "{silent:?}");
    assert_eq!(projector.step(Input::Poll), asked);
    let (at, detail) = ("records".into(), "bent".into());
    let damaged = projector.step(Input::Unreadable(ReadError::Damaged {
        partition: 0,
        offset: 2,
        at,
        detail,
    }));
    assert!(matches!(&damaged, Action::Stop(stop) if !stop.is_passing()), "{damaged:?}");
    assert_eq!(projector.step(Input::Poll), damaged);
}

#[test]
fn stream_with_an_unfit_record_parks_alone_and_resumes() {
    let mut scene = Scene::default();
    let (good, bad) = ("acme/org/acme", "acme/conversation/cnv_9");
    scene.events(
        bad,
        "ada",
        json!([["created", {"stream": bad, "conversation_type": "group", "claim_window_ms": 1, "auto_turns": false}]]),
    );
    scene.events(bad, "ada", json!([["paused", {"by": "ada", "reason": "r"}]]));
    scene.events(bad, "ada", json!([["resumed", {"by": "ada", "reason": "r"}]]));
    scene.events(good, "ada", json!([["created", {"name": "Acme"}]]));
    scene.events(bad, "ada", json!([["paused", {"by": "ada", "reason": "again"}]]));
    let whole = scene.log(1);
    let log = scene.log(1);
    // One byte of the body of the stream's second record flips: its header still names the stream.
    log.bend(0, |frames| {
        let bytes = &mut frames[0].records[1].1;
        let at = bytes.len() - 70;
        bytes[at] ^= 1;
    });
    let store = empty(&log);
    let progress = Progress::new(store.cursor().unwrap());
    let mut follower = Follower::new(&log, store.clone()).unwrap();
    let round = follower.catch_up(&log, &progress).unwrap();
    assert_eq!((round.records, round.stopped.len()), (5, 0));
    let parked = store.list(View::PARKED_STREAMS, &ACME, &Query::default()).unwrap().rows;
    assert_eq!(parked[0]["stream"], bad);
    assert_eq!(parked[0]["position"], "p0.1.0");
    assert_eq!(parked[0]["waiting"], 3);
    assert!(parked[0]["reason"].as_str().unwrap().contains("hash"), "{parked:?}");
    assert_eq!(
        store.get(View::CONVERSATIONS, &ACME, &["cnv_9"]).unwrap().row.unwrap()["version"],
        1
    );
    assert!(store.get(View::ORGS, &ACME, &["acme"]).unwrap().row.is_some(), "others go on");

    // A restart remembers it, and taking it up again too early parks it again.
    let stream: StreamId = bad.parse().unwrap();
    let mut follower = Follower::new(&log, store.clone()).unwrap();
    assert!(!follower.unpark(&log, &stream).unwrap());
    assert_eq!(store.list(View::PARKED_STREAMS, &ACME, &Query::default()).unwrap().rows, parked);
    assert!(follower.unpark(&whole, &stream).unwrap());
    assert_eq!(
        store.digests(DigestOf::Everything).unwrap(),
        caught_up(&whole).digests(DigestOf::Everything).unwrap()
    );
    assert!(follower.round(&whole, &[0], &progress).unwrap().caught_up);
}

#[test]
fn a_broken_chain_and_an_unknown_event_park_their_stream() {
    let mut scene = world();
    scene.events("acme/org/acme", "ada", json!([["sold", {}]]));
    let twice = scene.records.iter().find(|r| r.stream.kind.as_str() == "agent").unwrap().clone();
    scene.records.push(twice);
    let log = scene.log(2);
    let store = caught_up(&log);
    let rows = store.list(View::PARKED_STREAMS, &ACME, &Query::default()).unwrap().rows;
    let reasons: Vec<_> = rows.iter().map(|r| r["reason"].as_str().unwrap()).collect();
    assert!(reasons[0].contains("version 1 follows version"), "{reasons:?}");
    assert!(reasons[1].contains("quipu.org.sold.v1"), "{reasons:?}");
}

#[test]
fn waiting_ends_when_the_views_get_there_or_time_is_up() {
    let log = world().log(1);
    let store = empty(&log);
    let progress = Arc::new(Progress::new(store.cursor().unwrap()));
    let wanted = Wanted::Position(Position {
        partition: 0,
        offset: 20,
        index: 0,
    });
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let hook = progress.on_move({
        let seen = seen.clone();
        move |cursor: &Cursor| seen.lock().push(cursor.next[0])
    });
    assert!(!progress.covers(&wanted).unwrap());
    assert!(matches!(
        progress.wait_for(&wanted, Duration::ZERO),
        Err(WaitError::TimedOut { .. })
    ));
    let waiter = std::thread::spawn({
        let (progress, wanted) = (progress.clone(), wanted.clone());
        move || progress.wait_for(&wanted, Duration::from_secs(60))
    });
    catch_up(&log, &store, &progress).unwrap();
    assert!(waiter.join().unwrap().unwrap().next[0] > 20);
    progress.forget(hook);
    assert!(seen.lock().last().unwrap() > &20);
    let foreign = Cursor {
        log: LogId([8; 16]),
        generation: 1,
        next: vec![0],
    };
    assert!(matches!(progress.covers(&Wanted::Cursor(foreign)), Err(WaitError::OtherLog(1))));
    let nowhere = Wanted::Position(Position {
        partition: 5,
        offset: 0,
        index: 0,
    });
    assert!(matches!(progress.covers(&nowhere), Err(WaitError::NoPartition(_))));
    assert!(progress.covers(&Wanted::Cursor(store.cursor().unwrap())).unwrap());
}
