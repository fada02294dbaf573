//! Budgets and rates of an org.

/// Most limits of one org.
pub const QUOTA_LIMITS_MAX: usize = 1_000;
/// Most reservations of one org that are open at a time.
pub const QUOTA_OPEN_MAX: usize = 10_000;
/// Reservations that are over of which an org's quota still knows what became of them.
pub const QUOTA_ENDED_MAX: usize = 4_096;
/// How long a reservation may hold what it holds.
pub const QUOTA_TTL_MAX_SECONDS: u32 = 3_600;
/// Most holds of one reservation.
pub const QUOTA_HOLDS_MAX: usize = 8;
/// Most levels that one hold names.
pub const QUOTA_LEVELS_MAX: usize = 8;
/// Longest label, in characters.
pub const QUOTA_LABEL_MAX_CHARS: usize = 64;
/// Longest name of a unit, in characters.
pub const QUOTA_UNIT_MAX_CHARS: usize = 32;
/// Largest limit, and largest amount of one hold: 2^49. Ten thousand of them are still a number that every store keeps.
pub const QUOTA_AMOUNT_MAX_UNITS: u64 = 1 << 49;
/// The most that one limit counts as used.
pub const QUOTA_USED_MAX_UNITS: u64 = 1 << 61;
/// Most reservations that one event lets lapse.
pub const QUOTA_LAPSES_MAX: usize = 128;
/// Most amounts that one event frees, beside those of its last reservation.
pub const QUOTA_FREED_MAX: usize = 128;
/// Most requests that a rate lets through in its time.
pub const RATE_REQUESTS_MAX: u32 = 100_000;
/// Longest time of a rate.
pub const RATE_MAX_SECONDS: u32 = 3_600;
/// Keys that a node counts requests for at a time.
pub const RATE_KEYS_MAX: usize = 100_000;
/// Times that a node keeps of requests.
pub const RATE_ENTRIES_MAX: usize = 2_000_000;
/// Requests that a network signs in by within a minute, unless configured otherwise.
pub const SIGN_IN_PER_MINUTE: u32 = 600;
/// Networks that a node counts requests for at a time where nobody needs a credential.
pub const CALLER_NETWORKS_MAX: usize = 65_536;
/// Orgs whose rates a node remembers.
pub const RATE_ORGS_MAX: usize = 10_000;
