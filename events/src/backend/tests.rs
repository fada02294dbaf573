use super::*;
use crate::heads::EndsError;

#[test]
fn a_name_or_an_address_tells_which_and_passwords_are_not_shown() {
    assert!(matches!("embedded".parse(), Ok(Backend::Embedded)));
    assert!(matches!("memory".parse(), Ok(Backend::Memory)));
    let told = "ftp://user:hunter2@host/x".parse::<Backend>().unwrap_err().to_string();
    assert!(told.contains("embedded") && !told.contains("hunter2"), "{told}");
    let nats = "nats://user:hunter2@host:4222/prod".parse::<Backend>();
    #[cfg(feature = "jetstream")]
    {
        let nats = nats.unwrap();
        assert_eq!(nats.to_string(), "nats://host:4222/prod");
        assert!(nats.is_shared() && !format!("{nats:?}").contains("hunter2"));
    }
    #[cfg(not(feature = "jetstream"))]
    assert!(nats.unwrap_err().to_string().contains("--features jetstream"));
}

#[test]
fn a_log_of_this_process_is_neither_shared_nor_on_a_broker() {
    for (backend, name) in [(Backend::Memory, "memory"), (Backend::Embedded, "embedded")] {
        assert!(!backend.is_shared() && !backend.is_on_broker());
        assert_eq!(
            (backend.to_string().as_str(), backend.named("other", 3).to_string().as_str()),
            (name, name)
        );
    }
}

#[test]
fn log_opens_with_its_partitions_and_embedded_needs_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    for (backend, data_dir) in [(Backend::Memory, None), (Backend::Embedded, Some(dir.path()))] {
        let opened = backend.open(data_dir, 3, LogId([5; 16])).unwrap();
        assert_eq!(opened.log.meta().partitions, 3);
        assert_eq!(opened.embedded.is_some(), data_dir.is_some());
    }
    assert!(matches!(
        Backend::Embedded.open(None, 3, LogId([5; 16])),
        Err(OpenError::NoDirectory)
    ));
}

#[test]
fn a_log_that_was_moved_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Backend::Embedded.open(Some(dir.path()), 3, LogId([5; 16])).map(drop);
    open().unwrap();
    note_moved(dir.path(), &Backend::Memory).unwrap();
    let said = open().unwrap_err().to_string();
    assert!(said.contains("moved to memory") && said.contains(MOVED_FILE), "{said}");
    fs::remove_file(dir.path().join(MOVED_FILE)).unwrap();
    open().unwrap();
}

#[test]
fn a_node_keeps_the_id_of_its_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = node_id(Some(dir.path())).unwrap();
    assert!(first.strip_prefix("node_").is_some_and(|rest| rest.len() == 12), "{first}");
    assert_eq!(node_id(Some(dir.path())).unwrap(), first);
    assert_ne!(node_id(None).unwrap(), first, "nothing remembers it");
    // A crash may leave an empty file: another id, from then on.
    fs::write(dir.path().join(NODE_FILE), " \n").unwrap();
    let second = node_id(Some(dir.path())).unwrap();
    assert!(second.starts_with("node_") && second != first);
    assert_eq!(node_id(Some(dir.path())).unwrap(), second);
    // What cannot be read is told, never replaced.
    fs::remove_file(dir.path().join(NODE_FILE)).unwrap();
    fs::create_dir(dir.path().join(NODE_FILE)).unwrap();
    assert!(node_id(Some(dir.path())).is_err());
}

#[cfg(all(feature = "jetstream", feature = "kafka"))]
#[test]
fn a_log_on_a_broker_is_shared_and_named_on_the_same_servers() {
    for (text, named) in [
        ("nats://h:4222/prod", "nats://h:4222/copy"),
        ("kafka://h:9092/prod", "kafka://h:9092/copy"),
    ] {
        let backend: Backend = text.parse().unwrap();
        assert!(backend.is_shared() && backend.is_on_broker());
        let other = backend.named("copy", 3);
        assert_eq!((backend.to_string().as_str(), other.to_string().as_str()), (text, named));
        let partitions = match other {
            Backend::JetStream(options) => options.partitions,
            Backend::Kafka(options) => options.partitions,
            Backend::Memory | Backend::Embedded => 0,
        };
        assert_eq!(partitions, 3);
    }
}

#[cfg(any(feature = "jetstream", feature = "kafka"))]
#[test]
fn node_directory_is_locked_and_notes_heads_of_a_remote_log() {
    use crate::heads::{HeadEntry, note_ends};
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("made");
    assert!(lock(None).unwrap().is_none());
    let held = lock(Some(&dir)).unwrap();
    assert!(held.is_some());
    let holder = format!("process {}", std::process::id());
    assert!(matches!(lock(Some(&dir)), Err(OpenError::Locked { dir: d, holder: h }) if (&d, &h) == (&dir, &holder)));
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(LogId([5; 16]), 1));
    let again = || opened(Some(&dir), None, log.clone(), None);
    let first = opened(Some(&dir), held, log.clone(), None).unwrap();
    assert!(first.lock.is_some() && first.embedded.is_none() && first.log.meta().log_id == LogId([5; 16]));
    let noted = HeadEntry {
        generation: 1,
        partition: 0,
        offset: 9,
        frame_hash: quipu_schemas::digest::Digest::ZERO,
    };
    note_ends(&RealDisk, &dir, LogId([5; 16]), vec![noted]).unwrap();
    assert!(matches!(again(), Err(OpenError::Ends(EndsError::Lost { found: 0, noted: 9, .. }))));
    assert!(
        opened(None, None, log.clone(), None).is_ok(),
        "without a directory nothing is known"
    );
    drop(first);
    assert!(lock(Some(&dir)).unwrap().is_some(), "given back");
}
