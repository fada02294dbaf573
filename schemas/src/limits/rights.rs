//! Grants, roles and keys.

/// Most grants of one principal in one org.
pub const GRANTS_MAX: usize = 256;
/// Most roles of an org's own.
pub const ROLES_MAX: usize = 256;
/// Most capabilities, families and roles that one role names.
pub const ROLE_HOLDS_MAX: usize = 256;
/// Most capabilities, families and roles that the scope of one key names.
pub const KEY_SCOPES_MAX: usize = 256;
/// Most networks that one key may come from.
pub const KEY_NETWORKS_MAX: usize = 64;
/// How long a key lives, unless its maker says otherwise.
pub const KEY_LIFETIME_DEFAULT_DAYS: u32 = 90;
/// How long a key may live.
pub const KEY_LIFETIME_MAX_DAYS: u32 = 366;
/// How long the old secret of a rotated key may still open.
pub const KEY_GRACE_MAX_HOURS: u32 = 24;
/// How long people have to agree to a command, from when it was asked for.
pub const APPROVAL_LIVES_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most capabilities and families that take an approval in one org.
pub const GATES_MAX: usize = 64;
/// Most people that one approval takes.
pub const APPROVAL_NEEDS_MAX: u8 = 2;
/// How often the same refusal is written down at most.
pub const DENIAL_EVERY_MS: u64 = 60_000;
/// How often the node looks which refusals are due.
pub const DENIAL_LOOK_MS: u64 = 2_000;
/// Most entries of refusals that wait in one org.
pub const DENIALS_OF_ORG_MAX: usize = 100;
/// Most entries of refusals that wait in all orgs.
pub const DENIALS_WAITING_MAX: usize = 10_000;
/// Most entries of refusals of one org and day.
pub const DENIALS_OF_DAY_MAX: u64 = 10_000;
/// Longest text of an entry of a refusal, in bytes.
pub const DENIAL_TEXT_MAX_CHARS: usize = 200;
/// Longest text of a key: its prefix, org, id, secret and checksum with the dots between them.
pub const KEY_TEXT_MAX_CHARS: usize = 4 + 64 + 1 + 64 + 1 + 43 + 8;
/// How recent a sign-in is asked for at most, where an org asks for one.
pub const STEP_UP_MIN_SECONDS: u64 = 30;
/// How old it may be at most.
pub const STEP_UP_MAX_SECONDS: u64 = 86_400;
/// How old it may be unless the org says otherwise.
pub const STEP_UP_DEFAULT_MS: u64 = 5 * 60_000;
