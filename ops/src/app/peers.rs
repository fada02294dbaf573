//! What the nodes of one log ask each other.

use super::App;
use crate::caller::{NodeKeyShown, Peer};
use quipu_runtime::{
    rates::{Asking, Taken},
    volatile::RemoteMessage,
};
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    ids::Kind,
    position::Position,
    problem::Problem,
};

impl App {
    /// Whether a request may come from whoever has proved this key of a node, if any.
    pub(crate) fn admit_node(&self, shown: Option<&NodeKeyShown>) -> Result<(), Problem> {
        self.node.admits_node(shown.map(|shown| &*shown.0))
    }

    /// Has a command decided that another node has admitted.
    pub async fn forwarded(&self, _by: &Peer, envelope: CommandEnvelope) -> Result<Receipt, Problem> {
        self.node.forwarded(envelope).await
    }

    /// Counts a request at the rates of its org.
    pub(crate) async fn let_through(&self, asking: &Asking) -> Result<Option<Taken>, Problem> {
        self.node.let_through(asking).await
    }

    /// The same for another node.
    pub fn let_through_here(&self, _by: &Peer, asking: &Asking) -> Result<Option<Taken>, Problem> {
        self.node.let_through_here(asking)
    }

    /// Whether this node knows all up to a position, for another node.
    pub async fn knows(&self, _by: &Peer, position: Position) -> bool {
        self.node.knows(position).await
    }

    /// Whether every node keeps up with what is decided of a kind.
    pub(crate) fn is_about_rights(&self, kind: &Kind) -> bool {
        quipu_runtime::kernel::authorities::is_about(kind)
    }

    /// The other nodes that do not say in time that they know all up to a position.
    pub(crate) async fn behind(&self, position: Position) -> Vec<String> {
        self.node.behind(position).await
    }

    /// Takes what another node says on the volatile channel.
    pub fn heard(&self, _by: &Peer, said: Vec<RemoteMessage>) {
        self.node.heard(said);
    }
}
