//! Damage: in the broker's files, by a foreign hand, by an old disk. On Apache Kafka only: Tansu has no files.

use super::*;

/// A log whose broker is stopped to damage its files.
struct Damageable {
    topic: Topic<'static>,
    kafka: Kafka,
}

impl Subject for Damageable {
    fn log(&self) -> Arc<dyn Log> {
        self.topic.log()
    }
    fn reopen(&mut self) -> bool {
        self.topic.reopen()
    }
    fn make_next_unknown(&mut self, partition: u16) {
        self.topic.make_next_unknown(partition);
    }
    fn recover(&mut self) {
        self.topic.recover();
    }
    fn damage(&mut self, place: Place) -> bool {
        let record = self.log().read_at(&[place]).unwrap().remove(0);
        // In order: a broker that was killed checks its last segment and cuts it off at damage.
        self.kafka.stop();
        assert!(flip(&self.kafka.data(), &record), "the record is in a file");
        self.kafka.restart();
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
        } else if path.extension().is_some_and(|e| e == "log") {
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
fn damage_in_broker_files_is_found_and_not_served() {
    let Some(kafka) = kafka::start_or_skip(false, "damage") else {
        return;
    };
    let topic = Topic::new(options(&kafka.address(), "reads", 2), None);
    let mut subject = Damageable { topic, kafka };
    contract::reads_return_whole_frames_and_never_skip(&mut subject);
    // By place: a frame's checksum covers all its records, so they go together.
    subject.topic = Topic::new(options(&subject.kafka.address(), "places", 2), None);
    let mut owner = Owner::claim(&*subject.log(), 0);
    let (first, second) = (owner.write(&*subject.log(), 2), owner.write(&*subject.log(), 2));
    assert!(subject.damage(second[1]));
    assert!(subject.log().read_at(&second).is_err());
    subject.log().read_at(&first).unwrap();
}

#[test]
fn a_message_that_is_no_frame_stops_its_partition_and_no_other() {
    let Some(kafka) = shared(false, "foreign messages") else {
        return;
    };
    let options = options(&kafka.address(), "foreign", 2);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    owner.write(&*log, 2);
    publish(&kafka, &options.log_topic(), b"not a frame");
    assert!(append(&*log, owner.batch(1)).is_err(), "nothing is acknowledged behind it");
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
fn publish(kafka: &Kafka, topic: &str, payload: &[u8]) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", kafka.address());
    let producer: BaseProducer = config.create().unwrap();
    producer
        .send(BaseRecord::<(), [u8]>::to(topic).partition(0).payload(payload))
        .map_err(|(e, _)| e)
        .unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
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
fn a_broker_that_forgets_what_it_acknowledged_is_found_out() {
    let Some(mut kafka) = kafka::start_or_skip(true, "a broker with an old disk") else {
        return;
    };
    let mut options = options(&kafka.address(), "forgets", 1);
    options.outcome = Duration::from_secs(5);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    owner.write(&*log, 2);
    kafka.stop();
    let aside = tempfile::tempdir().unwrap();
    copy(&kafka.data(), aside.path());
    kafka.restart();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // The broker needs a moment until it is ready, and an append that is given up asks for a claim.
        let batch = owner.batch(3);
        match append(&*log, batch.clone()) {
            Ok(appended) => break owner.appended(&batch, &appended),
            Err(_) if Instant::now() < deadline => {
                if let Ok(head) = log.claim(0, "http://test") {
                    owner = Owner::at(0, head);
                }
            }
            Err(e) => panic!("{e}"),
        }
    }
    kafka.stop();
    fs::remove_dir_all(kafka.data()).unwrap();
    copy(aside.path(), &kafka.data());
    kafka.restart();
    assert!(append(&*log, owner.batch(1)).is_err());
    let deadline = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        match log.claim(0, "http://again") {
            Err(AppendError::Unknown(_)) if Instant::now() < deadline => {}
            refused => break refused,
        }
    };
    assert!(
        matches!(&refused, Err(AppendError::Poisoned(why)) if why.contains("gone")),
        "{refused:?}"
    );
    assert!(matches!(log.head(0), Err(ReadError::Damaged { .. })));
}
