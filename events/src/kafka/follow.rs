//! Hears of frames that others commit, by reading the log's topic from its end on.

use super::{options::KafkaOptions, wire::Readers};
use crate::port::Moved;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Tells of partitions that grow, until `ends`.
pub(super) fn follow(options: &KafkaOptions, partitions: u16, moved: Moved, ends: Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
    let readers = Readers::new(options, options.log_topic());
    thread::Builder::new().name("quipu-kafka-follow".into()).spawn(move || {
        let started: Result<BaseConsumer, KafkaError> = readers.consumer(&[("auto.offset.reset", "latest"), ("fetch.wait.max.ms", "100")]).and_then(|consumer| {
            let mut from = TopicPartitionList::new();
            for partition in 0..partitions {
                from.add_partition_offset(&readers.topic, i32::from(partition), Offset::End)?;
            }
            consumer.assign(&from)?;
            Ok(consumer)
        });
        // Whoever follows also looks now and then.
        let Ok(consumer) = started else { return };
        while !ends.load(Ordering::Acquire) {
            if let Some(Ok(message)) = consumer.poll(LOOK)
                && let Ok(partition) = message.partition().try_into()
            {
                moved(partition);
            }
        }
    })
}
