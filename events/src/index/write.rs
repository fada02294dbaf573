//! One flush: entries of the tail become rows, in one transaction.

use super::{
    LATEST, PendingKind,
    entry::{IndexEntry, IndexedKind},
    settlement::{Note, Standing, Verdict, Verdicts, standing},
    store::{json_at, sid_or_new},
    tail::Flush,
};
use quipu_schemas::{
    digest::Digest,
    ids::{CommandId, StreamId},
    position::Position,
    reaction::{ReactionKey, Settlement},
};
use rusqlite::{Connection, OptionalExtension, params};
use std::{collections::BTreeMap, sync::Arc};

/// A command id as a key: half of its SHA-256, which is shorter than most ids and always of one length.
pub(crate) fn command_key(id: &CommandId) -> [u8; 16] {
    let digest = Digest::of(&[id.as_str().as_bytes()]);
    digest.0[..16].try_into().expect("16 bytes")
}

/// Writes a flush. Rows that are there already stay as they are.
pub(crate) fn apply(connection: &Connection, flush: &Flush) -> rusqlite::Result<()> {
    for (partition, entries) in flush {
        let mut by_stream: BTreeMap<&StreamId, Vec<&Arc<IndexEntry>>> = BTreeMap::new();
        for entry in entries {
            by_stream.entry(&entry.stream).or_default().push(entry);
        }
        let (mut new_streams, mut sids) = (0u64, BTreeMap::new());
        for (stream, entries) in by_stream {
            let (sid, is_new) = apply_stream(connection, *partition, stream, &entries)?;
            new_streams += u64::from(is_new);
            sids.insert(stream, sid);
        }
        // In the order of the log: two streams of one partition may speak of one reaction, its receiver and then its sender.
        for entry in entries {
            if let (Some(settlement), Some(sid)) = (&entry.settlement, sids.get(&entry.stream)) {
                apply_settlement(connection, *partition, *sid, entry, settlement)?;
            }
        }
        if let Some(last) = entries.last() {
            connection
                .prepare_cached(
                    "INSERT INTO partitions(partition, next, last_hash, streams) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(partition) \
                     DO UPDATE SET next = excluded.next, last_hash = excluded.last_hash, streams = streams + excluded.streams",
                )?
                .execute(params![partition, (last.offset + 1) as i64, last.hash.0, new_streams as i64])?;
        }
    }
    Ok(())
}

/// Writes one stream's entries, in order, but for what they say of reactions; true where they are its first.
fn apply_stream(connection: &Connection, partition: u16, stream: &StreamId, entries: &[&Arc<IndexEntry>]) -> rusqlite::Result<(i64, bool)> {
    let last = entries[entries.len() - 1];
    let (count, version, offset, time) = (
        entries.len() as i64,
        last.last_version() as i64,
        last.offset as i64,
        last.time as i64,
    );
    let known: Option<(i64, bool)> = connection
        .prepare_cached("SELECT sid, records > 0 FROM streams WHERE kind = ?1 AND org = ?2 AND id = ?3")?
        .query_row(params![stream.kind.as_str(), stream.org.as_str(), stream.id.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let sid = match known {
        Some((sid, _)) => {
            let sql = "UPDATE streams SET records = records + ?2, version = ?3, offset = ?4, time = ?5, hash = ?6 WHERE sid = ?1";
            connection
                .prepare_cached(sql)?
                .execute(params![sid, count, version, offset, time, last.hash.0])?;
            sid
        }
        None => {
            let sql = "INSERT INTO streams(kind, org, id, records, version, offset, time, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let [kind, org, id] = [stream.kind.as_str(), stream.org.as_str(), stream.id.as_str()];
            connection
                .prepare_cached(sql)?
                .execute(params![kind, org, id, count, version, offset, time, last.hash.0])?;
            connection.last_insert_rowid()
        }
    };
    for entry in entries {
        apply_entry(connection, partition, sid, entry)?;
    }
    Ok((sid, known.is_none_or(|(_, has_records)| !has_records)))
}

fn apply_entry(connection: &Connection, partition: u16, sid: i64, entry: &IndexEntry) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO places(sid, first_version, offset, events, unit, at, len) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            sid,
            entry.first_version as i64,
            entry.offset as i64,
            entry.events,
            entry.place.unit as i64,
            entry.place.at,
            entry.place.len
        ])?;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO commands(sid, command, digest, principal, behalf, version, offset, unchanged) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            sid,
            command_key(&entry.command_id),
            entry.digest.0,
            entry.principal.as_str(),
            entry.on_behalf_of.as_ref().map(|id| id.as_str()),
            entry.last_version() as i64,
            entry.offset as i64,
            entry.events == 0
        ])?;
    for name in &entry.names {
        connection
            .prepare_cached("INSERT OR IGNORE INTO names(sid, name, first_version, offset) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![sid, name, entry.first_version as i64, entry.offset as i64])?;
    }
    for reaction in &entry.reactions {
        match &reaction.kind {
            IndexedKind::WakeAt { name, due } => {
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO wakes(sid, name, version, ordinal, due, partition, offset) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    )?
                    .execute(params![
                        sid,
                        name,
                        reaction.version as i64,
                        reaction.ordinal,
                        (*due).min(LATEST) as i64,
                        partition,
                        entry.offset as i64
                    ])?;
            }
            IndexedKind::CancelWake { name } => {
                connection
                    .prepare_cached("DELETE FROM wakes WHERE sid = ?1 AND name = ?2")?
                    .execute(params![sid, name])?;
            }
            IndexedKind::Dispatch { .. } | IndexedKind::Effect => {
                let key = (sid, reaction.version, reaction.ordinal);
                let kind = reaction.pending_kind().unwrap_or(PendingKind::Effect);
                let standing = standing(kind, &verdicts(connection, key)?);
                if standing != Standing::Done {
                    connection
                        .prepare_cached(
                            "INSERT OR IGNORE INTO reactions(sid, version, ordinal, kind, partition, offset, unit, at, len, open) \
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                        )?
                        .execute(params![
                            sid,
                            reaction.version as i64,
                            reaction.ordinal,
                            kind as u8,
                            partition,
                            entry.offset as i64,
                            entry.place.unit as i64,
                            entry.place.at,
                            entry.place.len,
                            standing == Standing::Open
                        ])?;
                }
            }
        }
    }
    Ok(())
}

fn apply_settlement(
    connection: &Connection,
    partition: u16,
    sid: i64,
    entry: &IndexEntry,
    settlement: &Settlement,
) -> rusqlite::Result<()> {
    let ReactionKey { stream, version, ordinal } = &settlement.key;
    let own = *stream == entry.stream;
    let origin = if own { sid } else { sid_or_new(connection, stream)? };
    let key = (origin, *version, *ordinal);
    let mut verdicts = verdicts(connection, key)?;
    let verdict = verdicts.entry(partition).or_default();
    verdict.fold(&Note {
        outcome: settlement.outcome.clone(),
        stream: entry.stream.clone(),
        version: entry.last_version(),
        position: Position {
            partition,
            offset: entry.offset,
            index: 0,
        },
        time: entry.time,
    });
    save(connection, key, partition, verdict)?;
    let (version, ordinal) = (*version as i64, *ordinal);
    // Without a row it is done, or its record is not indexed yet: its standing is looked at again then.
    let kind: Option<u8> = connection
        .prepare_cached("SELECT kind FROM reactions WHERE sid = ?1 AND version = ?2 AND ordinal = ?3")?
        .query_row(params![origin, version, ordinal], |row| row.get(0))
        .optional()?;
    match standing(kind.map_or(PendingKind::Effect, PendingKind::from_column), &verdicts) {
        Standing::Done => {
            let sql = "DELETE FROM reactions WHERE sid = ?1 AND version = ?2 AND ordinal = ?3";
            connection.prepare_cached(sql)?.execute(params![origin, version, ordinal])?;
        }
        unsettled => {
            let sql = "UPDATE reactions SET open = ?4 WHERE sid = ?1 AND version = ?2 AND ordinal = ?3";
            connection
                .prepare_cached(sql)?
                .execute(params![origin, version, ordinal, unsettled == Standing::Open])?;
        }
    }
    if own && settlement.outcome.is_final() {
        let sql = "DELETE FROM wakes WHERE sid = ?1 AND version = ?2 AND ordinal = ?3";
        connection.prepare_cached(sql)?.execute(params![origin, version, ordinal])?;
    }
    Ok(())
}

/// What SQLite holds on one key.
pub(crate) fn verdicts(connection: &Connection, (sid, version, ordinal): (i64, u64, u32)) -> rusqlite::Result<Verdicts> {
    let mut statement =
        connection.prepare_cached("SELECT partition, verdict FROM verdicts WHERE sid = ?1 AND version = ?2 AND ordinal = ?3")?;
    let rows = statement.query_map(params![sid, version as i64, ordinal], |row| {
        Ok((row.get(0)?, json_at::<Verdict>(row, 1)?))
    })?;
    rows.collect()
}

fn save(connection: &Connection, (sid, version, ordinal): (i64, u64, u32), partition: u16, verdict: &Verdict) -> rusqlite::Result<()> {
    let bytes = serde_json::to_vec(verdict).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO verdicts(sid, version, ordinal, partition, verdict) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![sid, version as i64, ordinal, partition, bytes])?;
    Ok(())
}

/// Keeps a snapshot and the one before it.
pub(crate) fn put_snapshot(connection: &Connection, stream: &StreamId, version: u64, bytes: &[u8]) -> rusqlite::Result<()> {
    let sid = sid_or_new(connection, stream)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO snapshots(sid, version, bytes) VALUES (?1, ?2, ?3)")?
        .execute(params![sid, version as i64, bytes])?;
    let previous: Option<i64> = connection
        .prepare_cached("SELECT version FROM snapshots WHERE sid = ?1 ORDER BY version DESC LIMIT 1 OFFSET 1")?
        .query_row(params![sid], |row| row.get(0))
        .optional()?;
    if let Some(previous) = previous {
        connection
            .prepare_cached("DELETE FROM snapshots WHERE sid = ?1 AND version < ?2")?
            .execute(params![sid, previous])?;
    }
    Ok(())
}
