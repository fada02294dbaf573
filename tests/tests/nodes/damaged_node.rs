//! The real binary, started on damage: what is damaged stops or is made anew, the rest is served, `health` and `verify`
//! name the place, no good record is lost, and a restore from a backup gives a whole node again.

mod derived;

use derived::Spoiled;
use quipu_schemas::position::Position;
use quipu_tests::{
    caller::Caller,
    process::{Launch, Process},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ROOMS: usize = 10;
const POSTS: usize = 4;
const PARTITIONS: u16 = 4;

/// A closed data directory of an org and some conversations, a backup of it, and what is in it.
struct House {
    launch: Launch,
    backup: PathBuf,
    /// Partition of each conversation, by its id.
    rooms: BTreeMap<String, u16>,
    /// Partition of the org's authority.
    org: u16,
    /// What `verify` said while it was whole.
    whole: Value,
}

fn room(id: &str) -> String {
    format!("/v1/orgs/acme/conversations/{id}")
}

fn partition_of(receipt: &Value) -> u16 {
    let position: Position = receipt["position"].as_str().and_then(|p| p.parse().ok()).expect("a position");
    position.partition
}

impl House {
    async fn build() -> Self {
        let launch = Launch::new().set("log.partitions", PARTITIONS.to_string());
        let node = launch.start_by(launch.quipu()).await;
        let ada = node.caller.acting_for("ada");
        let org = partition_of(&ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken().body);
        let mut rooms = BTreeMap::new();
        for n in 0..ROOMS {
            let id = format!("c{n}");
            let receipt = ada
                .post(&room(&id), json!({ "type": "group", "auto_turns": false }))
                .await
                .taken()
                .body;
            rooms.insert(id, partition_of(&receipt));
        }
        for post in 0..POSTS {
            for id in rooms.keys() {
                said(&ada, id, &format!("m{post}")).await.expect("taken");
            }
        }
        ada.fresh("/v1/orgs/acme/conversations").await.taken();
        node.stop().await;
        let backup = launch.data().with_file_name("backup");
        let made = launch
            .run(&[
                "backup",
                "--data",
                &launch.data().display().to_string(),
                &backup.display().to_string(),
            ])
            .await;
        assert!(made.status.success(), "{made:?}");
        let whole = verify(&launch, &launch.data()).await;
        assert_eq!(whole["intact"], true, "{whole}");
        let house = Self {
            launch,
            backup,
            rooms,
            org,
            whole,
        };
        assert!(
            house.rooms.values().collect::<BTreeSet<_>>().len() > 2,
            "conversations in several partitions: {:?}",
            house.rooms
        );
        house
    }

    fn data(&self) -> PathBuf {
        self.launch.data()
    }

    fn segment(&self) -> PathBuf {
        self.data().join("log/0000000000000001.seg")
    }

    /// A start that damage which only lookups meet may end; any other damage must not.
    async fn start_or_not(&self, what: Spoiled) -> Option<Process> {
        match self.launch.try_start_by(self.launch.quipu()).await {
            Ok(node) => Some(node),
            Err(status) => {
                assert_eq!(what, Spoiled::Rows, "{status}");
                None
            }
        }
    }

    async fn start(&self) -> Process {
        self.launch.start_by(self.launch.quipu()).await
    }

    /// A partition that holds conversations and not the org's authority.
    fn victim(&self) -> u16 {
        *self.rooms.values().find(|p| **p != self.org).expect("another partition")
    }

    fn in_partition(&self, partition: u16) -> Vec<&String> {
        self.rooms.iter().filter(|(_, p)| **p == partition).map(|(id, _)| id).collect()
    }

    /// All conversations outside of `stopped` take commands, and answer history, state and views.
    async fn serves_all_but(&self, node: &Process, stopped: Option<u16>) {
        let ada = node.caller.acting_for("ada");
        for (id, partition) in &self.rooms {
            let outcome = said(&ada, id, "after").await;
            if Some(*partition) == stopped {
                let (status, code) = outcome.expect_err("a stopped partition takes no command");
                assert_eq!(status, 503, "{id}: {code}");
                continue;
            }
            let receipt = outcome.unwrap_or_else(|e| panic!("{id} of partition {partition}: {e:?}\n{}", node.log_tail()));
            assert_eq!(ada.count(&room(id), "conversation.message_posted", |_| true).await, POSTS + 1);
            ada.get(&format!("{}/state", room(id))).await.taken();
            let position = receipt["position"].as_str().expect("a position");
            let seen = ada
                .get(&format!("{}/messages?min_position={position}", room(id)))
                .await
                .taken()
                .body;
            assert_eq!(seen["items"].as_array().map(Vec::len), Some(POSTS + 1), "{seen}");
        }
    }

    /// Restores the backup, and puts back the keys, which live apart from backups, from where `old` data is.
    async fn restore_from(&self, old: &Path) {
        let made = self
            .launch
            .run(&["restore", &self.backup.display().to_string(), &self.data().display().to_string()])
            .await;
        assert!(made.status.success(), "{made:?}");
        fs::create_dir(self.data().join("keys")).expect("a directory");
        for file in ["master.key", "subjects.keys"] {
            fs::copy(old.join("keys").join(file), self.data().join("keys").join(file)).expect("a key file");
        }
    }

    /// The documented repair: put the damaged directory aside, restore the backup in its place, start.
    async fn repair(&self) {
        let aside = self.data().with_file_name("damaged");
        fs::rename(self.data(), &aside).expect("put aside");
        self.restore_from(&aside).await;
        let found = verify(&self.launch, &self.data()).await;
        assert_eq!(
            (&found["intact"], &found["digest"]),
            (&Value::Bool(true), &self.whole["digest"]),
            "{found}"
        );
        let node = self.start().await;
        self.serves_all_but(&node, None).await;
        assert_eq!(health(&node).await["status"], "ok");
        assert_eq!(node.caller.views_job("verify").await["equal"], true);
        node.stop().await;
        assert_eq!(verify(&self.launch, &self.data()).await["intact"], true);
    }
}

async fn said(ada: &Caller, id: &str, message: &str) -> Result<Value, (u16, String)> {
    let body = json!({ "body": format!("{message} of {id}"), "message_id": message });
    let answer = ada.post(&format!("{}/post", room(id)), body).await;
    match answer.status {
        200..=202 => Ok(answer.body),
        status => Err((status, answer.text)),
    }
}

async fn health(node: &Process) -> Value {
    node.caller.get("/health").await.body
}

async fn verify(launch: &Launch, dir: &Path) -> Value {
    let output = launch.run(&["verify", "--json", &dir.display().to_string()]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.status.success(), found["intact"] == true, "{found}");
    found
}

/// A flush of a segment that holds one frame of records.
#[derive(Debug, Clone, Copy)]
struct Flush {
    at: usize,
    len: usize,
    partition: u16,
    records: u64,
}

/// Bytes of a flush's header, before its frames.
const FLUSH_HEADER: usize = 40;
/// Bytes of a segment's header.
const SEGMENT_HEADER: usize = 64;

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(out)
}

/// The flushes of a segment, and where the next would go.
fn flushes(bytes: &[u8]) -> (Vec<Flush>, usize) {
    let (mut out, mut at) = (Vec::new(), SEGMENT_HEADER);
    while bytes.get(at..at + 4) == Some(b"QG\0\x01") && number::<4>(bytes, at + 4) > 0 {
        let len = FLUSH_HEADER + number::<4>(bytes, at + 4) as usize;
        let frame = at + FLUSH_HEADER;
        out.push(Flush {
            at,
            len,
            partition: number::<2>(bytes, frame + 36) as u16,
            records: number::<4>(bytes, frame + 12),
        });
        at += len;
    }
    (out, at)
}

/// A flush in the middle of a partition.
fn middle(path: &Path, partition: u16) -> Flush {
    let (all, _) = flushes(&fs::read(path).expect("a segment"));
    let own: Vec<Flush> = all.into_iter().filter(|f| f.partition == partition && f.records > 0).collect();
    own[own.len() / 2]
}

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    with(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

/// Partitions and byte of what `verify` found, in this file.
fn found_in(report: &Value, file: &str) -> Vec<(Option<u64>, u64)> {
    let problems = report["problems"].as_array().expect("problems");
    let here = problems.iter().filter(|p| p["file"].as_str().is_some_and(|f| f.ends_with(file)));
    here.map(|p| (p["partition"].as_u64(), p["byte"].as_u64().expect("a byte")))
        .collect()
}

/// The partition of `flush` is stopped and named, everything else goes on; then a restore repairs it.
async fn stops_alone(house: &House, flush: Flush, lost: u64) {
    let victim = flush.partition;
    let report = verify(&house.launch, &house.data()).await;
    let found = found_in(&report, ".seg");
    let located = found
        .iter()
        .any(|(p, byte)| p.is_none_or(|p| p == u64::from(victim)) && (flush.at as u64..(flush.at + flush.len) as u64 + 1).contains(byte));
    assert!(located, "{flush:?}: {report}");
    let others = found.iter().filter_map(|(p, _)| *p).filter(|p| *p != u64::from(victim)).count();
    assert_eq!(others, 0, "{report}");
    let records = |report: &Value| report["records"].as_u64().expect("records");
    assert_eq!(
        records(&report),
        records(&house.whole) - lost,
        "every other record is there and read: {report}"
    );

    let node = house.start().await;
    house.serves_all_but(&node, Some(victim)).await;
    let health = health(&node).await;
    assert_eq!(health["status"], "degraded", "{health}");
    let parts: Vec<&str> = health["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .filter(|p| p["ok"] == false)
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert!(parts.contains(&format!("partition-{victim}").as_str()), "{health}");
    assert!(
        parts.iter().all(|p| *p == format!("partition-{victim}") || *p == "views"),
        "{health}"
    );
    let ready = node.caller.get("/health/ready").await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    // What lies before the damage is still read.
    let before: Vec<&String> = house.in_partition(victim);
    let ada = node.caller.acting_for("ada");
    for id in before {
        let history = ada.get(&format!("{}/history?limit=1000", room(id))).await;
        assert!(matches!(history.status, 200 | 503), "{id}: {} {}", history.status, history.text);
    }
    let crowd = ROOMS - house.in_partition(victim).len();
    node.stop().await;
    // Nothing good was lost by running on damage.
    let after = verify(&house.launch, &house.data()).await;
    assert_eq!(records(&after), records(&report) + crowd as u64, "{after}");
    house.repair().await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_record_stops_its_partition_alone() {
    let house = House::build().await;
    let flush = middle(&house.segment(), house.victim());
    change(&house.segment(), |bytes| bytes[flush.at + FLUSH_HEADER + 108 + 100] ^= 0x10);
    stops_alone(&house, flush, flush.records).await;
}

#[tokio::test]
async fn a_dropped_frame_stops_its_partition_alone() {
    let house = House::build().await;
    let flush = middle(&house.segment(), house.victim());
    change(&house.segment(), |bytes| bytes[flush.at..flush.at + flush.len].fill(0));
    stops_alone(&house, flush, flush.records).await;
}

#[tokio::test]
async fn a_torn_tail_is_dropped_and_everything_is_served() {
    let house = House::build().await;
    let before = fs::read(house.segment()).expect("a segment");
    let (_, end) = flushes(&before);
    // A real flush behind the end, of which only a part reached the disk.
    let node = house.start().await;
    let id = house.rooms.keys().next().expect("a room");
    said(&node.caller.acting_for("ada"), id, "torn").await.expect("taken");
    node.kill().await;
    let (written, torn_end) = flushes(&fs::read(house.segment()).expect("a segment"));
    let last = *written.last().expect("a flush");
    assert!(last.at > end && last.records == 1);
    change(&house.segment(), |bytes| {
        bytes[last.at + last.len / 2..torn_end + FLUSH_HEADER].fill(0)
    });
    // As of the moment before: a head noted since would prove that the flush had been durable.
    fs::remove_file(house.data().join("heads")).expect("heads");
    let report = verify(&house.launch, &house.data()).await;
    // Nothing is damaged, and without the heads nobody can say that this is all.
    assert_eq!(
        (&report["verdict"], report["torn"][0]["byte"].as_u64()),
        (&json!("incomplete"), Some(last.at as u64)),
        "{report}"
    );
    assert_eq!(report["records"], house.whole["records"]);
    let node = house.start().await;
    house.serves_all_but(&node, None).await;
    assert_eq!(health(&node).await["status"], "ok");
    node.stop().await;
    let report = verify(&house.launch, &house.data()).await;
    assert_eq!((&report["intact"], &report["torn"]), (&Value::Bool(true), &json!([])), "{report}");
}

#[tokio::test]
async fn a_damaged_heads_file_is_located_and_written_anew() {
    let house = House::build().await;
    change(&house.data().join("heads"), |bytes| bytes[40] ^= 1);
    let report = verify(&house.launch, &house.data()).await;
    assert_eq!(
        (report["intact"].as_bool(), found_in(&report, "heads").len()),
        (Some(false), 1),
        "{report}"
    );
    let node = house.start().await;
    house.serves_all_but(&node, None).await;
    assert_eq!(health(&node).await["status"], "ok");
    assert!(node.log_text().contains("heads"), "{}", node.log_text());
    node.stop().await;
    assert_eq!(verify(&house.launch, &house.data()).await["intact"], true);
}

const SPOILED: [Spoiled; 3] = [Spoiled::FirstPage, Spoiled::AllButTheFirst, Spoiled::Rows];

fn views_database(data: &Path) -> PathBuf {
    let name = fs::read_to_string(data.join("views/current")).expect("the pointer");
    data.join("views").join(name.trim())
}
