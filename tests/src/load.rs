//! Clients that never give a command up, and what must hold of everything that they were told: the load of the tests that
//! kill, stop and cut off nodes.

use crate::{
    caller::{Caller, LOOK_EVERY, wait},
    receiver::Receiver,
    seeded::Seeded,
};
use parking_lot::Mutex;
use quipu_schemas::position::Position;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Conversations that clients talk in without agents.
const CONVERSATIONS: u64 = 3;
/// Receipts of earlier rounds that a round asks for again; the last round asks for all.
const ASKED_AGAIN: usize = 40;

/// A command as its client remembers it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Where it is posted.
    pub path: String,
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: Value,
    /// The first receipt; none while the outcome is unknown.
    pub receipt: Option<Value>,
    /// How often it was sent again.
    pub repeats: u64,
}

/// What all clients know together.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every command, in the order in which they were first sent.
    pub sent: Vec<Sent>,
    /// What should not be.
    pub wrong: Vec<String>,
    /// Refusals that ask to send the command again, by their code.
    pub refusals: BTreeMap<String, u64>,
    /// The same, by the base of the node that refused and the code.
    pub refused_by: BTreeMap<(String, String), u64>,
}

/// Clients' commands, and what became of them.
#[derive(Debug, Default)]
pub struct Load {
    ledger: Mutex<Ledger>,
    /// Commands with a receipt.
    pub acknowledged: AtomicU64,
    /// Longest time from a command's first refusal to its receipt since this was last taken, microseconds.
    pub refused_us: AtomicU64,
    /// Longest time from a command's first try to its receipt since this was last taken, microseconds.
    pub waited_us: AtomicU64,
    /// Requests without an answer.
    pub unknown: AtomicU64,
    /// Ends the clients.
    pub stopping: AtomicBool,
}

impl Load {
    /// What all clients know.
    ///
    /// # Panics
    /// If a client panicked while it wrote.
    pub fn ledger(&self) -> parking_lot::MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Sends a command until it is answered, across crashes; the receipt must be the first one's for ever.
    pub async fn send(&self, callers: &[Caller], at: usize) {
        let begun = Instant::now();
        let mut refused: Option<Instant> = None;
        // Each try at another node, where there are several.
        for caller in callers.iter().cycle().skip(at % callers.len().max(1)) {
            let Sent {
                path,
                id,
                body,
                receipt: first,
                ..
            } = self.ledger().sent[at].clone();
            match caller.try_command(&path, &id, &body).await {
                Ok(answer) if matches!(answer.status, 200..=202) => {
                    self.waited_us.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                    let refused = refused.map_or(Duration::ZERO, |since| since.elapsed());
                    self.refused_us.fetch_max(refused.as_micros() as u64, Ordering::Relaxed);
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
                Ok(answer) if matches!(answer.status, 429 | 503) => {
                    refused.get_or_insert_with(Instant::now);
                    let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
                    let mut ledger = self.ledger();
                    *ledger.refusals.entry(code.clone()).or_default() += 1;
                    *ledger.refused_by.entry((caller.base().to_owned(), code)).or_default() += 1;
                }
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

    /// Adds a command that is about to be sent.
    pub fn note(&self, path: String, id: String, body: Value) -> usize {
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
pub async fn client(load: Arc<Load>, callers: Vec<Caller>, number: u64, hook: String, mut random: Seeded) {
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
                    load.send(&callers, *at).await;
                }
                continue;
            }
        };
        let at = load.note(path, format!("k-{tag}"), body);
        mine.push(at);
        load.send(&callers, at).await;
    }
}

/// An org, conversations with and without an agent.
///
/// # Panics
/// If the node refuses.
pub async fn set_up(ada: &Caller) {
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
pub async fn ask_again(load: &Arc<Load>, callers: &[Caller], from: usize, random: &mut Seeded, all: bool) -> usize {
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
        let (load, callers) = (load.clone(), callers.to_vec());
        tasks.push(tokio::spawn(async move {
            for at in chunk {
                load.send(&callers, at).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("asking again");
    }
    asked.len()
}

/// Runs that were asked for, by the number that they tell.
pub fn runs(sent: &[Sent]) -> BTreeMap<String, &Sent> {
    let created = sent.iter().filter(|s| s.body.get("definition").is_some());
    created
        .map(|s| (s.body["input"]["number"].as_str().unwrap_or_default().to_owned(), s))
        .collect()
}

/// Every run's webhook arrives, under one id and with one body however often it comes.
pub async fn effects_settle(nodes: &[Caller], receiver: &Receiver, sent: &[Sent]) {
    let wanted: BTreeSet<String> = runs(sent).into_keys().collect();
    wait("all effects to settle", || async {
        for node in nodes {
            let rows = node.get("/v1/ops/outbox").await.body["items"].take();
            let pending = |row: &Value| matches!(row["status"].as_str(), Some("pending" | "processing" | "failed"));
            if rows.as_array().is_some_and(|rows| rows.iter().any(pending)) {
                return None;
            }
        }
        Some(())
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
pub fn acknowledged_is_stored(records: &[(Position, quipu_schemas::record::Record)], sent: &[Sent]) {
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
pub fn said_once(records: &[(Position, quipu_schemas::record::Record)], sent: &[Sent]) {
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
