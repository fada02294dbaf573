//! What lookups give while entries are in the tail, on their way into the file, and in the file.

use super::scene::{Scene, command, dead, dispatch, effect, key, stream, wake};
use crate::index::{Index, LATEST, command_mark, write};
use quipu_schemas::{
    ids::{Kind, OrgId, StreamId},
    reaction::Settled,
};
use std::collections::BTreeSet;

fn index(scene: &Scene) -> Index {
    use crate::port::Log;
    Index::in_memory(&scene.log.meta()).unwrap()
}

/// Looks while everything is in the tail, then with all of it in the file.
fn before_and_after_the_flush(index: &Index, look: impl Fn(&str)) {
    look("in the tail");
    index.flush_all().unwrap();
    look("in the file");
}

#[test]
fn records_of_a_stream_count_once_in_tail_and_file() {
    for flushed in 0..=4 {
        let mut scene = Scene::new(1);
        let index = index(&scene);
        let (a, b) = (stream(1), stream(2));
        for stream in [&a, &b, &a, &a] {
            scene.note(&index, stream, 1, vec![], None);
        }
        // Written and not yet forgotten: what a lookup meets while a flush runs.
        let flush = index.tail().oldest(flushed);
        let mut writer = index.writer().unwrap();
        let transaction = writer.transaction().unwrap();
        write::apply(&transaction, &flush).unwrap();
        transaction.commit().unwrap();
        drop(writer);
        let head = index.stream_head(&a).unwrap().unwrap();
        assert_eq!((head.records, head.version, head.position.offset), (3, 3, 3), "{flushed} written");
        assert_eq!(index.places(&a, 0).unwrap().len(), 3, "{flushed} written");
    }
}

#[test]
fn records_are_found_by_what_their_events_named() {
    let mut scene = Scene::new(1);
    let index = index(&scene);
    let (a, b) = (stream(1), stream(2));
    let written: Vec<_> = (0..14)
        .map(|n| scene.note(&index, if n == 13 { &b } else { &a }, 1, vec![], None))
        .collect();
    let look = |name: &str| {
        let offsets = |stream: &StreamId, name: &str| -> Vec<u64> {
            let named = index.named(stream, name).unwrap();
            named.iter().map(|place| place.offset).collect()
        };
        assert_eq!(offsets(&a, "name-0"), [1, 6], "{name}");
        assert_eq!(offsets(&a, "name-1"), [7, 12], "{name}");
        assert_eq!(offsets(&a, "often"), [1, 7], "{name}: of this stream alone");
        assert_eq!(offsets(&b, "often"), [13], "{name}");
        assert!(
            offsets(&a, "name-9").is_empty() && offsets(&stream(9), "often").is_empty(),
            "{name}"
        );
        assert_eq!(index.named(&a, "name-0").unwrap()[0].place, written[1].place, "{name}");
    };
    look("in the tail");
    // Written and not yet forgotten: what a lookup meets while a flush runs.
    let flush = index.tail().oldest(7);
    let mut writer = index.writer().unwrap();
    let transaction = writer.transaction().unwrap();
    write::apply(&transaction, &flush).unwrap();
    transaction.commit().unwrap();
    drop(writer);
    look("on its way");
    index.flush_all().unwrap();
    look("in the file");
}

#[test]
fn commands_of_a_stream_are_known_by_marks_while_few() {
    let mut scene = Scene::new(1);
    let index = index(&scene);
    let (a, b) = (stream(1), stream(2));
    for stream in [&a, &b, &a, &a] {
        scene.note(&index, stream, 1, vec![], None);
    }
    let marks: BTreeSet<u64> = [0, 2, 3].map(|n| command_mark(&command(n))).into();
    assert_eq!(marks.len(), 3, "ids are told apart");
    before_and_after_the_flush(&index, |name| {
        assert_eq!(index.command_marks(&a, 3).unwrap(), Some(marks.clone()), "{name}");
        assert_eq!(index.command_marks(&a, 2).unwrap(), None, "{name}: more than asked for");
        assert_eq!(index.command_marks(&stream(9), 0).unwrap(), Some(BTreeSet::new()), "{name}: none");
    });
}

#[test]
fn attempts_of_an_effect_are_known_by_its_key() {
    let mut scene = Scene::new(1);
    let index = index(&scene);
    let a = stream(1);
    scene.note(&index, &a, 1, vec![effect()], None);
    scene.note(&index, &a, 0, vec![], Some((key(&a, 1, 0), Settled::Started { attempt: 2 })));
    before_and_after_the_flush(&index, |name| {
        assert_eq!(index.attempts(&key(&a, 1, 0)).unwrap().started, 2, "{name}");
        assert_eq!(index.attempts(&key(&a, 1, 1)).unwrap(), Default::default(), "{name}: of another");
    });
}

#[test]
fn streams_are_given_by_kind_and_org_in_pages() {
    let mut scene = Scene::new(2);
    let index = index(&scene);
    let all: Vec<StreamId> = ["acme/run/r1", "acme/run/r2", "beta/run/r1", "beta/task/t1", "gamma/run/r0"]
        .map(|s| s.parse().unwrap())
        .into();
    for stream in all.iter().rev() {
        scene.note(&index, stream, 1, vec![], None);
    }
    let runs: Vec<&StreamId> = [0, 1, 2, 4].map(|n| &all[n]).into();
    let (run, task) = (Kind::parse("run").unwrap(), Kind::parse("task").unwrap());
    let (acme, beta) = (OrgId::parse("acme").unwrap(), OrgId::parse("beta").unwrap());
    before_and_after_the_flush(&index, |name| {
        let streams = |kind, org, after, limit| index.streams(kind, org, after, limit).unwrap();
        let names = |found: &[StreamId]| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected = |found: &[&StreamId]| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&streams(&run, None, None, 10)), expected(&runs), "{name}");
        assert_eq!(
            names(&streams(&run, Some(&acme), None, 10)),
            expected(&runs[..2]),
            "{name}: of an org"
        );
        assert_eq!(
            names(&streams(&task, Some(&beta), None, 10)),
            expected(&[&all[3]]),
            "{name}: of a kind"
        );
        assert_eq!(names(&streams(&task, Some(&acme), None, 10)), expected(&[]), "{name}: of neither");
        for (n, after) in runs.iter().enumerate() {
            let rest = &runs[n + 1..];
            assert_eq!(
                names(&streams(&run, None, Some(after), 10)),
                expected(rest),
                "{name}: after {after}"
            );
            assert_eq!(
                names(&streams(&run, None, Some(after), 1)),
                expected(&rest[..rest.len().min(1)]),
                "{name}: one after {after}"
            );
            let of_beta: Vec<&StreamId> = rest.iter().copied().filter(|s| s.org == beta).collect();
            assert_eq!(
                names(&streams(&run, Some(&beta), Some(after), 10)),
                expected(&of_beta),
                "{name}: of beta after {after}"
            );
        }
    });
}

/// The next page begins behind the last timer of the one before, though many are due at once.
#[test]
fn timers_are_paged_alike_from_tail_and_file() {
    let mut scene = Scene::new(1);
    let index = index(&scene);
    for id in 1..=3 {
        scene.note(&index, &stream(id), 1, vec![wake("a", 5), wake("b", 5), wake("later", 9)], None);
    }
    before_and_after_the_flush(&index, |name| {
        let whole = index.wakes_due(0, 5, 100).unwrap();
        assert_eq!(whole.len(), 6, "{name}");
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = index.wakes_due_after(0, 5, after, 2).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.place());
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{name}");
        assert_eq!(index.next_wake_after(0, 5).unwrap(), Some(9), "{name}");
        assert_eq!(index.next_wake_after(0, 4).unwrap(), Some(5), "{name}");
        assert_eq!(index.next_wake_after(0, 9).unwrap(), None, "{name}");
    });
}

/// SQLite has no numbers above: what is due later than any clock says is due then.
#[test]
fn timer_due_beyond_all_time_is_equal_in_tail_and_file() {
    let mut scene = Scene::new(1);
    let index = index(&scene);
    let a = stream(1);
    scene.note(&index, &a, 1, vec![wake("never", u64::MAX), wake("soon", 5)], None);
    before_and_after_the_flush(&index, |name| {
        let due: Vec<u64> = index.wakes_due(0, u64::MAX, 10).unwrap().iter().map(|wake| wake.due).collect();
        assert_eq!(due, [5, LATEST], "{name}");
        assert_eq!(index.next_wake(0).unwrap(), Some(5), "{name}");
    });
}

#[test]
fn pages_of_pending_reactions_go_on_behind_their_cursor() {
    let mut scene = Scene::new(1);
    let index = index(&scene);
    let (a, b) = (stream(1), stream(2));
    scene.note(&index, &a, 1, vec![effect(), dispatch(&b), effect()], None);
    scene.note(&index, &b, 1, vec![effect()], None);
    scene.note(&index, &b, 0, vec![], Some((key(&a, 1, 1), dead())));
    before_and_after_the_flush(&index, |name| {
        let (mut after, mut found) = (None, Vec::new());
        while let [pending] = &index.pending(0, after, 1).unwrap()[..] {
            found.push(pending.key.clone());
            after = Some(pending.cursor());
        }
        assert_eq!(found, [key(&a, 1, 0), key(&a, 1, 2), key(&b, 1, 0)], "{name}");
        assert!(index.pending(0, None, 0).unwrap().is_empty(), "{name}");
        assert_eq!(index.dead_letters(0, None, 9).unwrap().len(), 1, "{name}");
    });
}

/// The receiver settles, its sender notes that it was told: two streams of one partition, in either order of their names.
#[test]
fn what_two_streams_say_of_one_dispatch_is_folded_in_order() {
    let (a, b) = (stream(1), stream(2));
    for (from, to) in [(&a, &b), (&b, &a)] {
        let mut scene = Scene::new(1);
        let live = index(&scene);
        let sent = key(from, 1, 0);
        scene.note(&live, from, 1, vec![dispatch(to)], None);
        live.flush_all().unwrap();
        scene.note(&live, to, 1, vec![], Some((sent.clone(), Settled::Accepted)));
        live.flush_all().unwrap();
        scene.note(&live, from, 0, vec![], Some((sent.clone(), Settled::Told)));
        let rebuilt = scene.rebuilt();
        for (name, index) in [("rebuilt", &rebuilt), ("flushed one by one", &live)] {
            let settled = index.settled(&sent).unwrap().expect("it is settled");
            assert_eq!(settled.outcome, Settled::Accepted, "{name}, from {from}");
            assert!(index.pending(0, None, 9).unwrap().is_empty(), "{name}, from {from}");
        }
        assert_eq!(rebuilt.content_digest().unwrap(), live.content_digest().unwrap(), "from {from}");
    }
}
