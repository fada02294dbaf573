//! Applications: clients of OAuth.

/// Most addresses that an application may send people back to.
pub const REDIRECT_URIS_MAX: usize = 16;
/// Longest of them.
pub const REDIRECT_URI_MAX_CHARS: usize = 512;
/// Most public keys of one application.
pub const APPLICATION_KEYS_MAX: usize = 10;
/// How long the old secret of an application may still open.
pub const CLIENT_SECRET_GRACE_MAX_HOURS: u32 = 24;
/// Longest text of a client secret: its prefix, org, id, secret and checksum with the dots between them.
pub const CLIENT_SECRET_MAX_CHARS: usize = 4 + 64 + 1 + 64 + 1 + 43 + 8;
