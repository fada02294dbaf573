//! Personal data, sealed before the kernel ever sees it.
//!
//! A [`Personal<T>`] holds ciphertext only. It is sealed once, where a command enters the node (inside
//! [`sealing`]), and opened only by whoever holds an [`Opener`]: `decide` through its context, the HTTP
//! face, and performers. `evolve` and `react` get no opener, so the fold of a stream is the same before
//! and after a subject's key is destroyed, and snapshots and hashes run over ciphertext.
//!
//! Cipher: XChaCha20-Poly1305 (random 192-bit nonce) under the subject's data key; the subject is bound
//! as associated data. Stored form: `{"$sealed": base64url(nonce ‖ ciphertext), "$subject": "org/principal"}`.
//! What is sealed is the value's JSON; a long text that JSON would blow up with escapes is sealed as itself behind a zero
//! byte, which no JSON begins with.

use crate::limits::MESSAGE_MAX_BYTES;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _, ser::Error as _};
use serde_json::Value;
use std::{borrow::Cow, cell::RefCell, fmt, marker::PhantomData, sync::Arc};

/// Marks a sealed value in stored JSON; refused in free-form JSON from clients.
pub const SEALED_KEY: &str = "$sealed";
/// Names the subject beside [`SEALED_KEY`].
pub const SUBJECT_KEY: &str = "$subject";

/// Whose data it is: `org/principal`. Each subject has one data key.
pub type Subject = String;

/// A subject's 256-bit data key.
#[derive(Clone)]
pub struct DataKey(pub [u8; 32]);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// Why sealing or opening failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key store could not be read or written.
    #[error("key store: {0}")]
    Store(String),
    /// The ciphertext does not open under the subject's key.
    #[error("sealed value of {0} does not open: wrong key or damaged")]
    Damaged(Subject),
    /// The opened bytes are not of the expected type.
    #[error("sealed value of {0} has an unexpected form: {1}")]
    Form(Subject, String),
}

/// Gives a subject's key, making (durably) a first one where there is none.
pub trait Sealer: Send + Sync {
    /// The key to seal `subject`'s data with.
    fn sealing_key(&self, subject: &str) -> Result<DataKey, SealError>;

    /// A nonce that was never used with any key: random, except where simulation needs equal runs to give equal bytes.
    fn nonce(&self) -> Result<[u8; 24], SealError> {
        let mut nonce = [0u8; 24];
        getrandom::fill(&mut nonce).map_err(|e| SealError::Store(e.to_string()))?;
        Ok(nonce)
    }
}

/// Gives a subject's key for reading; `None` once it was destroyed.
pub trait Opener: Send + Sync {
    /// The key to open `subject`'s data with.
    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError>;
}

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

/// A sealed value of type `T` (see the module's documentation).
pub struct Personal<T> {
    subject: Subject,
    sealed: String,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Personal<T> {
    fn clone(&self) -> Self {
        Self {
            subject: self.subject.clone(),
            sealed: self.sealed.clone(),
            of: PhantomData,
        }
    }
}
impl<T> PartialEq for Personal<T> {
    fn eq(&self, other: &Self) -> bool {
        self.subject == other.subject && self.sealed == other.sealed
    }
}
impl<T> Eq for Personal<T> {}
impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Personal({}, sealed)", self.subject)
    }
}

impl<T: Serialize + DeserializeOwned> Personal<T> {
    /// Seals `value` for `subject`.
    pub fn seal(value: &T, subject: &str, sealer: &dyn Sealer) -> Result<Self, SealError> {
        let plain = plain_of(value).map_err(|e| SealError::Form(subject.into(), e.to_string()))?;
        let key = sealer.sealing_key(subject)?;
        let sealed = seal_bytes(&key, subject, sealer.nonce()?, &plain)?;
        Ok(Self {
            subject: subject.to_owned(),
            sealed: URL_SAFE_NO_PAD.encode(sealed),
            of: PhantomData,
        })
    }

    /// Opens the value.
    pub fn open(&self, opener: &dyn Opener) -> Result<Opened<T>, SealError> {
        match open_text(&self.subject, &self.sealed, opener)? {
            Opened::Erased => Ok(Opened::Erased),
            Opened::Value(plain) => value_of(&plain)
                .map(Opened::Value)
                .map_err(|e| SealError::Form(self.subject.clone(), e.to_string())),
        }
    }
}

impl<T: Serialize + DeserializeOwned> Personal<T> {
    /// Opens the value for readers, as [`show_all`] does: one that does not open counts as erased.
    pub fn shown(&self, opener: &dyn Opener) -> Result<Opened<T>, SealError> {
        match self.open(opener) {
            Err(SealError::Damaged(_) | SealError::Form(..)) => Ok(Opened::Erased),
            other => other,
        }
    }
}

impl<T> Personal<T> {
    /// Whose data it is.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Bytes of the sealed text, a little over the plaintext's; bounds on bodies use it.
    pub fn sealed_len(&self) -> usize {
        self.sealed.len()
    }
}

/// Before a text that is sealed as itself.
const TEXT_MARK: u8 = 0;

/// What is sealed of a value. Texts whose JSON is no longer than a message may be stay JSON, as they always were.
fn plain_of(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(value)?;
    if json.len() <= MESSAGE_MAX_BYTES || json.first() != Some(&b'"') {
        return Ok(json);
    }
    let text: String = serde_json::from_slice(&json)?;
    // Quotes around it are two bytes, the mark is one.
    if text.len() + 2 == json.len() {
        return Ok(json);
    }
    let mut plain = Vec::with_capacity(text.len() + 1);
    plain.push(TEXT_MARK);
    plain.extend_from_slice(text.as_bytes());
    Ok(plain)
}

fn value_of<T: DeserializeOwned>(plain: &[u8]) -> Result<T, serde_json::Error> {
    match plain.split_first() {
        Some((&TEXT_MARK, text)) => match std::str::from_utf8(text) {
            Ok(text) => T::deserialize(Value::from(text)),
            Err(e) => Err(serde::de::Error::custom(e)),
        },
        _ => serde_json::from_slice(plain),
    }
}

fn seal_bytes(key: &DataKey, subject: &str, nonce: [u8; 24], plain: &[u8]) -> Result<Vec<u8>, SealError> {
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
    let damaged = || SealError::Damaged(subject.to_owned());
    let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| damaged())?;
    let (nonce, body) = bytes.split_at_checked(24).ok_or_else(damaged)?;
    XChaCha20Poly1305::new((&key.0).into())
        .decrypt(
            XNonce::from_slice(nonce),
            Payload {
                msg: body,
                aad: subject.as_bytes(),
            },
        )
        .map(Opened::Value)
        .map_err(|_| damaged())
}

/// Opens every sealed value inside stored JSON, in place; an erased one becomes `{"erased": true}`, and one that does
/// not open is an error: for rules, which must not decide on less than there is.
pub fn open_all(value: &mut Value, opener: &dyn Opener) -> Result<(), SealError> {
    each_sealed(value, &|subject, sealed| opened(subject, sealed, opener))
}

/// The same for people who read: a value that does not open (its key was lost, or it is damaged) is shown as an erased
/// one, so that it does not hide everything beside it. Only a key store that does not answer is an error.
pub fn show_all(value: &mut Value, opener: &dyn Opener) -> Result<(), SealError> {
    each_sealed(value, &|subject, sealed| match opened(subject, sealed, opener) {
        Err(SealError::Damaged(_) | SealError::Form(..)) => Ok(erased()),
        other => other,
    })
}

/// How an erased value is shown.
fn erased() -> Value {
    serde_json::json!({ "erased": true })
}

fn opened(subject: &str, sealed: &str, opener: &dyn Opener) -> Result<Value, SealError> {
    match open_text(subject, sealed, opener)? {
        Opened::Erased => Ok(erased()),
        Opened::Value(plain) => value_of(&plain).map_err(|e| SealError::Form(subject.to_owned(), e.to_string())),
    }
}

fn each_sealed(value: &mut Value, open: &dyn Fn(&str, &str) -> Result<Value, SealError>) -> Result<(), SealError> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|item| each_sealed(item, open)),
        Value::Object(map) => {
            if let (Some(Value::String(sealed)), Some(Value::String(subject))) = (map.get(SEALED_KEY), map.get(SUBJECT_KEY)) {
                *value = open(subject, sealed)?;
                return Ok(());
            }
            map.values_mut().try_for_each(|item| each_sealed(item, open))
        }
        _ => Ok(()),
    }
}

struct Scope {
    subject: Subject,
    sealer: Arc<dyn Sealer>,
}

thread_local! {
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Runs `parse` so that every [`Personal`] met while deserializing takes a plain `T` and seals it for
/// `subject`. Outside of this scope a `Personal` takes its stored form only, and inside it the stored
/// form is refused, so a client can neither smuggle ciphertext in nor store plaintext.
pub fn sealing<R>(subject: &str, sealer: Arc<dyn Sealer>, parse: impl FnOnce() -> R) -> R {
    struct Restore(Option<Scope>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SCOPE.with(|scope| *scope.borrow_mut() = self.0.take());
        }
    }
    let previous = SCOPE.with(|scope| {
        scope.borrow_mut().replace(Scope {
            subject: subject.to_owned(),
            sealer,
        })
    });
    let _restore = Restore(previous);
    parse()
}

/// Whether a client's command is being parsed on this thread.
pub fn is_sealing() -> bool {
    SCOPE.with(|scope| scope.borrow().is_some())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(rename = "$sealed")]
    sealed: String,
    #[serde(rename = "$subject")]
    subject: Subject,
}

impl<T> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.sealed.is_empty() {
            return Err(S::Error::custom("unsealed personal value"));
        }
        Stored {
            sealed: self.sealed.clone(),
            subject: self.subject.clone(),
        }
        .serialize(s)
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let scope = SCOPE.with(|scope| scope.borrow().as_ref().map(|s| (s.subject.clone(), s.sealer.clone())));
        match scope {
            Some((subject, sealer)) => {
                let value = T::deserialize(d)?;
                Personal::seal(&value, &subject, &*sealer).map_err(D::Error::custom)
            }
            None => Stored::deserialize(d).map(|s| Self {
                subject: s.subject,
                sealed: s.sealed,
                of: PhantomData,
            }),
        }
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
mod tests {
    use super::*;

    struct OneKey(Option<DataKey>);
    impl Sealer for OneKey {
        fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
            self.0.clone().ok_or(SealError::Store("none".into()))
        }
    }
    impl Opener for OneKey {
        fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
            Ok(self.0.clone())
        }
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Note {
        body: Personal<String>,
    }

    #[test]
    fn a_command_is_sealed_as_it_is_parsed_and_opens_only_with_the_key() {
        let keys = Arc::new(OneKey(Some(DataKey([7; 32]))));
        let note: Note = sealing("acme/ada", keys.clone(), || serde_json::from_str(r#"{"body":"secret words"}"#)).unwrap();
        let stored = serde_json::to_string(&note).unwrap();
        assert!(!stored.contains("secret"), "{stored}");
        assert_eq!(serde_json::from_str::<Note>(&stored).unwrap(), note);
        assert_eq!(note.body.open(&*keys).unwrap(), Opened::Value("secret words".into()));
        assert_eq!(note.body.open(&OneKey(None)).unwrap(), Opened::Erased);
        assert!(matches!(
            note.body.open(&OneKey(Some(DataKey([8; 32])))),
            Err(SealError::Damaged(_))
        ));

        let mut json = serde_json::to_value(&note).unwrap();
        open_all(&mut json, &*keys).unwrap();
        assert_eq!(json, serde_json::json!({"body": "secret words"}));
    }

    #[test]
    fn what_does_not_open_is_shown_as_erased_and_is_an_error_to_rules() {
        struct NoStore;
        impl Opener for NoStore {
            fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
                Err(SealError::Store("gone".into()))
            }
        }
        let (right, wrong) = (OneKey(Some(DataKey([7; 32]))), OneKey(Some(DataKey([8; 32]))));
        let body = Personal::seal(&"words".to_owned(), "acme/ada", &right).unwrap();
        let stored = serde_json::json!({ "list": [serde_json::to_value(Note { body }).unwrap()], "beside": 1 });
        let shown = |opener: &dyn Opener| {
            let mut value = stored.clone();
            show_all(&mut value, opener).map(|()| value)
        };
        let erased = serde_json::json!({ "list": [{ "body": { "erased": true } }], "beside": 1 });
        assert_eq!(shown(&right).unwrap()["list"][0]["body"], "words");
        assert_eq!(shown(&wrong).unwrap(), erased);
        assert_eq!(shown(&OneKey(None)).unwrap(), erased);
        let body: Personal<String> = serde_json::from_value(stored["list"][0]["body"].clone()).unwrap();
        assert_eq!(body.shown(&right).unwrap(), Opened::Value("words".into()));
        assert_eq!(body.shown(&wrong).unwrap(), Opened::Erased);
        assert_eq!(shown(&NoStore).unwrap_err(), SealError::Store("gone".into()));
        assert_eq!(open_all(&mut stored.clone(), &wrong), Err(SealError::Damaged("acme/ada".into())));
    }

    #[test]
    fn long_texts_are_sealed_without_the_escapes_of_json() {
        let key = OneKey(Some(DataKey([7; 32])));
        for (text, at_most) in [
            ("\"".repeat(65_000), 65_000),
            ("\u{1}\n\\".repeat(20_000), 60_000),
            ("é\"".repeat(20_000), 2 + 80_000),
            ("x".repeat(65_536), 2 + 65_536),
            ("\"".repeat(100), 202),
            ("\0".into(), 8),
        ] {
            let sealed = Personal::seal(&text, "acme/ada", &key).unwrap();
            // Base64 of nonce, tag, mark and text.
            assert!(
                sealed.sealed_len() <= (24 + 16 + 1 + at_most) * 4 / 3 + 4,
                "{}",
                sealed.sealed_len()
            );
            assert_eq!(sealed.open(&key).unwrap(), Opened::Value(text.clone()));
            let mut stored = serde_json::to_value(Note { body: sealed }).unwrap();
            open_all(&mut stored, &key).unwrap();
            assert_eq!(stored["body"], Value::from(text));
        }
    }

    #[test]
    fn plaintext_is_refused_outside_and_ciphertext_inside_the_sealing_scope() {
        assert!(serde_json::from_str::<Note>(r#"{"body":"plain"}"#).is_err());
        let keys = Arc::new(OneKey(Some(DataKey([7; 32]))));
        let forged = r#"{"body":{"$sealed":"AAAA","$subject":"acme/eve"}}"#;
        assert!(sealing("acme/ada", keys, || serde_json::from_str::<Note>(forged)).is_err());
        assert!(!is_sealing());
    }
}
