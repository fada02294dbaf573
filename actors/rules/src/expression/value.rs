//! Values of an evaluation. Shared, never changed in place; maps are ordered.

use super::{ExpressionCode, ExpressionError};
use quipu_schemas::json;
use serde_json::{Number, Value as JsonValue};
use std::{cmp::Ordering, collections::BTreeMap, rc::Rc};

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Rc<str>),
    List(Rc<Vec<Value>>),
    Map(Rc<BTreeMap<Key, Value>>),
    Type(&'static str),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Bool(bool),
    Int(i128),
    String(Rc<str>),
}

impl Key {
    /// CEL's keys: bool, int, uint and string; a whole double finds the same entry as its int.
    pub(super) fn of(value: &Value) -> Result<Self, ExpressionError> {
        match value {
            Value::Bool(b) => Ok(Key::Bool(*b)),
            Value::Int(i) => Ok(Key::Int(i128::from(*i))),
            Value::Uint(u) => Ok(Key::Int(i128::from(*u))),
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 1.8e19 => Ok(Key::Int(*d as i128)),
            Value::String(s) => Ok(Key::String(s.clone())),
            other => Err(ExpressionError::new(
                ExpressionCode::TypeError,
                format!("a map's key cannot be {}", other.type_name()),
            )),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Key::Bool(b) => b.to_string(),
            Key::Int(i) => i.to_string(),
            Key::String(s) => s.to_string(),
        }
    }

    /// The key as a value (the loop variable over a map).
    pub(super) fn to_value(&self) -> Value {
        match self {
            Key::Bool(b) => Value::Bool(*b),
            Key::Int(i) => i64::try_from(*i).map_or_else(|_| Value::Uint(u64::try_from(*i).unwrap_or(u64::MAX)), Value::Int),
            Key::String(s) => Value::String(s.clone()),
        }
    }
}

impl Value {
    /// CEL's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Type(_) => "type",
        }
    }

    /// Equality by CEL: numbers by value, otherwise unequal types are unequal values.
    pub(super) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b)),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|((ka, va), (kb, vb))| ka == kb && va.equals(vb))
            }
            _ => self.compare_numbers(other) == Some(Ordering::Equal),
        }
    }

    /// Order by CEL; `None` where the two have none.
    pub(super) fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            _ => self.compare_numbers(other),
        }
    }

    /// Whether both are numbers (which may still be unordered: NaN).
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Uint(_) | Value::Double(_))
    }

    fn compare_numbers(&self, other: &Value) -> Option<Ordering> {
        fn whole(value: &Value) -> Option<i128> {
            match value {
                Value::Int(i) => Some(i128::from(*i)),
                Value::Uint(u) => Some(i128::from(*u)),
                _ => None,
            }
        }
        fn against(whole: i128, double: f64) -> Option<Ordering> {
            if double.is_nan() {
                return None;
            }
            // Doubles beyond the whole numbers' range compare by sign; inside it the floor is exact.
            if double >= 1.8446744073709552e19 {
                return Some(Ordering::Less);
            }
            if double < -9.223_372_036_854_776e18 {
                return Some(Ordering::Greater);
            }
            let floor = double.floor();
            Some(
                whole
                    .cmp(&(floor as i128))
                    .then(if double > floor { Ordering::Less } else { Ordering::Equal }),
            )
        }
        match (self, other) {
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Double(a), b) => against(whole(b)?, *a).map(Ordering::reverse),
            (a, Value::Double(b)) => against(whole(a)?, *b),
            (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
        }
    }

    /// Entries of a value's whole tree: what comparing or printing it may cost.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Value::String(s) => 1 + s.len() as u64 / 64,
            Value::List(items) => 1 + items.iter().map(Value::weight).sum::<u64>(),
            Value::Map(entries) => 1 + entries.values().map(|v| 1 + v.weight()).sum::<u64>(),
            _ => 1,
        }
    }

    /// From JSON: whole numbers are ints, however they are written ([`json::whole`]).
    pub(super) fn from_json(json: &JsonValue) -> Value {
        match json {
            JsonValue::Null => Value::Null,
            JsonValue::Bool(b) => Value::Bool(*b),
            JsonValue::Number(n) => {
                if let Some(i) = n.as_i64() {
                    Value::Int(i)
                } else if let Some(u) = n.as_u64() {
                    Value::Uint(u)
                } else {
                    let double = n.as_f64().unwrap_or(f64::NAN);
                    json::whole(double).map_or(Value::Double(double), Value::Int)
                }
            }
            JsonValue::String(s) => Value::String(s.as_str().into()),
            JsonValue::Array(items) => Value::List(Rc::new(items.iter().map(Value::from_json).collect())),
            JsonValue::Object(map) => Value::Map(Rc::new(
                map.iter()
                    .map(|(k, v)| (Key::String(k.as_str().into()), Value::from_json(v)))
                    .collect(),
            )),
        }
    }

    /// To JSON. `budget` bounds the entries: shared values are written once for each place they stand in. A whole double
    /// is written as an int, so that it is one again for whoever reads it.
    pub(super) fn to_json(&self, budget: &mut usize) -> Result<JsonValue, ExpressionError> {
        let cost = match self {
            Value::String(s) => 16 + s.len(),
            _ => 16,
        };
        *budget = budget.checked_sub(cost).ok_or_else(|| {
            ExpressionError::new(
                ExpressionCode::OutOfMemory,
                "the result is larger than the bytes that one evaluation may build",
            )
        })?;
        Ok(match self {
            Value::Null => JsonValue::Null,
            Value::Bool(b) => JsonValue::Bool(*b),
            Value::Int(i) => JsonValue::Number((*i).into()),
            Value::Uint(u) => JsonValue::Number((*u).into()),
            Value::Double(d) => JsonValue::Number(match json::whole(*d) {
                Some(int) => int.into(),
                None => Number::from_f64(*d).ok_or_else(|| {
                    ExpressionError::new(
                        ExpressionCode::TypeError,
                        "the result is not a finite number, which JSON cannot hold",
                    )
                })?,
            }),
            Value::String(s) => JsonValue::String(s.to_string()),
            Value::List(items) => JsonValue::Array(items.iter().map(|v| v.to_json(budget)).collect::<Result<_, _>>()?),
            Value::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, value) in entries.iter() {
                    let key = key.to_text();
                    *budget = budget.saturating_sub(key.len());
                    let value = value.to_json(budget)?;
                    // `1` and `"1"` are two keys of a map and one of an object.
                    if map.contains_key(&key) {
                        return Err(ExpressionError::new(
                            ExpressionCode::TypeError,
                            format!("two keys of a map are both `{}` in JSON", key.chars().take(40).collect::<String>()),
                        ));
                    }
                    map.insert(key, value);
                }
                JsonValue::Object(map)
            }
            Value::Type(name) => JsonValue::String((*name).to_owned()),
        })
    }
}
