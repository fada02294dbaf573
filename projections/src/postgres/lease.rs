//! Connections on loan from a pool.

use super::storage;
use crate::error::ViewError;
use deadpool_postgres::{ClientWrapper, Object, Pool, PoolError};
use quipu_schemas::limits::VIEW_CONNECT_MS;
use std::ops::Deref;

/// A connection on loan. Unless it is kept it is closed, not given back: after an error, or a call that was given up,
/// nobody knows in what state it is.
pub(super) struct Lease(Option<Object>);

impl Lease {
    pub(super) async fn of(pool: &Pool) -> Result<Self, ViewError> {
        match pool.get().await {
            Ok(object) => Ok(Self(Some(object))),
            Err(PoolError::Backend(e)) => Err(storage(e)),
            Err(PoolError::Timeout(_)) => Err(ViewError::Storage(format!("no connection within {VIEW_CONNECT_MS} ms"))),
            Err(e) => Err(ViewError::Storage(e.to_string())),
        }
    }

    /// Takes the connection out of the pool for good.
    pub(super) fn own(mut self) -> ClientWrapper {
        Object::take(self.0.take().expect("held until it is kept or dropped"))
    }

    /// Gives the connection back, outside any transaction.
    pub(super) fn keep(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Lease {
    type Target = Object;
    fn deref(&self) -> &Object {
        self.0.as_ref().expect("held until it is kept or dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
