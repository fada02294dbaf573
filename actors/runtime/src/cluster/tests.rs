//! Nodes of one process over one log in memory: what the end of an owner means to commands, to refusals and to effects.

mod appends;
mod attempts;
mod feeds;
mod forwarding;
mod outbox;
mod timers;

use super::*;
use crate::{
    api::CommandRequest,
    core::{Core, Opened},
    ingress,
    kinds::Kinds,
    mailbox::RelayMsg,
    partition_actor::{PartitionActor, PartitionArgs},
    performers::{Egress, Performers, PerformersConfig},
    prompts::LogPrompts,
    secrets::Secrets,
    shadow,
    volatile::Volatile,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use quipu_events::{
    index::Index,
    keyring::Keyring,
    leases::{Answering, LeaseAnswer, Tell},
    memory::MemoryLog,
    port::Log,
};
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decider, Decision, NoWord, Refusal};
use quipu_schemas::{
    context::Context,
    envelope::DataClass,
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    position::{Cursor, LogId},
};
use ractor::{Actor, ActorRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, oneshot},
};

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await; // poll
    }
}

/// A lease store that a test commands.
struct Store {
    life: Duration,
    /// Whether this node gets what it asks for; otherwise nobody answers it.
    grants: AtomicBool,
    /// Another node that holds a partition, as this one is told.
    others: Mutex<BTreeMap<u16, Member>>,
}

impl Store {
    fn new(life: Duration) -> Arc<Self> {
        Arc::new(Self {
            life,
            grants: AtomicBool::new(true),
            others: Mutex::default(),
        })
    }

    fn answer(&self) -> Answering<'_> {
        let granted = self.grants.load(Ordering::Acquire);
        Box::pin(std::future::ready(if granted {
            LeaseAnswer::Granted { grant: 1 }
        } else {
            LeaseAnswer::Unknown
        }))
    }
}

impl Leases for Store {
    fn lease_ms(&self) -> u64 {
        self.life.as_millis() as u64
    }
    fn ask(&self, _: u16) -> Answering<'_> {
        self.answer()
    }
    fn renew(&self, _: u16, _: u64) -> Answering<'_> {
        self.answer()
    }
    fn release(&self, _: u16, _: u64) -> Answering<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn holder(&self, partition: u16) -> Option<Member> {
        self.others.lock().get(&partition).cloned()
    }
    fn on_change(&self, _: Tell) {}
}

/// A node without its faces.
struct Node {
    core: Arc<Core>,
    leases: Arc<Store>,
    performers: Arc<Performers>,
}

impl Node {
    /// A node that has read the log to its end and owns nothing. All nodes have the same keys.
    fn new<L: Log + 'static>(log: &Arc<L>, leases: &Arc<Store>, kinds: Kinds, reaches: &[SocketAddr]) -> Self {
        let keys = Arc::new(Keyring::ephemeral(7));
        let (volatile, prompts) = (Volatile::new(), Arc::new(LogPrompts::default()));
        let allowed: Vec<String> = reaches.iter().map(SocketAddr::to_string).collect();
        let performers = Performers::new(PerformersConfig {
            providers: BTreeMap::new(),
            secrets: Arc::new(Secrets::default()),
            egress: Egress::new(&allowed).expect("addresses"),
            keys: keys.clone(),
            prompts: prompts.clone(),
            volatile: volatile.clone(),
            clock: Arc::new(|| 1_700_000_000_000),
            mail: None,
        })
        .expect("performers");
        let index = Arc::new(Index::in_memory(&log.meta()).expect("an index"));
        index.catch_up(&**log, &mut |_| {}).expect("the log");
        let (unreadable, snapshots) = (BTreeMap::new(), mpsc::channel(1).0);
        let opened = Opened {
            charter: kinds.charter([]),
            kinds,
            log: log.clone(),
            index,
            unreadable,
            keys,
            volatile,
            snapshots,
            is_shared: true,
            clock: crate::clock::ClockSource::default(),
            vitals: Arc::default(),
        };
        let core = Arc::new(Core::new(opened));
        prompts.set(&core);
        let me = Member::new("me", "");
        core.among(Cluster::new(me, leases.clone(), Some("token".into()), None).expect("a client"));
        Self {
            core,
            leases: leases.clone(),
            performers: Arc::new(performers),
        }
    }

    /// Asks for a partition, and serves it once it has it.
    async fn own(&self, partition: u16) {
        let args = PartitionArgs {
            core: self.core.clone(),
            partition,
            performers: self.performers.clone(),
            leases: self.leases.clone(),
            owner: "a test".into(),
        };
        Actor::spawn(None, PartitionActor, args).await.expect("an actor");
        until("the partition to be owned", || self.core.is_owner(partition)).await;
    }

    fn envelope(&self, kind: &'static str, id: &str, command: &str, body: Value) -> CommandEnvelope {
        let request = CommandRequest {
            org: OrgId::from_static("acme"),
            kind: Kind::from_static(kind),
            id: Some(EntityId::parse(id).expect("an id")),
            command: command.into(),
            body,
            command_id: Some(CommandId::parse(format!("{kind}-{id}-{command}")).expect("an id")),
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            credential: None,
            expected_version: None,
            environment: None,
            data_class: DataClass::None,
            correlation: None,
            traceparent: None,
        };
        let drawn = ingress::Drawn::of_seed(1);
        ingress::admit(request, &self.core.kinds, &self.core.keys, &drawn, self.core.now())
            .expect("a command")
            .envelope
    }

    async fn here(&self, envelope: CommandEnvelope) -> Result<Receipt, Problem> {
        self.core.submit_here(Arc::new(envelope)).await
    }

    async fn org(&self) {
        self.here(self.envelope("org", "acme", "create", json!({ "name": "Acme" })))
            .await
            .expect("an org");
    }
}

fn log(partitions: u16) -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(LogId([1; 16]), partitions))
}

/// A server: `answer` gets each request's body and gives status and body.
async fn listen(answer: impl Fn(Vec<u8>) -> BoxFuture<'static, (u16, String)> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let (head, length) = loop {
                    if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                        break (end + 4, length.unwrap_or(0));
                    }
                    if !socket.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {
                        return;
                    }
                };
                while bytes.len() < head + length {
                    if !socket.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {
                        return;
                    }
                }
                let (status, body) = answer(bytes.split_off(head)).await;
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}",
                    body.len()
                );
                // Whoever asked may be gone.
                let _ = socket.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
            });
        }
    });
    address
}

fn said(answer: Result<Receipt, Problem>) -> (u16, String) {
    match answer {
        Ok(receipt) => (200, serde_json::to_string(&receipt).expect("JSON")),
        Err(problem) => (problem.status, serde_json::to_string(&problem).expect("JSON")),
    }
}

fn member(at: SocketAddr) -> Member {
    Member::new("another", format!("http://{at}"))
}

/// Says no, but takes its time.
struct Gate;

static ASKED: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum GateCommand {
    Create {},
}

#[derive(Debug)]
struct Closed;

impl Refusal for Closed {
    fn problem(&self) -> Problem {
        Problem::new(409, "gate_closed", "in a test")
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

impl Decider for Gate {
    const KIND: &'static str = "gate";
    const RULES_VERSION: u32 = 1;
    type State = Nothing;
    type Command = GateCommand;
    type Word = NoWord;
    type Event = GateEvent;
    type Rejection = Closed;

    fn initial() -> Nothing {
        Nothing {}
    }

    fn decide(_: &Nothing, _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<GateEvent>, Closed> {
        ASKED.fetch_add(1, Ordering::AcqRel);
        while HELD.load(Ordering::Acquire) {
            std::thread::sleep(LOOK_EVERY); // poll
        }
        Err(Closed)
    }

    fn evolve(_: Nothing, event: &GateEvent) -> Result<Nothing, Corrupt> {
        Err(Corrupt(format!("{event:?}")))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum GateEvent {
    #[serde(rename = "test.gate.opened.v1")]
    Opened {},
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_refusal_that_comes_after_its_lease_is_none() {
    let store = Store::new(Duration::from_millis(500));
    let node = Arc::new(Node::new(&log(1), &store, Kinds::builtin().with::<Gate>(), &[]));
    node.own(0).await;
    node.org().await;
    let ask = |id: &'static str| {
        let node = node.clone();
        async move { node.here(node.envelope("gate", id, "create", json!({}))).await }
    };
    assert_eq!(
        ask("early").await.map_err(|p| p.code),
        Err("gate_closed".into()),
        "within the lease"
    );
    // The store falls silent while the rules think.
    HELD.store(true, Ordering::Release);
    let asking = tokio::spawn(ask("late"));
    until("the rules to think", || ASKED.load(Ordering::Acquire) == 2).await;
    store.grants.store(false, Ordering::Release);
    until("the lease to end", || !node.core.may_refuse(0)).await;
    HELD.store(false, Ordering::Release);
    let problem = asking.await.expect("no panic").expect_err("a refusal");
    assert_eq!((problem.status, problem.code.as_str()), (503, "lease_ended"), "{problem}");
}

#[tokio::test]
async fn what_is_known_of_an_org_elsewhere_decides_for_a_while_only() {
    let log = log(8);
    let of_org = StreamId::of_org(&OrgId::from_static("acme")).partition(8);
    let rooms = || {
        (0..).map(|n| format!("c{n}")).filter(|id| {
            format!("acme/conversation/{id}")
                .parse::<StreamId>()
                .is_ok_and(|s| s.partition(8) == (of_org + 1) % 8)
        })
    };
    let home = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin(), &[]);
    home.own(of_org).await;
    home.org().await;
    let node = Node::new(&log, &Store::new(PATIENCE), Kinds::builtin(), &[]);
    node.own((of_org + 1) % 8).await;
    let ask = |nth: usize| {
        let id = rooms().nth(nth).expect("there are many");
        node.here(node.envelope("conversation", &id, "create", json!({ "type": "group" })))
    };
    shadow::follow(&node.core, of_org);
    assert!(ask(0).await.is_ok(), "it has just looked");
    let begun = Instant::now();
    until("the org to be looked at too long ago", || !node.core.is_fresh(of_org)).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(limits::AUTHORITY_STALE_MS - 1_000),
        "{:?}",
        begun.elapsed()
    );
    let problem = ask(1).await.expect_err("a refusal");
    assert_eq!(
        (problem.status, problem.code.as_str(), problem.retry_after),
        (503, "authority_stale", Some(1)),
        "{problem}"
    );
    shadow::follow(&node.core, of_org);
    assert!(ask(1).await.is_ok(), "it has looked again");
    // Who owns the org's partition knows it.
    assert!(home.core.is_fresh(of_org));
}

/// When a relay tries the one thing again that it has to do.
async fn again_at(relay: &ActorRef<RelayMsg>) -> Option<u64> {
    let (sender, rows) = oneshot::channel();
    relay.send_message(RelayMsg::Rows(sender)).expect("it runs");
    rows.await.ok()?.first()?.next_attempt_at
}
