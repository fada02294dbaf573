//! Verify, rebuild beside, switch, and what happens to views of another log or release.

use crate::scene::{caught_up, empty, world};
use quipu_events::port::Log;
use quipu_projections::{
    contract::extended,
    error::ViewError,
    orgs::ORGS,
    query::Query,
    reading::View,
    statement::Statement,
    store::{DigestOf, Of, Origin, ViewBatch},
    views::Views,
};
use quipu_schemas::ids::OrgId;

const ACME: OrgId = OrgId::from_static("acme");

#[test]
fn verify_names_the_table_that_differs() {
    let log = world().log(4);
    let views = Views::of_store(empty(&log)).unwrap();
    views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap();
    let verdict = views.verify(&log).unwrap();
    assert!(verdict.is_equal(), "{verdict:?}");
    assert_eq!(verdict.records, world().records.len() as u64);
    let checkpoint = views.store().checkpoints().unwrap()[0];
    let meddled = Statement::Put {
        table: &ORGS,
        key: vec!["acme".into()],
        set: vec![("name", "Evil".into())],
        add: vec![],
    };
    views
        .store()
        .apply(&[ViewBatch {
            partition: 0,
            of: Of::Views,
            expected: checkpoint,
            next: checkpoint,
            statements: vec![meddled],
        }])
        .unwrap();
    let verdict = views.verify(&log).unwrap();
    assert_eq!(verdict.differing.keys().copied().collect::<Vec<_>>(), ["orgs"]);
    views.rebuild(&log, &mut |_| true).unwrap();
    assert!(views.verify(&log).unwrap().is_equal());
}

#[test]
fn a_rebuild_happens_beside_and_switches_at_once() {
    let log = world().log(2);
    let directory = tempfile::tempdir().unwrap();
    let origin = Origin::of(&log.meta());
    let files = || {
        let names = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.ends_with(".db")).collect::<Vec<_>>()
    };
    let views = Views::open(directory.path(), origin).unwrap();
    let mut follower = views.follower(&log).unwrap();
    follower.catch_up(&log, views.progress()).unwrap();
    let before = files();
    assert_eq!(before.len(), 1);
    let rows = views.list(View::MESSAGES, &ACME, &Query::default()).unwrap();

    // Called off: nothing changed, nothing left behind.
    assert!(views.rebuild(&log, &mut |_| false).is_err());
    assert_eq!(files(), before);
    assert!(views.is_current(&follower));

    let mut ticks = 0;
    views
        .rebuild(&log, &mut |_| {
            ticks += 1;
            assert_eq!(files().len(), 2);
            assert_eq!(
                views.list(View::MESSAGES, &ACME, &Query::default()).unwrap(),
                rows,
                "the old views answer meanwhile"
            );
            true
        })
        .unwrap();
    assert!(ticks > 0);
    assert!(!views.is_current(&follower));
    assert_eq!(files().len(), 1);
    assert_ne!(files(), before);
    assert_eq!(views.list(View::MESSAGES, &ACME, &Query::default()).unwrap(), rows);
    assert_eq!(
        views.store().digests(DigestOf::Everything).unwrap(),
        caught_up(&log).digests(DigestOf::Everything).unwrap()
    );
    drop((views, follower));

    // After a restart the new ones are there, whole.
    let views = Views::open(directory.path(), origin).unwrap();
    assert!(views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap().records == 0);
    assert_eq!(views.list(View::MESSAGES, &ACME, &Query::default()).unwrap(), rows);
}

#[test]
fn views_of_another_projector_or_generation_begin_anew() {
    let mut log = world().log(2);
    let directory = tempfile::tempdir().unwrap();
    let other = Origin {
        families: extended(),
        ..Origin::of(&log.meta())
    };
    Views::open(directory.path(), other).unwrap();
    let views = Views::open(directory.path(), Origin::of(&log.meta())).unwrap();
    views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap();
    assert!(views.verify(&log).unwrap().is_equal());
    let old = views.store();
    drop(views);
    log.generation = 2;
    assert!(matches!(
        quipu_projections::follower::Follower::new(&log, old),
        Err(ViewError::OtherOrigin { what: "generation", .. })
    ));
    let views = Views::open(directory.path(), Origin::of(&log.meta())).unwrap();
    assert_eq!(views.progress().now().next, vec![0, 0]);
    views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap();
    assert!(views.verify(&log).unwrap().is_equal());
    // A file that is no database is set aside as well.
    let name = std::fs::read_to_string(directory.path().join("current")).unwrap();
    drop(views);
    std::fs::write(
        directory.path().join(name),
        b"this is not a database, whatever its name says........................",
    )
    .unwrap();
    let views = Views::open(directory.path(), Origin::of(&log.meta())).unwrap();
    assert_eq!(views.progress().now().next, vec![0, 0]);
}

#[test]
fn a_rebuild_that_meets_damage_keeps_the_old_views() {
    let log = world().log(1);
    let views = Views::of_store(caught_up(&log)).unwrap();
    *log.damage.lock() = Some((0, 9));
    assert!(matches!(
        views.rebuild(&log, &mut |_| true),
        Err(ViewError::Stopped {
            partition: 0,
            offset: 9,
            ..
        })
    ));
    assert!(views.get(View::ORGS, &ACME, &["acme"]).unwrap().row.is_some());
}
