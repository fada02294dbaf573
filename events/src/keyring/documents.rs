//! Secrets that are longer than a key, in the same file or store as the data keys and sealed like them: key pairs that nodes sign with.
//!
//! Their names begin with `document:`, which no subject's does. Once made, one stays as it is: nodes that share keys agree on it.

use super::{Keyring, KeyringError, Source, line::DOCUMENT};
use quipu_schemas::personal::Subject;

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
