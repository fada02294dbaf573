//! Where the stores of a node's views stand: one is current, a new one is made beside it, and a switch is atomic.

use crate::{
    error::ViewError,
    sqlite::SqliteStore,
    store::{Origin, ViewStore},
};
use std::{any::Any, sync::Arc};

/// A store and its name on the shelf.
pub struct Placed {
    /// Name, unique on the shelf.
    pub name: String,
    /// The store.
    pub store: Arc<dyn ViewStore>,
    /// What keeps others from clearing a store away before it is current; dropped when it is, or is discarded.
    pub guard: Option<Box<dyn Any + Send + Sync>>,
}

/// A shelf of stores. All calls block.
pub trait Shelf: Send + Sync {
    /// Opens the current store of this origin. Where there is none (none at all, another projector, log or generation,
    /// one that does not open) a new one begins empty and becomes current at once. What nobody needs is cleared away.
    fn open(&self, origin: Origin) -> Result<Placed, ViewError>;
    /// Makes an empty store beside the current one.
    fn beside(&self, origin: Origin) -> Result<Placed, ViewError>;
    /// Makes a store current, atomically and durably.
    fn switch(&self, to: &Placed) -> Result<(), ViewError>;
    /// Clears away what is neither named `current` nor in use; what cannot be deleted now is left for the next time.
    fn sweep(&self, current: &str);
    /// Deletes a store that did not become current.
    fn discard(&self, placed: Placed);
    /// Whether another store of this origin than the one of this name is current by now, made so by another process.
    fn has_moved(&self, name: &str, origin: Origin) -> Result<bool, ViewError>;
}

/// A shelf in memory: stores that live as long as they are held.
pub struct InMemory {
    first: Arc<dyn ViewStore>,
}

impl InMemory {
    /// Begins with a store of the caller's.
    pub fn new(first: Arc<dyn ViewStore>) -> Self {
        Self { first }
    }

    fn placed(store: Arc<dyn ViewStore>) -> Placed {
        Placed {
            name: String::new(),
            store,
            guard: None,
        }
    }
}

impl Shelf for InMemory {
    fn open(&self, _: Origin) -> Result<Placed, ViewError> {
        Ok(Self::placed(self.first.clone()))
    }
    fn beside(&self, origin: Origin) -> Result<Placed, ViewError> {
        Ok(Self::placed(Arc::new(SqliteStore::in_memory(origin)?)))
    }
    fn switch(&self, _: &Placed) -> Result<(), ViewError> {
        Ok(())
    }
    fn sweep(&self, _: &str) {}
    fn discard(&self, _: Placed) {}
    fn has_moved(&self, _: &str, _: Origin) -> Result<bool, ViewError> {
        Ok(false)
    }
}
