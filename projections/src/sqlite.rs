//! Views in SQLite: one writer connection, a pool of readers, WAL with `synchronous=NORMAL`.
//!
//! A power cut may take the last transactions, whole: checkpoints live beside the rows and go back with them.

use crate::{
    error::ViewError,
    query::{self, Counted, Found, Page, Query, Select},
    reading::View,
    row_digest::{self, RowDigest},
    sqlite_families::{behind, note, renew},
    sqlite_write::{Writer, move_checkpoint, schema, storage, value_of},
    statement::Value,
    store::{Behind, Checkpoint, DigestOf, Digests, Made, Origin, ParkedStream, Tip, ViewBatch, ViewStore},
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, PrincipalId, StreamId},
    limits::{PAGE_MAX_BYTES, VIEW_PREPARED_MAX, VIEW_READERS},
    position::{Cursor, LogId},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use std::path::Path;

/// A number in the database's header that is the application's: 1 once the views have been whole. It goes back with the
/// rows in a power cut.
const WHOLE: &str = "user_version";

/// A view store in one SQLite database.
pub struct SqliteStore {
    origin: Origin,
    /// Empty for a database in memory, which the writer's connection reads. Closed before the writer, which folds the
    /// WAL into the database when it closes last.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
    returned: Condvar,
    in_memory: bool,
}

impl SqliteStore {
    /// Opens the database at `path`, making it where there is none; refuses one of another origin.
    pub fn open(path: &Path, origin: Origin) -> Result<Self, ViewError> {
        let writer = Connection::open(path).map_err(storage)?;
        set(&writer, "journal_mode", "WAL", "wal")?;
        set(&writer, "synchronous", "NORMAL", "1")?;
        set(&writer, "wal_autocheckpoint", "4000", "4000")?;
        let store = Self::prepare(writer, origin, false)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let readers = (0..VIEW_READERS)
            .map(|_| {
                let reader = Connection::open_with_flags(path, flags).map_err(storage)?;
                configure(&reader, -1024)?;
                Ok(reader)
            })
            .collect::<Result<_, ViewError>>()?;
        Ok(Self {
            readers: Mutex::new(readers),
            ..store
        })
    }

    /// A store that lives as long as this value, for simulation and verification.
    pub fn in_memory(origin: Origin) -> Result<Self, ViewError> {
        Self::prepare(Connection::open_in_memory().map_err(storage)?, origin, true)
    }

    fn prepare(mut writer: Connection, origin: Origin, in_memory: bool) -> Result<Self, ViewError> {
        configure(&writer, -16_384)?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(storage)?;
        let there: bool = transaction
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'origin'", [], |row| row.get(0))
            .map_err(storage)?;
        if there {
            read_origin(&transaction)?.check(&origin.base())?;
            renew(&transaction, origin.families)?;
        } else {
            begin(&transaction, &origin)?;
        }
        transaction.commit().map_err(storage)?;
        Ok(Self {
            origin,
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            returned: Condvar::new(),
            in_memory,
        })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // A panic in between leaves no open transaction: they roll back when dropped.
        self.writer.lock()
    }

    /// Runs `read` in one read transaction, on whichever reader is free first.
    fn reading<T>(&self, read: impl FnOnce(&Connection) -> Result<T, ViewError>) -> Result<T, ViewError> {
        fn at_one_moment<T>(connection: &mut Connection, read: impl FnOnce(&Connection) -> Result<T, ViewError>) -> Result<T, ViewError> {
            let transaction = connection.transaction().map_err(storage)?;
            let result = read(&transaction)?;
            transaction.finish().map_err(storage)?;
            Ok(result)
        }
        if self.in_memory {
            return at_one_moment(&mut self.writer(), read);
        }
        struct Borrowed<'s>(Option<Connection>, &'s SqliteStore);
        impl Drop for Borrowed<'_> {
            fn drop(&mut self) {
                let mut free = self.1.readers.lock();
                free.extend(self.0.take());
                self.1.returned.notify_one();
            }
        }
        let mut free = self.readers.lock();
        self.returned.wait_while(&mut free, |free| free.is_empty());
        let mut borrowed = Borrowed(free.pop(), self);
        drop(free);
        let connection = borrowed.0.as_mut().expect("waited until one was free");
        at_one_moment(connection, read)
    }

    /// The rows of a query: up to the one by which they take more than so many bytes together.
    fn rows(connection: &Connection, select: &Select, most: usize) -> Result<Vec<Vec<Value>>, ViewError> {
        let mut bytes = 0;
        let mut prepared = connection.prepare_cached(&select.sql).map_err(storage)?;
        let columns = prepared.column_count();
        let mut rows = prepared.query(rusqlite::params_from_iter(&select.params)).map_err(storage)?;
        let mut out: Vec<Vec<Value>> = Vec::new();
        while let Some(row) = rows.next().map_err(storage)? {
            let row: Vec<Value> = (0..columns)
                .map(|n| value_of(row.get_ref(n).map_err(storage)?))
                .collect::<Result<_, _>>()?;
            bytes += query::row_bytes(&row);
            let is_first = out.is_empty();
            out.push(row);
            // The surplus row tells that there is another page.
            if bytes > most && !is_first {
                break;
            }
        }
        Ok(out)
    }

    fn cursor_of(&self, connection: &Connection) -> Result<Cursor, ViewError> {
        let next = read_checkpoints(connection)?.into_iter().map(|c| c.next_offset).collect();
        Ok(Cursor {
            log: self.origin.log_id,
            generation: self.origin.generation,
            next,
        })
    }
}

/// Sets a pragma and reads it back.
fn set(connection: &Connection, name: &str, value: &str, reads: &str) -> Result<(), ViewError> {
    connection.pragma_update(None, name, value).map_err(storage)?;
    let found: rusqlite::types::Value = connection.pragma_query_value(None, name, |row| row.get(0)).map_err(storage)?;
    let found = match found {
        rusqlite::types::Value::Integer(n) => n.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if found == reads {
        Ok(())
    } else {
        Err(ViewError::Storage(format!(
            "pragma {name} reads {found} after it was set to {value}"
        )))
    }
}

fn configure(connection: &Connection, cache: i64) -> Result<(), ViewError> {
    connection.set_prepared_statement_cache_capacity(VIEW_PREPARED_MAX);
    set(connection, "cache_size", &cache.to_string(), &cache.to_string())?;
    set(connection, "temp_store", "MEMORY", "2")?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(storage)
}

fn begin(transaction: &Transaction<'_>, origin: &Origin) -> Result<(), ViewError> {
    transaction.execute_batch(&schema(origin.families)).map_err(storage)?;
    let Made {
        log_id,
        generation,
        partitions,
        projector,
    } = origin.base();
    transaction
        .execute(
            "INSERT INTO origin VALUES (1, ?1, ?2, ?3, ?4)",
            rusqlite::params![log_id.0, generation, partitions, projector.0],
        )
        .map_err(storage)?;
    for partition in 0..partitions {
        transaction
            .execute(
                "INSERT INTO checkpoints VALUES (?1, ?2, ?3, ?4, 0, 0, 0)",
                rusqlite::params![partition, log_id.0, generation, projector.0],
            )
            .map_err(storage)?;
    }
    origin.families.iter().try_for_each(|family| note(transaction, family))
}

fn read_origin(connection: &Connection) -> Result<Made, ViewError> {
    connection
        .query_row("SELECT log_id, generation, partitions, projector FROM origin", [], |row| {
            Ok(Made {
                log_id: LogId(row.get(0)?),
                generation: row.get(1)?,
                partitions: row.get(2)?,
                projector: Digest(row.get(3)?),
            })
        })
        .map_err(storage)
}

fn read_checkpoints(connection: &Connection) -> Result<Vec<Checkpoint>, ViewError> {
    let mut select = connection
        .prepare_cached("SELECT epoch, next_offset, behind FROM checkpoints ORDER BY partition")
        .map_err(storage)?;
    let rows = select
        .query_map([], |row| {
            Ok(Checkpoint {
                epoch: row.get::<_, i64>(0)?.cast_unsigned(),
                next_offset: row.get::<_, i64>(1)?.cast_unsigned(),
                behind: row.get(2)?,
            })
        })
        .map_err(storage)?;
    rows.collect::<Result<_, _>>().map_err(storage)
}

impl ViewStore for SqliteStore {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, ViewError> {
        read_checkpoints(&self.writer())
    }

    fn behind(&self) -> Result<Vec<Behind>, ViewError> {
        behind(&self.writer(), &self.origin)
    }

    fn apply(&self, batches: &[ViewBatch]) -> Result<(), ViewError> {
        let mut connection = self.writer();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(storage)?;
        let mut writer = Writer::new(&transaction);
        let made = self.origin.base();
        for batch in batches {
            move_checkpoint(&transaction, &made, batch)?;
            batch.statements.iter().try_for_each(|statement| writer.execute(statement))?;
        }
        transaction.commit().map_err(storage)
    }

    fn tips(&self, streams: &[StreamId]) -> Result<Vec<Option<Tip>>, ViewError> {
        let connection = self.writer();
        let mut select = connection
            .prepare_cached(
                "SELECT version, hash FROM commands WHERE \"org\" = ?1 AND kind = ?2 AND id = ?3 ORDER BY \"offset\" DESC LIMIT 1",
            )
            .map_err(storage)?;
        streams
            .iter()
            .map(|stream| {
                select
                    .query_row([stream.org.as_str(), stream.kind.as_str(), stream.id.as_str()], |row| {
                        Ok(Tip {
                            version: row.get::<_, i64>(0)?.cast_unsigned(),
                            hash: Digest(row.get(1)?),
                        })
                    })
                    .optional()
                    .map_err(storage)
            })
            .collect()
    }

    fn parked(&self) -> Result<Vec<ParkedStream>, ViewError> {
        self.reading(|connection| {
            let mut select = connection
                .prepare_cached(
                    "SELECT \"org\" || '/' || kind || '/' || id, \"partition\", \"offset\", reason FROM parked_streams ORDER BY 2, 3",
                )
                .map_err(storage)?;
            let mut rows = select.query([]).map_err(storage)?;
            let mut out = Vec::new();
            while let Some(row) = rows.next().map_err(storage)? {
                let stream: String = row.get(0).map_err(storage)?;
                out.push(ParkedStream {
                    stream: stream
                        .parse()
                        .map_err(|e: quipu_schemas::ids::BadId| ViewError::Storage(e.to_string()))?,
                    partition: row.get(1).map_err(storage)?,
                    offset: row.get::<_, i64>(2).map_err(storage)?.cast_unsigned(),
                    reason: row.get(3).map_err(storage)?,
                });
            }
            Ok(out)
        })
    }

    fn list(&self, view: View, org: &OrgId, query: &Query) -> Result<Page, ViewError> {
        let (select, paging) = query::list(view, org, query)?;
        self.reading(|connection| {
            let rows = Self::rows(connection, &select, PAGE_MAX_BYTES)?;
            query::page(view, &paging, rows, self.cursor_of(connection)?)
        })
    }

    fn get(&self, view: View, org: &OrgId, key: &[&str]) -> Result<Found, ViewError> {
        let select = query::get(view, org, key)?;
        self.reading(|connection| {
            let row = match &select {
                Some(select) => Self::rows(connection, select, usize::MAX)?
                    .pop()
                    .map(|row| query::show(view, row))
                    .transpose()?,
                None => None,
            };
            Ok(Found {
                row,
                cursor: self.cursor_of(connection)?,
            })
        })
    }

    fn count(&self, view: View, org: &OrgId, by: &[&'static str]) -> Result<Counted, ViewError> {
        let select = query::count(view, org, by);
        self.reading(|connection| query::counted(Self::rows(connection, &select, usize::MAX)?, self.cursor_of(connection)?))
    }

    fn orgs_of(&self, principal: &PrincipalId, most: usize) -> Result<Option<Vec<OrgId>>, ViewError> {
        let select = query::orgs_of(principal, most);
        self.reading(|connection| query::orgs_found(Self::rows(connection, &select, usize::MAX)?).map(Some))
    }

    fn is_whole(&self) -> Result<bool, ViewError> {
        let mark: i64 = self.writer().pragma_query_value(None, WHOLE, |row| row.get(0)).map_err(storage)?;
        Ok(mark == 1)
    }

    fn set_whole(&self) -> Result<(), ViewError> {
        set(&self.writer(), WHOLE, "1", "1")
    }

    fn cursor(&self) -> Result<Cursor, ViewError> {
        self.reading(|connection| self.cursor_of(connection))
    }

    fn digests(&self, of: DigestOf) -> Result<Digests, ViewError> {
        self.reading(|connection| {
            let digest = |table: &'static crate::table::Table| {
                let (columns, key) = row_digest::columns(table, of);
                let sql = format!("SELECT {} FROM {} ORDER BY {}", columns.join(", "), table.name, key.join(", "));
                let mut digest = RowDigest::default();
                let mut select = connection.prepare(&sql).map_err(storage)?;
                let mut rows = select.query([]).map_err(storage)?;
                while let Some(row) = rows.next().map_err(storage)? {
                    for n in 0..columns.len() {
                        digest.add(&value_of(row.get_ref(n).map_err(storage)?)?);
                    }
                }
                Ok((table.name, digest.finish()))
            };
            self.origin.families.tables().map(digest).collect()
        })
    }
}
