//! Plain messages between nodes, on the core of the NATS servers that hold the log.

use super::wire::Wire;
use crate::channel::{Channel, Hear, Listening};
use async_nats::Subject;
use futures::StreamExt;
use quipu_schemas::limits::VOLATILE_ABROAD_MAX;
use std::sync::Arc;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

/// Messages of the nodes of one log.
pub struct JetStreamChannel {
    wire: Arc<Wire>,
    prefix: String,
    handle: Handle,
    said: mpsc::Sender<(Subject, Vec<u8>)>,
}

struct Task(JoinHandle<()>);

impl Listening for Task {}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl JetStreamChannel {
    pub(super) fn new(wire: Arc<Wire>, prefix: &str, handle: Handle) -> Self {
        let (said, mut saying) = mpsc::channel::<(Subject, Vec<u8>)>(VOLATILE_ABROAD_MAX);
        let speaker = wire.clone();
        // One task, so that what is said first goes first. It ends with the channel.
        handle.spawn(async move {
            while let Some((subject, payload)) = saying.recv().await {
                // Of use now or never.
                let _ = speaker.client.publish(subject, payload.into()).await;
            }
        });
        Self {
            wire,
            prefix: format!("quipu.volatile.{prefix}"),
            handle,
            said,
        }
    }

    fn subject(&self, topic: &str) -> Subject {
        format!("{}.{topic}", self.prefix).into()
    }
}

impl Channel for JetStreamChannel {
    fn say(&self, topic: &str, payload: Vec<u8>) {
        // Too much is on its way: of use now or never.
        let _ = self.said.try_send((self.subject(topic), payload));
    }

    fn listen(&self, topic: &str, hear: Hear) -> Box<dyn Listening> {
        let (client, subject) = (self.wire.client.clone(), self.subject(topic));
        Box::new(Task(self.handle.spawn(async move {
            let Ok(mut heard) = client.subscribe(subject).await else { return };
            while let Some(message) = heard.next().await {
                hear(&message.payload);
            }
        })))
    }
}
