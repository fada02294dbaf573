//! How many requests a network gets through where nobody needs a credential: whoever asks there is known by their address alone.

use parking_lot::Mutex;
use quipu_runtime::{
    accounts::guessing::Network,
    kernel::limiter::{Limiter, Refused, Standing},
};
use quipu_schemas::{limits, quota::Rate};
use std::{net::IpAddr, time::Instant};

/// What a request counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Somebody signs in, or a client gets or ends tokens.
    SignIn,
    /// Something is made that stays: an account, a client.
    Registration,
    /// Another system delivers something: usually many from few addresses.
    Delivery,
}

/// Counts them by network; nothing, where there is no rate.
pub struct CallerRates {
    per_minute: u32,
    by_network: Mutex<Limiter<(Counted, Network)>>,
    /// All networks for which there is no room together.
    others: Mutex<Limiter<Counted>>,
    begun: Instant,
}

impl CallerRates {
    /// So many sign in within a minute; a tenth of that registers, and ten times as much is delivered. 0: as many as come.
    pub fn per_minute(requests: u32) -> Self {
        Self {
            per_minute: requests,
            by_network: Mutex::new(Limiter::new(limits::CALLER_NETWORKS_MAX, limits::RATE_ENTRIES_MAX)),
            others: Mutex::new(Limiter::new(3, limits::RATE_ENTRIES_MAX)),
            begun: Instant::now(),
        }
    }

    /// Counts one that comes now.
    pub fn take(&self, counted: Counted, from: Option<IpAddr>) -> Result<Option<Standing>, Refused> {
        self.take_at(counted, from, self.begun.elapsed().as_millis() as u64)
    }

    fn take_at(&self, counted: Counted, from: Option<IpAddr>, now: u64) -> Result<Option<Standing>, Refused> {
        if self.per_minute == 0 {
            return Ok(None);
        }
        let requests = match counted {
            Counted::SignIn => self.per_minute,
            Counted::Registration => (self.per_minute / 10).max(1),
            Counted::Delivery => self.per_minute.saturating_mul(10),
        };
        let rate = Rate { requests, per_seconds: 60 };
        let own = (counted, Network::of(from));
        let taken = self.by_network.lock().take(&[(own, rate)], now);
        // Whoever has many networks keeps nobody out whose network is counted already.
        let taken = match taken {
            Err(Refused::NoRoom) => self.others.lock().take(&[(counted, rate)], now),
            taken => taken,
        };
        Ok(taken?.first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn sixty_a_minute_lets_exactly_sixty_through() {
        let rates = CallerRates::per_minute(60);
        let passed = |counted, from, n: u64, now| (0..n).filter(|_| rates.take_at(counted, from, now).is_ok()).count();
        let (here, near, far) = (ip("192.0.2.1"), ip("192.0.2.250"), ip("198.51.100.1"));
        assert_eq!(passed(Counted::SignIn, here, 100, 0), 60);
        assert_eq!(passed(Counted::SignIn, near, 10, 59_999), 0, "the same network");
        assert_eq!(passed(Counted::SignIn, far, 100, 59_999), 60);
        assert_eq!(passed(Counted::SignIn, here, 100, 60_001), 60);
        assert_eq!(passed(Counted::Registration, here, 100, 60_001), 6);
        assert_eq!(passed(Counted::Delivery, here, 1_000, 60_001), 600);
        let unknown = CallerRates::per_minute(60);
        assert_eq!((0..100).filter(|_| unknown.take_at(Counted::SignIn, None, 0).is_ok()).count(), 60);
        let none = CallerRates::per_minute(0);
        assert!((0..1_000).all(|_| none.take_at(Counted::SignIn, here, 0) == Ok(None)));
        assert!(CallerRates::per_minute(5).take_at(Counted::Registration, here, 0).is_ok());
    }

    #[test]
    fn many_networks_keep_out_nobody_who_is_counted() {
        let rates = CallerRates::per_minute(600);
        let own = ip("192.0.2.1");
        assert!(rates.take_at(Counted::SignIn, own, 0).is_ok());
        let network = |n: usize| IpAddr::from([0x2001_u16, 0xdb8, (n >> 16) as u16, n as u16, 0, 0, 0, 1]);
        let others = (0..limits::CALLER_NETWORKS_MAX + 2_000).filter(|n| rates.take_at(Counted::SignIn, Some(network(*n)), 1).is_ok());
        // Those for which there is room, and of all others together as many as of one.
        assert_eq!(others.count(), limits::CALLER_NETWORKS_MAX - 1 + 600);
        assert!(rates.take_at(Counted::SignIn, own, 1).is_ok());
    }
}
