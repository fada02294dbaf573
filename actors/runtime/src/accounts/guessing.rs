//! Whoever guesses wrong waits longer each time, and keeps nobody else from logging in.
//!
//! A failure slows down its pair of account and network, with a delay that doubles up to a quarter of an hour. The account itself only
//! takes a guess a second once some have failed, from wherever they come: that bounds a guesser with many networks. Whoever got in from
//! a network within a day does not wait for those, so a guesser keeps nobody out from where they usually are. Nothing is ever closed, and nothing is written: what is remembered is bounded, and the oldest goes first.

use quipu_schemas::{
    context::Millis,
    limits::{GUESS_ACCOUNT_EVERY_MS, GUESS_DELAY_MAX_MS, GUESSES_REMEMBERED_MAX},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Failures that cost nothing yet: people mistype.
const FREE: u32 = 3;
/// The first delay.
const FIRST_DELAY_MS: Millis = 1_000;
/// Failures are forgotten after so long without another one.
const FORGOTTEN_AFTER_MS: Millis = 24 * 3_600_000;

/// From where a guess comes: as much of its address as one party usually has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Not known; all of these are one.
    Unknown,
    /// A /24.
    V4([u8; 3]),
    /// A /64.
    V6([u16; 4]),
}

impl Network {
    /// That of an address.
    pub fn of(from: Option<IpAddr>) -> Self {
        let v4 = |address: Ipv4Addr| {
            let [a, b, c, _] = address.octets();
            Self::V4([a, b, c])
        };
        match from {
            None => Self::Unknown,
            Some(IpAddr::V4(address)) => v4(address),
            Some(IpAddr::V6(address)) => address.to_ipv4_mapped().map_or_else(|| Self::V6(first_four(address)), v4),
        }
    }
}

fn first_four(address: Ipv6Addr) -> [u16; 4] {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
}

/// Whose secret is guessed: an id, a digest of an address, a client.
type Account = [u8; 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    /// An account, from one network.
    Pair(Account, Network),
    /// An account, from wherever.
    Account(Account),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Millis,
    /// No guess is taken before.
    next: Millis,
    used: u64,
    /// The last guess that was judged right came from here, and was remembered.
    got_in: bool,
}

/// Remembers failed guesses. Its time is one that only goes forward.
#[derive(Debug)]
pub struct Guessing {
    failures: BTreeMap<Whose, Failures>,
    by_use: BTreeMap<u64, Whose>,
    uses: u64,
    most: usize,
}

impl Default for Guessing {
    fn default() -> Self {
        Self::new(GUESSES_REMEMBERED_MAX)
    }
}

impl Guessing {
    /// Never remembers more than so many.
    pub fn new(most: usize) -> Self {
        Self {
            failures: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            most: most.max(2),
        }
    }

    /// Whether a guess is taken now; an error says how long to wait, milliseconds. One that is taken counts as failed until it
    /// succeeds, so that many at once are not taken for one.
    pub fn guess(&mut self, account: Account, from: Option<IpAddr>, now: Millis) -> Result<(), Millis> {
        let (pair, whole) = (Whose::Pair(account, Network::of(from)), Whose::Account(account));
        let own = self.fresh(pair, now);
        // Whoever got in from there lately waits for nobody else's guesses.
        let asked = if own.is_some_and(|failures| failures.got_in) {
            vec![pair]
        } else {
            vec![pair, whole]
        };
        let waits = asked
            .iter()
            .map(|whose| self.fresh(*whose, now).map_or(0, |failures| failures.next.saturating_sub(now)));
        match waits.max().filter(|wait| *wait > 0) {
            Some(wait) => Err(wait),
            None => {
                asked.into_iter().for_each(|whose| self.failed(whose, now));
                Ok(())
            }
        }
    }

    /// Nobody judged the last guess: it was none.
    pub fn taken_back(&mut self, account: Account, from: Option<IpAddr>) {
        for whose in [Whose::Pair(account, Network::of(from)), Whose::Account(account)] {
            if let Some(failures) = self.failures.get_mut(&whose) {
                failures.count = failures.count.saturating_sub(1);
                failures.next = failures.last;
            }
        }
    }

    /// The guess was right: its pair may go on at once, and waits for no other pair as long as it is remembered. What others did to
    /// the account stays.
    pub fn right(&mut self, account: Account, from: Option<IpAddr>) {
        let pair = Whose::Pair(account, Network::of(from));
        let own = self.failures.get_mut(&pair).map_or(0, |failures| {
            // Once it got in, its own count on the account no longer.
            let counted = if failures.got_in { 0 } else { failures.count };
            failures.count = 0;
            failures.next = failures.last;
            failures.got_in = true;
            counted
        });
        let whole = Whose::Account(account);
        if let Some(failures) = self.failures.get_mut(&whole) {
            failures.count = failures.count.saturating_sub(own);
            if failures.count == 0 {
                self.forget(whole);
            } else if failures.count <= FREE {
                failures.next = 0;
            }
        }
    }

    /// What is remembered.
    pub fn len(&self) -> usize {
        self.failures.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    fn fresh(&mut self, whose: Whose, now: Millis) -> Option<Failures> {
        let failures = *self.failures.get(&whose)?;
        if now.saturating_sub(failures.last) >= FORGOTTEN_AFTER_MS {
            self.forget(whose);
            return None;
        }
        Some(failures)
    }

    fn failed(&mut self, whose: Whose, now: Millis) {
        let before = self.forget(whose);
        let count = before.map_or(0, |failures| failures.count).saturating_add(1);
        let delay = match whose {
            _ if count <= FREE => 0,
            Whose::Account(_) => GUESS_ACCOUNT_EVERY_MS,
            Whose::Pair(..) => {
                let doublings = (count - FREE - 1).min(31);
                FIRST_DELAY_MS.saturating_mul(1 << doublings).min(GUESS_DELAY_MAX_MS)
            }
        };
        while self.failures.len() >= self.most {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.failures.remove(&oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, whose);
        let failures = Failures {
            count,
            last: now,
            next: now.saturating_add(delay),
            used: self.uses,
            got_in: before.is_some_and(|failures| failures.got_in),
        };
        self.failures.insert(whose, failures);
    }

    fn forget(&mut self, whose: Whose) -> Option<Failures> {
        let failures = self.failures.remove(&whose)?;
        self.by_use.remove(&failures.used);
        Some(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Account = [1; 32];
    const BOB: Account = [2; 32];

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Guesses that are taken in this time, of somebody who tries every tenth of a second.
    fn taken(guessing: &mut Guessing, from: Option<IpAddr>, begin: Millis, lasting: Millis) -> usize {
        let tries = (begin..begin + lasting).step_by(100);
        tries.filter(|now| guessing.guess(ADA, from, *now).is_ok()).count()
    }

    #[test]
    fn delays_double_up_to_a_quarter_of_an_hour() {
        let mut guessing = Guessing::default();
        for _ in 0..FREE {
            assert_eq!(guessing.guess(ADA, from("192.0.2.1"), 0), Ok(()));
        }
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..12 {
            while let Err(wait) = guessing.guess(ADA, from("192.0.2.1"), now) {
                waits.push(wait);
                now += wait;
            }
        }
        let seconds: Vec<_> = waits.iter().map(|wait| wait / 1_000).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
        // A day later it is as if nothing had happened.
        assert_eq!(guessing.guess(ADA, from("192.0.2.1"), now + FORGOTTEN_AFTER_MS), Ok(()));
        assert_eq!(guessing.guess(ADA, from("192.0.2.1"), now + FORGOTTEN_AFTER_MS), Ok(()));
    }

    #[test]
    fn neighbours_of_a_network_are_one() {
        let mut guessing = Guessing::default();
        for host in 1..=4 {
            let _ = guessing.guess(ADA, from(&format!("192.0.2.{host}")), host);
        }
        assert!(guessing.guess(ADA, from("192.0.2.9"), 10).is_err());
        assert!(
            guessing.guess(ADA, from("::ffff:192.0.2.9"), 10).is_err(),
            "the same address in another form"
        );
        assert!(guessing.guess(BOB, from("192.0.2.9"), 10).is_ok(), "another account");
        let mut six = Guessing::default();
        for host in 1..=4 {
            let _ = six.guess(ADA, from(&format!("2001:db8::{host}")), host);
        }
        assert!(six.guess(ADA, from("2001:db8::ffff"), 10).is_err());
    }

    #[test]
    fn many_networks_make_one_guess_a_second() {
        let mut guessing = Guessing::default();
        let mut made = 0;
        for now in 0..60_000u64 {
            let network = format!("10.{}.{}.1", now / 250 % 250, now % 250);
            made += usize::from(guessing.guess(ADA, from(&network), now).is_ok());
        }
        assert!((55..=66).contains(&made), "{made}");
    }

    #[test]
    fn nobody_is_locked_out_by_others() {
        let mut guessing = Guessing::default();
        for now in 0..600 {
            let _ = guessing.guess(ADA, from("203.0.113.5"), now * 100);
        }
        // The guesser waits for minutes; its owner, elsewhere, at most a second.
        assert_eq!(taken(&mut guessing, from("203.0.113.5"), 60_000, 2_000), 0);
        let wait = guessing.guess(ADA, from("192.0.2.1"), 60_000).err().unwrap_or(0);
        assert!(wait <= GUESS_ACCOUNT_EVERY_MS, "{wait}");
        assert_eq!(guessing.guess(ADA, from("192.0.2.1"), 61_000), Ok(()));
    }

    #[test]
    fn a_right_guess_forgets_its_own_failures_alone() {
        let mut guessing = Guessing::default();
        for _ in 0..3 {
            guessing.guess(ADA, from("192.0.2.1"), 0).unwrap();
        }
        guessing.right(ADA, from("192.0.2.1"));
        assert_eq!(guessing.len(), 1, "that it got in from there");
        for now in [0, 1, 2] {
            guessing.guess(ADA, from("203.0.113.5"), now).unwrap();
        }
        guessing.guess(ADA, from("192.0.2.1"), 3).unwrap();
        guessing.right(ADA, from("192.0.2.1"));
        guessing.guess(ADA, from("203.0.113.5"), 4).unwrap();
        assert!(guessing.guess(ADA, from("203.0.113.5"), 5).is_err(), "the others go on waiting");
    }

    #[test]
    fn whoever_got_in_waits_for_nobody_else() {
        let mut guessing = Guessing::default();
        let home = from("192.0.2.1");
        guessing.guess(ADA, home, 0).unwrap();
        guessing.right(ADA, home);
        for now in 0..3_600_000u64 / 100 {
            let _ = guessing.guess(ADA, from(&format!("2001:db8:{:x}::1", now % 65_536)), now * 100);
        }
        assert_eq!(guessing.guess(ADA, home, 3_600_000), Ok(()));
        assert!(
            guessing.guess(ADA, from("198.51.100.7"), 3_600_000).is_err(),
            "others share the account's pace"
        );
    }

    #[test]
    fn a_guess_that_nobody_judged_is_none() {
        let mut guessing = Guessing::default();
        for now in 0..100 {
            assert_eq!(guessing.guess(ADA, from("192.0.2.1"), now), Ok(()));
            guessing.taken_back(ADA, from("192.0.2.1"));
        }
    }

    #[test]
    fn many_at_once_count_each() {
        let mut guessing = Guessing::default();
        let made = (0..100).filter(|_| guessing.guess(ADA, from("192.0.2.1"), 0).is_ok()).count();
        assert_eq!(made, FREE as usize + 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut guessing = Guessing::new(10);
        for n in 0..=255 {
            let _ = guessing.guess([n; 32], None, u64::from(n));
        }
        assert!(guessing.len() <= 10);
        assert_eq!(guessing.by_use.len(), guessing.len());
    }
}
