//! The scene most tests begin with: an org `acme` of ada's, in a node of its own process, and another system beside it.

use crate::{
    caller::{Answer, Caller},
    process::{Launch, Process},
    receiver::{Receiver, SECRET},
};
use quipu_schemas::ids::StreamId;
use serde_json::{Value, json};

/// A running node with an org and a receiver.
pub struct Office {
    /// How the node is started.
    pub launch: Launch,
    /// The node; none while it is down.
    pub node: Option<Process>,
    /// The other system.
    pub receiver: Receiver,
    /// A client on behalf of ada, who owns the org.
    pub ada: Caller,
}

/// The path of an entity of the org.
pub fn path(kind: &str, id: &str) -> String {
    let stream: StreamId = format!("acme/{kind}/{id}").parse().expect("a stream");
    stream.path()
}

impl Office {
    /// Opens it.
    ///
    /// # Panics
    /// If the node does not start.
    pub async fn open() -> Self {
        Self::open_with(|launch| launch).await
    }

    /// Opens it with more of a configuration.
    ///
    /// # Panics
    /// If the node does not start.
    pub async fn open_with(configure: impl FnOnce(Launch) -> Launch) -> Self {
        let receiver = Receiver::start().await;
        let mut launch = configure(Launch::new().reaching(&[receiver.address]).secret("acme/hook", SECRET));
        let node = launch.start().await;
        let ada = node.caller.acting_for("ada");
        ada.post(&path("org", "acme"), json!({ "name": "Acme" })).await.taken();
        Self {
            launch,
            node: Some(node),
            receiver,
            ada,
        }
    }

    /// A client on behalf of somebody.
    pub fn by(&self, principal: &str) -> Caller {
        self.ada.acting_for(principal)
    }

    /// The node.
    ///
    /// # Panics
    /// If it is down.
    pub fn node(&self) -> &Process {
        self.node.as_ref().expect("the node is up")
    }

    /// `SIGKILL`.
    ///
    /// # Panics
    /// If it is down.
    pub async fn kill(&mut self) {
        self.node.take().expect("the node is up").kill().await;
    }

    /// `SIGTERM`: the node stops in order.
    ///
    /// # Panics
    /// If it is down, or does not stop.
    pub async fn stop(&mut self) {
        self.node.take().expect("the node is up").stop().await;
    }

    /// Starts the node again, at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(&mut self) {
        self.node = Some(self.launch.start().await);
    }

    /// Sends ada's command.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn send(&self, kind: &str, id: &str, command: &str, body: Value) -> Answer {
        self.ada.post(&format!("{}/{command}", path(kind, id)), body).await
    }

    /// Makes bob (or whoever) a member of the org.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn member(&self, principal: &str, role: &str) {
        self.send("org", "acme", "add_member", json!({ "principal": principal, "role": role }))
            .await
            .taken();
    }

    /// Registers an agent that answers by script.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn agent(&self, id: &str, directive: &str, tools: Value) {
        let body = json!({ "name": id, "model": { "provider": "scripted", "model": "test" }, "directive": directive, "tools": tools });
        self.ada.post(&path("agent", id), body).await.taken();
    }

    /// Opens a group conversation of ada's with these agents.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn room(&self, id: &str, agents: &[&str], claim_window_ms: u64) {
        let agents: Vec<Value> = agents.iter().map(|agent| json!({ "principal": agent, "kind": "agent" })).collect();
        let body = json!({ "type": "group", "participants": agents, "claim_window_ms": claim_window_ms });
        self.ada.post(&path("conversation", id), body).await.taken();
    }

    /// Posts ada's message under an id of its own.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn say(&self, room: &str, message_id: &str, text: &str) -> Answer {
        self.send("conversation", room, "post", json!({ "message_id": message_id, "body": text }))
            .await
            .taken()
    }

    /// Starts a run of a definition.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn run(&self, id: &str, definition: Value, input: Value) {
        self.ada
            .post(&path("run", id), json!({ "definition": definition, "input": input }))
            .await
            .taken();
    }
}
