//! Payloads that are too large for a record, named by what they hold.
//!
//! A blob's name is the SHA-256 of its bytes. [`BlobStore::put`] returns when the file and its directory entry are
//! synced, so a record that names a blob is appended after the blob is durable. [`BlobStore::get`] checks the bytes
//! against the name. Blobs are never changed and never deleted here.

use quipu_schemas::{digest::Digest, limits::BLOB_MAX_BYTES};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Why a blob was not stored or not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Larger than a blob may be.
    #[error("blob of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit, [`BLOB_MAX_BYTES`] unless the store has a lower one.
        limit: u64,
    },
    /// The bytes under this name are not the ones that were stored; restore the file from a backup.
    #[error("blob {0} is damaged: its bytes do not match its name")]
    Damaged(Digest),
    /// The storage failed; whether the blob is stored is not known, and storing it again is safe.
    #[error("blob file {path}: {detail}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        detail: String,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> BlobError {
    let path = path.display().to_string();
    move |error| BlobError::Io {
        path: path.clone(),
        detail: error.to_string(),
    }
}

enum Place {
    Dir { root: PathBuf, next: AtomicU64 },
    Memory(Mutex<BTreeMap<Digest, Arc<[u8]>>>),
}

/// A content-addressed store; all methods may be called from any thread.
pub struct BlobStore {
    place: Place,
    max_bytes: u64,
}

fn sync_dir(dir: &Path) -> Result<(), BlobError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
}

impl BlobStore {
    /// Opens or makes a store in `dir`, with at most `max_bytes` a blob (never more than [`BLOB_MAX_BYTES`]).
    /// What a crash left half written is removed.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self, BlobError> {
        let temporary = dir.join("incoming");
        fs::create_dir_all(&temporary).map_err(io(&temporary))?;
        for entry in fs::read_dir(&temporary).map_err(io(&temporary))? {
            let path = entry.map_err(io(&temporary))?.path();
            fs::remove_file(&path).map_err(io(&path))?;
        }
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        sync_dir(dir)?;
        Ok(Self {
            place: Place::Dir {
                root: dir.to_owned(),
                next: AtomicU64::new(0),
            },
            max_bytes: max_bytes.min(BLOB_MAX_BYTES as u64),
        })
    }

    /// A store in memory, for simulation.
    pub fn in_memory() -> Self {
        Self {
            place: Place::Memory(Mutex::default()),
            max_bytes: BLOB_MAX_BYTES as u64,
        }
    }

    /// Stores the bytes and returns their name. Durable on return; storing the same bytes again is cheap, and
    /// mends a damaged file.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        if bytes.len() as u64 > self.max_bytes {
            return Err(BlobError::TooLarge {
                size: bytes.len() as u64,
                limit: self.max_bytes,
            });
        }
        let name = Digest::of(&[bytes]);
        let (root, next) = match &self.place {
            Place::Memory(blobs) => {
                blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(name, bytes.into());
                return Ok(name);
            }
            Place::Dir { root, next } => (root, next),
        };
        let target = path_of(root, &name);
        let dir = target.parent().unwrap_or(root);
        let stored = matches!(self.get(&name), Ok(Some(_)));
        if !stored {
            let temporary = root
                .join("incoming")
                .join(format!("{name}.{}", next.fetch_add(1, Ordering::Relaxed)));
            if !dir.exists() {
                fs::create_dir_all(dir).map_err(io(dir))?;
            }
            let write = || {
                let mut file = File::create(&temporary)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                fs::rename(&temporary, &target)
            };
            if let Err(error) = write() {
                // The first error is the one to tell; what is left here goes at the next start.
                let _ = fs::remove_file(&temporary);
                return Err(io(&target)(error));
            }
        }
        // Also where it was there before: the crash that came between its rename and this may have been ours.
        sync_dir(dir)?;
        sync_dir(root)?;
        Ok(name)
    }

    /// The bytes of a blob, checked against its name; `None` where there is none.
    pub fn get(&self, name: &Digest) -> Result<Option<Vec<u8>>, BlobError> {
        let root = match &self.place {
            Place::Memory(blobs) => {
                return Ok(blobs
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(name)
                    .map(|bytes| bytes.to_vec()));
            }
            Place::Dir { root, .. } => root,
        };
        let path = path_of(root, name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path)(error)),
        };
        let mut bytes = Vec::new();
        // One byte over the limit is enough to know that the file is not one of ours.
        file.take(BLOB_MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io(&path))?;
        if Digest::of(&[&bytes]) == *name {
            Ok(Some(bytes))
        } else {
            Err(BlobError::Damaged(*name))
        }
    }

    /// Whether a blob of this name is there; its bytes are not checked.
    pub fn contains(&self, name: &Digest) -> bool {
        match &self.place {
            Place::Memory(blobs) => blobs.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name),
            Place::Dir { root, .. } => path_of(root, name).is_file(),
        }
    }

    /// The names of all blobs, sorted: for backups.
    pub fn names(&self) -> Result<Vec<Digest>, BlobError> {
        let root = match &self.place {
            Place::Memory(blobs) => return Ok(blobs.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()),
            Place::Dir { root, .. } => root,
        };
        let mut names = Vec::new();
        for shard in fs::read_dir(root).map_err(io(root))? {
            let shard = shard.map_err(io(root))?.path();
            if !shard.is_dir() {
                continue;
            }
            for file in fs::read_dir(&shard).map_err(io(&shard))? {
                let file = file.map_err(io(&shard))?.file_name();
                names.extend(file.to_str().and_then(|name| name.parse::<Digest>().ok()));
            }
        }
        names.sort();
        Ok(names)
    }
}

fn path_of(root: &Path, name: &Digest) -> PathBuf {
    let name = name.to_string();
    root.join(&name[..2]).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_round_trip_and_outlive_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("blobs");
        let blobs = BlobStore::open(&root, u64::MAX).unwrap();
        let name = blobs.put(b"a large payload").unwrap();
        assert_eq!(blobs.put(b"a large payload").unwrap(), name);
        let empty = blobs.put(b"").unwrap();
        fs::write(root.join("incoming").join("left by a crash"), b"half").unwrap();
        let again = BlobStore::open(&root, u64::MAX).unwrap();
        assert_eq!(again.get(&name).unwrap().as_deref(), Some(b"a large payload".as_slice()));
        assert_eq!(again.get(&empty).unwrap(), Some(Vec::new()));
        assert_eq!(again.get(&Digest([1; 32])).unwrap(), None);
        assert!(again.contains(&name) && !again.contains(&Digest([1; 32])));
        let mut names = vec![name, empty];
        names.sort();
        assert_eq!(again.names().unwrap(), names);
        assert_eq!(fs::read_dir(root.join("incoming")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_blob_is_named_and_mended_by_storing_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path(), u64::MAX).unwrap();
        let name = blobs.put(b"payload").unwrap();
        for damage in [b"paYload".as_slice(), b"payl", b"payload and more"] {
            fs::write(path_of(dir.path(), &name), damage).unwrap();
            assert_eq!(blobs.get(&name), Err(BlobError::Damaged(name)));
        }
        blobs.put(b"payload").unwrap();
        assert!(blobs.get(&name).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_is_not_taken_for_absent() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path(), u64::MAX).unwrap();
        let name = Digest::of(&[b"payload"]);
        assert_eq!(blobs.get(&name), Ok(None));
        fs::write(path_of(dir.path(), &name).parent().unwrap(), "a file where a directory belongs").unwrap();
        assert!(matches!(blobs.get(&name), Err(BlobError::Io { .. })), "{:?}", blobs.get(&name));
    }

    #[test]
    fn a_blob_over_the_limit_is_refused_with_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path(), 4).unwrap();
        assert!(blobs.put(b"1234").is_ok());
        assert_eq!(blobs.put(b"12345"), Err(BlobError::TooLarge { size: 5, limit: 4 }));
        assert_eq!(blobs.names().unwrap().len(), 1);
    }

    #[test]
    fn memory_keeps_the_same_promises() {
        let blobs = BlobStore::in_memory();
        let name = blobs.put(b"payload").unwrap();
        assert_eq!(blobs.get(&name).unwrap().as_deref(), Some(b"payload".as_slice()));
        assert_eq!(blobs.names().unwrap(), vec![name]);
        assert!(blobs.contains(&name));
    }
}
