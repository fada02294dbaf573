//! The machine's own file system.

use super::{Disk, DiskFile, DiskLock, LockError};
use parking_lot::Mutex;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_all_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        // Nothing is there already, and the system refuses to be asked for it.
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // A file system that cannot reserve still gets its length; then a write may meet a full disk.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.0.set_len(len),
            Err(e) => Err(e.into()),
        }
    }
}

/// The directory's own descriptor is locked as well as the file in it: a file can be removed and made again, and then two
/// processes each hold a lock of that name.
struct RealLock {
    /// `None` on a file system that locks no directories.
    dir: Option<File>,
    path: PathBuf,
    holder: String,
    file: Mutex<File>,
}

impl DiskLock for RealLock {
    fn check(&self) -> Result<(), String> {
        if let Some(dir) = &self.dir
            && !is_at(dir, parent(&self.path))
        {
            return Err(format!("{} was moved or replaced", parent(&self.path).display()));
        }
        let mut file = self.file.lock();
        if is_at(&file, &self.path) {
            return Ok(());
        }
        match lock_file(&self.path, &self.holder) {
            // Nobody could come in between: the directory was locked all the time.
            Ok(again) if self.dir.is_some() => *file = again,
            Err(LockError::Io(_)) if self.dir.is_some() => {}
            Ok(_) | Err(LockError::Io(_)) => return Err(format!("{} was removed or replaced", self.path.display())),
            Err(LockError::Held(holder)) => {
                return Err(format!("{} was removed, and then locked by {holder}", self.path.display()));
            }
        }
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether this open file is what the path names now.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn holder_of(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(who) if !who.is_empty() => who,
        _ => "another process".into(),
    }
}

fn lock_file(path: &Path, holder: &str) -> Result<File, LockError> {
    /// A file is removed between being opened and being locked about never, and never so often in a row.
    const ATTEMPTS: usize = 8;
    for _ in 0..ATTEMPTS {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => {
                file.set_len(0)?;
                file.write_all(holder.as_bytes())?;
                return Ok(file);
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder_of(path))),
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
    }
    Err(io::Error::other(format!("{} is removed again and again", path.display())).into())
}

/// Who holds the lock of that name or its directory, if anybody does; writes nothing, so that it can be asked of a copy on
/// read-only storage.
pub fn locked_by(path: &Path) -> Option<String> {
    [path, parent(path)].into_iter().find_map(|at| {
        let file = File::open(at).ok()?;
        matches!(file.try_lock(), Err(TryLockError::WouldBlock)).then(|| holder_of(path))
    })
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(path)?)))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?,
        )))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn DiskLock>, LockError> {
        let dir = File::open(parent(path))?;
        let dir = match dir.try_lock() {
            Ok(()) => Some(dir),
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder_of(path))),
            Err(TryLockError::Error(_)) => None,
        };
        Ok(Box::new(RealLock {
            dir,
            path: path.to_owned(),
            holder: holder.to_owned(),
            file: Mutex::new(lock_file(path, holder)?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_cut_extended_and_reserved_to_a_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("a")).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_all_at(3, b"abc").unwrap();
        assert!(!file.is_empty().unwrap());
        file.reserve(10_000).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        file.set_len(5).unwrap();
        file.set_len(8).unwrap();
        let mut bytes = [9; 20];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), 8);
        assert_eq!(&bytes[..9], b"\0\0\0ab\0\0\0\x09", "what was cut off is zero");
        assert_eq!(file.read_at(4, &mut bytes[..1]).unwrap(), 1);
        assert_eq!(file.read_at(9, &mut bytes).unwrap(), 0);
    }

    #[test]
    fn removed_lock_file_keeps_others_out_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(locked_by(&path), None);
        assert!(!path.exists(), "asking makes no file");
        let lock = RealDisk.lock(&path, "the first").unwrap();
        assert_eq!(locked_by(&path).as_deref(), Some("the first"));
        std::fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            assert!(matches!(RealDisk.lock(&path, "the second"), Err(LockError::Held(_))));
        }
        assert!(locked_by(&path).is_some());
        assert_eq!(lock.check(), Ok(()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the first");
        drop(lock);
        assert!(RealDisk.lock(&path, "the second").is_ok());
    }

    #[test]
    fn lock_that_others_hold_by_now_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = RealDisk.lock(&path, "the first").unwrap();
        std::fs::remove_file(&path).unwrap();
        // As a process does that locks only the file.
        let other = lock_file(&path, "the second").unwrap();
        assert!(lock.check().unwrap_err().contains("the second"));
        drop(other);
        assert_eq!(lock.check(), Ok(()));
    }

    #[test]
    fn replaced_directory_is_a_lost_lock() {
        let root = tempfile::tempdir().unwrap();
        let (dir, away) = (root.path().join("data"), root.path().join("away"));
        std::fs::create_dir(&dir).unwrap();
        let lock = RealDisk.lock(&dir.join("lock"), "the first").unwrap();
        std::fs::rename(&dir, &away).unwrap();
        assert!(lock.check().unwrap_err().contains("moved or replaced"));
        std::fs::create_dir(&dir).unwrap();
        assert!(lock.check().is_err());
        std::fs::remove_dir(&dir).unwrap();
        std::fs::rename(&away, &dir).unwrap();
        assert_eq!(lock.check(), Ok(()));
    }

    #[test]
    fn missing_directory_is_empty_and_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (file, inner) = (dir.path().join("a"), dir.path().join("b"));
        RealDisk.create(&file).unwrap();
        RealDisk.create_dir_all(&inner).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [dir.path().join("a")], "files only");
        assert_eq!(RealDisk.list(&dir.path().join("c")).unwrap(), Vec::<PathBuf>::new());
        assert!(RealDisk.list(&file).is_err());
    }
}
