//! Whose turn it is: one org after the other, and within an org whoever came first.

use quipu_schemas::{ids::OrgId, limits::FEED_READERS_MAX};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Unbounded},
};

/// What waits, by org. An org that has much waiting makes another wait for one of its own at most.
#[derive(Debug)]
pub struct Turns<T> {
    waiting: BTreeMap<OrgId, VecDeque<T>>,
    /// The org served last.
    last: Option<OrgId>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            last: None,
        }
    }
}

impl<T> Turns<T> {
    /// Adds one, behind those of its org.
    pub fn add(&mut self, org: OrgId, one: T) {
        self.waiting.entry(org).or_default().push_back(one);
    }

    /// Takes out whoever is next.
    #[expect(clippy::should_implement_trait, reason = "an end is none for good")]
    pub fn next(&mut self) -> Option<T> {
        let behind = self.last.as_ref().and_then(|last| {
            let mut behind = self.waiting.range::<OrgId, _>((Excluded(last), Unbounded));
            behind.next().map(|(org, _)| org.clone())
        });
        let org = behind.or_else(|| self.waiting.keys().next().cloned())?;
        let waiting = self.waiting.get_mut(&org)?;
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&org);
        }
        self.last = Some(org);
        next
    }
}

/// How many feeds read the log at a time: reading takes half of the processors at most, the rest is for commands.
pub fn feed_readers(cores: usize) -> usize {
    (cores / 2).clamp(1, FEED_READERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(name: &'static str) -> OrgId {
        OrgId::from_static(name)
    }

    #[test]
    fn one_org_after_the_other_has_its_turn() {
        let mut turns = Turns::default();
        for n in 0..1_000 {
            turns.add(org("large"), ("large", n));
        }
        assert_eq!(turns.next(), Some(("large", 0)));
        for n in 0..3 {
            turns.add(org("small"), ("small", n));
            turns.add(org("a"), ("a", n));
        }
        let order: Vec<_> = std::iter::from_fn(|| turns.next()).take(10).collect();
        let expected = [
            ("small", 0),
            ("a", 0),
            ("large", 1),
            ("small", 1),
            ("a", 1),
            ("large", 2),
            ("small", 2),
            ("a", 2),
            ("large", 3),
            ("large", 4),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn nothing_waits_and_nothing_is_kept() {
        let mut turns = Turns::default();
        assert_eq!(turns.next(), None::<u8>);
        turns.add(org("a"), 1);
        assert_eq!((turns.next(), turns.next()), (Some(1), None));
        assert!(turns.waiting.is_empty());
    }

    #[test]
    fn readers_take_half_of_the_processors() {
        let of = [0, 1, 2, 3, 4, 8, 64].map(feed_readers);
        assert_eq!(of, [1, 1, 1, 1, 2, 4, 4]);
    }
}
