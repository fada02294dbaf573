//! What goes out: each message is told of when all replicas in sync have it.

use parking_lot::{Mutex, MutexGuard};
use quipu_events::kafka::KafkaOptions;
use quipu_schemas::limits::FRAME_MAX_BYTES;
use rdkafka::{
    ClientConfig,
    client::ClientContext,
    error::KafkaError,
    message::OwnedHeaders,
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use std::sync::Arc;
use tokio::sync::oneshot;

type DeliverySender = oneshot::Sender<Result<(), String>>;

/// Tells whoever waits for a message what became of it.
struct Deliveries;

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the bus's producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<DeliverySender>;

    fn delivery(&self, result: &DeliveryResult<'_>, told: Box<DeliverySender>) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.to_string()),
        };
        // Whoever waited may be gone.
        let _ = told.send(result);
    }
}

/// An idempotent producer, made anew where it cannot go on.
pub(super) struct Producer {
    config: ClientConfig,
    current: Mutex<Arc<ThreadedProducer<Deliveries>>>,
}

impl Producer {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, KafkaError> {
        let mut config = options.client_config();
        for (key, value) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("linger.ms", "0"),
            // The partition of a key as other clients choose it.
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", &options.outcome.as_millis().max(1_000).to_string()),
            ("message.max.bytes", &(FRAME_MAX_BYTES * 2).to_string()),
        ] {
            config.set(key, value);
        }
        let current = Mutex::new(Arc::new(config.create_with_context(Deliveries)?));
        Ok(Self { config, current })
    }

    fn current(&self) -> MutexGuard<'_, Arc<ThreadedProducer<Deliveries>>> {
        self.current.lock()
    }

    /// Sends a message, to the partition that its key chooses or to the given one. Durable where this ends well; otherwise
    /// it may be stored or not.
    pub(super) async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: &[u8],
        headers: OwnedHeaders,
        body: &[u8],
    ) -> Result<(), String> {
        let producer = self.current().clone();
        let (told, tell) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(topic, Box::new(told))
            .key(key)
            .payload(body)
            .headers(headers);
        if let Some(partition) = partition {
            record = record.partition(partition);
        }
        let sent = producer.send(record).map_err(|(error, _)| error.to_string());
        let result = match sent {
            Ok(()) => tell.await.unwrap_or_else(|_| Err("the producer ended".into())),
            Err(why) => Err(why),
        };
        match result {
            Ok(()) => Ok(()),
            Err(why) => Err(format!("{topic}: {}", self.replaced(&producer).unwrap_or(why))),
        }
    }

    /// Makes another producer where this one will never send again; why it will not.
    fn replaced(&self, ended: &Arc<ThreadedProducer<Deliveries>>) -> Option<String> {
        let (_, why) = ended.client().fatal_error()?;
        let mut current = self.current();
        if Arc::ptr_eq(&current, ended)
            && let Ok(fresh) = self.config.create_with_context(Deliveries)
        {
            *current = Arc::new(fresh);
        }
        Some(why)
    }
}
