//! The HTTP face: one grid of routes over every kind, problems everywhere, nothing decided here.
//!
//! A request passes [`guard`] (correlation, `Host`, `Origin`, token, bounds, deadline, panics) and then one handler.

pub(crate) mod accept;
pub mod admin;
mod allow;
pub mod answer;
pub mod backup;
pub mod blobs;
pub mod cluster;
pub mod command;
pub mod docs;
pub mod feed;
pub mod filter;
pub mod guard;
pub mod health;
pub mod live;
pub mod params;
pub mod problem;
pub mod query;
pub mod request;
pub mod stream;

use crate::{asyncapi, bus::status::Status, openapi, token::Token, views::Views};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use metrics_exporter_prometheus::PrometheusHandle;
use problem::Failure;
use quipu_runtime::node::Node;
use quipu_schemas::{
    ids::{Kind, OrgId, StreamId},
    limits,
    position::Position,
    problem::Problem,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::{Arc, OnceLock},
};
use tokio::sync::{Semaphore, watch};

/// Where the node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Takes everything.
    Serving,
    /// Not ready any more, takes everything all the same: its partitions go to other nodes, and commands with them.
    Leaving,
    /// Finishes what is at work and takes nothing new.
    Stopping,
}

/// Who may call from where.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Names and addresses that `Host` may hold, besides loopback ones.
    pub hosts: Vec<String>,
    /// Origins of browsers that may call, besides those of the node itself.
    pub origins: Vec<String>,
    /// What other nodes show.
    pub cluster: Option<String>,
}

/// A kind with its stored name parsed.
#[derive(Debug, Clone)]
pub struct KnownKind {
    /// The kind.
    pub kind: Kind,
    /// Its plural, as in paths.
    pub plural: Arc<str>,
    /// Names of the commands that clients may send.
    pub commands: Arc<[String]>,
}

impl KnownKind {
    /// Whether clients may send a command of this name.
    pub fn has_command(&self, name: &str) -> bool {
        self.commands.iter().any(|command| command == name)
    }
}

/// What every handler shares.
pub struct Shared {
    /// The node.
    pub node: Node,
    /// Its read models.
    pub views: Views,
    /// The token that opens it.
    pub token: Token,
    /// Allowed callers.
    pub access: Access,
    /// Metrics page.
    pub metrics: Option<&'static PrometheusHandle>,
    /// Stage.
    pub stage: watch::Receiver<Stage>,
    /// How the bus is, where there is one.
    pub bus: Option<Arc<Status>>,
    /// The backup under way.
    pub backups: backup::Backups,
    kinds: BTreeMap<String, KnownKind>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Made when it is first asked for: a node that nobody documents does not pay for it in memory.
    openapi: OnceLock<Bytes>,
    asyncapi: OnceLock<Bytes>,
    event_names: OnceLock<BTreeSet<String>>,
}

/// The state of the router; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(node: Node, views: Views, token: Token, access: Access, bus: Option<Arc<Status>>, stage: watch::Receiver<Stage>) -> Self {
        let kinds = node
            .commands()
            .into_iter()
            .map(|(kind, commands)| {
                let plural = node.plural(&kind).into_owned();
                let known = KnownKind {
                    plural: plural.as_str().into(),
                    kind,
                    commands: commands.into(),
                };
                (plural, known)
            })
            .collect();
        Self(Arc::new(Shared {
            node,
            views,
            token,
            access,
            metrics: crate::metrics::recorder(),
            stage,
            bus,
            backups: backup::Backups::default(),
            kinds,
            requests: Arc::new(Semaphore::new(limits::REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(limits::STREAMS_MAX)),
            openapi: OnceLock::new(),
            asyncapi: OnceLock::new(),
            event_names: OnceLock::new(),
        }))
    }

    /// Names under which this node can ever store an event.
    pub(crate) fn event_names(&self) -> &BTreeSet<String> {
        let make = || {
            self.node
                .kinds()
                .into_iter()
                .flat_map(|kind| kind.events)
                .map(|event| event.name)
                .collect()
        };
        self.event_names.get_or_init(make)
    }

    /// The OpenAPI document of this node.
    pub(crate) fn openapi(&self) -> Bytes {
        let make = || {
            serde_json::to_vec_pretty(&openapi::document(&self.node.kinds()))
                .unwrap_or_default()
                .into()
        };
        self.openapi.get_or_init(make).clone()
    }

    /// The AsyncAPI document of this node.
    pub(crate) fn asyncapi(&self) -> Bytes {
        let make = || {
            serde_json::to_vec_pretty(&asyncapi::document(&self.node.kinds()))
                .unwrap_or_default()
                .into()
        };
        self.asyncapi.get_or_init(make).clone()
    }

    /// A kind by the plural in paths: its own, or the usual one of its name, for clients that know no more than the name.
    pub fn kind(&self, plural: &str) -> Result<&KnownKind, Problem> {
        self.known(plural)
            .ok_or_else(|| problem::unknown_kind(plural, &self.plurals().join(", ")))
    }

    fn known(&self, plural: &str) -> Option<&KnownKind> {
        let usual = || self.kinds.values().find(|known| known.kind.plural() == plural);
        self.kinds.get(plural).or_else(usual)
    }

    /// The path of an entity.
    pub(crate) fn path(&self, stream: &StreamId) -> String {
        format!("/v1/orgs/{}/{}/{}", stream.org, self.node.plural(&stream.kind), stream.id)
    }

    /// Whether paths know this plural as a kind.
    pub fn has_kind(&self, plural: &str) -> bool {
        self.known(plural).is_some()
    }

    fn kinds(&self) -> impl Iterator<Item = &KnownKind> {
        self.kinds.values()
    }

    fn plurals(&self) -> Vec<&str> {
        self.kinds.keys().map(String::as_str).collect()
    }

    /// Refuses an org that the log has never seen. The log, not the views: they may lag behind its creation.
    pub async fn check_org(&self, org: &OrgId) -> Result<(), Problem> {
        if self.node.exists(&StreamId::of_org(org)).await? {
            Ok(())
        } else {
            Err(problem::unknown_org(org))
        }
    }

    /// Refuses a position that this log does not hold: no partition of that number, or past its end. Whoever has a receipt
    /// holds a position before the end.
    pub fn check_position(&self, position: Position) -> Result<(), Problem> {
        let ends = self.node.cursor().next;
        let detail = match ends.get(usize::from(position.partition)) {
            Some(end) if position.offset < *end => return Ok(()),
            Some(end) => format!("{position} is past the end of its partition, {end}"),
            None => format!("{position} names partition {}, and this log has {}", position.partition, ends.len()),
        };
        Err(problem::bad_parameter(
            "min_position",
            detail,
            "pass a position that this node gave you",
        ))
    }
}

/// All routes, with everything around them.
pub fn router(app: App) -> Router {
    // One parameter name a place: `{kinds}` is a plural, of a kind or of a view.
    let entity = "/v1/orgs/{org}/{kinds}/{id}";
    Router::new()
        .route("/v1/orgs/{org}/events", get(feed::events))
        .route("/v1/orgs/{org}/stats", get(query::stats))
        .route("/v1/orgs/{org}/blobs", put(blobs::put))
        .route("/v1/orgs/{org}/blobs/{digest}", get(blobs::get))
        .route("/v1/orgs/{org}/{kinds}", get(query::list).post(command::create))
        .route(entity, get(query::row).post(command::create_named))
        .route(&format!("{entity}/history"), get(stream::history).post(command::command))
        .route(&format!("{entity}/state"), get(stream::state).post(command::command))
        .route(&format!("{entity}/live"), get(live::listen).post(live::tell))
        .route(&format!("{entity}/{{part}}"), get(query::part).post(command::command))
        .route(&format!("{entity}/commands/{{command_id}}"), get(stream::receipt))
        .route(&format!("{entity}/{{part}}/{{key}}"), get(query::part_row))
        .route("/v1/ops/tree", get(admin::tree))
        .route("/v1/ops/cluster", get(cluster::cluster))
        .route(
            quipu_runtime::cluster::FORWARD_PATH,
            // Sealed, a body takes more room than it came in.
            post(cluster::forwarded).layer(DefaultBodyLimit::max(limits::FORWARD_MAX_BYTES)),
        )
        .route(quipu_runtime::cluster::VOLATILE_PATH, post(cluster::volatile))
        .route("/v1/ops/outbox", get(admin::outbox))
        .route("/v1/ops/outbox/{key}/retry", post(admin::retry))
        .route("/v1/ops/outbox/{key}/drop", post(admin::drop_effect))
        .route("/v1/ops/views", get(admin::views))
        .route("/v1/ops/views/rebuild", post(admin::rebuild))
        .route("/v1/ops/views/verify", post(admin::verify))
        .route("/v1/ops/unpark", post(admin::unpark))
        .route("/v1/ops/backup", get(backup::look).post(backup::begin))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/docs/openapi.json", get(docs::openapi))
        .route("/docs/asyncapi.json", get(docs::asyncapi))
        .route("/docs/llms.txt", get(docs::llms))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

async fn unknown_route(request: Request) -> Failure {
    Failure(problem::unknown_route(request.uri().path()))
}

async fn method_not_allowed(State(app): State<App>, request: Request) -> Response {
    let (method, path) = (request.method().as_str(), request.uri().path());
    match allow::methods(&app, path) {
        Some(allowed) => problem::only(allowed, method, path),
        // The router adds the methods that it knows.
        None => Failure(problem::method_not_allowed(method, path)).into_response(),
    }
}

/// What a handler answers.
pub type Answer = Result<Response, Failure>;

/// A JSON answer from bytes.
pub(crate) fn json_bytes(bytes: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(bytes.into());
    // Room for what the handlers and the guard add.
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.headers_mut() = headers;
    response
}

/// A JSON answer.
pub(crate) fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(json_bytes(bytes)),
        Err(e) => Err(problem::internal(format!("the answer cannot be encoded: {e}")).into()),
    }
}
