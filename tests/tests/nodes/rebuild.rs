//! Law 1 and law 7: what is not log, blobs or keys can be deleted; what must follow was stored once and is not derived again.

mod derived;

use derived::forget_what_is_derived;
use quipu_events::{
    backend::{Backend, OpenError},
    embedded,
};
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decider, Decision, Refusal};
use quipu_runtime::{
    api::CommandRequest,
    kinds::Kinds,
    node::{Node, NodeConfig, StartError},
    performers::Egress,
    secrets::{SecretValues, Secrets},
};
use quipu_schemas::{
    context::Context,
    envelope::{DataClass, KernelCommand, Receipt},
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    json::Json,
    problem::Problem,
    reaction::{Effect, Perform, Reaction, Retry, WebhookCall},
};
use quipu_tests::{
    caller::wait,
    receiver::{Receiver, SECRET},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
enum BellState {
    #[default]
    Missing,
    Rung {
        times: u64,
        settled: u64,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BellCommand {
    Ring(Ring),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BellWord {
    Done(Done),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ring {
    url: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Done {}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum BellEvent {
    #[serde(rename = "example.bell.rung.v1")]
    Rung { url: String },
    #[serde(rename = "example.bell.settled.v1")]
    Settled {},
}

#[derive(Debug)]
struct Never;
impl Refusal for Never {
    fn problem(&self) -> Problem {
        Problem::new(409, "never", "this kind refuses nothing")
    }
}

/// One kind whose reactions depend on the release: 1 tells `/old`, 2 tells `/new` twice and sets a timer.
struct Bell<const RELEASE: u8>;

impl<const RELEASE: u8> Decider for Bell<RELEASE> {
    const KIND: &'static str = "bell";
    const RULES_VERSION: u32 = RELEASE as u32;
    type State = BellState;
    type Command = BellCommand;
    type Word = BellWord;
    type Event = BellEvent;
    type Rejection = Never;

    fn initial() -> BellState {
        BellState::Missing
    }

    fn decide(_: &BellState, asked: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<BellEvent>, Never> {
        Ok(Decision::one(match asked {
            Asked::Command(BellCommand::Ring(ring)) => BellEvent::Rung { url: ring.url.clone() },
            Asked::Word(BellWord::Done(_)) => BellEvent::Settled {},
        }))
    }

    fn evolve(state: BellState, event: &BellEvent) -> Result<BellState, Corrupt> {
        let (times, settled) = match state {
            BellState::Missing => (0, 0),
            BellState::Rung { times, settled } => (times, settled),
        };
        Ok(match event {
            BellEvent::Rung { .. } => BellState::Rung { times: times + 1, settled },
            BellEvent::Settled {} => BellState::Rung {
                times,
                settled: settled + 1,
            },
        })
    }

    fn react(_: &BellState, event: &BellEvent) -> Vec<Reaction> {
        let BellEvent::Rung { url } = event else { return Vec::new() };
        let tell = |name: &str, at: &str| {
            Reaction::Perform(Perform {
                name: name.into(),
                effect: Effect::Webhook(WebhookCall {
                    url: format!("{url}{at}"),
                    sealed_url: None,
                    event_type: "bell".into(),
                    data: Json(json!({ "release": RELEASE })),
                    secret: "hook".into(),
                }),
                // Long enough that an attempt is still pending when the node ends.
                retry: Retry {
                    attempts: 1_000,
                    initial_ms: 20,
                    max_ms: 200,
                    ..Retry::default()
                },
            })
        };
        match RELEASE {
            1 => vec![tell("tell", "/old")],
            _ => vec![
                tell("tell", "/new"),
                tell("tell-again", "/new"),
                Reaction::WakeAt {
                    name: "soon".into(),
                    due: 1,
                },
            ],
        }
    }

    fn from_kernel(_: KernelCommand) -> Option<BellWord> {
        Some(BellWord::Done(Done {}))
    }
}

async fn start<const RELEASE: u8>(data: &Path, receiver: &Receiver) -> Node {
    let secrets = Secrets::new(BTreeMap::from([(
        "acme/hook".to_owned(),
        SecretValues::from(vec![SECRET.to_owned()]),
    )]));
    let egress = Egress::new(&[receiver.address.to_string()]).expect("an address");
    let config = NodeConfig {
        log: Backend::Embedded,
        data_dir: Some(data.to_owned()),
        partitions: 4,
        secrets,
        egress,
        ..NodeConfig::default()
    };
    // The tasks of a node that was shut down let go of its log a little later.
    wait("the log of the node before", || async {
        match Node::start(config.clone(), Kinds::builtin().with::<Bell<RELEASE>>(), |_| {}).await {
            Ok(node) => Some(node),
            Err(StartError::Log(OpenError::Embedded(embedded::OpenError::Locked { .. }))) => None,
            Err(other) => panic!("the node does not start: {other}"),
        }
    })
    .await
}

async fn send(node: &Node, kind: &str, id: &str, command: &str, body: Value) -> Receipt {
    let request = CommandRequest {
        org: OrgId::from_static("acme"),
        kind: Kind::parse(kind.to_owned()).expect("a kind"),
        id: Some(EntityId::parse(id.to_owned()).expect("an id")),
        command: command.into(),
        body,
        command_id: Some(CommandId::parse(format!("{kind}.{id}.{command}")).expect("an id")),
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    };
    node.command(request).await.expect("taken")
}

/// The stored reactions of a stream, as text.
async fn reactions(node: &Node, stream: &StreamId) -> Vec<String> {
    let history = node.history(stream, 1, 100).await.expect("a history");
    history
        .iter()
        .flat_map(|entry| entry.record.reactions.iter().map(|r| serde_json::to_string(r).expect("JSON")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_react_leaves_pending_work_of_an_old_log_alone() {
    let (dir, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.refuse("/old", &[503; 500]);
    let bell: StreamId = "acme/bell/b".parse().expect("a stream");
    let (before, pending) = {
        let node = start::<1>(dir.path(), &receiver).await;
        send(&node, "org", "acme", "create", json!({ "name": "Acme" })).await;
        send(&node, "bell", "b", "ring", json!({ "url": receiver.url("") })).await;
        wait("a first attempt", || async { (!receiver.at("/old").is_empty()).then_some(()) }).await;
        let pending: BTreeSet<String> = node
            .outbox(None)
            .await
            .into_iter()
            .filter(|row| row.status != "delivered")
            .map(|row| row.key)
            .collect();
        let before = reactions(&node, &bell).await;
        node.shutdown(Duration::from_secs(5)).await;
        (before, pending)
    };
    assert_eq!((before.len(), pending.len()), (1, 1), "{before:?} {pending:?}");
    // From here on the receiver takes what comes.
    receiver.refuse("/old", &[]);
    for derived in [false, true] {
        if derived {
            forget_what_is_derived(dir.path());
        }
        let node = start::<2>(dir.path(), &receiver).await;
        let rows: BTreeSet<String> = node.outbox(None).await.into_iter().map(|row| row.key).collect();
        assert!(rows.is_subset(&pending), "nothing new is pending: {rows:?}");
        assert_eq!(reactions(&node, &bell).await, before, "stored once");
        wait("the old webhook", || async {
            receiver.at("/old").iter().any(|a| a.status == 200).then_some(())
        })
        .await;
        wait("its settlement", || async {
            let state = node.state(&bell, None, None).await.expect("a state").expect("a bell").state;
            (state.0["Rung"]["settled"] == 1).then_some(())
        })
        .await;
        node.shutdown(Duration::from_secs(5)).await;
    }
    assert_eq!(receiver.at("/new").len(), 0, "the new release reacts to new events only");
    assert_eq!(
        receiver.at("/old").iter().filter(|a| a.status == 200).count(),
        1,
        "and repeats nothing"
    );
    let node = start::<2>(dir.path(), &receiver).await;
    send(&node, "bell", "new", "ring", json!({ "url": receiver.url("") })).await;
    wait("the new webhooks", || async { (receiver.at("/new").len() == 2).then_some(()) }).await;
    node.shutdown(Duration::from_secs(5)).await;
}
