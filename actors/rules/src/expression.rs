//! Expressions: CEL, evaluated deterministically under hard limits.
//!
//! The syntax is CEL's, read by the `cel` crate's parser behind a [`guard`] of our own; the evaluator is ours
//! (see `ops/docs/adr/0007-expression-evaluator.md`). Every step and every byte of every value that is built
//! counts against a budget, so a hostile expression ends with an ordinary [`ExpressionError`].
//!
//! Supported: `null`, bool, int (64-bit, checked), uint, double, string, list, map; all operators, the ternary,
//! `in`, field selection, indexing, `has`, `all`, `exists`, `exists_one`, `map`, `filter`; `size`, `contains`,
//! `startsWith`, `endsWith`, `string`, `int`, `uint`, `double`, `bool`, `type`. Not supported: `matches` (regular
//! expressions have no step budget), bytes, messages, timestamps and durations.
//!
//! Numbers of JSON that are whole are ints, `7.0` as well as `7` (within ±2^53), and whole results are written as
//! ints; ints, uints and doubles compare with each other by value. A double literal of an expression stays a double.

mod guard;
mod lower;
mod value;

mod evaluate;
mod mentions;

pub use mentions::{Depth, Mention};

use std::collections::BTreeMap;

use lower::Node;
use quipu_schemas::limits;
use serde_json::Value as JsonValue;

/// What went wrong with an expression. An ordinary result: it is recorded where it happened in a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct ExpressionError {
    /// Stable code.
    pub code: ExpressionCode,
    /// In words.
    pub detail: String,
}

/// Codes of [`ExpressionError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpressionCode {
    /// The source is not CEL.
    Syntax,
    /// The source has more bytes or tokens than the limit.
    TooLarge,
    /// Brackets, operators or comprehensions are nested deeper than the limit.
    TooDeep,
    /// The variables are larger than the limit.
    InputTooLarge,
    /// The evaluation took more steps than the limit.
    OutOfSteps,
    /// The evaluation built more bytes of values than the limit.
    OutOfMemory,
    /// A function, macro or literal outside the supported subset.
    Unsupported,
    /// An operand has the wrong type.
    TypeError,
    /// A variable is not declared.
    UnknownName,
    /// A map has no such key.
    NoSuchKey,
    /// A list has no such index.
    OutOfRange,
    /// Division or modulus by zero.
    DivisionByZero,
    /// A whole number left its range.
    Overflow,
    /// A text does not convert.
    BadConversion,
}

impl ExpressionCode {
    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::InputTooLarge => "input_too_large",
            Self::OutOfSteps => "out_of_steps",
            Self::OutOfMemory => "out_of_memory",
            Self::Unsupported => "unsupported",
            Self::TypeError => "type_error",
            Self::UnknownName => "unknown_name",
            Self::NoSuchKey => "no_such_key",
            Self::OutOfRange => "out_of_range",
            Self::DivisionByZero => "division_by_zero",
            Self::Overflow => "overflow",
            Self::BadConversion => "bad_conversion",
        }
    }

    /// Whether the budget is spent: such an error is never absorbed by `&&`, `||`, `all` or `exists`.
    fn is_exhaustion(self) -> bool {
        matches!(self, Self::OutOfSteps | Self::OutOfMemory)
    }
}

impl std::fmt::Display for ExpressionCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ExpressionError {
    pub(crate) fn new(code: ExpressionCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// Variables by name.
pub type Variables = BTreeMap<String, JsonValue>;

/// What evaluations may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Steps.
    pub steps: u64,
    /// Bytes of values built, in all.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            steps: limits::EXPRESSION_MAX_STEPS,
            bytes: limits::EXPRESSION_MAX_VALUE_BYTES,
        }
    }
}

/// A checked expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Node,
}

impl Expression {
    /// Reads CEL source; everything that can be refused without values is refused here.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        guard::check(source)?;
        let tree = cel::parser::Parser::new()
            .max_recursion_depth(limits::EXPRESSION_MAX_HEIGHT as u16)
            .error_recovery_limit(1)
            .parse(source)
            .map_err(|errors| {
                let first = errors.errors.first();
                let (line, column) = first.map_or((0, 0), |e| e.pos);
                let words = first.map_or_else(String::new, |e| e.msg.chars().take(200).collect());
                ExpressionError::new(ExpressionCode::Syntax, format!("line {line}, column {column}: {words}"))
            })?;
        Ok(Self {
            root: lower::lower(&tree)?,
        })
    }

    /// Refuses an expression that names a variable outside `names`.
    pub fn check_names(&self, names: &[&str]) -> Result<(), ExpressionError> {
        self.root.check_names(&mut names.iter().map(|n| (*n).to_owned()).collect())
    }

    /// Which parts of its variables it looks into, and which it hands on.
    pub fn mentions(&self) -> Vec<Mention> {
        mentions::of(&self.root)
    }

    /// Whether it is a part of a variable and nothing more.
    pub fn is_path(&self) -> bool {
        mentions::path(&self.root).is_some()
    }

    /// Evaluates with the default budget.
    pub fn evaluate(&self, variables: &Variables) -> Result<JsonValue, ExpressionError> {
        self.evaluate_within(variables, &mut Budget::default())
    }

    /// Evaluates, taking what it spends out of `budget`. Equal variables and budgets give equal results, errors
    /// included.
    pub fn evaluate_within(&self, variables: &Variables, budget: &mut Budget) -> Result<JsonValue, ExpressionError> {
        evaluate::evaluate(&self.root, variables, budget)
    }

    /// Evaluates to a condition; anything but a bool is a `type_error`.
    pub fn test_within(&self, variables: &Variables, budget: &mut Budget) -> Result<bool, ExpressionError> {
        match self.evaluate_within(variables, budget)? {
            JsonValue::Bool(truth) => Ok(truth),
            other => Err(ExpressionError::new(
                ExpressionCode::TypeError,
                format!("a condition must be true or false, not {}", kind_of(&other)),
            )),
        }
    }
}

fn kind_of(value: &JsonValue) -> &'static str {
    match value {
        JsonValue::Null => "null",
        JsonValue::Bool(_) => "a bool",
        JsonValue::Number(_) => "a number",
        JsonValue::String(_) => "a string",
        JsonValue::Array(_) => "a list",
        JsonValue::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
