//! Commands from the topics: the nodes are one consumer group, and each decides those of the partitions that the group gives it.
//!
//! Commands of one entity wait for each other, those of others do not. What is refused for now is tried again in its place.
//! A final answer is durable in the receipts before its offset is committed, and an offset is committed only where every
//! message before it has its answer. What the group takes back is dropped: it comes again at the next node, and the
//! command's id makes the repetition harmless.

use super::{
    super::{
        lanes::Lanes,
        message,
        pace::{Pace, until},
        progress::Progress,
        status::{Part, Status},
        topic::{self, RECEIPTS},
    },
    consumer::{Consumer, ConsumerEvent, Place},
    message as kafka_message,
    producer::Producer,
    topics::Topics,
};
use crate::{app::App, metrics::BUS_COMMANDS};
use quipu_schemas::{
    ids::{CommandId, OrgId},
    limits::BUS_LANES_MAX,
};
use rdkafka::{Message, message::OwnedMessage};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// How long commands at work may go on when the node stops; they are safe without it.
const GRACE: Duration = Duration::from_secs(1);

/// What carrying a command needs.
#[derive(Clone)]
pub(super) struct Carrier {
    pub(super) app: App,
    pub(super) topics: Arc<Topics>,
    pub(super) producer: Arc<Producer>,
    pub(super) status: Arc<Status>,
}

/// Consumes until told to stop.
pub(super) async fn serve(carrier: Carrier, mut stop: watch::Receiver<bool>) {
    let mut pace = Pace::new();
    while !*stop.borrow() {
        let why = match session(&carrier, &mut stop).await {
            Ok(()) => return,
            Err(why) => why,
        };
        carrier.status.trouble(Part::Queue, why);
        tokio::select! {
            _ = until(&mut stop, |stop| *stop) => return,
            () = pace.wait(None) => {}
        }
    }
}

/// One membership of the group.
async fn session(carrier: &Carrier, stop: &mut watch::Receiver<bool>) -> Result<(), String> {
    let (consumer, mut heard) = Consumer::begin(carrier.topics.options(), carrier.status.clone())?;
    let mut work = Work {
        carrier: carrier.clone(),
        consumer,
        tenures: BTreeMap::new(),
        last_tenure: 0,
        lanes: Lanes::new(),
        running: JoinSet::new(),
        aborts: BTreeMap::new(),
    };
    loop {
        work.start();
        tokio::select! {
            _ = until(stop, |stop| *stop) => break,
            Some(done) = work.running.join_next() => work.done(done)?,
            told = heard.recv() => match told {
                Some(ConsumerEvent::Message(message)) => work.take(message),
                Some(ConsumerEvent::Revoked(places)) => work.revoked(&places),
                None => return Err("the consumer ended".into()),
            },
        }
    }
    // What is at work is worth a moment: its answer would have to be found again elsewhere.
    let rest = async {
        while let Some(done) = work.running.join_next().await {
            work.done(done)?;
        }
        Ok::<(), String>(())
    };
    if let Ok(ended) = tokio::time::timeout(GRACE, rest).await {
        ended?;
    }
    work.running.abort_all();
    work.consumer.end().await;
    Ok(())
}

/// Which assignment of a partition a message came by: the same one may be given, taken and given again.
type Tenure = u64;

/// A message of a tenure.
struct Item {
    tenure: Tenure,
    place: Place,
    message: Box<OwnedMessage>,
}

/// What is finished.
struct Done {
    lane: (Tenure, String),
    place: Place,
    offset: i64,
}

struct Work {
    carrier: Carrier,
    consumer: Consumer,
    /// The partitions that this node decides, and how far.
    tenures: BTreeMap<Place, (Tenure, Progress)>,
    last_tenure: Tenure,
    lanes: Lanes<(Tenure, String), Item>,
    running: JoinSet<Done>,
    aborts: BTreeMap<(Tenure, i64), AbortHandle>,
}

impl Work {
    fn take(&mut self, message: Box<OwnedMessage>) {
        let place = (message.topic().to_owned(), message.partition());
        let offset = message.offset();
        let (last, at) = (&mut self.last_tenure, offset.unsigned_abs());
        let (tenure, progress) = self.tenures.entry(place.clone()).or_insert_with(|| {
            *last += 1;
            (*last, Progress::from(at))
        });
        progress.read(at, 1);
        let lane = (*tenure, topic::lane(message.key().unwrap_or_default(), offset));
        let item = Item {
            tenure: *tenure,
            place,
            message,
        };
        self.lanes.push(lane, item);
    }

    fn start(&mut self) {
        while self.running.len() < BUS_LANES_MAX
            && let Some((lane, item)) = self.lanes.start()
        {
            let (carrier, tenure, offset) = (self.carrier.clone(), item.tenure, item.message.offset());
            let handle = self.running.spawn(async move {
                carrier.carry(&item.message).await;
                Done {
                    lane,
                    place: item.place,
                    offset,
                }
            });
            self.aborts.insert((tenure, offset), handle);
        }
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), String> {
        self.consumer.finished(1);
        let done = match done {
            Ok(done) => done,
            Err(ended) if ended.is_cancelled() => return Ok(()),
            Err(crashed) => return Err(crashed.to_string()),
        };
        self.lanes.done(&done.lane);
        self.aborts.remove(&(done.lane.0, done.offset));
        if let Some((tenure, progress)) = self.tenures.get_mut(&done.place)
            && *tenure == done.lane.0
        {
            progress.sent(done.offset.unsigned_abs());
            self.consumer.answered(&done.place, progress.next());
        }
        Ok(())
    }

    fn revoked(&mut self, places: &[Place]) {
        for place in places {
            let Some((gone, _)) = self.tenures.remove(place) else { continue };
            self.consumer.finished(self.lanes.forget(|(tenure, _)| *tenure == gone));
            self.aborts.retain(|(tenure, _), handle| {
                let ends = *tenure == gone;
                if ends {
                    handle.abort();
                }
                !ends
            });
        }
    }
}

impl Carrier {
    /// Has a command decided and tells its answer.
    async fn carry(&self, message: &OwnedMessage) {
        let outcome = match message::read(&self.app, kafka_message::arrived(&self.topics, message)) {
            Ok(incoming) => {
                let (org, id, correlation) = (
                    incoming.request.org.clone(),
                    incoming.command_id.clone(),
                    incoming.correlation.clone(),
                );
                let result = message::decide_finally(&self.app, incoming).await;
                let answer = message::answer(&result, Some(&id), &correlation);
                self.tell(&org, &id, message, &answer).await;
                if result.is_ok() { "accepted" } else { "refused" }
            }
            Err(refused) => {
                let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
                tracing::warn!(topic, partition, offset, problem = %refused.problem, "a message is not a command");
                if let (Some(org), Some(id)) = (&refused.org, &refused.command_id) {
                    let answer = message::answer(&Err(refused.problem), Some(id), "");
                    self.tell(org, id, message, &answer).await;
                }
                "malformed"
            }
        };
        metrics::counter!(BUS_COMMANDS, "outcome" => outcome).increment(1);
    }

    /// Tells an answer until the brokers have it.
    async fn tell(&self, org: &OrgId, id: &CommandId, message: &OwnedMessage, answer: &message::Answer) {
        let key = format!("{org}/{id}");
        let mut pace = Pace::new();
        loop {
            let (topic, headers) = (self.topics.of(RECEIPTS, org), kafka_message::headers(answer, message));
            match self.producer.send(&topic, None, key.as_bytes(), headers, &answer.body).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(error, "publishing a receipt again"),
            }
            pace.wait(None).await;
        }
    }
}
