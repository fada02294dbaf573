//! The face on a bus: commands in by calls and by a durable queue, receipts and events out.
//!
//! What a message says becomes the same [`CommandRequest`](quipu_runtime::api::CommandRequest) as over HTTP, by the same
//! code, and nothing is decided here. The bus is not part of the truth: what it loses was either never acknowledged by it,
//! or is in the log and is relayed again. `ops/docs/bus.md` says what clients may rely on.

pub mod at;
#[cfg(feature = "jetstream")]
mod call;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "jetstream", feature = "kafka"))]
mod lanes;
#[cfg(any(feature = "jetstream", feature = "kafka"))]
mod marks;
#[cfg(any(feature = "jetstream", feature = "kafka"))]
mod message;
#[cfg(feature = "jetstream")]
mod nats;
#[cfg(feature = "jetstream")]
mod nats_marks;
#[cfg(feature = "jetstream")]
mod nats_message;
#[cfg(any(feature = "jetstream", feature = "kafka"))]
mod pace;
#[cfg(any(feature = "jetstream", feature = "kafka"))]
mod progress;
#[cfg(feature = "jetstream")]
mod queue;
#[cfg(any(feature = "jetstream", feature = "kafka"))]
mod relay;
pub mod status;
#[cfg(feature = "jetstream")]
pub mod streams;
pub mod subject;
pub mod topic;

use crate::app::App;
use at::BusAt;
use quipu_runtime::node::Node;
use quipu_schemas::{ids::PrincipalId, limits::BUS_FEED_DAYS};
use status::Status;
use std::{sync::Arc, time::Duration};

/// Which bus, and how it is used.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// Where it is.
    pub at: BusAt,
    /// Days that events stay in its feed.
    pub feed_days: u32,
    /// As whom commands act in their org, by that one's rights; `None`: as whom they name.
    pub principal: Option<PrincipalId>,
}

impl BusConfig {
    /// With defaults.
    pub fn new(at: BusAt) -> Self {
        Self {
            at,
            feed_days: BUS_FEED_DAYS,
            principal: None,
        }
    }
}

/// Why a node does not start with its bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The servers do not answer, refuse the login, or are too old.
    #[error("bus: {0}")]
    Unreachable(String),
    /// The account has no JetStream, or may not use it.
    #[error("bus: no JetStream at {address}: {detail}; start the servers with `jetstream {{}}` and enable it for the account")]
    NoJetStream {
        /// The servers.
        address: String,
        /// What they said.
        detail: String,
    },
    /// A stream cannot be made, or is there and is another one's.
    #[error("bus: stream {stream}: {detail}")]
    Stream {
        /// Its name.
        stream: String,
        /// What is wrong.
        detail: String,
    },
    /// A topic cannot be made, or is there and cannot be used.
    #[error("bus: topic {topic}: {detail}")]
    Topic {
        /// Its name.
        topic: String,
        /// What is wrong, and what to set.
        detail: String,
    },
}

/// A bus that answers and has its streams or topics; nothing is taken from it yet.
pub enum Opened {
    /// On NATS.
    #[cfg(feature = "jetstream")]
    Nats(Box<nats::Opened>),
    /// On Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<kafka::Opened>),
}

/// A bus at work. Dropping it without [`Bus::stop`] ends its tasks where they are.
pub enum Bus {
    /// On NATS.
    #[cfg(feature = "jetstream")]
    Nats(nats::Running),
    /// On Kafka.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Running),
}

/// Connects, and makes the streams or topics that are not there.
pub async fn open(config: BusConfig) -> Result<Opened, BusError> {
    match config.at {
        #[cfg(feature = "jetstream")]
        BusAt::Nats(options) => Ok(Opened::Nats(Box::new(nats::open(*options, config.feed_days).await?))),
        #[cfg(feature = "kafka")]
        BusAt::Kafka(options) => Ok(Opened::Kafka(Box::new(kafka::open(*options, config.feed_days).await?))),
    }
}

impl Opened {
    /// What health says of it.
    pub fn status(&self) -> Arc<Status> {
        match *self {
            #[cfg(feature = "jetstream")]
            Self::Nats(ref opened) => opened.status.clone(),
            #[cfg(feature = "kafka")]
            Self::Kafka(ref opened) => opened.status.clone(),
        }
    }

    /// Begins to take commands, and to relay the events of all orgs.
    pub fn serve(self, app: &App, node: &Node) -> Bus {
        // Without a kind of bus in the build there is nothing to serve by.
        let _ = (app, node);
        match self {
            #[cfg(feature = "jetstream")]
            Self::Nats(opened) => Bus::Nats(opened.serve(app, node)),
            #[cfg(feature = "kafka")]
            Self::Kafka(opened) => Bus::Kafka(opened.serve(app, node)),
        }
    }
}

impl Bus {
    /// Takes nothing new, answers what was called, up to `drain`, and notes how far the relay is. What waits in the durable
    /// queue goes on elsewhere or later.
    pub async fn stop(self, drain: Duration) {
        let _ = drain;
        match self {
            #[cfg(feature = "jetstream")]
            Self::Nats(running) => running.stop(drain).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(running) => running.stop(drain).await,
        }
    }
}
