//! Blobs that live and end with the process: for logs in memory, and for simulation.

use super::{BlobError, Blobs, Listed, Page, checked, names_of, wall_clock};
use parking_lot::{Mutex, MutexGuard};
use quipu_schemas::{context::Millis, digest::Digest, ids::OrgId};
use std::{collections::BTreeMap, sync::Arc};

type Kept = BTreeMap<(OrgId, Digest), (Millis, Arc<[u8]>)>;

/// A store in memory.
pub struct MemoryBlobs {
    kept: Mutex<Kept>,
    clock: Box<dyn Fn() -> Millis + Send + Sync>,
}

impl Default for MemoryBlobs {
    fn default() -> Self {
        Self::with_clock(wall_clock)
    }
}

impl MemoryBlobs {
    /// An empty store whose blobs are as old as this clock says.
    pub fn with_clock(clock: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self {
            kept: Mutex::default(),
            clock: Box::new(clock),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock()
    }

    /// Changes a byte of a blob, for tests; whether there was one.
    pub fn damage(&self, org: &OrgId, name: &Digest) -> bool {
        let mut kept = self.kept();
        let Some((_, bytes)) = kept.get_mut(&(org.clone(), *name)) else {
            return false;
        };
        let mut changed = bytes.to_vec();
        match changed.last_mut() {
            Some(byte) => *byte ^= 1,
            None => changed.push(0),
        }
        *bytes = changed.into();
        true
    }
}

impl Blobs for MemoryBlobs {
    fn put(&self, org: &OrgId, blobs: &[Vec<u8>]) -> Result<Vec<Digest>, BlobError> {
        let names = names_of(blobs)?;
        let now = (self.clock)();
        let mut kept = self.kept();
        for (name, bytes) in names.iter().zip(blobs) {
            kept.insert((org.clone(), *name), (now, bytes.as_slice().into()));
        }
        Ok(names)
    }

    fn get(&self, org: &OrgId, name: &Digest) -> Result<Vec<u8>, BlobError> {
        let found = self.kept().get(&(org.clone(), *name)).map(|(_, bytes)| bytes.clone());
        checked(name, found.ok_or(BlobError::Missing(*name))?.to_vec())
    }

    fn delete(&self, org: &OrgId, names: &[Digest]) -> Result<(), BlobError> {
        let mut kept = self.kept();
        for name in names {
            kept.remove(&(org.clone(), *name));
        }
        Ok(())
    }

    fn list(&self, _: Option<&str>) -> Result<Page, BlobError> {
        let mut page = Page::default();
        for ((org, name), (stored_at, bytes)) in self.kept().iter() {
            page.blobs.push(Listed {
                org: org.clone(),
                name: *name,
                bytes: bytes.len() as u64,
                stored_at: *stored_at,
            });
        }
        Ok(page)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        "memory".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::contract::{self, Subject};

    #[derive(Default)]
    struct Memory(Arc<MemoryBlobs>);

    impl Subject for Memory {
        fn blobs(&self) -> Arc<dyn Blobs> {
            self.0.clone()
        }
        fn reopen(&mut self) -> bool {
            false
        }
        fn damage(&mut self, org: &OrgId, name: &Digest) -> bool {
            self.0.damage(org, name)
        }
        fn bytes_on_disk(&self) -> Option<u64> {
            Some(self.0.kept().values().map(|(_, bytes)| bytes.len() as u64).sum())
        }
        fn silence(&mut self) -> bool {
            false
        }
    }

    #[test]
    fn the_contract_holds_in_memory() {
        contract::keeps_every_promise(&mut Memory::default());
    }
}
