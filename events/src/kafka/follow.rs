//! Hears of frames that others commit, by reading the log's topic from its end on.

use super::{options::KafkaOptions, wire::Readers};
use crate::port::Moved;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
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
/// How long it waits for an answer of brokers that had none.
const ANSWER: Duration = Duration::from_secs(1);

/// What the thread and the log tell each other.
#[derive(Default)]
pub(super) struct Following {
    /// The log ends.
    pub(super) ends: AtomicBool,
    /// No broker answers.
    pub(super) is_silent: AtomicBool,
}

/// Tells of partitions that grow, and whether the brokers answer, until the log ends.
pub(super) fn follow(options: &KafkaOptions, partitions: u16, moved: Moved, told: Arc<Following>) -> std::io::Result<JoinHandle<()>> {
    let readers = Readers::new(options, options.log_topic());
    thread::Builder::new().name("quipu-kafka-follow".into()).spawn(move || {
        let started: Result<BaseConsumer, KafkaError> = readers
            .consumer(&[("auto.offset.reset", "latest"), ("fetch.wait.max.ms", "100")])
            .and_then(|consumer| {
                let mut from = TopicPartitionList::new();
                for partition in 0..partitions {
                    from.add_partition_offset(&readers.topic, i32::from(partition), Offset::End)?;
                }
                consumer.assign(&from)?;
                Ok(consumer)
            });
        // Whoever follows also looks now and then.
        let Ok(consumer) = started else { return };
        while !told.ends.load(Ordering::Acquire) {
            match consumer.poll(LOOK) {
                Some(Ok(message)) => {
                    told.is_silent.store(false, Ordering::Release);
                    if let Ok(partition) = message.partition().try_into() {
                        moved(partition);
                    }
                }
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) => {
                    told.is_silent.store(true, Ordering::Release);
                }
                // That they answer again is told by nothing but an answer.
                _ if told.is_silent.load(Ordering::Acquire) => {
                    let answers = consumer.fetch_metadata(Some(&readers.topic), ANSWER).is_ok();
                    told.is_silent.store(!answers, Ordering::Release);
                }
                _ => {}
            }
        }
    })
}
