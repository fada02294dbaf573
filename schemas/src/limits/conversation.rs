//! Conversations.

/// Most messages of one conversation.
pub const MESSAGES_MAX: usize = 100_000;
/// Newest messages that a conversation remembers; older ones are looked up.
pub const MESSAGES_REMEMBERED: usize = 16;
/// Ended turns that a conversation remembers, to answer late claims and posts.
pub const TURNS_REMEMBERED: usize = 64;
/// Most conditions that a claim names.
pub const CLAIM_CONDITIONS_MAX: usize = 20;
/// Longest claim window.
pub const CLAIM_WINDOW_MAX_MS: u64 = 60_000;
/// Largest message body that a client posts; an agent's answer may be as large as any value.
pub const MESSAGE_MAX_BYTES: usize = 1024 * 1024;
/// Most participants of one conversation.
pub const PARTICIPANTS_MAX: usize = 500;
/// Turn claim window when several agents are eligible.
pub const CLAIM_WINDOW_MS: u64 = 500;
/// A person's handoff expires when nobody accepts it.
pub const HANDOFF_TTL_MS: u64 = 24 * 60 * 60 * 1000;
