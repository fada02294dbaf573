//! The feed out: each event of the partitions that this node serves, as a CloudEvent, in the order of its stream.
//!
//! Of one entity one event is on its way at a time, so that nothing overtakes what has to be sent again; of different
//! entities many are. Personal data stays sealed. Where the bus is away or full, this waits, and nothing else does.

use super::{
    lanes::Lanes,
    pace::{Pace, until},
    progress::Progress,
    status::{Part, Status},
};
use crate::{cloudevents, metrics::BUS_EVENTS};
use bytes::Bytes;
use quipu_runtime::{
    api::{FeedFilter, FeedItem, Stopped},
    node::Node,
};
use quipu_schemas::{
    ids::StreamId,
    limits::{BUS_FEED_IN_FLIGHT, BUS_MARK_MS},
    position::{Cursor, Position},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};

/// The media type of an event in the structured form.
pub(super) const CLOUD_EVENT: &str = "application/cloudevents+json";

/// One message on its way out.
pub(super) struct Outgoing {
    /// Whose event it is; its text is the key of the order.
    pub(super) stream: StreamId,
    /// Its stored name, or a word of the feed itself.
    pub(super) event: String,
    /// The CloudEvent's id.
    pub(super) id: String,
    /// The CloudEvent.
    pub(super) body: Bytes,
    position: Position,
}

/// A bus that events go to, and that keeps how far they went.
pub(super) trait FeedOut: Clone + Send + Sync + 'static {
    /// Sends an event once; it is durable in the bus when this ends well, and otherwise nobody knows.
    fn send(&self, event: &Outgoing) -> impl Future<Output = Result<(), String>> + Send;
    /// Where to go on with a partition; 0 where nothing is noted.
    fn load(&self, partition: u16) -> impl Future<Output = Result<u64, String>> + Send;
    /// Notes where to go on.
    fn note(&self, partition: u16, next: u64) -> impl Future<Output = Result<(), String>> + Send;
}

/// What the relay speaks by.
#[derive(Clone)]
pub(super) struct Relay<B> {
    pub(super) node: Node,
    pub(super) out: B,
    pub(super) status: Arc<Status>,
}

/// How far each partition is, for as long as this node serves it.
type Known = BTreeMap<u16, Progress>;

impl<B: FeedOut> Relay<B> {
    /// Relays what this node serves until told to stop, and then notes how far it is.
    pub(super) async fn serve(self, mut stop: watch::Receiver<bool>) {
        let mut serving = self.node.serving();
        let mut known = Known::new();
        let mut pace = Pace::new();
        loop {
            let served = serving.borrow_and_update().clone();
            known.retain(|partition, _| served.contains(partition));
            // Events that were on their way are sent again; the bus drops those that it has.
            known.values_mut().for_each(|progress| *progress = Progress::from(progress.next()));
            tokio::select! {
                _ = until(&mut stop, |stop| *stop) => break,
                changed = serving.changed() => if changed.is_err() { break },
                why = self.session(&served, &mut known, &mut pace) => {
                    self.status.trouble(Part::Feed, why);
                    tokio::select! {
                        () = pace.wait(None) => {}
                        _ = until(&mut stop, |stop| *stop) => break,
                    }
                }
            }
        }
        // Without them the next relay repeats a little.
        let _ = self.note(&mut known).await;
    }

    /// Relays until something is in the way; what.
    async fn session(&self, served: &BTreeSet<u16>, known: &mut Known, pace: &mut Pace) -> String {
        match self.relay(served, known, pace).await {
            Ok(()) => "the node's feed ended".into(),
            Err(why) => why,
        }
    }

    /// Where to begin, by partition; and what is wrong with those that are left out.
    async fn begin(&self, served: &BTreeSet<u16>, known: &mut Known) -> Result<(Cursor, Option<String>), String> {
        let end = self.node.cursor();
        // The feed passes over what lies behind the end.
        let mut cursor = Cursor {
            next: vec![u64::MAX; end.next.len()],
            ..end.clone()
        };
        let mut wrong = None;
        for partition in served {
            let next = match known.get(partition) {
                Some(progress) => progress.next(),
                None => self.out.load(*partition).await?,
            };
            let (at, last) = (usize::from(*partition), end.next[usize::from(*partition)]);
            if next > last {
                // As with any reader: to go on would pass over what comes in the place of what was lost.
                wrong = Some(format!(
                    "partition {partition} ends at {last} and was relayed up to {next}: the log lost its end"
                ));
                known.remove(partition);
                continue;
            }
            cursor.next[at] = next;
            known.entry(*partition).or_insert_with(|| Progress::from(next));
        }
        Ok((cursor, wrong))
    }

    async fn relay(&self, served: &BTreeSet<u16>, known: &mut Known, pace: &mut Pace) -> Result<(), String> {
        let (cursor, wrong) = self.begin(served, known).await?;
        match &wrong {
            Some(wrong) => self.status.trouble(Part::Feed, wrong.clone()),
            None => self.status.works(Part::Feed),
        }
        *pace = Pace::new();
        let mut feed = self.node.feed(cursor, FeedFilter::default());
        let mut lanes: Lanes<StreamId, Outgoing> = Lanes::new();
        let mut running: JoinSet<(StreamId, Position)> = JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_millis(BUS_MARK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while running.len() < BUS_FEED_IN_FLIGHT
                && let Some((stream, outgoing)) = lanes.start()
            {
                let relay = self.clone();
                running.spawn(async move {
                    relay.send(&outgoing).await;
                    (stream, outgoing.position)
                });
            }
            tokio::select! {
                Some(sent) = running.join_next() => {
                    let (stream, position) = sent.map_err(|e| e.to_string())?;
                    lanes.done(&stream);
                    if let Some(progress) = known.get_mut(&position.partition) {
                        progress.sent(position.offset);
                    }
                }
                item = feed.next(), if lanes.held() < BUS_FEED_IN_FLIGHT => match item {
                    Some(item) => self.item(item, &mut lanes, known)?,
                    None => return Ok(()),
                },
                _ = tick.tick() => {
                    self.lag(known);
                    self.note(known).await?;
                }
            }
        }
    }

    fn item(&self, item: FeedItem, lanes: &mut Lanes<StreamId, Outgoing>, known: &mut Known) -> Result<(), String> {
        let mut read = |position: Position, events: usize| {
            if let Some(progress) = known.get_mut(&position.partition) {
                progress.read(position.offset, events);
            }
        };
        match item {
            FeedItem::Record(entry) => {
                let (position, record) = (entry.position, &entry.record);
                let stream = &record.header.stream;
                // What the platform keeps of people leaves by no bus.
                if stream.org.is_reserved() {
                    read(position, 0);
                    return Ok(());
                }
                read(position, record.events.len());
                let plural = self.node.plural(&stream.kind);
                for (index, event) in record.events.iter().enumerate() {
                    let cloud =
                        cloudevents::encode(record, &plural, position, index, None).map_err(|e| format!("{stream} at {position}: {e}"))?;
                    let outgoing = Outgoing {
                        stream: stream.clone(),
                        event: event.name.clone(),
                        id: format!("{stream}@{}", record.header.first_version + index as u64),
                        body: cloud.get().to_owned().into(),
                        position,
                    };
                    lanes.push(stream.clone(), outgoing);
                }
            }
            FeedItem::Parked { stream, position, detail } => {
                read(position, 1);
                let outgoing = word(
                    &stream,
                    &self.node.plural(&stream.kind),
                    position,
                    "parked",
                    format!("{stream}@parked.{position}"),
                    &detail,
                );
                lanes.push(stream, outgoing);
            }
            FeedItem::Stopped(stopped) => {
                if known.contains_key(&stopped.partition) {
                    let Stopped { partition, offset, detail } = stopped;
                    self.status
                        .trouble(Part::Feed, format!("partition {partition} stops at offset {offset}: {detail}"));
                }
            }
            FeedItem::CaughtUp(_) => {}
        }
        Ok(())
    }

    /// Sends a message until the bus has it.
    async fn send(&self, outgoing: &Outgoing) {
        let mut pace = Pace::new();
        let mut failed = false;
        while let Err(error) = self.out.send(outgoing).await {
            failed = true;
            self.status.trouble(Part::Feed, error);
            pace.wait(None).await;
        }
        if failed {
            self.status.works(Part::Feed);
        }
        metrics::counter!(BUS_EVENTS).increment(1);
    }

    fn lag(&self, known: &Known) {
        let end = self.node.cursor();
        let behind = |(partition, progress): (&u16, &Progress)| end.next[usize::from(*partition)].saturating_sub(progress.next());
        self.status.lag(known.iter().map(behind).sum());
    }

    async fn note(&self, known: &mut Known) -> Result<(), String> {
        for (partition, progress) in known {
            if let Some(next) = progress.unnoted() {
                self.out.note(*partition, next).await?;
                progress.noted(next);
            }
        }
        Ok(())
    }
}

/// A word of the feed itself about a stream; no event of any, so its name begins with `_`.
fn word(stream: &StreamId, plural: &str, position: Position, name: &str, id: String, detail: &str) -> Outgoing {
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": cloudevents::source(stream, plural),
        "type": format!("quipu.feed.{name}.v1"),
        "subject": stream.id,
        "datacontenttype": "application/json",
        "position": position.to_string(),
        "partitionkey": stream.to_string(),
        "data": { "detail": detail },
    });
    Outgoing {
        stream: stream.clone(),
        event: format!("_{name}"),
        id,
        body: body.to_string().into(),
        position,
    }
}
