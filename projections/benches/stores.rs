//! Records a second into each kind of view store: the same log, projected from zero, interleaved in one run. The PostgreSQL
//! server runs beside it with its default settings, its disk included.
//!
//! `cargo bench -p quipu-projections --features postgres --bench stores`

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../../events/tests/servers/skipped.rs"]
mod skipped;

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/views/record_log.rs"]
mod record_log;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/views/scene.rs"]
mod scene;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/servers/postgres.rs"]
mod server;

/// What the scene's own stores are made of.
mod fresh {
    use quipu_projections::{sqlite::SqliteStore, store::Origin, store::ViewStore};
    use std::sync::Arc;

    pub(crate) fn store(origin: Origin) -> Arc<dyn ViewStore> {
        Arc::new(SqliteStore::in_memory(origin).expect("a store in memory"))
    }
}

use quipu_events::port::Log;
use quipu_projections::{
    follower::Follower,
    postgres::{Database, PostgresStore},
    progress::Progress,
    query::Query,
    reading::View,
    sqlite::SqliteStore,
    store::{DigestOf, Origin, ViewStore},
};
use quipu_schemas::ids::OrgId;
use record_log::RecordLog;
use scene::{Scene, sealed};
use serde_json::json;
use server::Postgres;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PARTITIONS: u16 = 16;
const ORGS: usize = 8;
const TALKS: usize = 25;
const MESSAGES: usize = 100;
const ROUNDS: usize = 5;
const QUERIES: u32 = 500;

/// Conversations of several orgs with a message a record.
fn log() -> RecordLog {
    let mut scene = Scene::default();
    for n in 0..TALKS {
        for org in 0..ORGS {
            let id = format!("org{org}/conversation/cnv_{n}");
            scene.events(
                &id,
                "ada",
                json!([["created", {"stream": id, "conversation_type": "group", "title": sealed("t"), "claim_window_ms": 1, "auto_turns": false}],
                    ["participant_added", {"principal": "ada", "kind": "person", "role": "owner"}]]),
            );
        }
    }
    for m in 0..MESSAGES {
        for n in 0..TALKS {
            for org in 0..ORGS {
                let id = format!("org{org}/conversation/cnv_{n}");
                scene.events(&id, "ada", json!([scene::message(&format!("m{m}"), json!({}))]));
            }
        }
    }
    RecordLog::new(&scene.records, PARTITIONS, 64)
}

type Opened = (&'static str, Box<dyn Fn(usize, Origin) -> Arc<dyn ViewStore>>);

fn main() {
    // `cargo test --benches` passes other arguments and wants no measurement.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let server = match Postgres::start(true) {
        Ok(server) => server,
        Err(why) => return println!("not measured: {why}"),
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    let database = |options: &str| {
        let options = format!("{}?{options}", server.url());
        Database::connect(&options.parse().expect("options")).expect("a database")
    };
    let (shared, apart) = (database(""), database("schema_per_org=true"));
    let stores: [Opened; 3] = [
        (
            "SQLite, a file",
            Box::new(move |n, origin| Arc::new(SqliteStore::open(&path.join(format!("{n}.db")), origin).expect("a file"))),
        ),
        (
            "PostgreSQL",
            Box::new(move |n, origin| Arc::new(PostgresStore::open(&shared, &format!("shared_{n}"), origin).expect("a store"))),
        ),
        (
            "PostgreSQL, a schema an org",
            Box::new(move |n, origin| Arc::new(PostgresStore::open(&apart, &format!("apart_{n}"), origin).expect("a store"))),
        ),
    ];
    let log = log();
    let records: u64 = (0..PARTITIONS).map(|p| log.head(p).expect("a head").next_offset).sum();
    println!("{records} records, {ORGS} orgs, {PARTITIONS} partitions; medians of {ROUNDS} interleaved rounds");
    println!("{:<30} {:>12} {:>14} {:>14}", "store", "records/s", "small batch", "page of 50");
    let mut figures = [const { Vec::new() }; 3];
    let mut digests = Vec::new();
    for round in 0..ROUNDS {
        for turn in 0..stores.len() {
            let which = (round + turn) % stores.len();
            let store = stores[which].1(round, Origin::of(&log.meta()));
            figures[which].push(measure(&log, &store, records));
            if round == 0 {
                digests.push(store.digests(DigestOf::Content).expect("digests"));
            }
        }
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "the stores hold different rows");
    for ((name, _), mut figures) in stores.iter().zip(figures) {
        let mut median = |of: fn(&Figures) -> f64| {
            figures.sort_by(|a, b| of(a).total_cmp(&of(b)));
            of(&figures[ROUNDS / 2])
        };
        let (rate, batch, page) = (median(|f| f.rate), median(|f| f.batch), median(|f| f.page));
        println!("{name:<30} {rate:>12.0} {batch:>11.2} ms {page:>11.2} ms");
    }
}

struct Figures {
    /// Records a second, from zero to the end.
    rate: f64,
    /// Milliseconds of a transaction of one statement.
    batch: f64,
    /// Milliseconds of a query.
    page: f64,
}

fn measure(log: &RecordLog, store: &Arc<dyn ViewStore>, records: u64) -> Figures {
    let progress = Progress::new(store.cursor().expect("a cursor"));
    let mut follower = Follower::new(log, store.clone()).expect("a follower");
    let began = Instant::now();
    follower.catch_up(log, &progress).expect("views");
    let rate = records as f64 / began.elapsed().as_secs_f64();
    assert_eq!(follower.lag(log).expect("lag").iter().sum::<u64>(), 0);

    let millis = |took: Duration, times: u32| took.as_secs_f64() * 1e3 / f64::from(times);
    let checkpoint = store.checkpoints().expect("checkpoints")[0];
    let mut out = quipu_projections::statement::Statements::default();
    out.put(
        &quipu_projections::orgs::ORGS,
        &OrgId::from_static("other"),
        [],
        [("name", "x".into())],
    );
    let batch = quipu_projections::store::ViewBatch {
        partition: 0,
        of: quipu_projections::store::Of::Views,
        expected: checkpoint,
        next: checkpoint,
        statements: out.into_inner(),
    };
    let began = Instant::now();
    for _ in 0..QUERIES {
        store.apply(std::slice::from_ref(&batch)).expect("a batch");
    }
    let small = millis(began.elapsed(), QUERIES);

    let began = Instant::now();
    for n in 0..QUERIES {
        let org = OrgId::parse(format!("org{}", n as usize % ORGS)).expect("an org");
        let query = Query::default()
            .with("conversation", format!("cnv_{}", n as usize % TALKS))
            .limit(50);
        assert_eq!(store.list(View::MESSAGES, &org, &query).expect("a page").rows.len(), 50);
    }
    Figures {
        rate,
        batch: small,
        page: millis(began.elapsed(), QUERIES),
    }
}
