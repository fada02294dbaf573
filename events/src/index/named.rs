//! Records that are found again by what their events named.

use super::{Index, IndexError, RecordPlace, lookup::place, store::sid};
use quipu_schemas::ids::StreamId;
use rusqlite::params;

impl Index {
    /// The records whose events gave a name, oldest first.
    pub fn named(&self, stream: &StreamId, name: &str) -> Result<Vec<RecordPlace>, IndexError> {
        let newest: Vec<RecordPlace> = match self.tail().streams.get(stream).and_then(|tail| tail.names.get(name)) {
            Some(named) => named.iter().map(|entry| RecordPlace::from(&**entry)).collect(),
            None => Vec::new(),
        };
        let mut places = self.store.read(|connection| {
            let Some(sid) = sid(connection, stream)? else {
                return Ok(Vec::new());
            };
            let mut statement = connection.prepare_cached(
                "SELECT offset, first_version, events, unit, at, len FROM names JOIN places USING(sid, first_version, offset) \
                 WHERE sid = ?1 AND name = ?2 ORDER BY first_version, offset",
            )?;
            let rows = statement.query_map(params![sid, name], place)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        // What a flush moved in between stands in both.
        let stored = places.last().map(|place| place.offset);
        places.extend(newest.into_iter().filter(|place| stored.is_none_or(|stored| place.offset > stored)));
        Ok(places)
    }
}
