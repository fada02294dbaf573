//! The HTTP server.

/// Largest HTTP request body, uploads of values excepted: a message and its escapes.
pub const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of a larger request body that are read and thrown away, so that its sender sees the refusal.
pub const BODY_DISCARD_MAX_BYTES: usize = 16 * 1024 * 1024;
/// All headers of one HTTP request.
pub const HEADERS_MAX_BYTES: usize = 32 * 1024;
/// Time to send the headers of one HTTP request.
pub const HEADERS_READ_MS: u64 = 10_000;
/// Longest path and query of one HTTP request.
pub const URI_MAX_BYTES: usize = 8 * 1024;
/// One HTTP request, streams excepted; a little over the longest wait inside it.
pub const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// Time for the body of one HTTP request to arrive; well under [`REQUEST_TIMEOUT_MS`], which covers the work as well.
pub const BODY_READ_MS: u64 = 20_000;
/// HTTP requests at work at once; a further one gets 503.
pub const REQUESTS_MAX: usize = 4_096;
/// Longest `Idempotency-Key`; one that is longer than a command id counts as its digest.
pub const IDEMPOTENCY_KEY_MAX_CHARS: usize = 256;
/// Time for a TLS handshake.
pub const TLS_HANDSHAKE_MS: u64 = 10_000;
/// Between two looks at the files of the certificate.
pub const TLS_LOOK_MS: u64 = 5_000;
/// How long before its end a certificate is warned about.
pub const TLS_WARN_BEFORE_MS: u64 = 14 * 24 * 60 * 60 * 1_000;
/// Between two warnings about the same certificate.
pub const TLS_WARN_AGAIN_MS: u64 = 24 * 60 * 60 * 1_000;
/// Open HTTP connections.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Open feeds and live channels; a further one gets 503.
pub const STREAMS_MAX: usize = 1_024;
/// Time without progress in writing an answer, after which the connection is closed.
pub const WRITE_IDLE_MS: u64 = 30_000;
/// Silence on a feed before a heartbeat.
pub const HEARTBEAT_MS: u64 = 15_000;
/// The longest that a feed or a live channel of a key is open after the key or its right has ended; what is delivered is asked for
/// at once, so this is for silence alone.
pub const RIGHTS_LOOK_MS: u64 = 1_000;
/// Events between two cursors of an NDJSON feed.
pub const CURSOR_EVERY_EVENTS: u32 = 256;
