//! How much waits, counted within bounds: for metrics and health, which are asked every few seconds.

use super::{Index, IndexError};
use rusqlite::params;

/// What waits in one partition. A number that reached the bound stands for "at least".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Effects and dispatches that are not settled.
    pub pending: u64,
    /// Those that were given up, and neither retried nor dropped.
    pub dead: u64,
}

impl Index {
    /// Counts a partition's pending and dead reactions up to `most` of each, as of the last flush: by the partial indexes,
    /// so that the cost follows what is counted and not the log.
    pub fn depth(&self, partition: u16, most: usize) -> Result<Depth, IndexError> {
        self.store.read(|connection| {
            let count = |open: u8| {
                let sql = format!("SELECT count(*) FROM (SELECT 1 FROM reactions WHERE partition = ?1 AND open = {open} LIMIT ?2)");
                let mut statement = connection.prepare_cached(&sql)?;
                statement
                    .query_row(params![partition, most as i64], |row| row.get::<_, i64>(0))
                    .map(|n| n as u64)
            };
            Ok(Depth {
                pending: count(1)?,
                dead: count(0)?,
            })
        })
    }
}
