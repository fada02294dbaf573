//! Which entities are in memory, and how many commands wait for each.

use crate::mailbox::{EntityMsg, Waiting};
use parking_lot::{Mutex, MutexGuard};
use quipu_schemas::ids::StreamId;
use ractor::{ActorId, ActorRef};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

const SHARDS: u16 = 64;
/// Shards looked through for idle entities in one go, unless too many entities are awake.
const SHARDS_A_TURN: usize = 8;

/// An entity in memory.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) actor: ActorRef<EntityMsg>,
    pub(crate) waiting: Arc<AtomicUsize>,
    /// When it was last sent a command, by [`Core::monotonic`](crate::core::Core::monotonic).
    pub(crate) last_used: Arc<AtomicU64>,
}

pub(crate) type Shard = BTreeMap<StreamId, Slot>;

/// The active entities, sharded by stream.
pub(crate) struct Registry {
    shards: Vec<Mutex<Shard>>,
    /// Which entity an actor is, for the end of one that crashed. Locked after a shard.
    streams: Vec<Mutex<BTreeMap<ActorId, StreamId>>>,
    /// The shard from which the next ones are put to sleep.
    sleeping_from: AtomicUsize,
    /// Commands that wait for entities, all together.
    mailboxes: Arc<AtomicUsize>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            streams: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sleeping_from: AtomicUsize::new(0),
            mailboxes: Arc::default(),
        }
    }

    /// One more command waits for an entity.
    pub(crate) fn wait(&self, slot: &Slot) -> Waiting {
        Waiting::new([slot.waiting.clone(), self.mailboxes.clone()])
    }

    /// Commands that wait for entities, all together.
    pub(crate) fn mailbox_depth(&self) -> usize {
        self.mailboxes.load(Ordering::Acquire)
    }

    /// The shard that holds `stream`; commands are sent under its lock.
    pub(crate) fn shard(&self, stream: &StreamId) -> MutexGuard<'_, Shard> {
        let shard = usize::from(stream.partition(SHARDS));
        self.shards[shard].lock()
    }

    fn streams(&self, actor: ActorId) -> MutexGuard<'_, BTreeMap<ActorId, StreamId>> {
        let shard = actor.pid() % u64::from(SHARDS);
        self.streams[shard as usize].lock()
    }

    /// Puts a fresh entity into its shard.
    pub(crate) fn insert(&self, shard: &mut Shard, stream: &StreamId, actor: ActorRef<EntityMsg>) -> Slot {
        self.remove_from(shard, stream);
        self.streams(actor.get_id()).insert(actor.get_id(), stream.clone());
        let slot = Slot {
            actor,
            waiting: Arc::default(),
            last_used: Arc::default(),
        };
        shard.insert(stream.clone(), slot.clone());
        slot
    }

    /// Takes an entity out of its shard.
    pub(crate) fn remove_from(&self, shard: &mut Shard, stream: &StreamId) -> Option<ActorRef<EntityMsg>> {
        let actor = shard.remove(stream)?.actor;
        self.streams(actor.get_id()).remove(&actor.get_id());
        Some(actor)
    }

    /// Takes an entity out, if it is in memory.
    pub(crate) fn take(&self, stream: &StreamId) -> Option<ActorRef<EntityMsg>> {
        self.remove_from(&mut self.shard(stream), stream)
    }

    /// Takes out the entity of an actor that ended. One that took itself out is not looked for.
    pub(crate) fn ended(&self, actor: ActorId) -> Option<StreamId> {
        let stream = self.streams(actor).get(&actor).cloned()?;
        self.remove(&stream, actor);
        Some(stream)
    }

    pub(crate) fn notify(&self, stream: &StreamId, message: EntityMsg) {
        let actor = self.shard(stream).get(stream).map(|slot| slot.actor.clone());
        if let Some(actor) = actor {
            let _ = actor.send_message(message);
        }
    }

    pub(crate) fn remove(&self, stream: &StreamId, actor: ActorId) {
        let mut shard = self.shard(stream);
        if shard.get(stream).is_some_and(|slot| slot.actor.get_id() == actor) {
            self.remove_from(&mut shard, stream);
        }
    }

    pub(crate) fn remove_if_idle(&self, stream: &StreamId, actor: ActorId) -> bool {
        let mut shard = self.shard(stream);
        let idle = shard
            .get(stream)
            .is_some_and(|slot| slot.actor.get_id() == actor && slot.waiting.load(Ordering::Acquire) == 0);
        if idle {
            self.remove_from(&mut shard, stream);
        }
        idle
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Up to `most` entities not used since `before`; when more than `keep` are active, also the least recently used above
    /// it, all of them. The next call goes on where this one stopped.
    pub(crate) fn idle(&self, before: u64, keep: usize, most: usize) -> Vec<ActorRef<EntityMsg>> {
        let excess = self.len().saturating_sub(keep);
        let before = if excess == 0 { before } else { before.max(self.oldest(excess)) };
        let (most, shards) = (most.max(excess), self.shards.len());
        let turn = if excess == 0 { SHARDS_A_TURN } else { shards };
        let from = self.sleeping_from.load(Ordering::Relaxed);
        let (mut idle, mut at) = (Vec::new(), from);
        while at < from + turn && idle.len() < most {
            let shard = self.shards[at % shards].lock();
            let unused = shard.values().filter(|slot| slot.last_used.load(Ordering::Relaxed) < before);
            idle.extend(unused.take(most - idle.len()).map(|slot| slot.actor.clone()));
            at += 1;
        }
        // A shard that was cut short is looked through again.
        let next = if idle.len() < most { at } else { at.saturating_sub(1) };
        self.sleeping_from.store(next % shards, Ordering::Relaxed);
        idle
    }

    /// The time before which so many were last used.
    fn oldest(&self, many: usize) -> u64 {
        let mut used: Vec<u64> = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            used.extend(shard.values().map(|slot| slot.last_used.load(Ordering::Relaxed)));
        }
        if many == 0 || used.is_empty() {
            return 0;
        }
        let at = (many - 1).min(used.len() - 1);
        *used.select_nth_unstable(at).1 + 1
    }

    /// Takes out every entity of a partition.
    pub(crate) fn remove_partition(&self, partition: u16, partitions: u16) -> Vec<ActorRef<EntityMsg>> {
        let mut removed = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let of_partition: Vec<StreamId> = shard.keys().filter(|s| s.partition(partitions) == partition).cloned().collect();
            removed.extend(of_partition.iter().filter_map(|stream| self.remove_from(&mut shard, stream)));
        }
        removed
    }

    /// Commands that wait for entities of a partition.
    pub(crate) fn waiting(&self, partition: u16, partitions: u16) -> usize {
        let of_shard = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            let of_partition = shard.iter().filter(|(stream, _)| stream.partition(partitions) == partition);
            of_partition.map(|(_, slot)| slot.waiting.load(Ordering::Acquire)).sum::<usize>()
        };
        self.shards.iter().map(of_shard).sum()
    }

    pub(crate) fn sample(&self, partition: u16, partitions: u16, most: usize) -> Vec<StreamId> {
        let mut streams = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            streams.extend(
                shard
                    .keys()
                    .filter(|s| s.partition(partitions) == partition)
                    .take(most.saturating_sub(streams.len()))
                    .cloned(),
            );
        }
        streams
    }
}

#[cfg(test)]
mod tests;
