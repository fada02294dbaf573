//! The other nodes of the log.

use super::Node;
use crate::volatile::RemoteMessage;
use quipu_events::leases::Member;
use quipu_schemas::problem::Problem;

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

    /// Takes what another node said on the volatile channel.
    pub fn heard(&self, messages: Vec<RemoteMessage>) {
        self.0.core.volatile.heard(messages);
    }
}
