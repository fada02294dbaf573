//! Lines about a cost that does not grow: the same work beside little and beside much of everything. Each is a ratio of two
//! measurements of this build, so that it holds on any machine; processor time is the node's own.

mod crowd;
mod reads;
mod steps;
mod talks;
mod tools;

use super::{
    BenchError, Setup,
    child::Server,
    load::{Outcome, Pace, Plan},
    material::{Material, ORG},
    report::{Line, median},
    wire::Connection,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Everything, in the order in which a reader asks.
pub(super) async fn lines(setup: &Setup, material: &Material, out: &mut Vec<Line>) -> Result<(), BenchError> {
    steps::lines(setup, out).await?;
    talks::lines(setup, out).await?;
    tools::line(setup, out).await?;
    crowd::sleep_line(setup, out).await?;
    crowd::org_lines(setup, out).await?;
    reads::log_lines(setup, material, out).await
}

/// Posts of one body to `{n}` of these entities.
struct Load<'a> {
    node: &'a Server,
    path: &'a str,
    first: u64,
    entities: u64,
    body: &'a str,
    key: &'a str,
    clients: usize,
}

impl Load<'_> {
    fn plan(&self, pace: Pace) -> Plan {
        Plan {
            then: None,
            address: self.node.address,
            token: self.node.token.clone(),
            connections: self.clients,
            path: format!("/v1/orgs/{ORG}/{}", self.path),
            entities: self.entities,
            first: self.first,
            body: self.body.into(),
            key: self.key.into(),
            pace,
        }
    }

    /// This many requests, as fast as answers come.
    async fn count(&self, requests: u64) -> Result<Outcome, BenchError> {
        self.plan(Pace::Count { requests }).run().await
    }

    /// Processor time of the node for each of so many requests, in microseconds.
    async fn cost(&self, requests: u64) -> Result<f64, BenchError> {
        let before = self.node.usage().cpu;
        let outcome = self.count(requests).await?;
        Ok((self.node.usage().cpu - before).as_secs_f64() * 1e6 / outcome.requests.max(1) as f64)
    }
}

/// One client, who waits for each answer.
struct Client<'a> {
    node: &'a Server,
    connection: Connection,
    serial: u64,
}

impl<'a> Client<'a> {
    async fn open(node: &'a Server) -> Result<Self, BenchError> {
        Ok(Self {
            node,
            connection: Connection::open(node.address).await?,
            serial: 0,
        })
    }

    /// An answer, and how long it took. `path` goes on after the org's.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(Value, Duration), BenchError> {
        self.serial += 1;
        let request = format!(
            "{method} /v1/orgs/{ORG}/{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nIdempotency-Key: ask-{}\r\nContent-Length: {}\r\n\r\n{body}",
            self.node.address,
            self.node.token,
            fresh_key(self.serial),
            body.len()
        );
        let begun = Instant::now();
        let answer = self.connection.exchange(request.as_bytes()).await?;
        let took = begun.elapsed();
        if !(200..300).contains(&answer.status) {
            let said = String::from_utf8_lossy(answer.body);
            return Err(BenchError::Child(format!("{method} {path} is answered {} {said}", answer.status)));
        }
        Ok((serde_json::from_slice(answer.body)?, took))
    }

    /// The median of so many times, in milliseconds.
    async fn median_ms(&mut self, times: usize, method: &str, path: &str, body: &str) -> Result<f64, BenchError> {
        let mut took = Vec::new();
        for _ in 0..times {
            took.push(self.ask(method, path, body).await?.1.as_secs_f64() * 1e3);
        }
        Ok(median(&took))
    }
}

/// A command id that no other client of this process gives.
fn fresh_key(serial: u64) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CLIENTS: AtomicU64 = AtomicU64::new(0);
    format!("{}-{serial}", CLIENTS.fetch_add(1, Ordering::Relaxed))
}

/// What much costs beside little.
fn beside(name: &str, bound: f64, unit: &str, few: f64, many: f64, detail: String) -> Line {
    let ratio = many / few.max(f64::MIN_POSITIVE);
    Line::judged(
        name,
        &format!("≤ {bound} ×"),
        format!("{ratio:.2} ×"),
        ratio <= bound,
        format!("{few:.2} and {many:.2} {unit}; {detail}"),
    )
}
