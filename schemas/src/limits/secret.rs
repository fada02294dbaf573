//! Secrets.

/// Longest secret: a key file, or the credentials of a service account.
pub const SECRET_VALUE_MAX_BYTES: usize = 16 * 1024;
/// Most hosts that one secret may be sent to.
pub const SECRET_HOSTS_MAX: usize = 32;
/// How long the value before a rotation is used beside the new one, unless whoever rotates says otherwise.
pub const SECRET_GRACE_DEFAULT_HOURS: u32 = 24;
/// How long it may be at most.
pub const SECRET_GRACE_MAX_HOURS: u32 = 30 * 24;
/// Longest address of a provider of tokens, and longest id of a client.
pub const SECRET_CLIENT_MAX_CHARS: usize = 2_000;
/// Most scopes of a connection.
pub const SECRET_SCOPES_MAX: usize = 100;
/// How long an access token counts whose provider does not say, seconds.
pub const SECRET_TOKEN_DEFAULT_SECONDS: u64 = 3_600;
/// How long one counts at most before the next is asked for, seconds.
pub const SECRET_TOKEN_MAX_SECONDS: u64 = 90 * 24 * 3_600;
/// How long before its end the next access token is asked for, at least, milliseconds.
pub const SECRET_REFRESH_LEAD_MS: u64 = 60_000;
/// First and longest pause before a provider that failed is asked again, milliseconds.
pub const SECRET_REFRESH_PAUSE_MS: (u64, u64) = (60_000, 30 * 60_000);
/// How often in a row a provider may fail before its connection is given up.
pub const SECRET_REFRESH_FAILURES_MAX: u32 = 48;
/// Largest answer of a provider that is read.
pub const SECRET_TOKEN_ANSWER_MAX_BYTES: usize = 64 * 1024;
