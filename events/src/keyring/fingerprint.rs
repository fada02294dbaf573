//! Which keys belong to a log: a fingerprint of its key for command digests, kept outside the keys.
//!
//! ```text
//! keys.fingerprint  quipu-keys-1 <hex of 32 bytes> <crc32 hex>
//! ```
//! The key is random, and the fingerprint a hash of it, so it may lie beside the log and in a backup without keys.

use super::{
    KeyringError,
    file::{crc, create, io},
};
use quipu_schemas::{digest::Digest, personal::DataKey};
use std::{fs, io::ErrorKind, path::Path};

/// Name of the fingerprint within a data directory.
pub const FINGERPRINT_FILE: &str = "keys.fingerprint";
const FORMAT: &str = "quipu-keys-1";

pub(super) fn of(digest_key: &DataKey) -> String {
    hex::encode(Digest::of(&[b"quipu fingerprint of keys\0", &digest_key.0]).0)
}

/// The fingerprint that a data directory notes; `None` if it notes none.
pub(super) fn read(data_dir: &Path) -> Result<Option<String>, KeyringError> {
    let path = data_dir.join(FINGERPRINT_FILE);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(&path)(error)),
    };
    let fields: Vec<&str> = text.strip_suffix('\n').unwrap_or_default().split(' ').collect();
    match fields[..] {
        [FORMAT, noted, sum] if crc(FORMAT, noted) == sum => Ok(Some(noted.to_owned())),
        _ => Err(KeyringError::Fingerprint(path.display().to_string())),
    }
}

/// Replaces what a data directory notes; durable on return.
pub(super) fn write(data_dir: &Path, fingerprint: &str) -> Result<(), KeyringError> {
    let text = format!("{FORMAT} {fingerprint} {}\n", crc(FORMAT, fingerprint));
    create(data_dir, &data_dir.join(FINGERPRINT_FILE), &text)
}
