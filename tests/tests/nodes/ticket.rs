//! A kind that nobody has seen before, with everything that a kind may have: a view, a timer, an effect and personal data. Each
//! face of a node knows it, the command line too.

use quipu::{config::Config, domain::Domain, serve};
use quipu_projections::{
    family::Family,
    reading::{Filter, Reading, View, whole},
    scope::{Scope, events},
    statement::{Statements, json as as_json},
    table::{Table, int, json as json_column, text},
};
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decider, Decision, Refusal};
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    context::Context,
    envelope::KernelCommand,
    json::Json,
    personal::Personal,
    problem::Problem,
    reaction::{Effect, HttpRequest, Outcome, Perform, Reaction, Retry},
};
use quipu_tests::{
    caller::{Caller, wait},
    process::binary,
    receiver::Receiver,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tokio::process::Command;

const SUBJECT: &str = "the printer of Ada Lovelace";

/// Something that somebody waits for: late once its time is over, told to another system when it is closed.
struct Ticket;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
enum TicketState {
    #[default]
    Missing,
    Open {
        subject: Personal<String>,
        hook: String,
        is_late: bool,
    },
    Closed {
        subject: Personal<String>,
        is_told: bool,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TicketCommand {
    /// Opens a ticket.
    Create(Create),
    /// Closes it.
    Close(Close),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    /// What it is about (sealed).
    subject: Personal<String>,
    /// Milliseconds until it is late.
    within_ms: u64,
    /// Who hears of its end.
    hook: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Close {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TicketWord {
    /// Its time is over.
    Expire(Close),
    /// The other system has answered.
    Heard(Heard),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Heard {
    is_taken: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum TicketEvent {
    #[serde(rename = "test.ticket.opened.v1")]
    Opened { subject: Personal<String>, due: u64, hook: String },
    #[serde(rename = "test.ticket.expired.v1")]
    Expired {},
    #[serde(rename = "test.ticket.closed.v1")]
    Closed { hook: String },
    #[serde(rename = "test.ticket.told.v1")]
    Told {},
}

#[derive(Debug)]
struct NotNow;

impl Refusal for NotNow {
    fn problem(&self) -> Problem {
        Problem::new(409, "not_now", "the ticket is in another state").fix("read its state")
    }
}

impl Decider for Ticket {
    const KIND: &'static str = "ticket";
    const RULES_VERSION: u32 = 1;
    type State = TicketState;
    type Command = TicketCommand;
    type Word = TicketWord;
    type Event = TicketEvent;
    type Rejection = NotNow;

    fn initial() -> TicketState {
        TicketState::Missing
    }

    fn decide(state: &TicketState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<TicketEvent>, NotNow> {
        match (state, asked) {
            (TicketState::Missing, Asked::Command(TicketCommand::Create(create))) => Ok(Decision::one(TicketEvent::Opened {
                subject: create.subject.clone(),
                due: context.now + create.within_ms,
                hook: create.hook.clone(),
            })),
            (TicketState::Open { hook, .. }, Asked::Command(TicketCommand::Close(_))) => {
                Ok(Decision::one(TicketEvent::Closed { hook: hook.clone() }))
            }
            (_, Asked::Command(_)) => Err(NotNow),
            (TicketState::Open { is_late: false, .. }, Asked::Word(TicketWord::Expire(_))) => Ok(Decision::one(TicketEvent::Expired {})),
            (TicketState::Closed { .. }, Asked::Word(TicketWord::Heard(Heard { is_taken: true }))) => {
                Ok(Decision::one(TicketEvent::Told {}))
            }
            (_, Asked::Word(_)) => Ok(Decision::Unchanged),
        }
    }

    fn evolve(state: TicketState, event: &TicketEvent) -> Result<TicketState, Corrupt> {
        match (state, event) {
            (TicketState::Missing, TicketEvent::Opened { subject, hook, .. }) => Ok(TicketState::Open {
                subject: subject.clone(),
                hook: hook.clone(),
                is_late: false,
            }),
            (TicketState::Open { subject, hook, .. }, TicketEvent::Expired {}) => Ok(TicketState::Open {
                subject,
                hook,
                is_late: true,
            }),
            (TicketState::Open { subject, .. }, TicketEvent::Closed { .. }) => Ok(TicketState::Closed { subject, is_told: false }),
            (TicketState::Closed { subject, .. }, TicketEvent::Told {}) => Ok(TicketState::Closed { subject, is_told: true }),
            (_, event) => Err(Corrupt(format!("{event:?}"))),
        }
    }

    fn react(_: &TicketState, event: &TicketEvent) -> Vec<Reaction> {
        match event {
            TicketEvent::Opened { due, .. } => vec![Reaction::WakeAt {
                name: "late".into(),
                due: *due,
            }],
            TicketEvent::Closed { hook } => vec![Reaction::Perform(Perform {
                name: "told".into(),
                effect: Effect::Http(HttpRequest {
                    method: "POST".into(),
                    url: hook.clone(),
                    body: Some(Json(json!({ "closed": true }))),
                    idempotency_header: Some("Idempotency-Key".into()),
                    ..HttpRequest::default()
                }),
                retry: Retry::default(),
            })],
            TicketEvent::Expired {} | TicketEvent::Told {} => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<TicketWord> {
        match told {
            KernelCommand::TimerFired { .. } => Some(TicketWord::Expire(Close {})),
            KernelCommand::EffectSettled { outcome, .. } => Some(TicketWord::Heard(Heard {
                is_taken: matches!(outcome, Outcome::Responded { status: 200, .. }),
            })),
            _ => None,
        }
    }
}

static TABLE: Table = Table {
    name: "tickets",
    key: &[text("id")],
    columns: &[text("status"), json_column("subject"), int("updated_at")],
    indexes: &[],
};
static READING: Reading = whole("tickets", &TABLE, &["id"], &[("status", Filter::Is("status"))]);
const TICKETS: View = View::of(&READING);
static FAMILY: Family = Family {
    name: "ticket",
    kind: Some("ticket"),
    version: 1,
    tables: &[&TABLE],
    views: &[TICKETS],
    parts: &[],
    counts: &[(TICKETS, &[])],
    reduce: |record, _, out| events(record, out, reduce),
};

fn reduce(at: Scope<'_>, event: TicketEvent, out: &mut Statements) {
    let status = match &event {
        TicketEvent::Opened { .. } => "open",
        TicketEvent::Expired {} => "late",
        TicketEvent::Closed { .. } => "closed",
        TicketEvent::Told {} => "told",
    };
    let key = || (&at.header.stream.id).into();
    let now = ("updated_at", at.time().into());
    if let TicketEvent::Opened { subject, .. } = &event {
        out.put(&TABLE, at.org(), [key()], [("subject", as_json(subject))]);
    }
    out.put(&TABLE, at.org(), [key()], [("status", status.into()), now]);
}

/// Every file below a directory, in one piece.
fn bytes_below(path: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).expect("a directory").flatten() {
        if entry.path().is_dir() {
            all.extend(bytes_below(&entry.path()));
        } else {
            all.extend(fs::read(entry.path()).unwrap_or_default());
        }
    }
    all
}

/// The command line against a node in this process.
async fn quipu(url: &str, token: &str, args: &[&str]) -> String {
    let mut command = Command::new(binary());
    let out = command.args(args).env("QUIPU_URL", url).env("QUIPU_TOKEN", token).output().await;
    let out = out.expect("the binary runs");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// What the documents and the command line know of tickets.
async fn documents_and_commands(caller: &Caller, receiver: &Receiver, (url, token): (&str, &str)) {
    for (document, wanted) in [
        ("/docs/openapi.json", "/tickets/{id}/close"),
        ("/docs/asyncapi.json", "test.ticket.expired.v1"),
        ("/docs/llms.txt", "### tickets"),
    ] {
        let text = caller.get(document).await.taken().text;
        assert!(text.contains(wanted), "{wanted} in {document}");
    }
    // A word is not a command.
    caller
        .post("/v1/orgs/acme/tickets/t1/expire", json!({}))
        .await
        .refused(404, "unknown_command");

    let table = quipu(url, token, &["get", "acme", "tickets", "--output", "json"]).await;
    let rows: Value = serde_json::from_str(&table).expect("JSON");
    assert_eq!(rows["items"][0]["subject"], SUBJECT, "{table}");
    let opened = json!({ "subject": "another", "within_ms": 60_000, "hook": receiver.url("/other") }).to_string();
    quipu(url, token, &["send", "acme", "ticket", "t2", "create", &opened]).await;
    assert_eq!(caller.fresh("/v1/orgs/acme/tickets/t2").await.taken().body["status"], "open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_with_all_that_it_may_have_is_on_every_face() {
    let receiver = Receiver::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = Config::at(dir.path()).expect("a configuration");
    config.egress_allow = vec![receiver.address.to_string()];
    let domain = Domain::from(Kinds::builtin().with::<Ticket>()).view(&FAMILY);
    let running = serve::start_with(config, domain, |_| {}).await.expect("a node");
    let caller = Caller::new(&running.url(), running.token.expose());
    caller.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.taken();

    let path = "/v1/orgs/acme/tickets/t1";
    let opened = json!({ "subject": SUBJECT, "within_ms": 1, "hook": receiver.url("/hook") });
    caller.post(path, opened).await.taken();
    let row = || async { caller.fresh(path).await.taken().body };
    // Its timer.
    wait("the ticket to be late", || async {
        (row().await["status"] == "late").then_some(())
    })
    .await;
    // Personal data: open to whoever reads, sealed wherever it is stored.
    assert_eq!(row().await["subject"], SUBJECT);
    let state = caller.get(&format!("{path}/state")).await.taken().body["state"].take();
    assert_eq!(state["Open"]["subject"], SUBJECT);
    // Its effect, and what came of it.
    caller.post(&format!("{path}/close"), json!({})).await.taken();
    wait("the other system's answer", || async {
        (row().await["status"] == "told").then_some(())
    })
    .await;
    let arrivals = receiver.at("/hook");
    assert_eq!(arrivals.len(), 1, "{arrivals:?}");
    assert!(arrivals[0].id.starts_with("msg_"), "{arrivals:?}");

    let told = caller.fresh("/v1/orgs/acme/tickets?status=told").await.taken().body;
    assert_eq!(told["items"].as_array().map(Vec::len), Some(1), "{told}");
    let stats = caller.fresh("/v1/orgs/acme/stats").await.taken().body;
    assert_eq!(stats["tickets"]["total"], 1, "{stats}");
    let deliveries = caller.fresh("/v1/orgs/acme/deliveries").await.taken().body;
    assert_eq!(deliveries["items"][0]["stream"], "acme/ticket/t1", "{deliveries}");
    assert_eq!(caller.records(path).await.len(), 4);
    let earlier = caller.get(&format!("{path}/state?version=1")).await.taken().body;
    assert_eq!(earlier["state"]["Open"]["is_late"], false);
    let feed = caller
        .get("/v1/orgs/acme/events?kind=ticket&from=start&follow=false")
        .await
        .taken()
        .text;
    assert!(feed.contains("test.ticket.told.v1") && feed.contains(SUBJECT), "{feed}");
    documents_and_commands(&caller, &receiver, (&running.url(), running.token.expose())).await;
    running.stop().await;
    let stored = bytes_below(dir.path());
    let is_stored = |text: &str| stored.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(is_stored("test.ticket.opened.v1"), "the log is here");
    assert!(!is_stored(SUBJECT), "personal data in the clear");
}
