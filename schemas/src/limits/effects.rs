//! What performers and providers send and take.

use super::values::VALUE_MAX_BYTES;

/// Response body of a tool that is kept for the model.
pub const TOOL_RESULT_MAX_BYTES: usize = VALUE_MAX_BYTES;
/// Response body that an HTTP effect keeps.
pub const RESPONSE_KEEP_BYTES: usize = 32 * 1024;
/// Bytes of a response body that are read, and decoded, to keep [`RESPONSE_KEEP_BYTES`] of JSON or text.
pub const RESPONSE_READ_BYTES: usize = 4 * RESPONSE_KEEP_BYTES;
/// Bytes of a response body that are counted, so that a cut one tells its full size; a larger one is only known to be larger.
pub const RESPONSE_COUNT_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// One effect attempt.
pub const EFFECT_TIMEOUT_MS: u64 = 60_000;
/// Longest timeout that an HTTP effect may ask for.
pub const EFFECT_TIMEOUT_MAX_MS: u64 = 10 * 60 * 1000;
/// One attempt of a webhook.
pub const WEBHOOK_TIMEOUT_MS: u64 = 20_000;
/// Establishing a connection (name, TCP, TLS).
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Redirects that an HTTP effect follows.
pub const REDIRECTS_MAX: usize = 5;
/// Longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX_MS: u64 = 15 * 60 * 1000;
/// First piece of a model's answer.
pub const LLM_FIRST_BYTE_TIMEOUT_MS: u64 = 60_000;
/// Silence in the middle of a model's answer.
pub const LLM_IDLE_TIMEOUT_MS: u64 = 30_000;
/// A model's whole answer.
pub const LLM_TOTAL_TIMEOUT_MS: u64 = 10 * 60 * 1000;
/// Text and tool arguments of one answer.
pub const LLM_ANSWER_MAX_BYTES: usize = VALUE_MAX_BYTES;
/// Tool calls of one answer.
pub const LLM_TOOL_CALLS_MAX: usize = 64;
/// Encoded messages of one prompt; older ones of a conversation are left out.
pub const PROMPT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// One server-sent event of a provider.
pub const SSE_EVENT_MAX_BYTES: usize = 256 * 1024;
/// Bytes of agents' directives that a node keeps at hand.
pub const DIRECTIVES_KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Longest name of a speaker or function that strict providers take.
pub const PROVIDER_NAME_MAX_CHARS: usize = 64;
/// Longest id of a tool call that strict providers take.
pub const PROVIDER_CALL_ID_MAX_CHARS: usize = 40;
/// What the scripted provider quotes of a text.
pub const SCRIPTED_QUOTE_MAX_CHARS: usize = 200;
/// Backslashes before one escaped character that are read to find a secret: an escape escaped twice has seven.
pub const BLOT_BACKSLASHES_MAX: usize = 8;
/// How often a percent sign that was itself encoded is read to find a secret.
pub const BLOT_PERCENT_MAX: usize = 4;
/// Longest spelling of one character, near enough: what the end of a cut text may hold of it.
pub const BLOT_SPELLING_MAX_BYTES: usize = 24;
