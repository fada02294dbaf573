//! What an index is opened with, and what is thrown away.

use super::super::scene::{Scene, stream};
use super::{boot, busy, open};
use crate::{
    index::{Found, Index, IndexError},
    memory::MemoryLog,
    port::{Log, LogMeta},
};
use quipu_schemas::position::LogId;

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
    let reopened = open(dir.path(), &scene, "b1");
    assert!(matches!(reopened.found(), Found::Discarded(_)));
    assert_eq!(reopened.damage(), None);
    reopened.catch_up(&scene.log, &mut |_| {}).unwrap();
    assert!([stream(1), stream(2)].iter().all(|s| reopened.stream_head(s).unwrap().is_some()));
}

#[test]
fn an_index_that_the_log_does_not_confirm_is_built_reopened() {
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
