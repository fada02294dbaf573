//! The streams of the bus: made where they are not there, checked where they are. Bounds that an operator changed stay.

use super::{
    BusError,
    subject::{CMD, FEED, RECEIPT},
};
use async_nats::jetstream::{
    Context, kv,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use quipu_schemas::limits;
use std::time::Duration;

/// The durable queue.
pub const QUEUE: &str = "QUIPU_V1_CMD";
/// Receipts of the durable queue.
pub const RECEIPTS: &str = "QUIPU_V1_RECEIPT";
/// The feed.
pub const EVENTS: &str = "QUIPU_V1_FEED";
/// The bucket of how far each partition is relayed.
pub const MARKS: &str = "QUIPU_V1_MARKS";

fn base(name: &str, family: &str, replicas: usize, max_bytes: i64, age: Duration) -> Config {
    Config {
        name: name.into(),
        subjects: vec![format!("{family}.>")],
        storage: StorageType::File,
        num_replicas: replicas,
        max_bytes,
        max_age: age,
        duplicate_window: Duration::from_secs(limits::BUS_DUPLICATE_WINDOW_S).min(age),
        ..Config::default()
    }
}

fn wanted(replicas: usize, feed_days: u32) -> [Config; 3] {
    let seconds = Duration::from_secs;
    let queue = Config {
        retention: RetentionPolicy::WorkQueue,
        // Whoever publishes more is told, instead of somebody's command being dropped.
        discard: DiscardPolicy::New,
        max_messages: limits::BUS_QUEUE_MAX_MESSAGES,
        max_message_size: (limits::BUS_COMMAND_MAX_BYTES + limits::HEADERS_MAX_BYTES) as i32,
        ..base(QUEUE, CMD, replicas, limits::BUS_QUEUE_MAX_BYTES, seconds(limits::BUS_QUEUE_AGE_S))
    };
    let receipts = Config {
        retention: RetentionPolicy::Limits,
        max_messages_per_subject: 1,
        allow_direct: true,
        ..base(
            RECEIPTS,
            RECEIPT,
            replicas,
            limits::BUS_RECEIPTS_MAX_BYTES,
            seconds(limits::BUS_RECEIPT_AGE_S),
        )
    };
    let events = Config {
        retention: RetentionPolicy::Limits,
        // The relay waits rather than have events leave before their time.
        discard: DiscardPolicy::New,
        allow_direct: true,
        ..base(
            EVENTS,
            FEED,
            replicas,
            limits::BUS_FEED_MAX_BYTES,
            seconds(u64::from(feed_days) * 24 * 60 * 60),
        )
    };
    [queue, receipts, events]
}

/// Makes or checks all of them.
pub(super) async fn ensure(js: &Context, replicas: usize, feed_days: u32) -> Result<kv::Store, BusError> {
    let wrong = |stream: &str, detail: String| BusError::Stream {
        stream: stream.to_owned(),
        detail,
    };
    for config in wanted(replicas, feed_days) {
        let name = config.name.clone();
        // Refused as well where it is there and not exactly so; told only where it is not.
        let refused = match js.create_stream(config.clone()).await {
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        let stream = js.get_stream(&name).await.map_err(|_| wrong(&name, refused))?;
        let mut found = stream.cached_info().config.clone();
        if found.subjects != config.subjects || found.retention != config.retention || found.sealed {
            return Err(wrong(
                &name,
                format!(
                    "it is there with subjects {:?} and is not Quipu's: delete or rename it",
                    found.subjects
                ),
            ));
        }
        if name == EVENTS && found.max_age != config.max_age {
            found.max_age = config.max_age;
            js.update_stream(found).await.map_err(|e| wrong(&name, e.to_string()))?;
        }
    }
    if let Ok(marks) = js.get_key_value(MARKS).await {
        return Ok(marks);
    }
    let bucket = kv::Config {
        bucket: MARKS.into(),
        description: "how far each partition of a log is relayed".into(),
        history: 1,
        max_bytes: 1024 * 1024,
        num_replicas: replicas,
        ..kv::Config::default()
    };
    match js.create_key_value(bucket).await {
        Ok(marks) => Ok(marks),
        // Another node made it in between, or the reason is told now.
        Err(error) => js.get_key_value(MARKS).await.map_err(|_| wrong(MARKS, error.to_string())),
    }
}
