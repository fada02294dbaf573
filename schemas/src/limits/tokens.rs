//! Access tokens and the keys that sign them.

/// Longest token that is looked at at all.
pub const TOKEN_MAX_BYTES: usize = 8_192;
/// Tokens whose signature was checked and need not be checked again, at a time.
pub const TOKENS_CHECKED_MAX: usize = 65_536;
/// How long an access token may live.
pub const TOKEN_LIFETIME_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// How long an access token of a person lives, unless configured otherwise.
pub const TOKEN_OF_PERSON_MS: u64 = TOKEN_LIFETIME_MAX_MS;
/// How long an access token of an agent or a service lives.
pub const TOKEN_OF_SERVICE_MS: u64 = 15 * 60 * 1_000;
/// How long an ID token lives.
pub const ID_TOKEN_MS: u64 = 60 * 60 * 1_000;
/// How long a signing key signs.
pub const SIGNING_KEY_MS: u64 = 365 * 24 * 60 * 60 * 1_000;
/// How long before its first use a signing key is published.
pub const SIGNING_KEY_LEAD_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most actors that stand between a credential and whoever it speaks for.
pub const TOKEN_ACTORS_MAX: usize = 4;
/// Most capabilities, families and roles in the scope of one token.
pub const TOKEN_SCOPES_MAX: usize = 64;
/// Most methods by which a person proved who they are, in one token.
pub const TOKEN_METHODS_MAX: usize = 8;
/// Longest audience of a token.
pub const TOKEN_AUDIENCE_MAX_CHARS: usize = 512;
/// Assertions of clients that a node remembers, each until its time is over.
pub const ASSERTIONS_MAX: usize = 65_536;
/// How long an assertion of a client counts from when it was made.
pub const ASSERTION_LIFETIME_MAX_MS: u64 = 10 * 60 * 1_000;
/// How far its end may lie in the future for it to count at all.
pub const ASSERTION_EXPIRY_MAX_MS: u64 = 60 * 60 * 1_000;
/// How much the clock of who signs an assertion may be ahead.
pub const ASSERTION_SKEW_MS: u64 = 60 * 1_000;
/// How long a session lives that a client begins by itself.
pub const SESSION_OF_CLIENT_MS: u64 = 12 * 60 * 60 * 1_000;
/// How long a session lives that a person lets a client have, and that a refresh token goes on with.
pub const SESSION_OF_GRANT_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// The most bytes of a form.
pub const FORM_MAX_BYTES: usize = 65_536;
/// Most fields of a form.
pub const FORM_FIELDS_MAX: usize = 64;
/// Longest text that a client sends along to have it back: its state and its nonce.
pub const CARRIED_MAX_CHARS: usize = 1_024;
