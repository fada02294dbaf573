//! The other nodes: who owns what, and commands on their way to their owner.

mod node_key;
mod peers;

pub use node_key::{KEY_FILE, NodeKey, NodeKeyError};

use crate::kernel::refusals::outcome_unknown;
use peers::Peers;
use quipu_events::leases::{Leases, Member};
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    limits,
    problem::Problem,
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Where a node is asked whether it knows all up to a position, below its address.
pub const KNOWN_PATH: &str = "/internal/v1/known";
/// Where a node takes commands that others forward, below its address.
pub const FORWARD_PATH: &str = "/internal/v1/commands";

/// Where a node takes what others say on the volatile channel, below its address.
pub const VOLATILE_PATH: &str = "/internal/v1/volatile";

/// What a connection of a node asks for in its handshake (ALPN).
pub const PROTOCOL: &[u8] = b"quipu-node/1";

/// Whether nodes speak to each other over TLS with keys of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PeerTls {
    /// In no other way.
    #[default]
    Required,
    /// With those that have told a key; others may come by the cluster's secret alone, as in a cluster of mixed releases.
    Offered,
    /// Never: by the cluster's secret, at the addresses as they are told.
    Off,
}

/// How this node appears to others.
#[derive(Clone, Default)]
pub struct ClusterConfig {
    /// Where other nodes reach it, `http://host:port`.
    pub address: String,
    /// What nodes show each other; without it commands are not forwarded.
    pub token: Option<String>,
    /// PEM file of the authorities that other nodes' certificates are checked against; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// Whether nodes speak over TLS with keys of their own.
    pub tls: PeerTls,
    /// Life of a lease, milliseconds; 0: [`limits::LEASE_MS`].
    pub lease_ms: u64,
}

impl ClusterConfig {
    /// This node with its key, as others are told of it.
    pub(crate) fn member(&self, node: String, key: Option<&NodeKey>) -> Member {
        let told = key.map(|key| key.public().to_owned());
        let proof = |key: &String| Some(node_key::proof(self.token.as_deref()?, [&node, &self.address, key]));
        Member {
            proof: told.as_ref().and_then(proof),
            key: told,
            node,
            address: self.address.clone(),
        }
    }
}

impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("address", &self.address)
            .field("lease_ms", &self.lease_ms)
            .finish_non_exhaustive()
    }
}

/// The certificates of a PEM file, of which there is one at least.
pub fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let told = |why: &dyn fmt::Display| format!("{}: {why}", file.display());
    let pem = fs::read(file).map_err(|e| told(&e))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| told(&e))?;
    if found.is_empty() {
        return Err(told(&"no PEM certificate in it"));
    }
    Ok(found)
}

/// A partition as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u16,
    /// Who holds its lease, as last seen.
    pub owner: Option<Member>,
    /// Whether this node takes its commands.
    pub here: bool,
    /// Its epoch, where this node owns it.
    pub epoch: Option<u64>,
    /// Records that this node knows.
    pub records: u64,
    /// Why it is not served, if it is not.
    pub trouble: Option<String>,
}

/// This node among the others.
pub(crate) struct Cluster {
    pub(crate) me: Member,
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) token: Option<String>,
    /// For nodes that tell no key.
    client: reqwest::Client,
    peers: Peers,
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .timeout(Duration::from_millis(limits::FORWARD_MS))
        .connect_timeout(Duration::from_millis(limits::FORWARD_CONNECT_MS))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// Where a node answers over TLS: at the port of its address, whatever the address says of TLS.
fn secured(address: &str, path: &str) -> Option<reqwest::Url> {
    let mut url = reqwest::Url::parse(address).ok()?.join(path).ok()?;
    let port = url.port_or_known_default()?;
    url.set_scheme("https").ok()?;
    url.set_port(Some(port)).ok()?;
    Some(url)
}

impl Cluster {
    pub(crate) fn new(me: Member, leases: Arc<dyn Leases>, token: Option<String>, ca: Option<&Path>) -> Result<Self, String> {
        let builder = match ca {
            // Whoever else the system trusts is nobody here.
            Some(file) => client().tls_certs_only(authorities(file)?),
            None => client(),
        };
        Ok(Self {
            me,
            leases,
            token,
            client: builder.build().map_err(|e| e.to_string())?,
            peers: Peers::new(PeerTls::Off, None),
        })
    }

    /// The same with a key of its own.
    pub(crate) fn with_key(self, mode: PeerTls, own: Option<NodeKey>) -> Self {
        Self {
            peers: Peers::new(mode, own),
            ..self
        }
    }

    /// A request to another node: with its key expected, where it has told one.
    pub(crate) fn post(&self, to: &Member, path: &str) -> Result<reqwest::RequestBuilder, String> {
        let own = self.peers.own.as_ref();
        let request = match (own, Peers::key_of(self.token.as_deref(), to)) {
            (Some(own), Some(key)) => {
                let url = secured(&to.address, path).ok_or_else(|| format!("`{}` is not an address", to.address))?;
                self.expecting(own, key)?.post(url)
            }
            (Some(_), None) if self.peers.mode == PeerTls::Required => {
                return Err("it has told no key that the cluster's secret vouches for, and cluster.tls is `required`".into());
            }
            _ => self.client.post(format!("{}{path}", to.address)),
        };
        Ok(request.bearer_auth(self.token.as_deref().unwrap_or_default()))
    }

    /// The client that expects this key.
    fn expecting(&self, own: &NodeKey, key: &str) -> Result<reqwest::Client, String> {
        let mut clients = self.peers.clients.lock();
        if let Some(client) = clients.get(key) {
            return Ok(client.clone());
        }
        let made = client()
            .tls_backend_preconfigured(own.client_config(key)?)
            .build()
            .map_err(|e| e.to_string())?;
        if clients.len() >= limits::NODE_KEYS_MAX {
            clients.clear();
        }
        clients.insert(key.to_owned(), made.clone());
        Ok(made)
    }

    /// Notes the keys of the nodes that there are.
    pub(crate) fn note_keys(&self) {
        let members = self.leases.members();
        let keys = members.iter().filter_map(|member| Peers::key_of(self.token.as_deref(), member));
        self.peers.note(keys, Instant::now());
    }

    /// Whether a request may come from whoever has proved this key.
    pub(crate) fn admit(&self, key: Option<&[u8]>) -> Result<(), Problem> {
        self.peers.admit(key, Instant::now(), || self.note_keys())
    }

    /// For connections of other nodes, where this one has a key.
    pub(crate) fn server_config(&self) -> Option<Result<rustls::ServerConfig, String>> {
        self.peers.own.as_ref().map(NodeKey::server_config)
    }

    /// The owner of a partition, where it is another node that commands can be forwarded to.
    pub(crate) fn elsewhere(&self, partition: u16) -> Option<Member> {
        self.token.as_ref()?;
        self.leases.holder(partition).filter(|holder| holder.node != self.me.node)
    }

    /// Whether another node holds a partition's lease.
    pub(crate) fn is_anothers(&self, partition: u16) -> bool {
        self.leases.holder(partition).is_some_and(|holder| holder.node != self.me.node)
    }

    /// Sends a command to the node that owns its partition. The owner answers once its record is durable there.
    pub(crate) async fn forward(&self, owner: &Member, envelope: &CommandEnvelope) -> Result<Receipt, Problem> {
        let unreachable = |what: String| {
            Problem::new(
                503,
                "owner_unreachable",
                format!("{}, which owns this partition, does not answer: {what}", owner.address),
            )
            .fix("send the command again with the same id")
            .retry_after(1)
        };
        let request = self.post(owner, FORWARD_PATH).map_err(unreachable)?;
        let answer = match request.json(envelope).send().await {
            Ok(answer) => answer,
            // It never left.
            Err(error) if error.is_connect() => return Err(unreachable(error.without_url().to_string())),
            Err(_) => return Err(outcome_unknown()),
        };
        let status = answer.status();
        let body = answer.bytes().await.map_err(|_| outcome_unknown())?;
        // Whoever answers in other words may have passed the command on.
        if status.is_success() {
            serde_json::from_slice(&body).map_err(|_| outcome_unknown())
        } else {
            let problem: Problem = serde_json::from_slice(&body).unwrap_or_else(|_| outcome_unknown());
            // Nothing was passed on to its rules, and it hears of this node in a moment.
            Err(match problem.code.as_str() {
                "unknown_node_key" => unreachable(problem.detail),
                _ => problem,
            })
        }
    }
}

#[cfg(test)]
mod tests;
