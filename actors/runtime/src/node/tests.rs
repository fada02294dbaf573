//! A whole node in memory: timers under a clock that is set wrong, and decisions that are too large to be stored.

use super::*;
use crate::{api::StateAt, clock::ClockSource, kernel::clock::Reading, kinds::Kinds};
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decider, Decision, Refusal};
use quipu_schemas::{
    context::{Context, Millis},
    envelope::{DataClass, KernelCommand},
    ids::{EntityId, OrgId, PrincipalId, StreamId},
    reaction::Reaction,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicI64, AtomicUsize},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR_MS: i64 = 3_600_000;

/// Holds text, and rings when it is told to.
struct Bag;

/// Copies of a bag's state, all tests together.
static COPIES: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct BagState {
    filled: u64,
    rang: u64,
}

impl Clone for BagState {
    fn clone(&self) -> Self {
        COPIES.fetch_add(1, Ordering::Relaxed);
        Self {
            filled: self.filled,
            rang: self.rang,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BagCommand {
    Fill {
        #[serde(default)]
        bytes: usize,
        #[serde(default)]
        echo_bytes: usize,
        #[serde(default)]
        ring_ms: Option<u64>,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BagWord {
    Ring {},
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum BagEvent {
    #[serde(rename = "test.bag.filled.v1")]
    Filled {
        text: String,
        echo_bytes: usize,
        ring_at: Option<Millis>,
    },
    #[serde(rename = "test.bag.rang.v1")]
    Rang {},
}

#[derive(Debug)]
struct Never;
impl Refusal for Never {
    fn problem(&self) -> Problem {
        Problem::new(409, "never", "never")
    }
}

impl Decider for Bag {
    const KIND: &'static str = "bag";
    const RULES_VERSION: u32 = 1;
    type State = BagState;
    type Command = BagCommand;
    type Word = BagWord;
    type Event = BagEvent;
    type Rejection = Never;

    fn initial() -> BagState {
        BagState::default()
    }

    fn decide(_: &BagState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<BagEvent>, Never> {
        Ok(Decision::one(match asked {
            Asked::Command(BagCommand::Fill {
                bytes,
                echo_bytes,
                ring_ms,
            }) => BagEvent::Filled {
                text: "x".repeat(*bytes),
                echo_bytes: *echo_bytes,
                ring_at: ring_ms.map(|ms| context.now + ms),
            },
            Asked::Word(BagWord::Ring {}) => BagEvent::Rang {},
        }))
    }

    fn evolve(mut state: BagState, event: &BagEvent) -> Result<BagState, Corrupt> {
        match event {
            BagEvent::Filled { .. } => state.filled += 1,
            BagEvent::Rang {} => state.rang += 1,
        }
        Ok(state)
    }

    fn react(_: &BagState, event: &BagEvent) -> Vec<Reaction> {
        match event {
            BagEvent::Filled { echo_bytes, .. } if *echo_bytes > 0 => vec![Reaction::CancelWake {
                name: "x".repeat(*echo_bytes),
            }],
            BagEvent::Filled { ring_at: Some(due), .. } => vec![Reaction::WakeAt {
                name: format!("ring-{due}"),
                due: *due,
            }],
            BagEvent::Filled { .. } | BagEvent::Rang {} => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<BagWord> {
        matches!(told, KernelCommand::TimerFired { .. }).then_some(BagWord::Ring {})
    }
}

/// A node and the hand on its wall clock.
struct Scene {
    node: Node,
    off: Arc<AtomicI64>,
}

fn request(kind: &'static str, id: &str, command: &str, body: Value) -> CommandRequest {
    CommandRequest {
        org: OrgId::from_static("acme"),
        kind: Kind::from_static(kind),
        id: Some(EntityId::parse(id).expect("an id")),
        command: command.into(),
        body,
        command_id: None,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test looks at the real clock")]
fn wall() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

impl Scene {
    async fn start() -> Self {
        let (off, begun) = (Arc::new(AtomicI64::new(0)), Instant::now());
        let read = off.clone();
        let clock = ClockSource::new(move || Reading {
            wall: wall().saturating_add_signed(read.load(Ordering::Acquire)),
            elapsed: begun.elapsed().as_millis() as u64,
        });
        let config = NodeConfig {
            clock,
            ..NodeConfig::default()
        };
        let node = Node::start(config, Kinds::builtin().with::<Bag>(), |_| ()).await.expect("a node");
        node.command(request("org", "acme", "create", json!({ "name": "Acme" })))
            .await
            .expect("taken");
        Self { node, off }
    }

    fn set_clock(&self, off: i64) {
        self.off.store(off, Ordering::Release);
    }

    async fn fill(&self, body: Value) -> Result<Receipt, Problem> {
        self.node.command(request("bag", "b", "fill", body)).await
    }

    async fn bag(&self) -> StateAt {
        let stream: StreamId = "acme/bag/b".parse().expect("a stream");
        self.node.state(&stream, None, None).await.expect("an answer").expect("a state")
    }

    async fn rings(&self, times: u64) {
        let begun = Instant::now();
        while self.bag().await.state.0["rang"] != times {
            assert!(begun.elapsed() < PATIENCE, "the timer that should ring {times} times did not");
            tokio::time::sleep(Duration::from_millis(5)).await; // poll
        }
    }

    fn clock_health(&self) -> Option<String> {
        let part = self.node.health().into_iter().find(|part| part.name == "clock")?;
        assert!(!part.ok && !part.critical);
        Some(part.detail)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_run_on_when_the_clock_is_set_back() {
    let scene = Scene::start().await;
    assert_eq!(scene.clock_health(), None);
    let begun = Instant::now();
    scene.fill(json!({ "ring_ms": 300 })).await.expect("taken");
    scene.set_clock(-2 * HOUR_MS);
    scene.rings(1).await;
    // Clocks count whole milliseconds.
    assert!(begun.elapsed() >= Duration::from_millis(299), "early");
    scene.fill(json!({ "ring_ms": 50 })).await.expect("taken");
    scene.rings(2).await;
    let health = scene.clock_health().expect("health says so");
    assert!(health.contains("behind this node's time"), "{health}");
    scene.set_clock(0);
    assert_eq!(scene.clock_health(), None);
    scene.node.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_ahead_once_leaves_no_trace() {
    let scene = Scene::start().await;
    scene.fill(json!({ "ring_ms": 600_000 })).await.expect("taken");
    scene.set_clock(10 * 365 * 24 * HOUR_MS);
    scene.fill(json!({ "ring_ms": 100 })).await.expect("taken");
    scene.rings(1).await;
    let health = scene.clock_health().expect("health says so");
    assert!(health.contains("ahead of this node's time"), "{health}");
    scene.set_clock(0);
    scene.fill(json!({ "ring_ms": 100 })).await.expect("taken");
    scene.rings(2).await;
    assert_eq!(scene.clock_health(), None);
    let bag = scene.bag().await;
    assert!(bag.time <= wall(), "its records are not in the future");
    assert_eq!(bag.state.0["rang"], 2, "the one that is due in ten minutes waits");
    scene.node.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_decisions_leave_the_entity_unchanged() {
    let scene = Scene::start().await;
    scene.fill(json!({ "bytes": 10 })).await.expect("taken");
    for body in [json!({ "bytes": 300_000 }), json!({ "echo_bytes": 300_000 })] {
        let problem = scene.fill(body.clone()).await.expect_err("too large");
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (413, "record_too_large"),
            "{body}: {problem}"
        );
        let bag = scene.bag().await;
        assert_eq!((bag.version, bag.state.0["filled"].as_u64()), (1, Some(1)), "{body}");
    }
    assert_eq!(scene.fill(json!({ "bytes": 20 })).await.expect("usable").version, 2);
    scene.node.shutdown(Duration::from_secs(5)).await;
}

/// What was decided before it is stored and answered, and what comes after it is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_too_large_decision_harms_no_command_beside_it() {
    let scene = Scene::start().await;
    let fills = (0..60).map(|n| {
        let body = if n % 6 == 3 {
            json!({ "echo_bytes": 300_000 })
        } else {
            json!({ "bytes": 30_000 })
        };
        scene.fill(body)
    });
    let answers = futures::future::join_all(fills).await;
    let codes: Vec<String> = answers.iter().filter_map(|a| a.as_ref().err().map(|p| p.code.clone())).collect();
    assert_eq!(codes, vec!["record_too_large".to_owned(); 10]);
    let mut versions: Vec<u64> = answers.iter().filter_map(|a| a.as_ref().ok().map(|r| r.version)).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<_>>());
    assert_eq!(COPIES.load(Ordering::Relaxed), 0, "a decision copies the state");
    scene.node.shutdown(Duration::from_secs(5)).await;
}

#[cfg(target_os = "linux")]
#[test]
fn background_threads_have_a_lower_priority_than_the_rest() {
    let niceness = || rustix::process::getpriority_process(None).expect("this thread's niceness");
    let before = niceness();
    let lowered = std::thread::spawn(move || {
        crate::background::lower_priority("test");
        niceness()
    });
    assert!(lowered.join().expect("the thread") > before);
    assert_eq!(niceness(), before, "of that thread alone");
}
