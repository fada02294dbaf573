//! JSON from outside, taken at its word: an object that names a field twice is refused.
//!
//! Readers differ in which of two equal names they keep, so whoever checked such a body elsewhere may have seen another one.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Why a text is not taken.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error(transparent)]
    Syntax(serde_json::Error),
    /// A field is given twice in one object.
    #[error("the field `{field}` is given twice (line {line}, column {column})")]
    Repeated {
        /// The field, dotted from the top; list places are numbers.
        field: String,
        /// Where the second one is, from 1.
        line: usize,
        /// Where in that line.
        column: usize,
    },
}

/// Parses one value that takes up the whole text.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Once(&mut found).deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(e) => Err(match found.repeated {
            Some(field) => JsonError::Repeated {
                field,
                line: e.line(),
                column: e.column(),
            },
            None => JsonError::Syntax(e),
        }),
    }
}

/// Where the parser is, and the repeated field that made it stop.
#[derive(Default)]
struct Found {
    path: Vec<String>,
    repeated: Option<String>,
}

struct Once<'f>(&'f mut Found);

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            self.0.path.push(values.len().to_string());
            let next = list.next_element_seed(Once(self.0))?;
            self.0.path.pop();
            match next {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            self.0.path.push(name.clone());
            if fields.contains_key(&name) {
                self.0.repeated = Some(self.0.path.join("."));
                return Err(A::Error::custom("a field is given twice"));
            }
            fields.insert(name, object.next_value_seed(Once(self.0))?);
            self.0.path.pop();
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_any_reader_would_take() {
        for text in [
            "{}",
            " [1, -2, 3.5, 1e300, 18446744073709551615, true, null, \"\\u00e9\\n\"] ",
            r#"{"a": {"a": {"b": []}}, "b": [{"a": 1}, {"a": 2}]}"#,
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
        for text in ["", "{", "{\"a\":}", "1 2", "{\"a\":1}}", "\"\u{1}\""] {
            assert!(matches!(parse(text.as_bytes()), Err(JsonError::Syntax(_))), "{text}");
        }
        let deep = "[".repeat(5_000);
        assert!(matches!(parse(deep.as_bytes()), Err(JsonError::Syntax(_))));
    }

    #[test]
    fn a_field_given_twice_is_named_at_any_depth() {
        for (text, named) in [
            (r#"{"body":"a","body":"b"}"#, "body"),
            (r#"{"body":"a","b\u006fdy":"a"}"#, "body"),
            (r#"{"a":{"b":[{},{"c":1,"d":2,"c":1}]}}"#, "a.b.1.c"),
        ] {
            match parse(text.as_bytes()) {
                Err(JsonError::Repeated { field, line: 1, .. }) => assert_eq!(field, named),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
