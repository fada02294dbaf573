//! The evaluator. Recursion is bounded by the tree's height, everything else by the meter.

use super::{
    Budget, ExpressionCode as Code, ExpressionError, Variables,
    lower::{Binary, Fold, Function, Node, TYPES, Unary},
    value::{Key, Value},
};
use quipu_schemas::limits::EXPRESSION_MAX_INPUT_BYTES;
use serde_json::Value as JsonValue;
use std::{cmp::Ordering, collections::BTreeMap, rc::Rc};

type Evaluated = Result<Value, ExpressionError>;

/// Evaluates a lowered tree; what is left of the budget is what later evaluations may spend.
pub(super) fn evaluate(root: &Node, variables: &Variables, budget: &mut Budget) -> Result<JsonValue, ExpressionError> {
    let mut size = EXPRESSION_MAX_INPUT_BYTES;
    for (name, value) in variables {
        let used = measure(value).saturating_add(name.len());
        size = size.checked_sub(used).ok_or_else(|| {
            fail(
                Code::InputTooLarge,
                format!("the variables have more than {EXPRESSION_MAX_INPUT_BYTES} bytes of JSON"),
            )
        })?;
    }
    let mut evaluator = Evaluator {
        meter: Meter { left: *budget },
        variables,
        read: BTreeMap::new(),
        bound: Vec::new(),
    };
    let result = evaluator.eval(root);
    *budget = evaluator.meter.left;
    result?.to_json(&mut budget.bytes)
}

/// About the bytes of a JSON text.
pub(super) fn measure(value: &JsonValue) -> usize {
    match value {
        JsonValue::Null | JsonValue::Bool(_) => 5,
        JsonValue::Number(_) => 8,
        JsonValue::String(s) => s.len() + 2,
        JsonValue::Array(items) => 2 + items.iter().map(|v| 1 + measure(v)).sum::<usize>(),
        JsonValue::Object(map) => 2 + map.iter().map(|(k, v)| 4 + k.len() + measure(v)).sum::<usize>(),
    }
}

fn fail(code: Code, detail: impl Into<String>) -> ExpressionError {
    ExpressionError::new(code, detail)
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

struct Meter {
    left: Budget,
}

impl Meter {
    fn step(&mut self, count: u64) -> Result<(), ExpressionError> {
        self.left.steps = self
            .left
            .steps
            .checked_sub(count)
            .ok_or_else(|| fail(Code::OutOfSteps, "the evaluation takes more steps than allowed"))?;
        Ok(())
    }

    /// Charges bytes of a new value, and the steps of copying them.
    fn build(&mut self, bytes: usize) -> Result<(), ExpressionError> {
        self.left.bytes = self
            .left
            .bytes
            .checked_sub(bytes)
            .ok_or_else(|| fail(Code::OutOfMemory, "the evaluation builds more bytes of values than allowed"))?;
        self.step(bytes as u64 / 64)
    }
}

/// What one place in a list or map costs.
const SLOT: usize = std::mem::size_of::<Value>();

struct Evaluator<'a> {
    meter: Meter,
    variables: &'a Variables,
    /// Variables turned into values, once each.
    read: BTreeMap<&'a str, Value>,
    /// Loop variables, innermost last.
    bound: Vec<(&'a str, Value)>,
}

impl<'a> Evaluator<'a> {
    fn eval(&mut self, node: &'a Node) -> Evaluated {
        self.meter.step(1)?;
        match node {
            Node::Literal(literal) => {
                let value = literal.to_value();
                if let Value::String(s) = &value {
                    self.meter.build(s.len())?;
                }
                Ok(value)
            }
            Node::Name(name) => self.name(name),
            Node::List(items) => {
                self.meter.build(items.len() * SLOT)?;
                Ok(Value::List(Rc::new(items.iter().map(|n| self.eval(n)).collect::<Result<_, _>>()?)))
            }
            Node::Map(entries) => self.map(entries),
            Node::Select { of, field } => {
                let value = self.eval(of)?;
                select(&value, field)?.ok_or_else(|| fail(Code::NoSuchKey, format!("no such field: `{}`", shown(field))))
            }
            Node::Has { of, field } => {
                let value = self.eval(of)?;
                Ok(Value::Bool(select(&value, field)?.is_some()))
            }
            Node::If {
                condition,
                then,
                otherwise,
            } => match self.eval(condition)? {
                Value::Bool(true) => self.eval(then),
                Value::Bool(false) => self.eval(otherwise),
                other => Err(fail(
                    Code::TypeError,
                    format!("a condition must be a bool, not {}", other.type_name()),
                )),
            },
            Node::And(left, right) => self.logic(left, right, false),
            Node::Or(left, right) => self.logic(left, right, true),
            Node::Unary(operator, operand) => {
                let value = self.eval(operand)?;
                unary(*operator, value)
            }
            Node::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                self.binary(*operator, left, right)
            }
            Node::Call(function, args) => {
                let args: Vec<Value> = args.iter().map(|n| self.eval(n)).collect::<Result<_, _>>()?;
                self.call(*function, &args)
            }
            Node::Fold { over, name, fold } => self.fold(over, name, fold),
        }
    }

    fn name(&mut self, name: &'a str) -> Evaluated {
        if let Some((_, value)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.read.get(name) {
            return Ok(value.clone());
        }
        match self.variables.get(name) {
            Some(json) => {
                self.meter.step(measure(json) as u64 / 64)?;
                let value = Value::from_json(json);
                self.read.insert(name, value.clone());
                Ok(value)
            }
            None => TYPES
                .iter()
                .find(|t| **t == name)
                .map(|t| Value::Type(t))
                .ok_or_else(|| fail(Code::UnknownName, format!("`{}` is not known here", shown(name)))),
        }
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Evaluated {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            self.meter.build(2 * SLOT)?;
            let key = Key::of(&self.eval(key)?)?;
            let value = self.eval(value)?;
            if map.insert(key, value).is_some() {
                return Err(fail(Code::TypeError, "a map has the same key twice"));
            }
        }
        Ok(Value::Map(Rc::new(map)))
    }

    /// `&&` and `||`: where one side decides, an error of the other is absorbed (CEL), exhaustion never.
    fn logic(&mut self, left: &'a Node, right: &'a Node, decisive: bool) -> Evaluated {
        let first = as_bool(self.eval(left));
        match first {
            Ok(truth) if truth == decisive => return Ok(Value::Bool(decisive)),
            Err(error) if error.code.is_exhaustion() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        match (first, as_bool(self.eval(right))) {
            (_, Err(error)) if error.code.is_exhaustion() => Err(error),
            (_, Ok(truth)) if truth == decisive => Ok(Value::Bool(decisive)),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(_)) => Ok(Value::Bool(!decisive)),
        }
    }

    fn fold(&mut self, over: &'a Node, name: &'a str, fold: &'a Fold) -> Evaluated {
        let items: Rc<Vec<Value>> = match self.eval(over)? {
            Value::List(items) => items,
            Value::Map(entries) => {
                self.meter.build(entries.len() * SLOT)?;
                Rc::new(entries.keys().map(Key::to_value).collect())
            }
            other => {
                return Err(fail(
                    Code::TypeError,
                    format!("a comprehension needs a list or a map, not {}", other.type_name()),
                ));
            }
        };
        let mut gathered = Vec::new();
        let (mut matches, mut absorbed) = (0u64, None);
        for item in items.iter() {
            self.meter.step(1)?;
            self.bound.push((name, item.clone()));
            let turn = self.turn(fold, &mut gathered);
            self.bound.pop();
            match (fold, turn) {
                (_, Err(error)) if error.code.is_exhaustion() => return Err(error),
                (Fold::All(_), Ok(false)) => return Ok(Value::Bool(false)),
                (Fold::Exists(_), Ok(true)) => return Ok(Value::Bool(true)),
                (Fold::All(_) | Fold::Exists(_), Err(error)) => absorbed = absorbed.or(Some(error)),
                (Fold::ExistsOne(_) | Fold::Map { .. }, Err(error)) => return Err(error),
                (_, Ok(matched)) => matches += u64::from(matched),
            }
        }
        if let Some(error) = absorbed {
            return Err(error);
        }
        Ok(match fold {
            Fold::All(_) => Value::Bool(true),
            Fold::Exists(_) => Value::Bool(false),
            Fold::ExistsOne(_) => Value::Bool(matches == 1),
            Fold::Map { .. } => Value::List(Rc::new(gathered)),
        })
    }

    fn turn(&mut self, fold: &'a Fold, gathered: &mut Vec<Value>) -> Result<bool, ExpressionError> {
        match fold {
            Fold::All(test) | Fold::Exists(test) | Fold::ExistsOne(test) => as_bool(self.eval(test)),
            Fold::Map { when, item } => {
                let wanted = match when {
                    Some(test) => as_bool(self.eval(test))?,
                    None => true,
                };
                if wanted {
                    self.meter.build(SLOT)?;
                    let value = self.eval(item)?;
                    gathered.push(value);
                }
                Ok(wanted)
            }
        }
    }

    fn binary(&mut self, operator: Binary, left: Value, right: Value) -> Evaluated {
        match operator {
            Binary::Equal | Binary::NotEqual => {
                self.meter.step(left.weight().min(right.weight()))?;
                Ok(Value::Bool(left.equals(&right) == (operator == Binary::Equal)))
            }
            Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
                self.meter.step(left.weight().min(right.weight()))?;
                let comparable = (left.is_number() && right.is_number()) || left.type_name() == right.type_name();
                match left.compare(&right) {
                    Some(order) => Ok(Value::Bool(match operator {
                        Binary::Less => order == Ordering::Less,
                        Binary::LessEqual => order != Ordering::Greater,
                        Binary::Greater => order == Ordering::Greater,
                        _ => order != Ordering::Less,
                    })),
                    // NaN is in no order with anything.
                    None if comparable && left.is_number() => Ok(Value::Bool(false)),
                    None => Err(mismatch("compare", &left, &right)),
                }
            }
            Binary::In => self.member(&left, &right),
            Binary::Index => self.index(&left, &right),
            Binary::Add => self.add(left, right),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => arithmetic(operator, &left, &right),
        }
    }

    fn add(&mut self, left: Value, right: Value) -> Evaluated {
        match (&left, &right) {
            (Value::String(a), Value::String(b)) => {
                self.meter.build(a.len() + b.len())?;
                Ok(Value::String(format!("{a}{b}").into()))
            }
            (Value::List(a), Value::List(b)) => {
                self.meter.build((a.len() + b.len()) * SLOT)?;
                Ok(Value::List(Rc::new(a.iter().chain(b.iter()).cloned().collect())))
            }
            _ => arithmetic(Binary::Add, &left, &right),
        }
    }

    fn member(&mut self, item: &Value, of: &Value) -> Evaluated {
        match of {
            Value::List(items) => {
                let weight = item.weight();
                for candidate in items.iter() {
                    self.meter.step(weight.min(candidate.weight()))?;
                    if candidate.equals(item) {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Value::Map(entries) => Ok(Value::Bool(Key::of(item).is_ok_and(|key| entries.contains_key(&key)))),
            other => Err(mismatch("look in", item, other)),
        }
    }

    fn index(&mut self, of: &Value, at: &Value) -> Evaluated {
        match of {
            Value::List(items) => {
                let Key::Int(place) = Key::of(at)? else {
                    return Err(mismatch("index", of, at));
                };
                usize::try_from(place)
                    .ok()
                    .and_then(|place| items.get(place))
                    .cloned()
                    .ok_or_else(|| fail(Code::OutOfRange, format!("index {place} is outside a list of {}", items.len())))
            }
            Value::Map(entries) => {
                let key = Key::of(at)?;
                entries
                    .get(&key)
                    .cloned()
                    .ok_or_else(|| fail(Code::NoSuchKey, "no such key in the map"))
            }
            other => Err(mismatch("index", other, at)),
        }
    }

    fn call(&mut self, function: Function, args: &[Value]) -> Evaluated {
        let text = |value: &Value| match value {
            Value::String(s) => Ok(s.clone()),
            other => Err(fail(Code::TypeError, format!("expected a string, not {}", other.type_name()))),
        };
        match (function, args) {
            (Function::Size, [value]) => {
                let size = match value {
                    Value::String(s) => {
                        self.meter.step(s.len() as u64 / 64)?;
                        s.chars().count()
                    }
                    Value::List(items) => items.len(),
                    Value::Map(entries) => entries.len(),
                    other => return Err(fail(Code::TypeError, format!("{} has no size", other.type_name()))),
                };
                Ok(Value::Int(size as i64))
            }
            (Function::Contains | Function::StartsWith | Function::EndsWith, [of, part]) => {
                let (of, part) = (text(of)?, text(part)?);
                self.meter.step((of.len() as u64 + part.len() as u64) / 16)?;
                Ok(Value::Bool(match function {
                    Function::Contains => of.contains(&*part),
                    Function::StartsWith => of.starts_with(&*part),
                    _ => of.ends_with(&*part),
                }))
            }
            (Function::String, [value]) => {
                let text: Rc<str> = match value {
                    Value::String(s) => s.clone(),
                    Value::Bool(b) => b.to_string().into(),
                    Value::Int(i) => i.to_string().into(),
                    Value::Uint(u) => u.to_string().into(),
                    Value::Double(d) => d.to_string().into(),
                    Value::Type(name) => (*name).into(),
                    other => return Err(fail(Code::TypeError, format!("{} has no text", other.type_name()))),
                };
                self.meter.build(text.len())?;
                Ok(Value::String(text))
            }
            (Function::Int, [value]) => to_int(value),
            (Function::Uint, [value]) => to_uint(value),
            (Function::Double, [value]) => match value {
                Value::Int(i) => Ok(Value::Double(*i as f64)),
                Value::Uint(u) => Ok(Value::Double(*u as f64)),
                Value::Double(d) => Ok(Value::Double(*d)),
                Value::String(s) => s.parse().map(Value::Double).map_err(|_| conversion(s, "double")),
                other => Err(mistyped("double", other)),
            },
            (Function::Bool, [value]) => match value {
                Value::Bool(b) => Ok(Value::Bool(*b)),
                Value::String(s) => match &**s {
                    "true" | "TRUE" | "True" | "t" | "1" => Ok(Value::Bool(true)),
                    "false" | "FALSE" | "False" | "f" | "0" => Ok(Value::Bool(false)),
                    other => Err(conversion(other, "bool")),
                },
                other => Err(mistyped("bool", other)),
            },
            (Function::Type, [value]) => Ok(Value::Type(value.type_name())),
            _ => Err(fail(Code::Unsupported, "a function was called with the wrong number of arguments")),
        }
    }
}

fn as_bool(value: Evaluated) -> Result<bool, ExpressionError> {
    match value? {
        Value::Bool(truth) => Ok(truth),
        other => Err(fail(Code::TypeError, format!("expected a bool, not {}", other.type_name()))),
    }
}

fn select(value: &Value, field: &str) -> Result<Option<Value>, ExpressionError> {
    match value {
        Value::Map(entries) => Ok(entries.get(&Key::String(field.into())).cloned()),
        other => Err(fail(
            Code::TypeError,
            format!("{} has no fields (asked for `{}`)", other.type_name(), shown(field)),
        )),
    }
}

fn mismatch(verb: &str, left: &Value, right: &Value) -> ExpressionError {
    fail(
        Code::TypeError,
        format!("cannot {verb} {} and {}", left.type_name(), right.type_name()),
    )
}

fn mistyped(to: &str, value: &Value) -> ExpressionError {
    fail(Code::TypeError, format!("{} does not convert to {to}", value.type_name()))
}

fn conversion(text: &str, to: &str) -> ExpressionError {
    fail(Code::BadConversion, format!("cannot read `{}` as {to}", shown(text)))
}

fn overflow() -> ExpressionError {
    fail(Code::Overflow, "a whole number left its range")
}

fn unary(operator: Unary, value: Value) -> Evaluated {
    match (operator, value) {
        (Unary::Not, Value::Bool(truth)) => Ok(Value::Bool(!truth)),
        (Unary::Negate, Value::Int(i)) => i.checked_neg().map(Value::Int).ok_or_else(overflow),
        (Unary::Negate, Value::Double(d)) => Ok(Value::Double(-d)),
        (Unary::Not, other) => Err(fail(
            Code::TypeError,
            format!("cannot negate {}; `!` needs a bool", other.type_name()),
        )),
        (Unary::Negate, other) => Err(fail(Code::TypeError, format!("cannot negate {}", other.type_name()))),
    }
}

fn arithmetic(operator: Binary, left: &Value, right: &Value) -> Evaluated {
    let by_zero = || fail(Code::DivisionByZero, "division by zero");
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => match operator {
            Binary::Add => a.checked_add(*b),
            Binary::Subtract => a.checked_sub(*b),
            Binary::Multiply => a.checked_mul(*b),
            Binary::Divide | Binary::Modulo if *b == 0 => return Err(by_zero()),
            Binary::Divide => a.checked_div(*b),
            _ => a.checked_rem(*b),
        }
        .map(Value::Int)
        .ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => match operator {
            Binary::Add => a.checked_add(*b),
            Binary::Subtract => a.checked_sub(*b),
            Binary::Multiply => a.checked_mul(*b),
            Binary::Divide | Binary::Modulo if *b == 0 => return Err(by_zero()),
            Binary::Divide => a.checked_div(*b),
            _ => a.checked_rem(*b),
        }
        .map(Value::Uint)
        .ok_or_else(overflow),
        // JSON does not tell 2 from 2.0, so an int beside a double is read as a double (an extension of CEL).
        (Value::Double(_) | Value::Int(_), Value::Double(_) | Value::Int(_)) if operator != Binary::Modulo => {
            let (a, b) = (as_double(left), as_double(right));
            Ok(Value::Double(match operator {
                Binary::Add => a + b,
                Binary::Subtract => a - b,
                Binary::Multiply => a * b,
                _ => a / b,
            }))
        }
        _ => Err(mismatch("calculate with", left, right)),
    }
}

fn as_double(value: &Value) -> f64 {
    match value {
        Value::Int(i) => *i as f64,
        Value::Double(d) => *d,
        _ => f64::NAN,
    }
}

fn to_int(value: &Value) -> Evaluated {
    match value {
        Value::Int(i) => Ok(Value::Int(*i)),
        Value::Uint(u) => i64::try_from(*u).map(Value::Int).map_err(|_| overflow()),
        // Both bounds are exact doubles; the upper one itself is out of range.
        Value::Double(d) if *d >= -9.223_372_036_854_776e18 && *d < 9.223_372_036_854_776e18 => Ok(Value::Int(*d as i64)),
        Value::Double(_) => Err(overflow()),
        Value::String(s) => s.parse().map(Value::Int).map_err(|_| conversion(s, "int")),
        other => Err(mistyped("int", other)),
    }
}

fn to_uint(value: &Value) -> Evaluated {
    match value {
        Value::Uint(u) => Ok(Value::Uint(*u)),
        Value::Int(i) => u64::try_from(*i).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(d) if *d >= 0.0 && *d < 1.8446744073709552e19 => Ok(Value::Uint(*d as u64)),
        Value::Double(_) => Err(overflow()),
        Value::String(s) => s.parse().map(Value::Uint).map_err(|_| conversion(s, "uint")),
        other => Err(mistyped("uint", other)),
    }
}
