//! Who should own a partition: leases for liveness. What keeps a stale owner from writing is the claim in the log alone;
//! a lease store that grants everything to everybody costs availability and the freshness of refusals, never the log.

use std::{future::Future, pin::Pin};

/// What the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// Granted, or renewed under the same number: nobody else held it in between.
    Granted {
        /// Rises with each tenure, whoever holds it.
        grant: u64,
    },
    /// Another's.
    Refused {
        /// Milliseconds until it may be free.
        free_in_ms: u64,
    },
    /// No answer came in time: it may be granted or not.
    Unknown,
}

/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = LeaseAnswer> + Send + 'a>>;

/// A store of leases, one a partition. Every question is answered within the store's own deadline.
pub trait Leases: Send + Sync {
    /// Life of a lease from its last grant or renewal, milliseconds.
    fn lease_ms(&self) -> u64;
    /// Asks for a partition's lease: granted if it is free or past its end.
    fn ask(&self, partition: u16) -> Answering<'_>;
    /// Renews, if this grant is still the last.
    fn renew(&self, partition: u16, grant: u64) -> Answering<'_>;
    /// Lets it go, if this grant is still the last; no answer.
    fn release(&self, partition: u16, grant: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// For a log that no other node can own: everything is granted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

/// As good as for ever, and far from the end of the clock.
const ALONE_MS: u64 = 100 * 365 * 86_400_000;

impl Leases for Alone {
    fn lease_ms(&self) -> u64 {
        ALONE_MS
    }

    fn ask(&self, _: u16) -> Answering<'_> {
        Box::pin(std::future::ready(LeaseAnswer::Granted { grant: 1 }))
    }

    fn renew(&self, _: u16, grant: u64) -> Answering<'_> {
        Box::pin(std::future::ready(LeaseAnswer::Granted { grant }))
    }

    fn release(&self, _: u16, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}
