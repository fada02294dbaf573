//! Timers that are set: rows of SQLite, corrected by what the tail says.

use super::{Index, IndexError, LATEST, Wake, store::stream_at, tail::Tail};
use quipu_schemas::{context::Millis, ids::StreamId, position::Position, reaction::ReactionKey};
use rusqlite::{Connection, Row, params};
use std::collections::{BTreeMap, BTreeSet};

/// What the tail says about a partition's timers.
#[derive(Default)]
struct Changed {
    /// The last word on each timer: set anew, or cancelled.
    named: BTreeMap<StreamId, BTreeMap<String, Option<Wake>>>,
    /// Keys that fired.
    settled: BTreeSet<ReactionKey>,
}

impl Changed {
    fn of(tail: &Tail, partition: u16, partitions: u16) -> Self {
        let mut changed = Self::default();
        let setting = tail.streams.iter().filter(|(_, held)| !held.wakes.is_empty());
        for (stream, held) in setting.filter(|(stream, _)| stream.partition(partitions) == partition) {
            let last = held
                .wakes
                .iter()
                .filter_map(|(name, changes)| Some((name.clone(), changes.back()?.1.clone())));
            changed.named.insert(stream.clone(), last.collect());
        }
        for (key, notes) in &tail.notes {
            if notes.iter().any(|note| note.outcome.is_final() && note.stream == key.stream)
                && key.stream.partition(partitions) == partition
            {
                changed.settled.insert(key.clone());
            }
        }
        changed
    }

    fn hides(&self, wake: &Wake) -> bool {
        self.settled.contains(&wake.key) || self.named.get(&wake.key.stream).is_some_and(|names| names.contains_key(&wake.name))
    }

    fn set(self) -> impl Iterator<Item = Wake> {
        let settled = self.settled;
        self.named
            .into_values()
            .flat_map(BTreeMap::into_values)
            .flatten()
            .filter(move |wake| !settled.contains(&wake.key))
    }
}

fn order(wake: &Wake) -> (Millis, u64, u64, u32) {
    (wake.due, wake.position.offset, wake.key.version, wake.key.ordinal)
}

fn wake_row(row: &Row<'_>) -> rusqlite::Result<Wake> {
    let key = ReactionKey {
        stream: stream_at(row, 0)?,
        version: row.get::<_, i64>(4)? as u64,
        ordinal: row.get(5)?,
    };
    let position = Position {
        partition: row.get(7)?,
        offset: row.get::<_, i64>(8)? as u64,
        index: 0,
    };
    Ok(Wake {
        key,
        name: row.get(3)?,
        due: row.get::<_, i64>(6)? as u64,
        position,
    })
}

/// Which timers of a partition are asked for.
struct Asked {
    partition: u16,
    before: Millis,
    after: Option<WakePlace>,
    limit: usize,
}

fn from_sqlite(connection: &Connection, asked: &Asked, changed: &Changed) -> rusqlite::Result<Vec<Wake>> {
    let mut statement = connection.prepare_cached(
        "SELECT streams.kind, org, id, name, w.version, ordinal, due, partition, w.offset FROM wakes AS w JOIN streams USING(sid) \
         WHERE partition = ?1 AND due <= ?2 AND (due, w.offset, w.version, ordinal) > (?3, ?4, ?5, ?6) \
         ORDER BY due, w.offset, w.version, ordinal",
    )?;
    let limited = |value: u64| value.min(LATEST) as i64;
    let (due, offset, version, ordinal) = asked.after.map_or((-1, 0, 0, 0), |WakePlace((due, offset, version, ordinal))| {
        (limited(due), limited(offset), limited(version), ordinal)
    });
    let mut rows = statement.query(params![asked.partition, limited(asked.before), due, offset, version, ordinal])?;
    let mut found = Vec::new();
    while found.len() < asked.limit
        && let Some(row) = rows.next()?
    {
        let wake = wake_row(row)?;
        if !changed.hides(&wake) {
            found.push(wake);
        }
    }
    Ok(found)
}

impl Wake {
    /// Its place among the timers of its partition.
    pub fn place(&self) -> WakePlace {
        WakePlace(order(self))
    }
}

/// A place in a partition's timers, in the order in which they are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WakePlace((Millis, u64, u64, u32));

impl WakePlace {
    /// Behind everything that is due at `time` or earlier.
    pub fn behind(time: Millis) -> Self {
        Self((time.min(LATEST), u64::MAX, u64::MAX, u32::MAX))
    }
}

impl Index {
    /// A partition's timers that are due at `before` or earlier, the earliest first. A timer is set by its last
    /// `WakeAt` of that name, until it is cancelled or its key is settled.
    pub fn wakes_due(&self, partition: u16, before: Millis, limit: usize) -> Result<Vec<Wake>, IndexError> {
        self.wakes_due_after(partition, before, None, limit)
    }

    /// As [`Index::wakes_due`], only those behind a place: the next page.
    pub fn wakes_due_after(&self, partition: u16, before: Millis, after: Option<WakePlace>, limit: usize) -> Result<Vec<Wake>, IndexError> {
        let asked = Asked {
            partition,
            before,
            after,
            limit,
        };
        let changed = Changed::of(&self.tail(), partition, self.meta.partitions);
        let mut found = self.store.read(|connection| from_sqlite(connection, &asked, &changed))?;
        found.extend(
            changed
                .set()
                .map(|wake| Wake {
                    due: wake.due.min(LATEST),
                    ..wake
                })
                .filter(|wake| wake.due <= before && after.is_none_or(|after| wake.place() > after)),
        );
        found.sort_by_key(order);
        found.truncate(limit);
        Ok(found)
    }

    /// When the partition's next timer is due.
    pub fn next_wake(&self, partition: u16) -> Result<Option<Millis>, IndexError> {
        Ok(self.wakes_due(partition, Millis::MAX, 1)?.first().map(|wake| wake.due))
    }

    /// When the partition's next timer behind `time` is due.
    pub fn next_wake_after(&self, partition: u16, time: Millis) -> Result<Option<Millis>, IndexError> {
        let next = self.wakes_due_after(partition, Millis::MAX, Some(WakePlace::behind(time)), 1)?;
        Ok(next.first().map(|wake| wake.due))
    }
}
