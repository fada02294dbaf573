//! From the parser's tree to ours: only what the evaluator knows, of bounded height, macros recognised by shape.

use super::{ExpressionCode, ExpressionError, value::Value};
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use quipu_schemas::limits::{EXPRESSION_MAX_COMPREHENSIONS, EXPRESSION_MAX_HEIGHT};
use std::collections::BTreeSet;

/// A scalar of the source.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
}

impl Literal {
    pub(super) fn to_value(&self) -> Value {
        match self {
            Literal::Null => Value::Null,
            Literal::Bool(b) => Value::Bool(*b),
            Literal::Int(i) => Value::Int(*i),
            Literal::Uint(u) => Value::Uint(*u),
            Literal::Double(d) => Value::Double(*d),
            Literal::String(s) => Value::String(s.as_str().into()),
        }
    }
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Literal(Literal),
    Name(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Select {
        of: Box<Node>,
        field: String,
    },
    Has {
        of: Box<Node>,
        field: String,
    },
    If {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Unary(Unary, Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    Fold {
        over: Box<Node>,
        name: String,
        fold: Fold,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Negate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    String,
    Int,
    Uint,
    Double,
    Bool,
    Type,
}

/// What a comprehension gathers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fold {
    All(Box<Node>),
    Exists(Box<Node>),
    ExistsOne(Box<Node>),
    Map { when: Option<Box<Node>>, item: Box<Node> },
}

fn unsupported(what: impl std::fmt::Display) -> ExpressionError {
    ExpressionError::new(ExpressionCode::Unsupported, format!("{what} is not supported"))
}

/// Lowers a whole tree.
pub(super) fn lower(tree: &IdedExpr) -> Result<Node, ExpressionError> {
    Lowering { height: 0, folds: 0 }.node(tree)
}

struct Lowering {
    height: usize,
    folds: usize,
}

impl Lowering {
    fn node(&mut self, tree: &IdedExpr) -> Result<Node, ExpressionError> {
        self.height += 1;
        if self.height > EXPRESSION_MAX_HEIGHT {
            return Err(ExpressionError::new(
                ExpressionCode::TooDeep,
                format!("operators and fields are nested or chained deeper than {EXPRESSION_MAX_HEIGHT} levels"),
            ));
        }
        let node = self.inner(&tree.expr);
        self.height -= 1;
        node
    }

    fn boxed(&mut self, tree: &IdedExpr) -> Result<Box<Node>, ExpressionError> {
        self.node(tree).map(Box::new)
    }

    fn inner(&mut self, expr: &Expr) -> Result<Node, ExpressionError> {
        match expr {
            Expr::Unspecified => Err(ExpressionError::new(
                ExpressionCode::Syntax,
                "the expression is empty or incomplete",
            )),
            Expr::Literal(literal) => lower_literal(literal).map(Node::Literal),
            Expr::Ident(name) => Ok(Node::Name(name.clone())),
            Expr::List(list) if list.optional_indices.is_empty() => {
                Ok(Node::List(list.elements.iter().map(|e| self.node(e)).collect::<Result<_, _>>()?))
            }
            Expr::List(_) => Err(unsupported("an optional list element")),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(e) if !e.optional => entries.push((self.node(&e.key)?, self.node(&e.value)?)),
                        EntryExpr::MapEntry(_) | EntryExpr::StructField(_) => return Err(unsupported("an optional map entry")),
                    }
                }
                Ok(Node::Map(entries))
            }
            Expr::Select(select) => {
                let (of, field) = (self.boxed(&select.operand)?, select.field.clone());
                Ok(if select.test {
                    Node::Has { of, field }
                } else {
                    Node::Select { of, field }
                })
            }
            Expr::Struct(message) => Err(unsupported(format_args!("the message `{}`", shown(&message.type_name)))),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn call(&mut self, call: &CallExpr) -> Result<Node, ExpressionError> {
        let name = call.func_name.as_str();
        let mut args: Vec<Node> = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            args.push(self.node(target)?);
        }
        for arg in &call.args {
            args.push(self.node(arg)?);
        }
        let method = call.target.is_some();
        let count = args.len();
        let wrong = || {
            ExpressionError::new(
                ExpressionCode::Unsupported,
                format!("`{}` does not take these arguments", shown(name)),
            )
        };
        let mut next = args.into_iter();
        let mut take = || next.next().map(Box::new).ok_or_else(wrong);
        if !method {
            let binary = match name {
                operators::ADD => Some(Binary::Add),
                operators::SUBSTRACT => Some(Binary::Subtract),
                operators::MULTIPLY => Some(Binary::Multiply),
                operators::DIVIDE => Some(Binary::Divide),
                operators::MODULO => Some(Binary::Modulo),
                operators::EQUALS => Some(Binary::Equal),
                operators::NOT_EQUALS => Some(Binary::NotEqual),
                operators::LESS => Some(Binary::Less),
                operators::LESS_EQUALS => Some(Binary::LessEqual),
                operators::GREATER => Some(Binary::Greater),
                operators::GREATER_EQUALS => Some(Binary::GreaterEqual),
                operators::IN => Some(Binary::In),
                operators::INDEX => Some(Binary::Index),
                _ => None,
            };
            if let Some(binary) = binary {
                return Ok(Node::Binary(binary, take()?, take()?));
            }
            match name {
                operators::CONDITIONAL => {
                    return Ok(Node::If {
                        condition: take()?,
                        then: take()?,
                        otherwise: take()?,
                    });
                }
                operators::LOGICAL_AND => return Ok(Node::And(take()?, take()?)),
                operators::LOGICAL_OR => return Ok(Node::Or(take()?, take()?)),
                operators::LOGICAL_NOT => return Ok(Node::Unary(Unary::Not, take()?)),
                operators::NEGATE => return Ok(Node::Unary(Unary::Negate, take()?)),
                _ => {}
            }
        }
        let function = match (name, method, count) {
            ("size", _, 1) => Function::Size,
            ("contains", true, 2) => Function::Contains,
            ("startsWith", true, 2) => Function::StartsWith,
            ("endsWith", true, 2) => Function::EndsWith,
            ("string", false, 1) => Function::String,
            ("int", false, 1) => Function::Int,
            ("uint", false, 1) => Function::Uint,
            ("double", false, 1) => Function::Double,
            ("bool", false, 1) => Function::Bool,
            ("type", false, 1) => Function::Type,
            ("matches", ..) => {
                return Err(unsupported(
                    "`matches` (regular expressions have no step budget; use contains, startsWith, endsWith)",
                ));
            }
            _ => return Err(unsupported(format_args!("the function `{}` with {count} argument(s)", shown(name)))),
        };
        Ok(Node::Call(function, next.collect()))
    }

    /// The parser expands its macros into folds of a few fixed shapes; anything else is refused.
    fn comprehension(&mut self, c: &ComprehensionExpr) -> Result<Node, ExpressionError> {
        let over = self.boxed(&c.iter_range)?;
        self.folds += 1;
        if self.folds > EXPRESSION_MAX_COMPREHENSIONS {
            return Err(ExpressionError::new(
                ExpressionCode::TooDeep,
                format!("comprehensions are nested deeper than {EXPRESSION_MAX_COMPREHENSIONS} levels"),
            ));
        }
        let is_accumulator = |e: &IdedExpr| matches!(&e.expr, Expr::Ident(name) if *name == c.accu_var);
        let odd = || unsupported("this comprehension");
        let Expr::Call(step) = &c.loop_step.expr else { return Err(odd()) };
        if c.iter_var2.is_some() {
            return Err(odd());
        }
        let appended = |call: &CallExpr| -> Option<IdedExpr> {
            let [accumulator, list] = call.args.as_slice() else { return None };
            match &list.expr {
                Expr::List(items) if call.func_name == operators::ADD && is_accumulator(accumulator) && items.elements.len() == 1 => {
                    Some(items.elements[0].clone())
                }
                _ => None,
            }
        };
        let fold = match (step.func_name.as_str(), step.args.as_slice()) {
            (operators::LOGICAL_AND, [accumulator, test]) if is_accumulator(accumulator) => Fold::All(self.boxed(test)?),
            (operators::LOGICAL_OR, [accumulator, test]) if is_accumulator(accumulator) => Fold::Exists(self.boxed(test)?),
            (operators::ADD, _) => Fold::Map {
                when: None,
                item: self.boxed(&appended(step).ok_or_else(odd)?)?,
            },
            (operators::CONDITIONAL, [test, then, otherwise]) if is_accumulator(otherwise) => {
                let Expr::Call(then) = &then.expr else { return Err(odd()) };
                match appended(then) {
                    Some(item) => Fold::Map {
                        when: Some(self.boxed(test)?),
                        item: self.boxed(&item)?,
                    },
                    None if then.func_name == operators::ADD && then.args.first().is_some_and(is_accumulator) => {
                        Fold::ExistsOne(self.boxed(test)?)
                    }
                    None => return Err(odd()),
                }
            }
            _ => return Err(odd()),
        };
        self.folds -= 1;
        Ok(Node::Fold {
            over,
            name: c.iter_var.clone(),
            fold,
        })
    }
}

fn lower_literal(literal: &LiteralValue) -> Result<Literal, ExpressionError> {
    Ok(match literal {
        LiteralValue::Null => Literal::Null,
        LiteralValue::Boolean(b) => Literal::Bool(*b.inner()),
        LiteralValue::Int(i) => Literal::Int(*i.inner()),
        LiteralValue::UInt(u) => Literal::Uint(*u.inner()),
        LiteralValue::Double(d) => Literal::Double(*d.inner()),
        LiteralValue::String(s) => Literal::String(s.inner().to_owned()),
        LiteralValue::Bytes(_) => return Err(unsupported("a bytes literal")),
    })
}

fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

impl Node {
    /// Refuses names that are neither in `known` nor bound by a comprehension around them.
    pub(super) fn check_names(&self, known: &mut BTreeSet<String>) -> Result<(), ExpressionError> {
        match self {
            Node::Literal(_) => Ok(()),
            Node::Name(name) if known.contains(name) || TYPES.contains(&name.as_str()) => Ok(()),
            Node::Name(name) => Err(ExpressionError::new(
                ExpressionCode::UnknownName,
                format!(
                    "`{}` is not known here; known are {}",
                    shown(name),
                    known.iter().cloned().collect::<Vec<_>>().join(", ")
                ),
            )),
            Node::List(items) | Node::Call(_, items) => items.iter().try_for_each(|n| n.check_names(known)),
            Node::Map(entries) => entries
                .iter()
                .try_for_each(|(k, v)| k.check_names(known).and_then(|()| v.check_names(known))),
            Node::Select { of, .. } | Node::Has { of, .. } | Node::Unary(_, of) => of.check_names(known),
            Node::If {
                condition,
                then,
                otherwise,
            } => [condition, then, otherwise].iter().try_for_each(|n| n.check_names(known)),
            Node::And(a, b) | Node::Or(a, b) | Node::Binary(_, a, b) => a.check_names(known).and_then(|()| b.check_names(known)),
            Node::Fold { over, name, fold } => {
                over.check_names(known)?;
                let fresh = known.insert(name.clone());
                let inside = match fold {
                    Fold::All(test) | Fold::Exists(test) | Fold::ExistsOne(test) => test.check_names(known),
                    Fold::Map { when, item } => when
                        .as_ref()
                        .map_or(Ok(()), |n| n.check_names(known))
                        .and_then(|()| item.check_names(known)),
                };
                if fresh {
                    known.remove(name);
                }
                inside
            }
        }
    }
}

/// Names of types, as values that `type(x)` is compared with.
pub(super) const TYPES: &[&str] = &["bool", "int", "uint", "double", "string", "list", "map", "null_type", "type"];
