//! Which entities are in memory, and how many commands wait for each.

use crate::entity_actor::EntityMsg;
use quipu_schemas::{context::Millis, ids::StreamId};
use ractor::{ActorId, ActorRef};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

const SHARDS: u16 = 64;

/// An entity in memory.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) actor: ActorRef<EntityMsg>,
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) last_used: Arc<AtomicU64>,
}

/// Counts one waiting command until it is handled.
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) type Shard = BTreeMap<StreamId, Slot>;

/// The active entities, sharded by stream.
pub(crate) struct Registry {
    shards: Vec<Mutex<Shard>>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// The shard that holds `stream`; commands are sent under its lock.
    pub(crate) fn shard(&self, stream: &StreamId) -> MutexGuard<'_, Shard> {
        let shard = usize::from(stream.partition(SHARDS));
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
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
            shard.remove(stream);
        }
    }

    pub(crate) fn remove_if_idle(&self, stream: &StreamId, actor: ActorId) -> bool {
        let mut shard = self.shard(stream);
        let idle = shard
            .get(stream)
            .is_some_and(|slot| slot.actor.get_id() == actor && slot.waiting.load(Ordering::Acquire) == 0);
        if idle {
            shard.remove(stream);
        }
        idle
    }

    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    /// Entities not used since `before`; when more than `keep` are active, also the least recently used above it.
    pub(crate) fn idle(&self, before: Millis, keep: usize) -> Vec<ActorRef<EntityMsg>> {
        let mut all: Vec<(u64, ActorRef<EntityMsg>)> = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                shard
                    .values()
                    .map(|slot| (slot.last_used.load(Ordering::Relaxed), slot.actor.clone())),
            );
        }
        all.sort_by_key(|(used, _)| *used);
        let excess = all.len().saturating_sub(keep);
        all.into_iter()
            .enumerate()
            .filter(|(at, (used, _))| *at < excess || *used < before)
            .map(|(_, (_, actor))| actor)
            .collect()
    }

    /// Takes out every entity of a partition.
    pub(crate) fn remove_partition(&self, partition: u16, partitions: u16) -> Vec<ActorRef<EntityMsg>> {
        let mut removed = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|stream, slot| {
                let stays = stream.partition(partitions) != partition;
                if !stays {
                    removed.push(slot.actor.clone());
                }
                stays
            });
        }
        removed
    }

    /// Commands that wait for entities of a partition.
    pub(crate) fn waiting(&self, partition: u16, partitions: u16) -> usize {
        let of_shard = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let of_partition = shard.iter().filter(|(stream, _)| stream.partition(partitions) == partition);
            of_partition.map(|(_, slot)| slot.waiting.load(Ordering::Acquire)).sum::<usize>()
        };
        self.shards.iter().map(of_shard).sum()
    }

    pub(crate) fn find(&self, actor: ActorId) -> Option<StreamId> {
        self.shards.iter().find_map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard
                .iter()
                .find(|(_, slot)| slot.actor.get_id() == actor)
                .map(|(stream, _)| stream.clone())
        })
    }

    pub(crate) fn sample(&self, partition: u16, partitions: u16, most: usize) -> Vec<StreamId> {
        let mut streams = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
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
