//! A file system that is only read: whatever is changed stays in memory, and goes with it.
//!
//! A log is opened over it to be read where it is, also on read-only storage: opening drops what a crash tore and makes
//! sidecars, and none of that may reach a backup or the evidence of a crash.

use super::{Disk, DiskFile, DiskLock, LockError};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Changes are kept in pieces of this size.
const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// Another file system with changes in memory over it.
pub struct Overlay<D> {
    below: D,
    /// Files that were changed, made or (`None`) removed.
    changed: Mutex<BTreeMap<PathBuf, Option<Arc<OverlayFile>>>>,
}

impl<D: Disk> Overlay<D> {
    /// Over `below`, unchanged.
    pub fn new(below: D) -> Self {
        Self {
            below,
            changed: Mutex::default(),
        }
    }

    fn changed(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<OverlayFile>>>> {
        self.changed.lock()
    }

    /// The file as it may be changed.
    fn file(&self, path: &Path) -> io::Result<Arc<OverlayFile>> {
        let mut changed = self.changed();
        match changed.get(path) {
            Some(Some(file)) => Ok(file.clone()),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => {
                let file = Arc::new(OverlayFile::over(self.below.open_read(path)?)?);
                changed.insert(path.to_owned(), Some(file.clone()));
                Ok(file)
            }
        }
    }
}

struct OverlayFile {
    below: Option<Arc<dyn DiskFile>>,
    content: Mutex<Content>,
}

struct Content {
    len: u64,
    /// How much of the file below still counts.
    kept: u64,
    /// By the place of their first byte.
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl OverlayFile {
    fn over(below: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self::new(Some(below), len))
    }

    fn new(below: Option<Arc<dyn DiskFile>>, len: u64) -> Self {
        let content = Content {
            len,
            kept: len,
            pages: BTreeMap::new(),
        };
        Self {
            below,
            content: Mutex::new(content),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock()
    }

    /// A page as it is now.
    fn page(&self, content: &Content, at: u64) -> io::Result<Box<[u8]>> {
        if let Some(page) = content.pages.get(&at) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE_BYTES].into_boxed_slice();
        if let Some(below) = &self.below {
            let kept = content.kept.saturating_sub(at).min(PAGE);
            below.read_at(at, &mut page[..usize::try_from(kept).unwrap_or(PAGE_BYTES)])?;
        }
        Ok(page)
    }
}

/// The page that holds this byte, and the byte's place in it.
fn place(at: u64) -> (u64, usize) {
    (at - at % PAGE, usize::try_from(at % PAGE).unwrap_or_default())
}

impl DiskFile for OverlayFile {
    fn write_all_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        let mut done = 0;
        while done < bytes.len() {
            let (first, within) = place(at + done as u64);
            let mut page = self.page(&content, first)?;
            let part = (PAGE_BYTES - within).min(bytes.len() - done);
            page[within..within + part].copy_from_slice(&bytes[done..done + part]);
            content.pages.insert(first, page);
            done += part;
        }
        content.len = content.len.max(at + bytes.len() as u64);
        Ok(())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let content = self.content();
        let whole = usize::try_from(content.len.saturating_sub(at)).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        while done < whole {
            let (first, within) = place(at + done as u64);
            let part = (PAGE_BYTES - within).min(whole - done);
            let page = self.page(&content, first)?;
            buf[done..done + part].copy_from_slice(&page[within..within + part]);
            done += part;
        }
        Ok(whole)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content();
        if len < content.len {
            let (last, within) = place(len);
            let mut page = self.page(&content, last)?;
            page[within..].fill(0);
            drop(content.pages.split_off(&last));
            content.pages.insert(last, page);
            content.kept = content.kept.min(last);
        }
        content.len = len;
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut content = self.content();
        content.len = content.len.max(len);
        Ok(())
    }
}

/// Keeps nobody away: nothing of the directory is changed.
struct NoLock;

impl DiskLock for NoLock {}

impl<D: Disk> Disk for Overlay<D> {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path)?)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.changed().get(path) {
            Some(Some(file)) => Ok(file.clone()),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => self.below.open_read(path),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(OverlayFile::new(None, 0));
        self.changed().insert(path.to_owned(), Some(file.clone()));
        Ok(file)
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.file(from)?;
        let mut changed = self.changed();
        changed.insert(from.to_owned(), None);
        changed.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.open_read(path)?;
        self.changed().insert(path.to_owned(), None);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names: std::collections::BTreeSet<PathBuf> = self.below.list(dir)?.into_iter().collect();
        for (path, file) in self.changed().iter().filter(|(path, _)| path.parent() == Some(dir)) {
            match file {
                Some(_) => names.insert(path.clone()),
                None => names.remove(path),
            };
        }
        Ok(names.into_iter().collect())
    }

    fn lock(&self, _: &Path, _: &str) -> Result<Box<dyn DiskLock>, LockError> {
        Ok(Box::new(NoLock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, read_all, replace};
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Change {
        Write(u64, Vec<u8>),
        Cut(u64),
        Grow(u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        let at = 0..3 * PAGE;
        prop_oneof![
            (at.clone(), proptest::collection::vec(any::<u8>(), 1..6000)).prop_map(|(at, bytes)| Change::Write(at, bytes)),
            at.clone().prop_map(Change::Cut),
            at.prop_map(Change::Grow),
        ]
    }

    fn make(file: &dyn DiskFile, change: &Change) {
        match change {
            Change::Write(at, bytes) => file.write_all_at(*at, bytes),
            Change::Cut(len) => file.set_len(*len),
            Change::Grow(len) => file.reserve(*len),
        }
        .unwrap();
    }

    proptest! {
        #[test]
        fn changes_read_as_on_a_disk_and_leave_it_alone(
            first in proptest::collection::vec(any::<u8>(), 0..9000),
            changes in proptest::collection::vec(change(), 0..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (path, model) = (dir.path().join("file"), dir.path().join("model"));
            std::fs::write(&path, &first).unwrap();
            std::fs::write(&model, &first).unwrap();
            let overlay = Overlay::new(RealDisk);
            let (file, real) = (overlay.open(&path).unwrap(), RealDisk.open(&model).unwrap());
            for change in &changes {
                make(file.as_ref(), change);
                make(real.as_ref(), change);
                prop_assert_eq!(read_all(&overlay, &path).unwrap(), std::fs::read(&model).unwrap());
            }
            prop_assert_eq!(std::fs::read(&path).unwrap(), first);
        }
    }

    #[test]
    fn names_change_in_memory_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a", "b"] {
            std::fs::write(at(name), name).unwrap();
        }
        let overlay = Overlay::new(RealDisk);
        overlay.remove(&at("b")).unwrap();
        replace(&overlay, &at("c"), b"new").unwrap();
        overlay.rename(&at("a"), &at("d")).unwrap();
        assert_eq!(overlay.list(dir.path()).unwrap(), [at("c"), at("d")]);
        assert_eq!(read_all(&overlay, &at("d")).unwrap(), b"a");
        assert!(overlay.open(&at("a")).is_err() && overlay.open_read(&at("b")).is_err() && overlay.remove(&at("b")).is_err());
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [at("a"), at("b")]);
    }
}
