//! JSON from outside, taken at its word or refused: every way in reads it here.
//!
//! An object that names a field twice is refused: readers differ in which of the two they keep, so whoever checked such a body
//! elsewhere may have seen another one. So is a number that would be stored as another number
//! ([`quipu_schemas::json::number`] has the rule).

use crate::problems::clip;
use quipu_schemas::{json::number, problem::Problem};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Why a text is not taken.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON.
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
    /// A number would lose digits.
    #[error("the number {number} in the field `{field}` cannot be kept exactly (line {line}, column {column})")]
    Inexact {
        /// The field, dotted from the top; list places are numbers.
        field: String,
        /// The number as written, cut where it is long.
        number: String,
        /// Where it is, from 1.
        line: usize,
        /// Where in that line.
        column: usize,
    },
}

/// What to send instead of a number that cannot be kept.
const INEXACT_FIX: &str = "send integers of at most 64 bits and decimals of at most 15 digits, or send the number as a string";

impl JsonError {
    /// The refusal of a body that does not read.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Syntax(e) => {
                let detail = format!("the body is not JSON at line {}, column {}: {e}", e.line(), e.column());
                Problem::new(400, "malformed_json", detail)
                    .field("body")
                    .fix("send one JSON object in UTF-8")
            }
            Self::Repeated { field, .. } => Problem::new(400, "repeated_field", clip(&self.to_string()))
                .field(clip(field))
                .fix("give each field once"),
            Self::Inexact { field, .. } => Problem::new(422, "inexact_number", self.to_string())
                .field(clip(field))
                .fix(INEXACT_FIX),
        }
    }
}

/// A text without the byte order mark that some editors and shells put before it.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Parses one value that takes up the whole text.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut found = Found::default();
    let read = read(bytes, &mut found);
    // A parser that was given only integers of 64 bits has kept them all.
    let suspicious = match &read {
        Ok(_) => found.has_double,
        Err(e) => found.repeated.is_none() && e.to_string().starts_with("number out of range"),
    };
    if suspicious && let Some((nth, text)) = number::first_inexact(bytes) {
        return Err(inexact(bytes, nth, text));
    }
    read.map_err(|e| match found.repeated {
        Some(field) => JsonError::Repeated {
            field: clip(&field),
            line: e.line(),
            column: e.column(),
        },
        None => JsonError::Syntax(e),
    })
}

fn read(bytes: &[u8], found: &mut Found) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Once(found).deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// Reads once more, up to the number that cannot be kept, to say where it is.
fn inexact(bytes: &[u8], nth: usize, number: &str) -> JsonError {
    const SHOWN: usize = 40;
    let mut found = Found {
        stop_at: Some(nth),
        ..Found::default()
    };
    let (line, column) = read(bytes, &mut found).map_or_else(|e| (e.line(), e.column()), |_| (1, 1));
    let shown: String = number.chars().take(SHOWN).collect();
    JsonError::Inexact {
        field: clip(&found.path.join(".")),
        number: if shown.len() < number.len() { format!("{shown}…") } else { shown },
        line,
        column,
    }
}

/// Where the parser is, what it met, and what made it stop.
#[derive(Default)]
struct Found {
    path: Vec<String>,
    repeated: Option<String>,
    numbers: usize,
    has_double: bool,
    /// The number, counted from 0, at which to stop.
    stop_at: Option<usize>,
}

impl Found {
    fn number<E: serde::de::Error>(&mut self, value: impl Into<Number>) -> Result<Value, E> {
        if self.stop_at == Some(self.numbers) {
            return Err(E::custom("a number cannot be kept exactly"));
        }
        self.numbers += 1;
        Ok(Value::Number(value.into()))
    }
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
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.number(value)
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.number(value)
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.0.has_double = true;
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        self.0.number(number)
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
                return Err(A::Error::custom("a field is repeated"));
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

    #[test]
    fn a_number_that_would_change_is_named_at_any_depth() {
        for (text, named, number) in [
            (r#"{"wei":100000000000000000001}"#, "wei", "100000000000000000001"),
            (r#"{"a":[{"b":1,"c":-0.5},{"c":1e-400}]}"#, "a.1.c", "1e-400"),
            (r#"{"a":1,"b":{"x":[1e400]}}"#, "b.x.0", "1e400"),
            (r#"{"a":0.123456789012345678,"b":1e400}"#, "a", "0.123456789012345678"),
        ] {
            match parse(text.as_bytes()) {
                Err(e @ JsonError::Inexact { .. }) => {
                    let problem = e.problem();
                    assert_eq!(
                        (problem.status, problem.code.as_str(), problem.field.as_deref()),
                        (422, "inexact_number", Some(named))
                    );
                    assert!(problem.detail.contains(number) && problem.fix.is_some(), "{problem}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        let long = format!("{{\"n\":{}}}", "9".repeat(5_000));
        assert!(parse(long.as_bytes()).unwrap_err().to_string().len() < 200);
        // What is not JSON at all stays that, whatever numbers it holds.
        assert!(matches!(parse(br#"{"a":0.5,"#), Err(JsonError::Syntax(_))));
        assert!(matches!(parse(br#"{"a":1,"a":1e400}"#), Err(JsonError::Repeated { .. })));
    }
}
