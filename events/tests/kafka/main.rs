//! The log contract on real Apache Kafka and on Tansu, and what only a broker can do: lose answers, have two owners, be
//! killed, forget.
//!
//! Tansu keeps everything in memory and tells no configuration, so what is about files, restarts and settings is checked on
//! Apache Kafka only.

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/skipped.rs"]
mod skipped;

#[cfg(feature = "kafka-tls")]
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/certificates.rs"]
mod certificates;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/kafka.rs"]
mod kafka;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/kafka_proxy.rs"]
mod kafka_proxy;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/kafkas.rs"]
mod kafkas;
#[allow(unreachable_pub, reason = "shared by several test programs")]
#[path = "../servers/tansu.rs"]
mod tansu;

mod damage;
mod faults;
mod leases;
mod opening;
mod owners;
#[cfg(feature = "kafka-tls")]
mod secured;
mod three;

use kafka::Kafka;
use kafka_proxy::{END_TXN, Fate, PRODUCE, Proxy};
use parking_lot::{Mutex, MutexGuard};
use quipu_events::{
    contract::{self, Owner, Subject, append, read_all},
    kafka::{KafkaLog, KafkaOptions, OpenError},
    port::{AppendError, Batch, FrameRead, Log, Place, ReadError},
};
use quipu_schemas::{envelope::Durability, position::LogId};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// A broker for all tests that need no more of it than topics of their own; it ends with the last test that has it.
fn shared(flush: bool, what: &str) -> Option<Arc<Kafka>> {
    static BROKERS: [Mutex<Weak<Kafka>>; 2] = [const { Mutex::new(Weak::new()) }; 2];
    let mut broker = BROKERS[usize::from(flush)].lock();
    if let Some(running) = broker.upgrade() {
        return Some(running);
    }
    let started = Arc::new(kafka::start_or_skip(flush, what)?);
    *broker = Arc::downgrade(&started);
    Some(started)
}

/// A shared broker, and the sole use of the proxy before it.
fn shared_proxied(what: &str) -> Option<(Arc<Kafka>, MutexGuard<'static, ()>)> {
    static PROXY: Mutex<()> = Mutex::new(());
    let broker = shared(false, what)?;
    Some((broker, PROXY.lock()))
}

fn options(address: &str, prefix: &str, partitions: u16) -> KafkaOptions {
    let text = format!("kafka://{address}/{prefix}?partitions={partitions}&accept=unsynced");
    text.parse().expect("options of a test")
}

fn open(options: &KafkaOptions) -> Arc<KafkaLog> {
    Arc::new(KafkaLog::open(options).expect("a log of a test"))
}

/// A log on a broker that a test started.
struct Topic<'a> {
    options: KafkaOptions,
    fault: Option<(&'a Proxy, Fate)>,
    log: Option<Arc<KafkaLog>>,
}

impl<'a> Topic<'a> {
    fn new(options: KafkaOptions, fault: Option<(&'a Proxy, Fate)>) -> Self {
        let log = Some(open(&options));
        Self { options, fault, log }
    }
}

impl Subject for Topic<'_> {
    fn log(&self) -> Arc<dyn Log> {
        self.log.clone().unwrap()
    }
    fn reopen(&mut self) -> bool {
        self.log = None;
        self.log = Some(open(&self.options));
        true
    }
    fn make_next_unknown(&mut self, _: u16) {
        let (proxy, fate) = self.fault.expect("a proxy");
        proxy.next(fate);
    }
    fn recover(&mut self) {
        self.fault.expect("a proxy").0.mend();
    }
    fn damage(&mut self, _: Place) -> bool {
        false
    }
}

type Promise = fn(&mut dyn Subject);

const PROMISES: [(&str, Promise); 9] = [
    ("offsets", contract::offsets_are_contiguous_and_claims_take_none),
    ("claims", contract::a_claim_raises_the_epoch_and_fences_the_owner_before),
    ("conflicts", contract::what_does_not_continue_the_partition_is_refused),
    ("durable", contract::acknowledged_frames_are_durable_and_whole),
    ("order", contract::appends_complete_in_submission_order),
    ("reads", contract::reads_return_whole_frames_and_never_skip),
    ("repeats", contract::reads_repeat_byte_for_byte),
    ("places", contract::places_give_their_records),
    ("head", contract::the_head_is_the_durable_end),
];

/// Every promise with each number of partitions, each on a log of its own; some side by side, as they wait for the broker most
/// of the time.
fn keeps_every_promise(broker: &str, partitions: &[u16], options: impl Fn(&str, u16) -> KafkaOptions + Sync, class: Durability) {
    const SIDE_BY_SIDE: usize = 3;
    let began = Instant::now();
    let cases: Vec<(&str, Promise, u16)> = PROMISES
        .iter()
        .flat_map(|(name, promise)| partitions.iter().map(|partitions| (*name, *promise, *partitions)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((name, promise, partitions)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut subject = Topic::new(options(&format!("{name}{partitions}"), *partitions), None);
            assert_eq!(subject.log().meta().durability, class);
            promise(&mut subject);
            println!("{broker} {name} with {partitions}: {:?}", began.elapsed());
        }
    };
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(work);
        }
    });
}

#[test]
fn the_contract_holds_on_apache_kafka() {
    let Some(kafka) = shared(false, "the log contract") else {
        return;
    };
    let address = kafka.address();
    keeps_every_promise(
        "Kafka",
        &[16, 1],
        |name, partitions| options(&address, name, partitions),
        Durability::Memory,
    );
}

#[test]
fn the_contract_holds_on_apache_kafka_that_syncs_always() {
    let Some(kafka) = shared(true, "the log contract with syncs") else {
        return;
    };
    let address = kafka.address();
    keeps_every_promise(
        "synced Kafka",
        &[1],
        |name, partitions| options(&address, name, partitions),
        Durability::Fsync,
    );
}

#[test]
fn the_contract_holds_on_tansu() {
    let Some(tansu) = tansu::start_or_skip("the log contract") else {
        return;
    };
    let address = tansu.address();
    // It answers one after the other: what several logs ask at once waits longer than at a Kafka.
    let patient = |name: &str, partitions| KafkaOptions {
        request: Duration::from_secs(10),
        ..options(&address, name, partitions)
    };
    keeps_every_promise("Tansu", &[16, 1], patient, Durability::Memory);
}

#[test]
fn any_offset_is_found_by_a_log_that_knows_nothing_yet() {
    let Some(kafka) = shared(false, "reading by offset") else {
        return;
    };
    let options = options(&kafka.address(), "halving", 1);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    for n in 0..120 {
        owner.write(&*log, 1 + n % 4);
        if n % 11 == 0 {
            owner.head = log.claim(0, "http://again").unwrap();
        }
    }
    let all = read_all(&*log, 0, 1 << 20).unwrap();
    let end = owner.head.next_offset;
    for from in (0..end).step_by(29).chain([end - 1]) {
        let fresh = open(&options);
        let frames = fresh.read(0, from, 1).unwrap();
        let expected = all.iter().find(|f| f.first_offset + f.records.len() as u64 > from).unwrap();
        let found = frames.last().unwrap();
        assert_eq!(
            (found.first_offset, found.hash),
            (expected.first_offset, expected.hash),
            "from {from}"
        );
        let claims = all
            .iter()
            .filter(|f| f.owner.is_some() && f.first_offset == expected.first_offset && f.first_offset >= from);
        assert_eq!(frames.len(), 1 + claims.count(), "from {from}");
    }
    // Many records at once, far apart and close together, in any order.
    let records: Vec<(Place, Vec<u8>)> = all.iter().flat_map(|f| f.records.iter().cloned()).collect();
    let order: Vec<usize> = (0..records.len()).map(|n| n * 7 % records.len()).collect();
    let places: Vec<Place> = order.iter().map(|n| records[*n].0).collect();
    let fresh = open(&options);
    for (n, record) in order.iter().zip(fresh.read_at(&places).unwrap()) {
        assert_eq!(records[*n].1, record);
    }
    assert!(fresh.read(0, end, 1).unwrap().is_empty());
    // Another node sees what the owner writes after it caught up, as soon as it is acknowledged.
    for n in 0..20 {
        owner.write(&*log, 1);
        assert_eq!(fresh.head(0).unwrap(), owner.head);
        assert_eq!(fresh.read(0, end + n, 1).unwrap().iter().map(|f| f.records.len()).sum::<usize>(), 1);
    }
}
