//! The marks of a log on NATS: a bucket, a key a partition.

use super::marks::Marked;
use async_nats::jetstream::kv::Store;
use quipu_schemas::position::Cursor;

/// The marks of one log.
#[derive(Clone)]
pub(super) struct Marks {
    store: Store,
    marked: Marked,
}

impl Marks {
    pub(super) fn new(store: Store, log: &Cursor) -> Self {
        Self {
            store,
            marked: Marked::new(log),
        }
    }

    fn key(&self, partition: u16) -> String {
        format!("{}.{partition}", self.marked.log)
    }

    /// Where to go on; 0 where nothing is noted of this log and generation.
    pub(super) async fn load(&self, partition: u16) -> Result<u64, String> {
        let found = self.store.get(self.key(partition)).await;
        let Some(bytes) = found.map_err(|e| format!("mark of partition {partition}: {e}"))? else {
            return Ok(0);
        };
        let next = self.marked.decode(&bytes);
        next.map_err(|e| format!("mark of partition {partition}: {e}; delete the key {}", self.key(partition)))
    }

    pub(super) async fn note(&self, partition: u16, next: u64) -> Result<(), String> {
        let bytes = self.marked.encode(next)?;
        let noted = self.store.put(self.key(partition), bytes.into()).await;
        noted.map(drop).map_err(|e| format!("mark of partition {partition}: {e}"))
    }
}
