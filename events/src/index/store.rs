//! The SQLite file: its schema, one connection that writes, a few that read.

use super::{
    IndexError,
    mark::{self, io},
};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior, config::DbConfig, params};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

const SCHEMA: &str = "
CREATE TABLE partitions(partition INTEGER PRIMARY KEY, next INTEGER NOT NULL, last_hash BLOB NOT NULL, streams INTEGER NOT NULL);
CREATE TABLE streams(sid INTEGER PRIMARY KEY, kind TEXT NOT NULL, org TEXT NOT NULL, id TEXT NOT NULL,
  records INTEGER NOT NULL, version INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL, hash BLOB NOT NULL);
CREATE UNIQUE INDEX streams_by_name ON streams(kind, org, id);
CREATE TABLE places(sid INTEGER NOT NULL, first_version INTEGER NOT NULL, offset INTEGER NOT NULL, events INTEGER NOT NULL,
  unit INTEGER NOT NULL, at INTEGER NOT NULL, len INTEGER NOT NULL, PRIMARY KEY(sid, first_version, offset)) WITHOUT ROWID;
CREATE TABLE commands(sid INTEGER NOT NULL, command BLOB NOT NULL, digest BLOB NOT NULL, principal TEXT NOT NULL, behalf TEXT,
  version INTEGER NOT NULL, offset INTEGER NOT NULL, unchanged INTEGER NOT NULL, PRIMARY KEY(sid, command)) WITHOUT ROWID;
CREATE TABLE verdicts(sid INTEGER NOT NULL, version INTEGER NOT NULL, ordinal INTEGER NOT NULL, partition INTEGER NOT NULL,
  verdict BLOB NOT NULL, PRIMARY KEY(sid, version, ordinal, partition)) WITHOUT ROWID;
CREATE TABLE reactions(sid INTEGER NOT NULL, version INTEGER NOT NULL, ordinal INTEGER NOT NULL, kind INTEGER NOT NULL,
  partition INTEGER NOT NULL, offset INTEGER NOT NULL, unit INTEGER NOT NULL, at INTEGER NOT NULL, len INTEGER NOT NULL,
  open INTEGER NOT NULL, PRIMARY KEY(sid, version, ordinal)) WITHOUT ROWID;
CREATE INDEX reactions_open ON reactions(partition, offset, version, ordinal) WHERE open = 1;
CREATE INDEX reactions_dead ON reactions(partition, offset, version, ordinal) WHERE open = 0;
CREATE TABLE wakes(sid INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, ordinal INTEGER NOT NULL, due INTEGER NOT NULL,
  partition INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY(sid, name)) WITHOUT ROWID;
CREATE INDEX wakes_due ON wakes(partition, due, offset, version, ordinal);
CREATE TABLE snapshots(sid INTEGER NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(sid, version));
CREATE TABLE parked(sid INTEGER PRIMARY KEY, partition INTEGER NOT NULL, offset INTEGER NOT NULL, detail TEXT NOT NULL);
";

/// Made where it is missing: an index of before has no record that names anything. Minted names grow with time, so that new rows stand
/// beside each other.
const NAMES: &str = "CREATE TABLE IF NOT EXISTS names(sid INTEGER NOT NULL, name TEXT NOT NULL, first_version INTEGER NOT NULL,
  offset INTEGER NOT NULL, PRIMARY KEY(sid, name, first_version, offset)) WITHOUT ROWID;";

/// Tables that hold rows of the log, for starting again from nothing.
const TABLES: [&str; 10] = [
    "partitions",
    "streams",
    "places",
    "commands",
    "verdicts",
    "reactions",
    "wakes",
    "names",
    "snapshots",
    "parked",
];

/// Idle read connections that are kept; more are opened under load and closed after.
const READERS_KEPT: usize = 4;

pub(crate) struct Store {
    file: Option<PathBuf>,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    /// The first damage that was met.
    damage: OnceLock<String>,
}

/// Whether the file does not hold what was written to it.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::{Error, ErrorCode};
    match error {
        Error::SqliteFailure(failure, _) => matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase),
        Error::FromSqlConversionFailure(..) | Error::IntegralValueOutOfRange(..) | Error::InvalidColumnType(..) | Error::Utf8Error(..) => {
            true
        }
        _ => false,
    }
}

pub(crate) fn files(dir: &Path) -> [PathBuf; 3] {
    [dir.join("index.db"), dir.join("index.db-wal"), dir.join("index.db-shm")]
}

pub(crate) fn discard(dir: &Path) -> Result<(), IndexError> {
    for file in files(dir) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(&file)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn prepare(connection: &Connection, cache_kib: u32) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Plans do not depend on bound values; without this, SQLite plans some statements again at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

impl Store {
    /// Opens the file, making its tables where it is new.
    pub(crate) fn open(dir: &Path) -> Result<Self, IndexError> {
        let file = dir.join("index.db");
        let connection = Connection::open(&file)?;
        prepare(&connection, 8 * 1024)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        // In small steps: each one is a burst of writes behind the commit that it follows.
        connection.pragma_update(None, "wal_autocheckpoint", 512)?;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode != "wal" {
            return Err(IndexError::Damaged(format!("journal mode is {mode}")));
        }
        Self::with(connection, Some(file))
    }

    pub(crate) fn in_memory() -> Result<Self, IndexError> {
        let connection = Connection::open_in_memory()?;
        prepare(&connection, 8 * 1024)?;
        Self::with(connection, None)
    }

    fn with(mut connection: Connection, file: Option<PathBuf>) -> Result<Self, IndexError> {
        // A transaction that only writes later does not wait for a reader which looks whether the file needs mending, and fails.
        connection.set_transaction_behavior(TransactionBehavior::Immediate);
        let made: bool = connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'parked'", [], |row| row.get(0))?;
        if !made {
            let tx = connection.transaction()?;
            tx.execute_batch(SCHEMA)?;
            tx.commit()?;
        }
        connection.execute_batch(NAMES)?;
        Ok(Self {
            file,
            writer: Mutex::new(connection),
            readers: Mutex::new(Vec::new()),
            damage: OnceLock::new(),
        })
    }

    /// The first damage that was met since the file was opened.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Remembers an error that means damage. The mark goes with the first, so that the next open starts again from the log.
    pub(crate) fn met(&self, error: rusqlite::Error) -> IndexError {
        if is_damage(&error)
            && self.damage.set(error.to_string()).is_ok()
            && let Some(dir) = self.file.as_deref().and_then(Path::parent)
        {
            mark::remove(dir);
        }
        error.into()
    }

    /// The connection that writes; held for the length of a transaction.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock()
    }

    /// Runs one lookup on a connection that does not wait for the writer.
    pub(crate) fn read<R>(&self, lookup: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, IndexError> {
        let Some(file) = &self.file else {
            return lookup(&self.writer()).map_err(|e| self.met(e));
        };
        let idle = self.readers.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
                prepare(&connection, 2 * 1024)?;
                connection.pragma_update(None, "query_only", true)?;
                connection
            }
        };
        let found = lookup(&connection);
        let mut readers = self.readers.lock();
        if readers.len() < READERS_KEPT {
            readers.push(connection);
        }
        found.map_err(|e| self.met(e))
    }

    /// Moves everything into the one file and syncs it.
    pub(crate) fn settle(&self, writer: &Connection) -> Result<(), IndexError> {
        self.readers.lock().clear();
        let Some(file) = &self.file else { return Ok(()) };
        let busy: i64 = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            return Err(IndexError::Damaged("the index is still being read".into()));
        }
        fs::File::open(file).and_then(|file| file.sync_all()).map_err(io(file))
    }

    /// What each partition is indexed up to: next offset and the last record's hash.
    pub(crate) fn indexed(&self, partitions: u16) -> Result<Vec<(u64, [u8; 32])>, IndexError> {
        let mut indexed = vec![(0, [0; 32]); usize::from(partitions)];
        let rows: Vec<(u16, i64, [u8; 32])> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT partition, next, last_hash FROM partitions")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })?;
        for (partition, next, hash) in rows {
            let slot = indexed
                .get_mut(usize::from(partition))
                .ok_or_else(|| IndexError::Damaged(format!("no partition {partition}")))?;
            *slot = (next as u64, hash);
        }
        Ok(indexed)
    }
}

/// Empties every table.
pub(crate) fn clear(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction()?;
    for table in TABLES {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    tx.commit()
}

/// The internal id of a stream, if SQLite knows it.
pub(crate) fn sid(connection: &Connection, stream: &quipu_schemas::ids::StreamId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT sid FROM streams WHERE kind = ?1 AND org = ?2 AND id = ?3")?
        .query_row(params![stream.kind.as_str(), stream.org.as_str(), stream.id.as_str()], |row| {
            row.get(0)
        })
        .optional()
}

/// The internal id of a stream, made where there is none; no record of it need be indexed.
pub(crate) fn sid_or_new(connection: &Connection, stream: &quipu_schemas::ids::StreamId) -> rusqlite::Result<i64> {
    if let Some(sid) = sid(connection, stream)? {
        return Ok(sid);
    }
    connection
        .prepare_cached(
            "INSERT INTO streams(kind, org, id, records, version, offset, time, hash) VALUES (?1, ?2, ?3, 0, 0, 0, 0, zeroblob(32))",
        )?
        .execute(params![stream.kind.as_str(), stream.org.as_str(), stream.id.as_str()])?;
    Ok(connection.last_insert_rowid())
}

/// A stream id from three columns: kind, org, id.
pub(crate) fn stream_at(row: &Row<'_>, at: usize) -> rusqlite::Result<quipu_schemas::ids::StreamId> {
    use quipu_schemas::ids::{EntityId, Kind, OrgId, StreamId};
    let bad = |column: usize, error: quipu_schemas::ids::BadId| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    };
    let kind = Kind::parse(row.get::<_, String>(at)?).map_err(|e| bad(at, e))?;
    let org = OrgId::parse(row.get::<_, String>(at + 1)?).map_err(|e| bad(at + 1, e))?;
    let id = EntityId::parse(row.get::<_, String>(at + 2)?).map_err(|e| bad(at + 2, e))?;
    Ok(StreamId::new(org, kind, id))
}

/// A column of JSON.
pub(crate) fn json_at<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let bytes = row.get_ref(at)?.as_blob()?;
    serde_json::from_slice(bytes).map_err(|e| rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Blob, Box::new(e)))
}
