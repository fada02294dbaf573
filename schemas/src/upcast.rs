//! Upcasters: pure functions from an old stored form to the next one.
//!
//! A new form is readable one release before it is written. Every stored form ever written has a golden
//! sample under `tests/golden`.

use serde_json::value::RawValue;

/// An upcaster that could not read its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {name} cannot be upcast: {detail}")]
pub struct UpcastError {
    /// Stored name.
    pub name: String,
    /// Why.
    pub detail: String,
}

type Upcaster = fn(&RawValue) -> Result<(String, Box<RawValue>), UpcastError>;

/// `(old stored name, function to the next form)`; applied until none matches.
const UPCASTERS: &[(&str, Upcaster)] = &[];

/// Brings a stored event to its current form; `None` where it already is.
pub fn upcast(name: &str, data: &RawValue) -> Result<Option<(String, Box<RawValue>)>, UpcastError> {
    let find = |name: &str| UPCASTERS.iter().find(|(old, _)| *old == name).map(|(_, up)| up);
    let Some(first) = find(name) else { return Ok(None) };
    let mut current = first(data)?;
    while let Some(next) = find(&current.0) {
        current = next(&current.1)?;
    }
    Ok(Some(current))
}
