//! Pending reactions and dead letters: rows of SQLite, corrected by what the tail says.

use super::{
    Index, IndexError, Pending, PendingCursor, PendingKind,
    lookup::place_at,
    settlement::{Standing, standing},
    store::{sid, stream_at},
    tail::{Tail, TailReaction},
};
use quipu_schemas::{
    ids::{OrgId, StreamId},
    position::Position,
    reaction::ReactionKey,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeMap, BTreeSet};

/// Whose reactions are asked for.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Partition(u16),
    Stream(&'a StreamId),
}

/// Keys that the tail says something about, with the reaction where the tail holds it too.
type Changed = BTreeMap<ReactionKey, Option<TailReaction>>;

fn changed(tail: &Tail, scope: Scope<'_>, partitions: u16) -> Changed {
    let mut changed = Changed::new();
    let mut take = |stream: &StreamId, held: &super::tail::StreamTail| {
        for (&(version, ordinal), reaction) in &held.reactions {
            changed.insert(
                ReactionKey {
                    stream: stream.clone(),
                    version,
                    ordinal,
                },
                Some(reaction.clone()),
            );
        }
    };
    match scope {
        Scope::Partition(partition) => {
            let of_partition = tail.streams.iter().filter(|(_, held)| !held.reactions.is_empty());
            of_partition
                .filter(|(stream, _)| stream.partition(partitions) == partition)
                .for_each(|(stream, held)| take(stream, held));
            for key in tail.notes.keys().filter(|key| key.stream.partition(partitions) == partition) {
                changed.entry(key.clone()).or_default();
            }
        }
        Scope::Stream(stream) => {
            if let Some(held) = tail.streams.get(stream) {
                take(stream, held);
            }
            let first = ReactionKey {
                stream: stream.clone(),
                version: 0,
                ordinal: 0,
            };
            for key in tail
                .notes
                .range(first..)
                .map(|(key, _)| key)
                .take_while(|key| key.stream == *stream)
            {
                changed.entry(key.clone()).or_default();
            }
        }
    }
    changed
}

/// Columns: kind, org, id, version, ordinal, reaction kind, partition, offset, unit, at, len.
fn pending_row(row: &Row<'_>) -> rusqlite::Result<Pending> {
    let key = ReactionKey {
        stream: stream_at(row, 0)?,
        version: row.get::<_, i64>(3)? as u64,
        ordinal: row.get(4)?,
    };
    let kind = PendingKind::from_column(row.get(5)?);
    let position = Position {
        partition: row.get(6)?,
        offset: row.get::<_, i64>(7)? as u64,
        index: 0,
    };
    Ok(Pending {
        key,
        kind,
        position,
        place: place_at(row, 8)?,
    })
}

const COLUMNS: &str = "SELECT streams.kind, org, id, r.version, r.ordinal, r.kind, r.partition, r.offset, r.unit, r.at, r.len \
    FROM reactions AS r JOIN streams USING(sid)";

fn from_sqlite(
    connection: &Connection,
    scope: Scope<'_>,
    wanted: Standing,
    after: PendingCursorOrStart,
    limit: usize,
    passes: &dyn Fn(&ReactionKey) -> bool,
) -> rusqlite::Result<Vec<Pending>> {
    let open = if wanted == Standing::Open { "r.open = 1" } else { "r.open = 0" };
    let (offset, version, ordinal) = after;
    let (filter, first): (&str, i64) = match scope {
        Scope::Partition(partition) => ("r.partition = ?1", i64::from(partition)),
        Scope::Stream(stream) => match sid(connection, stream)? {
            Some(sid) => ("r.sid = ?1", sid),
            None => return Ok(Vec::new()),
        },
    };
    let sql = format!(
        "{COLUMNS} WHERE {filter} AND {open} AND (r.offset, r.version, r.ordinal) > (?2, ?3, ?4) \
         ORDER BY r.offset, r.version, r.ordinal"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![first, offset, version, ordinal])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let pending = pending_row(row)?;
        if passes(&pending.key) {
            found.push(pending);
        }
    }
    Ok(found)
}

/// Offset, version, ordinal after which to go on; all -1 at the start.
type PendingCursorOrStart = (i64, i64, i64);

impl Index {
    fn reactions(
        &self,
        scope: Scope<'_>,
        wanted: Standing,
        after: Option<PendingCursor>,
        limit: usize,
        without: &BTreeSet<OrgId>,
    ) -> Result<Vec<Pending>, IndexError> {
        let changed = changed(&self.tail(), scope, self.meta.partitions);
        let start = after.map_or((-1, -1, -1), |c| (c.offset as i64, c.version as i64, i64::from(c.ordinal)));
        let mut found = self.store.read(|connection| {
            let passes = |key: &ReactionKey| !changed.contains_key(key) && !without.contains(&key.stream.org);
            from_sqlite(connection, scope, wanted, start, limit, &passes)
        })?;
        let mut candidates = Vec::new();
        for (key, held) in changed.into_iter().filter(|(key, _)| !without.contains(&key.stream.org)) {
            let reaction = match held {
                Some(TailReaction { kind, position, place }) => Some(Pending {
                    key,
                    kind,
                    position,
                    place,
                }),
                None => self.reaction(&key)?,
            };
            candidates.extend(reaction.filter(|reaction| after.is_none_or(|after| reaction.cursor() > after)));
        }
        candidates.sort_by_key(Pending::cursor);
        // What lies behind a full page is not looked up.
        let last = found.last().filter(|_| found.len() >= limit).map(Pending::cursor);
        let mut taken = 0;
        for candidate in candidates {
            if taken == limit || last.is_some_and(|last| candidate.cursor() > last) {
                break;
            }
            if standing(candidate.kind, &self.verdicts(&candidate.key)?) == wanted {
                found.push(candidate);
                taken += 1;
            }
        }
        found.sort_by_key(Pending::cursor);
        found.truncate(limit);
        Ok(found)
    }

    /// A reaction in SQLite that is not done for good.
    fn reaction(&self, key: &ReactionKey) -> Result<Option<Pending>, IndexError> {
        self.store.read(|connection| {
            let Some(sid) = sid(connection, &key.stream)? else {
                return Ok(None);
            };
            let sql = format!("{COLUMNS} WHERE r.sid = ?1 AND r.version = ?2 AND r.ordinal = ?3");
            connection
                .prepare_cached(&sql)?
                .query_row(params![sid, key.version as i64, key.ordinal], pending_row)
                .optional()
        })
    }

    /// Dispatches and effects of a partition's records that are not settled for good and not dead, in log order,
    /// after a cursor. A rebuild gives the same set.
    pub fn pending(&self, partition: u16, after: Option<PendingCursor>, limit: usize) -> Result<Vec<Pending>, IndexError> {
        self.pending_without(partition, after, limit, &BTreeSet::new())
    }

    /// The same, passing over those of some orgs.
    pub fn pending_without(
        &self,
        partition: u16,
        after: Option<PendingCursor>,
        limit: usize,
        without: &BTreeSet<OrgId>,
    ) -> Result<Vec<Pending>, IndexError> {
        self.reactions(Scope::Partition(partition), Standing::Open, after, limit, without)
    }

    /// The same for one stream's own reactions, all of them.
    pub fn pending_of(&self, stream: &StreamId) -> Result<Vec<Pending>, IndexError> {
        self.reactions(Scope::Stream(stream), Standing::Open, None, usize::MAX, &BTreeSet::new())
    }

    /// Reactions of a partition's records that were given up (`Dead` or `Parked`) and neither retried nor dropped,
    /// in log order, after a cursor; [`Index::settled`] says why.
    pub fn dead_letters(&self, partition: u16, after: Option<PendingCursor>, limit: usize) -> Result<Vec<Pending>, IndexError> {
        self.reactions(Scope::Partition(partition), Standing::Dead, after, limit, &BTreeSet::new())
    }
}
