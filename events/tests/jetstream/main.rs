//! The log contract on real nats-servers, and what only a broker can do: lose answers, refuse in passing, have two owners,
//! be killed, forget.

#[allow(unreachable_pub, reason = "shared by several test programs")]
#[path = "../servers/fake.rs"]
mod fake;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/skipped.rs"]
mod skipped;

#[allow(unreachable_pub, reason = "shared by several test programs")]
#[path = "../servers/certificates.rs"]
mod certificates;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/nats.rs"]
mod nats;
#[allow(unreachable_pub, reason = "shared by several test programs")]
#[path = "../servers/proxy.rs"]
mod proxy;

mod blobs;
mod damage;
mod faults;
mod leases;
mod opening;
mod owners;
mod secured;

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

async fn client(nats: &Nats) -> async_nats::Client {
    let (user, password) = USER.split_once(':').unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
    options.connect(format!("127.0.0.1:{}", nats.port(0))).await.unwrap()
}
