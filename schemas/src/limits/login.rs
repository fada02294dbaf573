//! Logging in, and what is told of an account.

/// How long a session lives that somebody begins by their password and goes on with by its refresh token.
pub const SESSION_OF_PERSON_MS: u64 = 30 * 24 * 3_600_000;
/// Most orgs that an account is told of.
pub const ACCOUNT_ORGS_MAX: usize = 1_000;
/// A client gets another access token where its own has less than this left.
pub const CLIENT_RENEW_MS: u64 = 60_000;
