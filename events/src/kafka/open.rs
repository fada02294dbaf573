//! Opening: the brokers are asked what they are, the topics are made or checked, the durability class is found.

use super::{
    identity::{Identity, Meta},
    open_error::OpenError,
    options::KafkaOptions,
    partition::Partition,
    topics::{BrokerSettings, Kept, Shape, Topics},
    wire::{Fetch, NoMessages, Readers, Silence},
};
use crate::pause::Pause;
use crate::{
    broker::{
        durability::{Known, SyncMode, class, is_synced, name},
        frames::Frames,
    },
    frame,
    port::LogMeta,
};
use parking_lot::Mutex;
use quipu_schemas::{envelope::Durability, limits::BROKER_PAUSE_MS, position::LogId};
use std::{sync::Arc, time::Instant};

/// Where the brokers keep what transactions came to.
const TRANSACTIONS: &str = "__transaction_state";

/// What opening gives.
pub(crate) struct Opened {
    pub(crate) meta: LogMeta,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// Deletes the topics of a log.
pub(crate) fn remove(options: &KafkaOptions) -> Result<(), OpenError> {
    options.ready()?;
    let readers = Arc::new(Readers::new(options, options.log_topic()));
    let topics = Topics::connect(options, &readers)?;
    for part in ["owners", "nodes", "keys"] {
        topics.remove(&format!("{}.{part}", options.prefix))?;
    }
    topics.remove(&options.log_topic())?;
    topics.remove(&options.meta_topic())
}

/// Opens or makes a log.
pub(crate) fn open(options: &KafkaOptions) -> Result<Opened, OpenError> {
    options.ready()?;
    let readers = Arc::new(Readers::new(options, options.log_topic()));
    let topics = Topics::connect(options, &readers)?;
    let told = topics.told_by_brokers();
    // Without it, a transaction that was given up may still be decided by what is late on the way.
    if told.iter().any(|broker| {
        broker
            .get("transaction.partition.verification.enable")
            .is_some_and(|v| v == "false")
    }) {
        return Err(OpenError::Brokers(
            "transaction.partition.verification.enable is false on one of them: set it to true".into(),
        ));
    }
    let meta = Meta::new(options, topics.deadline);
    let meta_shape = match topics.find(&options.meta_topic())? {
        Some(shape) => shape,
        None => topics.make(&options.meta_topic(), 1, Kept::ForEver)?,
    };
    let meta_told = topics.check(&options.meta_topic(), &meta_shape)?;
    let identity = meta.identity()?;
    if identity.partitions != options.partitions {
        return Err(OpenError::Partitions {
            found: identity.partitions,
            asked: options.partitions,
        });
    }
    if let Some(asked) = options.log_id.filter(|id| *id != identity.log_id) {
        return Err(other_log(options.meta_topic(), identity.log_id, asked));
    }
    let log_shape = match topics.find(&options.log_topic())? {
        Some(shape) => shape,
        None if identity.complete => {
            return Err(OpenError::Topic {
                topic: options.log_topic(),
                detail: "it is gone, and with it the log".into(),
            });
        }
        None => topics.make(&options.log_topic(), identity.partitions, Kept::ForEver)?,
    };
    let log_told = topics.check(&options.log_topic(), &log_shape)?;
    if log_shape.partitions != usize::from(identity.partitions) {
        return Err(OpenError::Topic {
            topic: options.log_topic(),
            detail: format!("it has {} partitions, the log {}", log_shape.partitions, identity.partitions),
        });
    }
    first_frames(&readers, &identity, topics.deadline)?;
    if !identity.complete {
        meta.complete(&identity)?;
    }
    let durability = durability(&topics, &log_shape, [&log_told, &meta_told])?;
    let partitions = (0..identity.partitions).map(|number| {
        Arc::new(Partition {
            readers: readers.clone(),
            frames: Frames {
                log_id: identity.log_id,
                generation: identity.generation,
                partition: number,
            },
            number,
            outcome: options.outcome,
            known: Mutex::default(),
        })
    });
    Ok(Opened {
        partitions: partitions.collect(),
        meta: LogMeta {
            log_id: identity.log_id,
            generation: identity.generation,
            partitions: identity.partitions,
            durability,
            backend: "kafka",
        },
    })
}

fn other_log(topic: String, found: LogId, asked: LogId) -> OpenError {
    OpenError::OtherLog {
        topic,
        found: hex::encode(found.0),
        asked: hex::encode(asked.0),
    }
}

/// Asks until there is an answer: the partitions of a topic that was just made have their leaders one after the other.
fn patiently<T>(deadline: Instant, mut ask: impl FnMut() -> Result<T, Silence>) -> Result<T, Silence> {
    let mut pause = Pause::new(BROKER_PAUSE_MS);
    loop {
        match ask() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(pause.next_wait()),
            answer => return answer,
        }
    }
}

/// Refuses a topic whose beginning was deleted or is another log's.
fn first_frames(readers: &Readers, identity: &Identity, deadline: Instant) -> Result<(), OpenError> {
    let refused = |detail: String| OpenError::Topic {
        topic: readers.topic.clone(),
        detail,
    };
    for partition in 0..identity.partitions {
        let (first, end) = patiently(deadline, || readers.ends(partition)).map_err(|e| refused(e.to_string()))?;
        if first > 0 {
            return Err(refused(format!(
                "partition {partition} begins at offset {first}: its first frames were deleted"
            )));
        }
        if end == 0 {
            continue;
        }
        let mut found = None;
        let read = patiently(deadline, || {
            let read = readers.messages(Fetch::Few, partition, 0, |message| {
                // Damage is named by whoever reads the partition.
                found = frame::peek(message.payload).ok().map(|peeked| peeked.header.log_id);
                false
            });
            match read {
                Err(NoMessages::Silent(silence)) => Err(silence),
                Ok(_) | Err(NoMessages::Damaged(_)) => Ok(()),
            }
        });
        read.map_err(|e| refused(e.to_string()))?;
        if let Some(found) = found.filter(|found| *found != identity.log_id) {
            return Err(other_log(readers.topic.clone(), found, identity.log_id));
        }
    }
    Ok(())
}

/// The weaker of what is known about two topics.
fn weaker(a: Known, b: Known) -> Known {
    match (a, b) {
        (Known::Told(SyncMode::Always), other) | (other, Known::Told(SyncMode::Always)) => other,
        (Known::Declared(SyncMode::Always), other) | (other, Known::Declared(SyncMode::Always)) => other,
        (other, _) => other,
    }
}

/// How many brokers have what is acknowledged: one that is alone in sync is alone.
fn holders(replicas: usize, least_insync: usize) -> usize {
    if least_insync < 2 { replicas.min(1) } else { replicas }
}

fn durability(topics: &Topics<'_>, log: &Shape, told: [&BrokerSettings; 2]) -> Result<Durability, OpenError> {
    let options = topics.options;
    let known = weaker(topics.sync_mode(told[0]), topics.sync_mode(told[1]));
    let mut why = match known {
        Known::Told(_) => " (its brokers say that they do not sync before they acknowledge)".to_owned(),
        Known::Declared(_) => " (that is declared)".to_owned(),
        Known::Assumed => " (nothing says when its brokers sync, and by default they do not before they acknowledge)".to_owned(),
    };
    let mut held = holders(log.replicas, usize::from(options.least_insync()));
    // What a transaction came to is kept by the brokers in a topic of theirs: it must outlive a broker too.
    if held > 1
        && let Some(shape) = topics.find(TRANSACTIONS)?
    {
        let least = topics.told(TRANSACTIONS).get("min.insync.replicas").and_then(|n| n.parse().ok());
        held = held.min(holders(shape.replicas, least.unwrap_or(2)));
        if held < 2 {
            why = format!(
                " ({TRANSACTIONS} is not held by a majority: set transaction.state.log.replication.factor=3 and \
                 transaction.state.log.min.isr=2)"
            );
        }
    }
    let class = class(held, known);
    if is_synced(class) || options.accept_unsynced {
        return Ok(class);
    }
    Err(OpenError::Unsynced { class: name(class), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_that_of_the_weakest_part() {
        use Known::{Assumed, Declared, Told};
        use SyncMode::{Always, Interval};
        let order = [Told(Always), Declared(Always)];
        for weak in [Told(Interval), Declared(Interval), Assumed] {
            for strong in order {
                assert!(!is_synced(class(3, weaker(strong, weak))) && !is_synced(class(3, weaker(weak, strong))));
            }
        }
        assert_eq!(weaker(order[0], order[1]), order[1]);
        assert_eq!(weaker(order[1], order[0]), order[1]);
        let named = |replicas, least, known| name(class(holders(replicas, least), known));
        assert_eq!(named(3, 2, Told(Always)), "quorum-fsync");
        assert_eq!(named(3, 1, Told(Always)), "fsync");
        assert_eq!(named(5, 3, Assumed), "quorum-memory");
        assert_eq!(named(3, 1, Assumed), "memory");
        assert_eq!(named(1, 1, Declared(Always)), "declared:fsync");
    }
}
