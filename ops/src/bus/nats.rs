//! The bus on NATS, put together.

use super::{
    BusError, call,
    marks::Marks,
    queue,
    relay::Relay,
    status::{Part, Status},
    streams,
};
use crate::http::App;
use async_nats::{
    Client, Event,
    jetstream::{Context, context::ContextBuilder, kv::Store},
};
use quipu_events::jetstream::JetStreamOptions;
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

/// Waits until a value fits; `false` where it never will again.
pub(super) async fn until<T>(value: &mut watch::Receiver<T>, fits: impl FnMut(&T) -> bool) -> bool {
    value.wait_for(fits).await.is_ok()
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
        other => tracing::warn!(event = %other, "the bus"),
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
    pub(super) fn serve(self, app: &App) -> Running {
        let (stop, stopping) = watch::channel(false);
        let (stop_calls, stopping_calls) = watch::channel(None);
        let relay = Relay {
            app: app.clone(),
            client: self.client.clone(),
            js: self.js.clone(),
            marks: Marks::new(self.marks, &app.node.cursor()),
            status: self.status.clone(),
        };
        let tasks = vec![
            tokio::spawn(call::serve(app.clone(), self.client.clone(), self.status.clone(), stopping_calls)),
            tokio::spawn(queue::serve(app.clone(), self.js, self.status, self.connects, stopping.clone())),
            tokio::spawn(relay.serve(stopping)),
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
