//! The disk as the log sees it: a narrow port, the real file system, and a simulated one that fails on command.
//!
//! 1. Bytes written are visible to later reads through any handle at once, and durable only after
//!    [`DiskFile::sync_data`] returned without an error.
//! 2. A failed sync says nothing about what is durable, and a later one that succeeds says nothing about the bytes of
//!    the failed one: whoever sees the error abandons the handle.
//! 3. A created, renamed or removed name is durable only after [`Disk::sync_dir`] of its directory.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

mod overlay;
mod real;
mod sim;

pub use overlay::Overlay;
pub use real::{RealDisk, locked_by};
pub use sim::{FaultCounts, Faults, SimDisk};

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes at a position, growing the file where needed.
    fn write_all_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Makes the file's bytes and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends the file (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Extends the file to `len` zero bytes with the space behind them allocated; `StorageFull` if there is none.
    fn reserve(&self, len: u64) -> io::Result<()>;
}

/// Held for as long as a data directory is used.
pub trait DiskLock: Send + Sync {
    /// Whether it still keeps others away from the directory; why not, where it does not: names can be removed and replaced
    /// under whoever holds them open.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Why a directory is not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("held by {0}")]
    Held(String),
    /// The storage failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, cutting an existing one to nothing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a directory and its parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Files (not directories) of a directory, sorted; none if it does not exist.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Locks a file for this process, noting `holder` in it; given back when the lock is dropped.
    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn DiskLock>, LockError>;
}

/// Reads a whole file.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open_read(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes a file beside its name, syncs it and renames it into place: after a crash the old bytes or the new.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let file = disk.create(&draft)?;
    file.write_all_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&draft, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
