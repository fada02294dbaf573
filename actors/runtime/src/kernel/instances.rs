//! Which instances of an entity there are at present, as they say themselves: known for a while, and never in the log.
//!
//! What was not heard of again in time is forgotten, and everything is when the node stops: whoever is there says so again.

use quipu_schemas::{
    ids::{EntityId, StreamId},
    limits::{INSTANCE_KNOWN_MS, INSTANCES_MAX, INSTANCES_OF_ENTITY_MAX},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceStatus {
    /// Takes work.
    Available,
    /// Works, and takes no more.
    Busy,
    /// Gone, or about to go.
    Offline,
}

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its name among the entity's instances.
    pub id: EntityId,
    /// How it is.
    pub status: InstanceStatus,
    /// How loaded it is, from 0 (idle) to 100 (full).
    #[serde(default)]
    pub load: u8,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    status: InstanceStatus,
    load: u8,
    at: u64,
}

/// The instances that a node has heard of. Times are milliseconds of a clock that never goes back.
#[derive(Debug, Default)]
pub struct Instances {
    by_entity: BTreeMap<StreamId, BTreeMap<EntityId, Heard>>,
    count: usize,
}

impl Instances {
    /// An instance has said how it is. Where too many are known, those that were not heard of in time go, and then what is said is
    /// not kept: whoever is known stays known.
    pub fn hear(&mut self, entity: &StreamId, instance: &Instance, now: u64) {
        let heard = Heard {
            status: instance.status,
            load: instance.load.min(100),
            at: now,
        };
        if let Some(known) = self.by_entity.get_mut(entity).and_then(|of| of.get_mut(&instance.id)) {
            *known = heard;
            return;
        }
        if self.count >= INSTANCES_MAX || self.by_entity.get(entity).is_some_and(|of| of.len() >= INSTANCES_OF_ENTITY_MAX) {
            self.forget(now);
        }
        let of = self.by_entity.get(entity).map_or(0, BTreeMap::len);
        if self.count >= INSTANCES_MAX || of >= INSTANCES_OF_ENTITY_MAX {
            return;
        }
        self.by_entity.entry(entity.clone()).or_default().insert(instance.id.clone(), heard);
        self.count += 1;
    }

    /// Those of an entity that were heard of in time: the ones that take work first, and of those the least loaded.
    pub fn of(&self, entity: &StreamId, now: u64) -> Vec<Instance> {
        let of = self.by_entity.get(entity).into_iter().flatten();
        let mut known: Vec<Instance> = of
            .filter(|(_, heard)| is_known(heard, now))
            .map(|(id, heard)| Instance {
                id: id.clone(),
                status: heard.status,
                load: heard.load,
            })
            .collect();
        known.sort_by_key(|instance| (instance.status, instance.load));
        known
    }

    fn forget(&mut self, now: u64) {
        self.by_entity.retain(|_, of| {
            of.retain(|_, heard| is_known(heard, now));
            !of.is_empty()
        });
        self.count = self.by_entity.values().map(BTreeMap::len).sum();
    }
}

fn is_known(heard: &Heard, now: u64) -> bool {
    now.saturating_sub(heard.at) < INSTANCE_KNOWN_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(n: usize) -> StreamId {
        format!("acme/entity/ent_{n}").parse().unwrap()
    }
    fn instance(id: &str, status: InstanceStatus, load: u8) -> Instance {
        Instance {
            id: EntityId::parse(id).unwrap(),
            status,
            load,
        }
    }

    #[test]
    fn the_least_loaded_that_takes_work_comes_first() {
        let mut known = Instances::default();
        for (id, status, load) in [
            ("a", InstanceStatus::Busy, 1),
            ("b", InstanceStatus::Available, 70),
            ("c", InstanceStatus::Available, 200),
            ("d", InstanceStatus::Offline, 0),
            ("e", InstanceStatus::Available, 5),
        ] {
            known.hear(&entity(1), &instance(id, status, load), 0);
        }
        let order: Vec<_> = known.of(&entity(1), 0).iter().map(|one| (one.id.to_string(), one.load)).collect();
        let expected = [("e", 5), ("b", 70), ("c", 100), ("a", 1), ("d", 0)];
        assert_eq!(order, expected.map(|(id, load)| (id.to_owned(), load)));
        assert!(known.of(&entity(2), 0).is_empty());
    }

    #[test]
    fn an_instance_that_is_silent_is_forgotten_and_makes_room() {
        let mut known = Instances::default();
        for n in 0..INSTANCES_OF_ENTITY_MAX {
            known.hear(&entity(1), &instance(&format!("i{n}"), InstanceStatus::Busy, 0), 0);
        }
        let late = instance("late", InstanceStatus::Available, 0);
        known.hear(&entity(1), &late, INSTANCE_KNOWN_MS - 1);
        assert_eq!(known.of(&entity(1), 0).len(), INSTANCES_OF_ENTITY_MAX);
        assert!(!known.of(&entity(1), 0).contains(&late), "whoever is known stays known");
        known.hear(&entity(1), &late, INSTANCE_KNOWN_MS);
        assert_eq!(known.of(&entity(1), INSTANCE_KNOWN_MS), [late]);
        assert_eq!(known.count, 1);
    }

    #[test]
    fn a_node_knows_so_many_instances_and_no_more() {
        let mut known = Instances::default();
        for n in 0..INSTANCES_MAX + 10 {
            known.hear(&entity(n), &instance("i", InstanceStatus::Busy, 0), 5);
        }
        assert_eq!((known.count, known.by_entity.len()), (INSTANCES_MAX, INSTANCES_MAX));
    }
}
