//! Empty stores on a server that the tests of this program share.

use crate::server::{Postgres, start_or_skip};
use parking_lot::Mutex;
use quipu_projections::{
    postgres::{Database, PostgresStore},
    sqlite::SqliteStore,
    store::{Origin, ViewStore},
};
use std::{
    cell::RefCell,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

/// How many interleavings are tried.
pub(crate) const SEEDS: u64 = 32;

/// A database with its server, which ends with the last thread that holds it.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) database: Arc<Database>,
    pub(crate) server: Arc<Postgres>,
}

thread_local! {
    static HELD: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// The shared server, as long as this thread lives.
pub(crate) fn shared() -> Option<Shared> {
    static RUNNING: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    HELD.with_borrow_mut(|held| {
        if held.is_none() {
            let mut running = RUNNING.lock();
            let server = match running.upgrade() {
                Some(server) => server,
                None => Arc::new(start_or_skip("views on PostgreSQL; they are checked on SQLite instead")?),
            };
            *running = Arc::downgrade(&server);
            let database = Database::connect(&server.url().parse().unwrap()).unwrap();
            *held = Some(Shared { database, server });
        }
        held.clone()
    })
}

/// A name that no other store has.
pub(crate) fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An empty store.
pub(crate) fn store(origin: Origin) -> Arc<dyn ViewStore> {
    match shared() {
        Some(shared) => Arc::new(PostgresStore::open(&shared.database, &name(), origin).unwrap()),
        None => Arc::new(SqliteStore::in_memory(origin).unwrap()),
    }
}
