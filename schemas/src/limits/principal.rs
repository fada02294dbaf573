//! Principals, their sessions, and what people guess.

/// Most sessions of one principal; the oldest ends where one more begins.
pub const SESSIONS_MAX: usize = 100;
/// Longest id of a session.
pub const SESSION_ID_MAX_CHARS: usize = 64;
/// Longest text of a refresh token or a code: its prefix, three ids, secret and checksum with the dots between them.
pub const SESSION_TEXT_MAX_CHARS: usize = 4 + 3 * 65 + 43 + 8;
/// How long a session may live.
pub const SESSION_LIFETIME_MAX_MS: u64 = 366 * 24 * 3_600_000;
/// How long a session waits for its code.
pub const SESSION_CODE_MS: u64 = 60_000;
/// A session of a client that lives at least so long still is used again instead of another one being begun.
pub const SESSION_REUSE_MS: u64 = 20 * 60_000;
/// Most capabilities, families and roles that the scope of one session names.
pub const SESSION_SCOPES_MAX: usize = 256;
/// Most principals who act, one for the other, by one session.
pub const SESSION_ACTORS_MAX: usize = 4;
/// Longest client id, audience, redirect URI or challenge of a session.
pub const SESSION_WORD_MAX_CHARS: usize = 2_048;
/// Most methods that one login names.
pub const SESSION_METHODS_MAX: usize = 8;
/// Most public keys of one principal.
pub const PUBLIC_KEYS_MAX: usize = 10;
/// Most addresses of one person.
pub const ADDRESSES_MAX: usize = 10;
/// Longest address, characters.
pub const ADDRESS_MAX_CHARS: usize = 254;
/// Most recovery codes of one person.
pub const RECOVERY_CODES_MAX: usize = 10;
/// Shortest password, characters.
pub const PASSWORD_MIN_CHARS: usize = 10;
/// Longest password, characters.
pub const PASSWORD_MAX_CHARS: usize = 256;
/// Longest password, bytes.
pub const PASSWORD_MAX_BYTES: usize = 1_024;
/// Longest stored form of a password.
pub const PASSWORD_HASH_MAX_CHARS: usize = 256;
/// What one password hash takes of memory.
pub const PASSWORD_HASH_KIB: u32 = 19 * 1_024;
/// Passwords that wait for a thread to be hashed on.
pub const LOGINS_WAITING_MAX: usize = 64;
/// Principals that a node keeps in memory.
pub const PRINCIPALS_KNOWN_MAX: usize = 65_536;
/// Names that no principal has, which a node remembers.
pub const PRINCIPALS_UNKNOWN_MAX: usize = 16_384;
/// Accounts and networks whose failed guesses a node remembers.
pub const GUESSES_REMEMBERED_MAX: usize = 65_536;
/// Longest time that one more guess has to wait.
pub const GUESS_DELAY_MAX_MS: u64 = 15 * 60_000;
/// Between two guesses at one account, from wherever, once some have failed.
pub const GUESS_ACCOUNT_EVERY_MS: u64 = 1_000;
