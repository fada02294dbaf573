//! Order by key, bounded by whoever uses it: of one key one item is at work, of different keys many.

use std::collections::{BTreeMap, VecDeque};

/// Items that wait for those of the same key before them.
#[derive(Debug)]
pub(super) struct Lanes<K, T> {
    /// A key is here while an item of it waits or is at work.
    waiting: BTreeMap<K, VecDeque<T>>,
    /// Keys of which an item may begin, the longest waiting first.
    ready: VecDeque<K>,
    held: usize,
}

impl<K: Ord + Clone, T> Lanes<K, T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            held: 0,
        }
    }

    /// How many items wait, those at work left out.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn push(&mut self, key: K, item: T) {
        self.held += 1;
        match self.waiting.get_mut(&key) {
            Some(queue) => queue.push_back(item),
            None => {
                self.waiting.insert(key.clone(), VecDeque::from([item]));
                self.ready.push_back(key);
            }
        }
    }

    /// The next item that may begin; [`Lanes::done`] must follow.
    pub(super) fn start(&mut self) -> Option<(K, T)> {
        let key = self.ready.pop_front()?;
        let item = self.waiting.get_mut(&key)?.pop_front()?;
        self.held -= 1;
        Some((key, item))
    }

    /// Drops what waits under keys that fit; how many items. Of those at work [`Lanes::done`] may follow or not.
    #[cfg(feature = "kafka")]
    pub(super) fn forget(&mut self, fits: impl Fn(&K) -> bool) -> usize {
        let before = self.held;
        self.ready.retain(|key| !fits(key));
        let held = &mut self.held;
        self.waiting.retain(|key, queue| {
            let goes = fits(key);
            if goes {
                *held -= queue.len();
            }
            !goes
        });
        before - self.held
    }

    /// The item at work of this key is finished.
    pub(super) fn done(&mut self, key: &K) {
        if self.waiting.get(key).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(key);
        } else if self.waiting.contains_key(key) {
            self.ready.push_back(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_a_key_are_in_order_and_keys_independent() {
        let mut lanes = Lanes::new();
        for (key, item) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            lanes.push(key, item);
        }
        assert_eq!(
            (lanes.start(), lanes.start(), lanes.start()),
            (Some(("a", 1)), Some(("b", 3)), None)
        );
        lanes.done(&"b");
        assert_eq!((lanes.start(), lanes.held()), (None, 2));
        lanes.done(&"a");
        assert_eq!((lanes.start(), lanes.start()), (Some(("a", 2)), None));
        lanes.push("b", 5);
        lanes.done(&"a");
        assert_eq!((lanes.start(), lanes.start()), (Some(("b", 5)), Some(("a", 4))));
        lanes.done(&"a");
        assert!(!lanes.waiting.is_empty());
        lanes.done(&"b");
        assert!(lanes.waiting.is_empty() && lanes.held() == 0);
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn what_is_forgotten_never_begins() {
        let mut lanes = Lanes::new();
        for (key, item) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
            lanes.push(key, item);
        }
        assert_eq!(lanes.start(), Some(("a", 1)));
        assert_eq!(lanes.forget(|key| *key == "a"), 1);
        lanes.done(&"a");
        assert_eq!((lanes.start(), lanes.start(), lanes.held()), (Some(("b", 3)), None, 1));
    }
}
