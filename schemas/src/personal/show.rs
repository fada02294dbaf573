//! Sealed values inside stored JSON, opened in place.

use super::{BLOB_KEY, Opener, SealError, secret, value::Sealed};
use crate::limits::VALUE_SHOWN_MAX_BYTES;
use serde_json::{Value, json};

/// Opens every sealed value inside stored JSON, in place; an erased one becomes `{"erased": true}`, and one that does
/// not open is an error: for rules, which must not decide on less than there is.
pub fn open_all(value: &mut Value, opener: &dyn Opener) -> Result<(), SealError> {
    each_sealed(value, &|found| open(found, opener).map(Some))
}

/// The same for people who read: a value that will never open (its key was lost, or it is damaged) is shown as an erased
/// one, so that it does not hide everything beside it, and one that is kept beside the log and larger than
/// [`VALUE_SHOWN_MAX_BYTES`] stays a name, by which it is fetched alone. So does one that
/// the opener did not fetch for want of room. A name that leads nowhere says so. A store that
/// does not answer is an error. One that is [`Withheld`](super::Withheld) becomes `{"redacted": true}`: neither its size nor whose
/// it is shows. A secret becomes `{"secret": true}`, whoever reads. May block where [`contains_blob`].
pub fn show_all(value: &mut Value, opener: &dyn Opener) -> Result<(), SealError> {
    each_sealed(value, &|found| match (open_unless_large(found, opener), found) {
        (Err(SealError::Withheld), _) => Ok(Some(redacted())),
        (Err(SealError::NotBrought(_)), Sealed::Blob(_)) => Ok(None),
        (Err(error), Sealed::Blob(blob)) if error.is_lasting() => {
            let why = if matches!(error, SealError::Missing(_)) {
                "missing"
            } else {
                "damaged"
            };
            Ok(Some(
                json!({ "$blob": blob.digest, "$size": blob.size, "$subject": blob.subject, "unavailable": why }),
            ))
        }
        (Err(error), Sealed::Inline { .. }) if error.is_lasting() => Ok(Some(erased())),
        (other, _) => other,
    })
}

/// Whether a value that is kept beside the log is named inside stored JSON.
pub fn contains_blob(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(contains_blob),
        Value::Object(map) => map.contains_key(BLOB_KEY) || map.values().any(contains_blob),
        _ => false,
    }
}

/// How an erased value is shown.
fn erased() -> Value {
    json!({ "erased": true })
}

/// How a value is shown that is withheld from whoever reads.
pub fn redacted() -> Value {
    json!({ "redacted": true })
}

/// Opens for rules and for people: an erased value is shown as one.
fn open(found: &Sealed<'_>, opener: &dyn Opener) -> Result<Value, SealError> {
    Ok(found.open(opener)?.value().unwrap_or_else(erased))
}

fn open_unless_large(found: &Sealed<'_>, opener: &dyn Opener) -> Result<Option<Value>, SealError> {
    match found {
        Sealed::Blob(blob) if blob.size > VALUE_SHOWN_MAX_BYTES as u64 => match opener.opening_key(&blob.subject)? {
            Some(_) => Ok(None),
            None => Ok(Some(erased())),
        },
        found => open(found, opener).map(Some),
    }
}

fn each_sealed(value: &mut Value, open: &dyn Fn(&Sealed<'_>) -> Result<Option<Value>, SealError>) -> Result<(), SealError> {
    if secret::is_secret(value) {
        *value = secret::shown();
        return Ok(());
    }
    let found = match Sealed::of(value) {
        Some(sealed) => Some(open(&sealed)?),
        None => None,
    };
    match (found, &mut *value) {
        (Some(Some(opened)), place) => *place = opened,
        (Some(None), _) => {}
        (None, Value::Array(items)) => return items.iter_mut().try_for_each(|item| each_sealed(item, open)),
        (None, Value::Object(map)) => return map.values_mut().try_for_each(|item| each_sealed(item, open)),
        (None, _) => {}
    }
    Ok(())
}
