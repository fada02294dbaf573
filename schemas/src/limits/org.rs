//! Orgs.

/// Most settings of one org.
pub const SETTINGS_MAX: usize = 100;
/// Largest value of one setting, as JSON text.
pub const SETTING_MAX_BYTES: usize = 4 * 1024;
/// Most members of one org.
pub const MEMBERS_MAX: usize = 10_000;
/// Steps over which a role may inherit.
pub const ROLE_DEPTH_MAX: usize = 8;
/// Longest name of a role, in characters.
pub const ROLE_NAME_MAX_CHARS: usize = 64;
/// Longest word of a capability, in characters.
pub const CAPABILITY_WORD_MAX_CHARS: usize = 64;
/// Most actors in between a principal and who acts for it at last.
pub const ACT_CHAIN_MAX: usize = 4;
