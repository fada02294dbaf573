//! The bus on NATS, put together.

use super::{
    BusError, call,
    nats_marks::Marks,
    queue,
    relay::{CLOUD_EVENT, FeedOut, Outgoing, Relay},
    status::{Part, Status},
    streams, subject,
};
use crate::app::App;
use async_nats::{
    Client, Event, HeaderMap,
    connection::State,
    jetstream::{Context, context::ContextBuilder, kv::Store},
};
use quipu_events::jetstream::JetStreamOptions;
use quipu_runtime::node::Node;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle};

/// Connected, with its streams.
pub struct Opened {
    pub(super) status: Arc<Status>,
    client: Client,
    js: Context,
    marks: Store,
    connects: watch::Receiver<u64>,
}

/// At work.
pub struct Running {
    stop: watch::Sender<bool>,
    stop_calls: watch::Sender<Option<Instant>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Connects and makes the streams.
pub(super) async fn open(options: JetStreamOptions, feed_days: u32) -> Result<Opened, BusError> {
    let address = options.servers.join(",");
    let status = Arc::new(Status::new(address.clone()));
    let (told, (tell, connects)) = (status.clone(), watch::channel(0));
    let client = options.client("quipu-bus", move |event| match event {
        Event::Connected => {
            told.works(Part::Connection);
            tell.send_modify(|n| *n += 1);
        }
        Event::Disconnected => told.trouble(Part::Connection, "no connection to the NATS servers"),
        Event::Closed | Event::Draining => {}
        other => tracing::warn!(event = %other, "the connection to the bus reported an event"),
    });
    // The callback is cloned for each attempt, and the sender with it.
    let client = client.await.map_err(|e| BusError::Unreachable(e.to_string()))?;
    let builder = ContextBuilder::new().timeout(options.request).ack_timeout(options.request);
    let js = match &options.domain {
        Some(domain) => builder.domain(domain).build(client.clone()),
        None => builder.build(client.clone()),
    };
    js.query_account().await.map_err(|e| BusError::NoJetStream {
        address,
        detail: e.to_string(),
    })?;
    let marks = streams::ensure(&js, options.replicas, feed_days).await?;
    Ok(Opened {
        status,
        client,
        js,
        marks,
        connects,
    })
}

impl Opened {
    /// Begins.
    pub(super) fn serve(self, app: &App, node: &Node) -> Running {
        let (stop, stopping) = watch::channel(false);
        let (stop_calls, stopping_calls) = watch::channel(None);
        let relay = Relay {
            node: node.clone(),
            out: FeedOnNats {
                client: self.client.clone(),
                js: self.js.clone(),
                marks: Marks::new(self.marks, &node.cursor()),
            },
            status: self.status.clone(),
        };
        let watched = node.tasks();
        let calls = call::serve(app.clone(), self.client.clone(), self.status.clone(), stopping_calls);
        let queue = queue::serve(app.clone(), self.js, self.status, self.connects, stopping.clone());
        let tasks = vec![
            tokio::spawn(watched.clone().once("bus calls", calls)),
            tokio::spawn(watched.clone().once("bus queue", queue)),
            tokio::spawn(watched.once("bus relay", relay.serve(stopping))),
        ];
        Running { stop, stop_calls, tasks }
    }
}

impl Running {
    /// Ends in order.
    pub(super) async fn stop(self, drain: Duration) {
        let until = Instant::now() + drain;
        self.stop_calls.send_replace(Some(until));
        self.stop.send_replace(true);
        let all = futures::future::join_all(self.tasks);
        if tokio::time::timeout(drain + Duration::from_secs(2), all).await.is_err() {
            tracing::warn!("the bus did not end in time");
        }
    }
}

/// The feed's stream, and how far it is.
#[derive(Clone)]
struct FeedOnNats {
    client: Client,
    js: Context,
    marks: Marks,
}

impl FeedOut for FeedOnNats {
    async fn send(&self, event: &Outgoing) -> Result<(), String> {
        // What is published without a connection would wait in memory and be sent as often as it was tried.
        if self.client.connection_state() != State::Connected {
            return Err("no connection".into());
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", event.id.as_str());
        headers.insert("Content-Type", CLOUD_EVENT);
        let subject = subject::feed(&event.stream, &event.event);
        let sent = self.js.publish_with_headers(subject, headers, event.body.clone()).await;
        sent.map_err(|e| e.to_string())?.await.map(drop).map_err(|e| e.to_string())
    }

    async fn load(&self, partition: u16) -> Result<u64, String> {
        self.marks.load(partition).await
    }

    async fn note(&self, partition: u16, next: u64) -> Result<(), String> {
        self.marks.note(partition, next).await
    }
}
