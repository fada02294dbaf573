//! The outbox of a whole partition: more pending work than its memory holds, and receivers that never answer.

use super::*;
use quipu_schemas::{
    json::Json,
    reaction::{Dispatch, Reaction},
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
    type Event = SowerEvent;
    type Rejection = Closed;

    fn initial() -> Nothing {
        Nothing {}
    }

    fn decide(_: &Nothing, _: &SowerCommand, _: &Context<'_>) -> Result<Decision<SowerEvent>, Closed> {
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

static REAPED: AtomicUsize = AtomicUsize::new(0);

/// Counts what it is sent.
struct Field;

impl Decider for Field {
    const KIND: &'static str = "field";
    const RULES_VERSION: u32 = 1;
    type State = Nothing;
    type Command = SowerCommand;
    type Event = SowerEvent;
    type Rejection = Closed;

    fn initial() -> Nothing {
        Nothing {}
    }

    fn decide(_: &Nothing, _: &SowerCommand, _: &Context<'_>) -> Result<Decision<SowerEvent>, Closed> {
        REAPED.fetch_add(1, Ordering::AcqRel);
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
    let deadline = Instant::now() + 6 * PATIENCE;
    while REAPED.load(Ordering::Acquire) < sown {
        assert!(Instant::now() < deadline, "{} of {sown} came", REAPED.load(Ordering::Acquire));
        tokio::time::sleep(LOOK_EVERY).await; // poll
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
