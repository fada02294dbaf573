//! A family whose version is raised, or that is new, begins again, and no other does.

use crate::{
    raised::{meddle, names, raised},
    scene::world,
};
use quipu_events::port::Log;
use quipu_projections::{
    contract::extended,
    error::ViewError,
    families::Families,
    scope::At,
    statement::{Statement, Statements, Value},
    store::{Checkpoint, Of, Origin, ViewBatch},
    views::Views,
};

#[test]
fn raised_version_rebuilds_its_family_alone() {
    let log = world().log(2);
    let directory = tempfile::tempdir().unwrap();
    let open = |families| Views::open(directory.path(), Origin::by(families, &log.meta())).unwrap();
    let views = open(Families::house());
    views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap();
    views.store().set_whole().unwrap();
    let [_, runs] = names(&views);
    assert!(!runs.as_ref().unwrap().is_empty());
    meddle(&*views.store());
    drop(views);

    let views = open(raised("run"));
    let meddled = || Ok(vec!["meddled".to_owned()]);
    assert_eq!(names(&views), [meddled(), Err(ViewError::Late("run"))], "the others answer at once");
    assert_eq!(views.store().is_whole(), Ok(true));
    let mut follower = views.follower(&log).unwrap();
    assert_eq!(follower.late(), ["run"]);
    let before = views.progress().now();
    follower.catch_up(&log, views.progress()).unwrap();
    assert_eq!((follower.late(), views.progress().now()), (vec![], before));
    assert_eq!(names(&views), [meddled(), runs]);
    drop((views, follower));

    // It is behind once, not at each start.
    let views = open(raised("run"));
    assert_eq!(views.store().behind(), Ok(vec![]));
    let differing = views.verify(&log).unwrap().differing;
    assert_eq!(
        differing.keys().copied().collect::<Vec<_>>(),
        ["orgs"],
        "what was meddled with and kept"
    );
}

#[test]
fn new_family_begins_alone_and_a_gone_one_leaves_no_table() {
    let log = world().log(2);
    let directory = tempfile::tempdir().unwrap();
    let open = |families| Views::open(directory.path(), Origin::by(families, &log.meta())).unwrap();
    for (families, late) in [
        (Families::house(), vec![]),
        (extended(), vec!["extra"]),
        (Families::house(), vec![]),
    ] {
        let views = open(families);
        let mut follower = views.follower(&log).unwrap();
        assert_eq!(follower.late(), late);
        follower.catch_up(&log, views.progress()).unwrap();
        assert!(views.verify(&log).unwrap().is_equal());
        assert_eq!(
            views.store().digests(quipu_projections::store::DigestOf::Content).unwrap().len(),
            families.tables().count()
        );
    }
}

#[test]
fn family_behind_goes_on_after_a_restart_and_joins_by_partition() {
    let log = world().log(2);
    let directory = tempfile::tempdir().unwrap();
    let open = |families| Views::open(directory.path(), Origin::by(families, &log.meta())).unwrap();
    let views = open(Families::house());
    // The other partition has not been looked at: the family is not behind there.
    views.follower(&log).unwrap().round(&log, &[0], views.progress()).unwrap();
    drop(views);
    let views = open(raised("conversation"));
    let behind = views.store().behind().unwrap();
    assert_eq!(behind[0].checkpoints, [Some(Checkpoint::default()), None]);
    drop(views);
    // Another raise while it is behind.
    let views = open(raised("run"));
    let mut late: Vec<_> = views.store().behind().unwrap().into_iter().map(|late| late.family).collect();
    late.sort_unstable();
    assert_eq!(late, ["conversation", "run"]);
    let stream = "acme/run/any".parse().unwrap();
    let mut follower = views.follower(&log).unwrap();
    assert!(matches!(follower.unpark(&log, &stream), Err(ViewError::Late(_))), "order is kept");
    follower.catch_up(&log, views.progress()).unwrap();
    assert!(views.verify(&log).unwrap().is_equal());
    assert!(views.store().checkpoints().unwrap().iter().all(|at| at.behind == 0));
}

#[test]
fn batch_that_ignores_a_family_behind_is_refused() {
    let log = world().log(1);
    let directory = tempfile::tempdir().unwrap();
    let open = |families| Views::open(directory.path(), Origin::by(families, &log.meta())).unwrap();
    let views = open(Families::house());
    views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap();
    drop(views);
    let views = open(raised("run"));
    let store = views.store();
    let at = store.checkpoints().unwrap()[0];
    assert_eq!(at.behind, 1);
    let batch = |of, expected: Checkpoint, next| ViewBatch {
        partition: 0,
        of,
        expected,
        next,
        statements: vec![],
    };
    let unaware = Checkpoint { behind: 0, ..at };
    let zero = Checkpoint::default();
    for refused in [
        batch(Of::Views, unaware, unaware),
        batch(Of::Late("run"), at, at),
        batch(Of::Late("org"), zero, at),
        batch(Of::Joining("run", unaware), zero, at),
        batch(Of::Joining("org", at), zero, at),
    ] {
        assert!(
            matches!(store.apply(std::slice::from_ref(&refused)), Err(ViewError::Conflict { .. })),
            "{refused:?}"
        );
    }
    store.apply(&[batch(Of::Joining("run", at), zero, at)]).unwrap();
    assert_eq!(store.checkpoints().unwrap(), [unaware]);
}

/// Families are built again each for itself: what one reads or writes must not be another's.
#[test]
fn reducers_read_and_write_their_own_tables_alone() {
    let mut seen = 0;
    for sample in &world().records {
        let Ok(record) = quipu_schemas::record::decode(&sample.bytes) else {
            continue;
        };
        let at = At { partition: 0, offset: 0 };
        for family in Families::house().iter().filter(|family| family.is_of(sample.stream.kind.as_str())) {
            let mut out = Statements::default();
            if (family.reduce)(&record, at, &mut out).is_err() {
                continue;
            }
            for statement in out.into_inner() {
                let (table, set) = match statement {
                    Statement::Put { table, set, .. } | Statement::Change { table, set, .. } => (table, set),
                    Statement::Delete { table, .. } => (table, Vec::new()),
                };
                let read = set.into_iter().filter_map(|(_, value)| match value {
                    Value::Read(read) => Some(read.table),
                    _ => None,
                });
                for table in std::iter::once(table).chain(read) {
                    seen += 1;
                    assert!(family.tables.contains(&table), "{} of {}", table.name, family.name);
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
}
