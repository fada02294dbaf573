//! What the faces share: the node, its views, who may call, and what is known of its kinds.

#[cfg(test)]
pub(crate) mod tests;

use crate::{asked::KnownKind, backups::Backups, problems, token::Token, views::Views};
use metrics_exporter_prometheus::PrometheusHandle;
use quipu_runtime::{api::HealthPart, node::Node};
use quipu_schemas::{
    ids::{OrgId, StreamId},
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

/// Says how the bus is.
pub type BusHealth = Arc<dyn Fn() -> HealthPart + Send + Sync>;

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
    pub bus: Option<BusHealth>,
    /// The backup under way.
    pub backups: Backups,
    kinds: BTreeMap<String, KnownKind>,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
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
    pub fn new(node: Node, views: Views, token: Token, access: Access, bus: Option<BusHealth>, stage: watch::Receiver<Stage>) -> Self {
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
            backups: Backups::default(),
            kinds,
            requests: Arc::new(Semaphore::new(limits::REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(limits::STREAMS_MAX)),
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

    /// Refuses an org that the log has never seen. The log, not the views: they may lag behind its creation.
    pub async fn check_org(&self, org: &OrgId) -> Result<(), Problem> {
        if self.node.exists(&StreamId::of_org(org)).await? {
            Ok(())
        } else {
            Err(problems::unknown_org(org))
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
        Err(problems::bad_parameter(
            "min_position",
            detail,
            "pass a position that this node gave you",
        ))
    }
}
