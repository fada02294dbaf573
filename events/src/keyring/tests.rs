mod documents;
mod fingerprints;

use super::*;
use fingerprints::used;
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
    let line = |format: &str, key: &str| format!("{format} {key} {}", line::crc(format, key));
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
fn keys_destroyed_at_once_are_all_on_the_list() {
    let root = tempfile::tempdir().unwrap();
    let (data, log) = used(root.path(), 1);
    let keys = Keyring::of_log(&data, &log, false).unwrap();
    let subjects: Vec<_> = (0..16).map(|n| format!("acme/person-{n}")).collect();
    for subject in &subjects {
        keys.sealing_key(subject).unwrap();
    }
    std::thread::scope(|threads| {
        for subject in &subjects {
            threads.spawn(|| assert!(keys.destroy(subject).unwrap()));
        }
    });
    let listed = Erased::read(&data).unwrap();
    assert_eq!(listed.0, subjects.into_iter().collect());
    assert_eq!(keys.erased(), listed);
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
fn debug_shows_no_key() {
    let keys = Keyring::ephemeral(7);
    let key = keys.sealing_key("acme/ada").unwrap();
    let shown = format!("{keys:?} {key:?}");
    assert_eq!(shown, "Keyring(0 subjects) DataKey(..)");
}
