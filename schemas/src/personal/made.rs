//! Values that a decision makes: sealed without randomness or I/O, and handed to the shell beside the events.

use super::{BlobRef, DataKey, Opened, Opener, SUBJECT_KEY, SealError, SecretValue, Subject, blob, plain_of, seal_bytes, value};
use crate::{digest::Digest, limits::VALUE_MAX_BYTES, marks::TYPE_KEY};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// A sealed value to be kept beside the log before the record that names it is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewValue {
    /// Whose it is.
    pub subject: Subject,
    /// The blob.
    pub bytes: Vec<u8>,
}

/// The values that one decision has made and that are too large for its record.
#[derive(Debug, Default)]
pub struct Made {
    values: Mutex<BTreeMap<Digest, NewValue>>,
    count: AtomicU64,
}

impl Made {
    /// What must be durable before the decision's record is.
    pub fn take(&self) -> Vec<NewValue> {
        std::mem::take(&mut *self.values()).into_values().collect()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Digest, NewValue>> {
        self.values.lock()
    }

    pub(crate) fn keep(&self, subject: Subject, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&[&bytes]);
        self.values().insert(digest, NewValue { subject, bytes });
        digest
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.values().get(digest).map(|value| value.bytes.clone())
    }

    /// Seals a value. Its nonce follows from the key, from what the decision is (`origin`) and from the value itself: deciding
    /// again gives the same bytes, and no two values are ever sealed under one nonce.
    pub(crate) fn seal(&self, value: &Value, subject: &str, opener: &dyn Opener, origin: &[&[u8]]) -> Result<Value, SealError> {
        let inline_max = opener.inline_max();
        let plain = plain_of(value, inline_max).map_err(|e| SealError::Form(subject.to_owned(), e.to_string()))?;
        if plain.len() > VALUE_MAX_BYTES + 1 {
            return Err(SealError::TooLarge { size: plain.len() });
        }
        let key = opener.opening_key(subject)?.ok_or_else(|| SealError::Erased(subject.to_owned()))?;
        let sealed = seal_bytes(&key, subject, self.nonce(&key, subject, origin, &plain), &plain)?;
        if plain.len() <= inline_max {
            return Ok(json!({ "$sealed": URL_SAFE_NO_PAD.encode(sealed), SUBJECT_KEY: subject }));
        }
        if !opener.may_keep() {
            return Err(SealError::NotShared { size: plain.len() });
        }
        let digest = self.keep(subject.to_owned(), blob::enclose(subject, &sealed));
        Ok(named(&digest, plain.len() as u64, subject, Some(value::type_name(value))))
    }

    /// Seals a secret under another key than the one that it came with, in the same way.
    pub(crate) fn seal_secret(
        &self,
        secret: &SecretValue,
        subject: &str,
        opener: &dyn Opener,
        origin: &[&[u8]],
    ) -> Result<SecretValue, SealError> {
        let erased = |whose: &str| SealError::Erased(whose.to_owned());
        let text = secret.open(opener)?.value().ok_or_else(|| erased(secret.subject()))?;
        let key = opener.opening_key(subject)?.ok_or_else(|| erased(subject))?;
        let plain = text.as_bytes();
        let sealed = seal_bytes(&key, subject, self.nonce(&key, subject, origin, plain), plain)?;
        Ok(SecretValue::of_bytes(subject, &sealed))
    }

    fn nonce(&self, key: &DataKey, subject: &str, origin: &[&[u8]], plain: &[u8]) -> [u8; 24] {
        let count = self.count.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![b"quipu nonce of a decided value", subject.as_bytes(), &count];
        parts.extend(origin);
        parts.push(plain);
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&Digest::keyed(&key.0, &parts).0[..24]);
        nonce
    }

    /// Moves a sealed value out of its record, without a look into it. What is not sealed, or is kept already, stays.
    pub(crate) fn move_out(&self, value: &Value, opener: &dyn Opener) -> Value {
        let Some(sealed @ value::Sealed::Inline { .. }) = value::Sealed::of(value) else {
            return value.clone();
        };
        let Some((subject, bytes)) = value::blob_of_inline(&sealed) else {
            return value.clone();
        };
        let told = match sealed.open(opener) {
            Ok(Opened::Value(value)) => Some(value::type_name(&value)),
            Ok(Opened::Erased) | Err(_) => None,
        };
        let size = sealed.size();
        named(&self.keep(subject.clone(), bytes), size, &subject, told)
    }
}

fn named(digest: &Digest, size: u64, subject: &str, type_name: Option<&str>) -> Value {
    let mut name = json!({ "$blob": digest, "$size": size, SUBJECT_KEY: subject });
    if let Some(type_name) = type_name {
        name[TYPE_KEY] = type_name.into();
    }
    name
}

/// An opener that also finds what the decision has just made.
pub(crate) struct WithMade<'a> {
    pub(crate) opener: &'a dyn Opener,
    pub(crate) made: &'a Made,
}

impl Opener for WithMade<'_> {
    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
        self.opener.opening_key(subject)
    }
    fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
        match self.made.find(&blob.digest) {
            Some(bytes) => Ok(bytes),
            None => self.opener.kept(blob),
        }
    }
    fn inline_max(&self) -> usize {
        self.opener.inline_max()
    }
    fn may_keep(&self) -> bool {
        self.opener.may_keep()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::VALUE_INLINE_MAX_BYTES;
    use std::collections::BTreeSet;

    /// A key a subject; none for the erased.
    struct Keys(&'static str);

    impl Opener for Keys {
        fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
            if let Some(key) = DataKey::joint(subject, |one| self.opening_key(one)) {
                return key;
            }
            Ok((subject != self.0).then(|| DataKey(Digest::of(&[subject.as_bytes()]).0)))
        }
    }

    fn opened(sealed: &Value, opener: &dyn Opener) -> Result<Value, SealError> {
        let (mut value, mut whose) = (sealed.clone(), BTreeSet::new());
        value::open_whole(&mut value, opener, &mut whose).map(|()| value)
    }

    #[test]
    fn one_decision_gives_one_ciphertext_and_no_nonce_comes_twice() {
        let seal = |values: &[Value], origin: &[u8]| {
            let made = Made::default();
            let seal = |value| made.seal(value, "acme/ada", &Keys(""), &[origin]).unwrap();
            values.iter().map(seal).collect::<Vec<Value>>()
        };
        let (a, b) = (json!("a"), json!("b"));
        let first = seal(&[a.clone(), a.clone(), b.clone()], b"1");
        assert_eq!(first, seal(&[a.clone(), a.clone(), b.clone()], b"1"));
        let other = seal(std::slice::from_ref(&b), b"1");
        let again = seal(&[a], b"2");
        let nonces: BTreeSet<String> = first
            .iter()
            .chain(&other)
            .chain(&again)
            .map(|sealed| sealed["$sealed"].as_str().unwrap()[..32].to_owned())
            .collect();
        assert_eq!(nonces.len(), 5, "also where the same place in a decision holds another value");
    }

    #[test]
    fn a_large_value_leaves_beside_the_events_and_is_found() {
        let (made, large) = (Made::default(), json!({ "text": "x".repeat(VALUE_INLINE_MAX_BYTES) }));
        let sealed = made.seal(&large, "acme/ada", &Keys(""), &[]).unwrap();
        assert_eq!(value::type_told(&sealed), Some("object"));
        let opener = WithMade {
            opener: &Keys(""),
            made: &made,
        };
        assert_eq!(opened(&sealed, &opener), Ok(large));
        let kept = made.take();
        assert_eq!(kept.len(), 1);
        assert_eq!(sealed["$blob"], json!(Digest::of(&[&kept[0].bytes])));
        assert!(matches!(opened(&sealed, &opener), Err(SealError::Missing(_))), "handed over");
    }

    #[test]
    fn a_value_of_several_opens_only_with_the_keys_of_all() {
        let subject = value::joint(["acme/bob", "acme/ada", "acme/ada,acme/bob"]);
        assert_eq!(subject, "acme/ada,acme/bob");
        let sealed = Made::default().seal(&json!(1), &subject, &Keys(""), &[]).unwrap();
        assert_eq!(opened(&sealed, &Keys("")), Ok(json!(1)));
        for erased in ["acme/ada", "acme/bob"] {
            assert_eq!(opened(&sealed, &Keys(erased)), Err(SealError::Erased(subject.clone())));
        }
        assert_eq!(opened(&sealed, &Keys("acme/eve")), Ok(json!(1)));
    }
}
