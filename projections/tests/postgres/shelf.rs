//! Rebuilds beside, switches, several processes on one shelf, and what is left behind.

use crate::{
    fresh::{name, shared},
    raised::{meddle, names, raised},
    scene::{caught_up, world},
    server::{Postgres, start_or_skip},
    tenants::sql,
};
use quipu_events::port::Log;
use quipu_projections::{
    contract::extended,
    error::ViewError,
    families::Families,
    orgs::ORGS,
    postgres::PostgresShelf,
    query::Query,
    reading::View,
    shelf::Shelf,
    statement::Statement,
    store::{DigestOf, Of, Origin, ViewBatch},
    views::Views,
};
use quipu_schemas::ids::OrgId;

const ACME: OrgId = OrgId::from_static("acme");

/// A shelf of its own, as a process of its own would open it.
fn shelf(server: &Postgres, schema: &str, per_org: bool) -> PostgresShelf {
    let options = format!("{}?schema={schema}&schema_per_org={per_org}", server.url());
    PostgresShelf::new(options.parse().unwrap())
}

/// All schemas of a shelf but the one that holds its table.
fn schemas(server: &Postgres, schema: &str) -> Vec<String> {
    let list = format!("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, '{schema}_') ORDER BY 1");
    sql(server, "postgres", &list).unwrap()
}

#[test]
fn a_rebuild_happens_beside_and_every_process_moves_over() {
    let Some(shared) = shared() else { return };
    let log = world().log(2);
    let origin = Origin::of(&log.meta());
    for (per_org, each) in [(false, 1), (true, 3)] {
        let schema = format!("shelf_{}", name());
        let stores = || schemas(&shared.server, &schema);
        let open = || Views::on(Box::new(shelf(&shared.server, &schema, per_org)), origin).unwrap();
        let (views, other) = (open(), open());
        let mut follower = views.follower(&log).unwrap();
        follower.catch_up(&log, views.progress()).unwrap();
        let before = stores();
        assert_eq!(before.len(), each, "{before:?}");
        let rows = views.list(View::MESSAGES, &ACME, &Query::default()).unwrap();
        assert_eq!(other.list(View::MESSAGES, &ACME, &Query::default()).unwrap(), rows);

        // Called off: nothing changed, nothing left behind.
        assert!(views.rebuild(&log, &mut |_| false).is_err());
        assert_eq!(stores(), before);
        assert!(views.is_current(&follower));

        // Whoever opens the shelf meanwhile leaves what is being built alone.
        let mut ticks = 0;
        views
            .rebuild(&log, &mut |_| {
                ticks += 1;
                drop(open());
                assert_eq!(stores().len(), 2 * each);
                assert_eq!(views.list(View::MESSAGES, &ACME, &Query::default()).unwrap(), rows);
                true
            })
            .unwrap();
        assert!(ticks > 0);
        assert!(!views.is_current(&follower));
        let after = stores();
        assert_eq!(after.len(), each);
        assert_ne!(after, before);
        assert_eq!(views.list(View::MESSAGES, &ACME, &Query::default()).unwrap(), rows);
        assert_eq!(
            views.store().digests(DigestOf::Everything).unwrap(),
            caught_up(&log).digests(DigestOf::Everything).unwrap()
        );
        // The other process meets the old store gone, and reads the new one.
        assert_eq!(other.list(View::MESSAGES, &ACME, &Query::default()).unwrap(), rows);
        views.rebuild(&log, &mut |_| true).unwrap();
        assert_eq!(other.follower(&log).unwrap().catch_up(&log, other.progress()).unwrap().records, 0);
        assert_eq!(other.progress().now(), rows.cursor);
        assert!(other.verify(&log).unwrap().is_equal());
    }
}

#[test]
fn views_whose_server_is_away_begin_when_it_is_there() {
    let Some(mut server) = start_or_skip("views that begin without their server") else {
        return;
    };
    let log = world().log(2);
    let origin = Origin::of(&log.meta());
    server.kill();
    let views = Views::on_when_there(Box::new(shelf(&server, "late", false)), origin);
    assert!(matches!(views.get(View::ORGS, &ACME, &["acme"]), Err(ViewError::Storage(_))));
    assert!(matches!(views.follower(&log).map(|_| ()), Err(ViewError::Storage(_))));
    assert_eq!(views.progress().now().next, [0, 0]);
    server.restart();
    views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap();
    assert!(views.get(View::ORGS, &ACME, &["acme"]).unwrap().row.is_some());
    assert!(views.verify(&log).unwrap().is_equal());
}

#[test]
fn verify_names_the_table_that_differs() {
    let Some(shared) = shared() else { return };
    let log = world().log(4);
    let schema = format!("shelf_{}", name());
    let views = Views::on(Box::new(shelf(&shared.server, &schema, false)), Origin::of(&log.meta())).unwrap();
    views.follower(&log).unwrap().catch_up(&log, views.progress()).unwrap();
    assert!(views.verify(&log).unwrap().is_equal());
    let checkpoint = views.store().checkpoints().unwrap()[0];
    let meddled = Statement::Put {
        table: &ORGS,
        key: vec!["acme".into()],
        set: vec![("name", "Evil".into())],
        add: vec![],
    };
    let batch = ViewBatch {
        partition: 0,
        of: Of::Views,
        expected: checkpoint,
        next: checkpoint,
        statements: vec![meddled],
    };
    views.store().apply(&[batch]).unwrap();
    let verdict = views.verify(&log).unwrap();
    assert_eq!(verdict.differing.keys().copied().collect::<Vec<_>>(), ["orgs"]);
    views.rebuild(&log, &mut |_| true).unwrap();
    assert!(views.verify(&log).unwrap().is_equal());
}

#[test]
fn another_release_keeps_its_own_views_until_a_rebuild() {
    let Some(shared) = shared() else { return };
    let log = world().log(2);
    let schema = format!("shelf_{}", name());
    let new = Origin::of(&log.meta());
    let old = Origin {
        families: extended(),
        ..new
    };
    let open = |origin| Views::on(Box::new(shelf(&shared.server, &schema, false)), origin).unwrap();
    let (of_old, of_new) = (open(old), open(new));
    assert_eq!(schemas(&shared.server, &schema).len(), 2);
    of_new.follower(&log).unwrap().catch_up(&log, of_new.progress()).unwrap();
    assert_eq!(of_old.store().cursor().unwrap().next, [0, 0], "each writes its own");
    of_new.rebuild(&log, &mut |_| true).unwrap();
    assert_eq!(schemas(&shared.server, &schema).len(), 1);
    // Its store is gone with the others; the one that it begins takes over what both make in the same way.
    assert_eq!(of_old.list(View::ORGS, &ACME, &Query::default()).unwrap().rows.len(), 1);
}

#[test]
fn raised_version_takes_over_the_rows_of_other_families() {
    let Some(shared) = shared() else { return };
    let log = world().log(2);
    let schema = format!("shelf_{}", name());
    let open = |families| Views::on(Box::new(shelf(&shared.server, &schema, false)), Origin::by(families, &log.meta())).unwrap();
    let old = open(Families::house());
    old.follower(&log).unwrap().catch_up(&log, old.progress()).unwrap();
    old.store().set_whole().unwrap();
    let [_, runs] = names(&old);
    let rows = old.store().digests(DigestOf::Everything).unwrap();
    meddle(&*old.store());
    let meddled = || Ok(vec!["meddled".to_owned()]);

    let new = open(raised("run"));
    assert_eq!(names(&new), [meddled(), Err(ViewError::Late("run"))], "the others answer at once");
    assert_eq!(new.store().is_whole(), Ok(true));
    let mut follower = new.follower(&log).unwrap();
    assert_eq!(follower.late(), ["run"]);
    follower.catch_up(&log, new.progress()).unwrap();
    assert_eq!((follower.late(), names(&new)), (vec![], [meddled(), runs]));
    let behind: Vec<u16> = new.store().checkpoints().unwrap().iter().map(|at| at.behind).collect();
    assert_eq!(behind, [0, 0]);
    let mut now = new.store().digests(DigestOf::Everything).unwrap();
    now.insert("orgs", rows["orgs"]);
    assert_eq!(now, rows, "all but what was meddled with and kept");
    // The other release has what it had.
    let [orgs, still] = names(&old);
    assert_eq!(orgs, meddled());
    assert!(still.unwrap().iter().all(|name| name == "meddled"));
}

#[test]
fn half_built_stores_are_cleared_but_not_ones_being_built() {
    let Some(shared) = shared() else { return };
    let origin = Origin::of(&world().log(2).meta());
    let schema = format!("shelf_{}", name());
    let builder = shelf(&shared.server, &schema, true);
    let built = builder.beside(origin).unwrap();
    let other = shelf(&shared.server, &schema, true);
    let current = other.open(origin).unwrap();
    assert_eq!(schemas(&shared.server, &schema), [built.name.clone(), current.name.clone()]);
    assert!(!other.has_moved(&current.name, origin).unwrap());
    // The lock goes with the connection, as it would with the process.
    let terminated = sql(
        &shared.server,
        "postgres",
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
             AND ((classid::bigint << 32) | objid::bigint) = hashtextextended('{}', 1)",
            built.name
        ),
    );
    assert_eq!(terminated.unwrap(), ["t"]);
    let gone = || {
        drop(other.open(origin).unwrap());
        schemas(&shared.server, &schema) == [current.name.clone()]
    };
    assert!(
        (0..200).any(|_| gone()),
        "the server lets go of the lock a moment after the connection"
    );
    let refused = builder.switch(&built).unwrap_err().to_string();
    assert!(refused.contains("cleared away"), "{refused}");
    assert!(
        !other.has_moved(&current.name, origin).unwrap(),
        "a switch that failed changed nothing"
    );
}
