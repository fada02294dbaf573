//! The scope in which a client's command is parsed: plain values in, sealed values out.

use super::{BLOB_KEY, BlobRef, Keys, Opened, Personal, SealError, SecretValue, Subject, value};
use crate::{json::Json, marks::set_sealing};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

struct Scope {
    subject: Subject,
    keys: Arc<dyn Keys>,
    /// Why sealing failed: parsers pass on words alone.
    failed: Option<SealError>,
}

thread_local! {
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Runs `parse` so that every [`Personal`] met while deserializing takes a plain `T` and seals it for `subject`, or the
/// name of a value that was uploaded before. Outside of this scope a `Personal` takes its stored form only, and inside it
/// ciphertext is refused, so a client can neither smuggle any in nor store plaintext. Beside the result stands why
/// sealing failed, if it did. May block.
pub fn sealing<R>(subject: &str, keys: Arc<dyn Keys>, parse: impl FnOnce() -> R) -> (R, Option<SealError>) {
    struct Restore(Option<Scope>, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SCOPE.with(|scope| *scope.borrow_mut() = self.0.take());
            set_sealing(self.1);
        }
    }
    let previous = SCOPE.with(|scope| {
        scope.borrow_mut().replace(Scope {
            subject: subject.to_owned(),
            keys,
            failed: None,
        })
    });
    let _restore = Restore(previous, set_sealing(true));
    let parsed = parse();
    let failed = SCOPE.with(|scope| scope.borrow_mut().as_mut().and_then(|scope| scope.failed.take()));
    (parsed, failed)
}

/// Says why sealing failed, and remembers it: parsers pass on words alone.
fn told(error: SealError) -> String {
    let said = error.to_string();
    // An upload of another type is a mistake in the command, like any other value of a wrong type.
    if matches!(error, SealError::Form(..)) {
        return said;
    }
    SCOPE.with(|scope| {
        if let Some(scope) = scope.borrow_mut().as_mut() {
            scope.failed = Some(error);
        }
    });
    said
}

/// What a [`Personal`] needs of the scope.
pub(super) struct Current {
    subject: Subject,
    keys: Arc<dyn Keys>,
    failed: Option<SealError>,
}

pub(super) fn current() -> Option<Current> {
    SCOPE.with(|scope| {
        scope.borrow().as_ref().map(|scope| Current {
            subject: scope.subject.clone(),
            keys: scope.keys.clone(),
            failed: scope.failed.clone(),
        })
    })
}

impl Current {
    /// The same for a value of any type, in its stored form.
    pub(super) fn take_any(self, sent: Value) -> Result<Value, String> {
        let keys = self.keys.clone();
        if sent.get(BLOB_KEY).is_none() {
            let type_name = value::type_name(&sent);
            return self.take::<Json>(sent).map(|sealed| value::stored(&sealed, type_name));
        }
        let sealed = self.take::<Json>(sent)?;
        // It was opened a moment ago, to see that it is there.
        match sealed.open(&*keys).map_err(|e| e.to_string())? {
            Opened::Value(Json(opened)) => Ok(value::stored(&sealed, value::type_name(&opened))),
            Opened::Erased => Err("the uploaded value was erased".to_owned()),
        }
    }

    /// Seals what a client sent, or takes the name of what it uploaded.
    pub(super) fn take<T: Serialize + DeserializeOwned>(self, sent: Value) -> Result<Personal<T>, String> {
        // Whatever failed before fails again, and may take as long.
        if let Some(failed) = self.failed {
            return Err(failed.to_string());
        }
        let sealed = if sent.get(BLOB_KEY).is_some() {
            let named = "name an uploaded value by `$blob`, `$size` and `$subject` alone, as its upload was answered";
            self.uploaded(BlobRef::of(&sent).ok_or(named)?)
        } else {
            let value = T::deserialize(sent).map_err(|e| e.to_string())?;
            Personal::seal(&value, &self.subject, &*self.keys)
        };
        sealed.map_err(told)
    }

    /// Seals a secret for its way to its entity.
    pub(super) fn sealed_secret(self, text: &str) -> Result<SecretValue, String> {
        if let Some(failed) = self.failed {
            return Err(failed.to_string());
        }
        let org = self.subject.split('/').next().unwrap_or_default();
        SecretValue::seal(text, &SecretValue::on_its_way(org), &*self.keys).map_err(told)
    }

    /// A value that is there already. It must be one of this org and hold a `T`; it is stored again, so that it is as
    /// young as the record that will name it.
    fn uploaded<T: Serialize + DeserializeOwned>(&self, blob: BlobRef) -> Result<Personal<T>, SealError> {
        let org = |subject: &str| subject.split_once('/').map(|(org, _)| org.to_owned());
        if org(&blob.subject) != org(&self.subject) {
            return Err(SealError::Missing(blob.digest));
        }
        let value = Personal::<T>::kept(blob.clone());
        match value.open(&*self.keys)? {
            Opened::Erased => Err(SealError::Missing(blob.digest)),
            Opened::Value(_) => {
                self.keys.keep(&blob.subject, self.keys.kept(&blob)?)?;
                Ok(value)
            }
        }
    }
}

/// `#[serde(deserialize_with)]`: a value that is sealed as a client's command is parsed. Elsewhere it is taken as it is stored.
pub fn sealed_on_entry<'de, D: Deserializer<'de>>(d: D) -> Result<Json, D::Error> {
    let Some(scope) = current() else {
        return Json::deserialize(d);
    };
    let sent = Value::deserialize(d)?;
    if sent.is_null() {
        return Ok(Json(sent));
    }
    scope.take_any(sent).map(Json).map_err(D::Error::custom)
}

/// The same for each value of a map.
pub fn each_sealed_on_entry<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Json>, D::Error> {
    #[derive(Deserialize)]
    struct Entry(#[serde(deserialize_with = "sealed_on_entry")] Json);
    let entries = BTreeMap::<String, Entry>::deserialize(d)?;
    Ok(entries.into_iter().map(|(name, Entry(value))| (name, value)).collect())
}
