//! The pauses of a loop that tries until it succeeds, spread by chance of this machine: for shells. Machines draw theirs from a seed
//! that they are given ([`Jitter::seeded`]).

use quipu_schemas::{context::Millis, pause::Jitter};
use std::time::Duration;

/// Chance that differs each time. Where the system has no entropy, all are alike.
pub fn jitter() -> Jitter {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).ok();
    Jitter::seeded(u64::from_le_bytes(seed))
}

/// The pauses of one loop that tries something until it succeeds. It counts the failures; whoever loops sleeps.
#[derive(Debug, Clone)]
pub struct Pause {
    bounds: (Millis, Millis),
    failures: u32,
    jitter: Jitter,
}

impl Pause {
    /// For a loop whose first and longest pause are given.
    pub fn new(bounds: (Millis, Millis)) -> Self {
        Self {
            bounds,
            failures: 0,
            jitter: jitter(),
        }
    }

    /// How long to wait after one more failure.
    pub fn next_ms(&mut self) -> Millis {
        self.failures = self.failures.saturating_add(1);
        self.jitter.pause_ms(self.bounds, self.failures)
    }

    /// The same as a duration.
    pub fn next_wait(&mut self) -> Duration {
        Duration::from_millis(self.next_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (Millis, Millis) = (50, 5_000);

    #[test]
    fn a_loop_waits_longer_each_time() {
        let mut pause = Pause::new(BOUNDS);
        let waits: Vec<_> = (0..20).map(|_| pause.next_ms()).collect();
        assert!(waits[0] <= 50 && waits[19] >= 2_500, "{waits:?}");
        assert!(waits.iter().all(|ms| (25..=5_000).contains(ms)), "{waits:?}");
    }
}
