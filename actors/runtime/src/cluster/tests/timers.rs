//! Timers over a log that does not always answer.

use super::*;
use crate::timers;
use quipu_events::port::{AppendDone, AppendError, Batch, FrameRead, Head, LogMeta, Place, ReadError};
use quipu_schemas::{
    envelope::KernelCommand,
    reaction::{Reaction, ReactionKey},
};

/// Fails reads by place as often as it is told to.
struct Flaky {
    log: MemoryLog,
    fails: AtomicUsize,
}

impl Log for Flaky {
    fn meta(&self) -> LogMeta {
        self.log.meta()
    }
    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        self.log.claim(partition, owner)
    }
    fn append(&self, batch: Batch, done: AppendDone) {
        self.log.append(batch, done);
    }
    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        self.log.read(partition, from_offset, max_bytes)
    }
    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        let fails = |left: usize| left.checked_sub(1);
        if self.fails.fetch_update(Ordering::AcqRel, Ordering::Acquire, fails).is_ok() {
            return Err(ReadError::Io("nobody answers".into()));
        }
        self.log.read_at(places)
    }
    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        self.log.head(partition)
    }
}

/// Rings a while after it was wound.
struct Bell;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BellCommand {
    Create {},
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BellWord {
    Ring {},
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum BellEvent {
    #[serde(rename = "test.bell.wound.v1")]
    Wound { due: u64 },
    #[serde(rename = "test.bell.rang.v1")]
    Rang {},
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Rings(u64);

impl Decider for Bell {
    const KIND: &'static str = "bell";
    const RULES_VERSION: u32 = 1;
    type State = Rings;
    type Command = BellCommand;
    type Word = BellWord;
    type Event = BellEvent;
    type Rejection = Closed;

    fn initial() -> Rings {
        Rings(0)
    }

    fn decide(_: &Rings, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<BellEvent>, Closed> {
        Ok(Decision::one(match asked {
            Asked::Command(BellCommand::Create {}) => BellEvent::Wound { due: context.now + 50 },
            Asked::Word(BellWord::Ring {}) => BellEvent::Rang {},
        }))
    }

    fn evolve(state: Rings, event: &BellEvent) -> Result<Rings, Corrupt> {
        Ok(Rings(state.0 + u64::from(matches!(event, BellEvent::Rang {}))))
    }

    fn react(_: &Rings, event: &BellEvent) -> Vec<Reaction> {
        match event {
            BellEvent::Wound { due } => vec![Reaction::WakeAt {
                name: "ring".into(),
                due: *due,
            }],
            BellEvent::Rang {} => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<BellWord> {
        matches!(told, KernelCommand::TimerFired { .. }).then_some(BellWord::Ring {})
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_fires_though_its_record_is_not_read_once() {
    let log = Arc::new(Flaky {
        log: MemoryLog::new(LogId([1; 16]), 1),
        fails: AtomicUsize::new(0),
    });
    let node = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin().with::<Bell>(), &[]);
    node.own(0).await;
    node.org().await;
    node.here(node.envelope("bell", "b", "create", json!({}))).await.expect("taken");
    // From here on nothing but the timer reads the log.
    log.fails.store(1, Ordering::Release);
    tokio::spawn(timers::run(node.core.clone()));
    let key = ReactionKey {
        stream: "acme/bell/b".parse().expect("a stream"),
        version: 1,
        ordinal: 0,
    };
    until("the bell to ring", || {
        node.core.settled(&key).is_ok_and(|settled| settled.is_some())
    })
    .await;
    assert_eq!(log.fails.load(Ordering::Acquire), 0, "no read failed");
    node.core.stopping.store(true, Ordering::Release);
}
