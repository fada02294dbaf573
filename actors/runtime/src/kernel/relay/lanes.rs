//! Ready work by org and destination, and the slots that it shares.
//!
//! Slots go round robin: one org after the other, and within an org one destination after the other. An org may hold as
//! many slots as are left free, and a destination of an org half as many: alone, an org takes half of the slots and a
//! destination a third, and whoever comes later always finds some, however long the others' receivers take.

use quipu_schemas::{ids::OrgId, reaction::ReactionKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
};

/// An org's ready work by destination.
#[derive(Default)]
struct Waiting {
    destinations: BTreeMap<String, BTreeSet<ReactionKey>>,
    /// The destination served last.
    last: String,
}

/// An org's slots by destination.
#[derive(Default)]
struct Held {
    all: usize,
    destinations: BTreeMap<String, usize>,
}

pub(super) struct Lanes {
    slots: usize,
    taken: usize,
    waiting: BTreeMap<OrgId, Waiting>,
    held: BTreeMap<OrgId, Held>,
    /// The org served last.
    last: Option<OrgId>,
}

impl Lanes {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            taken: 0,
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
            last: None,
        }
    }

    pub(super) fn add(&mut self, destination: &str, key: &ReactionKey) {
        let waiting = self.waiting.entry(key.stream.org.clone()).or_default();
        waiting.destinations.entry(destination.to_owned()).or_default().insert(key.clone());
    }

    pub(super) fn remove(&mut self, destination: &str, key: &ReactionKey) {
        let Some(waiting) = self.waiting.get_mut(&key.stream.org) else {
            return;
        };
        if let Some(keys) = waiting.destinations.get_mut(destination) {
            keys.remove(key);
            if keys.is_empty() {
                waiting.destinations.remove(destination);
            }
        }
        if waiting.destinations.is_empty() {
            self.waiting.remove(&key.stream.org);
        }
    }

    /// Takes the next one out, with a slot that [`Lanes::release`] gives back.
    pub(super) fn next(&mut self) -> Option<ReactionKey> {
        let free = self.slots.saturating_sub(self.taken);
        let (org, destination) = self.turn(free)?;
        let waiting = self.waiting.get_mut(&org)?;
        waiting.last.clone_from(&destination);
        let key = waiting.destinations.get(&destination)?.first()?.clone();
        self.remove(&destination, &key);
        self.last = Some(org.clone());
        self.taken += 1;
        let held = self.held.entry(org).or_default();
        held.all += 1;
        *held.destinations.entry(destination).or_default() += 1;
        Some(key)
    }

    /// Whose turn it is: whoever comes after the last one served and has a share left.
    fn turn(&self, free: usize) -> Option<(OrgId, String)> {
        if free == 0 {
            return None;
        }
        let behind = match &self.last {
            Some(last) => self.waiting.range((Excluded(last), Unbounded)),
            None => self.waiting.range::<OrgId, _>(..),
        };
        let before = self.last.as_ref().map(|last| self.waiting.range(..=last)).into_iter().flatten();
        // An org over its share holds at least as many slots as are free, so only a few are passed over.
        behind.chain(before).find_map(|(org, waiting)| {
            let held = self.held.get(org);
            if held.map_or(0, |held| held.all) >= free {
                return None;
            }
            let has_share = |destination: &&String| 2 * held.and_then(|h| h.destinations.get(*destination)).copied().unwrap_or(0) < free;
            let behind = waiting.destinations.range::<String, _>((Excluded(&waiting.last), Unbounded));
            let before = waiting.destinations.range::<String, _>(..=&waiting.last);
            let destination = behind.chain(before).map(|(destination, _)| destination).find(has_share)?;
            Some((org.clone(), destination.clone()))
        })
    }

    pub(super) fn release(&mut self, destination: &str, org: &OrgId) {
        let Some(held) = self.held.get_mut(org) else { return };
        self.taken -= 1;
        held.all -= 1;
        if let Some(count) = held.destinations.get_mut(destination) {
            *count -= 1;
            if *count == 0 {
                held.destinations.remove(destination);
            }
        }
        if held.all == 0 {
            self.held.remove(org);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(org: &str, version: u64) -> ReactionKey {
        ReactionKey {
            stream: format!("{org}/run/r").parse().unwrap(),
            version,
            ordinal: 0,
        }
    }

    fn fill(lanes: &mut Lanes, org: &str, destination: &str, count: u64) {
        (1..=count).for_each(|version| lanes.add(destination, &key(org, version)));
    }

    fn take(lanes: &mut Lanes) -> Vec<String> {
        std::iter::from_fn(|| lanes.next()).map(|key| key.stream.org.to_string()).collect()
    }

    #[test]
    fn one_destination_takes_a_third_and_one_org_half() {
        let mut lanes = Lanes::new(128);
        fill(&mut lanes, "evil", "slow", 1_400);
        assert_eq!(take(&mut lanes).len(), 43);
        (0..10).for_each(|n| fill(&mut lanes, "evil", &format!("other{n}"), 100));
        assert_eq!(take(&mut lanes).len(), 64 - 43);
    }

    #[test]
    fn latecomers_find_slots_while_others_hang() {
        let mut lanes = Lanes::new(128);
        for (n, expected) in [43, 29, 19, 13, 8, 6, 4, 2, 2, 1, 1].into_iter().enumerate() {
            fill(&mut lanes, &format!("org{n}"), "slow", 500);
            assert_eq!(take(&mut lanes).len(), expected, "org {n}");
        }
    }

    #[test]
    fn a_freed_slot_goes_to_whoever_was_served_least_recently() {
        let mut lanes = Lanes::new(3);
        for org in ["a", "b", "c"] {
            fill(&mut lanes, org, "x", 3);
        }
        assert_eq!(take(&mut lanes), ["a", "b", "c"]);
        for org in ["a", "b", "c", "a"] {
            lanes.release("x", &OrgId::parse(org).unwrap());
            assert_eq!(take(&mut lanes), [org], "nobody else has a share left");
        }
        for org in ["a", "b", "c"] {
            lanes.release("x", &OrgId::parse(org).unwrap());
        }
        assert_eq!(
            take(&mut lanes),
            ["b", "c"],
            "from behind the last one served, and a has nothing left"
        );
    }

    #[test]
    fn destinations_of_an_org_take_turns() {
        let mut lanes = Lanes::new(8);
        fill(&mut lanes, "a", "x", 1);
        lanes.add("y", &key("a", 7));
        lanes.add("x", &key("a", 2));
        let versions: Vec<u64> = std::iter::from_fn(|| lanes.next()).map(|key| key.version).collect();
        assert_eq!(versions, [1, 7, 2]);
    }

    #[test]
    fn what_is_removed_is_not_handed_out() {
        let mut lanes = Lanes::new(8);
        fill(&mut lanes, "a", "x", 2);
        lanes.remove("x", &key("a", 1));
        assert_eq!(lanes.next(), Some(key("a", 2)));
        assert_eq!(lanes.next(), None);
        assert!(lanes.waiting.is_empty());
    }
}
