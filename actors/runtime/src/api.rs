//! What a node offers to its faces: the request and answer types of [`crate::node::Node`].

use bytes::Bytes;
use quipu_rules::{components::Registry, definition::Definition};
use quipu_schemas::{
    context::Millis,
    envelope::DataClass,
    ids::{CommandId, CredentialId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    json::Json,
    position::{Cursor, Position},
    record::Record,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::{Arc, OnceLock};

/// A command as a face received it: plaintext, unparsed.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// Tenant.
    pub org: OrgId,
    /// Kind.
    pub kind: Kind,
    /// The entity; `None` only for `create`, whose id is then derived from (org, kind, principal, command id).
    pub id: Option<EntityId>,
    /// Command name, snake_case.
    pub command: String,
    /// The command's fields.
    pub body: serde_json::Value,
    /// Identity; minted where the client gave none (the command is then not idempotent).
    pub command_id: Option<CommandId>,
    /// Authenticated sender.
    pub principal: PrincipalId,
    /// For whom the sender acts.
    pub on_behalf_of: Option<PrincipalId>,
    /// The credential that the sender showed, an entity of the org; `None`: the node's own token.
    pub credential: Option<CredentialId>,
    /// Version that the stream must be at (0: must not exist).
    pub expected_version: Option<u64>,
    /// Label.
    pub environment: Option<String>,
    /// Label.
    pub data_class: DataClass,
    /// Correlation id.
    pub correlation: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// State of one entity at a point of its history.
#[derive(Debug, Clone, Serialize)]
pub struct StateAt {
    /// The entity.
    pub stream: StreamId,
    /// Version of the state.
    pub version: u64,
    /// Record time of the last event folded.
    pub time: Millis,
    /// SHA-256 over the state's stored form.
    pub digest: String,
    /// The state, sealed values opened.
    pub state: Json,
}

/// One record of a stream's history, with its place.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// Where it is.
    pub position: Position,
    /// The record.
    pub record: Record,
}

/// A page of a stream's history.
#[derive(Debug, Clone, Default)]
pub struct HistoryPage {
    /// Records, oldest first.
    pub entries: Vec<HistoryEntry>,
    /// Whether more follow.
    pub more: bool,
}

/// A record as the feed delivers it: one for all who follow.
#[derive(Debug)]
pub struct FeedEntry {
    /// Where it is (index 0).
    pub position: Position,
    /// The record.
    pub record: Arc<Record>,
    /// The public form of each event: with personal data sealed, and opened.
    shown: Vec<[OnceLock<Shown>; 2]>,
}

/// An event's public form, or why it has none.
pub type Shown = Result<Bytes, String>;

impl FeedEntry {
    /// A record at its place.
    pub fn new(position: Position, record: Arc<Record>) -> Self {
        let shown = record.events.iter().map(|_| [OnceLock::new(), OnceLock::new()]).collect();
        Self { position, record, shown }
    }

    /// The public form of an event, made by whoever needs it first. What is opened is kept apart from what is sealed.
    pub fn shown(&self, event: usize, opened: bool, show: impl FnOnce() -> Shown) -> &Shown {
        self.shown[event][usize::from(opened)].get_or_init(show)
    }
}

/// What is asked of a feed. Records that are left out may have been looked at no further than their headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedFilter {
    /// One org; without it everything is given, records without events included.
    pub org: Option<OrgId>,
    /// One kind.
    pub kind: Option<Kind>,
    /// One id.
    pub id: Option<EntityId>,
    /// Records with an event of one of these names; of any where there are none.
    pub types: Vec<String>,
}

impl FeedFilter {
    /// Whether records of a stream are asked for.
    pub fn takes_stream(&self, stream: &StreamId) -> bool {
        self.org.as_ref().is_none_or(|org| *org == stream.org)
            && self.kind.as_ref().is_none_or(|kind| *kind == stream.kind)
            && self.id.as_ref().is_none_or(|id| *id == stream.id)
    }

    /// Whether an event of this name is asked for.
    pub fn takes_type(&self, name: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|known| known == name)
    }

    /// Whether a record of a stream that is asked for holds anything that is.
    pub fn takes_record(&self, record: &Record) -> bool {
        self.org.is_none() || record.events.iter().any(|event| self.takes_type(&event.name))
    }
}

/// What the feed says.
#[derive(Debug, Clone)]
pub enum FeedItem {
    /// A record.
    Record(Arc<FeedEntry>),
    /// Everything durable so far has been delivered; what follows is live.
    CaughtUp(Cursor),
    /// A stream is parked at this position; its later events follow after `unpark`.
    Parked {
        /// The stream.
        stream: StreamId,
        /// Where.
        position: Position,
        /// Why.
        detail: String,
    },
    /// The partition cannot be read past here. Comes once a partition, before what follows is called caught up.
    Stopped(Stopped),
}

/// The feeds of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// Open ones.
    pub open: usize,
    /// Those that read the log to catch up.
    pub catching_up: usize,
    /// Bytes of records that are kept for the others.
    pub kept_bytes: usize,
}

/// Where a partition stops before its end: the log is damaged there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stopped {
    /// The partition's number.
    pub partition: u16,
    /// Offset of the first record that cannot be read.
    pub offset: u64,
    /// Why it cannot be read, in words.
    pub detail: String,
}

/// A stream that the node has taken out of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStream {
    /// The stream.
    pub stream: StreamId,
    /// Its last record then.
    pub position: Position,
    /// Why.
    pub detail: String,
}

/// An effect as the outbox sees it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OutboxRow {
    /// Its key: `org/kind/id@version.ordinal`.
    pub key: String,
    /// `llm.invoke`, `webhook`, `http`, `tool`, `dispatch`.
    pub effect: String,
    /// Provider or host:port, or the receiving stream.
    pub destination: String,
    /// How it stands; `failed` waits for its next attempt, `dead` for a person.
    #[schemars(extend("enum" = ["pending", "processing", "delivered", "failed", "dead"]))]
    pub status: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// When the next attempt is due, in milliseconds since 1970; null where that is not planned.
    pub next_attempt_at: Option<Millis>,
}

/// One actor of the supervision tree.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TreeNode {
    /// Its name among its siblings.
    pub name: String,
    /// What it is: `node`, `partition`, `writer`, `relay`, `entity`…
    pub role: String,
    /// `running`, `stopped`, `parked`.
    pub status: String,
    /// How often it was restarted since the node started.
    pub restarts: u64,
    /// The actors that it supervises.
    pub children: Vec<TreeNode>,
}

/// Health of one part of the node.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HealthPart {
    /// The part's name: `log`, `partition-3`, `index`, `views`…
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// Whether the node can take commands without it.
    pub critical: bool,
    /// How many there are of what it complains about, where that can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// In words, with what to do.
    pub detail: String,
}

impl HealthPart {
    /// A part that commands do not need, and that has something to tell of.
    pub fn degraded(name: &str, count: u64, detail: String) -> Self {
        Self {
            name: name.into(),
            ok: false,
            critical: false,
            count: Some(count),
            detail,
        }
    }
}

/// What waits in a node's own partitions. Counted within bounds; a count that reached one stands for "at least".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Effects and dispatches that are not settled.
    pub pending: u64,
    /// Those that were given up, and neither retried nor dropped.
    pub dead: u64,
    /// Timers that are due.
    pub due: u64,
    /// Timers that are due for longer than [`limits::TIMER_LATE_MS`](quipu_schemas::limits::TIMER_LATE_MS).
    pub late: u64,
    /// How late the latest is, milliseconds.
    pub late_ms: u64,
}

/// A kind as the node knows it, for documents and discovery.
#[derive(Debug, Clone, Serialize)]
pub struct KindInfo {
    /// Singular name.
    pub kind: String,
    /// Plural, as in paths.
    pub plural: String,
    /// Public commands with the JSON Schema of their bodies.
    pub commands: Vec<CommandInfo>,
    /// Stored event names with the JSON Schema of their data.
    pub events: Vec<EventInfo>,
}

/// A component of workflow runs, for documents.
#[derive(Debug, Clone)]
pub struct ComponentInfo {
    /// Name, as nodes name it.
    pub name: String,
    /// What it does, in a sentence.
    pub about: String,
    /// JSON Schema of its config.
    pub config: serde_json::Value,
}

/// The components that nodes of a workflow run may name.
pub fn components() -> Vec<ComponentInfo> {
    let text = |entry: &serde_json::Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let catalogue = Registry::builtin().catalogue().into_iter();
    catalogue
        .map(|mut entry| ComponentInfo {
            name: text(&entry, "name"),
            about: text(&entry, "about"),
            config: entry["config"].take(),
        })
        .collect()
}

/// JSON Schema of a workflow's definition.
pub fn definition_schema() -> serde_json::Value {
    schemars::schema_for!(Definition).to_value()
}

/// A command for documents.
#[derive(Debug, Clone, Serialize)]
pub struct CommandInfo {
    /// Name.
    pub name: String,
    /// First line of its documentation.
    pub summary: String,
    /// JSON Schema (2020-12) of the body, definitions inlined under `$defs`.
    pub schema: serde_json::Value,
}

/// An event for documents.
#[derive(Debug, Clone, Serialize)]
pub struct EventInfo {
    /// Stored name.
    pub name: String,
    /// JSON Schema of its data.
    pub schema: serde_json::Value,
}
