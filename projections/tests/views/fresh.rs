//! Stores in memory.

use quipu_projections::{
    sqlite::SqliteStore,
    store::{Origin, ViewStore},
};
use std::sync::Arc;

/// How many interleavings are tried.
pub(crate) const SEEDS: u64 = 200;

/// An empty store.
pub(crate) fn store(origin: Origin) -> Arc<dyn ViewStore> {
    Arc::new(SqliteStore::in_memory(origin).unwrap())
}
