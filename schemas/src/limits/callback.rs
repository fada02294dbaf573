//! Callbacks: what other systems deliver.

/// Largest body of a delivery.
pub const CALLBACK_BODY_MAX_BYTES: usize = 1024 * 1024;
/// Largest command that a mapping makes of it.
pub const CALLBACK_PICKED_MAX_BYTES: usize = 96 * 1024;
/// How far the time of a signature may be from the node's, either way, seconds.
pub const CALLBACK_WINDOW_SECONDS: u64 = 300;
/// Longest mapping, as JSON text.
pub const CALLBACK_MAPPING_MAX_BYTES: usize = 16 * 1024;
/// Longest id of a delivery.
pub const CALLBACK_DELIVERY_ID_MAX_BYTES: usize = 256;
/// Most signatures of one delivery that are compared.
pub const CALLBACK_SIGNATURES_MAX: usize = 8;
/// After how long a sender may try a paused callback again, seconds.
pub const CALLBACK_PAUSED_RETRY_SECONDS: u32 = 60;
