//! Opening, closing, dying, discarding; and lookups around a flush.

use super::scene::{Scene, command, dead, dispatch, effect, key, stream, wake};
use crate::{
    index::{Found, Index, IndexError, Parked, write},
    memory::MemoryLog,
    port::{Log, LogMeta},
    snapshots::Snapshot,
};
use quipu_schemas::{
    digest::Digest,
    position::{LogId, Position},
    reaction::Settled,
};
use std::path::Path;

fn boot(id: &str) -> Option<String> {
    Some(id.to_owned())
}

fn open(dir: &Path, scene: &Scene, id: &str) -> Index {
    Index::open(dir, &scene.log.meta(), boot(id)).unwrap()
}

fn busy(scene: &mut Scene, index: &Index) {
    let (a, b) = (stream(1), stream(2));
    scene.note(index, &a, 1, vec![dispatch(&b), effect(), wake("w", 50)], None);
    scene.note(index, &b, 1, vec![], Some((key(&a, 1, 0), Settled::Accepted)));
    scene.note(index, &a, 0, vec![], Some((key(&a, 1, 1), dead())));
    scene.note(index, &a, 2, vec![wake("later", 70)], None);
}

/// Otherwise a rebuilt index would always pass for the live one.
#[test]
fn the_digest_tells_indexes_apart_after_every_record() {
    let mut scene = Scene::new(2);
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    let (a, b) = (stream(1), stream(2));
    let mut digests = vec![index.content_digest().unwrap()];
    scene.note(&index, &a, 1, vec![dispatch(&b), wake("w", 50)], None);
    digests.push(index.content_digest().unwrap());
    scene.note(&index, &b, 1, vec![], Some((key(&a, 1, 0), Settled::Accepted)));
    digests.push(index.content_digest().unwrap());
    scene.note(&index, &a, 0, vec![], None);
    digests.push(index.content_digest().unwrap());
    assert_eq!(index.content_digest().unwrap(), digests[3], "reading it changes nothing");
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn entries_are_seen_at_once_and_after_the_flush_alike() {
    let mut scene = Scene::new(2);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    busy(&mut scene, &index);
    let a = stream(1);
    for tail in [4, 0] {
        assert_eq!(index.tail_len(), tail);
        assert_eq!(
            index.stream_head(&a).unwrap().map(|head| (head.version, head.records)),
            Some((3, 3))
        );
        assert_eq!(index.places(&a, 0).unwrap().len(), 3);
        assert_eq!(index.places(&a, 2).unwrap().len(), 1, "the record that holds version 2 comes first");
        assert_eq!(index.places(&a, 1).unwrap().len(), 3);
        assert_eq!(index.places(&a, 4).unwrap().len(), 0);
        let first = index.command(&a, &command(0)).unwrap().unwrap();
        assert_eq!((first.version, first.unchanged), (1, false));
        assert!(index.command(&a, &command(2)).unwrap().unwrap().unchanged);
        assert_eq!(
            index.command(&a, &command(1)).unwrap(),
            None,
            "the same id on another stream is another command"
        );
        assert!(index.pending_of(&a).unwrap().is_empty());
        assert_eq!(index.dead_letters(a.partition(2), None, 10).unwrap()[0].key, key(&a, 1, 1));
        assert_eq!(index.next_wake(a.partition(2)).unwrap(), Some(50));
        assert_eq!(index.stream_head(&stream(9)).unwrap(), None);
        index.flush_all().unwrap();
    }
    assert_eq!(index.counts().unwrap().records, 4);
    assert_eq!(index.counts().unwrap().streams, 2);
}

#[test]
fn entries_on_their_way_into_the_file_are_seen_once() {
    let mut scene = Scene::new(1);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    busy(&mut scene, &index);
    let a = stream(1);
    let seen = || {
        let (head, places) = (index.stream_head(&a).unwrap(), index.places(&a, 0).unwrap());
        let (pending, dead) = (index.pending_of(&a).unwrap(), index.dead_letters(0, None, 10).unwrap());
        let (command, wake) = (index.command(&a, &command(2)).unwrap(), index.next_wake(0).unwrap());
        format!("{head:?} {places:?} {pending:?} {dead:?} {command:?} {wake:?}")
    };
    let before = seen();
    let flush = index.tail().oldest(10);
    let mut writer = index.writer().unwrap();
    let transaction = writer.transaction().unwrap();
    write::apply(&transaction, &flush).unwrap();
    transaction.commit().unwrap();
    drop(writer);
    assert_eq!(seen(), before, "in both");
    for (partition, entries) in &flush {
        for entry in entries {
            index.tail_mut().forget(*partition, std::slice::from_ref(entry));
            assert_eq!(seen(), before, "{} left", index.tail_len());
        }
    }
    assert_eq!(index.tail_len(), 0);
}

#[test]
fn noting_twice_changes_nothing_and_a_gap_is_refused() {
    let mut scene = Scene::new(1);
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    busy(&mut scene, &index);
    let entries: Vec<_> = scene.entries.iter().map(|(_, entry)| entry.clone()).collect();
    index.note_durable(0, entries.clone()).unwrap();
    assert_eq!(index.tail_len(), 4);
    index.flush(2).unwrap();
    index.note_durable(0, entries.clone()).unwrap();
    assert_eq!(index.tail_len(), 2);
    assert_eq!(index.content_digest().unwrap(), scene.rebuilt().content_digest().unwrap());
    let skipped = scene.write(&stream(1), 1, vec![], None);
    let after = scene.write(&stream(1), 1, vec![], None);
    let error = index.note_durable(0, vec![after]).unwrap_err();
    assert!(
        matches!(
            error,
            IndexError::Gap {
                partition: 0,
                expected: 4,
                got: 5
            }
        ),
        "{error}"
    );
    index.note_durable(0, vec![skipped]).unwrap();
    assert_eq!(index.next_offset(0), 5);
}

#[test]
fn killed_process_keeps_the_index_and_unclean_boot_drops_it() {
    let mut scene = Scene::new(2);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    assert_eq!(*index.found(), Found::None);
    busy(&mut scene, &index);
    index.flush(2).unwrap();
    drop(index);

    let again = open(dir.path(), &scene, "b1");
    assert_eq!(*again.found(), Found::Kept);
    assert_eq!(
        again.next_offset(0) + again.next_offset(1),
        2,
        "what was not flushed is read from the log again"
    );
    let caught = again.catch_up(&scene.log, &mut |_| {}).unwrap();
    assert_eq!((caught.records, caught.rebuilt), (2, false));
    let digest = again.content_digest().unwrap();
    assert_eq!(digest, scene.rebuilt().content_digest().unwrap());
    drop(again);

    let rebooted = open(dir.path(), &scene, "b2");
    assert!(matches!(rebooted.found(), Found::Discarded(_)));
    assert_eq!(rebooted.catch_up(&scene.log, &mut |_| {}).unwrap().records, 4);
    assert_eq!(rebooted.content_digest().unwrap(), digest);
    rebooted.close().unwrap();
    assert!(matches!(rebooted.flush(1), Err(IndexError::Closed)));
    assert!(rebooted.stream_head(&stream(1)).unwrap().is_some(), "lookups go on");
    drop(rebooted);

    let after_clean = open(dir.path(), &scene, "b3");
    assert_eq!(*after_clean.found(), Found::Kept);
    assert_eq!(after_clean.catch_up(&scene.log, &mut |_| {}).unwrap().records, 0);
    drop(after_clean);
    let unclean = open(dir.path(), &scene, "b4");
    assert!(
        matches!(unclean.found(), Found::Discarded(_)),
        "the clean mark was taken back when it was opened"
    );
}

#[test]
fn another_log_or_generation_and_damage_are_discarded() {
    let mut scene = Scene::new(1);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    busy(&mut scene, &index);
    index.close().unwrap();
    drop(index);
    let meta = scene.log.meta();
    let other = LogMeta {
        log_id: LogId([8; 16]),
        ..meta.clone()
    };
    assert!(matches!(
        Index::open(dir.path(), &other, boot("b1")).unwrap().found(),
        Found::Discarded(_)
    ));
    let restored = LogMeta { generation: 2, ..other };
    assert!(matches!(
        Index::open(dir.path(), &restored, boot("b1")).unwrap().found(),
        Found::Discarded(_)
    ));
    assert!(matches!(open(dir.path(), &scene, "b1").found(), Found::Discarded(_)));

    std::fs::write(
        dir.path().join("index.db"),
        b"not a database at all, but long enough to be looked at",
    )
    .unwrap();
    let mended = open(dir.path(), &scene, "b1");
    assert!(matches!(mended.found(), Found::Discarded(_)));
    assert_eq!(mended.catch_up(&scene.log, &mut |_| {}).unwrap().records, 4);
    drop(mended);
    std::fs::remove_file(dir.path().join("index.mark")).unwrap();
    assert!(matches!(open(dir.path(), &scene, "b1").found(), Found::Discarded(_)));
}

#[test]
fn damaged_row_is_refused_and_the_next_open_starts_empty() {
    let mut scene = Scene::new(1);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    busy(&mut scene, &index);
    index.flush_all().unwrap();
    let spoil = |sql: &str| {
        assert_eq!(
            rusqlite::Connection::open(dir.path().join("index.db"))
                .unwrap()
                .execute(sql, [])
                .unwrap(),
            1
        )
    };
    spoil("UPDATE streams SET hash = x'00' WHERE id = (SELECT min(id) FROM streams)");
    let asked = [stream(1), stream(2)].map(|s| index.stream_head(&s).is_ok());
    assert_eq!(asked.iter().filter(|ok| **ok).count(), 1, "the other row is served");
    assert!(index.damage().is_some_and(|said| !said.is_empty()));
    // A stop in order does not vouch for what is damaged.
    index.close().unwrap();
    drop(index);
    let anew = open(dir.path(), &scene, "b1");
    assert!(matches!(anew.found(), Found::Discarded(_)));
    assert_eq!(anew.damage(), None);
    anew.catch_up(&scene.log, &mut |_| {}).unwrap();
    assert!([stream(1), stream(2)].iter().all(|s| anew.stream_head(s).unwrap().is_some()));
}

#[test]
fn a_closed_index_is_one_file_and_its_mark() {
    let mut scene = Scene::new(1);
    let (dir, moved) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let index = open(dir.path(), &scene, "b1");
    busy(&mut scene, &index);
    index.close().unwrap();
    for file in ["index.db", "index.mark"] {
        std::fs::copy(dir.path().join(file), moved.path().join(file)).unwrap();
    }
    drop(index);
    let again = open(moved.path(), &scene, "b2");
    assert_eq!((again.found(), again.next_offset(0)), (&Found::Kept, 4));
    assert_eq!(again.content_digest().unwrap(), scene.rebuilt().content_digest().unwrap());
    drop(again);
    // A mark alone is no index.
    std::fs::remove_file(moved.path().join("index.db")).unwrap();
    assert_eq!(*open(moved.path(), &scene, "b2").found(), Found::None);
}

#[test]
fn what_cannot_be_thrown_away_is_told() {
    let scene = Scene::new(1);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("index.db")).unwrap();
    let refused = Index::open(dir.path(), &scene.log.meta(), boot("b1")).err();
    assert!(
        matches!(&refused, Some(IndexError::Io { path, .. }) if path.ends_with("index.db")),
        "{refused:?}"
    );
}

#[test]
fn an_index_that_the_log_does_not_confirm_is_built_anew() {
    let mut scene = Scene::new(1);
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    busy(&mut scene, &index);
    index.flush_all().unwrap();
    let empty = MemoryLog::new(LogId([7; 16]), 1);
    let caught = index.catch_up(&empty, &mut |_| {}).unwrap();
    assert!(caught.rebuilt);
    assert_eq!(index.counts().unwrap(), Default::default());

    let mut other = Scene::new(1);
    for _ in 0..4 {
        other.write(&stream(3), 1, vec![], None);
    }
    index.catch_up(&scene.log, &mut |_| {}).unwrap();
    let caught = index.catch_up(&other.log, &mut |_| {}).unwrap();
    assert!(caught.rebuilt, "the same offsets with other records");
    assert_eq!(index.content_digest().unwrap(), other.rebuilt().content_digest().unwrap());
    let progress = std::cell::RefCell::new(Vec::new());
    let built = index
        .rebuild(&scene.log, &mut |at| progress.borrow_mut().push((at.records, at.next, at.end)))
        .unwrap();
    assert!(built.rebuilt && built.records == 4);
    assert_eq!(progress.into_inner(), vec![(0, 0, 4), (4, 4, 4)]);
}

#[test]
fn the_newest_whole_snapshot_of_the_right_shape_is_given() {
    let scene = Scene::new(1);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    let (a, shape) = (stream(1), Digest([1; 32]));
    let at = |version: u64| Snapshot {
        version,
        offset: version * 2,
        record: Digest([9; 32]),
        schema: shape,
        rules: 3,
        bytes: vec![version as u8; 100],
    };
    for version in [100, 200, 300] {
        index.put_snapshot(&a, &at(version)).unwrap();
    }
    assert_eq!(index.latest_snapshot(&a, &shape, 3).unwrap(), Some(at(300)));
    assert_eq!(index.latest_snapshot(&a, &Digest([2; 32]), 3).unwrap(), None);
    assert_eq!(index.latest_snapshot(&a, &shape, 4).unwrap(), None);
    assert_eq!(index.latest_snapshot(&stream(2), &shape, 3).unwrap(), None);
    index
        .store
        .writer()
        .execute("UPDATE snapshots SET bytes = zeroblob(200) WHERE version = 300", [])
        .unwrap();
    assert_eq!(
        index.latest_snapshot(&a, &shape, 3).unwrap(),
        Some(at(200)),
        "the one before is kept and serves"
    );
    let kept: i64 = index
        .store
        .writer()
        .query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 2);
    index.drop_snapshots(&a).unwrap();
    assert_eq!(index.latest_snapshot(&a, &shape, 3).unwrap(), None);
    assert!(
        index.streams(&a.kind, None, None, 10).unwrap().is_empty(),
        "a snapshot alone makes no stream"
    );
}

#[test]
fn parked_streams_are_remembered_until_unparked() {
    let mut scene = Scene::new(1);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    busy(&mut scene, &index);
    let parked = Parked {
        stream: stream(1),
        position: Position {
            partition: 0,
            offset: 2,
            index: 0,
        },
        detail: "does not fold".into(),
    };
    index.park(&parked).unwrap();
    drop(index);
    let index = open(dir.path(), &scene, "b1");
    assert_eq!(index.parked(&stream(1)).unwrap(), Some(parked.clone()));
    assert_eq!(index.parked(&stream(2)).unwrap(), None);
    assert_eq!(index.all_parked().unwrap(), vec![parked]);
    assert!(index.unpark(&stream(1)).unwrap());
    assert!(!index.unpark(&stream(1)).unwrap());
    assert_eq!(index.parked(&stream(1)).unwrap(), None);
}

#[test]
fn lookups_run_beside_flushes() {
    let mut scene = Scene::new(1);
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), &scene, "b1");
    let a = stream(1);
    for _ in 0..300 {
        scene.write(&a, 1, vec![effect()], None);
    }
    let entries: Vec<_> = scene.entries.iter().map(|(_, entry)| entry.clone()).collect();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for entry in entries {
                index.note_durable(0, vec![entry]).unwrap();
                index.flush(1).unwrap();
            }
        });
        let readers: Vec<_> = (0..2)
            .map(|_| {
                threads.spawn(|| {
                    let mut seen = 0;
                    while seen < 300 {
                        let places = index.places(&a, 0).unwrap();
                        assert!(
                            places.iter().enumerate().all(|(at, place)| place.offset == at as u64),
                            "a hole or a repetition"
                        );
                        assert!(places.len() >= seen, "a record that was seen is gone");
                        seen = places.len();
                        if seen > 0 {
                            let head = index.stream_head(&a).unwrap().unwrap();
                            assert!(head.version >= seen as u64 && head.records == head.version);
                            assert!(index.pending_of(&a).unwrap().len() >= seen);
                        }
                    }
                })
            })
            .collect();
        writer.join().unwrap();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
