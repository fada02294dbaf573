//! What a run does with values: sealed ones are handed on by name, opened where a node looks into them, and what a node
//! makes of them is sealed for those whose they were.

use crate::ports::{NodeError, PortType};
use quipu_schemas::{
    context::Context,
    limits::{RUN_VALUE_MAX_BYTES, VALUE_NAME_BYTES, VALUE_SUBJECTS_MAX},
    personal::{
        Opened, SealError, Subject,
        value::{self, Sealed, holds_sealed, joint, type_name, type_told},
    },
};
use serde_json::Value;
use std::collections::BTreeSet;

/// The code of a node that looks into more than one decision may.
pub const TOO_LARGE_TO_LOOK_INTO: &str = "values_too_large_to_look_into";

/// The values of one run, as one decision sees them.
pub struct Values<'a> {
    /// Opens and seals.
    pub context: &'a Context<'a>,
    /// Whose key seals what was computed from nobody's values: the run's creator, `org/principal`.
    pub owner: Subject,
    /// Whether small values stand in the clear (`data: none`).
    pub clear: bool,
}

impl From<SealError> for NodeError {
    fn from(error: SealError) -> Self {
        let code = match &error {
            SealError::NotBrought(_) => TOO_LARGE_TO_LOOK_INTO,
            SealError::Erased(_) => "value_erased",
            SealError::Missing(_) => "value_expired",
            SealError::TooLarge { .. } => "value_too_large",
            SealError::NotShared { .. } => "blobs_not_shared",
            SealError::Full(_) => "storage_full",
            SealError::Store(_) | SealError::Unreachable(_) => "key_store",
            SealError::Damaged(_) | SealError::Form(..) | SealError::Withheld => "sealed",
        };
        Self::new(code, error.to_string())
    }
}

impl Values<'_> {
    /// Whether a value is of a type. A sealed one tells its own where it is kept beside the log; a text may also go where an
    /// object is asked for, as sealed texts always could.
    pub fn accepts(&self, port: PortType, value: &Value) -> bool {
        let Some(sealed) = Sealed::of(value) else {
            return port.accepts(value);
        };
        let wanted = |name: &str| port == PortType::Any || port.as_str() == name || (port == PortType::Object && name == "string");
        match (type_told(value), &sealed) {
            (Some(told), _) => wanted(told),
            (None, Sealed::Blob(_)) => wanted("string"),
            (None, Sealed::Inline { .. }) if port == PortType::Any => true,
            (None, Sealed::Inline { .. }) => match self.context.open_one(&sealed) {
                Ok(Opened::Value(opened)) => wanted(type_name(&opened)),
                // Whoever looks into it fails by that.
                Ok(Opened::Erased) | Err(_) => true,
            },
        }
    }

    /// The type of a value that came in, and nothing else fits: `None` where nobody can tell any more.
    pub fn type_of<'v>(&self, value: &'v Value) -> Option<&'v str> {
        match Sealed::of(value) {
            None => Some(type_name(value)),
            Some(sealed @ Sealed::Inline { .. }) => match self.context.open_one(&sealed) {
                Ok(Opened::Value(opened)) => Some(type_name(&opened)),
                Ok(Opened::Erased) | Err(_) => None,
            },
            Some(Sealed::Blob(_)) => Some(type_told(value).unwrap_or("string")),
        }
    }

    /// A value that came in: sealed for `subject`, or, where the definition says so and it is small, in the clear.
    pub fn take(&self, value: &Value, subject: &str) -> Result<Value, SealError> {
        if self.clear {
            return Ok(self.cleared(value));
        }
        if value.is_null() || holds_sealed(value) {
            return Ok(value.clone());
        }
        self.context.seal(value, subject)
    }

    fn cleared(&self, value: &Value) -> Value {
        if let Some(sealed @ Sealed::Inline { .. }) = Sealed::of(value) {
            return match self.context.open_one(&sealed) {
                Ok(Opened::Value(opened)) => opened,
                Ok(Opened::Erased) | Err(_) => value.clone(),
            };
        }
        value.clone()
    }

    /// What a node computed, sealed for those whose values it looked into. Parts that are sealed already stay as they are.
    pub fn close(&self, value: Value, whose: &BTreeSet<Subject>) -> Result<Value, NodeError> {
        if Sealed::of(&value).is_some() {
            return Ok(value);
        }
        if !holds_sealed(&value) {
            return self.seal(value, whose);
        }
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.close(item, whose)).collect(),
            Value::Object(map) => map
                .into_iter()
                .map(|(key, item)| Ok((key, self.close(item, whose)?)))
                .collect::<Result<_, NodeError>>()
                .map(Value::Object),
            other => self.seal(other, whose),
        }
    }

    fn seal(&self, value: Value, whose: &BTreeSet<Subject>) -> Result<Value, NodeError> {
        if self.clear && value::size_of(&value) <= self.context.opener.inline_max() as u64 {
            return Ok(value);
        }
        Ok(self.context.seal(&value, &self.subject(whose)?)?)
    }

    /// The subject of what was computed from values of these.
    pub fn subject(&self, whose: &BTreeSet<Subject>) -> Result<Subject, NodeError> {
        if whose.is_empty() {
            return Ok(self.owner.clone());
        }
        let subject = joint(whose.iter().map(String::as_str));
        if subject.split(value::SUBJECTS_SEPARATOR).count() > VALUE_SUBJECTS_MAX {
            let detail = format!("the value is computed from values of more than {VALUE_SUBJECTS_MAX} people");
            return Err(NodeError::new("too_many_subjects", detail));
        }
        Ok(subject)
    }

    /// Makes what is handed on fit its record: what stands there in its full is moved beside the log, and where even the names
    /// are too many, they become one value.
    pub fn fit(&self, value: Value) -> Result<Value, NodeError> {
        let may_keep = self.context.opener.may_keep();
        // Where nothing can be moved out, a sealed value takes a third more than the value itself.
        let most = if may_keep {
            RUN_VALUE_MAX_BYTES
        } else {
            RUN_VALUE_MAX_BYTES * 3 / 2
        };
        if value.to_string().len() <= most {
            return Ok(value);
        }
        if may_keep && parts(&value) * VALUE_NAME_BYTES <= RUN_VALUE_MAX_BYTES {
            let moved = self.moved(&value);
            if moved.to_string().len() <= RUN_VALUE_MAX_BYTES {
                return Ok(moved);
            }
        }
        let (mut whole, mut whose) = (value, BTreeSet::new());
        self.context.open(&mut whole, &mut whose)?;
        let sealed = self.context.seal(&whole, &self.subject(&whose)?)?;
        if sealed.to_string().len() > most {
            let detail = format!("the value takes more than the {most} bytes that a record has for it");
            return Err(NodeError::new("value_too_large", detail));
        }
        Ok(sealed)
    }

    /// A value with as little of it in its record as may be.
    pub fn moved_out(&self, value: &Value) -> Result<Value, NodeError> {
        if self.context.opener.may_keep() && !holds_sealed(value) && value::size_of(value) > VALUE_NAME_BYTES as u64 {
            let sealed = self.context.seal(value, &self.owner)?;
            return Ok(self.moved(&sealed));
        }
        Ok(if self.context.opener.may_keep() {
            self.moved(value)
        } else {
            value.clone()
        })
    }

    fn moved(&self, value: &Value) -> Value {
        if Sealed::of(value).is_some() {
            return self.context.move_out(value);
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.moved(item)).collect(),
            Value::Object(map) => Value::Object(map.iter().map(|(key, item)| (key.clone(), self.moved(item))).collect()),
            other => other.clone(),
        }
    }
}

/// Sealed parts of a value.
fn parts(value: &Value) -> usize {
    if Sealed::of(value).is_some() {
        return 1;
    }
    match value {
        Value::Array(items) => items.iter().map(parts).sum(),
        Value::Object(map) => map.values().map(parts).sum(),
        _ => 0,
    }
}
