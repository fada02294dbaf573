//! Lines of the file of data keys: their sums and hashes, and what is left of one whose key was destroyed.

use quipu_schemas::personal::{DataKey, Subject};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// How a line begins whose key was destroyed.
const MARK: &str = "erased:";

/// The data keys of a file, that of command digests under the empty subject, and whose were destroyed.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) held: BTreeMap<Subject, DataKey>,
    pub(super) erased: BTreeSet<Subject>,
}

pub(super) fn crc(a: &str, b: &str) -> String {
    format!("{:08x}", crc32fast::hash(format!("{a} {b}").as_bytes()))
}

/// A line in place of one whose key is destroyed, without its end.
pub(super) fn line_for(line: &str, subject: &str) -> String {
    let hash = format!("{MARK}{}", hex::encode(hash_of(line.as_bytes())));
    let subject = serde_json::Value::from(subject).to_string();
    format!("{hash} {} {subject}", crc(&hash, &subject))
}

/// Whose line it was, if its key is destroyed.
pub(super) fn subject_of(line: &str) -> Option<Subject> {
    let mut fields = line.splitn(3, ' ');
    let (hash, sum, subject) = (fields.next()?, fields.next()?, fields.next()?);
    let is_whole = hash.starts_with(MARK) && crc(hash, subject) == sum;
    is_whole.then(|| serde_json::from_str(subject).ok()).flatten()
}

/// The hash of a line as it was written, also where its key is destroyed. Without its end.
pub(super) fn hash_of(line: &[u8]) -> [u8; 32] {
    let kept = std::str::from_utf8(line).ok().filter(|text| subject_of(text).is_some());
    let kept = kept.and_then(|text| text.strip_prefix(MARK)?.split(' ').next());
    let mut hash = [0; 32];
    match kept.map(|text| hex::decode_to_slice(text, &mut hash)) {
        Some(Ok(())) => hash,
        Some(Err(_)) | None => Sha256::digest(line).into(),
    }
}
