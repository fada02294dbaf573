//! The contract in every layout, digests beside SQLite's, and servers that crash.

use crate::{
    fresh::{name, shared},
    scene::{caught_up, world},
    server::start_or_skip,
};
use quipu_events::port::Log;
use quipu_projections::{
    contract::contract,
    error::ViewError,
    follower::{Follower, catch_up},
    postgres::{Database, PostgresOptions, PostgresStore},
    progress::Progress,
    query::Query,
    reading::View,
    sqlite::SqliteStore,
    store::{DigestOf, Digests, Origin, ViewStore},
};
use quipu_schemas::ids::OrgId;
use std::sync::Arc;

const ACME: OrgId = OrgId::from_static("acme");

/// A database of the shared server with these options.
fn database(options: &str) -> Option<Arc<Database>> {
    let options: PostgresOptions = format!("{}?{options}", shared()?.server.url()).parse().unwrap();
    Some(Database::connect(&options).unwrap())
}

/// The digests that the contract leaves in every store.
fn kept(database: &Arc<Database>) -> Digests {
    let name = name();
    contract(&|origin| Ok(Arc::new(PostgresStore::open(database, &name, origin)?)), true)
}

fn on_sqlite() -> Digests {
    contract(&|origin| Ok(Arc::new(SqliteStore::in_memory(origin)?)), false)
}

#[test]
fn postgres_keeps_the_contract_and_leaves_the_digests_of_sqlite() {
    let Some(shared) = shared() else { return };
    assert_eq!(kept(&shared.database), on_sqlite());
}

#[test]
fn schema_per_org_keeps_the_contract_and_sqlites_digests() {
    let Some(database) = database("schema_per_org=true") else { return };
    assert_eq!(kept(&database), on_sqlite());
}

#[test]
fn one_connection_and_no_role_keep_the_contract() {
    let Some(database) = database("pool=1&reader=none&schema=plain") else {
        return;
    };
    assert_eq!(kept(&database), on_sqlite());
}

#[test]
fn digests_and_parked_streams_equal_sqlites_in_both_layouts() {
    let (Some(shared), Some(apart)) = (shared(), database("schema_per_org=true")) else {
        return;
    };
    let mut scene = world();
    scene.events(
        "lab/org/lab",
        "ada",
        serde_json::json!([["renamed", {"title": "of another shape"}]]),
    );
    scene.events(
        "acme/org/acme",
        "ada",
        serde_json::json!([["renamed", {"title": "of another shape"}]]),
    );
    let log = scene.log(3);
    let origin = Origin::of(&log.meta());
    let all: [Arc<dyn ViewStore>; 3] = [
        Arc::new(SqliteStore::in_memory(origin).unwrap()),
        Arc::new(PostgresStore::open(&shared.database, &name(), origin).unwrap()),
        Arc::new(PostgresStore::open(&apart, &name(), origin).unwrap()),
    ];
    let found = all.map(|store| {
        catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();
        let parked = store.parked().unwrap();
        assert_eq!(parked.len(), 2);
        let streams: Vec<_> = scene
            .records
            .iter()
            .map(|r| r.stream.clone())
            .chain(["none/run/r".parse().unwrap()])
            .collect();
        let digests = [DigestOf::Content, DigestOf::Everything].map(|of| store.digests(of).unwrap());
        (parked, store.tips(&streams).unwrap(), digests)
    });
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
}

#[test]
fn calls_may_be_made_from_within_another_runtime() {
    let Some(shared) = shared() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let log = world().log(2);
    runtime.block_on(async {
        let store: Arc<dyn ViewStore> = Arc::new(PostgresStore::open(&shared.database, &name(), Origin::of(&log.meta())).unwrap());
        catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();
        assert!(store.get(View::ORGS, &ACME, &["acme"]).unwrap().row.is_some());
        drop(store);
        drop(Database::connect(&shared.server.url().parse().unwrap()).unwrap());
    });
}

#[test]
fn views_continue_from_the_store_after_a_server_crash() {
    let Some(mut server) = start_or_skip("crashes of PostgreSQL under the views") else {
        return;
    };
    let log = world().log(4);
    let wanted = caught_up(&log).digests(DigestOf::Everything).unwrap();
    let database = Database::connect(&server.url().parse().unwrap()).unwrap();
    let store: Arc<dyn ViewStore> = Arc::new(PostgresStore::open(&database, "crashed", Origin::of(&log.meta())).unwrap());
    let progress = Progress::new(store.cursor().unwrap());
    let mut follower = Follower::new(&log, store.clone()).unwrap();
    for partition in 0..4 {
        follower.round(&log, &[partition], &progress).unwrap();
        server.kill();
        assert!(matches!(follower.round(&log, &[0, 1, 2, 3], &progress), Err(ViewError::Storage(_))));
        assert!(matches!(
            store.list(View::MESSAGES, &ACME, &Query::default()),
            Err(ViewError::Storage(_))
        ));
        server.restart();
        // Connections that ended while nobody used them are replaced without an error.
        follower.reload().unwrap();
        assert!(store.list(View::MESSAGES, &ACME, &Query::default()).is_ok());
    }
    while !follower.round(&log, &[0, 1, 2, 3], &progress).unwrap().caught_up {}
    assert_eq!(store.digests(DigestOf::Everything).unwrap(), wanted);
    assert_eq!(progress.now(), store.cursor().unwrap());
}

#[test]
fn under_tls_the_server_must_prove_who_it_is() {
    let Some(mut server) = start_or_skip("views on PostgreSQL under TLS") else {
        return;
    };
    let root = match server.take_tls() {
        Ok(root) => root,
        Err(why) => {
            return crate::skipped::skipped("views on PostgreSQL under TLS", &why);
        }
    };
    let connect = |server: &crate::server::Postgres, options: &str| {
        let options: PostgresOptions = format!("{}?{options}", server.url()).parse().unwrap();
        Database::connect(&options)
    };
    let trusting = format!("sslmode=require&ca={}", root.display());
    assert!(connect(&server, &trusting).is_err(), "without TLS it must not connect");
    server.kill();
    server.restart();
    let database = connect(&server, &trusting).unwrap();
    let log = world().log(2);
    let store: Arc<dyn ViewStore> = Arc::new(PostgresStore::open(&database, "encrypted", Origin::of(&log.meta())).unwrap());
    catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();
    let encrypted = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'quipu views'";
    assert_eq!(crate::tenants::sql(&server, "postgres", encrypted).unwrap(), ["t"]);
    let Err(error) = connect(&server, "sslmode=require") else {
        panic!("trusted a stranger")
    };
    assert!(error.to_string().contains("certificate"), "{error}");
    let elsewhere = server.url().replace("127.0.0.1", "localhost");
    let options: PostgresOptions = format!("{elsewhere}?{trusting}").parse().unwrap();
    let Err(error) = Database::connect(&options) else {
        panic!("trusted another name")
    };
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn nobody_there_is_an_error_that_says_so() {
    let options: PostgresOptions = "postgres://ada:s3cret@127.0.0.1:1/quipu".parse().unwrap();
    let Err(error) = Database::connect(&options) else {
        panic!("something answered")
    };
    let error = error.to_string();
    assert!(error.contains("connect") && !error.contains("s3cret"), "{error}");
}
