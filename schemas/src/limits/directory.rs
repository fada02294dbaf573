//! The directory.

/// Longest slug, and longest part of a qualified name.
pub const SLUG_MAX_CHARS: usize = 48;
/// Longest text of an alias, in bytes.
pub const ALIAS_MAX_CHARS: usize = 200;
/// Most parts of a qualified name.
pub const ALIAS_SEGMENTS_MAX: usize = 8;
/// Most aliases that one entity has or claims.
pub const ALIASES_MAX: usize = 32;
/// Most conversations in which one entity is bound to a participant.
pub const PARTICIPANT_BINDINGS_MAX: usize = 64;
/// Most applications of one project.
pub const PROJECT_APPLICATIONS_MAX: usize = 256;
/// Most instances of one entity that are known.
pub const INSTANCES_OF_ENTITY_MAX: usize = 64;
/// Most instances that a node knows of.
pub const INSTANCES_MAX: usize = 10_000;
/// How long an instance is known after it was last heard of.
pub const INSTANCE_KNOWN_MS: u64 = 90_000;
