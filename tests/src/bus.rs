//! A client of the bus that shows everything an answer has, and reads what the bus keeps.

use crate::{
    caller::{PATIENCE, wait},
    servers::nats::Nats,
};
use async_nats::{Client, HeaderMap, Message, jetstream};
use quipu_schemas::ids::{CommandId, OrgId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A client of a bus.
pub struct BusClient {
    /// The connection.
    pub client: Client,
    /// JetStream over it.
    pub js: jetstream::Context,
}

/// Headers from pairs.
pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, *value);
    }
    map
}

/// Those of ada's command.
pub fn by_ada(id: &str) -> HeaderMap {
    headers(&[("Idempotency-Key", id), ("Quipu-On-Behalf-Of", "ada")])
}

/// Status, code and body of an answer.
pub fn told(message: &Message) -> (u16, String, Value) {
    let header = |name: &str| message.headers.as_ref().and_then(|h| h.get(name)).map(|v| v.as_str().to_owned());
    let status = header("Nats-Service-Error-Code").and_then(|s| s.parse().ok()).unwrap_or(200);
    let body = serde_json::from_slice(&message.payload).expect("an answer is JSON");
    (status, header("Nats-Service-Error").unwrap_or_default(), body)
}

impl BusClient {
    /// Connects as the user who may do everything.
    ///
    /// # Panics
    /// If that fails.
    pub async fn connect(nats: &Nats) -> Self {
        let address = nats.url();
        let (_, hosts) = address.rsplit_once('@').expect("a login");
        let options = async_nats::ConnectOptions::new().user_and_password("quipu".into(), "quipu".into());
        let client = options.connect(hosts).await.expect("a connection");
        Self {
            js: jetstream::new(client.clone()),
            client,
        }
    }

    /// Calls `org.kind.id.command` and waits for the answer.
    ///
    /// # Panics
    /// If there is none.
    pub async fn call(&self, target: &str, headers: HeaderMap, body: &str) -> (u16, String, Value) {
        let request = async_nats::Request::new()
            .headers(headers)
            .payload(body.to_owned().into())
            .timeout(Some(PATIENCE));
        let answer = self.client.send_request(format!("quipu.v1.call.{target}"), request).await;
        told(&answer.expect("an answer"))
    }

    /// Puts a command into the durable queue.
    ///
    /// # Panics
    /// If the bus does not take it.
    pub async fn queue(&self, target: &str, headers: HeaderMap, body: &str) {
        let sent = self
            .js
            .publish_with_headers(format!("quipu.v1.cmd.{target}"), headers, body.to_owned().into());
        sent.await.expect("sent").await.expect("kept");
    }

    /// The last receipt of a command.
    pub async fn receipt(&self, org: &str, id: &str) -> Option<(u16, String, Value)> {
        let (org, id) = (OrgId::parse(org).expect("an org"), CommandId::parse(id).expect("an id"));
        let stream = self.js.get_stream("QUIPU_V1_RECEIPT").await.ok()?;
        let found = stream
            .direct_get_last_for_subject(quipu::bus::subject::receipt(&org, &id))
            .await
            .ok()?;
        let status = found
            .headers
            .get("Nats-Service-Error-Code")
            .and_then(|v| v.as_str().parse().ok())
            .unwrap_or(200);
        let code = found
            .headers
            .get("Nats-Service-Error")
            .map(|v| v.as_str().to_owned())
            .unwrap_or_default();
        Some((status, code, serde_json::from_slice(&found.payload).ok()?))
    }

    /// Waits for a receipt.
    pub async fn await_receipt(&self, org: &str, id: &str) -> (u16, String, Value) {
        wait(&format!("the receipt of {id}"), || self.receipt(org, id)).await
    }

    /// How many messages wait in the durable queue.
    ///
    /// # Panics
    /// If the bus does not say.
    pub async fn waiting(&self) -> u64 {
        let stream = self.js.get_stream("QUIPU_V1_CMD").await.expect("the queue");
        stream.cached_info().state.messages
    }

    /// Everything in the feed, in its order: subject and CloudEvent.
    pub async fn feed(&self) -> Option<Vec<(String, Value)>> {
        let stream = self.js.get_stream("QUIPU_V1_FEED").await.ok()?;
        let state = stream.cached_info().state.clone();
        let mut events = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.direct_get(sequence).await.ok()?;
            events.push((message.subject.to_string(), serde_json::from_slice(&message.payload).ok()?));
        }
        Some(events)
    }

    /// The versions of each stream in the order in which the feed first had them, and how many events came again.
    pub async fn versions(&self) -> Option<(BTreeMap<String, Vec<u64>>, usize)> {
        let (mut seen, mut streams, mut again) = (BTreeSet::new(), BTreeMap::<String, Vec<u64>>::new(), 0);
        for (_, event) in self.feed().await? {
            if seen.insert(event["id"].to_string()) {
                let stream = event["partitionkey"].as_str()?.to_owned();
                streams.entry(stream).or_default().push(event["streamversion"].as_u64()?);
            } else {
                again += 1;
            }
        }
        Some((streams, again))
    }
}
