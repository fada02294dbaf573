//! Values, and the blobs that hold the large ones.

/// Largest value: a model's answer, a tool's result, an upload.
pub const VALUE_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Largest value as JSON text, which is what is sealed: room for escapes, and for what stands around a text.
pub const VALUE_ENCODED_MAX_BYTES: usize = 2 * VALUE_MAX_BYTES + 64 * 1024;
/// Largest value that stands in its record, as JSON text; a larger one is stored once, beside the log, and named by its
/// record. A blob costs a second sync before the record's, a value in the record a third more bytes (base64) in every
/// event, reaction and snapshot that holds it.
pub const VALUE_INLINE_MAX_BYTES: usize = 2 * 1024;
/// Largest value where there is no store that all nodes of a log share: it stands in its record, whatever that costs.
pub const VALUE_UNSHARED_MAX_BYTES: usize = 66 * 1024;
/// Largest value that answers and feeds show in place; a larger one is named, and fetched by itself.
pub const VALUE_SHOWN_MAX_BYTES: usize = 64 * 1024 + 64;
/// Values that one decision looks into, together.
pub const NEEDS_MAX_BYTES: usize = 1024 * 1024 + 4 * 1024;
/// Values that one entity refers to at a time, together.
pub const ENTITY_VALUES_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Largest blob: a sealed value with what names its subject.
pub const BLOB_MAX_BYTES: usize = VALUE_ENCODED_MAX_BYTES + 1024;
/// Largest blob of a directory that is a row of its one file: above it, a file of its own is as fast, and is written once.
pub const BLOB_PACKED_MAX_BYTES: usize = 64 * 1024;
/// How long another process may hold that file, milliseconds.
pub const BLOB_BUSY_MS: u64 = 10_000;
/// Stores and deletions that wait for the writer of a directory of blobs.
pub const BLOB_QUEUE_MAX: usize = 1_024;
/// Bytes of blobs past which a directory's writer syncs before it takes more.
pub const BLOB_GROUP_BYTES: usize = 16 * 1024 * 1024;
/// Connections on which a directory of blobs is read.
pub const BLOB_READERS: usize = 4;
/// Blobs listed at once.
pub const BLOB_PAGE_MAX: usize = 1_000;
/// How long one request to a blob store on other machines is waited for, milliseconds.
pub const BLOB_REQUEST_MS: u64 = 20_000;
/// Times that a request to a bucket is sent while the server says that it cannot answer just now.
pub const BLOB_REQUEST_ATTEMPTS: u32 = 4;
/// First and longest pause between them, in milliseconds.
pub const BLOB_REQUEST_PAUSE_MS: (u64, u64) = (200, 1_000);
/// How often blobs that no record names are looked for, milliseconds.
pub const BLOB_SWEEP_EVERY_MS: u64 = 24 * 60 * 60 * 1000;
/// Age at which a blob that no record names may be deleted, milliseconds. An upload must be used before.
pub const BLOB_GRACE_MS: u64 = 24 * 60 * 60 * 1000;
/// Most days after which an org may have its large values deleted.
pub const RETENTION_DAYS_MAX: u64 = 36_500;
/// Bytes that the name of a value takes in a record, at most as a rule.
pub const VALUE_NAME_BYTES: usize = 256;
/// Subjects of one value, at most: what was computed from values of more is refused.
pub const VALUE_SUBJECTS_MAX: usize = 16;
