//! Appends through the log on JetStream beside bare publishes of the same frames: same server, same sync mode, same
//! number in flight, interleaved pairs in one run.
//!
//! `cargo bench -p quipu-events --features jetstream --bench jetstream`

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/servers/skipped.rs"]
mod skipped;

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../tests/servers/nats.rs"]
mod nats;

use async_nats::{ConnectOptions, jetstream};
use bytes::Bytes;
use nats::{Nats, SYSTEM, Shape, USER};
use quipu_events::{
    contract::record,
    frame::{self, FrameHeader},
    jetstream::{JetStreamLog, JetStreamOptions},
    port::{Batch, Head, Log},
};
use quipu_schemas::{digest::Digest, position::LogId, record::EncodedRecord};
use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

const PARTITIONS: u16 = 16;
const PAIRS: usize = 7;

/// One size of frame.
struct Load {
    records: Vec<Arc<EncodedRecord>>,
    /// Appends to each partition in one measurement.
    rounds: u64,
}

fn main() {
    // `cargo test --benches` passes other arguments and wants no measurement.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    println!("{PARTITIONS} partitions, one append in flight each; medians of {PAIRS} interleaved pairs, frames a second");
    println!("{:<34} {:>10} {:>10} {:>7}", "server, records x bytes", "ours", "bare", "ratio");
    for (name, servers, sync_always, rounds) in [
        ("1 server, default sync", 1, false, 400),
        ("1 server, sync always", 1, true, 40),
        ("3 servers, default sync", 3, false, 200),
        ("3 servers, sync always", 3, true, 20),
    ] {
        let nats = match Nats::start(Shape { servers, sync_always }) {
            Ok(nats) => nats,
            Err(why) => return println!("not measured: {why}"),
        };
        for count in [1, 16] {
            let records: Vec<_> = (0..count).map(|n| record("acme/bench/b", n + 1, Digest::ZERO, 300)).collect();
            let label = format!("{name}, {count} x {}", records[0].bytes.len());
            measure(&nats, &label, servers, &Load { records, rounds });
        }
    }
}

fn measure(nats: &Nats, label: &str, replicas: usize, load: &Load) {
    let prefix = format!("bench{}", load.records.len());
    let text = format!(
        "{}/{prefix}?partitions={PARTITIONS}&replicas={replicas}&system={SYSTEM}&accept=unsynced",
        nats.url()
    );
    let options: JetStreamOptions = text.parse().expect("options");
    let log = Arc::new(JetStreamLog::open(&options).expect("a log"));
    let mut heads: Vec<Head> = (0..PARTITIONS).map(|p| log.claim(p, "http://bench").expect("a claim")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let bare = runtime.block_on(bare_streams(nats, &prefix, replicas));
    let frames = frames(load);
    let (mut ours_all, mut bare_all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let (mut ours, mut plain) = (Duration::ZERO, Duration::ZERO);
        for turn in 0..2 {
            if (pair + turn) % 2 == 0 {
                ours = append_all(&log, &mut heads, load);
            } else {
                plain = runtime.block_on(publish_all(&bare, &prefix, &frames));
            }
        }
        let rate = |time: Duration| f64::from(PARTITIONS) * load.rounds as f64 / time.as_secs_f64();
        ours_all.push(rate(ours));
        bare_all.push(rate(plain));
        ratios.push(rate(ours) / rate(plain));
    }
    println!(
        "{label:<34} {:>10.0} {:>10.0} {:>7.2}",
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
fn frames(load: &Load) -> Vec<Bytes> {
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
            bytes.into()
        })
        .collect()
}

async fn bare_streams(nats: &Nats, prefix: &str, replicas: usize) -> jetstream::Context {
    let (user, password) = USER.split_once(':').expect("a user");
    let options = ConnectOptions::with_user_and_password(user.into(), password.into());
    let client = options.connect(format!("127.0.0.1:{}", nats.port(0))).await.expect("a connection");
    let context = jetstream::new(client);
    for partition in 0..PARTITIONS {
        let config = jetstream::stream::Config {
            name: format!("BARE_{prefix}_{partition}"),
            subjects: vec![format!("bare.{prefix}.{partition}")],
            num_replicas: replicas,
            discard: jetstream::stream::DiscardPolicy::New,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            ..Default::default()
        };
        context.create_stream(config).await.expect("a stream");
        // A new stream of a cluster answers nobody for a moment.
        while context
            .publish(format!("bare.{prefix}.{partition}"), "first".into())
            .await
            .expect("sent")
            .await
            .is_err()
        {}
    }
    context
}

async fn publish_all(context: &jetstream::Context, prefix: &str, frames: &[Bytes]) -> Duration {
    let began = Instant::now();
    let mut running = Vec::new();
    for partition in 0..PARTITIONS {
        let (context, frames, subject) = (context.clone(), frames.to_vec(), format!("bare.{prefix}.{partition}"));
        running.push(tokio::spawn(async move {
            for frame in frames {
                context
                    .publish(subject.clone(), frame)
                    .await
                    .expect("sent")
                    .await
                    .expect("acknowledged");
            }
        }));
    }
    for task in running {
        task.await.expect("a publisher");
    }
    began.elapsed()
}

/// One partition's appends, each begun by the callback of the one before.
struct Chain {
    log: Arc<JetStreamLog>,
    records: Vec<Arc<EncodedRecord>>,
    partition: u16,
    head: Head,
    left: u64,
    done: mpsc::Sender<(u16, Head)>,
}

impl Chain {
    fn next(mut self) {
        if self.left == 0 {
            // The driver waits for every partition.
            let _ = self.done.send((self.partition, self.head));
            return;
        }
        let batch = Batch {
            partition: self.partition,
            epoch: self.head.epoch,
            batch_id: [7; 16],
            first_offset: self.head.next_offset,
            previous: self.head.frame_hash,
            records: self.records.clone(),
        };
        let log = self.log.clone();
        log.append(
            batch,
            Box::new(move |result| {
                let appended = result.expect("an append");
                self.head.next_offset += self.records.len() as u64;
                self.head.frame_hash = appended.frame_hash;
                self.left -= 1;
                self.next();
            }),
        );
    }
}

fn append_all(log: &Arc<JetStreamLog>, heads: &mut [Head], load: &Load) -> Duration {
    let (send, receive) = mpsc::channel();
    let began = Instant::now();
    for (partition, head) in heads.iter().enumerate() {
        let chain = Chain {
            log: log.clone(),
            records: load.records.clone(),
            partition: partition as u16,
            head: *head,
            left: load.rounds,
            done: send.clone(),
        };
        chain.next();
    }
    for _ in 0..heads.len() {
        let (partition, head) = receive.recv().expect("every partition ends");
        heads[usize::from(partition)] = head;
    }
    began.elapsed()
}
