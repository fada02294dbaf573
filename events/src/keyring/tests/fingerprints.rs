//! Keys of another log, and fewer than were used.

use super::super::*;
use super::{subjects, take_torn};
use std::fs;

/// The data directory of a log with one record and the keys of two people.
pub(super) fn used(root: &Path, id: u8) -> (PathBuf, crate::memory::MemoryLog) {
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
fn fingerprint_of_the_first_format_is_upgraded() {
    let root = tempfile::tempdir().unwrap();
    let (data, log) = used(root.path(), 1);
    let note = data.join(FINGERPRINT_FILE);
    let newest = fs::read_to_string(&note).unwrap();
    let keys = newest.split(' ').nth(1).unwrap();
    let first = format!("quipu-keys-1 {keys} {}\n", line::crc("quipu-keys-1", keys));
    fs::write(&note, first).unwrap();
    assert_eq!(Keyring::of_log(&data, &log, false).unwrap().subjects(), 2);
    assert_eq!(fs::read_to_string(&note).unwrap(), newest);
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
