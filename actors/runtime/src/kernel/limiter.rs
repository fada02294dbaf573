//! Rates, exactly: no interval of a rate's length lets more through than the rate says, wherever it begins.
//!
//! For each key the times of what was let through are kept while they count, so nothing is estimated. One that came at a millisecond
//! counts until its length has passed and one millisecond more, because it may have come at the end of that millisecond. Memory is
//! bounded: a key's times are at most as many as its rate lets through, and those of one millisecond are one entry. Where there is no
//! room for another key or entry, nothing is let through.

use quipu_schemas::quota::Rate;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What counts under one key.
#[derive(Debug, Default)]
struct Log {
    /// Milliseconds, the earliest first, with how many came in each.
    times: VecDeque<(u64, u32)>,
    /// How many there are.
    count: u64,
    /// When the last of them counts no more.
    free_at: u64,
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its rate.
    pub rate: Rate,
    /// How many more would be let through now.
    pub remaining: u32,
    /// Milliseconds until one more is let through than now; 0 where none counts.
    pub reset_ms: u64,
}

/// Why nothing is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The rate of the key at this place is used up.
    Rate(usize, Standing),
    /// There is no room to count.
    NoRoom,
}

/// Counts what is let through, for keys of any sort.
#[derive(Debug)]
pub struct Limiter<K> {
    logs: BTreeMap<K, Log>,
    /// When each key's log is empty, the earliest first.
    free: BTreeSet<(u64, K)>,
    entries: usize,
    keys_max: usize,
    entries_max: usize,
    now: u64,
}

/// How long one counts.
fn length_ms(rate: Rate) -> u64 {
    u64::from(rate.per_seconds) * 1_000 + 1
}

impl Log {
    /// Forgets what counts no more; how many entries that were.
    fn prune(&mut self, rate: Rate, now: u64) -> usize {
        let before = self.times.len();
        while let Some((at, count)) = self.times.front()
            && at + length_ms(rate) <= now
        {
            self.count -= u64::from(*count);
            self.times.pop_front();
        }
        before - self.times.len()
    }

    fn standing(&self, rate: Rate, now: u64) -> Standing {
        let remaining = u64::from(rate.requests).saturating_sub(self.count);
        // After a rate was lowered more than one must go before one more is let through.
        let mut left = self.count.saturating_sub(u64::from(rate.requests));
        let frees = |(_, count): &&(u64, u32)| {
            let is_last = u64::from(*count) > left;
            left = left.saturating_sub(u64::from(*count));
            is_last
        };
        let first = self.times.iter().find(frees).map(|(at, _)| *at);
        Standing {
            rate,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_ms: first.map_or(0, |at| (at + length_ms(rate)).saturating_sub(now)),
        }
    }
}

impl<K: Ord + Clone> Limiter<K> {
    /// One that counts for so many keys, with so many entries in all.
    pub fn new(keys_max: usize, entries_max: usize) -> Self {
        Self {
            logs: BTreeMap::new(),
            free: BTreeSet::new(),
            entries: 0,
            keys_max,
            entries_max,
            now: 0,
        }
    }

    /// Lets one through that counts under all of these keys, or under none. `now` is elapsed time in milliseconds; one that goes back counts
    /// as the latest. Each key stands there once.
    pub fn take(&mut self, asked: &[(K, Rate)], now: u64) -> Result<Vec<Standing>, Refused> {
        self.now = self.now.max(now);
        let now = self.now;
        self.forget(now);
        let mut fresh = 0;
        for (at, (key, rate)) in asked.iter().enumerate() {
            let Some(log) = self.logs.get_mut(key) else {
                fresh += 1;
                continue;
            };
            self.entries -= log.prune(*rate, now);
            if log.count >= u64::from(rate.requests) {
                return Err(Refused::Rate(at, log.standing(*rate, now)));
            }
        }
        if self.logs.len() + fresh > self.keys_max || self.entries + asked.len() > self.entries_max {
            return Err(Refused::NoRoom);
        }
        Ok(asked.iter().map(|(key, rate)| self.count(key, *rate, now)).collect())
    }

    /// Keys that are counted for.
    pub fn keys(&self) -> usize {
        self.logs.len()
    }

    fn count(&mut self, key: &K, rate: Rate, now: u64) -> Standing {
        let log = self.logs.entry(key.clone()).or_default();
        self.free.remove(&(log.free_at, key.clone()));
        match log.times.back_mut() {
            Some((at, count)) if *at == now => *count += 1,
            _ => {
                log.times.push_back((now, 1));
                self.entries += 1;
            }
        }
        log.count += 1;
        log.free_at = log.free_at.max(now + length_ms(rate));
        self.free.insert((log.free_at, key.clone()));
        log.standing(rate, now)
    }

    /// Forgets keys under which nothing counts any more.
    fn forget(&mut self, now: u64) {
        while let Some((free_at, _)) = self.free.first()
            && *free_at <= now
            && let Some((_, key)) = self.free.pop_first()
        {
            if let Some(log) = self.logs.remove(&key) {
                self.entries -= log.times.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(requests: u32, per_seconds: u32) -> Rate {
        Rate { requests, per_seconds }
    }

    struct Random(u64);
    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }

    #[test]
    fn no_interval_lets_more_through_nor_refuses_for_nothing() {
        let rates = [("a", rate(5, 1)), ("b", rate(9, 3)), ("all", rate(11, 2))];
        for seed in 1..200_u64 {
            let (mut random, mut now) = (Random(seed * 0x9e37_79b9), 10);
            let mut limiter = Limiter::new(10, 1_000);
            // All that was let through ever, by key.
            let mut passed: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            let (mut refused, mut let_through) = (0, 0);
            for _ in 0..400 {
                now += [0, 0, 1, random.below(40), random.below(900)][random.below(5) as usize];
                let asked = [rates[random.below(2) as usize], rates[2]];
                let within = |passed: &BTreeMap<&str, Vec<u64>>, key: &str, rate: Rate| {
                    let times = passed.get(key).into_iter().flatten();
                    times.filter(|at| now - **at <= u64::from(rate.per_seconds) * 1_000).count() as u64
                };
                let is_full = asked
                    .iter()
                    .position(|(key, rate)| within(&passed, key, *rate) >= u64::from(rate.requests));
                match (limiter.take(&asked, now), is_full) {
                    (Ok(standings), None) => {
                        let_through += 1;
                        for ((key, rate), standing) in asked.iter().zip(standings) {
                            passed.entry(key).or_default().push(now);
                            assert_eq!(
                                u64::from(standing.remaining),
                                u64::from(rate.requests) - within(&passed, key, *rate)
                            );
                        }
                    }
                    (Err(Refused::Rate(at, standing)), Some(full)) => {
                        assert_eq!(at, full);
                        let (key, rate) = asked[at];
                        let later = now + standing.reset_ms;
                        let counts = |by: u64| {
                            passed[key]
                                .iter()
                                .filter(|at| by - **at <= u64::from(rate.per_seconds) * 1_000)
                                .count() as u64
                        };
                        assert!(counts(later) < u64::from(rate.requests) && counts(later - 1) >= u64::from(rate.requests));
                        refused += 1;
                    }
                    (answer, full) => panic!("seed {seed} at {now}: {answer:?} where {full:?} is full"),
                }
            }
            assert!(refused > 10 && let_through > 10, "seed {seed}: {refused} {let_through}");
        }
    }

    #[test]
    fn idle_keys_make_room_and_a_full_limiter_refuses() {
        let mut limiter = Limiter::new(2, 3);
        let one = rate(100, 1);
        assert!(limiter.take(&[("a", one), ("b", one)], 0).is_ok());
        assert_eq!(limiter.take(&[("c", one)], 500), Err(Refused::NoRoom));
        assert!(limiter.take(&[("a", one)], 500).is_ok());
        // Three entries are there; a fourth has no room, and one of the same millisecond is none.
        assert_eq!(limiter.take(&[("b", one)], 501), Err(Refused::NoRoom));
        assert!(limiter.take(&[("c", one)], 1_001).is_ok());
        assert_eq!(limiter.keys(), 2);
        assert!(limiter.take(&[("c", one)], 10_000).is_ok());
        assert_eq!((limiter.keys(), limiter.entries), (1, 1));
    }

    #[test]
    fn a_clock_that_goes_back_frees_nothing() {
        let mut limiter = Limiter::new(2, 10);
        assert!(limiter.take(&[("a", rate(1, 1))], 5_000).is_ok());
        for now in [0, 4_000, 6_000] {
            assert!(matches!(limiter.take(&[("a", rate(1, 1))], now), Err(Refused::Rate(0, _))), "{now}");
        }
        assert!(limiter.take(&[("a", rate(1, 1))], 6_001).is_ok());
    }

    #[test]
    fn a_lowered_rate_waits_until_enough_have_gone() {
        let mut limiter = Limiter::new(2, 10);
        for at in [0, 100, 200] {
            assert!(limiter.take(&[("a", rate(3, 1))], at).is_ok());
        }
        let Err(Refused::Rate(0, standing)) = limiter.take(&[("a", rate(2, 1))], 300) else {
            panic!("let through")
        };
        assert_eq!((standing.remaining, standing.reset_ms), (0, 100 + 1_001 - 300));
        assert!(limiter.take(&[("a", rate(2, 1))], 1_100).is_err());
        assert!(limiter.take(&[("a", rate(2, 1))], 1_101).is_ok());
    }
}
