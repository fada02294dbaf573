//! What opens, and what is refused.

use super::*;
use futures::executor::block_on;
use quipu_events::kafka::SyncMode;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", kafka.address());
    config.create().unwrap()
}

fn patience() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)))
}

fn delete(kafka: &Kafka, topic: &str) {
    let deleted = block_on(admin(kafka).delete_topics(&[topic], &patience())).unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

fn make(kafka: &Kafka, topic: &str, key: &str, value: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set(key, value);
    let made = block_on(admin(kafka).create_topics([&new], &patience())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

#[test]
fn a_log_opens_only_as_what_it_is() {
    let Some(kafka) = shared(false, "opening logs") else {
        return;
    };
    let good = options(&kafka.address(), "opens", 3);
    let log = open(&good);
    let meta = log.meta();
    assert_eq!((meta.partitions, meta.generation, meta.backend), (3, 1, "kafka"));
    let again = open(&KafkaOptions {
        log_id: Some(meta.log_id),
        ..good.clone()
    });
    assert_eq!(again.meta(), meta, "found again");
    let refused = |change: &dyn Fn(&mut KafkaOptions)| {
        let mut options = good.clone();
        options.open = Duration::from_secs(5);
        change(&mut options);
        KafkaLog::open(&options).err().expect("a refusal")
    };
    assert!(matches!(
        refused(&|o| o.partitions = 4),
        OpenError::Partitions { found: 3, asked: 4 }
    ));
    assert!(matches!(refused(&|o| o.log_id = Some(LogId([9; 16]))), OpenError::OtherLog { .. }));
    assert!(matches!(refused(&|o| o.prefix = "a.b".into()), OpenError::Options(_)));
    assert!(matches!(
        refused(&|o| o.brokers = vec!["127.0.0.1:1".into()]),
        OpenError::Unreachable { .. }
    ));
    let unsynced = refused(&|o| o.accept_unsynced = false).to_string();
    assert!(unsynced.contains("memory") && unsynced.contains("flush.messages=1"), "{unsynced}");
    // What the broker tells counts, not what is declared.
    let declared = refused(&|o| (o.accept_unsynced, o.sync) = (false, Some(SyncMode::Always))).to_string();
    assert!(declared.contains("brokers say"), "{declared}");
    let synced = open(&KafkaOptions {
        prefix: "synced".into(),
        accept_unsynced: false,
        sync: Some(SyncMode::Always),
        ..good.clone()
    });
    assert_eq!(synced.meta().durability, Durability::Fsync);
    let replicas = refused(&|o| (o.prefix, o.replicas) = ("three".into(), 3)).to_string();
    assert!(replicas.contains("three.meta"), "{replicas}");

    // A topic that would lose messages is none of a log's.
    for (prefix, key, value) in [
        ("limited", "retention.ms", "1000000"),
        ("sized", "retention.bytes", "1000000"),
        ("compacted", "cleanup.policy", "compact"),
        ("small", "max.message.bytes", "1000"),
    ] {
        make(&kafka, &format!("{prefix}.log"), key, value);
        let refused = refused(&|o| (o.prefix, o.partitions) = (prefix.into(), 1));
        assert!(
            matches!(&refused, OpenError::Topic { topic, .. } if topic == &format!("{prefix}.log")),
            "{refused}"
        );
    }
    make(&kafka, "wide.log", "retention.ms", "-1");
    let wide = refused(&|o| (o.prefix, o.partitions) = ("wide".into(), 2)).to_string();
    assert!(wide.contains("retention.bytes") || wide.contains("partitions"), "{wide}");

    // A log whose identity was lost is not taken for a new one, and neither is one whose topic was.
    Owner::claim(&*log, 2).write(&*log, 1);
    drop((log, again));
    delete(&kafka, &good.meta_topic());
    let other = refused(&|_| {});
    assert!(
        matches!(&other, OpenError::OtherLog { topic, .. } if topic == "opens.log"),
        "{other}"
    );
    delete(&kafka, "synced.log");
    drop(synced);
    let gone = refused(&|o| (o.prefix, o.accept_unsynced) = ("synced".into(), true)).to_string();
    assert!(gone.contains("synced.log") && gone.contains("gone"), "{gone}");
}

/// Many at once.
fn makes(address: &str) {
    let options = options(address, "making", 16);
    let ids: Vec<LogId> = thread::scope(|scope| {
        let opens: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&options).meta().log_id)).collect();
        opens.into_iter().map(|o| o.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "one log: {ids:?}");
}

#[test]
fn many_may_make_a_log_at_once() {
    if let Some(kafka) = shared(false, "making logs") {
        makes(&kafka.address());
    }
    if let Some(tansu) = tansu::start_or_skip("making logs") {
        makes(&tansu.address());
    }
}
