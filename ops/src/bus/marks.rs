//! How far each partition is relayed, kept in the bus itself: whoever relays next goes on from there.

use async_nats::jetstream::kv::Store;
use quipu_schemas::position::Cursor;
use serde::{Deserialize, Serialize};

/// How far one partition of one log is relayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The log.
    pub(super) log: String,
    /// Its generation: a restored log is relayed anew.
    pub(super) generation: u32,
    /// Offset of the first record that is not wholly relayed.
    pub(super) next: u64,
}

/// The marks of one log.
#[derive(Clone)]
pub(super) struct Marks {
    store: Store,
    log: String,
    generation: u32,
}

impl Marks {
    pub(super) fn new(store: Store, log: &Cursor) -> Self {
        Self {
            store,
            log: hex::encode(log.log.0),
            generation: log.generation,
        }
    }

    fn key(&self, partition: u16) -> String {
        format!("{}.{partition}", self.log)
    }

    /// Where to go on; 0 where nothing is noted of this log and generation.
    pub(super) async fn load(&self, partition: u16) -> Result<u64, String> {
        let Some(bytes) = self
            .store
            .get(self.key(partition))
            .await
            .map_err(|e| format!("mark of partition {partition}: {e}"))?
        else {
            return Ok(0);
        };
        let mark: Mark = serde_json::from_slice(&bytes)
            .map_err(|e| format!("mark of partition {partition}: {e}; delete the key {}", self.key(partition)))?;
        Ok(if (&mark.log, mark.generation) == (&self.log, self.generation) {
            mark.next
        } else {
            0
        })
    }

    pub(super) async fn note(&self, partition: u16, next: u64) -> Result<(), String> {
        let mark = Mark {
            log: self.log.clone(),
            generation: self.generation,
            next,
        };
        let bytes = serde_json::to_vec(&mark).map_err(|e| e.to_string())?;
        let noted = self.store.put(self.key(partition), bytes.into()).await;
        noted.map(drop).map_err(|e| format!("mark of partition {partition}: {e}"))
    }
}
