//! The world that effects reach: an idempotent receiver that counts deliveries by key.

use quipu_schemas::reaction::ReactionKey;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Sink {
    /// Arrivals by key.
    arrived: BTreeMap<ReactionKey, u64>,
}

impl Sink {
    pub(crate) fn arrive(&mut self, key: &ReactionKey) {
        *self.arrived.entry(key.clone()).or_default() += 1;
    }
    pub(crate) fn delivered(&self) -> u64 {
        self.arrived.len() as u64
    }
    pub(crate) fn count(&self, key: &ReactionKey) -> u64 {
        self.arrived.get(key).copied().unwrap_or(0)
    }
}
