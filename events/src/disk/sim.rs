//! A simulated disk: in memory, seeded, deterministic, and able to do what disks do.
//!
//! What is not synced may vanish at a crash sector by sector and in any order. The same seed and the same calls give
//! the same disk, byte for byte.

mod port;

use super::{DiskFile, DiskLock};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

const SECTOR: usize = 512;

/// What the disk will do to its user.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The next sync of a file fails; of its bytes a random part is lost for good, though reads still show them.
    pub fail_next_sync: bool,
    /// The next write of a file fails after a random part of it.
    pub fail_next_write: bool,
    /// The machine loses power before the n-th change from now (0: the next); every call fails until [`SimDisk::crash`].
    pub power_loss_after: Option<u64>,
    /// Bytes that all files together may take.
    pub capacity_bytes: Option<u64>,
}

/// How often each fault struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Crashes.
    pub crashes: u64,
    /// Sectors that a crash threw away.
    pub sectors_lost: u64,
    /// Unsynced sectors that survived a crash.
    pub sectors_kept: u64,
    /// Unsynced names that a crash threw away.
    pub names_lost: u64,
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Writes that failed.
    pub writes_failed: u64,
    /// Writes and reservations refused because the disk was full.
    pub full: u64,
    /// Bits flipped.
    pub bits_flipped: u64,
    /// Changes made (writes, syncs, renames…): the number of points at which power can fail.
    pub changes: u64,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Len(usize),
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Default)]
struct State {
    random: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    locks: BTreeMap<PathBuf, String>,
    /// Raised by a crash: handles of an earlier boot are dead.
    boot: u64,
    dead: bool,
    /// Before which change the power was lost last.
    lost_before: Option<String>,
    faults: Faults,
    counts: FaultCounts,
}

/// A simulated disk; clones share it.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

fn apply(to: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => {
            if to.len() < at + bytes.len() {
                to.resize(at + bytes.len(), 0);
            }
            to[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Change::Len(len) => to.resize(*len, 0),
    }
}

impl State {
    /// splitmix64: small, seeded, the same everywhere.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn alive(&self, boot: u64) -> io::Result<()> {
        if self.dead || boot != self.boot {
            Err(io::Error::other("simulated power loss"))
        } else {
            Ok(())
        }
    }

    fn name_of(&self, inode: u64) -> PathBuf {
        let name = self.names.iter().find(|(_, id)| **id == inode).map(|(name, _)| name.clone());
        name.unwrap_or_default()
    }

    fn change(&mut self, boot: u64, what: &str, file: impl FnOnce(&Self) -> PathBuf) -> io::Result<()> {
        self.alive(boot)?;
        if let Some(left) = &mut self.faults.power_loss_after {
            if *left == 0 {
                self.dead = true;
                let file = file(self);
                self.lost_before = Some(format!(
                    "{what} {}",
                    file.extension().or(file.file_name()).unwrap_or_default().to_string_lossy()
                ));
                return self.alive(boot);
            }
            *left -= 1;
        }
        self.counts.changes += 1;
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|id| self.inodes.get(id))
            .map(|i| i.current.len() as u64)
            .sum()
    }

    fn room(&mut self, inode: u64, len: usize) -> io::Result<()> {
        let Some(capacity) = self.faults.capacity_bytes else {
            return Ok(());
        };
        let grown = len.saturating_sub(self.inodes[&inode].current.len()) as u64;
        if grown > 0 && self.used() + grown > capacity {
            self.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Keeps a random part of what an inode's last sync did not cover.
    fn settle(&mut self, inode: u64) {
        let pending = std::mem::take(&mut self.inodes.get_mut(&inode).expect("an inode").pending);
        for change in pending {
            match change {
                Change::Write { at, bytes } => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                        if self.random().is_multiple_of(2) {
                            let kept = Change::Write {
                                at: at + from,
                                bytes: bytes[from..to].to_vec(),
                            };
                            apply(&mut self.inodes.get_mut(&inode).expect("an inode").durable, &kept);
                            self.counts.sectors_kept += 1;
                        } else {
                            self.counts.sectors_lost += 1;
                        }
                        from = to;
                    }
                }
                Change::Len(_) => {
                    if self.random().is_multiple_of(2) {
                        apply(&mut self.inodes.get_mut(&inode).expect("an inode").durable, &change);
                    }
                }
            }
        }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Changes what will go wrong.
    pub fn inject(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    /// What went wrong so far.
    pub fn counts(&self) -> FaultCounts {
        self.state().counts
    }

    /// Before which kind of change the power was lost, as `sync seg`; taken once.
    pub fn lost_before(&self) -> Option<String> {
        self.state().lost_before.take()
    }

    /// Power fails and comes back: of everything unsynced a random part survives, locks and handles are gone, and
    /// no further fault is armed (the capacity stays).
    pub fn crash(&self) {
        let mut state = self.state();
        state.counts.crashes += 1;
        for inode in state.inodes.keys().copied().collect::<Vec<_>>() {
            state.settle(inode);
        }
        let names: BTreeSet<PathBuf> = state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        for name in names {
            let (current, durable) = (state.names.get(&name).copied(), state.durable_names.get(&name).copied());
            if current != durable && state.random().is_multiple_of(2) {
                match current {
                    Some(inode) => state.durable_names.insert(name, inode),
                    None => state.durable_names.remove(&name),
                };
            } else if current != durable {
                state.counts.names_lost += 1;
            }
        }
        state.names = state.durable_names.clone();
        for inode in state.inodes.values_mut() {
            inode.current = inode.durable.clone();
        }
        state.locks.clear();
        state.boot += 1;
        state.dead = false;
        state.faults = Faults {
            capacity_bytes: state.faults.capacity_bytes,
            ..Faults::default()
        };
    }

    /// Flips one bit of a file, on the disk itself.
    pub fn flip(&self, path: &Path, bit: u64) {
        let mut state = self.state();
        let inode = state.names[path];
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        let inode = state.inodes.get_mut(&inode).expect("an inode");
        inode.current[byte] ^= mask;
        if let Some(durable) = inode.durable.get_mut(byte) {
            *durable ^= mask;
        }
        state.counts.bits_flipped += 1;
    }

    /// Every file with its bytes, for comparing two runs.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state
            .names
            .iter()
            .map(|(name, inode)| (name.clone(), state.inodes[inode].current.clone()))
            .collect()
    }

    /// Puts a file in place, durable at once.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let id = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(
            id,
            Inode {
                durable: bytes.clone(),
                current: bytes,
                pending: Vec::new(),
            },
        );
        state.names.insert(path.to_owned(), id);
        state.durable_names.insert(path.to_owned(), id);
    }

    fn handle(&self, inode: u64, boot: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            inode,
            boot,
        })
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    boot: u64,
}

impl SimFile {
    fn push(&self, state: &mut State, change: Change) {
        let inode = state.inodes.get_mut(&self.inode).expect("an inode");
        apply(&mut inode.current, &change);
        inode.pending.push(change);
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    boot: u64,
}
impl DiskLock for SimLock {}
impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

#[cfg(test)]
mod tests;
