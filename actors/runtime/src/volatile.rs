//! The volatile channel: deltas, typing and presence, from whoever has them to whoever listens now.
//!
//! Listeners on every node that shares the log hear it (`volatile_remote.rs`). Nothing here is logged, kept or repeated. Publishing never waits: a listener that falls more than
//! [`VOLATILE_QUEUE_MAX`] events behind loses the oldest, and is told how many.

pub use crate::kernel::instances::{Instance, InstanceStatus};

use crate::kernel::instances::Instances;
use futures::Stream;
use parking_lot::Mutex;
use quipu_events::channel::Listening;
use quipu_schemas::{
    ids::{Kind, PrincipalId, StreamId},
    limits::VOLATILE_QUEUE_MAX,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};
use tokio::sync::broadcast::{self, error::RecvError};

/// What is said on the volatile channel of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum VolatileEvent {
    /// A piece of a model's answer. `index` counts from 0; a 0 after others means that the answer begins anew
    /// (another attempt), and that what came before is void.
    Delta {
        /// The id of the turn.
        turn: String,
        /// The agent that speaks.
        agent: PrincipalId,
        /// Place among the attempt's deltas.
        index: u64,
        /// The text to add to what came before.
        text: String,
    },
    /// A participant types, or stopped.
    Typing {
        /// The participant.
        principal: PrincipalId,
        /// Whether they type.
        active: bool,
    },
    /// A participant came or went.
    Presence {
        /// The participant.
        principal: PrincipalId,
        /// Whether they are here.
        online: bool,
    },
    /// An instance of an entity of the directory says how it is.
    Instance(Instance),
}

/// What a listener gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// An event.
    Event(VolatileEvent),
    /// So many events were lost because the listener was slow.
    Dropped(u64),
}

/// What a node says to the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoteMessage {
    /// Who says it.
    pub(crate) from: String,
    /// Whose channel.
    pub(crate) stream: StreamId,
    /// What.
    pub(crate) event: VolatileEvent,
}

/// The way to the other nodes.
pub(crate) trait Remote: Send + Sync {
    /// Tells whoever listens there. Never waits.
    fn say(&self, stream: &StreamId, event: &VolatileEvent);
    /// Passes on to this node's listeners what others say of a stream, while it lives.
    fn listen(&self, stream: &StreamId, here: Weak<Inner>) -> Option<Box<dyn Listening>>;
    /// Hears what others say of instances, whoever listens here; `None` where everything is heard anyway.
    fn listen_to_instances(&self, here: Weak<Inner>) -> Option<Box<dyn Listening>>;
}

struct Listened {
    here: broadcast::Sender<VolatileEvent>,
    /// Hears what other nodes say, as long as somebody listens here.
    _remote: Option<Box<dyn Listening>>,
}

type Channels = BTreeMap<StreamId, Listened>;

pub(crate) struct Inner {
    channels: Mutex<Channels>,
    remote: OnceLock<Box<dyn Remote>>,
    instances: Mutex<Instances>,
    heard_of_instances: OnceLock<Box<dyn Listening>>,
    since: Instant,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            channels: Mutex::default(),
            remote: OnceLock::new(),
            instances: Mutex::default(),
            heard_of_instances: OnceLock::new(),
            since: Instant::now(),
        }
    }
}

impl Inner {
    /// Tells every present listener of this node; returns how many there are.
    pub(crate) fn tell(&self, stream: &StreamId, event: VolatileEvent) -> usize {
        self.note(stream, &event);
        self.channels
            .lock()
            .get(stream)
            .map_or(0, |channel| channel.here.send(event).unwrap_or(0))
    }
}

impl Inner {
    /// Keeps for a while what is known of instances, whether somebody listens or not.
    pub(crate) fn note(&self, stream: &StreamId, event: &VolatileEvent) {
        if let VolatileEvent::Instance(instance) = event
            && stream.kind == Kind::ENTITY
        {
            self.instances.lock().hear(stream, instance, self.now());
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Publish and subscribe by stream. Cheap to clone; memory grows with listeners alone.
#[derive(Clone, Default)]
pub struct Volatile {
    inner: Arc<Inner>,
}

impl fmt::Debug for Volatile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volatile")
            .field("listened", &self.listened())
            .finish_non_exhaustive()
    }
}

impl Volatile {
    /// Without listeners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells every present listener of `stream`, on other nodes too; returns how many there are on this one. Never waits.
    pub fn publish(&self, stream: &StreamId, event: VolatileEvent) -> usize {
        if let Some(remote) = self.inner.remote.get() {
            remote.say(stream, &event);
        }
        self.inner.tell(stream, event)
    }

    /// What another node said.
    pub(crate) fn heard(&self, messages: Vec<RemoteMessage>) {
        for message in messages {
            self.inner.tell(&message.stream, message.event);
        }
    }

    /// Says how other nodes are reached; once.
    pub(crate) fn reach(&self, remote: Box<dyn Remote>) {
        // Set when the node starts, before anybody listens.
        if let Some(heard) = remote.listen_to_instances(Arc::downgrade(&self.inner)) {
            let _ = self.inner.heard_of_instances.set(heard);
        }
        let _ = self.inner.remote.set(remote);
    }

    /// Listens to `stream` from now on.
    pub fn subscribe(&self, stream: &StreamId) -> Subscription {
        let receiver = match self.inner.channels.lock().entry(stream.clone()) {
            std::collections::btree_map::Entry::Occupied(channel) => channel.get().here.subscribe(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let (here, receiver) = broadcast::channel(VOLATILE_QUEUE_MAX);
                let remote = self
                    .inner
                    .remote
                    .get()
                    .and_then(|remote| remote.listen(stream, Arc::downgrade(&self.inner)));
                place.insert(Listened { here, _remote: remote });
                receiver
            }
        };
        Subscription {
            receiver: Some(receiver),
            stream: stream.clone(),
            inner: self.inner.clone(),
        }
    }

    /// The instances of an entity that are known at present, the best one first. A node that has just started knows of none
    /// before they say again how they are.
    pub fn instances(&self, entity: &StreamId) -> Vec<Instance> {
        self.inner.instances.lock().of(entity, self.inner.now())
    }

    /// Streams that have listeners.
    pub fn listened(&self) -> usize {
        self.inner.channels.lock().len()
    }
}

/// One listener; dropping it ends the subscription.
pub struct Subscription {
    receiver: Option<broadcast::Receiver<VolatileEvent>>,
    stream: StreamId,
    inner: Arc<Inner>,
}

impl Subscription {
    /// The next event, or how many were lost. `None` never comes while the subscription lives. Cancel-safe.
    pub async fn next(&mut self) -> Option<Received> {
        match self.receiver.as_mut()?.recv().await {
            Ok(event) => Some(Received::Event(event)),
            Err(RecvError::Lagged(lost)) => Some(Received::Dropped(lost)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The same as a stream, for responses that are sent as they come.
    pub fn into_stream(self) -> impl Stream<Item = Received> + Send {
        futures::stream::unfold(
            self,
            |mut listener| async move { listener.next().await.map(|heard| (heard, listener)) },
        )
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = self.inner.channels.lock();
        self.receiver = None;
        if channels.get(&self.stream).is_some_and(|channel| channel.here.receiver_count() == 0) {
            channels.remove(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use quipu_schemas::ids::EntityId;

    fn typing(n: usize) -> VolatileEvent {
        VolatileEvent::Typing {
            principal: PrincipalId::parse(format!("p{n}")).unwrap(),
            active: true,
        }
    }

    #[test]
    fn events_reach_the_listeners_of_their_stream_and_nobody_else() {
        let (a, b): (StreamId, StreamId) = ("acme/conversation/a".parse().unwrap(), "other/conversation/a".parse().unwrap());
        let volatile = Volatile::new();
        assert_eq!(volatile.publish(&a, typing(0)), 0);
        let (mut one, two, mut other) = (volatile.subscribe(&a), volatile.subscribe(&a), volatile.subscribe(&b));
        assert_eq!(volatile.publish(&a, typing(1)), 2);
        assert_eq!(one.next().now_or_never(), Some(Some(Received::Event(typing(1)))));
        assert_eq!(
            Box::pin(two.into_stream()).next().now_or_never(),
            Some(Some(Received::Event(typing(1))))
        );
        assert_eq!(other.next().now_or_never(), None);
        assert_eq!(volatile.listened(), 2);
        drop((one, other));
        assert_eq!(volatile.listened(), 0);
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_is_told_how_many() {
        let stream: StreamId = "acme/conversation/a".parse().unwrap();
        let volatile = Volatile::new();
        let mut slow = volatile.subscribe(&stream);
        for n in 0..VOLATILE_QUEUE_MAX + 3 {
            volatile.publish(&stream, typing(n));
        }
        assert_eq!(slow.next().now_or_never(), Some(Some(Received::Dropped(3))));
        assert_eq!(slow.next().now_or_never(), Some(Some(Received::Event(typing(3)))));
    }

    #[test]
    fn instances_of_entities_are_known_and_of_nothing_else() {
        let volatile = Volatile::new();
        let one = Instance {
            id: EntityId::from_static("i1"),
            status: InstanceStatus::Available,
            load: 3,
        };
        let (entity, talk): (StreamId, StreamId) = ("acme/entity/a".parse().unwrap(), "acme/conversation/a".parse().unwrap());
        volatile.publish(&entity, VolatileEvent::Instance(one.clone()));
        volatile.heard(vec![RemoteMessage {
            from: "n2".into(),
            stream: talk.clone(),
            event: VolatileEvent::Instance(one.clone()),
        }]);
        assert_eq!(volatile.instances(&entity), [one]);
        assert_eq!(volatile.instances(&talk), []);
    }

    #[test]
    fn the_wire_form_names_its_type() {
        let delta = VolatileEvent::Delta {
            turn: "t1".into(),
            agent: PrincipalId::from_static("bot"),
            index: 0,
            text: "Hi".into(),
        };
        let json = serde_json::json!({"type": "delta", "data": {"turn": "t1", "agent": "bot", "index": 0, "text": "Hi"}});
        assert_eq!(serde_json::to_value(&delta).unwrap(), json);
        assert_eq!(serde_json::from_value::<VolatileEvent>(json).unwrap(), delta);
    }
}
