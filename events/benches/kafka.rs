//! Appends through the log on Kafka beside bare transactions of the same frames: same broker, same number in flight,
//! interleaved pairs in one run.
//!
//! The bare side is what a program without a log would do: begin, send, poll until delivered, commit, one producer a
//! partition. It promises less: it knows neither that the frame continues the partition, nor that readers see it yet.
//!
//! `cargo bench -p quipu-events --features kafka --bench kafka`

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/servers/skipped.rs"]
mod skipped;

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/servers/kafka.rs"]
mod kafka;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/servers/kafka_proxy.rs"]
mod kafka_proxy;

use futures::executor::block_on;
use kafka::Kafka;
use quipu_events::{
    contract::{append, record},
    frame::{self, FrameHeader},
    kafka::{KafkaLog, KafkaOptions},
    port::{Batch, Head, Log},
};
use quipu_schemas::{digest::Digest, position::LogId, record::EncodedRecord};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const PAIRS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// One size of frame.
struct Load {
    partitions: u16,
    records: Vec<Arc<EncodedRecord>>,
    /// Appends to each partition in one measurement.
    rounds: u64,
}

fn main() {
    // `cargo test --benches` passes other arguments and wants no measurement.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    println!("one append in flight a partition; medians of {PAIRS} interleaved pairs, frames a second");
    println!(
        "{:<44} {:>8} {:>8} {:>7}",
        "broker, partitions, records x bytes", "ours", "bare", "ratio"
    );
    for (name, flush) in [("default", false), ("flush.messages=1", true)] {
        let kafka = match Kafka::start(flush) {
            Ok(kafka) => kafka,
            Err(why) => return println!("not measured: {why}"),
        };
        // A sync of every file for every message is slow.
        for (partitions, rounds) in if flush { [(16, 3), (1, 10)] } else { [(16, 15), (1, 60)] } {
            for count in [1, 16] {
                let records: Vec<_> = (0..count).map(|n| record("acme/bench/b", n + 1, Digest::ZERO, 300)).collect();
                let label = format!("{name}, {partitions}, {count} x {}", records[0].bytes.len());
                measure(
                    &kafka,
                    &label,
                    &Load {
                        partitions,
                        records,
                        rounds,
                    },
                );
            }
        }
    }
}

fn measure(kafka: &Kafka, label: &str, load: &Load) {
    let prefix = format!("bench{}-{}", load.partitions, load.records.len());
    let text = format!(
        "kafka://{}/{prefix}?partitions={}&accept=unsynced",
        kafka.address(),
        load.partitions
    );
    let options: KafkaOptions = text.parse().expect("options");
    let log = KafkaLog::open(&options).expect("a log");
    let mut heads: Vec<Head> = (0..load.partitions)
        .map(|p| log.claim(p, "http://bench").expect("a claim"))
        .collect();
    let topic = format!("{prefix}.bare");
    let bare = bare_producers(kafka, &topic, load.partitions);
    let frames = frames(load);
    let (mut ours_all, mut bare_all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first pair only warms up.
    for pair in 0..=PAIRS {
        let (mut ours, mut plain) = (Duration::ZERO, Duration::ZERO);
        for turn in 0..2 {
            if (pair + turn) % 2 == 0 {
                ours = append_all(&log, &mut heads, load);
            } else {
                plain = publish_all(&bare, &topic, &frames);
            }
        }
        let rate = |time: Duration| f64::from(load.partitions) * load.rounds as f64 / time.as_secs_f64();
        if pair > 0 {
            ours_all.push(rate(ours));
            bare_all.push(rate(plain));
            ratios.push(rate(ours) / rate(plain));
        }
    }
    println!(
        "{label:<44} {:>8.0} {:>8.0} {:>7.2}",
        median(&mut ours_all),
        median(&mut bare_all),
        median(&mut ratios)
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The frames of one partition, encoded ahead.
fn frames(load: &Load) -> Vec<Vec<u8>> {
    let mut previous = Digest::ZERO;
    (0..load.rounds)
        .map(|round| {
            let header = FrameHeader {
                log_id: LogId([1; 16]),
                generation: 1,
                partition: 0,
                epoch: 1,
                batch_id: [7; 16],
                first_offset: round * load.records.len() as u64,
                previous,
                owner: None,
            };
            let mut bytes = Vec::new();
            let records = load.records.iter().map(|r| r.bytes.as_slice());
            previous = frame::encode_onto(&mut bytes, &header, records).expect("a frame").hash;
            bytes
        })
        .collect()
}

fn bare_producers(kafka: &Kafka, topic: &str, partitions: u16) -> Vec<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address());
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let new = NewTopic::new(topic, i32::from(partitions), TopicReplication::Fixed(1));
    block_on(admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(PATIENCE)))).expect("a topic");
    config.set("linger.ms", "0");
    (0..partitions)
        .map(|partition| {
            config.set("transactional.id", format!("{topic}/{partition}"));
            let producer: BaseProducer = config.create().expect("a producer");
            producer.init_transactions(PATIENCE).expect("a begun producer");
            producer
        })
        .collect()
}

fn publish_all(producers: &[BaseProducer], topic: &str, frames: &[Vec<u8>]) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for (partition, producer) in producers.iter().enumerate() {
            scope.spawn(move || {
                for frame in frames {
                    producer.begin_transaction().expect("begun");
                    let record = BaseRecord::<(), [u8]>::to(topic)
                        .partition(partition as i32)
                        .payload(frame.as_slice());
                    producer.send(record).map_err(|(e, _)| e).expect("sent");
                    while producer.in_flight_count() > 0 {
                        producer.poll(Duration::from_millis(1));
                    }
                    producer.commit_transaction(PATIENCE).expect("committed");
                }
            });
        }
    });
    began.elapsed()
}

fn append_all(log: &KafkaLog, heads: &mut [Head], load: &Load) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for (partition, head) in heads.iter_mut().enumerate() {
            scope.spawn(move || {
                for _ in 0..load.rounds {
                    let batch = Batch {
                        partition: partition as u16,
                        epoch: head.epoch,
                        batch_id: [7; 16],
                        first_offset: head.next_offset,
                        previous: head.frame_hash,
                        records: load.records.clone(),
                    };
                    let appended = append(log, batch).expect("an append");
                    head.next_offset += load.records.len() as u64;
                    head.frame_hash = appended.frame_hash;
                }
            });
        }
    });
    began.elapsed()
}
