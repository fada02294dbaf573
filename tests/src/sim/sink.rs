//! The world that effects reach: an idempotent receiver that takes each message id once.

use quipu_schemas::reaction::ReactionKey;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Sink {
    /// Message ids by effect.
    taken: BTreeMap<ReactionKey, BTreeSet<String>>,
}

impl Sink {
    pub(crate) fn arrive(&mut self, key: &ReactionKey, id: String) {
        self.taken.entry(key.clone()).or_default().insert(id);
    }
    pub(crate) fn delivered(&self) -> u64 {
        self.taken.len() as u64
    }
    /// How often the receiver took an effect for a new one.
    pub(crate) fn count(&self, key: &ReactionKey) -> usize {
        self.taken.get(key).map_or(0, BTreeSet::len)
    }
    /// Effects that the receiver took more than once.
    pub(crate) fn doubled(&self) -> impl Iterator<Item = &ReactionKey> {
        self.taken.iter().filter(|(_, ids)| ids.len() > 1).map(|(key, _)| key)
    }
}
