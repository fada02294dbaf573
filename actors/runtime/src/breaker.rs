//! A circuit breaker a destination: after failures in a row it refuses calls for a while, then lets single
//! probes through, and closes once enough of them succeed.
//!
//! Pure: `now` is passed in, in milliseconds of any clock that does not go back.

use quipu_schemas::{
    context::Millis,
    limits::{BREAKER_COOL_DOWN_MS, BREAKER_DESTINATIONS_MAX, BREAKER_FAILURES, BREAKER_PROBE_WAIT_MS, BREAKER_SUCCESSES},
};
use std::collections::BTreeMap;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// Calls are refused until then.
    Open {
        /// When the first probe may pass.
        until: Millis,
    },
    /// One probe at a time passes.
    HalfOpen {
        /// Probes that succeeded.
        successes: u32,
        /// Whether a probe is under way.
        probing: bool,
    },
}

/// How a call ended, as far as its destination's health goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The destination worked, whatever it answered.
    Up,
    /// It did not: connection, timeout, 5xx, broken answer.
    Down,
    /// The call says nothing: cancelled, throttled, or never sent.
    Unknown,
}

/// Leave for one call. Give it back with [`Breaker::settle`]; a result from before the breaker's last change
/// of state no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a permit that is never settled blocks the probes of a half-open breaker"]
pub struct Permit {
    generation: u64,
}

/// The breaker is open: try again no sooner than `retry_after_ms` from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("breaker is open for another {retry_after_ms} ms")]
pub struct Open {
    /// Milliseconds from now.
    pub retry_after_ms: u64,
}

/// One destination's breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    state: BreakerState,
    generation: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: BreakerState::Closed { failures: 0 },
            generation: 0,
        }
    }
}

impl Breaker {
    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    fn become_state(&mut self, state: BreakerState) {
        self.state = state;
        self.generation += 1;
    }

    /// Asks leave for one call.
    pub fn admit(&mut self, now: Millis) -> Result<Permit, Open> {
        match self.state {
            BreakerState::Closed { .. } => {}
            BreakerState::Open { until } if now < until => {
                return Err(Open {
                    retry_after_ms: until - now,
                });
            }
            BreakerState::Open { .. } => self.become_state(BreakerState::HalfOpen {
                successes: 0,
                probing: true,
            }),
            BreakerState::HalfOpen { probing: true, .. } => {
                return Err(Open {
                    retry_after_ms: BREAKER_PROBE_WAIT_MS,
                });
            }
            BreakerState::HalfOpen { successes, probing: false } => self.state = BreakerState::HalfOpen { successes, probing: true },
        }
        Ok(Permit {
            generation: self.generation,
        })
    }

    /// Says how a permitted call ended.
    pub fn settle(&mut self, permit: Permit, health: Health, now: Millis) {
        if permit.generation != self.generation {
            return;
        }
        match (self.state, health) {
            (BreakerState::Closed { .. }, Health::Up) => self.state = BreakerState::Closed { failures: 0 },
            (BreakerState::Closed { failures }, Health::Down) if failures + 1 < BREAKER_FAILURES => {
                self.state = BreakerState::Closed { failures: failures + 1 };
            }
            (BreakerState::Closed { .. } | BreakerState::HalfOpen { .. }, Health::Down) => {
                self.become_state(BreakerState::Open {
                    until: now.saturating_add(BREAKER_COOL_DOWN_MS),
                });
            }
            (BreakerState::HalfOpen { successes, .. }, Health::Up) if successes + 1 < BREAKER_SUCCESSES => {
                self.state = BreakerState::HalfOpen {
                    successes: successes + 1,
                    probing: false,
                };
            }
            (BreakerState::HalfOpen { .. }, Health::Up) => self.become_state(BreakerState::Closed { failures: 0 }),
            (BreakerState::HalfOpen { successes, .. }, Health::Unknown) => {
                self.state = BreakerState::HalfOpen { successes, probing: false };
            }
            (BreakerState::Closed { .. }, Health::Unknown) | (BreakerState::Open { .. }, _) => {}
        }
    }
}

/// The breakers of all destinations. Only those with something to remember take memory, at most
/// [`BREAKER_DESTINATIONS_MAX`].
#[derive(Debug, Default)]
pub struct Breakers {
    by_destination: BTreeMap<String, Breaker>,
}

impl Breakers {
    /// Asks leave for one call to `destination`.
    pub fn admit(&mut self, destination: &str, now: Millis) -> Result<Permit, Open> {
        match self.by_destination.get_mut(destination) {
            Some(breaker) => breaker.admit(now),
            None => Breaker::default().admit(now),
        }
    }

    /// Says how a permitted call to `destination` ended.
    pub fn settle(&mut self, destination: &str, permit: Permit, health: Health, now: Millis) {
        let mut breaker = self.by_destination.remove(destination).unwrap_or_default();
        breaker.settle(permit, health, now);
        if breaker.state == (BreakerState::Closed { failures: 0 }) {
            return;
        }
        if self.by_destination.len() >= BREAKER_DESTINATIONS_MAX {
            let closed = self
                .by_destination
                .iter()
                .find(|(_, b)| matches!(b.state, BreakerState::Closed { .. }));
            let victim = closed.or_else(|| self.by_destination.iter().next()).map(|(name, _)| name.clone());
            victim.and_then(|name| self.by_destination.remove(&name));
        }
        self.by_destination.insert(destination.to_owned(), breaker);
    }

    /// Where the breaker of `destination` stands.
    pub fn state(&self, destination: &str) -> BreakerState {
        self.by_destination
            .get(destination)
            .map_or(BreakerState::Closed { failures: 0 }, Breaker::state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(breaker: &mut Breaker, health: Health, now: Millis) {
        let permit = breaker.admit(now).unwrap();
        breaker.settle(permit, health, now);
    }

    fn opened(now: Millis) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..BREAKER_FAILURES {
            call(&mut breaker, Health::Down, now);
        }
        assert_eq!(
            breaker.state(),
            BreakerState::Open {
                until: now + BREAKER_COOL_DOWN_MS
            }
        );
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..BREAKER_FAILURES - 1 {
            call(&mut breaker, Health::Down, 0);
        }
        call(&mut breaker, Health::Unknown, 0);
        assert_eq!(
            breaker.state(),
            BreakerState::Closed {
                failures: BREAKER_FAILURES - 1
            }
        );
        call(&mut breaker, Health::Up, 0);
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
        opened(7);
    }

    #[test]
    fn open_refuses_until_its_time_and_then_lets_one_probe_through() {
        let mut breaker = opened(1_000);
        assert_eq!(breaker.admit(1_000 + BREAKER_COOL_DOWN_MS - 1), Err(Open { retry_after_ms: 1 }));
        let probe = breaker.admit(1_000 + BREAKER_COOL_DOWN_MS).unwrap();
        assert_eq!(
            breaker.state(),
            BreakerState::HalfOpen {
                successes: 0,
                probing: true
            }
        );
        assert_eq!(
            breaker.admit(1_000 + BREAKER_COOL_DOWN_MS),
            Err(Open {
                retry_after_ms: BREAKER_PROBE_WAIT_MS
            })
        );
        breaker.settle(probe, Health::Unknown, 40_000);
        assert_eq!(
            breaker.state(),
            BreakerState::HalfOpen {
                successes: 0,
                probing: false
            }
        );
    }

    #[test]
    fn enough_probes_close_it_and_a_failed_one_opens_it_again() {
        let now = BREAKER_COOL_DOWN_MS;
        let mut breaker = opened(0);
        for n in 1..BREAKER_SUCCESSES {
            call(&mut breaker, Health::Up, now);
            assert_eq!(
                breaker.state(),
                BreakerState::HalfOpen {
                    successes: n,
                    probing: false
                }
            );
        }
        call(&mut breaker, Health::Up, now);
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });

        let mut breaker = opened(0);
        call(&mut breaker, Health::Up, now);
        call(&mut breaker, Health::Down, now + 5);
        assert_eq!(
            breaker.state(),
            BreakerState::Open {
                until: now + 5 + BREAKER_COOL_DOWN_MS
            }
        );
    }

    #[test]
    fn a_result_from_before_the_last_change_does_not_count() {
        let mut breaker = Breaker::default();
        let old = breaker.admit(0).unwrap();
        for _ in 0..BREAKER_FAILURES {
            call(&mut breaker, Health::Down, 0);
        }
        let open = breaker.state();
        breaker.settle(old, Health::Up, 1);
        assert_eq!(breaker.state(), open);
        let probe = breaker.admit(BREAKER_COOL_DOWN_MS).unwrap();
        breaker.settle(old, Health::Down, BREAKER_COOL_DOWN_MS);
        assert_eq!(
            breaker.state(),
            BreakerState::HalfOpen {
                successes: 0,
                probing: true
            }
        );
        breaker.settle(probe, Health::Up, BREAKER_COOL_DOWN_MS);
    }

    #[test]
    fn destinations_are_apart_and_healthy_ones_take_no_memory() {
        let mut breakers = Breakers::default();
        for _ in 0..BREAKER_FAILURES {
            let permit = breakers.admit("a:443", 0).unwrap();
            breakers.settle("a:443", permit, Health::Down, 0);
        }
        assert!(breakers.admit("a:443", 1).is_err());
        let permit = breakers.admit("b:443", 1).unwrap();
        breakers.settle("b:443", permit, Health::Up, 1);
        assert_eq!(breakers.by_destination.len(), 1);
        for n in 0..BREAKER_DESTINATIONS_MAX + 10 {
            let name = format!("c{n}:443");
            let permit = breakers.admit(&name, 1).unwrap();
            breakers.settle(&name, permit, Health::Down, 1);
        }
        assert_eq!(breakers.by_destination.len(), BREAKER_DESTINATIONS_MAX);
        assert!(
            matches!(breakers.state("a:443"), BreakerState::Open { .. }),
            "an open breaker outlives closed ones"
        );
    }
}
