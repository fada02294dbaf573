//! Orgs.

/// Most settings of one org.
pub const SETTINGS_MAX: usize = 100;
/// Largest value of one setting, as JSON text.
pub const SETTING_MAX_BYTES: usize = 4 * 1024;
/// Most members of one org.
pub const MEMBERS_MAX: usize = 10_000;
