//! How the reactions in a relay's memory stand, counted.

use super::{Relay, Stage};

/// Reactions in memory, by where they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Ready, or waiting for their order or their org.
    pub waiting: u64,
    /// Being performed or recorded.
    pub under_way: u64,
    /// Failed, and due again later.
    pub retrying: u64,
}

impl Standing {
    /// Adds another relay's.
    pub fn add(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.under_way += other.under_way;
        self.retrying += other.retrying;
    }
}

impl Relay {
    /// How the reactions in memory stand; dead ones are not among them.
    pub fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for item in self.items.values() {
            match item.stage {
                Stage::Ready => standing.waiting += 1,
                Stage::Submitting | Stage::Running => standing.under_way += 1,
                Stage::Until(_) => standing.retrying += 1,
            }
        }
        standing
    }
}
