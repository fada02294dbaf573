//! A directory of SQLite databases, of which the file `current` names one. Losing the directory loses nothing.

use crate::{
    error::ViewError,
    shelf::{Placed, Shelf},
    sqlite::SqliteStore,
    store::Origin,
};
use quipu_schemas::digest::Digest;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

const CURRENT: &str = "current";

fn io_error(path: &Path) -> impl Fn(io::Error) -> ViewError + '_ {
    move |e| ViewError::Storage(format!("{}: {e}", path.display()))
}

/// The directory. A database is named by the hash of what it is made from and by.
pub struct Directory(PathBuf);

impl Directory {
    /// A shelf in this directory, which is made if absent.
    pub fn new(path: &Path) -> Result<Self, ViewError> {
        fs::create_dir_all(path).map_err(io_error(path))?;
        Ok(Self(path.to_owned()))
    }

    fn placed(&self, name: &str, origin: Origin) -> Result<Placed, ViewError> {
        Ok(Placed {
            name: name.to_owned(),
            store: Arc::new(SqliteStore::open(&self.0.join(name), origin)?),
            guard: None,
        })
    }
}

impl Shelf for Directory {
    fn open(&self, origin: Origin) -> Result<Placed, ViewError> {
        let current = fs::read_to_string(self.0.join(CURRENT)).ok();
        let current = current.filter(|name| self.0.join(name.trim()).is_file());
        let placed = match current.and_then(|name| self.placed(name.trim(), origin).ok()) {
            Some(current) => current,
            None => self.beside(origin)?,
        };
        self.switch(&placed)?;
        self.sweep(&placed.name);
        Ok(placed)
    }

    fn beside(&self, origin: Origin) -> Result<Placed, ViewError> {
        let version = Digest::of(&[&origin.log_id.0, &origin.generation.to_be_bytes(), &origin.families.version().0]).to_string();
        let free = (0u32..)
            .map(|n| format!("views-{}-{n}.db", &version[..12]))
            .find(|name| !self.0.join(name).exists());
        self.placed(&free.ok_or_else(|| ViewError::Storage("no file name is free".into()))?, origin)
    }

    fn switch(&self, to: &Placed) -> Result<(), ViewError> {
        let (new, current) = (self.0.join("current.new"), self.0.join(CURRENT));
        if fs::read_to_string(&current).is_ok_and(|there| there == to.name) {
            return Ok(());
        }
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(to.name.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &current)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(io_error(&current))
    }

    /// Readers that still hold a deleted database keep their open files.
    fn sweep(&self, current: &str) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_views = path.extension().is_some_and(|e| e == "db") && name.starts_with("views-");
            if is_views && name != current {
                remove(&path);
            }
        }
    }

    fn discard(&self, placed: Placed) {
        let path = self.0.join(&placed.name);
        drop(placed);
        remove(&path);
    }

    /// A data directory has one process.
    fn has_moved(&self, _: &str, _: Origin) -> Result<bool, ViewError> {
        Ok(false)
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
