//! The port of a disk, on the simulated one.

use super::super::{Disk, DiskFile, DiskLock, LockError};
use super::{Change, Inode, SimDisk, SimFile, SimLock, apply, missing};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

impl DiskFile for SimFile {
    fn write_all_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.boot, "write", |state| state.name_of(self.inode))?;
        let at = at as usize;
        if let Err(e) = state.room(self.inode, at + bytes.len()) {
            // As a real disk may: what fitted is there.
            let fits = (state.faults.capacity_bytes.unwrap_or(0).saturating_sub(state.used()) as usize).min(bytes.len());
            self.push(
                &mut state,
                Change::Write {
                    at,
                    bytes: bytes[..fits].to_vec(),
                },
            );
            return Err(e);
        }
        if std::mem::take(&mut state.faults.fail_next_write) {
            state.counts.writes_failed += 1;
            let part = state.random() as usize % (bytes.len() + 1);
            self.push(
                &mut state,
                Change::Write {
                    at,
                    bytes: bytes[..part].to_vec(),
                },
            );
            return Err(io::Error::other("simulated write error"));
        }
        self.push(&mut state, Change::Write { at, bytes: bytes.to_vec() });
        Ok(())
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        state.alive(self.boot)?;
        let current = &state.inodes[&self.inode].current;
        let from = (at as usize).min(current.len());
        let len = buf.len().min(current.len() - from);
        buf[..len].copy_from_slice(&current[from..from + len]);
        Ok(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.boot, "sync", |state| state.name_of(self.inode))?;
        if std::mem::take(&mut state.faults.fail_next_sync) {
            state.counts.syncs_failed += 1;
            // The kernel marks the pages clean: the next sync of this file succeeds without them.
            state.settle(self.inode);
            return Err(io::Error::other("simulated sync error"));
        }
        let inode = state.inodes.get_mut(&self.inode).expect("an inode");
        for change in std::mem::take(&mut inode.pending) {
            apply(&mut inode.durable, &change);
        }
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.boot)?;
        Ok(state.inodes[&self.inode].current.len() as u64)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.boot, "cut", |state| state.name_of(self.inode))?;
        self.push(&mut state, Change::Len(len as usize));
        Ok(())
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.boot, "reserve", |state| state.name_of(self.inode))?;
        state.room(self.inode, len as usize)?;
        if state.inodes[&self.inode].current.len() < len as usize {
            self.push(&mut state, Change::Len(len as usize));
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.alive(state.boot)?;
        let inode = *state.names.get(path).ok_or_else(|| missing(path))?;
        Ok(self.handle(inode, state.boot))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let boot = state.boot;
        state.change(boot, "create", |_| path.to_owned())?;
        let id = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(id, Inode::default());
        state.names.insert(path.to_owned(), id);
        Ok(self.handle(id, boot))
    }
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        let state = self.state();
        state.alive(state.boot)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let boot = state.boot;
        state.change(boot, "sync names in", |_| path.to_owned())?;
        let names: BTreeSet<PathBuf> = state
            .names
            .keys()
            .chain(state.durable_names.keys())
            .filter(|n| n.parent() == Some(path))
            .cloned()
            .collect();
        for name in names {
            match state.names.get(&name).copied() {
                Some(inode) => state.durable_names.insert(name, inode),
                None => state.durable_names.remove(&name),
            };
        }
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let boot = state.boot;
        state.change(boot, "rename to", |_| to.to_owned())?;
        let inode = state.names.remove(from).ok_or_else(|| missing(from))?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let boot = state.boot;
        state.change(boot, "remove", |_| path.to_owned())?;
        state.names.remove(path).map(|_| ()).ok_or_else(|| missing(path))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.alive(state.boot)?;
        Ok(state.names.keys().filter(|n| n.parent() == Some(dir)).cloned().collect())
    }
    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn DiskLock>, LockError> {
        let mut state = self.state();
        state.alive(state.boot)?;
        if let Some(who) = state.locks.get(path) {
            return Err(LockError::Held(who.clone()));
        }
        state.locks.insert(path.to_owned(), holder.to_owned());
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
            boot: state.boot,
        }))
    }
}
