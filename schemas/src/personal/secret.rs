//! A secret: sealed as personal data is, and opened by no face, whatever right whoever reads holds.

use super::{Opened, Opener, SECRET_KEY, SUBJECT_KEY, SealError, Sealer, Subject, open_text, scope, seal_bytes};
use crate::limits::SECRET_VALUE_MAX_BYTES;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, json};
use std::{borrow::Cow, fmt};

/// A text that is used and never shown: state, history, feeds and exports show `{"secret": true}` in its place.
///
/// It comes in as a plain text inside [`sealing`](super::sealing), where it is sealed for the way to its entity under a key of the
/// org's; the entity's decision seals it again under a key of its own ([`Context::seal_secret`](crate::context::Context::seal_secret)),
/// so that destroying that key destroys the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue {
    subject: Subject,
    /// base64url(nonce ‖ ciphertext).
    sealed: String,
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({}, sealed)", self.subject)
    }
}

/// The stored form, in JSON as in binary.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    #[serde(rename = "$secret")]
    sealed: Cow<'a, str>,
    #[serde(rename = "$subject")]
    subject: Cow<'a, str>,
}

impl SecretValue {
    /// Whose key seals what is on its way to its entity. No principal is called so: their ids have no dot.
    pub fn on_its_way(org: &str) -> Subject {
        format!("{org}/secret.transit")
    }

    /// Seals a text.
    pub fn seal(text: &str, subject: &str, sealer: &dyn Sealer) -> Result<Self, SealError> {
        check(text).map_err(|why| SealError::Form(subject.to_owned(), why))?;
        let key = sealer.sealing_key(subject)?;
        let sealed = seal_bytes(&key, subject, sealer.nonce()?, text.as_bytes())?;
        Ok(Self::of_bytes(subject, &sealed))
    }

    pub(super) fn of_bytes(subject: &str, sealed: &[u8]) -> Self {
        Self {
            subject: subject.to_owned(),
            sealed: URL_SAFE_NO_PAD.encode(sealed),
        }
    }

    /// Whose key opens it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The text: for whoever sends it or compares with it, at that moment, and for nobody who shows it.
    pub fn open(&self, opener: &dyn Opener) -> Result<Opened<String>, SealError> {
        let plain = match open_text(&self.subject, &self.sealed, opener)? {
            Opened::Erased => return Ok(Opened::Erased),
            Opened::Value(plain) => plain,
        };
        // The bytes are not told: they are a secret's.
        let damaged = |_| SealError::Damaged(self.subject.clone());
        String::from_utf8(plain).map(Opened::Value).map_err(damaged)
    }
}

/// What every face shows in the place of a secret.
pub(super) fn shown() -> Value {
    json!({ "secret": true })
}

/// Whether a JSON value is a secret in its stored form.
pub(super) fn is_secret(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.len() == 2 && map.contains_key(SECRET_KEY) && map.contains_key(SUBJECT_KEY))
}

/// Whether a secret stands inside stored JSON.
pub fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_secret),
        Value::Object(map) => is_secret(value) || map.values().any(holds_secret),
        _ => false,
    }
}

/// Puts `{"secret": true}` in the place of each secret inside stored JSON; whether there were any.
pub fn hide_secrets(value: &mut Value) -> bool {
    if is_secret(value) {
        *value = shown();
        return true;
    }
    match value {
        // All of them, whatever came of the first.
        Value::Array(items) => items.iter_mut().fold(false, |found, item| hide_secrets(item) | found),
        Value::Object(map) => map.values_mut().fold(false, |found, item| hide_secrets(item) | found),
        _ => false,
    }
}

/// Never with the text in its words.
fn check(text: &str) -> Result<(), String> {
    match text.len() {
        1..=SECRET_VALUE_MAX_BYTES => Ok(()),
        0 => Err("a secret is never empty".into()),
        _ => Err(format!("a secret has at most {SECRET_VALUE_MAX_BYTES} bytes")),
    }
}

impl scope::Current {
    /// Seals the secret that a client sent, for its way to its entity.
    fn take_secret(self, sent: Value) -> Result<SecretValue, String> {
        let Value::String(text) = sent else {
            return Err("a secret is a text".into());
        };
        check(&text)?;
        self.sealed_secret(&text)
    }
}

impl Serialize for SecretValue {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Stored {
            sealed: Cow::Borrowed(&self.sealed),
            subject: Cow::Borrowed(&self.subject),
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if let Some(scope) = scope::current() {
            return scope.take_secret(Value::deserialize(d)?).map_err(D::Error::custom);
        }
        let Stored { sealed, subject } = Stored::deserialize(d)?;
        Ok(Self {
            subject: subject.into_owned(),
            sealed: sealed.into_owned(),
        })
    }
}

impl JsonSchema for SecretValue {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "SecretValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": SECRET_VALUE_MAX_BYTES,
            "writeOnly": true,
            "format": "password",
            "description": "A secret: taken as a text, sealed, and shown by nothing.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personal::{DataKey, sealing, show_all};
    use std::sync::Arc;

    struct OneKey;
    impl Sealer for OneKey {
        fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
            Ok(DataKey([5; 32]))
        }
    }
    impl Opener for OneKey {
        fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
            Ok((subject != "acme/secret.gone.1").then_some(DataKey([5; 32])))
        }
    }

    fn sent(value: Value) -> Result<SecretValue, String> {
        let (taken, failed) = sealing("acme/ada", Arc::new(OneKey), || SecretValue::deserialize(&value));
        assert_eq!(failed, None);
        taken.map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_comes_in_plain_and_is_never_shown() {
        let secret = sent(json!("hunter2-hunter2")).unwrap();
        assert_eq!(secret.subject(), SecretValue::on_its_way("acme"));
        assert_eq!(secret.open(&OneKey), Ok(Opened::Value("hunter2-hunter2".into())));
        let mut stored = json!({ "value": secret, "list": [secret] });
        for text in [stored.to_string(), format!("{secret:?}")] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        show_all(&mut stored, &OneKey).unwrap();
        assert_eq!(stored, json!({ "value": { "secret": true }, "list": [{ "secret": true }] }));
    }

    #[test]
    fn what_is_refused_is_not_quoted() {
        for value in [
            json!(""),
            json!("x".repeat(SECRET_VALUE_MAX_BYTES + 1)),
            json!(424_242),
            json!({"$secret": "AAAA", "$subject": "acme/x"}),
        ] {
            let refused = sent(value).unwrap_err();
            assert!(refused.starts_with("a secret ") && !refused.contains("424242"), "{refused}");
        }
        assert!(sent(json!("x".repeat(SECRET_VALUE_MAX_BYTES))).is_ok());
    }

    #[test]
    fn a_secret_survives_its_stored_form_and_ends_with_its_key() {
        let secret = SecretValue::seal("s", "acme/secret.gone.1", &OneKey).unwrap();
        let stored: SecretValue = serde_json::from_value(serde_json::to_value(&secret).unwrap()).unwrap();
        assert_eq!(stored, secret);
        assert_eq!(secret.open(&OneKey), Ok(Opened::Erased));
    }
}
