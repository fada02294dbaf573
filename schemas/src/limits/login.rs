//! Logging in, and what is told of an account.

/// How long a session lives that somebody begins by their password and goes on with by its refresh token.
pub const SESSION_OF_PERSON_MS: u64 = 30 * 24 * 3_600_000;
/// How long a device waits for a person to let it in.
pub const DEVICE_CODE_MS: u64 = 10 * 60_000;
/// Letters of the code that a person types for a device: about 35 bits.
pub const DEVICE_USER_CODE_CHARS: usize = 8;
/// How long a device waits between two questions.
pub const DEVICE_POLL_SECONDS: u64 = 5;
/// The most that it waits, after having asked too soon.
pub const DEVICE_POLL_MAX_SECONDS: u64 = 60;
/// Devices whose last question a node remembers.
pub const DEVICES_POLLED_MAX: usize = 16_384;
/// How long somebody who has signed in may take to let a device in.
pub const DEVICE_CONFIRM_MS: u64 = 5 * 60_000;
/// Most orgs that an account is told of.
pub const ACCOUNT_ORGS_MAX: usize = 1_000;
/// A client gets another access token where its own has less than this left.
pub const CLIENT_RENEW_MS: u64 = 60_000;
