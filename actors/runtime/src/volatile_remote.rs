//! The volatile channel between nodes: over plain messages of the broker where it carries such, else from node to node.

use crate::{
    cluster::{Cluster, VOLATILE_PATH},
    core::Core,
    volatile::{Inner, Remote, RemoteMessage, VolatileEvent},
};
use quipu_events::channel::{Channel, Listening};
use quipu_schemas::{
    ids::{Kind, StreamId},
    limits::{VOLATILE_ABROAD_MAX, VOLATILE_BATCH_MAX},
};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// Over plain messages of the servers that hold the log: they carry a message only to where somebody listens.
pub(crate) struct ViaBroker {
    pub(crate) me: String,
    pub(crate) channel: Arc<dyn Channel>,
}

fn topic(stream: &StreamId) -> String {
    format!("{}.{}.{}", stream.org, stream.kind, stream.id)
}

impl ViaBroker {
    fn hear(&self, topic: &str, here: Weak<Inner>, take: fn(&Inner, RemoteMessage)) -> Box<dyn Listening> {
        let me = self.me.clone();
        let hear = move |payload: &[u8]| {
            if let Some(here) = here.upgrade()
                && let Ok(said) = serde_json::from_slice::<RemoteMessage>(payload)
                && said.from != me
            {
                take(&here, said);
            }
        };
        self.channel.listen(topic, Box::new(hear))
    }
}

impl Remote for ViaBroker {
    fn say(&self, stream: &StreamId, event: &VolatileEvent) {
        let said = RemoteMessage {
            from: self.me.clone(),
            stream: stream.clone(),
            event: event.clone(),
        };
        if let Ok(payload) = serde_json::to_vec(&said) {
            self.channel.say(&topic(stream), payload);
        }
    }

    fn listen(&self, stream: &StreamId, here: Weak<Inner>) -> Option<Box<dyn Listening>> {
        Some(self.hear(&topic(stream), here, |here, said| {
            here.tell(&said.stream, said.event);
        }))
    }

    fn listen_to_instances(&self, here: Weak<Inner>) -> Option<Box<dyn Listening>> {
        let all = format!("*.{}.*", Kind::ENTITY);
        Some(self.hear(&all, here, |here, said| here.note(&said.stream, &said.event)))
    }
}

/// From node to node: what is said goes to every other one, in batches, whether somebody listens there or not.
pub(crate) struct ViaHttp {
    me: String,
    said: mpsc::Sender<RemoteMessage>,
}

impl ViaHttp {
    /// Begins to pass on; ends with the node.
    pub(crate) fn begin(core: &Arc<Core>, me: String) -> Self {
        let (said, mut saying) = mpsc::channel(VOLATILE_ABROAD_MAX);
        let tasks = core.tasks.clone();
        let core = Arc::downgrade(core);
        tokio::spawn(tasks.once("volatile", async move {
            let mut batch = Vec::new();
            while saying.recv_many(&mut batch, VOLATILE_BATCH_MAX).await > 0 {
                let Some(core) = core.upgrade() else { return };
                if let Some(cluster) = core.cluster() {
                    cluster.pass_on(&batch).await;
                }
                batch.clear();
            }
        }));
        Self { me, said }
    }
}

impl Remote for ViaHttp {
    fn say(&self, stream: &StreamId, event: &VolatileEvent) {
        // Too much is on its way: of use now or never.
        let _ = self.said.try_send(RemoteMessage {
            from: self.me.clone(),
            stream: stream.clone(),
            event: event.clone(),
        });
    }

    fn listen(&self, _: &StreamId, _: Weak<Inner>) -> Option<Box<dyn Listening>> {
        None
    }

    fn listen_to_instances(&self, _: Weak<Inner>) -> Option<Box<dyn Listening>> {
        None
    }
}

impl Cluster {
    /// Tells every other node at once; one that does not answer hears nothing.
    async fn pass_on(&self, batch: &[RemoteMessage]) {
        let others = self.leases.members().into_iter().filter(|member| member.node != self.me.node);
        let requests = others.filter_map(|member| self.post(&member, VOLATILE_PATH).ok());
        let telling = requests.map(|request| request.json(batch).send());
        drop(futures::future::join_all(telling).await);
    }
}
