//! `SIGKILL` of the real binary under load, again and again.
//!
//! Twelve rounds unless told otherwise; the long one is
//! `QUIPU_ROUNDS=200 cargo test --release -p quipu-tests --test kill9 -- --nocapture`.
//! The seed is printed; `QUIPU_SEED=<seed>` draws the same kill points and the same commands.

use quipu_schemas::position::Position;
use quipu_tests::{
    caller::{Caller, LOOK_EVERY, PATIENCE, wait},
    process::{Launch, Process},
    receiver::{Receiver, SECRET},
    seeded::Seeded,
    stored,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const CLIENTS: u64 = 4;
const CONVERSATIONS: u64 = 3;
/// Receipts of earlier rounds that a round asks for again; the last round asks for all.
const ASKED_AGAIN: usize = 40;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A command as its client remembers it.
#[derive(Debug, Clone)]
struct Sent {
    path: String,
    id: String,
    body: Value,
    /// The first receipt; none while the outcome is unknown.
    receipt: Option<Value>,
    /// How often it was sent again.
    repeats: u64,
}

/// What all clients know together.
#[derive(Default)]
struct Ledger {
    sent: Vec<Sent>,
    wrong: Vec<String>,
}

struct Load {
    ledger: Mutex<Ledger>,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    stopping: AtomicBool,
}

impl Load {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no client panics while it writes")
    }

    /// Sends a command until it is answered, across crashes; the receipt must be the first one's for ever.
    async fn send(&self, caller: &Caller, at: usize) {
        loop {
            let Sent {
                path,
                id,
                body,
                receipt: first,
                ..
            } = self.ledger().sent[at].clone();
            match caller.try_command(&path, &id, &body).await {
                Ok(answer) if matches!(answer.status, 200..=202) => {
                    let mut ledger = self.ledger();
                    match &first {
                        None => {
                            ledger.sent[at].receipt = Some(answer.body);
                            self.acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(first) => {
                            ledger.sent[at].repeats += 1;
                            if let Some(wrong) = differs(first, &answer.body) {
                                ledger.wrong.push(format!("{id} at {path}: {wrong}"));
                            }
                        }
                    }
                    return;
                }
                Ok(answer) if matches!(answer.status, 429 | 503) => {}
                Ok(answer) => {
                    let text = format!("{id} at {path} was answered {}: {}", answer.status, answer.text);
                    self.ledger().wrong.push(text);
                    return;
                }
                Err(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await; // poll
        }
    }

    fn note(&self, path: String, id: String, body: Value) -> usize {
        let mut ledger = self.ledger();
        ledger.sent.push(Sent {
            path,
            id,
            body,
            receipt: None,
            repeats: 0,
        });
        ledger.sent.len() - 1
    }
}

/// How a repeated receipt differs from the first one, apart from saying that it is a repetition.
fn differs(first: &Value, again: &Value) -> Option<String> {
    let mut plain = again.clone();
    let duplicate = plain.as_object_mut().and_then(|o| o.remove("duplicate"));
    let mut original = first.clone();
    original.as_object_mut().and_then(|o| o.remove("duplicate"));
    if duplicate != Some(Value::Bool(true)) {
        return Some(format!("decided again: {first}, then {again}"));
    }
    (plain != original).then(|| format!("another receipt: {first}, then {again}"))
}

fn definition() -> Value {
    json!({
        "name": "notify",
        "inputs": { "hook": { "type": "string" }, "number": { "type": "string" } },
        "outputs": { "done": {} },
        "nodes": [
            { "id": "tell", "component": "webhook.call", "retry": { "attempts": 100, "backoff": "linear", "initial_ms": 50, "max_ms": 200 },
              "config": { "url": "=run.input.hook", "type": "notify.told", "data": { "number": "=run.input.number" }, "secret": "hook" } },
        ],
        "edges": [{ "from": "input.number", "to": "tell.in" }, { "from": "tell.out", "to": "output.done" }],
    })
}

/// One client: new commands of every kind, and its own earlier ones again.
async fn client(load: Arc<Load>, caller: Caller, number: u64, hook: String, mut random: Seeded) {
    let mut step = 0;
    let mut mine: Vec<usize> = Vec::new();
    while !load.stopping.load(Ordering::Relaxed) {
        step += 1;
        let tag = format!("{number}-{step}");
        let (path, body) = match random.below(10) {
            0..=3 => {
                let conversation = random.below(CONVERSATIONS);
                (
                    format!("/v1/orgs/acme/conversations/c{conversation}/post"),
                    json!({ "body": format!("message {tag}"), "message_id": format!("m-{tag}") }),
                )
            }
            4 => (
                "/v1/orgs/acme/orgs/acme/change_settings".to_owned(),
                json!({ "settings": { format!("s{number}"): step } }),
            ),
            5..=6 => {
                let input = json!({ "hook": hook, "number": tag });
                (
                    format!("/v1/orgs/acme/runs/r-{tag}"),
                    json!({ "definition": definition(), "input": input }),
                )
            }
            7 => (
                "/v1/orgs/acme/conversations/talk/post".to_owned(),
                json!({ "body": format!("question {tag}"), "message_id": format!("q-{tag}") }),
            ),
            _ => {
                if let Some(at) = mine.get(random.below(mine.len() as u64) as usize) {
                    load.send(&caller, *at).await;
                }
                continue;
            }
        };
        let at = load.note(path, format!("k-{tag}"), body);
        mine.push(at);
        load.send(&caller, at).await;
    }
}

async fn set_up(node: &Process) {
    let ada = node.caller.acting_for("ada");
    ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
    for n in 0..CONVERSATIONS {
        ada.post(
            &format!("/v1/orgs/acme/conversations/c{n}"),
            json!({ "type": "group", "auto_turns": false }),
        )
        .await
        .taken();
    }
    let agent =
        json!({ "name": "Scout", "model": { "provider": "scripted", "model": "demo" }, "directive": "scripted: delay_ms 3 per token" });
    ada.post("/v1/orgs/acme/agents/scout", agent).await.taken();
    let room = json!({ "type": "group", "participants": [{ "principal": "scout", "kind": "agent" }] });
    ada.post("/v1/orgs/acme/conversations/talk", room).await.taken();
}

/// Asks again for the receipts of acknowledged commands: those since `from`, and some of the earlier ones.
async fn ask_again(load: &Arc<Load>, caller: &Caller, from: usize, random: &mut Seeded, all: bool) -> usize {
    let known: Vec<usize> = {
        let ledger = load.ledger();
        (0..ledger.sent.len()).filter(|at| ledger.sent[*at].receipt.is_some()).collect()
    };
    let mut asked: BTreeSet<usize> = known.iter().copied().filter(|at| all || *at >= from).collect();
    for _ in 0..ASKED_AGAIN {
        asked.extend(known.get(random.below(known.len() as u64) as usize));
    }
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    let chunks: Vec<Vec<usize>> = asked
        .iter()
        .copied()
        .collect::<Vec<_>>()
        .chunks(asked.len().div_ceil(4).max(1))
        .map(<[usize]>::to_vec)
        .collect();
    for chunk in chunks {
        let (load, caller) = (load.clone(), caller.clone());
        tasks.push(tokio::spawn(async move {
            for at in chunk {
                load.send(&caller, at).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("asking again");
    }
    asked.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_by_sigkill_under_load() {
    let rounds = from_env("QUIPU_ROUNDS").unwrap_or(12);
    let seed = from_env("QUIPU_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64)
    });
    println!("kill9: {rounds} rounds, QUIPU_SEED={seed}");
    let mut random = Seeded(seed);
    let receiver = Receiver::start().await;
    let mut launch = Launch::new()
        .reaching(&[receiver.address])
        .secret("acme/hook", SECRET)
        .set("limits.passivate_after_ms", "200");
    let mut node = launch.start().await;
    set_up(&node).await;
    let load = Arc::new(Load {
        ledger: Mutex::default(),
        acknowledged: AtomicU64::new(0),
        unknown: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
    });
    let ada = node.caller.acting_for("ada");
    let clients: Vec<JoinHandle<()>> = (0..CLIENTS)
        .map(|n| {
            tokio::spawn(client(
                load.clone(),
                ada.clone(),
                n,
                receiver.url("/hook"),
                Seeded(seed ^ (n + 1) << 32),
            ))
        })
        .collect();

    let (mut asked, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let from = load.ledger().sent.len();
        let goal = load.acknowledged.load(Ordering::Relaxed) + 1 + random.below(60);
        let jitter = Duration::from_micros(random.below(8_000));
        let deadline = Instant::now() + PATIENCE;
        while load.acknowledged.load(Ordering::Relaxed) < goal && load.ledger().wrong.is_empty() {
            assert!(Instant::now() < deadline, "no progress:\n{}", node.log_tail());
            tokio::time::sleep(Duration::from_millis(1)).await; // poll
        }
        tokio::time::sleep(jitter).await; // the kill point, anywhere between two commands
        node.kill().await;
        node = launch.start().await;
        slowest = slowest.max(node.started_in);
        asked += ask_again(&load, &ada, from.saturating_sub(CLIENTS as usize), &mut random, false).await;
        let wrong = load.ledger().wrong.clone();
        assert!(
            wrong.is_empty(),
            "round {round} of seed {seed}:\n{}\n{}",
            wrong.join("\n"),
            node.log_tail()
        );
    }
    load.stopping.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    asked += ask_again(&load, &ada, 0, &mut random, true).await;
    let (sent, wrong) = {
        let ledger = load.ledger();
        (ledger.sent.clone(), ledger.wrong.clone())
    };
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    assert!(sent.iter().all(|s| s.receipt.is_some()), "every command was answered in the end");

    effects_settle(&node, &receiver, &sent).await;
    let job = node.caller.views_job("verify").await;
    assert_eq!(job["equal"], Value::Bool(true), "views against a rebuild: {job}");
    let arrivals = receiver.arrivals().len();
    node.kill().await;

    let data = launch.data();
    let counts = {
        let log = stored::open(&data);
        let records = stored::records(&log);
        let broken = stored::broken(&records);
        assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
        acknowledged_is_stored(&records, &sent);
        said_once(&records, &sent);
        records.len()
    };
    let verified = launch.run(&["verify", "--replay", "--json", data.to_str().expect("a path")]).await;
    let report: Value =
        serde_json::from_slice(&verified.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&verified.stderr)));
    assert!(verified.status.success() && report["intact"] == Value::Bool(true), "{report}");
    let replayed = stored::replayed(&stored::open(&data));

    node = launch.start().await;
    for (stream, (version, digest)) in &replayed {
        let entity = format!("/v1/orgs/{}/{}s/{}", stream.org, stream.kind, stream.id);
        assert_eq!(
            node.caller.digest(&entity).await,
            (*version, digest.clone()),
            "{stream}: state against replay"
        );
    }
    assert_eq!(receiver.arrivals().len(), arrivals, "a start without pending work sends nothing");
    node.stop().await;
    let repeats: u64 = sent.iter().map(|s| s.repeats).sum();
    println!(
        "kill9: {rounds} kills, {} commands acknowledged, {} answers lost and asked for again, {repeats} repetitions ({asked} after kills) with the first receipt, \
         {} webhooks of {arrivals} deliveries, {counts} records, {} entities replayed to equal digests, slowest start {slowest:?}",
        sent.len(),
        load.unknown.load(Ordering::Relaxed),
        runs(&sent).len(),
        replayed.len(),
    );
}

fn runs(sent: &[Sent]) -> BTreeMap<String, &Sent> {
    let created = sent.iter().filter(|s| s.body.get("definition").is_some());
    created
        .map(|s| (s.body["input"]["number"].as_str().unwrap_or_default().to_owned(), s))
        .collect()
}

/// Every run's webhook arrives, under one id and with one body however often it comes.
async fn effects_settle(node: &Process, receiver: &Receiver, sent: &[Sent]) {
    let wanted: BTreeSet<String> = runs(sent).into_keys().collect();
    wait("all effects to settle", || async {
        let rows = node.caller.get("/v1/ops/outbox").await.body["items"].take();
        let waits = rows.as_array().is_some_and(|rows| {
            rows.iter()
                .any(|row| matches!(row["status"].as_str(), Some("pending" | "processing" | "failed")))
        });
        (!waits).then_some(())
    })
    .await;
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    let mut numbers: BTreeMap<String, String> = BTreeMap::new();
    for arrival in receiver.arrivals() {
        assert!(arrival.signed && !arrival.id.is_empty(), "{arrival:?}");
        let first = bodies.entry(arrival.id.clone()).or_insert_with(|| arrival.body.clone());
        assert_eq!(*first, arrival.body, "message {} came with two bodies", arrival.id);
        let body: Value = serde_json::from_str(&arrival.body).expect("a JSON payload");
        let number = body["data"]["number"].as_str().expect("a number").to_owned();
        let id = numbers.entry(number.clone()).or_insert_with(|| arrival.id.clone());
        assert_eq!(*id, arrival.id, "run {number} told the receiver twice, under two ids");
    }
    let told: BTreeSet<String> = numbers.into_keys().collect();
    let lost: Vec<&String> = wanted.difference(&told).collect();
    assert!(lost.is_empty(), "effects lost: {lost:?}");
    let strange: Vec<&String> = told.difference(&wanted).collect();
    assert!(strange.is_empty(), "effects of runs that nobody acknowledged: {strange:?}");
}

/// Each acknowledged command stands where its receipt says.
fn acknowledged_is_stored(records: &[(Position, quipu_schemas::record::Record)], sent: &[Sent]) {
    let by_place: BTreeMap<String, &quipu_schemas::record::Record> = records
        .iter()
        .map(|(position, record)| (Position { index: 0, ..*position }.to_string(), record))
        .collect();
    for command in sent {
        let receipt = command.receipt.as_ref().expect("answered");
        let position: Position = receipt["position"].as_str().and_then(|p| p.parse().ok()).expect("a position");
        let place = Position { index: 0, ..position }.to_string();
        let record = by_place
            .get(&place)
            .unwrap_or_else(|| panic!("nothing stands at {place}: {receipt}"));
        assert_eq!(record.header.command_id.as_str(), command.id, "{receipt}");
        assert_eq!(record.header.stream.to_string(), receipt["stream"].as_str().unwrap_or_default());
        assert_eq!(Some(record.header.last_version()), receipt["version"].as_u64(), "{receipt}");
    }
}

/// Each message of a client stands in its conversation once, and no turn has two answers.
fn said_once(records: &[(Position, quipu_schemas::record::Record)], sent: &[Sent]) {
    let mut messages: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut answers: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (_, record) in records {
        for event in record.events.iter().filter(|e| e.name == "quipu.conversation.message_posted.v1") {
            let data: Value = serde_json::from_str(event.data.get()).expect("JSON");
            let stream = record.header.stream.to_string();
            *messages
                .entry((stream.clone(), data["message_id"].as_str().unwrap_or_default().to_owned()))
                .or_default() += 1;
            if let Some(turn) = data["turn"].as_str() {
                *answers.entry((stream, turn.to_owned())).or_default() += 1;
            }
        }
    }
    for command in sent.iter().filter(|s| s.path.ends_with("/post")) {
        let stream = command
            .receipt
            .as_ref()
            .and_then(|r| r["stream"].as_str())
            .unwrap_or_default()
            .to_owned();
        let id = command.body["message_id"].as_str().unwrap_or_default().to_owned();
        assert_eq!(messages.get(&(stream.clone(), id.clone())), Some(&1), "message {id} of {stream}");
    }
    assert!(answers.values().all(|n| *n == 1), "a turn has two answers: {answers:?}");
}
