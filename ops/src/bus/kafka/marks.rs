//! The marks of a log on Kafka: a compacted topic of one partition, a key a partition of the log.

use super::super::{
    marks::Marked,
    topic::{self, MARKS},
};
use parking_lot::Mutex;
use quipu_events::kafka::KafkaOptions;
use quipu_schemas::position::Cursor;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::{collections::BTreeMap, time::Instant};

/// The marks of one log.
pub(super) struct Marks {
    options: KafkaOptions,
    topic: String,
    marked: Marked,
    read: Mutex<Read>,
}

/// What was read of the topic: other nodes write there, too.
#[derive(Default)]
struct Read {
    next: i64,
    last: BTreeMap<String, Vec<u8>>,
}

impl Marks {
    pub(super) fn new(options: &KafkaOptions, log: &Cursor) -> Self {
        Self {
            options: options.clone(),
            topic: topic::common(&options.prefix, MARKS),
            marked: Marked::new(log),
            read: Mutex::default(),
        }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    fn key(&self, partition: u16) -> String {
        format!("{}/{partition}", self.marked.log)
    }

    /// Key and value of a note.
    pub(super) fn entry(&self, partition: u16, next: u64) -> Result<(String, Vec<u8>), String> {
        Ok((self.key(partition), self.marked.encode(next)?))
    }

    /// Where to go on; 0 where nothing is noted of this log and generation. Reads what came since it was last asked. Blocks.
    pub(super) fn load(&self, partition: u16) -> Result<u64, String> {
        let mut read = self.read.lock();
        self.read_on(&mut read).map_err(|e| format!("mark of partition {partition}: {e}"))?;
        let key = self.key(partition);
        let found = read.last.get(&key).map(|bytes| self.marked.decode(bytes));
        found
            .unwrap_or(Ok(0))
            .map_err(|e| format!("mark of partition {partition}: {e}; delete the key {key}"))
    }

    fn read_on(&self, read: &mut Read) -> Result<(), String> {
        let told = |e: KafkaError| e.to_string();
        let mut config = self.options.client_config();
        for (key, value) in [
            // The client assigns by hand only with a group's name; no member ever joins it.
            ("group.id", self.topic.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
            ("fetch.wait.max.ms", "5"),
        ] {
            config.set(key, value);
        }
        let consumer: BaseConsumer = config.create().map_err(told)?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.topic, 0, Offset::Offset(read.next)).map_err(told)?;
        consumer.assign(&from).map_err(told)?;
        let mut deadline = Instant::now() + self.options.outcome;
        let mut why = String::from("no answer");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(why);
            }
            match consumer.poll(left) {
                Some(Ok(message)) => {
                    deadline = Instant::now() + self.options.outcome;
                    read.next = message.offset() + 1;
                    if let Some(key) = message.key() {
                        let key = String::from_utf8_lossy(key).into_owned();
                        match message.payload() {
                            Some(mark) => read.last.insert(key, mark.to_vec()),
                            None => read.last.remove(&key),
                        };
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => why = error.to_string(),
                None => {}
            }
        }
    }
}
