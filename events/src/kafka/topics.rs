//! The topics of a log: made, found, asked for their configuration, refused if they would lose or change frames.

use super::{
    open_error::OpenError,
    options::KafkaOptions,
    wire::{Fetch, NoMessages, Readers},
};
use crate::broker::durability::{Known, SyncMode};
use crate::pause::Pause;
use futures::executor::block_on;
use quipu_schemas::limits::{BROKER_BATCH_MAX_BYTES, BROKER_PAUSE_MS};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer,
    error::RDKafkaErrorCode,
    metadata::MetadataTopic,
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Asked of a topic once it is made, until every partition has a leader.
const ANSWER: Duration = Duration::from_secs(5);

/// What a broker says about a topic or itself; empty if it tells nothing.
pub(crate) type BrokerSettings = BTreeMap<String, String>;

/// A topic as the brokers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) partitions: usize,
    /// The fewest that any partition has.
    pub(crate) replicas: usize,
}

/// How long a new topic keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// What the log cannot do without.
    ForEver,
    /// What is said and soon of no more use.
    AnHour,
}

pub(crate) struct Topics<'a> {
    pub(crate) options: &'a KafkaOptions,
    pub(crate) readers: &'a Readers,
    admin: AdminClient<DefaultClientContext>,
    pub(crate) deadline: Instant,
    /// Whether these brokers tell their configuration.
    tell: Cell<bool>,
}

fn shape(topic: &MetadataTopic) -> Option<Shape> {
    let partitions = topic.partitions();
    // A partition without a leader cannot be asked for anything yet.
    if partitions.is_empty() || partitions.iter().any(|p| p.leader() < 0) {
        return None;
    }
    Some(Shape {
        partitions: partitions.len(),
        replicas: partitions.iter().map(|p| p.replicas().len()).min().unwrap_or(0),
    })
}

impl<'a> Topics<'a> {
    /// Connects: waits until a broker answers.
    pub(crate) fn connect(options: &'a KafkaOptions, readers: &'a Readers) -> Result<Self, OpenError> {
        let deadline = Instant::now() + options.open;
        let brokers = options.brokers.join(", ");
        // A login or a certificate that is wrong is still so when the patience has ended.
        let refused = |why| OpenError::Refused {
            brokers: brokers.clone(),
            why,
        };
        let unreachable = |detail: String| match options.why_refused() {
            Some(why) => refused(why),
            None => OpenError::Unreachable {
                brokers: brokers.clone(),
                detail,
            },
        };
        let admin = options.client_config().create().map_err(|e| unreachable(e.to_string()))?;
        let topics = Self {
            options,
            readers,
            admin,
            deadline,
            tell: Cell::new(false),
        };
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            match topics.shape(&options.meta_topic()) {
                Ok(_) => return Ok(topics),
                Err(e) if Instant::now() >= deadline => return Err(unreachable(e)),
                Err(_) => match options.why_refused() {
                    Some(why) if why.is_final() => return Err(refused(why)),
                    _ => std::thread::sleep(pause.next_wait()),
                },
            }
        }
    }

    fn refused(topic: &str, detail: impl ToString) -> OpenError {
        OpenError::Topic {
            topic: topic.to_owned(),
            detail: detail.to_string(),
        }
    }

    /// The topic, if it is there.
    fn shape(&self, topic: &str) -> Result<Option<Shape>, String> {
        let asked = self.readers.with(Fetch::Few, |consumer| {
            let metadata = consumer.fetch_metadata(Some(topic), self.options.request);
            let metadata = metadata.map_err(|e| NoMessages::Silent(e.into()))?;
            Ok(metadata.topics().iter().find(|t| t.name() == topic).and_then(shape))
        });
        asked.map_err(|e| match e {
            NoMessages::Silent(silence) => silence.0,
            NoMessages::Damaged(detail) => detail,
        })
    }

    /// As [`Topics::shape`], asked until the brokers answer.
    pub(crate) fn find(&self, topic: &str) -> Result<Option<Shape>, OpenError> {
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            match self.shape(topic) {
                Ok(shape) => return Ok(shape),
                Err(e) if Instant::now() >= self.deadline => return Err(Self::refused(topic, e)),
                Err(_) => std::thread::sleep(pause.next_wait()),
            }
        }
    }

    /// Makes a topic unless another was faster, and waits until it can be used.
    pub(crate) fn make(&self, topic: &str, partitions: u16, kept: Kept) -> Result<Shape, OpenError> {
        let retention = match kept {
            Kept::ForEver => "-1",
            Kept::AnHour => "3600000",
        };
        let (largest, insync) = (BROKER_BATCH_MAX_BYTES.to_string(), self.options.least_insync().to_string());
        let mut new = NewTopic::new(
            topic,
            i32::from(partitions),
            TopicReplication::Fixed(i32::from(self.options.replicas)),
        )
        .set("cleanup.policy", "delete")
        .set("retention.ms", retention)
        .set("retention.bytes", "-1")
        .set("max.message.bytes", &largest)
        .set("min.insync.replicas", &insync)
        .set("unclean.leader.election.enable", "false");
        if self.options.sync == Some(SyncMode::Always) && kept == Kept::ForEver {
            new = new.set("flush.messages", "1");
        }
        let patience = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let why = match block_on(self.admin.create_topics([&new], &patience)) {
                Ok(results) => match results.into_iter().next() {
                    None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => break,
                    Some(Err((_, code))) => code.to_string(),
                },
                Err(e) => e.to_string(),
            };
            // Brokers that start do not know each other yet.
            if Instant::now() >= self.deadline {
                return Err(Self::refused(topic, why));
            }
            std::thread::sleep(pause.next_wait());
        }
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            if let Some(shape) = self.find(topic)? {
                return Ok(shape);
            }
            if Instant::now() >= self.deadline {
                return Err(Self::refused(topic, "it was made, but its partitions have no leader"));
            }
            std::thread::sleep(pause.next_wait());
        }
    }

    /// Deletes a topic; one that is not there is no error.
    pub(crate) fn remove(&self, topic: &str) -> Result<(), OpenError> {
        let patience = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
        let results = block_on(self.admin.delete_topics(&[topic], &patience)).map_err(|e| Self::refused(topic, e.to_string()))?;
        match results.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Ok(()),
            Some(Err((_, code))) => Err(Self::refused(topic, code.to_string())),
        }
    }

    /// What the brokers tell about a topic's configuration.
    pub(crate) fn told(&self, topic: &str) -> BrokerSettings {
        self.describe(ResourceSpecifier::Topic(topic))
    }

    /// What every broker tells about its own configuration.
    pub(crate) fn told_by_brokers(&self) -> Vec<BrokerSettings> {
        let ids: Vec<i32> = self
            .readers
            .with(Fetch::Few, |consumer| {
                let metadata = consumer.fetch_metadata(Some(&self.options.meta_topic()), self.options.request);
                let metadata = metadata.map_err(|e| NoMessages::Silent(e.into()))?;
                Ok(metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect())
            })
            .unwrap_or_default();
        let told: Vec<BrokerSettings> = ids.into_iter().map(|id| self.describe(ResourceSpecifier::Broker(id))).collect();
        self.tell.set(told.iter().any(|told| !told.is_empty()));
        told
    }

    fn describe(&self, resource: ResourceSpecifier<'_>) -> BrokerSettings {
        let patience = AdminOptions::new().request_timeout(Some(ANSWER));
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let Ok(found) = block_on(self.admin.describe_configs([&resource], &patience)) else {
                return BrokerSettings::new();
            };
            let entries = found.into_iter().flatten().flat_map(|resource| resource.entries);
            let told: BrokerSettings = entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            // Only topics that are there are asked for: a broker that tells of itself has not heard of this one yet.
            if !told.is_empty() || !self.tell.get() || Instant::now() >= self.deadline {
                return told;
            }
            std::thread::sleep(pause.next_wait());
        }
    }

    /// Refuses a topic that would lose or change what is in it.
    pub(crate) fn check(&self, topic: &str, shape: &Shape) -> Result<BrokerSettings, OpenError> {
        let told = self.told(topic);
        let number = |key: &str| told.get(key).and_then(|value| value.parse::<i64>().ok());
        let wrong = if told.get("cleanup.policy").is_some_and(|policy| policy != "delete") {
            "it is compacted: set cleanup.policy=delete".into()
        } else if number("retention.ms").is_some_and(|ms| ms >= 0) {
            "it deletes old messages: set retention.ms=-1".into()
        } else if number("retention.bytes").is_some_and(|bytes| bytes >= 0) {
            "it deletes old messages: set retention.bytes=-1".into()
        } else if number("max.message.bytes").is_some_and(|bytes| bytes < BROKER_BATCH_MAX_BYTES as i64) {
            format!("it takes no whole frame: set max.message.bytes={BROKER_BATCH_MAX_BYTES}")
        } else if told.get("unclean.leader.election.enable").is_some_and(|enable| enable == "true") {
            "a replica that lacks frames may become its leader: set unclean.leader.election.enable=false".into()
        } else if number("min.insync.replicas").is_some_and(|least| least < i64::from(self.options.least_insync())) {
            format!("set min.insync.replicas={}", self.options.least_insync())
        } else if shape.replicas != usize::from(self.options.replicas) {
            format!("it has {} replicas, not {}", shape.replicas, self.options.replicas)
        } else {
            return Ok(told);
        };
        Err(Self::refused(topic, wrong))
    }

    /// Whether each message waits for a disk, and who says so.
    pub(crate) fn sync_mode(&self, told: &BrokerSettings) -> Known {
        match (told.get("flush.messages"), self.options.sync) {
            (Some(n), _) if n == "1" => Known::Told(SyncMode::Always),
            (Some(_), _) => Known::Told(SyncMode::Interval),
            (None, Some(mode)) => Known::Declared(mode),
            (None, None) => Known::Assumed,
        }
    }
}
