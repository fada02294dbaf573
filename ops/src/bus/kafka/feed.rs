//! The feed out as the Kafka binding of CloudEvents has it, in the structured form.

use super::{
    super::{
        relay::{CLOUD_EVENT, FeedOut, Outgoing},
        topic::FEED,
    },
    marks::Marks,
    producer::Producer,
    topics::Topics,
};
use rdkafka::message::{Header, OwnedHeaders};
use std::sync::Arc;

/// The feed's topics, and how far it is.
#[derive(Clone)]
pub(super) struct FeedOnKafka {
    pub(super) topics: Arc<Topics>,
    pub(super) producer: Arc<Producer>,
    pub(super) marks: Arc<Marks>,
}

impl FeedOut for FeedOnKafka {
    async fn send(&self, event: &Outgoing) -> Result<(), String> {
        let headers = OwnedHeaders::new().insert(Header {
            key: "content-type",
            value: Some(CLOUD_EVENT),
        });
        let (topic, key) = (self.topics.of(FEED, &event.stream.org), event.stream.to_string());
        self.producer.send(&topic, None, key.as_bytes(), headers, &event.body).await
    }

    async fn load(&self, partition: u16) -> Result<u64, String> {
        let marks = self.marks.clone();
        let read = tokio::task::spawn_blocking(move || marks.load(partition)).await;
        read.map_err(|e| e.to_string())?
    }

    async fn note(&self, partition: u16, next: u64) -> Result<(), String> {
        let (key, mark) = self.marks.entry(partition, next)?;
        let noted = self
            .producer
            .send(self.marks.topic(), Some(0), key.as_bytes(), OwnedHeaders::new(), &mark);
        noted.await.map_err(|e| format!("mark of partition {partition}: {e}"))
    }
}
