//! Writing blobs to a directory, in groups that share their syncs.

use super::{Job, Place, Putting, sync_dir};
use crate::blobs::wall_clock;
use quipu_schemas::{
    digest::Digest,
    ids::OrgId,
    limits::{BLOB_GROUP_BYTES, BLOB_PACKED_MAX_BYTES},
};
use rusqlite::{Connection, params};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
};

/// The one thread that writes.
pub(super) struct Writer {
    pub(super) place: Arc<Place>,
    pub(super) connection: Connection,
}

impl Writer {
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let (mut group, mut bytes, mut next) = (Vec::new(), 0, Some(first));
            let mut deletion = None;
            // Everything that waits goes together, up to a deletion: what was stored before it is stored before it.
            while let Some(job) = next.take() {
                match job {
                    Job::Put(org, blobs, answer) => {
                        bytes += blobs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
                        group.push((org, blobs, answer));
                    }
                    Job::Delete(org, names, answer) => deletion = Some((org, names, answer)),
                }
                if deletion.is_none() && bytes < BLOB_GROUP_BYTES {
                    next = queue.try_recv().ok();
                }
            }
            if !group.is_empty() {
                let stored = self.store(&group).map_err(|e| self.place.not_written(&*e));
                for (.., answer) in group {
                    // Nobody may wait any longer.
                    let _ = answer.send(stored.clone());
                }
            }
            if let Some((org, names, answer)) = deletion {
                let _ = answer.send(self.remove(&org, &names).map_err(|e| self.place.lost(e)));
            }
        }
    }

    fn store(&mut self, group: &[Putting]) -> Result<(), Box<dyn std::error::Error>> {
        let now = wall_clock() as i64;
        let all = || {
            group
                .iter()
                .flat_map(|(org, blobs, _)| blobs.iter().map(move |(name, bytes)| (org, name, bytes)))
        };
        let mut dirs = BTreeSet::new();
        for (org, name, bytes) in all().filter(|(.., bytes)| bytes.len() > BLOB_PACKED_MAX_BYTES) {
            self.write_file(org, name, bytes, &mut dirs)?;
        }
        dirs.iter().try_for_each(|dir| sync_dir(dir))?;
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO blobs (org, name, size, stored_at, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (org, name) DO UPDATE SET stored_at = excluded.stored_at, bytes = excluded.bytes",
            )?;
            for (org, name, bytes) in all() {
                let packed = (bytes.len() <= BLOB_PACKED_MAX_BYTES).then_some(bytes);
                insert.execute(params![org.as_str(), name.0, bytes.len() as i64, now, packed])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Writes and syncs a file; the directories that must be synced after it are added to `dirs`.
    fn write_file(&self, org: &OrgId, name: &Digest, bytes: &[u8], dirs: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let path = self.place.file(org, name);
        let shard = path.parent().unwrap_or(&self.place.root).to_owned();
        if !shard.is_dir() {
            fs::create_dir_all(&shard)?;
            let org_dir = self.place.org_dir(org);
            dirs.extend(org_dir.parent().map(Path::to_owned));
            dirs.insert(org_dir);
        }
        let written = shard.join(format!("{name}.new"));
        let write = || {
            let mut file = File::create(&written)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&written, &path)
        };
        if let Err(error) = write() {
            // Half a file on a full disk is in the way of everything else.
            drop(fs::remove_file(&written));
            return Err(error);
        }
        dirs.insert(shard);
        Ok(())
    }

    fn remove(&mut self, org: &OrgId, names: &[Digest]) -> Result<(), Box<dyn std::error::Error>> {
        let transaction = self.connection.transaction()?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM blobs WHERE org = ?1 AND name = ?2")?;
            for name in names {
                delete.execute(params![org.as_str(), name.0])?;
            }
        }
        transaction.commit()?;
        for name in names {
            match fs::remove_file(self.place.file(org, name)) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
                Ok(()) | Err(_) => {}
            }
        }
        self.connection.prepare("PRAGMA incremental_vacuum")?.query([])?.next()?;
        // The pages are given back when the write-ahead file is folded in; a reader in the way only delays it.
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}
