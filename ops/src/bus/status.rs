//! How the bus is: what health and the metrics page say of it.

use crate::metrics::{BUS_CONNECTED, BUS_FEED_LAG};
use parking_lot::{Mutex, MutexGuard};
use quipu_runtime::api::HealthPart;
use quipu_schemas::limits::BUS_BEHIND_MS;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Parts of the bus that may be in trouble by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The connection.
    Connection,
    /// Calls.
    Calls,
    /// The durable queue.
    Queue,
    /// The feed out.
    Feed,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Calls => "calls",
            Self::Queue => "queue",
            Self::Feed => "feed",
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    troubles: BTreeMap<Part, String>,
    lag: u64,
    busy_since: Option<Instant>,
}

/// Shared by the bus, health and metrics.
#[derive(Debug)]
pub struct Status {
    address: String,
    known: Mutex<Known>,
}

impl Status {
    /// Of a bus at this address, which is shown.
    pub fn new(address: String) -> Self {
        Self {
            address,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Says what is wrong with a part; the first time and at each other reason in the log, too.
    pub fn trouble(&self, part: Part, detail: impl Into<String>) {
        let detail = detail.into();
        let mut known = self.known();
        if known.troubles.get(&part) != Some(&detail) {
            tracing::warn!(part = part.name(), detail, "the bus is in trouble");
            known.troubles.insert(part, detail);
        }
        if part == Part::Connection {
            metrics::gauge!(BUS_CONNECTED).set(0.0);
        }
    }

    /// Says that a part works.
    pub fn works(&self, part: Part) {
        if self.known().troubles.remove(&part).is_some() {
            tracing::info!(part = part.name(), "the bus works again");
        }
        if part == Part::Connection {
            metrics::gauge!(BUS_CONNECTED).set(1.0);
        }
    }

    /// Says how many records the feed out is behind; whether it moves is told by being asked again.
    pub fn lag(&self, records: u64) {
        let mut known = self.known();
        known.lag = records;
        known.busy_since = match (records, known.busy_since) {
            (0, _) => None,
            (_, since) => since.or_else(|| Some(Instant::now())),
        };
        metrics::gauge!(BUS_FEED_LAG).set(records as f64);
    }

    /// For health: never critical, as commands by other faces go on.
    pub fn health(&self) -> HealthPart {
        let known = self.known();
        let mut wrong: Vec<String> = known
            .troubles
            .iter()
            .map(|(part, detail)| format!("{}: {detail}", part.name()))
            .collect();
        if known
            .busy_since
            .is_some_and(|since| since.elapsed() > Duration::from_millis(BUS_BEHIND_MS))
        {
            wrong.push(format!("feed: {} records behind", known.lag));
        }
        HealthPart {
            count: None,
            name: "bus".into(),
            ok: wrong.is_empty(),
            critical: false,
            detail: if wrong.is_empty() {
                format!("{}, {} records behind", self.address, known.lag)
            } else {
                wrong.join("; ")
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_told_until_they_end() {
        let status = Status::new("nats://n:4222".into());
        assert!(status.health().ok && status.health().detail.contains("nats://n:4222"));
        status.trouble(Part::Queue, "no answer");
        status.lag(3);
        let health = status.health();
        assert!(
            !health.ok && !health.critical && health.detail == "queue: no answer",
            "{}",
            health.detail
        );
        status.works(Part::Queue);
        assert!(status.health().ok);
    }
}
