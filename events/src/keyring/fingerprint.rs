//! Which keys belong to a log, and how many of them it has used: kept outside the keys.
//!
//! ```text
//! keys.fingerprint  quipu-keys-3 <hex of 32 bytes> <log id> <data keys> <hex of 32 bytes> <crc32 hex>
//! ```
//! The first hash is one of the key of command digests, the second one of the hashes of the first so many lines of `subjects.keys`,
//! as they were written (a line keeps its hash when its key is destroyed). Neither tells a key, so the file may lie beside the log and in a backup without keys. It is written at the start,
//! each second in which a key was made, and at an orderly stop: after a crash it may lag behind the keys, and never leads them.
//!
//! Format 1 had the first hash alone, format 2 one of the lines as they are stored; they are replaced at the next start.

use super::{
    KeyringError,
    line::crc,
    whole::{create, io},
};
use quipu_schemas::{digest::Digest, personal::DataKey, position::LogId};
use std::{fs, io::ErrorKind, path::Path};

/// Name of the fingerprint within a data directory.
pub const FINGERPRINT_FILE: &str = "keys.fingerprint";
const FORMAT_1: &str = "quipu-keys-1";
const FORMAT_2: &str = "quipu-keys-2";
const FORMAT: &str = "quipu-keys-3";

/// The first lines of the file of data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// How many, that of command digests included.
    pub(super) keys: u64,
    /// Hash of their bytes.
    pub(super) digest: Digest,
}

/// What a data directory notes of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Hash of the key of command digests, in hex.
    pub(super) keys: String,
    /// Of which log, and how many keys it has used; not known of format 1.
    pub(super) used: Option<(LogId, Used)>,
    /// Whether the second hash is one of the lines as they are stored.
    pub(super) as_stored: bool,
}

pub(super) fn of(digest_key: &DataKey) -> String {
    hex::encode(Digest::of(&[b"quipu fingerprint of keys\0", &digest_key.0]).0)
}

/// The fingerprint that a data directory notes; `None` if it notes none.
pub(super) fn read(data_dir: &Path) -> Result<Option<Fingerprint>, KeyringError> {
    let path = data_dir.join(FINGERPRINT_FILE);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(&path)(error)),
    };
    let parsed = text.strip_suffix('\n').and_then(parse);
    parsed
        .map(Some)
        .ok_or_else(|| KeyringError::Fingerprint(path.display().to_string()))
}

fn parse(line: &str) -> Option<Fingerprint> {
    let (content, sum) = line.rsplit_once(' ')?;
    let (format, rest) = content.split_once(' ')?;
    if crc(format, rest) != sum {
        return None;
    }
    let fields: Vec<&str> = rest.split(' ').collect();
    match (format, &fields[..]) {
        (FORMAT_1, [keys]) => Some(Fingerprint {
            keys: (*keys).to_owned(),
            used: None,
            as_stored: false,
        }),
        (FORMAT | FORMAT_2, [keys, log, count, digest]) => {
            let (mut id, mut hash) = ([0; 16], [0; 32]);
            hex::decode_to_slice(log, &mut id).ok()?;
            hex::decode_to_slice(digest, &mut hash).ok()?;
            let used = Used {
                keys: count.parse().ok()?,
                digest: Digest(hash),
            };
            Some(Fingerprint {
                keys: (*keys).to_owned(),
                used: Some((LogId(id), used)),
                as_stored: format == FORMAT_2,
            })
        }
        _ => None,
    }
}

/// Replaces what a data directory notes; durable on return.
pub(super) fn write(data_dir: &Path, keys: &str, log: LogId, used: Used) -> Result<(), KeyringError> {
    let (log, digest) = (hex::encode(log.0), hex::encode(used.digest.0));
    let rest = format!("{keys} {log} {} {digest}", used.keys);
    let text = format!("{FORMAT} {rest} {}\n", crc(FORMAT, &rest));
    create(data_dir, &data_dir.join(FINGERPRINT_FILE), &text)
}
