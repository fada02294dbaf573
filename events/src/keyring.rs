//! The local key store: one data key a subject, wrapped under a master key (envelope encryption).
//!
//! `master.key` holds the master key in the clear and must stay with the node; `subjects.keys` holds one line a
//! data key, appended and synced before the key is first used, so that nothing sealed outlives its key. Losing
//! either file makes all personal data of the log unreadable: back them up apart from the log.
//!
//! ```text
//! master.key     quipu-master-key-1 <base64url of 32 bytes> <crc32 hex>
//! subjects.keys  <base64url of nonce ‖ wrapped key> <crc32 hex> <subject as a JSON string>   (one a line)
//! ```
//! Beside the directory, in the data directory and in every backup, `keys.fingerprint` says which keys belong to the log and
//! how many of them it has used, so that lost, cut or exchanged keys are noticed when the node starts rather than when
//! somebody reads. An end of `subjects.keys` that is not a whole line is never cut off: if no record used it, it is moved to
//! `subjects.keys.torn-…`; otherwise nothing is changed and nothing starts.
//!
//! The checksum covers the other two fields. A data key is wrapped with XChaCha20-Poly1305 under the master key,
//! its subject bound as associated data; a document (`document:…`, a key pair) is kept in a line of its own like a key. The first line wraps the key of command digests, whose subject is empty.

mod documents;
mod erased;
mod error;
mod file;
mod fingerprint;
mod line;
mod shared;
mod whole;

pub use erased::ERASED_FILE;
pub use error::KeyringError;
pub use fingerprint::FINGERPRINT_FILE;
use parking_lot::{Mutex, RwLock};
pub use shared::{KeyStore, share};

use crate::{
    blobs::{BlobError, Blobs},
    erased::Erased,
    port::Log,
};
use file::{Found, KeyFile};
use fingerprint::Fingerprint;
use quipu_schemas::{
    digest::Digest,
    limits::{VALUE_INLINE_MAX_BYTES, VALUE_UNSHARED_MAX_BYTES},
    personal::{BlobRef, DataKey, Opener, SealError, Sealer, Subject, value::SUBJECTS_SEPARATOR},
    position::LogId,
};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

impl From<KeyringError> for SealError {
    fn from(error: KeyringError) -> Self {
        SealError::Store(error.to_string())
    }
}

/// Name of the directory of keys within a data directory.
pub const KEYS_DIR: &str = "keys";

/// Where it is noted how many keys a log has used.
struct Noting {
    data_dir: PathBuf,
    log: LogId,
    /// What was noted last.
    noted: Mutex<u64>,
}

enum Source {
    /// Keys come from the file, and new ones go there first.
    File(Box<Mutex<KeyFile>>, Option<Noting>),
    /// Keys come from a store that other nodes use too, and new ones go there first.
    Shared(shared::SharedKeys),
    /// Every key follows from a seed.
    Seed(u64),
}

/// The keys of one log, in memory once opened. May be used from any thread; making a new key waits for the disk,
/// finding an old one does not.
pub struct Keyring {
    keys: RwLock<BTreeMap<Subject, DataKey>>,
    /// Secrets that are longer than a key, as far as they were asked for.
    documents: RwLock<BTreeMap<Subject, Vec<u8>>>,
    digest_key: DataKey,
    source: Source,
    nonces: AtomicU64,
    /// What was out of the ordinary when they were opened.
    notes: Vec<String>,
    /// Where values that are too large for a record are kept.
    blobs: OnceLock<Arc<dyn Blobs>>,
    /// Whose keys were destroyed.
    erased: RwLock<Erased>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read().len();
        write!(f, "Keyring({keys} subjects)")
    }
}

impl Keyring {
    /// Opens the keys in `dir`, making the directory and the master key where there are none. Durable on return.
    /// A last line that was cut short by a crash was never used and is set aside; any other damage is an error.
    pub fn open(dir: &Path) -> Result<Self, KeyringError> {
        Self::of_file(KeyFile::find(dir)?, None)
    }

    fn of_file(found: Found, noting: Option<Noting>) -> Result<Self, KeyringError> {
        let (file, mut keys, note) = found.open()?;
        let digest_key = keys.held.remove("").ok_or_else(|| KeyringError::Damaged {
            path: file.path(),
            line: 1,
        })?;
        Ok(Self {
            keys: RwLock::new(keys.held),
            documents: RwLock::new(keys.documents),
            digest_key,
            source: Source::File(Box::new(Mutex::new(file)), noting),
            nonces: AtomicU64::new(0),
            notes: note.into_iter().collect(),
            blobs: OnceLock::new(),
            erased: RwLock::new(Erased(keys.erased)),
        })
    }

    /// Opens the keys of a log, in `keys` of its data directory. A log without records gets keys where it has none.
    /// Where records are, the keys must be there and be those that the data directory's fingerprint names, as many as the log
    /// has used; `allow_lost` makes new ones, or takes the ones that are there, and notes them as the log's from now on.
    pub fn of_log(data_dir: &Path, log: &dyn Log, allow_lost: bool) -> Result<Self, KeyringError> {
        let dir = data_dir.join(KEYS_DIR);
        // A partition that does not tell its end is damaged, and so not empty.
        let is_empty = (0..log.meta().partitions).all(|partition| log.head(partition).is_ok_and(|head| head.next_offset == 0));
        let may_make = is_empty || allow_lost;
        if !may_make {
            file::must_be_there(&dir)?;
        }
        let noted = match fingerprint::read(data_dir) {
            Err(KeyringError::Fingerprint(_)) if may_make => None,
            read => read?,
        };
        let found = KeyFile::find(&dir)?;
        let log = log.meta().log_id;
        if !may_make {
            // Before anything is changed: the right keys may still be brought back.
            check(data_dir, &found, noted.as_ref(), log)?;
        }
        let noting = Noting {
            data_dir: data_dir.to_owned(),
            log,
            noted: Mutex::new(0),
        };
        let keys = Self::of_file(found, Some(noting))?;
        keys.note()?;
        // Keys that came back with an older copy of them, or that a crash left.
        for subject in Erased::read(data_dir)?.0 {
            keys.destroy(&subject)?;
        }
        Ok(keys)
    }

    /// Notes in the data directory how many keys the log has used, where more are than was noted; durable on return. Whoever
    /// owns the log calls it each second.
    pub fn note(&self) -> Result<(), KeyringError> {
        let Source::File(file, Some(noting)) = &self.source else {
            return Ok(());
        };
        let mut noted = noting.noted.lock();
        // Its lock is given back at once: whoever makes a key does not wait for the note.
        let used = file.lock().used();
        if used.keys > *noted {
            fingerprint::write(&noting.data_dir, &fingerprint::of(&self.digest_key), noting.log, used)?;
            *noted = used.keys;
        }
        Ok(())
    }

    /// What was out of the ordinary when the keys were opened, for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Opens the keys of a log that several nodes share: data keys in `store`, the master key in `keys` of the data directory.
    /// A log without records gets keys where it has none; `allow_lost` makes new ones for a log that has lost its own.
    pub fn of_shared_log(data_dir: &Path, log: &dyn Log, store: Arc<dyn KeyStore>, allow_lost: bool) -> Result<Self, KeyringError> {
        let is_empty = (0..log.meta().partitions).all(|partition| log.head(partition).is_ok_and(|head| head.next_offset == 0));
        let (shared, digest_key) = shared::SharedKeys::open(&data_dir.join(KEYS_DIR), store, is_empty || allow_lost)?;
        Ok(Self {
            keys: RwLock::default(),
            documents: RwLock::default(),
            digest_key,
            source: Source::Shared(shared),
            nonces: AtomicU64::new(0),
            notes: Vec::new(),
            blobs: OnceLock::new(),
            erased: RwLock::default(),
        })
    }

    /// Keys that follow from a seed and are written nowhere: for simulation and memory logs. The same seed opens
    /// what it sealed.
    pub fn ephemeral(seed: u64) -> Self {
        Self {
            keys: RwLock::default(),
            documents: RwLock::default(),
            digest_key: seeded(seed, "digest", ""),
            source: Source::Seed(seed),
            nonces: AtomicU64::new(0),
            notes: Vec::new(),
            blobs: OnceLock::new(),
            erased: RwLock::default(),
        }
    }

    /// The key for the keyed digests of command bodies, random, one a log and for its life.
    pub fn digest_key(&self) -> [u8; 32] {
        self.digest_key.0
    }

    /// Keeps large values in this store from now on. Said once, before anything is sealed.
    pub fn keep_in(&self, blobs: Arc<dyn Blobs>) {
        // A second store would not hold what the first one was given.
        let _ = self.blobs.set(blobs);
    }

    /// Where large values are kept; `None` where they stand in their records.
    pub fn blobs(&self) -> Option<&Arc<dyn Blobs>> {
        self.blobs.get()
    }

    /// Destroys a subject's key, for good: what it sealed reads as erased from now on, and nothing is sealed under it any more.
    /// Durable on return. Whether there was a key. Older copies of the keys still hold it; the list of erased subjects
    /// destroys it again wherever they are opened beside it.
    pub fn destroy(&self, subject: &str) -> Result<bool, KeyringError> {
        if subject.is_empty() || subject.contains(SUBJECTS_SEPARATOR) || line::is_document(subject) {
            return Err(KeyringError::NotOne(subject.to_owned()));
        }
        let found = match &self.source {
            Source::Shared(_) => return Err(KeyringError::NotDestroyed),
            Source::Seed(_) => self.held(subject).is_some(),
            Source::File(file, noting) => {
                // The list is read and written as a whole: one at a time.
                let mut file = file.lock();
                // Before the key goes, and before anybody is told.
                if let Some(noting) = noting {
                    Erased::add(&noting.data_dir, subject)?;
                }
                self.mark_erased(subject);
                file.erase(subject)?
            }
        };
        self.mark_erased(subject);
        Ok(found)
    }

    fn mark_erased(&self, subject: &str) {
        let mut erased = self.erased.write();
        erased.0.insert(subject.to_owned());
        self.keys.write().remove(subject);
    }

    /// Whose keys were destroyed.
    pub fn erased(&self) -> Erased {
        self.erased.read().clone()
    }

    fn is_erased(&self, subject: &str) -> bool {
        self.erased.read().covers(subject)
    }

    /// Number of subjects that have a key in memory.
    pub fn subjects(&self) -> usize {
        self.keys.read().len()
    }

    fn held(&self, subject: &str) -> Option<DataKey> {
        self.keys.read().get(subject).cloned()
    }

    fn hold(&self, subject: &str, key: &DataKey) {
        self.keys.write().insert(subject.to_owned(), key.clone());
    }
}

/// Whether the keys that were found are those that the log was written with, all that it has used.
fn check(data_dir: &Path, found: &Found, noted: Option<&Fingerprint>, log: LogId) -> Result<(), KeyringError> {
    let file = || data_dir.join(FINGERPRINT_FILE).display().to_string();
    let foreign = || KeyringError::Foreign(data_dir.join(KEYS_DIR).display().to_string());
    let noted = noted.ok_or_else(|| KeyringError::NoFingerprint(file()))?;
    let digest_key = found.keys().get("").ok_or_else(|| KeyringError::Damaged {
        path: found.path(),
        line: 1,
    })?;
    if noted.keys != fingerprint::of(digest_key) {
        return Err(foreign());
    }
    // A format that does not say is replaced once the keys are open.
    let Some((of, used)) = noted.used else { return Ok(()) };
    if of != log {
        return Err(KeyringError::OtherLog(file()));
    }
    match found.first(used.keys, noted.as_stored) {
        Some(first) if first == used => Ok(()),
        Some(_) => Err(foreign()),
        None => Err(KeyringError::Fewer {
            path: found.path(),
            found: found.lines(),
            noted: used.keys,
        }),
    }
}

fn seeded(seed: u64, purpose: &str, subject: &str) -> DataKey {
    DataKey(
        Digest::of(&[
            b"quipu ephemeral key\0",
            &seed.to_le_bytes(),
            purpose.as_bytes(),
            &[0],
            subject.as_bytes(),
        ])
        .0,
    )
}

impl Sealer for Keyring {
    fn sealing_key(&self, subject: &str) -> Result<DataKey, SealError> {
        if subject.is_empty() || line::is_document(subject) {
            return Err(SealError::Store("personal data has no subject".into()));
        }
        if let Some(key) = self.held(subject) {
            return Ok(key);
        }
        if self.is_erased(subject) {
            return Err(SealError::Erased(subject.to_owned()));
        }
        match &self.source {
            Source::Seed(seed) => Ok(seeded(*seed, "subject", subject)),
            Source::Shared(shared) => {
                let key = match shared.find(subject)? {
                    Some(key) => key,
                    None => shared.make(subject)?,
                };
                self.hold(subject, &key);
                Ok(key)
            }
            Source::File(file, _) => {
                let mut file = file.lock();
                // Somebody may have made it while we waited: a subject never gets a second key.
                if let Some(key) = self.held(subject) {
                    return Ok(key);
                }
                if self.is_erased(subject) {
                    return Err(SealError::Erased(subject.to_owned()));
                }
                let key = file.add(subject)?;
                self.hold(subject, &key);
                Ok(key)
            }
        }
    }

    fn nonce(&self) -> Result<[u8; 24], SealError> {
        match &self.source {
            // Counted, so that equal simulated runs give equal bytes; the keys live no longer than the counter.
            Source::Seed(seed) => {
                let count = self.nonces.fetch_add(1, Ordering::Relaxed);
                let digest = Digest::of(&[b"quipu ephemeral nonce\0", &seed.to_le_bytes(), &count.to_le_bytes()]);
                let mut nonce = [0; 24];
                nonce.copy_from_slice(&digest.0[..24]);
                Ok(nonce)
            }
            Source::File(..) | Source::Shared(_) => {
                let mut nonce = [0; 24];
                getrandom::fill(&mut nonce).map_err(|e| SealError::Store(e.to_string()))?;
                Ok(nonce)
            }
        }
    }

    fn shred(&self, subject: &str) -> Result<bool, SealError> {
        match self.destroy(subject) {
            // Whether there was one or not: there is none any more.
            Ok(_) => Ok(true),
            Err(KeyringError::NotDestroyed) => Ok(false),
            Err(error) => Err(SealError::from(error)),
        }
    }

    fn inline_max(&self) -> usize {
        match self.blobs.get() {
            Some(_) => VALUE_INLINE_MAX_BYTES,
            None => VALUE_UNSHARED_MAX_BYTES,
        }
    }

    fn keep(&self, subject: &str, blob: Vec<u8>) -> Result<Digest, SealError> {
        let Some(blobs) = self.blobs.get() else {
            return Err(SealError::NotShared { size: blob.len() });
        };
        let org = BlobRef::org_of(subject).ok_or_else(|| SealError::Store(format!("{subject} belongs to no org")))?;
        let named = blobs.put(&org, &[blob]).map_err(|e| seal_error(subject, &e))?;
        named
            .first()
            .copied()
            .ok_or_else(|| SealError::Unreachable("nothing was stored".into()))
    }
}

fn seal_error(subject: &str, error: &BlobError) -> SealError {
    match error {
        BlobError::Missing(name) => SealError::Missing(*name),
        BlobError::Damaged(_) => SealError::Damaged(subject.to_owned()),
        BlobError::TooLarge { size, .. } => SealError::TooLarge { size: *size },
        BlobError::Full { .. } => SealError::Full(error.to_string()),
        BlobError::Unreachable { .. } => SealError::Unreachable(error.to_string()),
    }
}

impl Opener for Keyring {
    fn inline_max(&self) -> usize {
        Sealer::inline_max(self)
    }

    fn may_keep(&self) -> bool {
        self.blobs.get().is_some()
    }

    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
        if let Some(key) = DataKey::joint(subject, |one| self.opening_key(one)) {
            return key;
        }
        if self.is_erased(subject) {
            return Ok(None);
        }
        match &self.source {
            Source::Seed(seed) => Ok(Some(seeded(*seed, "subject", subject))),
            Source::File(..) => Ok(self.held(subject)),
            Source::Shared(shared) => {
                if let Some(key) = self.held(subject) {
                    return Ok(Some(key));
                }
                let found = shared.find(subject)?;
                if let Some(key) = &found {
                    self.hold(subject, key);
                }
                Ok(found)
            }
        }
    }

    fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
        let (Some(blobs), Some(org)) = (self.blobs.get(), blob.org()) else {
            return Err(SealError::Missing(blob.digest));
        };
        blobs.get(&org, &blob.digest).map_err(|e| seal_error(&blob.subject, &e))
    }
}

#[cfg(test)]
mod tests;
