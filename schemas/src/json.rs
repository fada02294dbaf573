//! Free-form JSON as a value of the domain: bounded, ordered, and storable in binary snapshots.

pub mod number;

use crate::{
    limits::JSON_MAX_DEPTH,
    marks::{BLOB_KEY, SEALED_KEY, SECRET_KEY, is_sealing},
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;
use std::borrow::Cow;

/// Any JSON value, at most [`JSON_MAX_DEPTH`] deep. Object keys are kept sorted, so equal values have
/// equal bytes. In binary formats (snapshots) it is stored as its JSON text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Json(pub Value);

impl Json {
    /// The JSON text, keys sorted.
    pub fn to_text(&self) -> String {
        self.0.to_string()
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

/// Refuses values that are too deep or that imitate the stored form of sealed data.
pub fn check(value: &Value) -> Result<(), String> {
    fn walk(value: &Value, depth: usize) -> Result<(), String> {
        if depth > JSON_MAX_DEPTH {
            return Err(format!("JSON is nested deeper than {JSON_MAX_DEPTH} levels"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| walk(item, depth + 1)),
            Value::Object(map) => {
                for reserved in [SEALED_KEY, BLOB_KEY, SECRET_KEY] {
                    if map.contains_key(reserved) {
                        return Err(format!("the key `{reserved}` is reserved"));
                    }
                }
                map.values().try_for_each(|item| walk(item, depth + 1))
            }
            _ => Ok(()),
        }
    }
    walk(value, 0)
}

/// Largest whole number up to which every whole number is a double of its own: 2^53.
const LAST_EXACT: f64 = 9_007_199_254_740_992.0;

/// The int that a double is, if it is a whole number within ±2^53. JSON does not tell `7` from `7.0`, and serializers
/// write either for the same value: wherever the type of a number matters, such a number is an int.
pub fn whole(double: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 54 bits")]
    (double.fract() == 0.0 && double.abs() <= LAST_EXACT).then_some(double as i64)
}

/// Writes every whole number within ±2^53 as an int, at any depth ([`whole`]).
pub fn write_whole_numbers_as_ints(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(int) = number.as_f64().and_then(whole) {
                *number = int.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers_as_ints),
        Value::Object(map) => map.values_mut().for_each(write_whole_numbers_as_ints),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            self.0.serialize(s)
        } else {
            s.serialize_str(&self.to_text())
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let value = Value::deserialize(d)?;
            if is_sealing() {
                check(&value).map_err(D::Error::custom)?;
            }
            Ok(Self(value))
        } else {
            serde_json::from_str(&String::deserialize(d)?).map(Self).map_err(D::Error::custom)
        }
    }
}

/// `#[serde(with = "text_in_binary")]`: a value whose own form binary formats cannot hold (tagged enums, skipped
/// fields) is stored there as its JSON text; JSON stays as it is.
pub mod text_in_binary {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _, ser::Error as _};

    /// Serializes.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            value.serialize(s)
        } else {
            s.serialize_str(&serde_json::to_string(value).map_err(S::Error::custom)?)
        }
    }

    /// Deserializes.
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        if d.is_human_readable() {
            T::deserialize(d)
        } else {
            serde_json::from_str(&String::deserialize(d)?).map_err(D::Error::custom)
        }
    }
}

impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Json")
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!(true)
    }
}
