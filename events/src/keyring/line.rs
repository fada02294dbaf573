//! Lines of the file of data keys: their seals, sums and hashes, and what is left of one whose key was destroyed.

use super::KeyringError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use quipu_schemas::personal::{DataKey, Subject};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What the names of documents begin with.
pub(super) const DOCUMENT: &str = "document:";

/// Whether a line of this name holds a document and no data key.
pub(super) fn is_document(subject: &str) -> bool {
    subject.starts_with(DOCUMENT)
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], KeyringError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| KeyringError::Entropy(e.to_string()))?;
    Ok(bytes)
}

/// How a line begins whose key was destroyed.
const MARK: &str = "erased:";

/// The data keys of a file, that of command digests under the empty subject, its documents, and whose keys were destroyed.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) held: BTreeMap<Subject, DataKey>,
    pub(super) documents: BTreeMap<Subject, Vec<u8>>,
    pub(super) erased: BTreeSet<Subject>,
}

pub(super) fn crc(a: &str, b: &str) -> String {
    format!("{:08x}", crc32fast::hash(format!("{a} {b}").as_bytes()))
}

pub(super) fn wrap(master: &DataKey, subject: &str, secret: &[u8]) -> Result<String, KeyringError> {
    let nonce: [u8; 24] = random()?;
    let sealed = XChaCha20Poly1305::new((&master.0).into())
        .encrypt(
            XNonce::from_slice(&nonce),
            Payload {
                msg: secret,
                aad: subject.as_bytes(),
            },
        )
        .map_err(|e| KeyringError::Entropy(e.to_string()))?;
    let mut bytes = nonce.to_vec();
    bytes.extend_from_slice(&sealed);
    let wrapped = URL_SAFE_NO_PAD.encode(bytes);
    let subject = serde_json::Value::from(subject).to_string();
    Ok(format!("{wrapped} {} {subject}\n", crc(&wrapped, &subject)))
}

/// `None`: the line is not what was written. `Some(.., None)`: it is, and another master key wrapped it.
pub(super) fn unwrap_bytes(master: &DataKey, line: &str) -> Option<(Subject, Option<Vec<u8>>)> {
    let mut fields = line.splitn(3, ' ');
    let (wrapped, sum, subject) = (fields.next()?, fields.next()?, fields.next()?);
    if crc(wrapped, subject) != sum {
        return None;
    }
    let subject: Subject = serde_json::from_str(subject).ok()?;
    let bytes = URL_SAFE_NO_PAD.decode(wrapped).ok()?;
    let (nonce, sealed) = bytes.split_at_checked(24)?;
    let payload = Payload {
        msg: sealed,
        aad: subject.as_bytes(),
    };
    let opened = XChaCha20Poly1305::new((&master.0).into())
        .decrypt(XNonce::from_slice(nonce), payload)
        .ok();
    Some((subject, opened))
}

/// The same of a line that holds a data key.
pub(super) fn unwrap(master: &DataKey, line: &str) -> Option<(Subject, Option<DataKey>)> {
    let (subject, opened) = unwrap_bytes(master, line)?;
    Some((subject, opened.and_then(|key| key.try_into().ok()).map(DataKey)))
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
