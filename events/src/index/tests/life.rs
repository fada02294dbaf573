//! Opening, closing, dying, discarding; and lookups around a flush.

mod opening;

use super::scene::{Scene, command, dead, dispatch, effect, key, stream, wake};
use crate::{
    index::{Found, Index, IndexError, Parked, write},
    port::Log,
    snapshots::Snapshot,
};
use quipu_schemas::{digest::Digest, position::Position, reaction::Settled};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

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

struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
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
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            // Told in a panic, too: nobody reads on for ever.
            let _told = Told(&is_over);
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
                        let is_last = is_over.load(Ordering::Acquire);
                        let places = index.places(&a, 0).unwrap();
                        assert!(
                            places.iter().enumerate().all(|(at, place)| place.offset == at as u64),
                            "a hole or a repetition"
                        );
                        assert!(places.len() >= seen, "a record that was seen is gone");
                        seen = places.len();
                        assert!(!is_last || seen == 300, "{seen} records were seen in the end");
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
