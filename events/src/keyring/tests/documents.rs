//! Documents beside data keys.

use super::*;

/// What is made is kept; what another made first counts.
fn document(keys: &Keyring, byte: u8) -> Vec<u8> {
    keys.document("signing", || Ok(vec![byte; 138])).unwrap()
}

#[test]
fn documents_are_made_once_and_stay_after_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keyring::open(dir.path()).unwrap();
    assert_eq!((document(&keys, 1), document(&keys, 2)), (vec![1; 138], vec![1; 138]));
    let ada = keys.sealing_key("acme/ada").unwrap();
    // Neither a data key, nor sealed with as one, nor destroyed like one.
    assert_eq!(keys.subjects(), 1);
    assert!(keys.sealing_key("document:signing").is_err());
    assert!(keys.destroy("document:signing").is_err());
    let again = Keyring::open(dir.path()).unwrap();
    assert_eq!(document(&again, 3), [1; 138]);
    assert_eq!(again.opening_key("acme/ada").unwrap().unwrap().0, ada.0);
    let stored = fs::read(subjects(dir.path())).unwrap();
    assert!(!stored.windows(16).any(|bytes| bytes == [1; 16]), "it stands there in the clear");
    // A last line that lacks only its end is whole, of a document too.
    let last = dir.path().join("last");
    fs::create_dir(&last).unwrap();
    fs::set_permissions(&last, fs::Permissions::from_mode(0o700)).unwrap();
    let keys = Keyring::open(&last).unwrap();
    document(&keys, 4);
    let text = fs::read(subjects(&last)).unwrap();
    fs::write(subjects(&last), &text[..text.len() - 1]).unwrap();
    assert_eq!(document(&Keyring::open(&last).unwrap(), 5), [4; 138]);
    let keys = Keyring::ephemeral(7);
    assert_eq!((document(&keys, 1), document(&keys, 2)), (vec![1; 138], vec![1; 138]));
}

#[test]
fn nodes_that_share_keys_share_documents() {
    use crate::memory::MemoryLog;
    let data = tempfile::tempdir().unwrap();
    let own = Keyring::open(&data.path().join(KEYS_DIR)).unwrap();
    document(&own, 1);
    let store = Arc::new(Kept::default());
    assert_eq!(share(&data.path().join(KEYS_DIR), store.clone()), Ok(2));
    let log = MemoryLog::new(quipu_schemas::position::LogId([1; 16]), 1);
    let open = || Keyring::of_shared_log(data.path(), &log, store.clone(), false).unwrap();
    let (one, two) = (open(), open());
    assert_eq!((document(&one, 2), document(&two, 3)), (vec![1; 138], vec![1; 138]));
    let new = |keys: &Keyring, byte| keys.document("next", || Ok(vec![byte; 9])).unwrap();
    assert_eq!((new(&two, 4), new(&one, 5)), (vec![4; 9], vec![4; 9]));
}
