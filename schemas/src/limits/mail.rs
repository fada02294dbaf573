//! Mail, and the codes in it.

/// How long a mail server has for one letter.
pub const MAIL_TIMEOUT_MS: u64 = 30_000;
/// Longest text of a code: its prefix, three ids, secret and checksum with the dots between them.
pub const MAIL_CODE_MAX_CHARS: usize = 4 + 3 * 65 + 43 + 8;
/// How long an address may be verified by the code that was sent to it.
pub const VERIFY_CODE_MS: u64 = 24 * 3_600_000;
/// How long a password may be set by the code that was sent to its owner.
pub const RESET_CODE_MS: u64 = 30 * 60_000;
/// Between two letters of one purpose to one address.
pub const MAIL_PAUSE_MS: u64 = 60_000;
/// How long somebody has to accept an invite, days, unless it says otherwise.
pub const INVITE_DAYS: u32 = 7;
/// The longest, days.
pub const INVITE_DAYS_MAX: u32 = 14;
/// People who have lost their password and are looked for at a time.
pub const RESETS_WAITING_MAX: usize = 64;
