//! The bus on Kafka, put together.

mod consumer;
mod feed;
mod marks;
mod message;
mod producer;
mod queue;
mod topics;

use super::{
    BusError,
    pace::{Pace, until},
    relay::Relay,
    status::{Part, Status},
};
use crate::app::App;
use feed::FeedOnKafka;
use marks::Marks;
use producer::Producer;
use quipu_events::kafka::KafkaOptions;
use quipu_runtime::node::Node;
use quipu_schemas::limits::BUS_TOPICS_LOOK_MS;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};
use topics::Topics;

/// The brokers answer and have the topics.
pub struct Opened {
    pub(super) status: Arc<Status>,
    topics: Arc<Topics>,
    producer: Arc<Producer>,
}

/// At work.
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Waits for the brokers and makes the topics.
pub(super) async fn open(options: KafkaOptions, feed_days: u32) -> Result<Opened, BusError> {
    let status = Arc::new(Status::new(format!("kafka://{}/{}", options.brokers.join(","), options.prefix)));
    let made = tokio::task::spawn_blocking(move || {
        let topics = Topics::open(options, feed_days)?;
        let producer = Producer::new(topics.options()).map_err(|e| BusError::Unreachable(e.to_string()))?;
        Ok((Arc::new(topics), Arc::new(producer)))
    });
    let (topics, producer) = made.await.map_err(|e| BusError::Unreachable(e.to_string()))??;
    status.works(Part::Connection);
    Ok(Opened { status, topics, producer })
}

impl Opened {
    /// Begins.
    pub(super) fn serve(self, app: &App, node: &Node) -> Running {
        let (stop, stopping) = watch::channel(false);
        let Self { status, topics, producer } = self;
        let relay = Relay {
            node: node.clone(),
            out: FeedOnKafka {
                topics: topics.clone(),
                producer: producer.clone(),
                marks: Arc::new(Marks::new(topics.options(), &node.cursor())),
            },
            status: status.clone(),
        };
        let carrier = queue::Carrier {
            app: app.clone(),
            topics: topics.clone(),
            producer,
            status: status.clone(),
        };
        let watched = node.tasks();
        let tasks = vec![
            tokio::spawn(watched.clone().once("bus queue", queue::serve(carrier, stopping.clone()))),
            tokio::spawn(watched.clone().once("bus relay", relay.serve(stopping.clone()))),
            tokio::spawn(watched.once("bus topics", look(topics, status, stopping))),
        ];
        Running { stop, tasks }
    }
}

/// Looks for topics of orgs, and thereby whether the brokers answer.
async fn look(topics: Arc<Topics>, status: Arc<Status>, mut stop: watch::Receiver<bool>) {
    let mut pace = Pace::new();
    loop {
        let asked = topics.clone();
        let looked = tokio::task::spawn_blocking(move || asked.look()).await;
        let pause = async {
            match looked {
                Ok(Ok(())) => {
                    status.works(Part::Connection);
                    pace = Pace::new();
                    tokio::time::sleep(Duration::from_millis(BUS_TOPICS_LOOK_MS)).await;
                }
                Ok(Err(error)) => {
                    status.trouble(Part::Connection, format!("the brokers do not answer: {error}"));
                    pace.wait(None).await;
                }
                Err(_ended) => pace.wait(None).await,
            }
        };
        tokio::select! {
            _ = until(&mut stop, |stop| *stop) => return,
            () = pause => {}
        }
    }
}

impl Running {
    /// Ends in order.
    pub(super) async fn stop(self, drain: Duration) {
        self.stop.send_replace(true);
        let all = futures::future::join_all(self.tasks);
        if tokio::time::timeout(drain + Duration::from_secs(2), all).await.is_err() {
            tracing::warn!("the bus did not end in time");
        }
    }
}
