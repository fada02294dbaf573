//! The other nodes of the log.

use super::Node;
use crate::{
    cluster::{Cluster, KNOWN_PATH},
    volatile::RemoteMessage,
};
use futures::future::join_all;
use quipu_events::leases::Member;
use quipu_schemas::{limits::NODES_WAIT_MS, position::Position, problem::Problem};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the other nodes are waited for.
const WAIT: Duration = Duration::from_millis(NODES_WAIT_MS);

impl Node {
    /// Whether a request may come from a node that has proved this key: which nodes there are is known here alone.
    pub fn admits_node(&self, key: Option<&[u8]>) -> Result<(), Problem> {
        self.0.core.cluster().map_or(Ok(()), |cluster| cluster.admit(key))
    }

    /// For connections of other nodes, where this one has a key.
    pub fn node_tls(&self) -> Option<Result<rustls::ServerConfig, String>> {
        self.0.core.cluster().and_then(|cluster| cluster.server_config())
    }

    /// The nodes that serve this log, as this one knows them.
    pub fn members(&self) -> Vec<Member> {
        self.0.core.cluster().map(|cluster| cluster.leases.members()).unwrap_or_default()
    }

    /// This node as others see it.
    pub fn me(&self) -> Option<Member> {
        self.0.core.cluster().map(|cluster| cluster.me.clone())
    }

    /// Whether this node knows all that stands in the log up to a position, within the time that is waited for nodes.
    pub async fn knows(&self, position: Position) -> bool {
        let is_one = position.partition < self.0.core.meta.partitions;
        is_one && self.0.core.reads_behind(position, Instant::now() + WAIT).await
    }

    /// The other nodes of the log that do not say in time that they know all up to a position: from then on none of the rest takes what
    /// was revoked there.
    pub async fn behind(&self, position: Position) -> Vec<String> {
        let Some(cluster) = self.0.core.cluster() else {
            return Vec::new();
        };
        let others = cluster.leases.members().into_iter().filter(|member| member.node != cluster.me.node);
        let asked = others.map(|member| async move {
            let knows = timeout(WAIT, ask(cluster, &member, position)).await.unwrap_or(false);
            (!knows).then_some(member.node)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Takes what another node said on the volatile channel.
    pub fn heard(&self, messages: Vec<RemoteMessage>) {
        self.0.core.volatile.heard(messages);
    }
}

async fn ask(cluster: &Cluster, member: &Member, position: Position) -> bool {
    let Ok(request) = cluster.post(member, KNOWN_PATH) else {
        return false;
    };
    match request.json(&position).send().await {
        Ok(answer) if answer.status().is_success() => answer.json().await.unwrap_or(false),
        _ => false,
    }
}
