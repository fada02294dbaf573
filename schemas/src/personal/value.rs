//! Values of any type: free-form JSON in which a value may stand in the clear, or sealed under its own subject.
//!
//! A sealed one is the stored form of a [`super::Personal`], with one word more where it is kept beside the log: `$type`,
//! the type of the JSON, so that a type is checked without opening. What is sealed never holds a name itself: a blob that
//! only ciphertext names could not be told from one that nobody names.

use super::{
    BLOB_KEY, BlobRef, NONCE_BYTES, Opened, Opener, Personal, SEALED_KEY, SUBJECT_KEY, SealError, Subject, TAG_BYTES, TYPE_KEY, blob,
    open_text, value_of,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use std::collections::BTreeSet;

/// Between the subjects of a value that was computed from values of several.
pub const SUBJECTS_SEPARATOR: char = ',';

/// The subject of what is computed from values of these: destroying the key of any of them erases it.
pub fn joint<'a>(subjects: impl IntoIterator<Item = &'a str>) -> Subject {
    let single: BTreeSet<&str> = subjects.into_iter().flat_map(|subject| subject.split(SUBJECTS_SEPARATOR)).collect();
    single.into_iter().collect::<Vec<_>>().join(",")
}

/// A sealed value among others, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed<'a> {
    /// In its record.
    Inline {
        /// Whose.
        subject: &'a str,
        /// base64url(nonce ‖ ciphertext).
        sealed: &'a str,
    },
    /// Beside the log.
    Blob(BlobRef),
}

impl<'a> Sealed<'a> {
    /// The sealed value that a JSON value is, if it is one.
    pub fn of(value: &'a Value) -> Option<Self> {
        let map = value.as_object()?;
        if map.contains_key(BLOB_KEY) {
            return BlobRef::of(value).map(Sealed::Blob);
        }
        match (map.get(SEALED_KEY)?, map.get(SUBJECT_KEY)?) {
            (Value::String(sealed), Value::String(subject)) => Some(Sealed::Inline { subject, sealed }),
            _ => None,
        }
    }

    /// Whose it is.
    pub fn subject(&self) -> &str {
        match self {
            Sealed::Inline { subject, .. } => subject,
            Sealed::Blob(blob) => &blob.subject,
        }
    }

    /// Bytes of what is sealed.
    pub fn size(&self) -> u64 {
        match self {
            Sealed::Inline { sealed, .. } => (sealed.len() * 3 / 4).saturating_sub(NONCE_BYTES + TAG_BYTES) as u64,
            Sealed::Blob(blob) => blob.size,
        }
    }

    /// Opens it. May block.
    pub fn open(&self, opener: &dyn Opener) -> Result<Opened<Value>, SealError> {
        let opened = match self {
            Sealed::Inline { subject, sealed } => open_text(subject, sealed, opener)?,
            Sealed::Blob(blob) => blob.open(opener)?,
        };
        match opened {
            Opened::Erased => Ok(Opened::Erased),
            Opened::Value(plain) => value_of(&plain)
                .map(Opened::Value)
                .map_err(|e| SealError::Form(self.subject().to_owned(), e.to_string())),
        }
    }
}

/// The type of a JSON value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type that a sealed value which is kept beside the log tells; texts that other kinds keep tell none.
pub fn type_told(value: &Value) -> Option<&str> {
    value.get(TYPE_KEY)?.as_str()
}

/// A sealed value in its stored form, telling its type where it is kept beside the log.
pub fn stored<T>(sealed: &Personal<T>, type_name: &str) -> Value {
    let mut value = serde_json::to_value(sealed).unwrap_or(Value::Null);
    if let Some(map) = value.as_object_mut().filter(|map| map.contains_key(BLOB_KEY)) {
        map.insert(TYPE_KEY.to_owned(), type_name.into());
    }
    value
}

/// Bytes of what is kept beside the log and named in a value, each once a name.
pub fn named_bytes(value: &Value) -> u64 {
    let mut bytes = 0;
    BlobRef::each_in(value, &mut |blob| bytes += blob.size);
    bytes
}

/// Bytes of a value: of what is sealed in its parts, and of the JSON around them.
pub fn size_of(value: &Value) -> u64 {
    if let Some(sealed) = Sealed::of(value) {
        return sealed.size();
    }
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => 2 + items.iter().map(|item| 1 + size_of(item)).sum::<u64>(),
        Value::Object(map) => 2 + map.iter().map(|(key, item)| 4 + key.len() as u64 + size_of(item)).sum::<u64>(),
    }
}

/// Whether a sealed value is part of it.
pub fn holds_sealed(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_sealed),
        Value::Object(map) => Sealed::of(value).is_some() || map.values().any(holds_sealed),
        _ => false,
    }
}

/// Opens a value with all its parts, in place, and says whose they were. An erased part is an error.
pub fn open_whole(value: &mut Value, opener: &dyn Opener, whose: &mut BTreeSet<Subject>) -> Result<(), SealError> {
    if let Some(sealed) = Sealed::of(value) {
        let opened = match sealed.open(opener)? {
            Opened::Value(opened) => opened,
            Opened::Erased => return Err(SealError::Erased(sealed.subject().to_owned())),
        };
        whose.insert(sealed.subject().to_owned());
        *value = opened;
        return Ok(());
    }
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|item| open_whole(item, opener, whose)),
        Value::Object(map) => map.values_mut().try_for_each(|item| open_whole(item, opener, whose)),
        _ => Ok(()),
    }
}

/// The blob of a sealed value that stands in its record: subject, and bytes to keep. It need not be opened for that.
pub fn blob_of_inline(sealed: &Sealed<'_>) -> Option<(Subject, Vec<u8>)> {
    let Sealed::Inline { subject, sealed } = sealed else { return None };
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    Some(((*subject).to_owned(), blob::enclose(subject, &bytes)))
}
