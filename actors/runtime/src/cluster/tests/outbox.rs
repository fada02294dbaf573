//! The outbox of a whole partition: more pending work than its memory holds, and receivers that never answer.

use super::*;
use quipu_schemas::{
    json::Json,
    reaction::{Dispatch, Reaction},
    record::{self, Record},
};

const COMMANDS: usize = 250;
const SEEDS: u64 = 100;

/// Dispatches many commands at once.
struct Sower;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SowerCommand {
    /// Sows.
    Create(Nothing),
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum SowerEvent {
    #[serde(rename = "test.sower.sown.v1")]
    Sown {},
}

impl Decider for Sower {
    const KIND: &'static str = "sower";
    const RULES_VERSION: u32 = 1;
    type State = Nothing;
    type Command = SowerCommand;
    type Word = NoWord;
    type Event = SowerEvent;
    type Rejection = Closed;

    fn initial() -> Nothing {
        Nothing {}
    }

    fn decide(_: &Nothing, _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<SowerEvent>, Closed> {
        Ok(Decision::one(SowerEvent::Sown {}))
    }

    fn evolve(state: Nothing, _: &SowerEvent) -> Result<Nothing, Corrupt> {
        Ok(state)
    }

    fn react(_: &Nothing, _: &SowerEvent) -> Vec<Reaction> {
        let seed = |n: u64| {
            let to = format!("acme/field/f{n}").parse().expect("a stream");
            Reaction::Dispatch(Dispatch::new(to, Json(json!({ "create": {} }))))
        };
        (0..SEEDS).map(seed).collect()
    }
}

/// Takes what it is sent.
struct Field;

impl Decider for Field {
    const KIND: &'static str = "field";
    const RULES_VERSION: u32 = 1;
    type State = Nothing;
    type Command = SowerCommand;
    type Word = NoWord;
    type Event = SowerEvent;
    type Rejection = Closed;

    fn initial() -> Nothing {
        Nothing {}
    }

    fn decide(_: &Nothing, _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<SowerEvent>, Closed> {
        Ok(Decision::Unchanged)
    }

    fn evolve(state: Nothing, _: &SowerEvent) -> Result<Nothing, Corrupt> {
        Ok(state)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_pending_than_memory_holds_is_all_delivered() {
    let log = log(1);
    let (of_a, of_b) = (Store::new(PATIENCE), Store::new(PATIENCE));
    // The first life does not know the receivers' kind, so that everything stays pending.
    let a = Node::new(&log, &of_a, Kinds::builtin().with::<Sower>(), &[]);
    a.own(0).await;
    a.org().await;
    for n in 0..COMMANDS {
        a.here(a.envelope("sower", &format!("s{n}"), "create", json!({})))
            .await
            .expect("a receipt");
    }
    of_a.grants.store(false, Ordering::Release);
    let sown = COMMANDS * SEEDS as usize;
    assert!(sown > 2 * limits::OUTBOX_LOADED_MAX);

    let kinds = Kinds::builtin().with::<Sower>().with::<Field>();
    let b = Node::new(&log, &of_b, kinds, &[]);
    assert_eq!(b.core.index.pending(0, None, usize::MAX).expect("the index").len(), sown);
    b.own(0).await;
    // The org, the sowers and one settlement for each seed. Decisions do not count: one may be made again before it is stored.
    let records = (1 + COMMANDS + sown) as u64;
    let deadline = Instant::now() + 2 * PATIENCE;
    while b.core.index.next_offset(0) < records {
        let stored = b.core.index.next_offset(0);
        if Instant::now() >= deadline {
            let pending = b.core.index.pending(0, None, usize::MAX).expect("the index").len();
            let (send, standing) = tokio::sync::oneshot::channel();
            if let Some(relay) = b.core.partition(0).relay.lock().as_ref() {
                let _ = relay.send_message(RelayMsg::Standing(send));
            }
            let standing = standing.await;
            panic!("{stored} of {records} records are stored; pending in the index {pending}; in the relay's memory {standing:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await; // poll
    }
    assert_eq!(b.core.index.pending(0, None, 1).expect("the index"), []);
    let mut settlements: BTreeMap<String, u32> = BTreeMap::new();
    for settlement in records_of(&log, 0).into_iter().filter_map(|record| record.header.settlement) {
        *settlements.entry(settlement.key.to_string()).or_default() += 1;
    }
    assert_eq!(settlements.len(), sown);
    let more: Vec<_> = settlements.iter().filter(|(_, count)| **count != 1).collect();
    assert!(more.is_empty(), "settled more than once: {more:?}");
}

/// Every record of a partition.
fn records_of(log: &MemoryLog, partition: u16) -> Vec<Record> {
    let (mut records, mut next) = (Vec::new(), 0);
    loop {
        let frames = log.read(partition, next, limits::FRAME_MAX_BYTES).expect("the log");
        let Some(last) = frames.last() else { return records };
        next = last.first_offset + last.records.len() as u64;
        let stored = frames.iter().flat_map(|frame| &frame.records);
        records.extend(stored.map(|(_, bytes)| record::decode(bytes).expect("a record")));
    }
}

/// The same command for another org.
fn in_org(org: &'static str, envelope: CommandEnvelope) -> CommandEnvelope {
    let mut stream = envelope.stream.clone();
    stream.org = OrgId::from_static(org);
    if stream.kind == Kind::ORG {
        stream.id = EntityId::from_static(org);
    }
    CommandEnvelope { stream, ..envelope }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_answers_silences_no_other_org() {
    let hanging = Arc::new(AtomicUsize::new(0));
    let count = hanging.clone();
    let slow = listen(move |_| {
        count.fetch_add(1, Ordering::AcqRel);
        Box::pin(std::future::pending())
    })
    .await;
    let quick = listen(|_| Box::pin(async { (200, "{}".into()) })).await;
    let log = log(1);
    let node = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin(), &[slow, quick]);
    node.own(0).await;
    for org in ["evil", "good"] {
        node.here(in_org(org, node.envelope("org", "acme", "create", json!({ "name": org }))))
            .await
            .expect("an org");
    }
    let call = |org: &'static str, id: String, to: SocketAddr| {
        let definition = json!({
            "name": "call", "outputs": { "done": {} },
            "nodes": [{ "id": "call", "component": "http.request", "config": { "url": format!("http://{to}/"), "timeout_ms": 600_000 } }],
            "edges": [{ "from": "call.out", "to": "output.done" }],
        });
        in_org(
            org,
            node.envelope("run", &id, "create", json!({ "definition": definition, "input": {} })),
        )
    };
    for n in 0..2 * limits::OUTBOX_RUNNING_MAX {
        node.here(call("evil", format!("e{n}"), slow)).await.expect("a run");
    }
    let share = limits::OUTBOX_RUNNING_MAX.div_ceil(3);
    until("the slow receiver to have its share", || hanging.load(Ordering::Acquire) >= share).await;
    for n in 0..16 {
        node.here(call("good", format!("g{n}"), quick)).await.expect("a run");
    }
    until("the other org's calls", || {
        let pending = node.core.index.pending(0, None, usize::MAX).expect("the index");
        !pending.iter().any(|row| row.key.stream.org.as_str() == "good")
    })
    .await;
    assert_eq!(hanging.load(Ordering::Acquire), share);
}
