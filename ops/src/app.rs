//! What the faces share: the node, its views, who may call, and what is known of its kinds.
//!
//! What the node holds is read by leave alone: [`App::reads`] in an org, [`App::node`] and [`App::views`] by who operates it.

mod access;
pub mod accounts;
pub(crate) mod audit;
mod directory;
mod peers;
pub mod reads;
#[cfg(test)]
pub(crate) mod tests;

use crate::{
    asked::KnownKind,
    backups::Backups,
    caller::{Caller, Credential, InOrg, Operator},
    caller_rates::CallerRates,
    metrics,
    node_rate::NodeRate,
    problems, rights,
    token::Token,
    views::Views,
};
use axum::http::HeaderValue;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use quipu_projections::families::Families;
use quipu_projections::{progress::Wanted, reading::View};
use quipu_runtime::{
    api::{CommandRequest, HealthPart, KindInfo},
    holder::Holder,
    kernel::denials::Denials,
    node::{BodyHold, Delivery, Node, ReadPermit},
    tasks::Tasks,
};
use quipu_schemas::{
    context::Millis,
    envelope::Receipt,
    ids::{Kind, PrincipalId, StreamId},
    limits,
    position::{Cursor, Position},
    problem::Problem,
    rights::Capability,
};
use reads::Reads;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Deref,
    sync::{Arc, OnceLock},
};

pub use access::{Access, Registration};
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

/// Says how the bus is.
pub type BusHealth = Arc<dyn Fn() -> HealthPart + Send + Sync>;

/// What every handler shares.
pub struct Shared {
    node: Node,
    views: Views,
    /// The token that opens it.
    pub token: Token,
    /// Allowed callers.
    pub access: Access,
    metrics: Option<&'static PrometheusHandle>,
    /// Stage.
    pub stage: watch::Receiver<Stage>,
    /// How the bus is, where there is one.
    bus: Option<BusHealth>,
    backups: Backups,
    kinds: BTreeMap<String, KnownKind>,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    event_names: OnceLock<BTreeMap<String, Kind>>,
    /// How many requests to orgs the whole node lets through.
    pub(crate) node_rate: NodeRate,
    /// How many requests a network gets through where nobody needs a credential.
    pub(crate) caller_rates: CallerRates,
    /// What was refused and is not written down yet.
    pub(crate) denials: Mutex<Denials>,
    /// What reading each view takes.
    view_rights: BTreeMap<&'static str, Capability>,
    /// How to be let in, for whoever was not: without a credential, and with one that does not count.
    challenges: [HeaderValue; 2],
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
    pub fn new(node: Node, views: Views, token: Token, access: Access, bus: Option<BusHealth>, stage: watch::Receiver<Stage>) -> Self {
        let kinds: BTreeMap<String, KnownKind> = node
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
        let plurals: Vec<(&str, &str)> = kinds.values().map(|known| (&*known.plural, known.kind.as_str())).collect();
        let of_view = |view: View| (view.name(), rights::of_view(view, plurals.iter().copied()));
        let view_rights = views.families().views().map(of_view).collect();
        Self(Arc::new(Shared {
            view_rights,
            challenges: challenges(node.issuer()),
            node_rate: NodeRate::per_minute(access.requests_per_minute),
            caller_rates: CallerRates::per_minute(access.sign_in_per_minute),
            node,
            views,
            token,
            access,
            metrics: metrics::recorder(),
            stage,
            bus,
            backups: Backups::default(),
            kinds,
            requests: Arc::new(Semaphore::new(limits::REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(limits::STREAMS_MAX)),
            event_names: OnceLock::new(),
            denials: Mutex::default(),
        }))
    }

    /// How to be let in, for `WWW-Authenticate`.
    pub(crate) fn challenge(&self, is_given: bool) -> HeaderValue {
        self.challenges[usize::from(is_given)].clone()
    }

    /// The families of its views.
    pub(crate) fn families(&self) -> Families {
        self.views.families()
    }

    /// Names under which this node can ever store an event, with the kind that stores it.
    pub(crate) fn event_names(&self) -> &BTreeMap<String, Kind> {
        let named = |info: KindInfo| -> Vec<(String, Kind)> {
            let kind = Kind::parse(info.kind.as_str());
            let events = info.events.into_iter().map(|event| event.name);
            kind.map(|kind| events.map(|name| (name, kind.clone())).collect())
                .unwrap_or_default()
        };
        let make = || self.node.kinds().into_iter().flat_map(named).collect();
        self.event_names.get_or_init(make)
    }

    /// A kind by the plural in paths: its own, or the usual one of its name, for clients that know no more than the name.
    pub fn kind(&self, plural: &str) -> Result<&KnownKind, Problem> {
        self.known(plural)
            .ok_or_else(|| problems::unknown_kind(plural, &self.plurals().join(", ")))
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

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &KnownKind> {
        self.kinds.values()
    }

    pub(crate) fn plurals(&self) -> Vec<&str> {
        self.kinds.keys().map(String::as_str).collect()
    }

    /// What reading a view takes.
    pub(crate) fn right_of(&self, view: View) -> Capability {
        let known = self.view_rights.get(view.name()).cloned();
        known.unwrap_or_else(|| rights::of_view(view, []))
    }

    /// Now, by the node's clock.
    pub(crate) fn now(&self) -> Millis {
        self.node.now()
    }

    /// Whose a key is and what it opens, shown from this address; `401 unauthenticated` whatever is wrong with it.
    pub(crate) async fn key_holder(&self, text: &str, from: Option<IpAddr>) -> Result<Holder, Problem> {
        let found = self.node.holder(text, from).await?;
        found.ok_or_else(|| problems::unauthenticated(true))
    }

    /// The same on behalf of somebody else, for whom the key's principal may act.
    pub(crate) async fn acting_for(&self, holder: Holder, principal: PrincipalId) -> Result<Holder, Problem> {
        if *holder.principal() == principal {
            return Ok(holder);
        }
        holder.ask(&rights::ACT_AS, None, self.now())?;
        self.node.acting_for(holder, principal).await
    }

    /// The same leave as it is by now: what lasts longer than a request asks again before it tells more.
    pub(crate) async fn renewed(&self, by: &InOrg) -> Result<Option<InOrg>, Problem> {
        let Some(holder) = by.caller().holder() else { return Ok(None) };
        let ended = problems::unauthenticated(true);
        if by.caller().ends_at().is_some_and(|end| self.now() >= end) {
            return Err(ended);
        }
        let holder = self.node.renewed(holder).await?.filter(Holder::is_known).ok_or(ended)?;
        let caller = Caller::with(Credential::Key(Arc::new(holder))).until(by.caller().ends_at());
        InOrg::admit(&caller, by.org().clone()).map(Some)
    }

    /// What may be read in an org.
    pub fn reads<'a>(&'a self, by: &'a InOrg) -> Reads<'a> {
        Reads::new(self, by)
    }

    /// The node, for faces to which people and clients prove who they are. Nothing of an org is read by it but its clients.
    pub(crate) fn accounts(&self) -> &Node {
        &self.node
    }

    /// The node, for who operates it.
    pub fn node(&self, _by: &Operator) -> &Node {
        &self.node
    }

    /// Its views, for who operates it.
    pub fn views(&self, _by: &Operator) -> &Views {
        &self.views
    }

    /// The place of its backup, for who operates it.
    pub fn backups(&self, _by: &Operator) -> &Backups {
        &self.backups
    }

    /// Has a command decided; its principal's rights are looked at where that is done.
    pub async fn command(&self, request: CommandRequest) -> Result<Receipt, Problem> {
        self.node.command(request).await
    }

    /// Has the command of a delivery decided. Nobody is asked for leave: the node looks at the signature.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Receipt, Problem> {
        self.node.deliver(delivery).await
    }

    /// Whether a command brings a secret, or makes one which its answer shows: for faces whose commands and answers are kept.
    pub fn carries_secret(&self, kind: &Kind, command: &str) -> bool {
        self.node.carries_secret(kind, command)
    }

    /// The durable end of the log.
    pub fn cursor(&self) -> Cursor {
        self.node.cursor()
    }

    /// Refuses a cursor of another log or life.
    pub fn check_cursor(&self, cursor: &Cursor) -> Result<(), Problem> {
        self.node.check_cursor(cursor)
    }

    /// Waits until the views have seen this.
    pub async fn wait_for(&self, wanted: &Wanted) -> Result<(), Problem> {
        self.views.wait_for(wanted).await
    }

    /// Memory for what is read.
    pub async fn reserve_read(&self, bytes: usize) -> Result<ReadPermit, Problem> {
        self.node.reserve_read(bytes).await
    }

    /// Memory for a body.
    pub fn hold_body(&self) -> BodyHold {
        self.node.hold_body()
    }

    /// The plural of a kind.
    pub fn plural<'a>(&'a self, kind: &Kind) -> Cow<'a, str> {
        self.node.plural(kind)
    }

    /// Partitions that this node serves.
    pub fn serving(&self) -> watch::Receiver<BTreeSet<u16>> {
        self.node.serving()
    }

    /// Long-lived tasks of the node.
    pub fn tasks(&self) -> Tasks {
        self.node.tasks()
    }

    /// What the node's kinds are called, take and say.
    pub fn infos(&self) -> Vec<KindInfo> {
        self.node.kinds()
    }

    /// How every part is.
    pub fn health(&self) -> Vec<HealthPart> {
        let mut parts = self.node.health();
        parts.push(self.views.health(&self.node.cursor()));
        parts.extend(self.bus.as_ref().map(|bus| bus()));
        parts
    }

    /// The Prometheus page.
    pub async fn metrics_page(&self) -> String {
        // Walks the partitions and asks the index: off the threads that serve requests.
        let node = self.node.clone();
        let own = tokio::task::spawn_blocking(move || metrics::page_of(&node))
            .await
            .unwrap_or_default();
        let own = own + &metrics::outbox_of(&self.node.outbox_standing().await);
        self.metrics.map(|handle| handle.render()).unwrap_or_default() + &own
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
        Err(problems::bad_parameter(
            "min_position",
            detail,
            "pass a position that this node gave you",
        ))
    }
}

/// RFC 6750, with where to read about this resource (RFC 9728).
fn challenges(issuer: &str) -> [HeaderValue; 2] {
    let plain = "Bearer realm=\"quipu\"";
    let about = format!("resource_metadata=\"{issuer}/.well-known/oauth-protected-resource\"");
    let texts = [format!("{plain}, {about}"), format!("{plain}, error=\"invalid_token\", {about}")];
    texts.map(|text| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer realm=\"quipu\"")))
}
