//! The transactional producer of one partition: one frame a transaction.
//!
//! A frame whose transaction was never asked to commit is never stored: the brokers drop it when the producer's successor
//! begins, or when the transaction times out. Only a commit that was asked for and not answered is an unknown outcome.

use super::{options::KafkaOptions, wire};
use quipu_schemas::limits::{BROKER_HEADERS_MAX_BYTES, FRAME_MAX_BYTES};
use rdkafka::{
    Message as _,
    client::ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// After how long, at least, the brokers end a transaction whose producer went silent and has no successor.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a transaction did not get on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The brokers ended this producer: another of this partition has begun since, or its transaction timed out.
    Fenced(String),
    /// The broker will never take this message.
    Refused(String),
    /// The broker has no room.
    Full(String),
    /// The transaction can only be aborted.
    Abort(String),
    /// No answer, or one that says nothing for good.
    Silent(String),
}

impl Failure {
    fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode::{Fatal, Fenced, InvalidProducerEpoch, InvalidRecord, MessageSizeTooLarge, PolicyViolation, ProducerFenced};
        let why = error.to_string();
        match (error.rdkafka_error_code(), error) {
            (_, KafkaError::Transaction(e)) if e.is_fatal() => Failure::Fenced(why),
            (Some(Fatal | Fenced | ProducerFenced | InvalidProducerEpoch), _) => Failure::Fenced(why),
            (Some(MessageSizeTooLarge | InvalidRecord | PolicyViolation), _) => Failure::Refused(why),
            (Some(RDKafkaErrorCode::KafkaStorageError), _) => Failure::Full(why),
            (_, KafkaError::Transaction(e)) if e.txn_requires_abort() => Failure::Abort(why),
            _ => Failure::Silent(why),
        }
    }

    pub(crate) fn why(&self) -> &str {
        match self {
            Failure::Fenced(why) | Failure::Refused(why) | Failure::Full(why) | Failure::Abort(why) | Failure::Silent(why) => why,
        }
    }
}

/// Takes what became of each message: its turn, and its offset.
struct Deliveries(Sender<(usize, Result<i64, KafkaError>)>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, turn: usize) {
        let told = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        // The receiver goes with the producer.
        let _ = self.0.send((turn, told));
    }
}

/// A producer that has fenced its predecessors.
pub(crate) struct Producer {
    inner: ThreadedProducer<Deliveries>,
    delivered: Receiver<(usize, Result<i64, KafkaError>)>,
    topic: String,
    partition: u16,
    turn: usize,
}

fn left(deadline: Instant) -> Duration {
    // The client takes 0 for "do not wait" and would not even send.
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(50))
}

impl Producer {
    /// Makes the partition's producer; after this no earlier one can commit. Waits for a predecessor's last transaction.
    pub(crate) fn begin(options: &KafkaOptions, id: &str, partition: u16, deadline: Instant) -> Result<Self, Failure> {
        let mut config = options.client_config();
        let outcome = options.outcome.max(Duration::from_secs(1));
        let transaction = TRANSACTION_TIMEOUT.max(outcome * 2);
        for (key, value) in [
            ("transactional.id", id),
            ("transaction.timeout.ms", &transaction.as_millis().to_string()),
            ("message.timeout.ms", &outcome.as_millis().to_string()),
            ("message.max.bytes", &(FRAME_MAX_BYTES + BROKER_HEADERS_MAX_BYTES).to_string()),
            ("linger.ms", "0"),
            ("compression.type", "none"),
        ] {
            config.set(key, value);
        }
        let (send, delivered) = channel();
        let inner: ThreadedProducer<Deliveries> = config.create_with_context(Deliveries(send)).map_err(|e| Failure::of(&e))?;
        inner.init_transactions(left(deadline)).map_err(|e| Failure::of(&e))?;
        Ok(Self {
            inner,
            delivered,
            topic: options.log_topic(),
            partition,
            turn: 0,
        })
    }

    /// A client that was ended names the reason once; later failures are only its consequence.
    fn failure(&self, error: &KafkaError) -> Failure {
        match self.inner.client().fatal_error() {
            Some((_, why)) => Failure::Fenced(why),
            None => Failure::of(error),
        }
    }

    /// Begins a transaction and sends the frame; the offset that it got. It is stored only if [`Producer::commit`] is
    /// asked for.
    pub(crate) fn send(&mut self, frame: &[u8], deadline: Instant) -> Result<u64, Failure> {
        self.turn += 1;
        self.inner.begin_transaction().map_err(|e| self.failure(&e))?;
        let record = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, self.turn)
            .partition(i32::from(self.partition))
            .payload(frame);
        self.inner.send(record).map_err(|(e, _)| self.failure(&e))?;
        loop {
            match self.delivered.recv_timeout(left(deadline)) {
                Ok((turn, _)) if turn != self.turn => {}
                Ok((_, Ok(offset))) => return Ok(offset as u64),
                Ok((_, Err(e))) => return Err(self.failure(&e)),
                Err(RecvTimeoutError::Timeout) => return Err(Failure::Silent("the brokers did not take the message in time".into())),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Silent("the producer ended".into())),
            }
        }
    }

    /// Asks to commit what was sent.
    pub(crate) fn commit(&self, deadline: Instant) -> Result<(), Failure> {
        // The delivery was told while its event still counts as waiting, and then the client would sleep for 100 ms.
        while self.inner.in_flight_count() > 0 && Instant::now() < deadline {
            thread::yield_now();
        }
        loop {
            match self.inner.commit_transaction(left(deadline)) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(e)) if e.is_retriable() && Instant::now() < deadline => {}
                Err(e) => return Err(self.failure(&e)),
            }
        }
    }

    /// Gives up what was sent; whether the brokers know. Without a word from them it is not stored either.
    pub(crate) fn abort(&self, deadline: Instant) -> bool {
        self.inner.abort_transaction(left(deadline)).is_ok()
    }

    /// First offset, and the offset before which all is decided, as the partition's leader says.
    pub(crate) fn ends(&self, timeout: Duration) -> Result<(u64, u64), wire::Silence> {
        wire::ends(self.inner.client(), &self.topic, self.partition, timeout)
    }
}
