//! Blobs in a directory: the contract, crashes, damage.

use super::*;
use crate::blobs::contract::{self, Subject, bytes, org};

struct Dir {
    dir: tempfile::TempDir,
    blobs: Option<Arc<DirectoryBlobs>>,
}

impl Dir {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Some(Arc::new(DirectoryBlobs::open(dir.path()).unwrap()));
        Self { dir, blobs }
    }
}

fn size_of(dir: &Path) -> u64 {
    let of = |path: PathBuf| {
        if path.is_dir() {
            size_of(&path)
        } else {
            path.metadata().unwrap().len()
        }
    };
    entries(dir).unwrap().into_iter().map(of).sum()
}

impl Subject for Dir {
    fn blobs(&self) -> Arc<dyn Blobs> {
        self.blobs.clone().unwrap()
    }
    fn reopen(&mut self) -> bool {
        self.blobs = None;
        self.blobs = Some(Arc::new(DirectoryBlobs::open(self.dir.path()).unwrap()));
        true
    }
    fn damage(&mut self, org: &OrgId, name: &Digest) -> bool {
        let path = self.blobs.as_ref().unwrap().place.file(org, name);
        if let Ok(mut stored) = fs::read(&path) {
            stored[7] ^= 1;
            fs::write(&path, stored).unwrap();
            return true;
        }
        let connection = Connection::open(self.dir.path().join(PACKED_FILE)).unwrap();
        let changed = connection.execute(
            "UPDATE blobs SET bytes = CAST(bytes || x'00' AS BLOB) WHERE org = ?1 AND name = ?2",
            params![org.as_str(), name.0],
        );
        assert_eq!(changed.unwrap(), 1);
        true
    }
    fn bytes_on_disk(&self) -> Option<u64> {
        let connection = Connection::open(self.dir.path().join(PACKED_FILE)).unwrap();
        let folded = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        folded.unwrap();
        Some(size_of(self.dir.path()))
    }
    fn silence(&mut self) -> bool {
        let blobs = self.blobs.take().unwrap();
        drop(blobs);
        // Opened as a store whose writer and file are gone.
        let blobs = DirectoryBlobs {
            place: Arc::new(Place {
                root: self.dir.path().join("gone"),
            }),
            jobs: None,
            writer: None,
            readers: Mutex::default(),
        };
        self.blobs = Some(Arc::new(blobs));
        true
    }
}

#[test]
fn the_contract_holds_in_a_directory() {
    contract::keeps_every_promise(&mut Dir::new());
}

#[test]
fn files_of_a_crash_go_at_the_next_start() {
    let mut dir = Dir::new();
    let stored = bytes(1, 200_000);
    let name = dir.blobs().put(&org("acme"), std::slice::from_ref(&stored)).unwrap()[0];
    let place = dir.blobs.as_ref().unwrap().place.clone();
    let beside = place.file(&org("acme"), &name).with_file_name(format!("{}.new", Digest([1; 32])));
    let unlisted = place.file(&org("new"), &Digest([2; 32]));
    fs::create_dir_all(unlisted.parent().unwrap()).unwrap();
    fs::write(&beside, b"half").unwrap();
    fs::write(&unlisted, b"whole, and in no row").unwrap();
    dir.reopen();
    assert!(!beside.exists() && !unlisted.exists());
    assert_eq!(dir.blobs().get(&org("acme"), &name), Ok(stored));
}

#[test]
fn a_lost_or_torn_large_file_is_damage() {
    let dir = Dir::new();
    let name = dir.blobs().put(&org("acme"), &[bytes(2, 200_000)]).unwrap()[0];
    let file = dir.blobs.as_ref().unwrap().place.file(&org("acme"), &name);
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..100], &[whole.clone(), vec![0]].concat()[..]] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(dir.blobs().get(&org("acme"), &name), Err(BlobError::Damaged(name)));
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(dir.blobs().get(&org("acme"), &name), Err(BlobError::Damaged(name)));
}

#[test]
fn concurrent_puts_share_their_syncs() {
    let dir = Dir::new();
    // While the file is locked by somebody else, everything queues up behind the first.
    let lock = Connection::open(dir.dir.path().join(PACKED_FILE)).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let frames = |connection: &Connection| -> i64 {
        connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
            .unwrap()
    };
    std::thread::scope(|scope| {
        for n in 0..20u64 {
            let blobs = dir.blobs();
            scope.spawn(move || blobs.put(&org("acme"), &[bytes(n, 100)]).unwrap());
        }
        std::thread::sleep(Duration::from_millis(50)); // poll: long enough for twenty threads to queue up
        lock.execute_batch("COMMIT").unwrap();
    });
    // A transaction of its own for each would have written at least two pages each.
    assert!(frames(&lock) < 40, "{}", frames(&lock));
    assert_eq!(dir.blobs().list(None).unwrap().blobs.len(), 20);
}

#[test]
fn bytes_flipped_in_the_packed_file_are_never_served() {
    let mut dir = Dir::new();
    let stored: Vec<Vec<u8>> = (0..60).map(|n| bytes(n, 2_000 + 500 * n as usize)).collect();
    let names = dir.blobs().put(&org("acme"), &stored).unwrap();
    dir.bytes_on_disk();
    dir.blobs = None;
    let path = dir.dir.path().join(PACKED_FILE);
    let whole = fs::read(&path).unwrap();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let Ok(blobs) = DirectoryBlobs::open(dir.dir.path()) else {
            noticed += 1;
            continue;
        };
        for (name, bytes) in names.iter().zip(&stored) {
            match blobs.get(&org("acme"), name) {
                Ok(found) => assert_eq!(&found, bytes),
                Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed > 50, "{noticed}");
}

#[test]
fn a_full_disk_is_told_apart_from_a_store_that_does_not_answer() {
    let place = Place { root: "blobs".into() };
    let full = |error: Box<dyn std::error::Error>| matches!(place.not_written(&*error), BlobError::Full { .. });
    assert!(full(Box::new(io::Error::from(ErrorKind::StorageFull))));
    assert!(full(Box::new(io::Error::from(ErrorKind::QuotaExceeded))));
    assert!(!full(Box::new(io::Error::from(ErrorKind::PermissionDenied))));
    // As SQLite says it: no page may be added any more.
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE t (x); PRAGMA max_page_count = 2").unwrap();
    let error = connection.execute("INSERT INTO t VALUES (zeroblob(100000))", []).unwrap_err();
    assert!(full(Box::new(error)));
}

#[test]
fn a_store_that_a_crash_left_without_its_table_is_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!DirectoryBlobs::is_there(dir.path()));
    fs::write(dir.path().join(PACKED_FILE), "").unwrap();
    assert!(!DirectoryBlobs::is_there(dir.path()));
    drop(DirectoryBlobs::open(dir.path()).unwrap());
    assert!(DirectoryBlobs::is_there(dir.path()));
    fs::write(dir.path().join(PACKED_FILE), "not a database at all").unwrap();
    assert!(DirectoryBlobs::is_there(dir.path()), "opening it says what is wrong");
}
