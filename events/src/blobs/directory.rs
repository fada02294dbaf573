//! Blobs in the node's data directory.
//!
//! Small ones are rows of one SQLite file, large ones files of their own: a file, a name in a directory and a sync of each
//! for every value of a few KiB would cost more than the value. One thread writes: what queued while it waited for the
//! disk goes into its next transaction, so that a sync is shared. The file is truth, not a cache: it is written with
//! `synchronous=FULL`, and every blob is checked against its name when it is read.
//!
//! ```text
//! blobs/packed.sqlite            names, sizes, times; bytes of blobs up to `BLOB_PACKED_MAX_BYTES`
//! blobs/large/{org}/{2 hex}/{hex}   one larger blob
//! ```
//! A large file is synced, and its name too, before the row that lists it is committed; a file without a row is what a
//! crash left, and goes at the next start.

mod writer;

use super::{BlobError, Blobs, Listed, Page, checked, names_of};
use parking_lot::Mutex;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::OrgId,
    limits::{BLOB_BUSY_MS, BLOB_PAGE_MAX, BLOB_QUEUE_MAX, BLOB_READERS},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};
use writer::Writer;

const PACKED_FILE: &str = "packed.sqlite";
const LARGE_DIR: &str = "large";

type Answer = SyncSender<Result<(), BlobError>>;

/// Blobs of one org with their names, and who waits for them.
type Putting = (OrgId, Vec<(Digest, Vec<u8>)>, Answer);

enum Job {
    Put(OrgId, Vec<(Digest, Vec<u8>)>, Answer),
    Delete(OrgId, Vec<Digest>, Answer),
}

/// A store in a directory.
pub struct DirectoryBlobs {
    place: Arc<Place>,
    jobs: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Mutex<Vec<Connection>>,
}

struct Place {
    root: PathBuf,
}

impl Place {
    fn lost(&self, detail: impl std::fmt::Display) -> BlobError {
        BlobError::Unreachable {
            place: self.root.display().to_string(),
            detail: detail.to_string(),
        }
    }

    /// Why nothing was written: a full disk is told apart, since more room is all that helps.
    fn not_written(&self, error: &(dyn std::error::Error + 'static)) -> BlobError {
        let by_file = error
            .downcast_ref::<io::Error>()
            .is_some_and(|e| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded));
        let by_rows = error
            .downcast_ref::<rusqlite::Error>()
            .is_some_and(|e| e.sqlite_error_code() == Some(ErrorCode::DiskFull));
        if by_file || by_rows {
            let place = self.root.display().to_string();
            return BlobError::Full { place };
        }
        self.lost(error)
    }

    fn org_dir(&self, org: &OrgId) -> PathBuf {
        self.root.join(LARGE_DIR).join(org.as_str())
    }

    fn file(&self, org: &OrgId, name: &Digest) -> PathBuf {
        let hex = name.to_string();
        self.org_dir(org).join(&hex[..2]).join(hex)
    }

    /// A connection to a file that nobody writes: without locks, and without what a journal beside it says.
    fn frozen(&self) -> rusqlite::Result<Connection> {
        let uri = format!("file:{}?immutable=1", self.root.join(PACKED_FILE).display());
        Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(self.root.join(PACKED_FILE), flags)?;
        connection.busy_timeout(Duration::from_millis(BLOB_BUSY_MS))?;
        Ok(connection)
    }
}

impl DirectoryBlobs {
    /// Opens or makes a store in `root`.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let place = Arc::new(Place { root: root.to_owned() });
        let connection = prepare(&place).map_err(|e| place.lost(e))?;
        sweep_left_over(&place, &connection).map_err(|e| place.lost(e))?;
        let (jobs, queue) = sync_channel(BLOB_QUEUE_MAX);
        let writing = Writer {
            place: place.clone(),
            connection,
        };
        let writer = std::thread::Builder::new()
            .name("quipu-blobs".into())
            .spawn(move || writing.run(&queue))
            .map_err(|e| place.lost(e))?;
        Ok(Self {
            place,
            jobs: Some(jobs),
            writer: Some(writer),
            readers: Mutex::default(),
        })
    }

    /// Ends writing for good: what is left can be read where nothing can be written.
    pub fn finish(self) -> Result<(), BlobError> {
        let place = self.place.clone();
        drop(self);
        let frozen = place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE);
        let frozen = frozen.and_then(|connection| connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())));
        frozen.map_err(|e| place.lost(e))
    }

    /// Opens a store that nobody writes, for reading alone: a backup, also on read-only media.
    pub fn open_to_read(root: &Path) -> Result<Self, BlobError> {
        let place = Arc::new(Place { root: root.to_owned() });
        let read = |connection: &Connection| connection.query_row("SELECT count(*) FROM blobs", [], |_| Ok(()));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let opened = place.connect(flags).and_then(|connection| read(&connection).map(|()| connection));
        // What cannot be locked cannot be written either, and is read as it is.
        let frozen = || place.frozen().and_then(|connection| read(&connection).map(|()| connection));
        let connection = opened.or_else(|_| frozen()).map_err(|e| place.lost(e))?;
        Ok(Self {
            place,
            jobs: None,
            writer: None,
            readers: Mutex::new(vec![connection]),
        })
    }

    /// Whether a directory holds a store, so that it need not be made to be read. A file without its table is what a crash left of
    /// a store that was being made: nothing was ever kept in it. A file that does not read is there, and opening it says why.
    pub fn is_there(root: &Path) -> bool {
        let place = Place { root: root.to_owned() };
        let has_table = |connection: Connection| {
            let table = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'blobs'";
            connection.query_row(table, [], |row| row.get::<_, i64>(0))
        };
        // What a crash left in the middle of its first change cannot be opened to be read, and is read as it is.
        let opened = place.connect(OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(has_table);
        let found = opened.or_else(|_| place.frozen().and_then(has_table));
        root.join(PACKED_FILE).is_file() && !matches!(found, Ok(0))
    }

    fn submit(&self, job: impl FnOnce(Answer) -> Job) -> Result<(), BlobError> {
        let (answer, answered) = sync_channel(1);
        let gone = || self.place.lost("its writer ended");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job(answer)).map_err(|_| gone())?;
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Runs a question on a connection of its own, kept for the next one.
    fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, rusqlite::Error> {
        let kept = self.readers.lock().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => self.place.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        let found = ask(&connection);
        let mut readers = self.readers.lock();
        if readers.len() < BLOB_READERS {
            readers.push(connection);
        }
        found
    }
}

impl Drop for DirectoryBlobs {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // Whoever waited was told of its panic.
            let _ = writer.join();
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch)
    ) || matches!(error, rusqlite::Error::InvalidColumnType(..))
}

impl Blobs for DirectoryBlobs {
    fn put(&self, org: &OrgId, blobs: &[Vec<u8>]) -> Result<Vec<Digest>, BlobError> {
        let names = names_of(blobs)?;
        if !names.is_empty() {
            let named = names.iter().copied().zip(blobs.iter().cloned()).collect();
            self.submit(|answer| Job::Put(org.clone(), named, answer))?;
        }
        Ok(names)
    }

    fn get(&self, org: &OrgId, name: &Digest) -> Result<Vec<u8>, BlobError> {
        let select = "SELECT bytes FROM blobs WHERE org = ?1 AND name = ?2";
        let found = self.read(|connection| {
            connection
                .prepare_cached(select)?
                .query_row(params![org.as_str(), name.0], |row| row.get::<_, Option<Vec<u8>>>(0))
                .optional()
        });
        match found {
            Ok(Some(Some(bytes))) => checked(name, bytes),
            Ok(Some(None)) => match read_file(&self.place.file(org, name)) {
                Ok(bytes) => checked(name, bytes),
                // Its row says that it is there.
                Err(e) if e.kind() == ErrorKind::NotFound => Err(BlobError::Damaged(*name)),
                Err(e) => Err(self.place.lost(e)),
            },
            Ok(None) => Err(BlobError::Missing(*name)),
            Err(e) if is_damage(&e) => Err(BlobError::Damaged(*name)),
            Err(e) => Err(self.place.lost(e)),
        }
    }

    fn delete(&self, org: &OrgId, names: &[Digest]) -> Result<(), BlobError> {
        self.submit(|answer| Job::Delete(org.clone(), names.to_vec(), answer))
    }

    fn list(&self, after: Option<&str>) -> Result<Page, BlobError> {
        // `org/hex`: no org holds a slash, and both order as they do in the file.
        let (org, name) = match after.map(|after| after.split_once('/').unwrap_or((after, ""))) {
            Some((org, hex)) => (org.to_owned(), hex.parse().unwrap_or(Digest::ZERO).0.to_vec()),
            None => (String::new(), Vec::new()),
        };
        let select = "SELECT org, name, size, stored_at FROM blobs WHERE (org, name) > (?1, ?2) ORDER BY org, name LIMIT ?3";
        let rows = self.read(|connection| {
            let mut select = connection.prepare_cached(select)?;
            let rows = select.query_map(params![org, name, BLOB_PAGE_MAX as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(String, [u8; 32], i64, i64)>>>()
        });
        let rows = rows.map_err(|e| self.place.lost(e))?;
        let is_full = rows.len() == BLOB_PAGE_MAX;
        let mut page = Page::default();
        for (org, name, bytes, stored_at) in rows {
            let org = OrgId::parse(org).map_err(|e| self.place.lost(e))?;
            let name = Digest(name);
            page.next = is_full.then(|| format!("{org}/{name}"));
            page.blobs.push(Listed {
                org,
                name,
                bytes: bytes as u64,
                stored_at: stored_at as Millis,
            });
        }
        Ok(page)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        self.place.root.display().to_string()
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte over the limit is enough to know that the file is not one of ours.
    File::open(path)?
        .take(quipu_schemas::limits::BLOB_MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn prepare(place: &Place) -> Result<Connection, Box<dyn std::error::Error>> {
    let large = place.root.join(LARGE_DIR);
    fs::create_dir_all(&large)?;
    let connection = place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // Given back page by page after a delete; must be said before the first table.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS blobs (org TEXT NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL,
             stored_at INTEGER NOT NULL, bytes BLOB);
         CREATE UNIQUE INDEX IF NOT EXISTS by_name ON blobs (org, name);",
    )?;
    sync_dir(&large)?;
    sync_dir(&place.root)?;
    if let Some(parent) = place.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    Ok(connection)
}

/// Removes the files of a crash: those that no row names.
fn sweep_left_over(place: &Place, connection: &Connection) -> Result<(), Box<dyn std::error::Error>> {
    let mut select = connection.prepare("SELECT 1 FROM blobs WHERE org = ?1 AND name = ?2 AND bytes IS NULL")?;
    for org in entries(&place.root.join(LARGE_DIR))? {
        let org_name = org.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for shard in entries(&org)? {
            for file in entries(&shard)? {
                let name = file.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok());
                let is_known = match name {
                    Some(name) => select.exists(params![org_name, name.0])?,
                    None => false,
                };
                if !is_known {
                    fs::remove_file(&file)?;
                }
            }
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests;
