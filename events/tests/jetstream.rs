//! The log contract on real nats-servers, and what only a broker can do: lose answers, refuse in passing, have two owners,
//! be killed, forget.

#[allow(unreachable_pub, reason = "shared by several test programs")]
#[path = "servers/fake.rs"]
mod fake;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "servers/nats.rs"]
mod nats;
#[allow(unreachable_pub, reason = "shared by several test programs")]
#[path = "servers/proxy.rs"]
mod proxy;

use fake::Fake;
use nats::{Nats, SYSTEM, Shape, USER, start_or_skip};
use proxy::{Fate, Proxy};
use quipu_events::{
    contract::{self, Owner, Subject, append, read_all},
    jetstream::{JetStreamLog, JetStreamOptions, OpenError, SyncMode},
    port::{AppendError, Batch, Log, Place, ReadError},
};
use quipu_schemas::{envelope::Durability, position::LogId};
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

const SINGLE: Shape = Shape {
    servers: 1,
    sync_always: false,
};
const SINGLE_ALWAYS: Shape = Shape {
    servers: 1,
    sync_always: true,
};
const CLUSTER: Shape = Shape {
    servers: 3,
    sync_always: false,
};
const CLUSTER_ALWAYS: Shape = Shape {
    servers: 3,
    sync_always: true,
};

fn options(url: &str, prefix: &str, partitions: u16, replicas: usize) -> JetStreamOptions {
    let text = format!("{url}/{prefix}?partitions={partitions}&replicas={replicas}&system={SYSTEM}&accept=unsynced");
    text.parse().expect("options of a test")
}

fn open(options: &JetStreamOptions) -> Arc<JetStreamLog> {
    Arc::new(JetStreamLog::open(options).expect("a log of a test"))
}

struct Stream {
    options: JetStreamOptions,
    proxy: Option<(Proxy, Fate)>,
    log: Option<Arc<JetStreamLog>>,
}

impl Stream {
    fn new(options: JetStreamOptions, proxy: Option<(Proxy, Fate)>) -> Self {
        let log = Some(open(&options));
        Self { options, proxy, log }
    }
}

impl Subject for Stream {
    fn log(&self) -> Arc<dyn Log> {
        self.log.clone().unwrap()
    }
    fn reopen(&mut self) -> bool {
        self.log = None;
        self.log = Some(open(&self.options));
        true
    }
    fn make_next_unknown(&mut self, _: u16) {
        let (proxy, fate) = self.proxy.as_ref().expect("a proxy");
        proxy.next(&[*fate]);
    }
    fn recover(&mut self) {
        self.proxy.as_ref().expect("a proxy").0.mend();
    }
    fn damage(&mut self, _: Place) -> bool {
        false
    }
}

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
fn damage_in_the_servers_files_is_found_and_nothing_behind_it_is_served() {
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

/// Every promise, each on a log of its own, with several partitions and with 1.
fn keeps_every_promise(shape: Shape, partitions: u16, class: Durability) {
    let Some(nats) = start_or_skip(shape, "the log contract on JetStream") else {
        return;
    };
    let began = Instant::now();
    for (name, promise) in PROMISES {
        for partitions in [partitions, 1] {
            let mut subject = Stream::new(
                options(&nats.url(), &format!("{name}{partitions}"), partitions, shape.servers),
                None,
            );
            assert_eq!(subject.log().meta().durability, class);
            promise(&mut subject);
        }
        println!("{shape:?} {name}: {:?}", began.elapsed());
    }
}

#[test]
fn the_contract_holds_on_one_server() {
    keeps_every_promise(SINGLE, 16, Durability::Memory);
}

#[test]
fn the_contract_holds_on_one_server_that_syncs_always() {
    keeps_every_promise(SINGLE_ALWAYS, 16, Durability::Fsync);
}

#[test]
fn the_contract_holds_on_three_servers() {
    keeps_every_promise(CLUSTER, 4, Durability::QuorumMemory);
}

#[test]
fn the_contract_holds_on_three_servers_that_sync_always() {
    keeps_every_promise(CLUSTER_ALWAYS, 4, Durability::QuorumFsync);
}

/// Needs no server: the adapter speaks the protocol and keeps what does not depend on a disk.
#[test]
fn the_contract_holds_on_the_protocol_alone() {
    let fake = Fake::start();
    for (name, promise) in PROMISES {
        for partitions in [4, 1] {
            let text = format!("{}/{name}{partitions}?partitions={partitions}&accept=unsynced", fake.url());
            promise(&mut Stream::new(text.parse().unwrap(), None));
        }
    }
}

/// A log behind a proxy, with short deadlines.
fn behind_proxy(nats: &Nats, prefix: &str, partitions: u16) -> (Proxy, JetStreamOptions) {
    let proxy = Proxy::before(nats.port(0));
    let mut options = options(&format!("nats://{USER}@127.0.0.1:{}", proxy.port()), prefix, partitions, 1);
    // The servers are asked about their sync mode over the same proxy.
    options.request = Duration::from_millis(250);
    (proxy, options)
}

#[test]
fn an_unknown_outcome_blocks_until_claimed_and_is_told_by_reading() {
    let Some(nats) = start_or_skip(SINGLE, "unknown outcomes on JetStream") else {
        return;
    };
    for partitions in [16, 1] {
        for fate in [Fate::CutAfter, Fate::CutBefore] {
            let (proxy, mut options) = behind_proxy(&nats, &format!("{fate:?}{partitions}"), partitions);
            options.outcome = Duration::from_millis(600);
            let mut subject = Stream::new(options, Some((proxy, fate)));
            contract::an_unknown_outcome_blocks_until_claimed_and_is_told_by_reading(&mut subject);
        }
    }
}

#[test]
fn lost_answers_and_passing_refusals_are_read_back_and_never_called_a_conflict() {
    let Some(nats) = start_or_skip(SINGLE, "lost acknowledgements on JetStream") else {
        return;
    };
    let cases: [&[Fate]; 8] = [
        &[Fate::LoseAck],
        &[Fate::BreakBeforeAck],
        &[Fate::LosePublish],
        &[Fate::LosePublish, Fate::LoseAck],
        &[Fate::Refuse(10164), Fate::Refuse(10164), Fate::Refuse(10164)],
        &[Fate::Refuse(10071)],
        &[Fate::StoreAndRefuse(10071)],
        &[Fate::StoreAndRefuse(10164), Fate::LoseAck],
    ];
    for (n, fates) in cases.into_iter().enumerate() {
        let (proxy, options) = behind_proxy(&nats, &format!("lost{n}"), 1);
        let log = open(&options);
        let mut owner = Owner::claim(&*log, 0);
        owner.write(&*log, 1);
        let before = proxy.publishes();
        proxy.next(fates);
        owner.write(&*log, 2);
        let stored_at_first = matches!(fates[0], Fate::LoseAck | Fate::BreakBeforeAck | Fate::StoreAndRefuse(_));
        assert_eq!(proxy.publishes() - before > 1, !stored_at_first, "{fates:?}");
        owner.write(&*log, 1);
        let frames = read_all(&*log, 0, 1 << 20).unwrap();
        assert_eq!(
            frames.iter().map(|f| f.records.len()).collect::<Vec<_>>(),
            [0, 1, 2, 1],
            "{fates:?}: once each"
        );
        assert_eq!(log.head(0).unwrap(), owner.head);
    }
}

#[test]
fn a_lost_acknowledgement_of_a_claim_is_read_back() {
    let Some(nats) = start_or_skip(SINGLE, "lost claims on JetStream") else {
        return;
    };
    for (n, fate) in [Fate::LoseAck, Fate::BreakBeforeAck, Fate::LosePublish, Fate::StoreAndRefuse(10071)]
        .into_iter()
        .enumerate()
    {
        let (proxy, options) = behind_proxy(&nats, &format!("claim{n}"), 1);
        let log = open(&options);
        proxy.next(&[fate]);
        let mut owner = Owner::claim(&*log, 0);
        assert_eq!(owner.head.epoch, 1, "{fate:?}");
        owner.write(&*log, 1);
    }
}

#[test]
fn a_newer_claim_elsewhere_fences_the_owner_for_good() {
    let Some(nats) = start_or_skip(SINGLE, "fencing on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "fence", 2, 1);
    let (old, new) = (open(&options), open(&options));
    let mut first = Owner::claim(&*old, 1);
    first.write(&*old, 2);
    let batch = first.batch(1);
    let not_owned = append(&*new, batch.clone());
    assert!(
        matches!(not_owned, Err(AppendError::Poisoned(_))),
        "only who claimed writes: {not_owned:?}"
    );
    let mut second = Owner::at(1, new.claim(1, "http://new").unwrap());
    assert_eq!((second.head.epoch, second.head.next_offset), (2, 2));
    let fenced = Err(AppendError::Fenced { partition: 1, epoch: 2 });
    for _ in 0..3 {
        assert_eq!(append(&*old, batch.clone()), fenced);
    }
    // Not by guessing the new owner's epoch either.
    let guess = Batch {
        epoch: 2,
        previous: second.head.frame_hash,
        ..batch.clone()
    };
    assert!(append(&*old, guess).is_err());
    second.write(&*new, 3);
    assert_eq!(append(&*old, batch), fenced);
    assert_eq!(old.head(1).unwrap(), second.head, "anyone reads the new owner's end");
    let frames = read_all(&*old, 1, 1 << 20).unwrap();
    assert_eq!(
        frames.iter().map(|f| (f.epoch, f.records.len())).collect::<Vec<_>>(),
        [(1, 0), (1, 2), (2, 0), (2, 3)]
    );
    assert_eq!(frames[2].owner.as_deref(), Some("http://new"));
    assert_eq!(old.claim(1, "http://old").unwrap().epoch, 3);
    let late = second.batch(1);
    assert_eq!(append(&*new, late), Err(AppendError::Fenced { partition: 1, epoch: 3 }));
}

#[test]
fn racing_claims_get_one_epoch_each() {
    let Some(nats) = start_or_skip(SINGLE, "racing claims on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "race", 1, 1);
    let logs: Vec<_> = (0..4).map(|_| open(&options)).collect();
    let mut epochs: Vec<u64> = thread::scope(|scope| {
        let claims: Vec<_> = logs
            .iter()
            .map(|log| scope.spawn(|| (0..10).map(|_| log.claim(0, "http://same").unwrap().epoch).collect::<Vec<_>>()))
            .collect();
        claims.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=40).collect::<Vec<_>>());
}

/// Writes to every partition until told to stop, claiming again whenever an append fails; what was acknowledged.
fn write_through(log: &Arc<JetStreamLog>, during: impl FnOnce(&AtomicU32)) -> Vec<(u16, u64, Vec<u8>)> {
    let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..log.meta().partitions)
            .map(|partition| {
                let (stop, count) = (&stop, &count);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    let mut owner: Option<Owner> = None;
                    let mut batches = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let Some(o) = owner.as_mut() else {
                            owner = log.claim(partition, "http://test").ok().map(|head| Owner::at(partition, head));
                            continue;
                        };
                        let mut batch = o.batch(2);
                        batches += 1;
                        batch.batch_id[..8].copy_from_slice(&batches.to_le_bytes());
                        match append(&**log, batch.clone()) {
                            Ok(appended) => {
                                o.appended(&batch, &appended);
                                let records = batch.records.iter().zip(batch.first_offset..);
                                acknowledged.extend(records.map(|(r, offset)| (partition, offset, r.bytes.clone())));
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(AppendError::Conflict { .. }) => panic!("the only writer never conflicts"),
                            Err(_) => owner = None,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        during(&count);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    })
}

fn wait_for(count: &AtomicU32, at_least: u32) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while count.load(Ordering::Relaxed) < at_least {
        assert!(
            Instant::now() < deadline,
            "no progress: {} of {at_least} appends",
            count.load(Ordering::Relaxed)
        );
        thread::sleep(Duration::from_millis(2)); // poll
    }
}

/// Every acknowledged record is at its offset, and the chain has no hole.
fn all_there(log: &dyn Log, acknowledged: &[(u16, u64, Vec<u8>)]) {
    for partition in 0..log.meta().partitions {
        let frames = read_all(log, partition, 1 << 20).unwrap();
        assert!(frames.windows(2).all(|w| w[1].previous == w[0].hash));
        let records: Vec<&[u8]> = frames.iter().flat_map(|f| f.records.iter().map(|(_, r)| r.as_slice())).collect();
        for (_, offset, bytes) in acknowledged.iter().filter(|(p, ..)| *p == partition) {
            assert_eq!(
                records.get(*offset as usize),
                Some(&bytes.as_slice()),
                "record {offset} of partition {partition}"
            );
        }
    }
}

#[test]
fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let Some(mut nats) = start_or_skip(SINGLE_ALWAYS, "kill -9 of a nats-server") else {
        return;
    };
    let mut options = options(&nats.url(), "kill", 4, 1);
    options.outcome = Duration::from_secs(3);
    let log = open(&options);
    assert_eq!(log.meta().durability, Durability::Fsync);
    let acknowledged = write_through(&log, |count| {
        for round in 1..=4 {
            wait_for(count, count.load(Ordering::Relaxed) + 40 * round);
            nats.kill(0);
            nats.restart(0);
        }
        wait_for(count, count.load(Ordering::Relaxed) + 40);
    });
    assert!(acknowledged.len() > 400);
    all_there(&*log, &acknowledged);
    drop(log);
    all_there(&*open(&options), &acknowledged);
}

#[test]
fn a_cluster_that_loses_servers_in_turn_loses_nothing_that_it_acknowledged() {
    let Some(mut nats) = start_or_skip(CLUSTER, "failover of a nats cluster") else {
        return;
    };
    let mut options = options(&nats.url(), "failover", 4, 3);
    options.request = Duration::from_millis(500);
    let log = open(&options);
    let acknowledged = write_through(&log, |count| {
        for n in 0..3 {
            wait_for(count, count.load(Ordering::Relaxed) + 60);
            nats.kill(n);
            wait_for(count, count.load(Ordering::Relaxed) + 60);
            nats.restart(n);
        }
        wait_for(count, count.load(Ordering::Relaxed) + 60);
    });
    all_there(&*log, &acknowledged);
    drop(log);
    all_there(&*open(&options), &acknowledged);
}

#[test]
fn any_offset_is_found_by_a_log_that_knows_nothing_yet() {
    let Some(nats) = start_or_skip(SINGLE, "reading by offset on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "halving", 1, 1);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    for n in 0..150 {
        owner.write(&*log, 1 + n % 4);
        if n % 11 == 0 {
            owner.head = log.claim(0, "http://again").unwrap();
        }
    }
    let all = read_all(&*log, 0, 1 << 20).unwrap();
    let end = owner.head.next_offset;
    for from in (0..end).step_by(7).chain([end - 1]) {
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
    assert!(open(&options).read(0, end, 1).unwrap().is_empty());
    // Another node sees what the owner writes after it caught up.
    let other = open(&options);
    assert!(other.read(0, end, 1).unwrap().is_empty());
    owner.write(&*log, 1);
    assert_eq!(other.read(0, end, 1).unwrap().iter().map(|f| f.records.len()).sum::<usize>(), 1);
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

async fn client(nats: &Nats) -> async_nats::Client {
    let (user, password) = USER.split_once(':').unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
    options.connect(format!("127.0.0.1:{}", nats.port(0))).await.unwrap()
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

#[test]
fn a_log_opens_only_as_what_it_is() {
    let Some(nats) = start_or_skip(SINGLE, "opening logs on JetStream") else {
        return;
    };
    let good = options(&nats.url(), "opens", 3, 1);
    let log = open(&good);
    let meta = log.meta();
    assert_eq!((meta.partitions, meta.generation, meta.backend), (3, 1, "jetstream"));
    let again = open(&JetStreamOptions {
        log_id: Some(meta.log_id),
        ..good.clone()
    });
    assert_eq!(again.meta(), meta, "found again");
    let refused = |change: &dyn Fn(&mut JetStreamOptions)| {
        let mut options = good.clone();
        options.open = Duration::from_millis(300);
        change(&mut options);
        JetStreamLog::open(&options).err().expect("a refusal")
    };
    assert!(matches!(
        refused(&|o| o.partitions = 4),
        OpenError::Partitions { found: 3, asked: 4 }
    ));
    assert!(matches!(refused(&|o| o.log_id = Some(LogId([9; 16]))), OpenError::OtherLog { .. }));
    assert!(matches!(refused(&|o| o.prefix = "a.b".into()), OpenError::Options(_)));
    assert!(matches!(
        refused(&|o| o.servers = vec!["nats://127.0.0.1:1".into()]),
        OpenError::Unreachable { .. }
    ));
    let unsynced = refused(&|o| o.accept_unsynced = false).to_string();
    assert!(
        unsynced.contains("memory") && unsynced.contains("sync_interval: always"),
        "{unsynced}"
    );
    let undeclared = refused(&|o| (o.accept_unsynced, o.system) = (false, None)).to_string();
    assert!(undeclared.contains("nothing says when"), "{undeclared}");
    let declared = open(&JetStreamOptions {
        accept_unsynced: false,
        system: None,
        declared_sync: Some(SyncMode::Always),
        ..good.clone()
    });
    assert_eq!(declared.meta().durability, Durability::DeclaredFsync);
    let replicas = refused(&|o| (o.prefix, o.replicas) = ("three".into(), 3)).to_string();
    assert!(replicas.contains("QUIPU_three_P000"), "{replicas}");

    let api = |what: &str, body: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = client(&nats).await;
            let answer = client.request(format!("$JS.API.{what}"), body.to_owned().into()).await.unwrap();
            String::from_utf8_lossy(&answer.payload).into_owned()
        })
    };
    // Nothing can be deleted from a log's stream, as long as the stream is there.
    Owner::claim(&*log, 2).write(&*log, 1);
    assert!(api("STREAM.MSG.DELETE.QUIPU_opens_P002", r#"{"seq":1}"#).contains("not permitted"));
    assert!(api("STREAM.PURGE.QUIPU_opens_P002", "{}").contains("not permitted"));
    assert!(api("STREAM.DELETE.QUIPU_opens_P002", "").contains("\"success\":true"));
    let gone = refused(&|_| {}).to_string();
    assert!(gone.contains("QUIPU_opens_P002") && gone.contains("gone"), "{gone}");
    // A stream that would lose messages is none of a log's.
    let limited = r#"{"name":"QUIPU_limited_P000","subjects":["quipu.log.limited.000"],"max_age":1000000000}"#;
    assert!(!api("STREAM.CREATE.QUIPU_limited_P000", limited).contains("error"));
    assert!(matches!(
        refused(&|o| (o.prefix, o.partitions) = ("limited".into(), 1)),
        OpenError::Stream { .. }
    ));
}

#[test]
fn a_log_half_made_is_made_whole_and_many_may_make_it_at_once() {
    let Some(nats) = start_or_skip(SINGLE, "making logs on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "making", 16, 1);
    let ids: Vec<LogId> = thread::scope(|scope| {
        let opens: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&options).meta().log_id)).collect();
        opens.into_iter().map(|o| o.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "one log: {ids:?}");
}

#[test]
fn dropping_a_log_settles_what_was_submitted() {
    let Some(nats) = start_or_skip(SINGLE, "closing logs on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "drops", 1, 1);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    let (send, receive) = mpsc::channel();
    let within = log.clone();
    log.append(
        owner.batch(1),
        Box::new(move |result| {
            // The last owner may be a callback of the log itself.
            drop(within);
            send.send(result).unwrap();
        }),
    );
    drop(log);
    receive.recv().unwrap().unwrap();
    assert_eq!(open(&options).head(0).unwrap().next_offset, 1);
}
