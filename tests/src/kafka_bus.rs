//! A client of the bus on Kafka that reads everything that a topic has, and the names of a broker's topics.

use crate::caller::{PATIENCE, wait};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{Header, Headers as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the next message of a read may take.
const READ: Duration = Duration::from_secs(5);

/// A message as it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its value; JSON.
    pub value: Value,
}

/// Names of all topics of the brokers at `host:port`; nothing where they do not answer.
pub fn topics(address: &str) -> Option<Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", address).create().ok()?;
    let metadata = consumer.fetch_metadata(None, READ).ok()?;
    Some(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// A client of the topics with one prefix.
pub struct KafkaBus {
    config: ClientConfig,
    producer: BaseProducer,
    prefix: String,
}

impl KafkaBus {
    /// A client of the brokers at `host:port`.
    ///
    /// # Panics
    /// If there can be none.
    pub fn new(address: &str, prefix: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("group.id", "quipu-tests");
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "20");
        Self {
            producer: config.create().expect("a producer"),
            config,
            prefix: prefix.to_owned(),
        }
    }

    /// Publishes a message.
    ///
    /// # Panics
    /// If the brokers do not take it.
    pub fn publish(&self, topic: &str, key: Option<&[u8]>, headers: &[(&str, &str)], body: &str) {
        let topic = format!("{}.{topic}", self.prefix);
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(*value) })
        });
        let mut record = BaseRecord::<[u8], str>::to(&topic).payload(body).headers(headers);
        if let Some(key) = key {
            record = record.key(key);
        }
        assert!(self.producer.send(record).is_ok(), "{topic} takes messages");
    }

    /// Publishes a command of ada's.
    pub fn command(&self, key: &str, command: &str, id: &str, body: &str) {
        let headers = [("Quipu-Command", command), ("Idempotency-Key", id), ("Quipu-On-Behalf-Of", "ada")];
        self.publish("commands", Some(key.as_bytes()), &headers, body);
    }

    /// Waits until the brokers have what was published.
    ///
    /// # Panics
    /// If they do not take it.
    pub fn flush(&self) {
        self.producer.flush(PATIENCE).expect("the brokers take what was published");
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// If the brokers refuse.
    pub async fn make(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config.create().expect("a client");
        let name = format!("{}.{topic}", self.prefix);
        let new = NewTopic::new(&name, 2, TopicReplication::Fixed(1));
        let made = admin.create_topics([&new], &AdminOptions::new()).await.expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Everything in a topic, each partition in its order; nothing where the brokers do not answer.
    pub fn read(&self, topic: &str) -> Option<Vec<Found>> {
        let topic = format!("{}.{topic}", self.prefix);
        let consumer: BaseConsumer = self.config.create().ok()?;
        let metadata = consumer.fetch_metadata(Some(&topic), READ).ok()?;
        let count = metadata.topics().first()?.partitions().len();
        let mut from = TopicPartitionList::new();
        for partition in 0..count {
            from.add_partition_offset(&topic, partition as i32, Offset::Beginning).ok()?;
        }
        consumer.assign(&from).ok()?;
        let (mut found, mut ended) = (Vec::new(), BTreeSet::new());
        while ended.len() < count {
            // A read that gets stuck is begun anew.
            match consumer.poll(READ)? {
                Ok(message) => {
                    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                    found.push(Found {
                        key: text(message.key()),
                        headers: headers.map(|h| (h.key.to_owned(), text(h.value))).collect(),
                        value: serde_json::from_slice(message.payload().unwrap_or_default()).unwrap_or_default(),
                    });
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    ended.insert(partition);
                }
                Err(_) => return None,
            }
        }
        Some(found)
    }

    /// The receipts of these commands of an org, when all are there: status, and what was told first.
    pub async fn receipts(&self, topic: &str, org: &str, ids: &[String]) -> BTreeMap<String, (u16, Value)> {
        wait(&format!("{} receipts in {topic}", ids.len()), || async {
            let mut told = BTreeMap::new();
            for found in self.read(topic)? {
                let Some(id) = found.key.strip_prefix(&format!("{org}/")) else {
                    continue;
                };
                let status = found.headers.get("quipu-status")?.parse().ok()?;
                told.entry(id.to_owned()).or_insert((status, found.value));
            }
            ids.iter().all(|id| told.contains_key(id)).then_some(told)
        })
        .await
    }

    /// The receipt of one command.
    pub async fn receipt(&self, org: &str, id: &str) -> (u16, Value) {
        let mut told = self.receipts("receipts", org, &[id.to_owned()]).await;
        told.remove(id).expect("it was waited for")
    }

    /// The versions of each stream in the order in which the feed first had them, and how many events came again.
    ///
    /// # Panics
    /// If a message is no CloudEvent under the key of its stream.
    pub fn versions(&self, topic: &str) -> Option<(BTreeMap<String, Vec<u64>>, usize)> {
        let (mut seen, mut streams, mut again) = (BTreeSet::new(), BTreeMap::<String, Vec<u64>>::new(), 0);
        for found in self.read(topic)? {
            assert_eq!(found.headers["content-type"], "application/cloudevents+json");
            let stream = found.value["partitionkey"].as_str()?.to_owned();
            assert_eq!(found.key, stream);
            if seen.insert(found.value["id"].to_string()) {
                streams.entry(stream).or_default().push(found.value["streamversion"].as_u64()?);
            } else {
                again += 1;
            }
        }
        Some((streams, again))
    }
}
