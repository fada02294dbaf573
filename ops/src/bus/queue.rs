//! The durable queue: commands published on `quipu.v1.cmd.…`, decided by the node that serves partition 0.
//!
//! That node makes the consumer anew whenever it begins, so that everything unacknowledged comes again in the order in
//! which it was published; the command's id makes the repetition harmless. Commands of one entity wait for each other,
//! those of others do not. What is refused for now is tried again in its place; a final answer is in the receipt stream
//! before its message is acknowledged, and a message that has one is not decided again.

use super::{
    lanes::Lanes,
    message, nats_message,
    pace::{Pace, until},
    status::{Part, Status},
    streams::{QUEUE, RECEIPTS},
    subject::{self, CMD},
};
use crate::{app::App, metrics::BUS_COMMANDS, request_id::RequestId};
use async_nats::{
    HeaderMap,
    jetstream::{
        Context, Message,
        consumer::{AckPolicy, DeliverPolicy, pull},
        stream::{LastRawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use futures::StreamExt;
use quipu_schemas::limits::{BUS_LANES_MAX, BUS_QUEUE_AGE_S, BUS_QUEUE_AHEAD};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// The beginning of the consumer's name.
const CONSUMER: &str = "quipu";
/// Messages asked for at a time.
const BATCH: usize = 128;
/// Which message of the queue a receipt answers.
const SEQUENCE: &str = "Quipu-Queue-Sequence";

/// What carrying a command needs.
#[derive(Clone)]
struct Carrier {
    app: App,
    js: Context,
    receipts: Stream,
}

/// Consumes whenever this node serves partition 0, until told to stop.
pub(super) async fn serve(app: App, js: Context, status: Arc<Status>, connects: watch::Receiver<u64>, mut stop: watch::Receiver<bool>) {
    let mut serving = app.serving();
    let mut pace = Pace::new();
    loop {
        let is_ours = |serving: &BTreeSet<u16>| serving.contains(&0);
        tokio::select! {
            _ = until(&mut stop, |stop| *stop) => return,
            known = until(&mut serving, is_ours) => if !known { return },
        }
        tokio::select! {
            _ = until(&mut stop, |stop| *stop) => return,
            known = until(&mut serving, |serving| !is_ours(serving)) => {
                status.works(Part::Queue);
                if !known { return }
            }
            ended = consume(&app, &js, &status, connects.clone(), &mut pace) => {
                status.trouble(Part::Queue, ended);
                pace.wait(None).await;
            }
        }
    }
}

/// Consumes until something is in the way; what.
async fn consume(app: &App, js: &Context, status: &Status, connects: watch::Receiver<u64>, pace: &mut Pace) -> String {
    match session(app, js, status, connects, pace).await {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

async fn session(
    app: &App,
    js: &Context,
    status: &Status,
    mut connects: watch::Receiver<u64>,
    pace: &mut Pace,
) -> Result<std::convert::Infallible, String> {
    let told = |e: &dyn std::fmt::Display| e.to_string();
    connects.mark_unchanged();
    let queue = js.get_stream(QUEUE).await.map_err(|e| told(&e))?;
    let receipts = js.get_stream(RECEIPTS).await.map_err(|e| told(&e))?;
    // Whoever consumed before: there is one at most. A name is never used again, so that a node which has not heard of it
    // asks for more of a consumer that is gone, instead of taking messages of this one.
    let mut before = queue.consumer_names();
    while let Some(name) = before.next().await {
        // Gone by itself, or it stands in the way of the new one, and that says so.
        let _ = queue.delete_consumer(&name.map_err(|e| told(&e))?).await;
    }
    let config = pull::Config {
        durable_name: Some(format!("{CONSUMER}_{}", RequestId::mint(app.now()).0)),
        description: Some("the node that decides queued commands".into()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        // Nothing comes again while this consumer lives: that would be out of order. What was lost on the way is seen by its
        // number, and then the consumer is made anew.
        ack_wait: Duration::from_secs(BUS_QUEUE_AGE_S),
        max_ack_pending: BUS_QUEUE_AHEAD as i64,
        ..pull::Config::default()
    };
    let consumer = queue.create_consumer_strict(config).await.map_err(|e| told(&e))?;
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(BATCH)
        .expires(Duration::from_secs(30))
        .heartbeat(Duration::from_secs(5))
        .messages()
        .await
        .map_err(|e| told(&e))?;
    status.works(Part::Queue);
    *pace = Pace::new();
    let carrier = Carrier {
        app: app.clone(),
        js: js.clone(),
        receipts,
    };
    let mut lanes: Lanes<String, Message> = Lanes::new();
    let mut running: JoinSet<String> = JoinSet::new();
    let mut delivered = 0;
    loop {
        while running.len() < BUS_LANES_MAX
            && let Some((lane, message)) = lanes.start()
        {
            let carrier = carrier.clone();
            running.spawn(async move {
                carrier.carry(message).await;
                lane
            });
        }
        tokio::select! {
            Some(done) = running.join_next() => lanes.done(&done.map_err(|e| told(&e))?),
            message = messages.next(), if lanes.held() < BUS_QUEUE_AHEAD => {
                let message = message.ok_or("the consumer ended")?.map_err(|e| told(&e))?;
                let info = message.info().map_err(|e| told(&e))?;
                let (number, sequence) = (info.consumer_sequence, info.stream_sequence);
                if number != delivered + 1 {
                    return Err(format!("a message was lost on its way: {number} came after {delivered}"));
                }
                delivered = number;
                lanes.push(subject::lane(&message.subject, sequence), message);
            }
            connected = connects.changed() => {
                let _ = connected;
                return Err("the connection broke".into());
            }
        }
    }
}

/// What the receipt stream has of a command.
enum ReceiptKnown {
    /// The answer to this very message.
    Answered,
    /// Nothing, or the answer to another message of the same id; the sequence of the last on its subject.
    Open {
        /// 0: there is none.
        last: u64,
    },
}

impl Carrier {
    /// Has a command decided, tells its answer, and takes it from the queue.
    async fn carry(&self, message: Message) {
        let sequence = message.info().map(|info| info.stream_sequence).unwrap_or_default();
        let outcome = match message::read(
            &self.app,
            nats_message::arrived(CMD, &message.subject, message.headers.as_ref(), &message.payload),
        ) {
            Ok(incoming) => {
                let subject = subject::receipt(&incoming.request.org, &incoming.command_id);
                match self.told(&subject, sequence).await {
                    ReceiptKnown::Answered => "answered",
                    ReceiptKnown::Open { last } => {
                        let (id, correlation) = (incoming.command_id.clone(), incoming.correlation.clone());
                        let result = message::decide_finally(&self.app, incoming).await;
                        self.tell(&subject, last, sequence, nats_message::answer(&result, Some(&id), &correlation))
                            .await;
                        if result.is_ok() { "accepted" } else { "refused" }
                    }
                }
            }
            Err(refused) => {
                tracing::warn!(subject = %message.subject, problem = %refused.problem, "a queued message is not a command");
                if let (Some(org), Some(id)) = (&refused.org, &refused.command_id) {
                    let subject = subject::receipt(org, id);
                    if let ReceiptKnown::Open { last } = self.told(&subject, sequence).await {
                        self.tell(&subject, last, sequence, nats_message::answer(&Err(refused.problem), Some(id), ""))
                            .await;
                    }
                }
                "malformed"
            }
        };
        metrics::counter!(BUS_COMMANDS, "outcome" => outcome).increment(1);
        // Where this is lost, the message comes again and is found to be answered.
        let _ = message.ack().await;
    }

    /// Where the receipt stream is as to a command.
    async fn told(&self, subject: &str, sequence: u64) -> ReceiptKnown {
        let mut pace = Pace::new();
        loop {
            match self.receipts.get_last_raw_message_by_subject(subject).await {
                Ok(told) if told.headers.get(SEQUENCE).is_some_and(|of| of.as_str() == sequence.to_string()) => {
                    return ReceiptKnown::Answered;
                }
                Ok(told) => return ReceiptKnown::Open { last: told.sequence },
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return ReceiptKnown::Open { last: 0 },
                Err(_) => pace.wait(None).await,
            }
        }
    }

    /// Publishes an answer behind what the receipt stream had, unless this very message was answered by now: the first answer
    /// stands, also where another node works on the same message for a moment.
    async fn tell(&self, subject: &str, mut last: u64, sequence: u64, (mut headers, body): (HeaderMap, Bytes)) {
        headers.insert(SEQUENCE, sequence.to_string());
        let mut pace = Pace::new();
        loop {
            headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
            let sent = self
                .js
                .publish_with_headers(subject.to_owned(), headers.clone(), body.clone())
                .await;
            let kept = match sent {
                Ok(sent) => sent.await.map(drop),
                Err(error) => Err(error),
            };
            let Err(error) = kept else { return };
            tracing::debug!(%error, subject, "publishing a receipt again");
            pace.wait(None).await;
            // It may be there all the same.
            match self.told(subject, sequence).await {
                ReceiptKnown::Answered => return,
                ReceiptKnown::Open { last: now } => last = now,
            }
        }
    }
}
