//! How often something happened lately.

use quipu_schemas::limits::{TROUBLE_KEPT_MAX, TROUBLE_RECENT_MS};
use std::collections::VecDeque;

/// The moments of the last [`TROUBLE_RECENT_MS`], at most [`TROUBLE_KEPT_MAX`] of them.
#[derive(Debug, Clone, Default)]
pub struct Recent(VecDeque<u64>);

impl Recent {
    /// It happened.
    pub fn add(&mut self, now: u64) {
        while self.0.front().is_some_and(|at| !is_recent(*at, now)) || self.0.len() >= TROUBLE_KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// How often it happened lately.
    pub fn count(&self, now: u64) -> u64 {
        self.0.iter().rev().take_while(|at| is_recent(**at, now)).count() as u64
    }
}

fn is_recent(at: u64, now: u64) -> bool {
    at.saturating_add(TROUBLE_RECENT_MS) > now
}
