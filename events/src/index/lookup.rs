//! Lookups by stream: head, places, commands, settlements, pages, snapshots, parking.

use super::{
    Attempts, Counts, FinalState, FirstReceipt, Index, IndexEntry, IndexError, Parked, RecordPlace, StreamHead,
    settlement::{self, Verdicts},
    store::{sid, sid_or_new, stream_at},
    write,
};
use crate::{port::Place, snapshots::Snapshot};
use quipu_schemas::{
    digest::Digest,
    ids::{CommandId, Kind, OrgId, PrincipalId, StreamId},
    position::Position,
    reaction::ReactionKey,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{cmp::Ordering, collections::BTreeSet};

fn name_of(stream: &StreamId) -> [&str; 3] {
    [stream.kind.as_str(), stream.org.as_str(), stream.id.as_str()]
}

/// A command id in eight bytes: equal ids have equal marks, and two ids hardly ever share one.
pub fn command_mark(id: &CommandId) -> u64 {
    mark_of(write::command_key(id))
}

fn mark_of(key: [u8; 16]) -> u64 {
    u64::from_be_bytes(key[..8].try_into().expect("8 bytes"))
}

impl From<&IndexEntry> for RecordPlace {
    fn from(entry: &IndexEntry) -> Self {
        Self {
            offset: entry.offset,
            first_version: entry.first_version,
            last_version: entry.last_version(),
            place: entry.place,
        }
    }
}

impl RecordPlace {
    fn holds(&self, version: u64) -> bool {
        self.first_version <= version && version <= self.last_version
    }
}

/// The stored places from the last record with events that begins at or before `from`, and so from the one that
/// holds it.
fn places_from(connection: &Connection, stream: &StreamId, from: u64) -> rusqlite::Result<Vec<RecordPlace>> {
    let Some(sid) = sid(connection, stream)? else {
        return Ok(Vec::new());
    };
    let first: Option<i64> = connection
        .prepare_cached(
            "SELECT first_version FROM places WHERE sid = ?1 AND first_version <= ?2 AND events > 0 ORDER BY first_version DESC LIMIT 1",
        )?
        .query_row(params![sid, from as i64], |row| row.get(0))
        .optional()?;
    let mut statement = connection.prepare_cached(
        "SELECT offset, first_version, events, unit, at, len FROM places WHERE sid = ?1 AND first_version >= ?2 ORDER BY first_version, offset",
    )?;
    let rows = statement.query_map(params![sid, first.unwrap_or(0)], place)?;
    rows.collect()
}

/// Columns offset, first_version, events, unit, at, len.
pub(crate) fn place(row: &Row<'_>) -> rusqlite::Result<RecordPlace> {
    let first_version = row.get::<_, i64>(1)? as u64;
    Ok(RecordPlace {
        offset: row.get::<_, i64>(0)? as u64,
        first_version,
        last_version: first_version + row.get::<_, i64>(2)? as u64 - 1,
        place: place_at(row, 3)?,
    })
}

/// Columns unit, at, len.
pub(crate) fn place_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Place> {
    Ok(Place {
        unit: row.get::<_, i64>(at)? as u64,
        at: row.get(at + 1)?,
        len: row.get(at + 2)?,
    })
}

fn principal_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<PrincipalId>> {
    let Some(text) = row.get::<_, Option<String>>(at)? else {
        return Ok(None);
    };
    let bad = |e| rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(e));
    PrincipalId::parse(text).map(Some).map_err(bad)
}

impl Index {
    /// The end of a stream; `None` where it has no record.
    pub fn stream_head(&self, stream: &StreamId) -> Result<Option<StreamHead>, IndexError> {
        let newest = {
            let tail = self.tail();
            tail.streams.get(stream).and_then(|tail| {
                let offsets: Vec<u64> = tail.entries.iter().map(|entry| entry.offset).collect();
                Some((offsets, tail.entries.back()?.clone()))
            })
        };
        let stored: Option<StreamHead> = self.store.read(|connection| {
            let sql = "SELECT version, hash, time, records, offset FROM streams WHERE kind = ?1 AND org = ?2 AND id = ?3 AND records > 0";
            let mut statement = connection.prepare_cached(sql)?;
            statement
                .query_row(name_of(stream), |row| {
                    Ok(StreamHead {
                        version: row.get::<_, i64>(0)? as u64,
                        hash: Digest(row.get(1)?),
                        time: row.get::<_, i64>(2)? as u64,
                        records: row.get::<_, i64>(3)? as u64,
                        position: self.position(stream, row.get::<_, i64>(4)? as u64),
                    })
                })
                .optional()
        })?;
        let Some((offsets, last)) = newest else { return Ok(stored) };
        if let Some(stored) = stored
            && stored.position.offset >= last.offset
        {
            return Ok(Some(stored));
        }
        // What a flush moved in between stands in both, and is counted once.
        let count = match &stored {
            Some(stored) => offsets.iter().filter(|offset| **offset > stored.position.offset).count() as u64,
            None => offsets.len() as u64,
        };
        Ok(Some(StreamHead {
            version: last.last_version(),
            hash: last.hash,
            time: last.time,
            records: stored.map_or(0, |stored| stored.records) + count,
            position: self.position(stream, last.offset),
        }))
    }

    /// The stream's records from the one that holds version `from_version` on, in order, those without events
    /// among them; all of them from 0. Where no record holds that version yet, those without events that follow the
    /// version before it. What follows a snapshot at version `v` is `places(stream, v)` with offsets above its own.
    pub fn places(&self, stream: &StreamId, from_version: u64) -> Result<Vec<RecordPlace>, IndexError> {
        let newest: Vec<RecordPlace> = {
            let tail = self.tail();
            tail.streams
                .get(stream)
                .map(|tail| tail.entries.iter().map(|entry| RecordPlace::from(&**entry)).collect())
                .unwrap_or_default()
        };
        let mut places = self
            .store
            .read(|connection| places_from(connection, stream, from_version.min(i64::MAX as u64)))?;
        let stored = places.last().map(|place| place.offset);
        places.extend(newest.into_iter().filter(|place| stored.is_none_or(|stored| place.offset > stored)));
        let first = match places.iter().position(|place| place.holds(from_version)) {
            Some(holder) => holder,
            None => places
                .iter()
                .position(|place| place.first_version >= from_version)
                .unwrap_or(places.len()),
        };
        places.drain(..first);
        Ok(places)
    }

    /// The first decision of a command, if its stream has one.
    pub fn command(&self, stream: &StreamId, id: &CommandId) -> Result<Option<FirstReceipt>, IndexError> {
        let newest = self.tail().streams.get(stream).and_then(|tail| tail.commands.get(id).cloned());
        if let Some(entry) = newest {
            return Ok(Some(FirstReceipt {
                digest: entry.digest,
                principal: entry.principal.clone(),
                on_behalf_of: entry.on_behalf_of.clone(),
                version: entry.last_version(),
                position: self.position(stream, entry.offset),
                durability: self.meta.durability,
                unchanged: entry.events == 0,
            }));
        }
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT digest, principal, behalf, commands.version, commands.offset, unchanged FROM streams JOIN commands USING(sid) \
                 WHERE kind = ?1 AND org = ?2 AND id = ?3 AND command = ?4",
            )?;
            let [kind, org, entity] = name_of(stream);
            statement
                .query_row(params![kind, org, entity, write::command_key(id)], |row| {
                    Ok(FirstReceipt {
                        digest: Digest(row.get(0)?),
                        principal: principal_at(row, 1)?.ok_or(rusqlite::Error::InvalidQuery)?,
                        on_behalf_of: principal_at(row, 2)?,
                        version: row.get::<_, i64>(3)? as u64,
                        position: self.position(stream, row.get::<_, i64>(4)? as u64),
                        durability: self.meta.durability,
                        unchanged: row.get(5)?,
                    })
                })
                .optional()
        })
    }

    /// The marks ([`command_mark`]) of every command that a stream has decided; `None` if there are more than
    /// `most`. A command whose mark is not among them was never decided.
    pub fn command_marks(&self, stream: &StreamId, most: usize) -> Result<Option<BTreeSet<u64>>, IndexError> {
        // The tail first: what a flush moves in between is then seen twice, and never missed.
        let newest: BTreeSet<u64> = match self.tail().streams.get(stream) {
            Some(tail) => tail.commands.keys().map(command_mark).collect(),
            None => BTreeSet::new(),
        };
        let mut marks = self.store.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT command FROM streams JOIN commands USING(sid) WHERE kind = ?1 AND org = ?2 AND id = ?3 LIMIT ?4")?;
            let [kind, org, entity] = name_of(stream);
            let rows = statement.query_map(params![kind, org, entity, most as i64 + 1], |row| row.get::<_, [u8; 16]>(0))?;
            rows.map(|key| key.map(mark_of)).collect::<rusqlite::Result<BTreeSet<u64>>>()
        })?;
        marks.extend(newest);
        Ok((marks.len() <= most).then_some(marks))
    }

    /// What all partitions say about a key, tail included.
    pub(crate) fn verdicts(&self, key: &ReactionKey) -> Result<Verdicts, IndexError> {
        let notes = self.tail().notes_on(key);
        let mut verdicts = self.store.read(|connection| match sid(connection, &key.stream)? {
            Some(sid) => write::verdicts(connection, (sid, key.version, key.ordinal)),
            None => Ok(Verdicts::new()),
        })?;
        for note in notes {
            verdicts.entry(note.position.partition).or_default().fold(&note);
        }
        Ok(verdicts)
    }

    /// The final settlement of a reaction or timer; `None` while there is none (or a person retried it).
    pub fn settled(&self, key: &ReactionKey) -> Result<Option<FinalState>, IndexError> {
        Ok(settlement::final_state(&self.verdicts(key)?))
    }

    /// What is recorded of an effect's attempts.
    pub fn attempts(&self, key: &ReactionKey) -> Result<Attempts, IndexError> {
        Ok(settlement::attempts(self.verdicts(key)?))
    }

    /// Streams of a kind, of one org or of all, in order of org and id, after `after`.
    pub fn streams(&self, kind: &Kind, org: Option<&OrgId>, after: Option<&StreamId>, limit: usize) -> Result<Vec<StreamId>, IndexError> {
        let wanted = |stream: &StreamId| {
            stream.kind == *kind
                && org.is_none_or(|org| stream.org == *org)
                && after.is_none_or(|after| (&stream.org, &stream.id) > (&after.org, &after.id))
        };
        let mut streams: Vec<StreamId> = self.tail().streams.keys().filter(|stream| wanted(stream)).cloned().collect();
        let page = |connection: &Connection| {
            let (after_org, after_id) = after.map_or(("", ""), |after| (after.org.as_str(), after.id.as_str()));
            if let Some(org) = org {
                let from = match after_org.cmp(org.as_str()) {
                    Ordering::Less => "",
                    Ordering::Equal => after_id,
                    Ordering::Greater => return Ok(Vec::new()),
                };
                let sql = "SELECT kind, org, id FROM streams WHERE kind = ?1 AND org = ?2 AND id > ?3 AND records > 0 ORDER BY id LIMIT ?4";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map(params![kind.as_str(), org.as_str(), from, limit as i64], |row| stream_at(row, 0))?;
                return rows.collect();
            }
            let sql =
                "SELECT kind, org, id FROM streams WHERE kind = ?1 AND (org, id) > (?2, ?3) AND records > 0 ORDER BY org, id LIMIT ?4";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![kind.as_str(), after_org, after_id, limit as i64], |row| stream_at(row, 0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        streams.extend(self.store.read(page)?);
        streams.sort();
        streams.dedup();
        streams.truncate(limit);
        Ok(streams)
    }

    /// Keeps a snapshot and the one before it; older ones go. Visible on return, not synced.
    pub fn put_snapshot(&self, stream: &StreamId, snapshot: &Snapshot) -> Result<(), IndexError> {
        let mut writer = self.writer()?;
        let tx = writer.transaction()?;
        write::put_snapshot(&tx, stream, snapshot.version, &snapshot.encode())?;
        Ok(tx.commit()?)
    }

    /// The newest snapshot that is whole and of this state schema and these rules; damaged or foreign ones are
    /// passed over.
    pub fn latest_snapshot(&self, stream: &StreamId, schema: &Digest, rules: u32) -> Result<Option<Snapshot>, IndexError> {
        self.snapshot_up_to(stream, schema, rules, u64::MAX)
    }

    /// The same among those of at most this version.
    pub fn snapshot_up_to(&self, stream: &StreamId, schema: &Digest, rules: u32, version: u64) -> Result<Option<Snapshot>, IndexError> {
        self.store.read(|connection| {
            let Some(sid) = sid(connection, stream)? else { return Ok(None) };
            let sql = "SELECT version, bytes FROM snapshots WHERE sid = ?1 AND version <= ?2 ORDER BY version DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![sid, version.min(i64::MAX as u64) as i64])?;
            while let Some(row) = rows.next()? {
                let version = row.get::<_, i64>(0)? as u64;
                match Snapshot::decode(row.get_ref(1)?.as_blob()?) {
                    Ok(snapshot) if snapshot.version == version && snapshot.schema == *schema && snapshot.rules == rules => {
                        return Ok(Some(snapshot));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            Ok(None)
        })
    }

    /// Forgets a stream's snapshots: an audit found one that a refold does not confirm.
    pub fn drop_snapshots(&self, stream: &StreamId) -> Result<(), IndexError> {
        let writer = self.writer()?;
        if let Some(sid) = sid(&writer, stream)? {
            writer.execute("DELETE FROM snapshots WHERE sid = ?1", params![sid])?;
        }
        Ok(())
    }

    /// Parks a stream at a record; a later call replaces the reason.
    pub fn park(&self, parked: &Parked) -> Result<(), IndexError> {
        let writer = self.writer()?;
        let sid = sid_or_new(&writer, &parked.stream)?;
        let Position { partition, offset, .. } = parked.position;
        writer.execute(
            "INSERT OR REPLACE INTO parked(sid, partition, offset, detail) VALUES (?1, ?2, ?3, ?4)",
            params![sid, partition, offset as i64, parked.detail],
        )?;
        Ok(())
    }

    /// Takes a stream's park away; whether there was one.
    pub fn unpark(&self, stream: &StreamId) -> Result<bool, IndexError> {
        let writer = self.writer()?;
        match sid(&writer, stream)? {
            Some(sid) => Ok(writer.execute("DELETE FROM parked WHERE sid = ?1", params![sid])? > 0),
            None => Ok(false),
        }
    }

    /// Why a stream is parked, if it is.
    pub fn parked(&self, stream: &StreamId) -> Result<Option<Parked>, IndexError> {
        let sql = "SELECT kind, org, id, partition, parked.offset, detail FROM streams JOIN parked USING(sid) \
                   WHERE kind = ?1 AND org = ?2 AND id = ?3";
        self.store
            .read(|connection| connection.prepare_cached(sql)?.query_row(name_of(stream), parked_row).optional())
    }

    /// Every parked stream, in no order that means anything.
    pub fn all_parked(&self) -> Result<Vec<Parked>, IndexError> {
        let sql = "SELECT kind, org, id, partition, parked.offset, detail FROM parked JOIN streams USING(sid)";
        self.store
            .read(|connection| connection.prepare_cached(sql)?.query_map([], parked_row)?.collect())
    }

    /// Sizes. Counts rows of pending work and timers: for a metrics page, not for a hot path.
    pub fn counts(&self) -> Result<Counts, IndexError> {
        let (records, tail) = {
            let tail = self.tail();
            (tail.partitions.iter().map(|tail| tail.next).sum(), tail.len as u64)
        };
        self.store.read(|connection| {
            let one = |sql: &str| {
                connection
                    .prepare_cached(sql)?
                    .query_row([], |row| row.get::<_, i64>(0))
                    .map(|n| n as u64)
            };
            Ok(Counts {
                records,
                streams: one("SELECT coalesce(sum(streams), 0) FROM partitions")?,
                pending: one("SELECT count(*) FROM reactions WHERE open = 1")?,
                dead: one("SELECT count(*) FROM reactions WHERE open = 0")?,
                wakes: one("SELECT count(*) FROM wakes")?,
                parked: one("SELECT count(*) FROM parked")?,
                tail,
            })
        })
    }
}

fn parked_row(row: &Row<'_>) -> rusqlite::Result<Parked> {
    let position = Position {
        partition: row.get(3)?,
        offset: row.get::<_, i64>(4)? as u64,
        index: 0,
    };
    Ok(Parked {
        stream: stream_at(row, 0)?,
        position,
        detail: row.get(5)?,
    })
}
