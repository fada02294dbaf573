//! The views of a node: a directory of SQLite databases, of which one is current.
//!
//! A database is named by the hash of the projector that makes it. A changed projector, a restored log or a rebuild makes
//! a new one beside the current one; when it has caught up, the file `current` is replaced atomically and readers move
//! over. Losing the directory loses nothing.

use crate::{
    error::ViewError,
    follower::{Follower, Round},
    progress::Progress,
    query::{Found, Page, Query},
    sqlite::SqliteStore,
    store::{Origin, ViewStore},
    verify::{self, Verdict},
    view::View,
};
use quipu_events::port::Log;
use quipu_schemas::{digest::Digest, ids::OrgId};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

const CURRENT: &str = "current";

/// The views of a node.
pub struct Views {
    directory: Option<PathBuf>,
    store: RwLock<Arc<dyn ViewStore>>,
    progress: Arc<Progress>,
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> ViewError + '_ {
    move |e| ViewError::Storage(format!("{}: {e}", path.display()))
}

impl Views {
    /// Opens the current views in `directory`. Where there are none of this origin (none at all, another projector,
    /// log or generation, a database that does not open), new ones begin empty and become current at once.
    pub fn open(directory: &Path, origin: Origin) -> Result<Self, ViewError> {
        fs::create_dir_all(directory).map_err(io_error(directory))?;
        let current = fs::read_to_string(directory.join(CURRENT))
            .ok()
            .map(|name| directory.join(name.trim()));
        let current = current
            .filter(|path| path.is_file())
            .and_then(|path| Some((SqliteStore::open(&path, origin).ok()?, path)));
        let (store, path) = match current {
            Some(current) => current,
            None => Self::beside(directory, origin)?,
        };
        point(directory, &path)?;
        sweep(directory, &path);
        Self::over(Arc::new(store), Some(directory.to_owned()))
    }

    /// Views over a store of the caller's, such as one in memory.
    pub fn of_store(store: Arc<dyn ViewStore>) -> Result<Self, ViewError> {
        Self::over(store, None)
    }

    fn over(store: Arc<dyn ViewStore>, directory: Option<PathBuf>) -> Result<Self, ViewError> {
        let progress = Arc::new(Progress::new(store.cursor()?));
        Ok(Self {
            directory,
            store: RwLock::new(store),
            progress,
        })
    }

    /// An empty database under a name that is free.
    fn beside(directory: &Path, origin: Origin) -> Result<(SqliteStore, PathBuf), ViewError> {
        let version = Digest::of(&[&origin.log_id.0, &origin.generation.to_be_bytes(), &origin.projector.0]).to_string();
        let free = (0u32..)
            .map(|n| directory.join(format!("views-{}-{n}.db", &version[..12])))
            .find(|path| !path.exists());
        let path = free.ok_or_else(|| ViewError::Storage("no file name is free".into()))?;
        Ok((SqliteStore::open(&path, origin)?, path))
    }

    /// The store that answers now.
    pub fn store(&self) -> Arc<dyn ViewStore> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far the views are; shared with whoever waits.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// A follower of the store that answers now. After [`Views::rebuild`] another one is needed:
    /// see [`Views::is_current`].
    pub fn follower(&self, log: &dyn Log) -> Result<Follower, ViewError> {
        Follower::new(log, self.store())
    }

    /// Whether `follower` writes the store that answers now.
    pub fn is_current(&self, follower: &Follower) -> bool {
        Arc::ptr_eq(follower.store(), &self.store())
    }

    /// Makes new views from zero beside the current ones, which go on answering (and being written); `tick` is called
    /// after each round with the records so far, and stops the rebuild by returning false. When the new ones have
    /// caught up they become current and the old database is deleted. A stopped partition is an error: half of the
    /// views would be worse than old ones.
    pub fn rebuild(&self, log: &dyn Log, tick: &mut dyn FnMut(u64) -> bool) -> Result<Round, ViewError> {
        let origin = Origin::of(&log.meta());
        let (store, path): (Arc<dyn ViewStore>, _) = match &self.directory {
            Some(directory) => {
                let (store, path) = Self::beside(directory, origin)?;
                (Arc::new(store), Some(path))
            }
            None => (Arc::new(SqliteStore::in_memory(origin)?), None),
        };
        let partitions: Vec<u16> = (0..origin.partitions).collect();
        let mut follower = Follower::new(log, store.clone())?;
        let apart = Progress::new(store.cursor()?);
        let mut records = 0;
        let result = loop {
            let round = match follower.round(log, &partitions, &apart) {
                Ok(round) => round,
                Err(error) => break Err(error),
            };
            records += round.records;
            if let Some(stop) = round.stopped.first() {
                break Err(ViewError::Stopped {
                    partition: stop.partition,
                    offset: stop.offset,
                    why: stop.why.to_string(),
                });
            }
            if round.caught_up {
                break Ok(Round { records, ..round });
            }
            if !tick(records) {
                break Err(ViewError::Storage("the rebuild was called off".into()));
            }
        };
        match (&result, &self.directory, &path) {
            (Ok(_), Some(directory), Some(path)) => point(directory, path)?,
            (Err(_), _, Some(path)) => {
                drop(store);
                drop(follower);
                remove(path);
                return result;
            }
            _ => {}
        }
        if result.is_ok() {
            let cursor = store.cursor()?;
            *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
            self.progress.set(cursor);
            if let (Some(directory), Some(path)) = (&self.directory, &path) {
                sweep(directory, path);
            }
        }
        result
    }

    /// Compares the views with a rebuild from zero in memory.
    pub fn verify(&self, log: &dyn Log) -> Result<Verdict, ViewError> {
        let store = self.store();
        let side: Arc<dyn ViewStore> = Arc::new(SqliteStore::in_memory(store.origin())?);
        verify::verify(log, &*store, &side)
    }

    /// A page of a view's rows within an org.
    pub fn list(&self, view: View, org: &OrgId, query: &Query) -> Result<Page, ViewError> {
        self.store().list(view, org, query)
    }

    /// One row of a view, by [`View::named_by`].
    pub fn get(&self, view: View, org: &OrgId, key: &[&str]) -> Result<Found, ViewError> {
        self.store().get(view, org, key)
    }
}

/// Makes `path` the current database, atomically and durably.
fn point(directory: &Path, path: &Path) -> Result<(), ViewError> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let (new, current) = (directory.join("current.new"), directory.join(CURRENT));
    if fs::read_to_string(&current).is_ok_and(|there| there == name) {
        return Ok(());
    }
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(name.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &current)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(io_error(&current))
}

/// Deletes databases that are not current; readers that still hold one keep their open files.
fn sweep(directory: &Path, current: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_views = path.extension().is_some_and(|e| e == "db") && entry.file_name().to_string_lossy().starts_with("views-");
        if is_views && path != current {
            remove(&path);
        }
    }
}

/// Deletes a database with its side files; what cannot be deleted now is swept at the next start.
fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(PathBuf::from(name));
    }
}
