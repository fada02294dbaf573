//! Secrets that are longer than a key, in the same file or store as the data keys and sealed like them: key pairs that nodes sign with.
//!
//! Their names begin with `document:`, which no subject's does. Once made, one stays as it is: nodes that share keys agree on it.

use super::{Keyring, KeyringError, Source, file::KeyFile, shared::SharedKeys};
use quipu_schemas::personal::Subject;

/// What the names of documents begin with.
const DOCUMENT: &str = "document:";

/// Whether a line of this name holds a document and no data key.
pub(super) fn is_one(subject: &str) -> bool {
    subject.starts_with(DOCUMENT)
}

impl Keyring {
    /// The document of this name, made where there is none; durable on return. Where two make it at once, both get the one that was
    /// stored. Waits for the disk or the store where this node does not hold it yet.
    pub fn document(&self, name: &str, make: impl FnOnce() -> Result<Vec<u8>, KeyringError>) -> Result<Vec<u8>, KeyringError> {
        let name: Subject = format!("{DOCUMENT}{name}");
        let held = || self.documents.read().get(&name).cloned();
        if let Some(document) = held() {
            return Ok(document);
        }
        match &self.source {
            Source::Seed(_) => {
                let mut documents = self.documents.write();
                if let Some(document) = documents.get(&name) {
                    return Ok(document.clone());
                }
                let made = make()?;
                documents.insert(name, made.clone());
                Ok(made)
            }
            Source::File(file, _) => {
                let mut file = file.lock();
                // Somebody may have made it while we waited.
                if let Some(document) = held() {
                    return Ok(document);
                }
                let made = make()?;
                file.add_line(&name, &made)?;
                self.documents.write().insert(name, made.clone());
                Ok(made)
            }
            Source::Shared(shared) => {
                let document = match shared.find_bytes(&name)? {
                    Some(document) => document,
                    None => shared.put_bytes(&name, &make()?)?,
                };
                self.documents.write().insert(name, document.clone());
                Ok(document)
            }
        }
    }
}

/// Copies documents into a store; what the store has stays.
pub(super) fn share<'a>(shared: &SharedKeys, documents: impl Iterator<Item = (&'a Subject, &'a Vec<u8>)>) -> Result<u64, KeyringError> {
    let mut copied = 0;
    for (name, document) in documents {
        if shared.put_bytes(name, document)? != *document {
            return Err(KeyringError::Foreign(shared.place()));
        }
        copied += 1;
    }
    Ok(copied)
}

impl KeyFile {
    /// Notes a key or a document under its name; durable on return.
    pub(super) fn add_line(&mut self, name: &str, bytes: &[u8]) -> Result<(), KeyringError> {
        let line = super::file::wrap(&self.master, name, bytes)?;
        self.append(&line)
    }
}
