//! The contract of a view store on SQLite.

use quipu_projections::{contract as suite, sqlite::SqliteStore};
use std::sync::Arc;

#[test]
fn sqlite_keeps_the_contract_in_memory_and_in_a_file() {
    let in_memory = suite::contract(&|origin| Ok(Arc::new(SqliteStore::in_memory(origin)?)), false);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("views.db");
    let in_a_file = suite::contract(&|origin| Ok(Arc::new(SqliteStore::open(&path, origin)?)), true);
    assert_eq!(in_memory, in_a_file);
}
