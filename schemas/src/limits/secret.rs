//! Secrets.

/// Longest secret: a key file, or the credentials of a service account.
pub const SECRET_VALUE_MAX_BYTES: usize = 16 * 1024;
/// Most hosts that one secret may be sent to.
pub const SECRET_HOSTS_MAX: usize = 32;
/// How long the value before a rotation is used beside the new one, unless whoever rotates says otherwise.
pub const SECRET_GRACE_DEFAULT_HOURS: u32 = 24;
/// How long it may be at most.
pub const SECRET_GRACE_MAX_HOURS: u32 = 30 * 24;
