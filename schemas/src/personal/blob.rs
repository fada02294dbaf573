//! Sealed values that are kept beside the log: their names in records, their stored bytes.

use super::{BLOB_KEY, DataKey, Keys, NONCE_BYTES, Opened, Opener, SIZE_KEY, SUBJECT_KEY, SealError, Sealer, Subject, open_bytes};
use crate::{digest::Digest, ids::OrgId, marks::TYPE_KEY};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes that a name takes in a record, about.
pub(super) const NAMED_BYTES: usize = 96;
/// How a blob begins: a value of format 1, sealed. The subject follows, so that a blob tells by itself whose it is.
const MAGIC: &[u8; 5] = b"QVAL1";

/// A value kept beside the log, as a record names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// SHA-256 of the blob: of what is stored, not of the value.
    #[serde(rename = "$blob")]
    pub digest: Digest,
    /// Bytes of what is sealed: of a text its own and one more, of anything else those of its JSON.
    #[serde(rename = "$size")]
    pub size: u64,
    /// Whose data it is; its org is where the blob is kept.
    #[serde(rename = "$subject")]
    pub subject: Subject,
}

impl BlobRef {
    /// The org whose blob it is.
    pub fn org(&self) -> Option<OrgId> {
        Self::org_of(&self.subject)
    }

    /// The org of a subject, where its values are kept.
    pub fn org_of(subject: &str) -> Option<OrgId> {
        OrgId::parse(subject.split_once('/')?.0).ok()
    }

    /// The name that a JSON value is, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        if map.len() != 3 + usize::from(map.contains_key(TYPE_KEY)) {
            return None;
        }
        Some(Self {
            digest: map.get(BLOB_KEY)?.as_str()?.parse().ok()?,
            size: map.get(SIZE_KEY)?.as_u64()?,
            subject: map.get(SUBJECT_KEY)?.as_str()?.to_owned(),
        })
    }

    /// Visits every name inside a JSON value.
    pub fn each_in(value: &Value, visit: &mut dyn FnMut(BlobRef)) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| Self::each_in(item, visit)),
            Value::Object(map) => match Self::of(value) {
                Some(blob) => visit(blob),
                None => map.values().for_each(|item| Self::each_in(item, visit)),
            },
            _ => {}
        }
    }

    /// Whether stored bytes may hold a name: quick, and wrong only where they hold none.
    pub fn may_be_in(bytes: &[u8]) -> bool {
        const MARK: &[u8] = b"\"$blob\"";
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
            if at > 0 && rest[at - 1..].starts_with(MARK) {
                return true;
            }
            rest = &rest[at + 1..];
        }
        false
    }

    /// Opens the value; the bytes that were sealed. May block.
    pub fn open(&self, opener: &dyn Opener) -> Result<Opened<Vec<u8>>, SealError> {
        match opener.opening_key(&self.subject)? {
            // Not asked for: it may be gone with the key.
            None => Ok(Opened::Erased),
            Some(key) => self.open_stored(&key, &opener.kept(self)?).map(Opened::Value),
        }
    }

    fn open_stored(&self, key: &DataKey, stored: &[u8]) -> Result<Vec<u8>, SealError> {
        let damaged = || SealError::Damaged(self.subject.clone());
        let (subject, sealed) = disclose(stored).ok_or_else(damaged)?;
        if subject != self.subject {
            return Err(damaged());
        }
        let plain = open_bytes(key, subject, sealed)?;
        if plain.len() as u64 == self.size {
            Ok(plain)
        } else {
            Err(damaged())
        }
    }

    /// What a blob of this name is, by its own word: whose, and how large. `None` if it is not a sealed value.
    pub fn told_by(digest: Digest, stored: &[u8]) -> Option<Self> {
        let (subject, sealed) = disclose(stored)?;
        Some(Self {
            digest,
            size: sealed.len().checked_sub(NONCE_BYTES + super::TAG_BYTES)? as u64,
            subject: subject.to_owned(),
        })
    }
}

/// A blob's bytes.
pub(super) fn enclose(subject: &str, sealed: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(MAGIC.len() + 2 + subject.len() + sealed.len());
    blob.extend_from_slice(MAGIC);
    blob.extend_from_slice(&(subject.len() as u16).to_le_bytes());
    blob.extend_from_slice(subject.as_bytes());
    blob.extend_from_slice(sealed);
    blob
}

/// Subject and ciphertext of a blob.
fn disclose(blob: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = blob.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
    let (subject, sealed) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(subject).ok()?, sealed))
}

/// A name in binary forms, in place of the sealed text; no base64url begins like it.
pub(super) fn text_of(digest: &Digest, size: u64) -> String {
    format!("blob:{digest}:{size}")
}

pub(super) fn of_text(text: &str) -> Option<(Digest, u64)> {
    let (digest, size) = text.strip_prefix("blob:")?.split_once(':')?;
    Some((digest.parse().ok()?, size.parse().ok()?))
}

/// An opener that finds the values that were brought for it and no others: what looks into one of these does no I/O.
pub struct Brought<'a> {
    keys: &'a dyn Opener,
    values: BTreeMap<Digest, Result<Vec<u8>, SealError>>,
}

impl<'a> Brought<'a> {
    /// Opens with these keys.
    pub fn new(keys: &'a dyn Opener, values: BTreeMap<Digest, Result<Vec<u8>, SealError>>) -> Self {
        Self { keys, values }
    }
}

impl Opener for Brought<'_> {
    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
        self.keys.opening_key(subject)
    }

    fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
        let brought = self.values.get(&blob.digest).cloned();
        brought.unwrap_or(Err(SealError::NotBrought(blob.digest)))
    }

    fn inline_max(&self) -> usize {
        self.keys.inline_max()
    }

    fn may_keep(&self) -> bool {
        self.keys.may_keep()
    }
}

/// An opener that fetches values up to so many bytes together; what is beyond it was not brought, and stays a name where it
/// is shown. For pages, whose memory is bounded.
pub struct Within<'a> {
    keys: &'a dyn Opener,
    left: AtomicU64,
}

impl<'a> Within<'a> {
    /// Opens with these keys, at most so many bytes of what is kept beside the log.
    pub fn new(keys: &'a dyn Opener, most: usize) -> Self {
        Self {
            keys,
            left: AtomicU64::new(most as u64),
        }
    }
}

impl Opener for Within<'_> {
    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
        self.keys.opening_key(subject)
    }

    fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(blob.size));
        match taken {
            Ok(_) => self.keys.kept(blob),
            Err(_) => Err(SealError::NotBrought(blob.digest)),
        }
    }
}

/// Opens nothing: for readers who may not see personal values. What seals still seals.
pub struct Withheld(pub Arc<dyn Keys>);

impl Opener for Withheld {
    fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
        Err(SealError::Withheld)
    }

    fn kept(&self, _: &BlobRef) -> Result<Vec<u8>, SealError> {
        Err(SealError::Withheld)
    }
}

impl Sealer for Withheld {
    fn sealing_key(&self, subject: &str) -> Result<DataKey, SealError> {
        self.0.sealing_key(subject)
    }

    fn nonce(&self) -> Result<[u8; 24], SealError> {
        self.0.nonce()
    }

    fn inline_max(&self) -> usize {
        Sealer::inline_max(&*self.0)
    }

    fn keep(&self, subject: &str, blob: Vec<u8>) -> Result<Digest, SealError> {
        self.0.keep(subject, blob)
    }
}
