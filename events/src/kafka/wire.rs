//! The clients of a log on Kafka: what is asked of the brokers, each question with a deadline.

use super::options::{KafkaOptions, RETRY_MS};
use crate::pause::Pause;
use parking_lot::{Condvar, Mutex};
use quipu_schemas::limits::{BROKER_PAUSE_MS, BROKER_READERS_MAX, FRAME_MAX_BYTES};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    client::{Client, ClientContext},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a broker holds a fetch for which it has nothing: the price of learning that a reader is at the end.
const FETCH_WAIT_MS: &str = "5";

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Silence(pub(crate) String);

impl From<KafkaError> for Silence {
    fn from(error: KafkaError) -> Self {
        Self(error.to_string())
    }
}

/// First and next offset of a partition: all before the latter is decided (the last stable offset).
pub(crate) fn ends<C: ClientContext>(client: &Client<C>, topic: &str, partition: u16, timeout: Duration) -> Result<(u64, u64), Silence> {
    let deadline = Instant::now() + timeout;
    let mut pause = Pause::new(BROKER_PAUSE_MS);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match client.fetch_watermarks(topic, i32::from(partition), left) {
            Ok((low, high)) => return Ok((low.max(0) as u64, high.max(0) as u64)),
            Err(e) if Instant::now() >= deadline => return Err(Silence(format!("the end of {topic} [{partition}]: {e}"))),
            Err(_) => thread::sleep(pause.next_wait()),
        }
    }
}

/// A committed message. Its sequence is its offset plus one, so that 0 is before the first.
pub(crate) struct Message<'a> {
    pub(crate) sequence: u64,
    pub(crate) payload: &'a [u8],
}

/// Why reading messages ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The taker had enough.
    Enough,
    /// There is no more.
    AtTheEnd,
}

/// Why messages cannot be read.
#[derive(Debug)]
pub(crate) enum NoMessages {
    Silent(Silence),
    /// The broker gave what is no batch of messages, or no longer has the place.
    Damaged(String),
}

/// Consumers for reading by hand: assigned for one read each, never members of a group.
pub(crate) struct Readers {
    config: ClientConfig,
    pub(crate) topic: String,
    pub(crate) request: Duration,
    many: Pool,
    few: Pool,
}

/// Consumers that are used in turn.
#[derive(Default)]
struct Pool {
    consumers: Mutex<Consumers>,
    freed: Condvar,
}

#[derive(Default)]
struct Consumers {
    idle: Vec<BaseConsumer>,
    made: usize,
}

/// What a read is after: a client fetches ahead of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fetch {
    /// All that follows.
    Many,
    /// A message or some near it. What a fetch brings beyond those is thrown away.
    Few,
}

/// What a fetch for few messages brings; a broker gives a larger message whole.
const FEW_BYTES: &str = "32768";

impl Readers {
    pub(crate) fn new(options: &KafkaOptions, topic: String) -> Self {
        let mut config = options.client_config();
        for (key, value) in RETRY_MS {
            config.set(key, value);
        }
        let frame = (FRAME_MAX_BYTES * 2).to_string();
        for (key, value) in [
            // The client assigns by hand only with a group's name; no member ever joins it.
            ("group.id", "quipu"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("allow.auto.create.topics", "false"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("fetch.wait.max.ms", FETCH_WAIT_MS),
            ("fetch.message.max.bytes", frame.as_str()),
            ("queued.max.messages.kbytes", "4096"),
        ] {
            config.set(key, value);
        }
        Self {
            config,
            topic,
            request: options.request,
            many: Pool::default(),
            few: Pool::default(),
        }
    }

    /// A consumer of its own, with other settings.
    pub(crate) fn consumer(&self, settings: &[(&str, &str)]) -> Result<BaseConsumer, KafkaError> {
        let mut config = self.config.clone();
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create()
    }

    /// Works with a consumer that nobody else uses meanwhile.
    pub(crate) fn with<T>(&self, fetch: Fetch, work: impl FnOnce(&BaseConsumer) -> Result<T, NoMessages>) -> Result<T, NoMessages> {
        let (pool, settings) = match fetch {
            Fetch::Many => (&self.many, &[][..]),
            Fetch::Few => (&self.few, &[("fetch.message.max.bytes", FEW_BYTES)][..]),
        };
        let mut consumers = pool.consumers.lock();
        let consumer = loop {
            if let Some(consumer) = consumers.idle.pop() {
                break consumer;
            }
            if consumers.made < BROKER_READERS_MAX {
                let made = self.consumer(settings).map_err(|e| NoMessages::Silent(e.into()))?;
                consumers.made += 1;
                break made;
            }
            pool.freed.wait(&mut consumers);
        };
        drop(consumers);
        let done = work(&consumer);
        let kept = match &done {
            // Whatever went wrong does not follow to the next read.
            Err(_) => None,
            Ok(_) => consumer.unassign().is_ok().then_some(consumer),
        };
        let mut consumers = pool.consumers.lock();
        match kept {
            Some(consumer) => consumers.idle.push(consumer),
            None => consumers.made -= 1,
        }
        drop(consumers);
        pool.freed.notify_one();
        done
    }

    /// As [`ends`].
    pub(crate) fn ends(&self, partition: u16) -> Result<(u64, u64), Silence> {
        let asked = self.with(Fetch::Few, |consumer| {
            ends(consumer.client(), &self.topic, partition, self.request).map_err(NoMessages::Silent)
        });
        asked.map_err(|e| match e {
            NoMessages::Silent(silence) => silence,
            NoMessages::Damaged(detail) => Silence(detail),
        })
    }

    /// Gives the committed messages behind the sequence `after` to `take`, in order, until it says `false` or there are
    /// no more.
    pub(crate) fn messages(
        &self,
        fetch: Fetch,
        partition: u16,
        after: u64,
        mut take: impl FnMut(Message<'_>) -> bool,
    ) -> Result<Ended, NoMessages> {
        self.with(fetch, |consumer| {
            let mut from = TopicPartitionList::new();
            from.add_partition_offset(&self.topic, i32::from(partition), Offset::Offset(after as i64))
                .map_err(|e| NoMessages::Silent(e.into()))?;
            consumer.assign(&from).map_err(|e| NoMessages::Silent(e.into()))?;
            let mut deadline = Instant::now() + self.request;
            let mut why = String::new();
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(NoMessages::Silent(Silence(format!(
                        "reading {} [{partition}] behind {after}: no answer {why}",
                        self.topic
                    ))));
                }
                match consumer.poll(left) {
                    Some(Ok(message)) if message.partition() == i32::from(partition) && message.offset() >= after as i64 => {
                        deadline = Instant::now() + self.request;
                        let sequence = message.offset() as u64 + 1;
                        let payload = message.payload().unwrap_or_default();
                        if !take(Message { sequence, payload }) {
                            return Ok(Ended::Enough);
                        }
                    }
                    Some(Err(KafkaError::PartitionEOF(p))) if p == i32::from(partition) => return Ok(Ended::AtTheEnd),
                    // Of a read before.
                    Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) | None => {}
                    Some(Err(e)) => match e.rdkafka_error_code() {
                        Some(
                            RDKafkaErrorCode::BadMessage
                            | RDKafkaErrorCode::InvalidMessage
                            | RDKafkaErrorCode::InvalidMessageSize
                            | RDKafkaErrorCode::OffsetOutOfRange
                            | RDKafkaErrorCode::AutoOffsetReset,
                        ) => return Err(NoMessages::Damaged(e.to_string())),
                        _ => why = e.to_string(),
                    },
                }
            }
        })
    }
}

/// Notes whether the one message of a producer is stored.
#[derive(Default)]
struct Stored(AtomicBool);

impl ClientContext for Stored {}

impl ProducerContext for Stored {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.store(result.as_ref().is_ok_and(|m| m.offset() >= 0), Ordering::SeqCst);
    }
}

/// Stores one message in a topic of one partition, durably.
pub(crate) fn store(options: &KafkaOptions, topic: &str, payload: &[u8], patience: Duration) -> Result<(), Silence> {
    let mut config = options.client_config();
    config.set("enable.idempotence", "true").set("linger.ms", "0");
    config.set("message.timeout.ms", patience.as_millis().to_string());
    let producer: BaseProducer<Stored> = config.create_with_context(Stored::default())?;
    let record = BaseRecord::<(), [u8]>::to(topic).partition(0).payload(payload);
    producer.send(record).map_err(|(e, _)| Silence::from(e))?;
    let deadline = Instant::now() + patience;
    while producer.in_flight_count() > 0 && Instant::now() < deadline {
        producer.poll(Duration::from_millis(1));
    }
    if producer.context().0.load(Ordering::SeqCst) {
        return Ok(());
    }
    Err(Silence(
        "the brokers do not take a message: are enough of its replicas in sync?".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_where_the_brokers_are_and_when_to_ask_again() {
        let options = KafkaOptions {
            brokers: vec!["a:1".into(), "b:2".into()],
            ..KafkaOptions::default()
        };
        let config = options.client_config();
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        for (key, value) in RETRY_MS {
            // Of a consumer's own words a producer knows nothing.
            assert_eq!(config.get(key), (!key.starts_with("fetch")).then_some(value), "{key}");
        }
        let readers = Readers::new(&options, "t".into());
        assert_eq!(readers.config.get("fetch.error.backoff.ms"), Some("20"));
        assert_eq!((readers.topic.as_str(), readers.request), ("t", options.request));
    }

    #[test]
    fn failed_reader_is_dropped_and_a_good_one_reused() {
        let readers = Readers::new(&KafkaOptions::default(), "t".into());
        let made = |readers: &Readers| {
            let pool = readers.many.consumers.lock();
            (pool.idle.len(), pool.made)
        };
        assert!(readers.with(Fetch::Many, |_| Ok(())).is_ok());
        assert_eq!(made(&readers), (1, 1));
        assert!(readers.with(Fetch::Many, |_| Ok(())).is_ok());
        assert_eq!(made(&readers), (1, 1), "the same one");
        assert!(
            readers
                .with(Fetch::Many, |_| Err::<(), _>(NoMessages::Damaged("x".into())))
                .is_err()
        );
        assert_eq!(made(&readers), (0, 0));
        assert_eq!(Silence::from(KafkaError::Canceled).to_string(), KafkaError::Canceled.to_string());
    }
}
