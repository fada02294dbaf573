//! The topics of the bus: made where they are not there, checked where they are; and those that orgs have of their own.

use super::super::{
    BusError,
    topic::{self, COMMANDS, FEED, MARKS, RECEIPTS},
};
use futures::executor::block_on;
use parking_lot::RwLock;
use quipu_events::kafka::KafkaOptions;
use quipu_events::pause::Pause;
use quipu_schemas::{
    ids::OrgId,
    limits::{
        BROKER_PAUSE_MS, BUS_COMMAND_MAX_BYTES, BUS_COMMAND_TOPIC_DAYS, BUS_MARKS_SEGMENT_BYTES, BUS_RECEIPT_AGE_S, FRAME_MAX_BYTES,
        HEADERS_MAX_BYTES,
    },
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Instant,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Bytes of a batch beside its messages.
const BATCH: usize = 64 * 1024;

/// The topics of one bus.
pub(super) struct Topics {
    options: KafkaOptions,
    admin: AdminClient<DefaultClientContext>,
    /// Names of all topics that begin as those of this bus do.
    found: RwLock<BTreeSet<String>>,
}

/// How a topic is made.
struct Wanted {
    name: String,
    partitions: u16,
    settings: Vec<(&'static str, String)>,
}

fn wanted(options: &KafkaOptions, feed_days: u32) -> [Wanted; 4] {
    let command = (BUS_COMMAND_MAX_BYTES + HEADERS_MAX_BYTES + BATCH).to_string();
    // Any event of a frame fits, however much its envelope adds.
    let event = (FRAME_MAX_BYTES * 2 + BATCH).to_string();
    let kept = |family: &str, ms: u64, largest: &str| Wanted {
        name: topic::common(&options.prefix, family),
        partitions: options.partitions,
        settings: vec![
            ("cleanup.policy", "delete".into()),
            ("retention.ms", ms.to_string()),
            ("max.message.bytes", largest.to_owned()),
        ],
    };
    [
        kept(COMMANDS, u64::from(BUS_COMMAND_TOPIC_DAYS) * DAY_MS, &command),
        kept(RECEIPTS, BUS_RECEIPT_AGE_S * 1_000, &command),
        kept(FEED, u64::from(feed_days) * DAY_MS, &event),
        Wanted {
            name: topic::common(&options.prefix, MARKS),
            partitions: 1,
            settings: vec![
                ("cleanup.policy", "compact".into()),
                ("segment.bytes", BUS_MARKS_SEGMENT_BYTES.to_string()),
                ("min.cleanable.dirty.ratio", "0.1".into()),
            ],
        },
    ]
}

fn has_leaders(topic: &MetadataTopic) -> bool {
    !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
}

impl Topics {
    /// Waits for the brokers, and makes what is not there. Blocks.
    pub(super) fn open(options: KafkaOptions, feed_days: u32) -> Result<Self, BusError> {
        let unreachable = |e: KafkaError| {
            let why = options.why_refused().map_or_else(|| e.to_string(), |refusal| refusal.to_string());
            BusError::Unreachable(format!("no answer from {}: {why}", options.brokers.join(",")))
        };
        let admin = options.client_config().create().map_err(unreachable)?;
        let topics = Self {
            options: options.clone(),
            admin,
            found: RwLock::default(),
        };
        let deadline = Instant::now() + options.open;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        while let Err(error) = topics.look() {
            if Instant::now() >= deadline {
                return Err(unreachable(error));
            }
            thread::sleep(pause.next_wait());
        }
        for wanted in wanted(&options, feed_days) {
            if topics.is_there(&wanted.name) {
                topics.check(&wanted)?;
            } else {
                topics.make(&wanted, deadline)?;
            }
        }
        Ok(topics)
    }

    /// Of which cluster, and how topics are made.
    pub(super) fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// Asks the brokers which topics there are. Blocks.
    pub(super) fn look(&self) -> Result<(), KafkaError> {
        let metadata = self.admin.inner().fetch_metadata(None, self.options.request)?;
        let start = format!("{}.", self.options.prefix);
        let ours = metadata.topics().iter().filter(|t| t.name().starts_with(&start) && has_leaders(t));
        let found = ours.map(|t| t.name().to_owned()).collect();
        *self.found.write() = found;
        Ok(())
    }

    fn is_there(&self, topic: &str) -> bool {
        self.found.read().contains(topic)
    }

    /// Whether the org has a topic of its own in this family.
    pub(super) fn has_own(&self, family: &str, org: &OrgId) -> bool {
        self.is_there(&topic::own(&self.options.prefix, family, org))
    }

    /// Where messages of an org go.
    pub(super) fn of(&self, family: &str, org: &OrgId) -> String {
        if self.has_own(family, org) {
            topic::own(&self.options.prefix, family, org)
        } else {
            topic::common(&self.options.prefix, family)
        }
    }

    fn make(&self, wanted: &Wanted, deadline: Instant) -> Result<(), BusError> {
        let wrong = |detail: String| BusError::Topic {
            topic: wanted.name.clone(),
            detail,
        };
        let insync = self.options.least_insync().to_string();
        let mut new = NewTopic::new(
            &wanted.name,
            i32::from(wanted.partitions),
            TopicReplication::Fixed(i32::from(self.options.replicas)),
        )
        .set("min.insync.replicas", &insync)
        .set("unclean.leader.election.enable", "false");
        for (key, value) in &wanted.settings {
            new = new.set(key, value);
        }
        let patience = AdminOptions::new()
            .operation_timeout(Some(self.options.outcome))
            .request_timeout(Some(self.options.outcome));
        let mut is_made = false;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let mut why = String::from("its partitions have no leader");
            if !is_made {
                match block_on(self.admin.create_topics([&new], &patience)) {
                    Ok(results) => match results.into_iter().next() {
                        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => is_made = true,
                        // No wait grants a right.
                        Some(Err((
                            _,
                            code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed),
                        ))) => {
                            return Err(wrong(format!("{code}: give the nodes' principal the rights of ops/docs/bus.md")));
                        }
                        Some(Err((_, code))) => why = code.to_string(),
                    },
                    Err(e) => why = e.to_string(),
                }
            }
            if is_made && self.look().is_ok() && self.is_there(&wanted.name) {
                return Ok(());
            }
            // Brokers that start do not know each other yet.
            if Instant::now() >= deadline {
                return Err(wrong(why));
            }
            thread::sleep(pause.next_wait());
        }
    }

    /// Refuses a topic that would lose what is in it. Brokers that tell nothing are believed.
    fn check(&self, wanted: &Wanted) -> Result<(), BusError> {
        let patience = AdminOptions::new().request_timeout(Some(self.options.request));
        let told = block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(&wanted.name)], &patience));
        let entries = told.into_iter().flatten().flatten().flat_map(|resource| resource.entries);
        let told: BTreeMap<String, String> = entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
        let is_compacted = |settings: &BTreeMap<String, String>| settings.get("cleanup.policy").is_some_and(|p| p.contains("compact"));
        let ours: BTreeMap<String, String> = wanted
            .settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        if told.contains_key("cleanup.policy") && is_compacted(&told) != is_compacted(&ours) {
            let policy = &ours["cleanup.policy"];
            return Err(BusError::Topic {
                topic: wanted.name.clone(),
                detail: format!("it is there with another cleanup.policy: set cleanup.policy={policy}"),
            });
        }
        Ok(())
    }
}
