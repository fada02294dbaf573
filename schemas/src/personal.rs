//! Personal data, sealed before the kernel ever sees it.
//!
//! A [`Personal<T>`] holds ciphertext only, or the name of ciphertext that is kept beside the log. It is sealed once, where
//! a command enters the node (inside [`sealing`]) or where an effect ends, and opened only by whoever holds an [`Opener`]:
//! `decide` through its context, the HTTP face, and performers. `evolve` and `react` get no opener, so the fold of a
//! stream is the same before and after a subject's key is destroyed, and snapshots and hashes run over ciphertext.
//!
//! Cipher: XChaCha20-Poly1305 (random 192-bit nonce) under the subject's data key; the subject is bound as associated
//! data. Stored form of a small value: `{"$sealed": base64url(nonce ‖ ciphertext), "$subject": "org/principal"}`. A larger
//! one ([`Sealer::inline_max`]) is kept as a blob, and its record says `{"$blob": SHA-256 of the blob, "$size": bytes of
//! what is sealed, "$subject": "org/principal"}` ([`BlobRef`]). What is sealed is the value's JSON; a text that is kept, or
//! that JSON would blow up with escapes, is sealed as itself behind a zero byte, which no JSON begins with.

mod blob;
mod error;
mod made;
mod scope;
mod secret;
mod show;
pub mod value;

pub use crate::marks::{BLOB_KEY, SEALED_KEY, SECRET_KEY, SIZE_KEY, SUBJECT_KEY, TYPE_KEY, is_sealing};
pub use blob::{BlobRef, Brought, Withheld, Within};
pub use error::SealError;
pub(crate) use made::WithMade;
pub use made::{Made, NewValue};
pub use scope::{each_sealed_on_entry, sealed_on_entry, sealing};
pub use secret::{SecretValue, hide_secrets, holds_secret};
pub use show::{contains_blob, open_all, redacted, show_all};

use crate::{
    digest::Digest,
    limits::{VALUE_ENCODED_MAX_BYTES, VALUE_INLINE_MAX_BYTES},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _, ser::Error as _};
use sha2::Sha256;
use std::{borrow::Cow, fmt, marker::PhantomData};

/// Whose data it is: `org/principal`. Each subject has one data key.
pub type Subject = String;

/// A subject's 256-bit data key.
#[derive(Clone)]
pub struct DataKey(pub [u8; 32]);

impl DataKey {
    /// The key of a value of several subjects, derived (HKDF-SHA-256) from all of theirs: without any one of them there is none.
    /// `None` where it is one subject's.
    pub fn joint(subject: &str, one: impl Fn(&str) -> Result<Option<DataKey>, SealError>) -> Option<Result<Option<DataKey>, SealError>> {
        if !subject.contains(value::SUBJECTS_SEPARATOR) {
            return None;
        }
        let mut keys = Vec::new();
        for name in subject.split(value::SUBJECTS_SEPARATOR) {
            match one(name) {
                Ok(Some(key)) => keys.extend_from_slice(&key.0),
                other => return Some(other),
            }
        }
        let mut derived = [0; 32];
        let salt = b"quipu value of several subjects";
        // 32 bytes are always within what the function gives.
        Some(
            match Hkdf::<Sha256>::new(Some(salt), &keys).expand(subject.as_bytes(), &mut derived) {
                Ok(()) => Ok(Some(DataKey(derived))),
                Err(error) => Err(SealError::Store(error.to_string())),
            },
        )
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// Gives a subject's key, making (durably) a first one where there is none, and keeps what is too large for a record.
pub trait Sealer: Send + Sync {
    /// The key to seal `subject`'s data with.
    fn sealing_key(&self, subject: &str) -> Result<DataKey, SealError>;

    /// A nonce that was never used with any key: random, except where simulation needs equal runs to give equal bytes.
    fn nonce(&self) -> Result<[u8; 24], SealError> {
        let mut nonce = [0u8; 24];
        getrandom::fill(&mut nonce).map_err(|e| SealError::Store(e.to_string()))?;
        Ok(nonce)
    }

    /// Largest value, in the form that is sealed, that stands in its record; a larger one is given to [`Sealer::keep`].
    fn inline_max(&self) -> usize {
        usize::MAX
    }

    /// Destroys `subject`'s key for good, durably; `false` where this store destroys none.
    fn shred(&self, subject: &str) -> Result<bool, SealError> {
        let _ = subject;
        Ok(false)
    }

    /// Keeps a sealed value; durable on return, so that a record may name it. May block.
    fn keep(&self, subject: &str, blob: Vec<u8>) -> Result<Digest, SealError> {
        let _ = subject;
        Err(SealError::NotShared { size: blob.len() })
    }
}

/// Gives a subject's key for reading; `None` once it was destroyed. Finds what [`Sealer::keep`] kept.
pub trait Opener: Send + Sync {
    /// The key to open `subject`'s data with.
    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError>;

    /// The sealed bytes of a value, checked against their name. May block.
    fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
        Err(SealError::Missing(blob.digest))
    }

    /// Largest value, in the form that is sealed, that a decision puts into its record.
    fn inline_max(&self) -> usize {
        VALUE_INLINE_MAX_BYTES
    }

    /// Whether a decision may make values that are kept beside the log.
    fn may_keep(&self) -> bool {
        true
    }
}

/// Sealing and opening under one roof, for shells that do both.
pub trait Keys: Sealer + Opener {}
impl<T: Sealer + Opener> Keys for T {}

/// An opened value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened<T> {
    /// The value.
    Value(T),
    /// The subject's key is gone.
    Erased,
}

impl<T> Opened<T> {
    /// The value, unless erased.
    pub fn value(self) -> Option<T> {
        match self {
            Opened::Value(value) => Some(value),
            Opened::Erased => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// base64url(nonce ‖ ciphertext).
    Inline(String),
    /// Kept beside the log; bytes of what is sealed.
    Blob(Digest, u64),
}

/// A sealed value of type `T` (see the module's documentation).
pub struct Personal<T> {
    subject: Subject,
    form: Form,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Personal<T> {
    fn clone(&self) -> Self {
        Self::new(self.subject.clone(), self.form.clone())
    }
}
impl<T> PartialEq for Personal<T> {
    fn eq(&self, other: &Self) -> bool {
        self.subject == other.subject && self.form == other.form
    }
}
impl<T> Eq for Personal<T> {}
impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Personal({}, sealed)", self.subject)
    }
}

impl<T: Serialize + DeserializeOwned> Personal<T> {
    /// Seals `value` for `subject`; a large one is kept by the sealer. May block.
    pub fn seal(value: &T, subject: &str, sealer: &dyn Sealer) -> Result<Self, SealError> {
        let plain = plain_of(value, sealer.inline_max()).map_err(|e| SealError::Form(subject.into(), e.to_string()))?;
        if plain.len() > VALUE_ENCODED_MAX_BYTES {
            return Err(SealError::TooLarge { size: plain.len() });
        }
        let key = sealer.sealing_key(subject)?;
        let sealed = seal_bytes(&key, subject, sealer.nonce()?, &plain)?;
        let form = if plain.len() <= sealer.inline_max() {
            Form::Inline(URL_SAFE_NO_PAD.encode(sealed))
        } else {
            let digest = sealer.keep(subject, blob::enclose(subject, &sealed))?;
            Form::Blob(digest, plain.len() as u64)
        };
        Ok(Self::new(subject.to_owned(), form))
    }

    /// Opens the value. May block where it is kept beside the log.
    pub fn open(&self, opener: &dyn Opener) -> Result<Opened<T>, SealError> {
        let opened = match &self.form {
            Form::Inline(sealed) => open_text(&self.subject, sealed, opener)?,
            Form::Blob(..) => self.blob().expect("a blob").open(opener)?,
        };
        match opened {
            Opened::Erased => Ok(Opened::Erased),
            Opened::Value(plain) => value_of(&plain)
                .map(Opened::Value)
                .map_err(|e| SealError::Form(self.subject.clone(), e.to_string())),
        }
    }

    /// Opens the value for readers, as [`show_all`] does: one that will never open counts as erased.
    pub fn shown(&self, opener: &dyn Opener) -> Result<Opened<T>, SealError> {
        match self.open(opener) {
            Err(error) if error.is_lasting() => Ok(Opened::Erased),
            other => other,
        }
    }
}

impl<T> Personal<T> {
    fn new(subject: Subject, form: Form) -> Self {
        Self {
            subject,
            form,
            of: PhantomData,
        }
    }

    /// A value that is kept beside the log already; whether it is a `T` shows when it is opened.
    pub fn kept(blob: BlobRef) -> Self {
        Self::new(blob.subject, Form::Blob(blob.digest, blob.size))
    }

    /// Whose data it is.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The blob that it is kept in, unless it stands in its record.
    pub fn blob(&self) -> Option<BlobRef> {
        match &self.form {
            Form::Inline(_) => None,
            Form::Blob(digest, size) => Some(BlobRef {
                digest: *digest,
                size: *size,
                subject: self.subject.clone(),
            }),
        }
    }

    /// Bytes that it takes in a record, beside its subject.
    pub fn sealed_len(&self) -> usize {
        match &self.form {
            Form::Inline(sealed) => sealed.len(),
            Form::Blob(..) => blob::NAMED_BYTES,
        }
    }

    /// Bytes of what is sealed, known without opening it: the value's JSON, or a text and one byte more.
    pub fn plain_len(&self) -> usize {
        match &self.form {
            Form::Inline(sealed) => (sealed.len() * 3 / 4).saturating_sub(NONCE_BYTES + TAG_BYTES),
            Form::Blob(_, size) => usize::try_from(*size).unwrap_or(usize::MAX),
        }
    }
}

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Before a text that is sealed as itself.
const TEXT_MARK: u8 = 0;
/// Longest text, as JSON, that is sealed as JSON in its record, as all were once.
const TEXT_AS_JSON_BYTES: usize = 64 * 1024;

/// What is sealed of a value: its JSON, or, of a text that is kept beside the log or that JSON would blow up with escapes,
/// the text itself behind a mark. So a kept text's size is known to the byte without opening it.
fn plain_of(value: &impl Serialize, inline_max: usize) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(value)?;
    if json.first() != Some(&b'"') || json.len() <= inline_max.min(TEXT_AS_JSON_BYTES) {
        return Ok(json);
    }
    let text: String = serde_json::from_slice(&json)?;
    let mut plain = Vec::with_capacity(text.len() + 1);
    plain.push(TEXT_MARK);
    plain.extend_from_slice(text.as_bytes());
    Ok(plain)
}

fn value_of<T: DeserializeOwned>(plain: &[u8]) -> Result<T, serde_json::Error> {
    match plain.split_first() {
        Some((&TEXT_MARK, text)) => match std::str::from_utf8(text) {
            Ok(text) => T::deserialize(serde_json::Value::from(text)),
            Err(e) => Err(serde::de::Error::custom(e)),
        },
        _ => serde_json::from_slice(plain),
    }
}

fn seal_bytes(key: &DataKey, subject: &str, nonce: [u8; NONCE_BYTES], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let cipher = XChaCha20Poly1305::new((&key.0).into());
    let body = cipher
        .encrypt(
            XNonce::from_slice(&nonce),
            Payload {
                msg: plain,
                aad: subject.as_bytes(),
            },
        )
        .map_err(|_| SealError::Damaged(subject.into()))?;
    let mut out = nonce.to_vec();
    out.extend_from_slice(&body);
    Ok(out)
}

fn open_text(subject: &str, sealed: &str, opener: &dyn Opener) -> Result<Opened<Vec<u8>>, SealError> {
    let Some(key) = opener.opening_key(subject)? else {
        return Ok(Opened::Erased);
    };
    let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| SealError::Damaged(subject.to_owned()))?;
    open_bytes(&key, subject, &bytes).map(Opened::Value)
}

fn open_bytes(key: &DataKey, subject: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let damaged = || SealError::Damaged(subject.to_owned());
    let (nonce, body) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
    XChaCha20Poly1305::new((&key.0).into())
        .decrypt(
            XNonce::from_slice(nonce),
            Payload {
                msg: body,
                aad: subject.as_bytes(),
            },
        )
        .map_err(|_| damaged())
}

/// How a value that stands in its record is written; also how both forms are written in binary (snapshots), where the
/// text of a name begins with a character that base64url has not.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inline<'a> {
    #[serde(rename = "$sealed")]
    sealed: Cow<'a, str>,
    #[serde(rename = "$subject")]
    subject: Cow<'a, str>,
}

/// Either form, as it is read from JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(rename = "$sealed", default)]
    sealed: Option<String>,
    #[serde(rename = "$blob", default)]
    blob: Option<Digest>,
    #[serde(rename = "$size", default)]
    size: Option<u64>,
    #[serde(rename = "$subject")]
    subject: Subject,
    /// The type of a value of any type ([`value`]).
    #[serde(rename = "$type", default)]
    #[allow(dead_code)]
    type_name: Option<serde::de::IgnoredAny>,
}

impl<T> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let sealed = match &self.form {
            Form::Inline(sealed) if sealed.is_empty() => return Err(S::Error::custom("unsealed personal value")),
            Form::Inline(sealed) => Cow::Borrowed(sealed.as_str()),
            Form::Blob(digest, size) if s.is_human_readable() => {
                let (digest, size, subject) = (*digest, *size, self.subject.clone());
                return BlobRef { digest, size, subject }.serialize(s);
            }
            Form::Blob(digest, size) => Cow::Owned(blob::text_of(digest, *size)),
        };
        let subject = Cow::Borrowed(self.subject.as_str());
        Inline { sealed, subject }.serialize(s)
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if let Some(scope) = scope::current() {
            return scope.take(serde_json::Value::deserialize(d)?).map_err(D::Error::custom);
        }
        if !d.is_human_readable() {
            let Inline { sealed, subject } = Inline::deserialize(d)?;
            let form = match blob::of_text(&sealed) {
                Some((digest, size)) => Form::Blob(digest, size),
                None => Form::Inline(sealed.into_owned()),
            };
            return Ok(Self::new(subject.into_owned(), form));
        }
        let stored = Stored::deserialize(d)?;
        let form = match (stored.sealed, stored.blob, stored.size) {
            (Some(sealed), None, None) => Form::Inline(sealed),
            (None, Some(digest), Some(size)) => Form::Blob(digest, size),
            _ => return Err(D::Error::custom("a sealed value has `$sealed`, or `$blob` and `$size`")),
        };
        Ok(Self::new(stored.subject, form))
    }
}

impl<T: JsonSchema> JsonSchema for Personal<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod tests;
