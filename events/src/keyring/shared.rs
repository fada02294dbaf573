//! Keys that several nodes share: wrapped data keys in a store of theirs, the master key with each node.

use super::{KeyringError, file, line};
use quipu_schemas::personal::{DataKey, Subject};
use std::{path::Path, sync::Arc};

/// Where nodes that share a log keep wrapped data keys. Errors are texts for people.
pub trait KeyStore: Send + Sync {
    /// The wrapped key of a name.
    fn get(&self, name: &str) -> Result<Option<String>, String>;
    /// Stores a name's first wrapped key, durably; `false` if it has one, or may have: [`KeyStore::get`] tells.
    fn add(&self, name: &str, wrapped: &str) -> Result<bool, String>;
    /// Where, for people.
    fn place(&self) -> String;
}

/// The key of command digests.
const DIGEST: &str = "";

pub(super) struct SharedKeys {
    store: Arc<dyn KeyStore>,
    master: DataKey,
}

impl SharedKeys {
    /// Opens the store's keys with the master key in `dir`, making both where neither is there.
    pub(super) fn open(dir: &Path, store: Arc<dyn KeyStore>, may_make: bool) -> Result<(Self, DataKey), KeyringError> {
        let place = store.place();
        let failed = |detail: String| KeyringError::Io {
            path: place.clone(),
            detail,
        };
        let stored = store.get(DIGEST).map_err(failed)?;
        if stored.is_none() && !may_make {
            return Err(KeyringError::Missing(place));
        }
        // A second node gets the master key from its operator; one that it made itself would open nothing.
        let master = file::master(dir, stored.is_none())?;
        let keys = Self { store, master };
        let digest = match keys.find(DIGEST)? {
            Some(key) => key,
            None => keys.make(DIGEST)?,
        };
        Ok((keys, digest))
    }

    /// A name's key, if it has one.
    pub(super) fn find(&self, name: &str) -> Result<Option<DataKey>, KeyringError> {
        self.find_bytes(name)?.map(|key| self.data_key(key)).transpose()
    }

    fn data_key(&self, bytes: Vec<u8>) -> Result<DataKey, KeyringError> {
        let damaged = |_| KeyringError::Damaged {
            path: self.place(),
            line: 1,
        };
        bytes.try_into().map(DataKey).map_err(damaged)
    }

    /// What stands under a name, if anything does.
    pub(super) fn find_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, KeyringError> {
        let place = self.place();
        let Some(line) = self.store.get(name).map_err(|detail| KeyringError::Io {
            path: place.clone(),
            detail,
        })?
        else {
            return Ok(None);
        };
        match line::unwrap_bytes(&self.master, line.trim_end_matches('\n')) {
            Some((subject, Some(secret))) if subject == name => Ok(Some(secret)),
            Some((_, None)) => Err(KeyringError::OtherMaster(place)),
            _ => Err(KeyringError::Damaged { path: place, line: 1 }),
        }
    }

    /// Where the keys are, for people.
    pub(super) fn place(&self) -> String {
        self.store.place()
    }

    /// Makes a name's key, or finds the one that another node made meanwhile.
    pub(super) fn make(&self, name: &str) -> Result<DataKey, KeyringError> {
        let key = DataKey(line::random()?);
        self.put(name, &key)
    }

    /// Stores a key unless the name has one; the one that it has then.
    pub(super) fn put(&self, name: &str, key: &DataKey) -> Result<DataKey, KeyringError> {
        self.put_bytes(name, &key.0).and_then(|stored| self.data_key(stored))
    }

    /// Stores a secret unless something stands under its name; what stands there then.
    pub(super) fn put_bytes(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let failed = |detail: String| KeyringError::Io {
            path: self.place(),
            detail,
        };
        let wrapped = line::wrap(&self.master, name, secret)?;
        match self.store.add(name, &wrapped) {
            Ok(true) => Ok(secret.to_vec()),
            // Of an answer that was lost nobody knows: what is there now is the key.
            Ok(false) | Err(_) => self
                .find_bytes(name)?
                .ok_or_else(|| failed("a new key was neither stored nor refused; try again".into())),
        }
    }
}

/// Copies the keys of a data directory into a store, under the same master key. What the store has stays.
pub fn share(dir: &Path, store: Arc<dyn KeyStore>) -> Result<u64, KeyringError> {
    file::must_be_there(dir)?;
    let keys = file::KeyFile::find(dir)?;
    let shared = SharedKeys {
        store,
        master: file::master(dir, false)?,
    };
    let mut copied = 0;
    for (name, key) in keys.keys() {
        let name: &Subject = name;
        if shared.put(name, key)?.0 != key.0 {
            return Err(KeyringError::Foreign(shared.store.place()));
        }
        copied += 1;
    }
    for (name, document) in keys.documents() {
        if shared.put_bytes(name, document)? != *document {
            return Err(KeyringError::Foreign(shared.place()));
        }
        copied += 1;
    }
    Ok(copied)
}
