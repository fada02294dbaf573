//! Damage: in the servers' files, by a foreign hand, by an old disk.

use super::*;

/// A log whose server is stopped to damage its files.
struct Damageable {
    stream: Stream,
    nats: Nats,
}

impl Subject for Damageable {
    fn log(&self) -> Arc<dyn Log> {
        self.stream.log()
    }
    fn reopen(&mut self) -> bool {
        self.stream.reopen()
    }
    fn make_next_unknown(&mut self, partition: u16) {
        self.stream.make_next_unknown(partition);
    }
    fn recover(&mut self) {
        self.stream.recover();
    }
    fn damage(&mut self, place: Place) -> bool {
        let record = self.log().read_at(&[place]).unwrap().remove(0);
        self.nats.kill(0);
        assert!(flip(&self.nats.store(0), &record), "the record is in a file");
        self.nats.restart(0);
        true
    }
}

/// Flips a bit of a record wherever a file holds it.
fn flip(dir: &Path, record: &[u8]) -> bool {
    let mut found = false;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found |= flip(&path, record);
        } else if path.extension().is_some_and(|e| e == "blk") {
            let mut bytes = fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(record.len()).position(|w| w == record) {
                bytes[at + 100] ^= 4;
                fs::write(&path, bytes).unwrap();
                found = true;
            }
        }
    }
    found
}

#[test]
fn damage_in_server_files_is_found_and_not_served() {
    let damageable = |prefix| {
        let nats = start_or_skip(SINGLE_ALWAYS, "damage under JetStream")?;
        let mut options = options(&nats.url(), prefix, 2, 1);
        options.outcome = Duration::from_millis(500);
        let stream = Stream::new(options, None);
        Some(Damageable { stream, nats })
    };
    let Some(mut subject) = damageable("reads") else { return };
    contract::reads_return_whole_frames_and_never_skip(&mut subject);
    // By place: the server gives whole messages or none, so the records of one frame go together.
    let Some(mut subject) = damageable("places") else { return };
    let mut owner = Owner::claim(&*subject.log(), 0);
    let (first, second) = (owner.write(&*subject.log(), 2), owner.write(&*subject.log(), 2));
    assert!(subject.damage(second[1]));
    assert!(subject.log().read_at(&second).is_err());
    subject.log().read_at(&first).unwrap();
}

#[test]
fn a_message_that_is_no_frame_stops_its_partition_and_no_other() {
    let Some(nats) = start_or_skip(SINGLE, "foreign messages on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "foreign", 2, 1);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    owner.write(&*log, 2);
    publish(&nats, "quipu.log.foreign.000", b"not a frame");
    let refused = append(&*log, owner.batch(1));
    assert!(
        matches!(&refused, Err(AppendError::Poisoned(why)) if why.contains("no frame")),
        "{refused:?}"
    );
    for log in [&log, &open(&options)] {
        assert_eq!(log.read(0, 0, 1 << 20).unwrap().len(), 2);
        let damaged = log.read(0, 2, 1 << 20);
        assert!(matches!(damaged, Err(ReadError::Damaged { offset: 2, .. })), "{damaged:?}");
        assert!(matches!(log.claim(0, "x"), Err(AppendError::Poisoned(_))));
        assert!(matches!(log.head(0), Err(ReadError::Damaged { .. })));
    }
    Owner::claim(&*log, 1).write(&*log, 1);
}

/// A publish by hand, acknowledged.
fn publish(nats: &Nats, subject: &str, payload: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client(nats).await;
        let answer = client.request(subject.to_owned(), payload.to_vec().into()).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer.payload).contains("error"));
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_server_that_forgets_what_it_acknowledged_is_found_out() {
    let Some(mut nats) = start_or_skip(SINGLE_ALWAYS, "a nats-server with an old disk") else {
        return;
    };
    let mut options = options(&nats.url(), "forgets", 1, 1);
    options.outcome = Duration::from_millis(700);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    owner.write(&*log, 2);
    nats.kill(0);
    let aside = tempfile::tempdir().unwrap();
    copy(&nats.store(0), aside.path());
    nats.restart(0);
    // The connection is found broken, perhaps only by this append; the same frame is asked for until it is stored.
    owner.write(&*log, 3);
    nats.kill(0);
    fs::remove_dir_all(nats.store(0)).unwrap();
    copy(aside.path(), &nats.store(0));
    nats.restart(0);
    assert!(append(&*log, owner.batch(1)).is_err());
    let refused = log.claim(0, "http://again");
    assert!(
        matches!(&refused, Err(AppendError::Poisoned(why)) if why.contains("gone")),
        "{refused:?}"
    );
    assert!(matches!(log.head(0), Err(ReadError::Damaged { .. })));
}
