//! The other nodes: who owns what, and commands on their way to their owner.

use crate::kernel::refusals::outcome_unknown;
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
    time::Duration,
};

/// Where a node takes commands that others forward, below its address.
pub const FORWARD_PATH: &str = "/internal/v1/commands";

/// Where a node takes what others say on the volatile channel, below its address.
pub const VOLATILE_PATH: &str = "/internal/v1/volatile";

/// How this node appears to others.
#[derive(Clone, Default)]
pub struct ClusterConfig {
    /// Where other nodes reach it, `http://host:port`.
    pub address: String,
    /// What nodes show each other; without it commands are not forwarded.
    pub token: Option<String>,
    /// PEM file of the authorities that other nodes' certificates are checked against; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// Life of a lease, milliseconds; 0: [`limits::LEASE_MS`].
    pub lease_ms: u64,
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
    pub(crate) client: reqwest::Client,
}

impl Cluster {
    pub(crate) fn new(me: Member, leases: Arc<dyn Leases>, token: Option<String>, ca: Option<&Path>) -> Result<Self, String> {
        let builder = reqwest::Client::builder()
            .timeout(Duration::from_millis(limits::FORWARD_MS))
            .connect_timeout(Duration::from_millis(limits::FORWARD_CONNECT_MS))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let builder = match ca {
            // Whoever else the system trusts is nobody here.
            Some(file) => builder.tls_certs_only(authorities(file)?),
            None => builder,
        };
        let client = builder.build().map_err(|e| e.to_string())?;
        Ok(Self { me, leases, token, client })
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
        let request = self
            .client
            .post(format!("{}{FORWARD_PATH}", owner.address))
            .bearer_auth(self.token.as_deref().unwrap_or_default());
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
            Err(serde_json::from_slice(&body).unwrap_or_else(|_| outcome_unknown()))
        }
    }
}

#[cfg(test)]
mod tests;
