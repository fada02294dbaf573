//! Orgs are kept apart by the database itself, whatever a query's own conditions say.

use crate::{
    fresh::{name, shared},
    scene::world,
    server::Postgres,
};
use quipu_events::port::Log;
use quipu_projections::{
    families::Families,
    follower::catch_up,
    postgres::{Database, PostgresStore},
    progress::Progress,
    query::Query,
    reading::View,
    store::{DigestOf, Origin, ViewStore},
};
use quipu_schemas::ids::OrgId;
use std::sync::Arc;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const ACME: OrgId = OrgId::from_static("acme");
const LAB: OrgId = OrgId::from_static("lab");

/// Runs SQL on a connection of its own; the first column of all rows, or what the server says.
pub(crate) fn sql(server: &Postgres, user: &str, text: &str) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&server.url_of(user), NoTls).await.unwrap();
        let running = tokio::spawn(connection);
        let answers = client.simple_query(text).await;
        drop(client);
        running.await.unwrap().unwrap();
        let answers = answers.map_err(|e| e.as_db_error().map_or_else(|| e.to_string(), |e| e.message().to_owned()))?;
        let rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        Ok(rows.collect())
    })
}

#[test]
fn a_query_without_its_condition_sees_one_org_or_none() {
    let Some(shared) = shared() else { return };
    for per_org in [false, true] {
        let options = format!("{}?pool=1&schema_per_org={per_org}", shared.server.url());
        let database = Database::connect(&options.parse().unwrap()).unwrap();
        let name = name();
        let mut scene = world();
        scene.events(
            "acme/org/acme",
            "ada",
            serde_json::json!([["renamed", {"title": "of another shape"}]]),
        );
        let log = scene.log(2);
        let store: Arc<dyn ViewStore> = Arc::new(PostgresStore::open(&database, &name, Origin::of(&log.meta())).unwrap());
        catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();

        let as_reader = |org: Option<&str>, select: &str| {
            let named = org.map_or_else(String::new, |org| format!("SET LOCAL quipu.org = '{org}';"));
            let rows = sql(
                &shared.server,
                "postgres",
                &format!("BEGIN; SET LOCAL ROLE quipu_reader; {named} {select}; COMMIT"),
            );
            rows.unwrap_or_else(|e| panic!("{select}: {e}"))
        };
        let (of_acme, of_lab) = if per_org {
            (format!("{name}_org_acme"), format!("{name}_org_lab"))
        } else {
            (name.clone(), name.clone())
        };
        for table in Families::house().tables() {
            let orgs = format!("SELECT \"org\" FROM {of_acme}.{}", table.name);
            assert!(as_reader(None, &orgs).is_empty(), "{orgs}");
            assert!(as_reader(Some(""), &orgs).is_empty(), "{orgs}");
            assert!(as_reader(Some("other"), &orgs).is_empty(), "{orgs}");
            assert!(as_reader(Some("lab"), &orgs).iter().all(|org| org == "lab"), "{orgs}");
            let acme = as_reader(Some("acme"), &orgs);
            assert!(!acme.is_empty() && acme.iter().all(|org| org == "acme"), "{orgs}");
        }
        assert_eq!(as_reader(Some("lab"), &format!("SELECT \"org\" FROM {of_lab}.orgs")), ["lab"]);
        let write = format!("BEGIN; SET LOCAL ROLE quipu_reader; SET LOCAL quipu.org = 'acme'; DELETE FROM {of_acme}.messages");
        assert!(sql(&shared.server, "postgres", &write).unwrap_err().contains("permission denied"));

        // The one connection carries neither role nor org from one query to the next.
        for _ in 0..3 {
            assert!(!store.list(View::ACTIVITY, &ACME, &Query::default()).unwrap().rows.is_empty());
            assert_eq!(store.list(View::ACTIVITY, &LAB, &Query::default()).unwrap().rows.len(), 1);
            assert_eq!(store.get(View::CONVERSATIONS, &LAB, &["cnv_1"]).unwrap().row, None);
            assert_eq!(store.parked().unwrap().len(), 1, "the owner sees all orgs");
        }
    }
}

#[test]
fn an_ordinary_user_needs_the_role_or_says_that_it_goes_without() {
    let Some(shared) = shared() else { return };
    let admin = |text: &str| sql(&shared.server, "postgres", text).unwrap();
    admin("CREATE ROLE plain_user LOGIN");
    admin("GRANT CREATE ON DATABASE postgres TO plain_user");
    let connect = |options: &str| Database::connect(&format!("{}?{options}", shared.server.url_of("plain_user")).parse().unwrap());
    let Err(error) = connect("reader=eyes&schema=plain_user") else {
        panic!("made a role without the right to")
    };
    let error = error.to_string();
    assert!(
        error.contains("CREATE ROLE eyes NOLOGIN; GRANT eyes") && error.contains("reader=none"),
        "{error}"
    );
    admin("CREATE ROLE eyes NOLOGIN");
    let Err(error) = connect("reader=eyes&schema=plain_user") else {
        panic!("took a role that it was not granted")
    };
    assert!(error.to_string().contains("was not granted"), "{error}");
    admin("GRANT eyes TO plain_user");

    // Under row-level security like everybody, and yet it projects, verifies and serves.
    for (options, reads) in [("reader=eyes&schema=plain_user", true), ("reader=none&schema=plain_user", false)] {
        let database = connect(options).unwrap();
        let (name, log) = (name(), world().log(2));
        let store: Arc<dyn ViewStore> = Arc::new(PostgresStore::open(&database, &name, Origin::of(&log.meta())).unwrap());
        catch_up(&log, &store, &Progress::new(store.cursor().unwrap())).unwrap();
        assert!(!store.list(View::MESSAGES, &ACME, &Query::default()).unwrap().rows.is_empty());
        assert_eq!(
            store.digests(DigestOf::Everything).unwrap(),
            crate::scene::caught_up(&log).digests(DigestOf::Everything).unwrap()
        );
        let forced = format!("SELECT relforcerowsecurity FROM pg_class WHERE oid = '{name}.messages'::regclass");
        assert_eq!(admin(&forced), [if reads { "t" } else { "f" }]);
    }
}
