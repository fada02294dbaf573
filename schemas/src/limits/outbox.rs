//! Stored reactions on their way.

/// Attempts of an effect unless its node says otherwise.
pub const RETRY_ATTEMPTS_DEFAULT: u32 = 3;
/// First backoff of a retried effect.
pub const RETRY_BACKOFF_MS: u64 = 1_000;
/// Longest backoff of a retried effect.
pub const RETRY_BACKOFF_MAX_MS: u64 = 60_000;
/// Pending reactions that a partition's outbox keeps in memory; the rest waits in the index.
pub const OUTBOX_LOADED_MAX: usize = 10_000;
/// Effects of one partition under way at a time. Alone, an org takes half of them and a destination a third.
pub const OUTBOX_RUNNING_MAX: usize = 128;
/// Commands from entity to entity that one partition has on their way at a time, shared in the same way.
pub const OUTBOX_DISPATCHING_MAX: usize = 512;
/// First and longest pause before the outbox sends again what could not be stored, or reads again what could not be
/// read, milliseconds.
pub const OUTBOX_RESEND_MS: (u64, u64) = (50, 5_000);
/// Pending reactions of stopped principals that a partition's outbox keeps in memory beside those; more of them count as the org's own.
pub const OUTBOX_HELD_MAX: usize = 10_000;
/// Pause between two looks at orgs and principals whose work waits, milliseconds.
pub const OUTBOX_LOOK_MS: u64 = 1_000;
/// When the outbox looks again for reactions of streams that could not be read, milliseconds.
pub const OUTBOX_UNREAD_MS: u64 = 60_000;
/// Crashes of one kernel command before it is parked.
pub const POISON_CRASHES: u32 = 3;
/// Failures in a row that open a destination's breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// How long an open breaker refuses.
pub const BREAKER_COOL_DOWN_MS: u64 = 30_000;
/// Probes that close a half-open breaker.
pub const BREAKER_SUCCESSES: u32 = 2;
/// When to ask again while a probe is under way.
pub const BREAKER_PROBE_WAIT_MS: u64 = 1_000;
/// Destinations whose breakers are remembered.
pub const BREAKER_DESTINATIONS_MAX: usize = 4_096;
/// Pending and dead effects of a partition, of each, that metrics and health count.
pub const OUTBOX_COUNTED_MAX: usize = 10_000;
