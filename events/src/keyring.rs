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
//! its subject bound as associated data. The first line wraps the key of command digests, whose subject is empty.

mod erased;
mod file;
mod fingerprint;
mod line;
mod shared;

pub use erased::ERASED_FILE;
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

/// Why keys cannot be used. Every text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A key file is open to others.
    #[error("key file {path} may be read or written by others (mode {mode:o}): run `chmod {wanted:o} {path}`")]
    Mode {
        /// The file or directory.
        path: String,
        /// Its mode.
        mode: u32,
        /// The mode that it must have.
        wanted: u32,
    },
    /// Data keys are there and the master key is not.
    #[error(
        "master key {0} is missing, and data keys that it wraps are there: restore it from the backup of the keys; if there is none, \
         move the keys directory away and start with `quipu serve --without-keys`"
    )]
    NoMaster(String),
    /// A log has records, and the keys that belong to it are not there.
    #[error(
        "the keys of this log are missing ({0}): restore the keys directory from its backup; without it, personal data cannot be \
         read any more, and `quipu serve --without-keys` (`[keys] allow_lost = true`) makes new keys for what comes"
    )]
    Missing(String),
    /// The keys that are there belong to another log.
    #[error(
        "the keys in {0} are not those of this log: restore the keys directory that belongs to it; without it, personal data \
         cannot be read any more, and `quipu serve --without-keys` (`[keys] allow_lost = true`) goes on with the keys that are there"
    )]
    Foreign(String),
    /// Keys that the log has used are gone from the file, or were replaced.
    #[error(
        "key file {path} holds {found} of the {noted} data keys that this log has used: restore the keys directory from its newest \
         backup; without the others, what they sealed cannot be read any more, and `quipu serve --without-keys` (`[keys] \
         allow_lost = true`) goes on with the keys that are there"
    )]
    Fewer {
        /// The file.
        path: String,
        /// Keys in it, that of command digests included.
        found: u64,
        /// Keys that the log has used.
        noted: u64,
    },
    /// There is no note of which keys belong to the log.
    #[error(
        "the fingerprint of the keys, {0}, is missing, and the log has records: restore it from a backup, or, if the keys directory \
         is the right one, start once with `quipu serve --without-keys`"
    )]
    NoFingerprint(String),
    /// The note of which keys belong to the log is another log's.
    #[error(
        "the fingerprint of the keys, {0}, is that of another log: restore it and the keys directory from a backup of this one, or, \
         if the keys directory is the right one, start once with `quipu serve --without-keys`"
    )]
    OtherLog(String),
    /// The note of which keys belong to the log cannot be used.
    #[error(
        "the fingerprint of the keys, {0}, is damaged: restore it from a backup, or, if the keys directory is the right one, start \
         once with `quipu serve --without-keys`"
    )]
    Fingerprint(String),
    /// No key of one subject was named.
    #[error("`{0}` is not one subject: name one as org/principal")]
    NotOne(String),
    /// Keys that nodes share stay.
    #[error("the keys of this log are shared by its nodes, and none of them can be destroyed yet")]
    NotDestroyed,
    /// Data keys do not open under the master key.
    #[error(
        "data keys in {0} do not open under this master key: restore the master key and the data keys from one backup; if there is \
         none, move the keys directory away and start with `quipu serve --without-keys`"
    )]
    WrongMaster(String),
    /// Nodes that share a log have one master key.
    #[error(
        "master key {0} is missing, and other nodes wrapped the keys of this log under theirs: copy `keys/master.key` of another \
         node's data directory there (mode 600)"
    )]
    CopyMaster(String),
    /// The shared keys were wrapped by another master key.
    #[error(
        "the keys in {0} do not open under this node's master key: copy `keys/master.key` of a node that serves this log into this \
         node's data directory"
    )]
    OtherMaster(String),
    /// A line or file that was complete is not any more.
    #[error("key file {path} is damaged at line {line}: restore it from the backup of the keys")]
    Damaged {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The storage failed.
    #[error("key file {path}: {detail}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// The system gives no randomness.
    #[error("no randomness for a new key: {0}")]
    Entropy(String),
}

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
        if subject.is_empty() || subject.contains(SUBJECTS_SEPARATOR) {
            return Err(KeyringError::NotOne(subject.to_owned()));
        }
        let found = match &self.source {
            Source::Shared(_) => return Err(KeyringError::NotDestroyed),
            Source::Seed(_) => self.held(subject).is_some(),
            Source::File(file, noting) => {
                // Before the key goes, and before anybody is told.
                if let Some(noting) = noting {
                    Erased::add(&noting.data_dir, subject)?;
                }
                let mut file = file.lock();
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
        if subject.is_empty() {
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
mod tests {
    use super::*;
    use quipu_schemas::personal::{Opened, Personal};
    use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

    fn subjects(dir: &Path) -> std::path::PathBuf {
        dir.join("subjects.keys")
    }

    /// What was set aside, if anything was; takes it away.
    fn take_torn(dir: &Path) -> Option<Vec<u8>> {
        let mut names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let torn = names.find(|path| path.display().to_string().contains("subjects.keys.torn-"))?;
        let bytes = fs::read(&torn).unwrap();
        fs::remove_file(torn).unwrap();
        Some(bytes)
    }

    #[test]
    fn sealed_data_opens_after_reopen_with_a_key_per_subject() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let keys = Keyring::open(&path).unwrap();
        let digest_key = keys.digest_key();
        let sealed = Personal::seal(&"hello".to_owned(), "acme/ada", &keys).unwrap();
        let odd = Personal::seal(&"odd".to_owned(), "acme/a b\n\"c\"", &keys).unwrap();
        assert_ne!(keys.sealing_key("acme/ada").unwrap().0, keys.sealing_key("acme/eve").unwrap().0);
        let again = Keyring::open(&path).unwrap();
        assert_eq!(again.digest_key(), digest_key);
        assert_eq!(again.subjects(), 3);
        assert_eq!(sealed.open(&again).unwrap(), Opened::Value("hello".into()));
        assert_eq!(odd.open(&again).unwrap(), Opened::Value("odd".into()));
        assert!(again.opening_key("acme/nobody").unwrap().is_none());
        for (file, mode) in [("master.key", 0o600), ("subjects.keys", 0o600), (".", 0o700)] {
            assert_eq!(fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn torn_last_line_is_dropped_and_earlier_keys_stay() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keyring::open(dir.path()).unwrap().sealing_key("acme/ada").unwrap();
        let whole = fs::read(subjects(dir.path())).unwrap();
        Keyring::open(dir.path()).unwrap().sealing_key("acme/eve").unwrap();
        let longer = fs::read(subjects(dir.path())).unwrap();
        for cut in whole.len()..longer.len() {
            let mut zeroed = longer.clone();
            zeroed[cut..].fill(0);
            for torn in [&longer[..cut], &zeroed] {
                fs::write(subjects(dir.path()), torn).unwrap();
                let keys = Keyring::open(dir.path()).unwrap();
                assert_eq!(keys.opening_key("acme/ada").unwrap().unwrap().0, first.0);
                let is_whole = *torn == longer[..longer.len() - 1];
                assert_eq!(
                    keys.opening_key("acme/eve").unwrap().is_some(),
                    is_whole,
                    "only its end of line is missing"
                );
                let left = if is_whole { &longer } else { &whole };
                assert_eq!(fs::read(subjects(dir.path())).unwrap(), *left, "cut at {cut}");
                let aside = take_torn(dir.path());
                assert_eq!(
                    aside.as_deref().unwrap_or_default(),
                    &torn[left.len().min(torn.len())..],
                    "cut at {cut}"
                );
                assert_eq!(keys.notes().len(), usize::from(torn.len() != whole.len()), "{:?}", keys.notes());
            }
        }
        let keys = Keyring::open(dir.path()).unwrap();
        keys.sealing_key("acme/eve").unwrap();
        assert_eq!(Keyring::open(dir.path()).unwrap().subjects(), 2);
    }

    #[test]
    fn a_changed_byte_in_an_acknowledged_line_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        Keyring::open(dir.path()).unwrap().sealing_key("acme/ada").unwrap();
        let whole = fs::read(subjects(dir.path())).unwrap();
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(subjects(dir.path()), &changed).unwrap();
            assert!(matches!(Keyring::open(dir.path()), Err(KeyringError::Damaged { .. })), "byte {at}");
        }
    }

    #[test]
    fn damage_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keyring::open(dir.path()).unwrap();
        for subject in ["acme/ada", "acme/eve"] {
            keys.sealing_key(subject).unwrap();
        }
        let whole = fs::read(subjects(dir.path())).unwrap();
        let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at).collect();
        let path = subjects(dir.path()).display().to_string();
        for (line, end) in (1..).zip(&ends) {
            // Another letter, and a byte that is no text.
            for change in [1, 0x80] {
                let mut changed = whole.clone();
                changed[end - 2] ^= change;
                fs::write(subjects(dir.path()), &changed).unwrap();
                let damaged = KeyringError::Damaged { path: path.clone(), line };
                assert_eq!(Keyring::open(dir.path()).unwrap_err(), damaged);
            }
        }
        assert_eq!(ends.len(), 3);
    }

    #[test]
    fn wrong_or_missing_master_key_is_refused_and_never_replaced() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Keyring::open(one.path()).unwrap().sealing_key("acme/ada").unwrap();
        Keyring::open(two.path()).unwrap();
        let master = one.path().join("master.key");
        fs::copy(two.path().join("master.key"), &master).unwrap();
        let error = Keyring::open(one.path()).unwrap_err();
        assert!(matches!(error, KeyringError::WrongMaster(_)), "{error}");
        fs::remove_file(&master).unwrap();
        let error = Keyring::open(one.path()).unwrap_err().to_string();
        assert!(error.contains("restore it from the backup"), "{error}");
        assert!(!master.exists());
        let (format, key) = ("quipu-master-key-1", "A".repeat(43));
        let line = |format: &str, key: &str| format!("{format} {key} {}", file::crc(format, key));
        for damaged in [
            format!("{format} {key} 00000000\n"),
            format!("{}\n", line("quipu-master-key-2", &key)),
            format!("{}\n", line(format, &key[..42])),
            format!("{} more\n", line(format, &key)),
            line(format, &key),
            format!("{format} {key}\n"),
        ] {
            fs::write(&master, &damaged).unwrap();
            fs::set_permissions(&master, fs::Permissions::from_mode(0o600)).unwrap();
            let refused = Keyring::open(one.path()).unwrap_err();
            let path = master.display().to_string();
            assert_eq!(refused, KeyringError::Damaged { path, line: 1 }, "{damaged}");
        }
        fs::write(&master, format!("{}\n", line(format, &key))).unwrap();
        assert!(
            matches!(Keyring::open(one.path()), Err(KeyringError::WrongMaster(_))),
            "whole, and another"
        );
    }

    #[test]
    fn log_with_records_opens_with_its_own_keys_unless_overridden() {
        use crate::{contract::Owner, memory::MemoryLog};
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir_all(&data).unwrap();
        let keys_dir = data.join(KEYS_DIR);
        let log = MemoryLog::new(quipu_schemas::position::LogId([1; 16]), 2);
        let open = |allow| Keyring::of_log(&data, &log, allow);
        // An empty log takes what is there, however often the keys change.
        open(false).unwrap();
        fs::remove_dir_all(&keys_dir).unwrap();
        let own = open(false).unwrap().digest_key();
        Owner::claim(&log, 1).write(&log, 1);
        assert_eq!(open(false).unwrap().digest_key(), own);

        let kept = root.path().join("kept");
        fs::rename(&keys_dir, &kept).unwrap();
        let error = open(false).unwrap_err();
        assert_eq!(error, KeyringError::Missing(keys_dir.display().to_string()));
        assert!(error.to_string().contains("restore the keys directory") && error.to_string().contains("--without-keys"));
        assert!(!keys_dir.exists(), "a refusal makes nothing");
        Keyring::open(&keys_dir).unwrap();
        assert_eq!(open(false).unwrap_err(), KeyringError::Foreign(keys_dir.display().to_string()));
        fs::remove_file(subjects(&keys_dir)).unwrap();
        assert_eq!(
            open(false).unwrap_err(),
            KeyringError::Missing(subjects(&keys_dir).display().to_string())
        );
        fs::remove_dir_all(&keys_dir).unwrap();

        let new = open(true).unwrap().digest_key();
        assert_ne!(new, own);
        assert_eq!(
            open(false).unwrap().digest_key(),
            new,
            "what was made knowingly is the log's from now on"
        );
        // The old keys can be taken up again, knowingly too.
        fs::remove_dir_all(&keys_dir).unwrap();
        fs::rename(&kept, &keys_dir).unwrap();
        assert!(matches!(open(false), Err(KeyringError::Foreign(_))));
        assert_eq!(open(true).unwrap().digest_key(), own);

        let note = data.join(FINGERPRINT_FILE);
        let whole = fs::read(&note).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&note, &changed).unwrap();
            assert!(matches!(open(false), Err(KeyringError::Fingerprint(_))), "byte {at}");
        }
        fs::remove_file(&note).unwrap();
        assert_eq!(open(false).unwrap_err(), KeyringError::NoFingerprint(note.display().to_string()));
        assert_eq!(open(true).unwrap().digest_key(), own);
        assert_eq!(fs::read(&note).unwrap(), whole);
    }

    /// The data directory of a log with one record and the keys of two people.
    fn used(root: &Path, id: u8) -> (PathBuf, crate::memory::MemoryLog) {
        use crate::contract::Owner;
        let data = root.join(format!("data-{id}"));
        fs::create_dir_all(&data).unwrap();
        let log = crate::memory::MemoryLog::new(LogId([id; 16]), 1);
        let keys = Keyring::of_log(&data, &log, false).unwrap();
        for subject in ["acme/ada", "acme/eve"] {
            keys.sealing_key(subject).unwrap();
        }
        Owner::claim(&log, 0).write(&log, 1);
        keys.note().unwrap();
        (data, log)
    }

    #[test]
    fn fewer_keys_than_were_used_stop_the_start_and_change_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (data, log) = used(root.path(), 1);
        let path = subjects(&data.join(KEYS_DIR));
        let whole = fs::read(&path).unwrap();
        let lines: Vec<usize> = whole
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .map(|(at, _)| at + 1)
            .collect();
        for cut in lines[0]..whole.len() - 1 {
            fs::write(&path, &whole[..cut]).unwrap();
            let found = lines.iter().filter(|end| cut + 1 >= **end).count() as u64;
            let fewer = KeyringError::Fewer {
                path: path.display().to_string(),
                found,
                noted: 3,
            };
            assert_eq!(Keyring::of_log(&data, &log, false).unwrap_err(), fewer, "cut at {cut}");
            assert_eq!(fs::read(&path).unwrap(), &whole[..cut], "a refusal changes nothing");
        }
        // Only the last end of line is missing: the key is whole.
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let keys = Keyring::of_log(&data, &log, false).unwrap();
        assert_eq!((keys.subjects(), keys.notes().len()), (2, 1));
        assert_eq!(fs::read(&path).unwrap(), whole);
        // Knowingly, what is there is taken; what was torn stays.
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert_eq!(Keyring::of_log(&data, &log, true).unwrap().subjects(), 1);
        assert_eq!(take_torn(&data.join(KEYS_DIR)).unwrap(), &whole[lines[1]..whole.len() - 9]);
        assert_eq!(Keyring::of_log(&data, &log, false).unwrap().subjects(), 1);
    }

    #[test]
    fn torn_key_that_no_record_used_is_set_aside_and_told() {
        let root = tempfile::tempdir().unwrap();
        let (data, log) = used(root.path(), 1);
        let path = subjects(&data.join(KEYS_DIR));
        let noted = fs::read(&path).unwrap();
        // Made and torn after the last note.
        Keyring::of_log(&data, &log, false).unwrap().sealing_key("acme/bob").unwrap();
        let longer = fs::read(&path).unwrap();
        fs::write(&path, &longer[..longer.len() - 5]).unwrap();
        let keys = Keyring::of_log(&data, &log, false).unwrap();
        assert_eq!(keys.subjects(), 2);
        assert!(keys.notes()[0].contains("subjects.keys.torn-"), "{:?}", keys.notes());
        assert_eq!(fs::read(&path).unwrap(), noted);
        assert_eq!(take_torn(&data.join(KEYS_DIR)).unwrap(), &longer[noted.len()..longer.len() - 5]);
        // One that was made and not noted yet is no reason to refuse.
        fs::write(&path, &longer).unwrap();
        assert_eq!(Keyring::of_log(&data, &log, false).unwrap().subjects(), 3);
    }

    #[test]
    fn keys_and_fingerprint_of_another_log_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let ((data, log), (other, _)) = (used(root.path(), 1), used(root.path(), 2));
        let note = data.join(FINGERPRINT_FILE);
        fs::remove_dir_all(data.join(KEYS_DIR)).unwrap();
        fs::rename(other.join(KEYS_DIR), data.join(KEYS_DIR)).unwrap();
        assert!(matches!(Keyring::of_log(&data, &log, false), Err(KeyringError::Foreign(_))));
        fs::copy(other.join(FINGERPRINT_FILE), &note).unwrap();
        let path = note.display().to_string();
        assert_eq!(
            Keyring::of_log(&data, &log, false).unwrap_err(),
            KeyringError::OtherLog(path.clone())
        );
        fs::remove_file(&note).unwrap();
        assert_eq!(Keyring::of_log(&data, &log, false).unwrap_err(), KeyringError::NoFingerprint(path));
    }

    #[test]
    fn exchanged_data_keys_under_the_same_master_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let (data, log) = used(root.path(), 1);
        let path = subjects(&data.join(KEYS_DIR));
        let whole = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        fs::write(&path, [lines[0], lines[2], lines[1]].concat()).unwrap();
        assert!(matches!(Keyring::of_log(&data, &log, false), Err(KeyringError::Foreign(_))));
    }

    #[test]
    fn a_destroyed_key_does_not_come_back_with_an_old_copy() {
        let root = tempfile::tempdir().unwrap();
        let (data, log) = used(root.path(), 1);
        let path = subjects(&data.join(KEYS_DIR));
        let copy = fs::read(&path).unwrap();
        let keys = Keyring::of_log(&data, &log, false).unwrap();
        let joint = "acme/ada,acme/eve";
        assert!(keys.opening_key(joint).unwrap().is_some());
        assert!(keys.destroy("acme/ada").unwrap());
        let is_gone = |keys: &Keyring| {
            assert!(matches!(keys.sealing_key("acme/ada"), Err(SealError::Erased(_))));
            assert!(keys.opening_key("acme/ada").unwrap().is_none() && keys.opening_key(joint).unwrap().is_none());
            assert!(keys.opening_key("acme/eve").unwrap().is_some());
            assert_eq!(keys.subjects(), 1);
        };
        is_gone(&keys);
        keys.sealing_key("acme/bob").unwrap();
        keys.note().unwrap();
        drop(keys);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), text.matches("erased:").count()), (4, 1));
        let keys = Keyring::of_log(&data, &log, false).unwrap();
        assert!(keys.opening_key("acme/bob").unwrap().is_some());
        assert!(!keys.destroy("acme/ada").unwrap(), "there is none any more");
        drop(keys);
        // The keys of before, with what was made since.
        let bob = text.lines().last().unwrap();
        fs::write(&path, [&copy[..], bob.as_bytes(), b"\n"].concat()).unwrap();
        let keys = Keyring::of_log(&data, &log, false).unwrap();
        assert!(keys.opening_key("acme/ada").unwrap().is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        for many in ["", joint] {
            assert!(matches!(keys.destroy(many), Err(KeyringError::NotOne(_))));
        }
    }

    #[test]
    fn fingerprint_of_the_first_format_is_upgraded() {
        let root = tempfile::tempdir().unwrap();
        let (data, log) = used(root.path(), 1);
        let note = data.join(FINGERPRINT_FILE);
        let newest = fs::read_to_string(&note).unwrap();
        let keys = newest.split(' ').nth(1).unwrap();
        let first = format!("quipu-keys-1 {keys} {}\n", file::crc("quipu-keys-1", keys));
        fs::write(&note, first).unwrap();
        assert_eq!(Keyring::of_log(&data, &log, false).unwrap().subjects(), 2);
        assert_eq!(fs::read_to_string(&note).unwrap(), newest);
    }

    #[test]
    fn files_readable_by_others_are_refused_with_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        Keyring::open(dir.path()).unwrap();
        for file in ["master.key", "subjects.keys"] {
            let path = dir.path().join(file);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let error = Keyring::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn threads_that_race_for_a_new_subject_get_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keyring::open(dir.path()).unwrap());
        let racing: Vec<_> = (0..8)
            .map(|_| {
                let keys = keys.clone();
                std::thread::spawn(move || keys.sealing_key("acme/ada").unwrap().0)
            })
            .collect();
        let first = keys.sealing_key("acme/ada").unwrap().0;
        assert!(racing.into_iter().all(|thread| thread.join().unwrap() == first));
        assert_eq!(
            Keyring::open(dir.path()).unwrap().opening_key("acme/ada").unwrap().unwrap().0,
            first
        );
    }

    #[test]
    fn ephemeral_keys_follow_from_the_seed() {
        let sealed = Personal::seal(&1u32, "acme/ada", &Keyring::ephemeral(7)).unwrap();
        assert_eq!(sealed.open(&Keyring::ephemeral(7)).unwrap(), Opened::Value(1));
        assert!(sealed.open(&Keyring::ephemeral(8)).is_err());
        assert_eq!(Keyring::ephemeral(7).digest_key(), Keyring::ephemeral(7).digest_key());
        assert_ne!(Keyring::ephemeral(7).digest_key(), Keyring::ephemeral(8).digest_key());
    }

    /// A nonce that came twice under one key would give both texts away.
    #[test]
    fn no_nonce_comes_twice() {
        let dir = tempfile::tempdir().unwrap();
        for keys in [Keyring::open(dir.path()).unwrap(), Keyring::ephemeral(7)] {
            let nonces: std::collections::BTreeSet<_> = (0..100).map(|_| keys.nonce().unwrap()).collect();
            assert_eq!(nonces.len(), 100);
        }
    }

    #[test]
    fn an_empty_log_needs_no_readable_fingerprint() {
        use crate::{contract::Owner, memory::MemoryLog};
        let data = tempfile::tempdir().unwrap();
        let log = MemoryLog::new(quipu_schemas::position::LogId([1; 16]), 2);
        fs::write(data.path().join(FINGERPRINT_FILE), "torn").unwrap();
        let own = Keyring::of_log(data.path(), &log, false).unwrap().digest_key();
        Owner::claim(&log, 1).write(&log, 1);
        assert_eq!(Keyring::of_log(data.path(), &log, false).unwrap().digest_key(), own);
        fs::write(data.path().join(FINGERPRINT_FILE), "torn").unwrap();
        assert!(matches!(
            Keyring::of_log(data.path(), &log, false),
            Err(KeyringError::Fingerprint(_))
        ));
        assert_eq!(Keyring::of_log(data.path(), &log, true).unwrap().digest_key(), own);
    }

    /// A store of shared keys in memory.
    #[derive(Default)]
    struct Kept(parking_lot::Mutex<std::collections::BTreeMap<String, String>>);

    impl KeyStore for Kept {
        fn get(&self, name: &str) -> Result<Option<String>, String> {
            Ok(self.0.lock().get(name).cloned())
        }
        fn add(&self, name: &str, wrapped: &str) -> Result<bool, String> {
            let mut kept = self.0.lock();
            let is_new = !kept.contains_key(name);
            kept.entry(name.into()).or_insert(wrapped.into());
            Ok(is_new)
        }
        fn place(&self) -> String {
            "the shared keys".into()
        }
    }

    #[test]
    fn shared_keys_keep_their_names_and_overwrite_nothing() {
        use crate::memory::MemoryLog;
        let data = tempfile::tempdir().unwrap();
        let keys = Keyring::open(&data.path().join(KEYS_DIR)).unwrap();
        let (ada, digest_key) = (keys.sealing_key("acme/ada").unwrap(), keys.digest_key());
        let store = Arc::new(Kept::default());
        let names = 2; // Hers, and the one of command digests.
        assert_eq!(share(&data.path().join(KEYS_DIR), store.clone()), Ok(names));
        assert_eq!(store.0.lock().len() as u64, names);
        assert_eq!(
            share(&data.path().join(KEYS_DIR), store.clone()),
            Ok(names),
            "again changes nothing"
        );
        let log = MemoryLog::new(quipu_schemas::position::LogId([1; 16]), 1);
        let open = |dir: &Path| Keyring::of_shared_log(dir, &log, store.clone(), false);
        let shared = open(data.path()).unwrap();
        assert_eq!(shared.digest_key(), digest_key);
        assert_eq!(shared.opening_key("acme/ada").unwrap().unwrap().0, ada.0);
        assert!(shared.opening_key("acme/nobody").unwrap().is_none());
        // A node with another master key opens nothing, and shares nothing over what is there.
        let other = tempfile::tempdir().unwrap();
        Keyring::open(&other.path().join(KEYS_DIR)).unwrap();
        let place = "the shared keys".to_owned();
        assert_eq!(open(other.path()).unwrap_err(), KeyringError::OtherMaster(place.clone()));
        assert_eq!(
            share(&other.path().join(KEYS_DIR), store.clone()),
            Err(KeyringError::OtherMaster(place.clone()))
        );
        // A key under another's name is damage.
        let wrapped = store.get("acme/ada").unwrap().unwrap();
        store.add("acme/eve", &wrapped).unwrap();
        let told = shared.opening_key("acme/eve").unwrap_err().to_string();
        assert!(told.contains(&place), "{told}");
    }

    #[test]
    fn shared_keys_are_made_for_an_empty_log_or_on_purpose_only() {
        use crate::{contract::Owner, memory::MemoryLog};
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = MemoryLog::new(quipu_schemas::position::LogId([1; 16]), 2);
        let open = |dir: &tempfile::TempDir, store: &Arc<Kept>, allow| Keyring::of_shared_log(dir.path(), &log, store.clone(), allow);
        let store = Arc::new(Kept::default());
        let own = open(&first, &store, false).unwrap().digest_key();
        Owner::claim(&log, 1).write(&log, 1);
        assert_eq!(open(&first, &store, false).unwrap().digest_key(), own);
        // A log with records whose keys are gone.
        let empty = Arc::new(Kept::default());
        assert_eq!(
            open(&second, &empty, false).unwrap_err(),
            KeyringError::Missing("the shared keys".into())
        );
        assert_ne!(open(&second, &empty, true).unwrap().digest_key(), own);
    }

    #[test]
    fn a_fingerprint_that_cannot_be_read_is_not_taken_for_none() {
        use crate::{contract::Owner, memory::MemoryLog};
        let data = tempfile::tempdir().unwrap();
        let log = MemoryLog::new(quipu_schemas::position::LogId([1; 16]), 1);
        Keyring::open(&data.path().join(KEYS_DIR)).unwrap();
        Owner::claim(&log, 0).write(&log, 1);
        fs::create_dir(data.path().join(FINGERPRINT_FILE)).unwrap();
        assert!(matches!(Keyring::of_log(data.path(), &log, false), Err(KeyringError::Io { .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = Keyring::ephemeral(7);
        let key = keys.sealing_key("acme/ada").unwrap();
        let shown = format!("{keys:?} {key:?}");
        assert_eq!(shown, "Keyring(0 subjects) DataKey(..)");
    }
}
